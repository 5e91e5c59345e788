"""Text to ids, once: the examples of a split in flat arrays, of which training later reads slices."""

import array
import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from mqa_jax import progress
from mqa_jax.data.split import Split
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.errors import InputError
from mqa_jax.experiment import DataConfig
from mqa_jax.tokens import EOS

CHUNK = 65_536  # lines encoded at a time: as Python objects ids take ten times the memory


class Examples:
    """Item i is {"source": ids, "target": ids}, or {"target": ids} of a language model: int32 views of flat arrays."""

    def __init__(self, names: Iterable[str], rows: Iterable[Sequence[Iterable[int]]]):
        flat = {name: array.array("i") for name in names}
        ends = {name: array.array("q", [0]) for name in flat}
        for row in rows:
            for name, ids in zip(flat, row, strict=True):
                flat[name].extend(ids)
                ends[name].append(len(flat[name]))
        self._flat = {name: np.asarray(each) for name, each in flat.items()}
        self._ends = {name: np.asarray(each) for name, each in ends.items()}

    def __len__(self) -> int:
        return len(self._ends["target"]) - 1

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {name: self._flat[name][ends[index] : ends[index + 1]] for name, ends in self._ends.items()}

    def lengths(self) -> dict[str, np.ndarray]:
        """Tokens of each example, for each side."""
        return {name: np.diff(ends) for name, ends in self._ends.items()}


def limits(split: Split, data: DataConfig) -> dict[str, int]:
    """Columns of a row for each side that the split has."""
    target = {"target": data.target_length}
    return {"source": data.source_length} | target if len(split.source) else target


def for_training(
    split: Split, vocabulary: Vocabulary, data: DataConfig, process_index: int = 0, process_count: int = 1
) -> Examples:
    """Every `process_count`-th line, each side ending in EOS.

    Pairs with a side longer than its row are left out, and said. A language model's long lines are cut into pieces
    of a row's length, each an example of its own.

    Raises:
      InputError: nothing is left to train on.
    """
    sides, share = limits(split, data), range(process_index, len(split), process_count)
    if not share:
        raise InputError(
            f"config.data.train has {len(split)} lines for {process_count} processes; give each at least one"
        )
    rows = _with_progress(_encode(split, vocabulary, share), len(share))
    if "source" not in sides:
        return Examples(sides, _pieces(rows, data.target_length))
    examples = Examples(sides, (row for row in rows if _fits(row, sides)))
    if not len(examples):
        raise InputError(
            f"config.data.source_length={data.source_length} and target_length={data.target_length} are less than "
            "every training pair has; raise them"
        )
    if len(examples) < len(share):
        left_out = len(share) - len(examples)
        progress.say(f"train: left out {left_out} of {len(share)} pairs that are longer than their rows")
    return examples


def for_scoring(split: Split, vocabulary: Vocabulary, data: DataConfig) -> Examples:
    """Every line, each side ending in EOS, cut where it is longer than its row.

    What is cut from a translation is lost, and said. A language model's long lines go on in further examples, so that
    every token is in one.
    """
    sides, rows = limits(split, data), _encode(split, vocabulary, range(len(split)))
    if "source" not in sides:
        return Examples(sides, _pieces(rows, data.target_length))
    whole = Examples(sides, rows)
    lengths = whole.lengths()
    too_long = np.any([lengths[name] > limit for name, limit in sides.items()], axis=0)
    if not too_long.any():
        return whole
    progress.say(f"scoring: cut {too_long.sum()} of {len(split)} pairs that are longer than their rows")
    return Examples(sides, ([whole[i][name][:limit] for name, limit in sides.items()] for i in range(len(whole))))


def _encode(split: Split, vocabulary: Vocabulary, share: range) -> Iterator[tuple[list[int], ...]]:
    """The ids of each side of the lines of `share`, with EOS."""
    sides = [side for side in (split.source, split.target) if len(side)]
    for start in range(0, len(share), CHUNK):
        part = share[start : start + CHUNK]
        encoded = [vocabulary.encode_all(side[part.start : part.stop : part.step]) for side in sides]
        for row in zip(*encoded, strict=True):
            yield tuple([*ids, EOS] for ids in row)


def _fits(row: Sequence[Sequence[int]], sides: Mapping[str, int]) -> bool:
    return all(len(ids) <= limit for ids, limit in zip(row, sides.values(), strict=True))


def _pieces(rows: Iterable[tuple[list[int], ...]], limit: int) -> Iterator[tuple[list[int]]]:
    for (ids,) in rows:
        for start in range(0, len(ids), limit):
            yield (ids[start : start + limit],)


def _with_progress(rows: Iterable[tuple[list[int], ...]], total: int) -> Iterator[tuple[list[int], ...]]:
    """The rows, with a bar if there are enough of them to wait for."""
    with progress.bar("encode", total) if total > CHUNK else contextlib.nullcontext() as bar:
        for done, row in enumerate(rows, 1):
            yield row
            if bar and (done % CHUNK == 0 or done == total):
                bar.update(done)
