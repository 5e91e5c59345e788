"""A corpus encoded once: token ids in array_record shards, with a manifest that says what they are.

    FOLDER/prepared/manifest.json  vocabulary.model  train-0-00000-of-00004.array_record ...  dev.json  test.json

A record holds some hundred examples: their number, for each side their lengths, then for each side their ids.
data/encoding.py writes it.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]

from mqa_jax.data.ids import Examples
from mqa_jax.data.split import Split
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.errors import InputError

SCHEMA = 1


@dataclasses.dataclass(frozen=True)
class PreparedSplit:
    """The ids of a training split, read shard by shard.

    Attributes:
      folder: where the shards are.
      files: the manifest's entry of each shard.
      sides: ("source", "target") or ("target",).
      kind: numpy's name of the ids' type.
      fingerprint: of the vocabulary that made them.
      tokens: of all sides together, EOS included.
      sizes: as in `Split`.
      weights: as in `Split`.
    """

    folder: pathlib.Path
    files: Sequence[Mapping[str, Any]]
    sides: tuple[str, ...]
    kind: str
    fingerprint: str
    tokens: int
    sizes: tuple[int, ...]
    weights: tuple[float, ...]

    def __len__(self) -> int:
        return sum(file["examples"] for file in self.files)

    @property
    def is_parallel(self) -> bool:
        """Whether there is a source."""
        return len(self.sides) == 2

    def parts(self) -> list["PreparedSplit"]:
        """As `Split.parts`."""
        if not self.weights:
            return [self]
        return [
            dataclasses.replace(self, files=[file for file in self.files if file["part"] == part], weights=())
            for part in range(len(self.sizes))
        ]

    def read(self, vocabulary: Vocabulary) -> Iterator[Examples]:
        """All examples, with EOS, a record at a time.

        Raises:
          InputError: the vocabulary is another one, or a shard is damaged.
        """
        if vocabulary.fingerprint != self.fingerprint:
            raise InputError(
                f"{self.folder} was encoded with the vocabulary {self.fingerprint}, this run has "
                f"{vocabulary.fingerprint}; use {self.folder / 'vocabulary.model'} or delete {self.folder}"
            )
        for file in self.files:
            for record in _records(self.folder / file["name"]):
                yield unpack(record, self.sides, np.dtype(self.kind))


def pack(examples: Examples) -> bytes:
    """A record."""
    head = [np.array([len(examples)], np.uint32), *(each.astype(np.uint32) for each in examples.lengths.values())]
    return b"".join(array.tobytes() for array in (*head, *examples.flat.values()))


def unpack(record: bytes, sides: Sequence[str], kind: np.dtype) -> Examples:
    """The examples of a record."""
    (count,) = np.frombuffer(record, np.uint32, 1)
    table = np.frombuffer(record, np.uint32, len(sides) * count, 4).reshape(len(sides), count).astype(np.int64)
    flat, place = {}, 4 * (1 + table.size)
    for name, lengths in zip(sides, table, strict=True):
        flat[name] = np.frombuffer(record, kind, lengths.sum(), place)
        place += flat[name].nbytes
    return Examples(flat, dict(zip(sides, table, strict=True)))


def read_manifest(place: pathlib.Path) -> dict[str, Any] | None:
    """The manifest of a prepared folder; None where there is none.

    Raises:
      InputError: the manifest is not one that this version reads, or a file that it lists is missing or cut short.
    """
    path = place / "manifest.json"
    if not place.exists():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
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
    """Reads every file and compares its checksum.

    Raises:
      InputError: one differs.
    """
    for file in _files(manifest):
        if checksum(place / file["name"]) != file["sha256"]:
            raise InputError(f"{place / file['name']} has another checksum than its manifest; delete {place}")


def read(place: pathlib.Path, manifest: Mapping[str, Any]) -> dict[str, Split | PreparedSplit]:
    """The splits: train as ids, dev and test as text."""
    train, splits = manifest["splits"]["train"], {}
    splits["train"] = PreparedSplit(
        place,
        train["files"],
        tuple(train["tokens"]),
        manifest["ids"],
        manifest["vocabulary"]["fingerprint"],
        sum(train["tokens"].values()),
        tuple(train["sizes"]),
        tuple(train["weights"]),
    )
    for name in manifest["splits"].keys() - {"train"}:
        pairs = json.loads((place / f"{name}.json").read_text(encoding="utf-8"))
        splits[name] = Split.of_pairs([tuple(pair) for pair in pairs])
    return splits


def checksum(path: pathlib.Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _records(path: pathlib.Path) -> Iterator[bytes]:
    try:
        reader = array_record_module.ArrayRecordReader(str(path), "readahead_buffer_size:16777216")
        for _ in range(reader.num_records()):
            yield reader.read()
        reader.close()  # raises again what a damaged file raised before, so not in a `finally`
    except (IndexError, RuntimeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({' '.join(str(error).split())}); delete {path.parent}") from error


def _files(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [file for split in manifest["splits"].values() for file in split["files"]] + [manifest["vocabulary"]]
