"""A task's text: parallel lines, or lines alone, in train, dev and test."""

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mqa_jax.data.examples import PreparedSplit


class Lines(Sequence[str]):
    """Lines that are made as they are asked for.

    Args:
      count: how many there are.
      make: gives those of a slice.
    """

    def __init__(self, count: int, make: Callable[[slice], list[str]]):
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._make(index)
        index = range(self._count)[index]  # raises what a list would raise
        return self._make(slice(index, index + 1))[0]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, self._count, 1024):
            yield from self._make(slice(start, start + 1024))


@dataclasses.dataclass(frozen=True)
class Split:
    """Lines of text.

    Attributes:
      source: the lines to translate; empty for a language model.
      target: their translations, or the lines of a language model.
      sizes: lines of each of the corpora that the split joins, in order; empty where there is one.
      weights: the share of training examples that each of them gives; empty if every line counts alike.
    """

    source: Sequence[str]
    target: Sequence[str]
    sizes: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.target)

    @property
    def sides(self) -> dict[str, Sequence[str]]:
        """The columns that there are, by name: `source` and `target`, or `target` alone."""
        return {"source": self.source, "target": self.target} if len(self.source) else {"target": self.target}

    def corpora(self) -> list["Split"]:
        """The corpora that are mixed by weights; the split alone where there are no weights."""
        if not self.weights:
            return [self]
        ends = itertools.accumulate(self.sizes)
        places = [slice(end - size, end) for end, size in zip(ends, self.sizes, strict=True)]
        return [Split(self.source[place], self.target[place]) for place in places]

    def pairs(self) -> list[tuple[str, ...]]:
        """(source, target), or (target,) for a language model."""
        return list(zip(*self.sides.values(), strict=True))

    def first(self, lines: int) -> "Split":
        """The first so many lines; all, if 0."""
        return Split(self.source[:lines], self.target[:lines]) if lines else self

    def digest(self) -> str:
        """The first 16 hex digits of a SHA-256 of the lines and, where they are weighed, of what is joined."""
        sums = hashlib.sha256(repr((list(self.sides), self.sizes if self.weights else ())).encode())
        for side in self.sides.values():
            for line in side:
                sums.update(f"{line}\n".encode())
        return sums.hexdigest()[:16]

    def where(self, keeps: Callable[[tuple[str, ...]], bool]) -> "Split":
        """The pairs of each corpus that `keeps` says yes to, asked in order."""
        pairs = iter(self.pairs())
        parts = [[pair for pair in itertools.islice(pairs, size) if keeps(pair)] for size in self.sizes]
        kept = Split.of_pairs(list(itertools.chain(*parts)))
        return dataclasses.replace(kept, sizes=tuple(map(len, parts)), weights=self.weights)

    @classmethod
    def of_pairs(cls, pairs: Sequence[tuple[str, ...]]) -> "Split":
        """The split whose `pairs` these are."""
        columns = list(zip(*pairs, strict=True)) or [()]
        return cls(columns[0] if len(columns) == 2 else (), columns[-1])


@dataclasses.dataclass(frozen=True)
class Corpus:
    """What every source gives and every run starts from.

    Attributes:
      description: one line for reports.
      splits: dev and test, and the text of train where there are no ids of it.
      prepared: the ids of train, where `scripts/prepare_data.py` made them.
    """

    description: str
    splits: Mapping[str, Split]
    prepared: PreparedSplit | None = None

    @property
    def train(self) -> Split | PreparedSplit:
        """What is trained on."""
        return self.prepared or self.splits["train"]

    @functools.cached_property
    def digests(self) -> dict[str, str]:
        """Each split's digest; train's is that of its text, prepared or not."""
        prepared = {"train": self.prepared.text} if self.prepared else {}
        return {name: split.digest() for name, split in self.splits.items()} | prepared
