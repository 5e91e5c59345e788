"""Encodes a corpus into a folder of prepared ids, which data/prepared.py reads.

The folder is written beside its place and renamed when it is whole, so that it is either whole or not there.
"""

import datetime
import fcntl
import importlib.metadata
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]

from mqa_jax import progress
from mqa_jax.data.ids import encode
from mqa_jax.data.prepared import SCHEMA, checksum, pack
from mqa_jax.data.split import Split
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.errors import InputError

RECORD = 512  # examples of a record
SHARD = 1 << 20  # examples of a shard
PACKAGES = ("array-record", "sentencepiece", "tensorflow-datasets", "numpy")


def write(
    place: pathlib.Path, splits: Mapping[str, Split], vocabulary: Vocabulary, what: Mapping[str, Any]
) -> dict[str, Any]:
    """Encodes `splits` into the folder `place`, which then is whole; one that was there is replaced.

    Args:
      what: what else the manifest says of them: `description`, `asked` (the settings that decide them), `sources`.
    Returns:
      The manifest.
    Raises:
      InputError: another process prepares the same folder.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place.with_name(f"{place.name}.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{place} is being prepared by another process; wait for it or end it") from error
        half, old = place.with_name(f"{place.name}.part"), place.with_name(f"{place.name}.old")
        shutil.rmtree(half, ignore_errors=True)  # what a run that was ended left
        shutil.rmtree(old, ignore_errors=True)
        half.mkdir()
        manifest = _fill(half, splits, vocabulary, what)
        if place.exists():
            place.rename(old)
        half.rename(place)
        shutil.rmtree(old, ignore_errors=True)
    return manifest


def _fill(
    folder: pathlib.Path, splits: Mapping[str, Split], vocabulary: Vocabulary, what: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes the files of a prepared folder, the manifest last, all of them through to the disk."""
    shutil.copyfile(vocabulary.path, folder / "vocabulary.model")
    train = splits["train"]
    manifest = {
        "schema": SCHEMA,
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **what,
        "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
        "vocabulary": {"pieces": vocabulary.size, "fingerprint": vocabulary.fingerprint},
        "ids": "",
        "splits": {"train": {"sizes": train.sizes, "weights": train.weights, "tokens": {}, "files": []}},
    }
    with progress.bar("encode", len(train)) as bar:
        done = 0
        for part, each in enumerate(train.parts()):
            for name, shard, count in _shards(each, part):
                writer = array_record_module.ArrayRecordWriter(str(folder / name), "group_size:1")
                for examples in encode(each, vocabulary, shard):
                    manifest["ids"] = examples.flat["target"].dtype.name
                    for side, ids in examples.flat.items():
                        tokens = manifest["splits"]["train"]["tokens"]
                        tokens[side] = tokens.get(side, 0) + len(ids)
                    for start in range(0, len(examples), RECORD):
                        writer.write(pack(examples.slice(start, start + RECORD)))
                    done += len(examples)
                    bar.update(done, f"shard {name}")
                writer.close()
                manifest["splits"]["train"]["files"].append(_entry(folder / name, count) | {"part": part})
    manifest["splits"]["train"]["examples"] = done
    for name in splits.keys() - {"train"}:
        path = folder / f"{name}.json"
        path.write_text(json.dumps(splits[name].pairs(), ensure_ascii=False), encoding="utf-8")
        manifest["splits"][name] = {"examples": len(splits[name]), "files": [_entry(path, len(splits[name]))]}
    manifest["vocabulary"] |= _entry(folder / "vocabulary.model", 0)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for path in [*folder.iterdir(), folder]:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def _shards(split: Split, part: int) -> Iterator[tuple[str, range, int]]:
    starts = range(0, len(split), SHARD)
    for number, start in enumerate(starts):
        shard = range(start, min(start + SHARD, len(split)))
        yield f"train-{part}-{number:05}-of-{len(starts):05}.array_record", shard, len(shard)


def _entry(path: pathlib.Path, examples: int) -> dict[str, Any]:
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": checksum(path), "examples": examples}
