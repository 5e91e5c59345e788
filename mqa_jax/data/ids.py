"""Token ids of many examples in flat arrays: as Python objects they take ten times the memory."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mqa_jax.data.split import Split
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.tokens import EOS

CHUNK = 65_536  # lines encoded at a time


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

    def slice(self, start: int, stop: int) -> "Examples":
        """The examples from `start` to before `stop`."""
        stop = min(stop, len(self))
        flat = {name: self.flat[name][ends[start] : ends[stop]] for name, ends in self._ends.items()}
        return Examples(flat, {name: each[start:stop] for name, each in self.lengths.items()})

    def where(self, chosen: np.ndarray) -> "Examples":
        """The examples that a mask chooses."""
        flat = {name: ids[np.repeat(chosen, self.lengths[name])] for name, ids in self.flat.items()}
        return Examples(flat, {name: each[chosen] for name, each in self.lengths.items()})

    def fit(self, limits: Mapping[str, int]) -> np.ndarray:
        """A mask of the examples all of whose sides are within their limits."""
        return np.all([self.lengths[name] <= limit for name, limit in limits.items()], axis=0)

    def pieces(self, limit: int) -> "Examples":
        """A language model's examples, the long ones cut into pieces of `limit` ids and a rest."""
        whole = self.lengths["target"]
        count = -(-whole // limit)
        lengths = np.full(count.sum(), limit)
        lengths[np.cumsum(count) - 1] = whole - (count - 1) * limit
        return Examples(self.flat, {"target": lengths})

    def cut(self, limits: Mapping[str, int]) -> "Examples":
        """Each side's first ids, at most as many as its limit."""
        flat, lengths = {}, {}
        for name, limit in limits.items():
            lengths[name] = np.minimum(self.lengths[name], limit)
            place = np.arange(len(self.flat[name])) - np.repeat(self._ends[name][:-1], self.lengths[name])
            flat[name] = self.flat[name][place < limit]
        return Examples(flat, lengths)


def join(chunks: Sequence[Examples], sides: Mapping[str, int]) -> Examples:
    """One after another; none where there are no chunks."""

    def joined(arrays: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(arrays) if arrays else np.zeros(0, np.int32)

    return Examples(
        {name: joined([chunk.flat[name] for chunk in chunks]) for name in sides},
        {name: joined([chunk.lengths[name] for chunk in chunks]) for name in sides},
    )


def encode(split: Split, vocabulary: Vocabulary, share: range) -> Iterator[Examples]:
    """The ids of the lines of `share`, each side ending in EOS, some thousand lines at a time."""
    sides = {"source": split.source} if split.is_parallel else {}
    sides |= {"target": split.target}
    kind = np.uint16 if vocabulary.size <= 1 << 16 else np.int32
    for start in range(0, len(share), CHUNK):
        part = share[start : start + CHUNK]
        flat, lengths = {}, {}
        for name, side in sides.items():
            encoded = vocabulary.encode_all(side[part.start : part.stop : part.step])
            for ids in encoded:
                ids.append(EOS)
            lengths[name] = np.fromiter(map(len, encoded), np.int64, len(encoded))
            flat[name] = np.fromiter(itertools.chain.from_iterable(encoded), kind, lengths[name].sum())
        yield Examples(flat, lengths)
