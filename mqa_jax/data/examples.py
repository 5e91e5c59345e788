"""Token ids of many examples in flat arrays, in memory and on disk: as Python objects they take ten times the room."""

import dataclasses
import pathlib
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mqa_jax.errors import InputError

SIDES = ("source", "target")


class Examples:
    """Item i is {"source": ids, "target": ids}, or {"target": ids} of a language model: views of the flat arrays.

    Args:
      flat: for each side, the ids of all examples, one after another.
      lengths: for each side, ids of each example.
    """

    def __init__(self, flat: Mapping[str, np.ndarray], lengths: Mapping[str, np.ndarray]):
        self.flat, self.lengths = dict(flat), dict(lengths)
        self._ends = {name: np.concatenate([[0], np.cumsum(each)]) for name, each in lengths.items()}

    def __len__(self) -> int:
        return len(self.lengths["target"])

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {name: self.flat[name][ends[index] : ends[index + 1]] for name, ends in self._ends.items()}

    def where(self, chosen: np.ndarray) -> "Examples":
        """The examples that a mask chooses."""
        flat = {name: ids[np.repeat(chosen, self.lengths[name])] for name, ids in self.flat.items()}
        return Examples(flat, {name: each[chosen] for name, each in self.lengths.items()})

    def fit(self, limits: Mapping[str, int]) -> np.ndarray:
        """A mask of the examples all of whose sides are within their limits."""
        return np.all([self.lengths[name] <= limit for name, limit in limits.items()], axis=0)

    def pieces(self, limit: int) -> "Examples":
        """A language model's examples, the long ones cut into pieces of `limit` ids and a rest."""
        before = self.lengths["target"]
        count = -(-before // limit)
        lengths = np.full(count.sum(), limit)
        lengths[np.cumsum(count) - 1] = before - (count - 1) * limit
        return Examples(self.flat, {"target": lengths})

    def cut(self, limits: Mapping[str, int]) -> "Examples":
        """Each side's first ids, at most as many as its limit."""
        flat, lengths = {}, {}
        for name, limit in limits.items():
            lengths[name] = np.minimum(self.lengths[name], limit)
            place = np.arange(len(self.flat[name])) - np.repeat(self._ends[name][:-1], self.lengths[name])
            flat[name] = self.flat[name][place < limit]
        return Examples(flat, lengths)

    def save(self, path: pathlib.Path) -> None:
        """Writes an .npz file; a zip archive, so that a bit that flips there is noticed by its checksum."""
        lengths = {f"{name}_lengths": each.astype(np.uint32) for name, each in self.lengths.items()}
        np.savez(path, allow_pickle=False, **self.flat, **lengths)

    @classmethod
    def load(cls, path: pathlib.Path) -> "Examples":
        """What `save` wrote.

        Raises:
          InputError: the file is damaged.
        """
        try:
            with np.load(path) as file:
                arrays = dict(file)
            lengths = {name: arrays.pop(f"{name}_lengths").astype(np.int64) for name in SIDES if name in arrays}
        except (OSError, EOFError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is damaged ({error}); delete {path.parent}") from error
        return cls(arrays, lengths)


def join(chunks: Sequence[Examples]) -> Examples:
    """One after another."""
    flat = {name: np.concatenate([chunk.flat[name] for chunk in chunks]) for name in chunks[0].flat}
    lengths = {name: np.concatenate([chunk.lengths[name] for chunk in chunks]) for name in chunks[0].lengths}
    return Examples(flat, lengths)


@dataclasses.dataclass(frozen=True)
class PreparedSplit:
    """The ids of a training split, in .npz files. `weights` and `corpora` are as in `corpus.Split`.

    Attributes:
      files: the manifest's entry of each file in `folder`.
      sides: ("source", "target") or ("target",).
      fingerprint: of the vocabulary that made them.
      text: digest of the lines that they were made of (`corpus.Split.digest`).
    """

    folder: pathlib.Path
    files: Sequence[Mapping[str, Any]]
    sides: tuple[str, ...]
    fingerprint: str
    text: str
    weights: tuple[float, ...]

    def __len__(self) -> int:
        return sum(file["examples"] for file in self.files)

    def corpora(self) -> list["PreparedSplit"]:
        """The corpora that are mixed by weights; the split alone where there are no weights."""
        if not self.weights:
            return [self]
        return [
            dataclasses.replace(self, files=[file for file in self.files if file["part"] == part], weights=())
            for part in range(len(self.weights))
        ]

    def read(self) -> Examples:
        """All examples, with EOS."""
        return join([Examples.load(self.folder / file["name"]) for file in self.files])
