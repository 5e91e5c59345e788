"""One split of a corpus: parallel lines, or lines alone."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Split:
    """Lines of text.

    Attributes:
      source: the lines to translate; empty for a language model.
      target: their translations, or the lines of a language model.
    """

    source: Sequence[str]
    target: Sequence[str]

    def __len__(self) -> int:
        return len(self.target)

    def pairs(self) -> list[tuple[str, ...]]:
        """(source, target), or (target,) for a language model."""
        return list(zip(self.source, self.target, strict=True)) if self.source else [(line,) for line in self.target]

    @classmethod
    def of_pairs(cls, pairs: Sequence[tuple[str, ...]]) -> "Split":
        """The split whose `pairs` these are."""
        columns = list(zip(*pairs, strict=True)) or [()]
        return cls(columns[0] if len(columns) == 2 else (), columns[-1])
