"""One split of a corpus: parallel lines, or lines alone."""

import dataclasses
import itertools
from collections.abc import Sequence


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
    def is_parallel(self) -> bool:
        """Whether there is a source."""
        return len(self.source) > 0

    def parts(self) -> list["Split"]:
        """The corpora that are mixed by weights; the split alone where there are no weights."""
        if not self.weights:
            return [self]
        ends = list(itertools.accumulate(self.sizes))
        places = [slice(end - size, end) for end, size in zip(ends, self.sizes, strict=True)]
        return [Split(self.source[place], self.target[place]) for place in places]

    def pairs(self) -> list[tuple[str, ...]]:
        """(source, target), or (target,) for a language model."""
        return list(zip(self.source, self.target, strict=True)) if self.source else [(line,) for line in self.target]

    @classmethod
    def of_pairs(cls, pairs: Sequence[tuple[str, ...]]) -> "Split":
        """The split whose `pairs` these are."""
        columns = list(zip(*pairs, strict=True)) or [()]
        return cls(columns[0] if len(columns) == 2 else (), columns[-1])
