"""A corpus encoded once: token ids in .npz files, with a manifest that says what they are.

    FOLDER/prepared/manifest.json  vocabulary.model  train-0.npz ...  dev.json  test.json

data/preparation.py writes it.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from mqa_jax.data import tfds
from mqa_jax.data.corpus import Corpus, Split
from mqa_jax.data.examples import PreparedSplit
from mqa_jax.errors import InputError
from mqa_jax.experiment import DataConfig

SCHEMA = 3
FREE = ("folder", "vocabulary_file", "source_length", "target_length", "rows", "packing", "positions", "streams")


def folder(data: DataConfig) -> pathlib.Path:
    """Where the ids of this config's data are, if they were prepared."""
    return pathlib.Path(data.folder) / "prepared"


def read_manifest(place: pathlib.Path) -> dict[str, Any] | None:
    """The manifest of a prepared folder; None where there is none.

    Raises:
      InputError: the manifest is not one that this version reads, or a file that it lists is missing or cut short.
    """
    if not place.exists():
        return None
    try:
        manifest = json.loads((place / "manifest.json").read_text(encoding="utf-8"))
        if manifest["schema"] != SCHEMA:
            raise ValueError(f"schema {manifest['schema']}")
        for file in _files(manifest):
            size = (place / file["name"]).stat().st_size
            if size != file["bytes"]:
                raise ValueError(f"{file['name']} has {size} bytes, not {file['bytes']}")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{place} is damaged ({error}); delete it and prepare again") from error
    return manifest


def verify(place: pathlib.Path, manifest: Mapping[str, Any]) -> None:
    """Raises InputError unless every file has the checksum that the manifest gives it."""
    for file in _files(manifest):
        if checksum(place / file["name"]) != file["sha256"]:
            raise InputError(f"{place / file['name']} has another checksum than its manifest; delete {place}")


def read(place: pathlib.Path, manifest: Mapping[str, Any]) -> Corpus:
    """Train as ids, dev and test as text."""
    train, splits = manifest["splits"]["train"], {}
    for name in manifest["splits"].keys() - {"train"}:
        pairs = json.loads((place / f"{name}.json").read_text(encoding="utf-8"))
        splits[name] = Split.of_pairs([tuple(pair) for pair in pairs])
    ids = PreparedSplit(
        place,
        train["files"],
        sides=tuple(train["tokens"]),
        fingerprint=manifest["vocabulary"]["fingerprint"],
        text=train["text"],
        weights=tuple(train["weights"]),
    )
    return Corpus(manifest["description"], splits, ids)


def asked(data: DataConfig, task: str) -> dict[str, Any]:
    """The settings that decide what is prepared, as JSON gives them back; those in `FREE` do not.

    Of config.data.unk it is what the file holds, wherever it is.
    """
    values = {key: value for key, value in dataclasses.asdict(data).items() if key not in FREE}
    values["unk"] = data.unk and checksum(_named("unk", data.unk))[:16]
    return json.loads(json.dumps({"task": task} | values))


def source_files(data: DataConfig) -> dict[str, pathlib.Path]:
    """Where the files should be that the corpus is read from, by their names in the config."""
    if data.kind == "tfds":
        account = (
            pathlib.Path(tfds.builder(data).data_path) / "dataset_info.json"
        )  # versions, sizes of splits and shards
        return {str(path): path for path in (account, *tfds.held_out_files(data).values())}
    return {name: pathlib.Path(data.folder) / name for name in (*data.train, *data.dev, *data.test)}


def difference(data: DataConfig, task: str, manifest: Mapping[str, Any]) -> str:
    """What the config asks for, or its files hold, that the prepared ids are not of; empty if they are of it."""
    there = manifest["asked"]
    for key, value in asked(data, task).items():
        if there.get(key) != value:
            return f"{key} is {there.get(key)!r} there, {value!r} here"
    named = data.vocabulary_file
    if named and checksum(_named("vocabulary_file", named)) != manifest["vocabulary"]["sha256"]:
        return f"config.data.vocabulary_file={named} is not its vocabulary"
    written = (folder(data) / "manifest.json").stat().st_mtime
    paths = source_files(data) if data.kind != "tfds" else {}
    for source in manifest["sources"]:
        path = paths.get(source["name"], pathlib.Path(source["name"]))
        if not path.is_file():  # prepared ids may have been moved without their text
            continue
        size, changed = path.stat().st_size, path.stat().st_mtime > written
        if size != source["bytes"] or (changed and checksum(path) != source["sha256"]):
            return f"{path} has changed since"
    return ""


def _named(key: str, name: str) -> pathlib.Path:
    path = pathlib.Path(name)
    if not path.is_file():
        raise InputError(f"config.data.{key}={name} is missing; check the path")
    return path


def checksum(path: pathlib.Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [file for split in manifest["splits"].values() for file in split["files"]] + [manifest["vocabulary"]]
