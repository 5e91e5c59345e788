"""What a training corpus loses before it is learnt from: each rule counts what it drops."""

import dataclasses
from collections.abc import Collection, Iterable

Pair = tuple[str, ...]


@dataclasses.dataclass
class Counts:
    """Lines that a corpus had, and those that each rule dropped, in the order in which the rules are asked."""

    lines: int = 0
    empty: int = 0
    length_ratio: int = 0
    overlap: int = 0
    duplicates: int = 0
    overlap_kept: int = 0

    @property
    def note(self) -> str:
        """`dropped 1 with an empty side, ...`, the rules that dropped nothing left out."""
        rules = (
            (self.empty, "with an empty side"),
            (self.length_ratio, "with sides of too unlike lengths"),
            (self.overlap, "that are in dev or test"),
            (self.duplicates, "that are there before"),
        )
        dropped = ", ".join(f"{count} {why}" for count, why in rules if count)
        kept = f"kept {self.overlap_kept} that are in dev or test" if self.overlap_kept else ""
        return "; ".join(filter(None, (dropped and f"dropped {dropped}", kept)))


def kept(
    pairs: Iterable[Pair],
    held_out: Collection[Pair],
    seen: set[int] | None,
    length_ratio: float,
    drop_overlap: bool,
    counts: Counts,
) -> list[Pair]:
    """The pairs (or lines alone) that may train; `counts` is added to.

    Args:
      held_out: the pairs of dev and test.
      seen: hashes of the pairs before, added to; None keeps what is there twice.
      length_ratio: most characters of a side for each of the other; 0 for no limit.
    """
    left = []
    for pair in pairs:
        counts.lines += 1
        sizes = [len(side.strip()) for side in pair]
        if not min(sizes):
            counts.empty += 1
            continue
        if length_ratio and max(sizes) > length_ratio * min(sizes):
            counts.length_ratio += 1
            continue
        if pair in held_out:
            if drop_overlap:
                counts.overlap += 1
                continue
            counts.overlap_kept += 1
        if seen is not None:
            key = hash(pair)  # 64 bits: among a billion pairs one in forty is dropped for nothing, once
            if key in seen:
                counts.duplicates += 1
                continue
            seen.add(key)
        left.append(pair)
    return left
