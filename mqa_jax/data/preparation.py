"""From what a config names to a prepared folder: fetched, filtered, the vocabulary trained, encoded.

The folder is written beside its place and renamed when it is complete.
"""

import contextlib
import datetime
import fcntl
import hashlib
import importlib.metadata
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

from mqa_jax import progress
from mqa_jax.data import prepared, sources, tfds, vocabulary
from mqa_jax.data.corpus import Split
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.errors import InputError
from mqa_jax.experiment import DataConfig

PACKAGES = ("sentencepiece", "tensorflow-datasets", "numpy")


def prepare(data: DataConfig, task: str) -> dict[str, Any]:
    """Makes config.data.folder/prepared, or checks the one that is there; its manifest.

    Each stage is complete or not there: TFDS's data, the vocabulary, the ids. A later run goes on behind the last.

    Raises:
      InputError: the data cannot be had, are bad, are being prepared by another process, or a file of an earlier
        preparation is damaged.
    """
    place = prepared.folder(data)
    if data.kind == "tfds":
        tfds.prepare(data)
    asked = prepared.asked(data, task)
    name = hashlib.sha256(json.dumps([asked, data.vocabulary_file]).encode()).hexdigest()[:12]
    model = pathlib.Path(data.folder) / f"prepared.vocabulary-{name}.model"
    manifest = prepared.read_manifest(place)
    if manifest and not prepared.difference(data, task, manifest):
        prepared.verify(place, manifest)
        model.unlink(missing_ok=True)  # of a run that was ended when all else was done
        progress.say(f"{place} is there, its checksums are right")
        return manifest
    corpus = sources.load_text(data, task)
    progress.say(corpus.description)
    paths = prepared.source_files(data)
    from_files = [_entry(path) | {"name": name} for name, path in paths.items() if path.is_file()]
    words = vocabulary.obtain(data, corpus, model)
    with _replacing(place) as folder:
        vocabulary_file = shutil.copyfile(words.path, folder / f"vocabulary{words.path.suffix}")
        manifest = {
            "schema": prepared.SCHEMA,
            "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "description": corpus.description,
            "asked": asked,
            "sources": from_files,
            "versions": {package: importlib.metadata.version(package) for package in PACKAGES},
            "vocabulary": {"pieces": words.size, "fingerprint": words.fingerprint} | _entry(vocabulary_file),
            "ids": words.dtype.__name__,
            "splits": {"train": _encode(folder, corpus.splits["train"], words)},
        }
        for name in corpus.splits.keys() - {"train"}:
            pairs, path = corpus.splits[name].pairs(), folder / f"{name}.json"
            path.write_text(json.dumps(pairs, ensure_ascii=False), encoding="utf-8")
            manifest["splits"][name] = {"examples": len(pairs), "files": [_entry(path)]}
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        (folder / "manifest.json").write_text(text + "\n", encoding="utf-8")
    words.path.unlink()
    return json.loads(text)


@contextlib.contextmanager
def _replacing(place: pathlib.Path) -> Iterator[pathlib.Path]:
    """A new folder, which takes the place of `place` once all that is in it is on the disk."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place.with_name(f"{place.name}.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"{place} is being prepared by another process; wait for it or end it") from error
        new, old = place.with_name(f"{place.name}.part"), place.with_name(f"{place.name}.old")
        shutil.rmtree(new, ignore_errors=True)  # what a run that was ended left
        shutil.rmtree(old, ignore_errors=True)
        new.mkdir()
        yield new
        for path in [*new.iterdir(), new]:
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
        if place.exists():
            place.rename(old)
        new.rename(place)
        shutil.rmtree(old, ignore_errors=True)


def _encode(folder: pathlib.Path, train: Split, words: Vocabulary) -> dict[str, Any]:
    """Writes a file of ids for each corpus that has a weight, or one for all; what the manifest says of train."""
    files, tokens = [], dict.fromkeys(train.sides, 0)
    for number, corpus in enumerate(train.corpora()):
        path = folder / f"train-{number}.npz"
        with progress.bar("encode", len(corpus)) as bar:
            examples = words.encode_split(corpus, bar.update)
        examples.save(path)
        files.append(_entry(path) | {"examples": len(examples), "part": number})
        for side, lengths in examples.lengths.items():
            tokens[side] += int(lengths.sum())
    return {
        "text": train.digest(),
        "sizes": train.sizes,
        "weights": train.weights,
        "tokens": tokens,
        "files": files,
        "examples": len(train),
    }


def _entry(path: pathlib.Path) -> dict[str, Any]:
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": prepared.checksum(path)}
