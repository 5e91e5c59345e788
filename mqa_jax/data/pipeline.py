"""Token rows for training and scoring, on grain.

A split is encoded once, into two flat arrays; what training reads after that is slices of them. Order, packing
and position are grain's: shuffled anew each epoch under a seed, sharded by process, prefetched on a thread,
with a state that a checkpoint holds and that resumes exactly.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import grain
import numpy as np
from grain import experimental as grain_experimental

from mqa_jax import progress
from mqa_jax.batch import Batch, Rows
from mqa_jax.data.split import Split
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.errors import InputError
from mqa_jax.experiment import DataConfig
from mqa_jax.tokens import BOS, EOS, PAD

PACKING_BINS = 128
SMALLEST_BUCKET = 16


class TokenStore:
    """Sequences of ids in one flat int32 array; item i is a view of it."""

    def __init__(self, sequences: Sequence[Sequence[int]]):
        self._ends = np.cumsum([len(each) for each in sequences], dtype=np.int64)
        self._flat = np.fromiter((token for each in sequences for token in each), np.int32, self._ends[-1])

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._flat[self._ends[index - 1] if index else 0 : self._ends[index]]


class _Examples:
    """{"target": ids} or {"source": ids, "target": ids}, each ending in EOS."""

    def __init__(self, columns: dict[str, TokenStore]):
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns["target"])

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {name: store[index] for name, store in self._columns.items()}


def training_iterator(
    split: Split, vocabulary: Vocabulary, data: DataConfig, seed: int, process_index: int = 0, process_count: int = 1
) -> grain.DatasetIterator[Batch]:
    """Endless batches of `data.rows` rows for this process, packed if `data.packing`.

    Pairs with a side longer than its row are left out, and said; a language model's long lines are cut into
    rows' lengths.

    Raises:
      InputError: nothing is left to train on.
    """
    limits = _limits(split, data)
    examples = _Examples(_training_columns(split, vocabulary, limits))
    mine = grain.MapDataset.source(examples).seed(seed)[process_index::process_count]
    if not len(mine):
        raise InputError(f"config.data.train leaves no examples for process {process_index} of {process_count}")
    rows: Any = mine.shuffle().repeat().to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=256))
    if data.packing:
        bins = min(PACKING_BINS, max(1, len(mine) // 8))  # few enough that epochs hardly mix
        rows = grain_experimental.FirstFitPackIterDataset(
            rows, length_struct=limits, num_packing_bins=bins, shuffle_bins=True
        )
    else:
        rows = rows.map(lambda example: _alone(example, limits))
    batches = rows.batch(data.rows, drop_remainder=True).map(lambda arrays: _batch(arrays, data.positions))
    return iter(grain_experimental.ThreadPrefetchIterDataset(batches, prefetch_buffer_size=8))


def scoring_batches(split: Split, vocabulary: Vocabulary, data: DataConfig, rows: int) -> Iterator[Batch]:
    """Every line once, one a row, in batches of `rows` rows of few lengths; rows that fill up are segment 0.

    A language model's long lines go on in further rows, so that every token counts once. A translation's are
    cut, and said.
    """
    limits = _limits(split, data)
    examples = _Examples(_scoring_columns(split, vocabulary, limits))
    lengths = [max(len(ids) for ids in examples[index].values()) for index in range(len(examples))]
    order = sorted(range(len(examples)), key=lambda index: -lengths[index])
    for start in range(0, len(order), rows):
        members = order[start : start + rows]
        bucket = SMALLEST_BUCKET
        while bucket < lengths[members[0]]:
            bucket *= 2
        sizes = {name: min(bucket, limit) for name, limit in limits.items()}
        alone = [_alone(examples[index], sizes) for index in members]
        empty = {name: np.zeros_like(array) for name, array in alone[0].items()}
        alone += [empty] * (rows - len(alone))
        yield _batch({name: np.stack([each[name] for each in alone]) for name in empty}, "row")


def packing_share(batches: Iterable[Batch]) -> float:
    """Share of positions, source and target, that hold a token."""
    real = total = 0
    for batch in batches:
        for side in filter(None, (batch.source, batch.target)):
            real += int((side.segments_BL > 0).sum())
            total += side.segments_BL.size
    return real / total


def _limits(split: Split, data: DataConfig) -> dict[str, int]:
    target = {"target": data.target_length}
    return {"source": data.source_length} | target if len(split.source) else target


def _encode(split: Split, vocabulary: Vocabulary) -> dict[str, list[list[int]]]:
    sides = {"source": split.source, "target": split.target} if len(split.source) else {"target": split.target}
    return {name: [[*ids, EOS] for ids in vocabulary.encode_all(lines)] for name, lines in sides.items()}


def _training_columns(split: Split, vocabulary: Vocabulary, limits: dict[str, int]) -> dict[str, TokenStore]:
    columns = _encode(split, vocabulary)
    if "source" not in columns:
        return {"target": TokenStore(_pieces(columns["target"], limits["target"]))}
    fits = [all(len(columns[name][i]) <= limit for name, limit in limits.items()) for i in range(len(split))]
    if not any(fits):
        raise InputError("every training pair is longer than config.data.source_length or target_length; raise them")
    if not all(fits):
        progress.say(f"train: left out {fits.count(False)} of {len(fits)} pairs that are longer than their rows")
    return {
        name: TokenStore([ids for ids, fit in zip(column, fits, strict=True) if fit])
        for name, column in columns.items()
    }


def _scoring_columns(split: Split, vocabulary: Vocabulary, limits: dict[str, int]) -> dict[str, TokenStore]:
    columns = _encode(split, vocabulary)
    if "source" not in columns:
        return {"target": TokenStore(_pieces(columns["target"], limits["target"]))}
    cut = sum(any(len(columns[name][i]) > limit for name, limit in limits.items()) for i in range(len(split)))
    if cut:
        progress.say(f"scoring: cut {cut} of {len(split)} pairs that are longer than their rows")
    return {name: TokenStore([ids[: limits[name]] for ids in column]) for name, column in columns.items()}


def _pieces(sequences: Iterable[list[int]], limit: int) -> list[list[int]]:
    return [ids[start : start + limit] for ids in sequences for start in range(0, len(ids), limit)]


def _alone(example: dict[str, np.ndarray], sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """One example in a row of its own, in the form that the packer gives."""
    row = {}
    for name, size in sizes.items():
        ids = example[name]
        filled = np.arange(size, dtype=np.int32) < len(ids)
        row[name] = np.pad(ids, (0, size - len(ids)))
        row[f"{name}_segment_ids"] = filled.astype(np.int32)
        row[f"{name}_positions"] = np.where(filled, np.arange(size, dtype=np.int32), 0).astype(np.int32)
    return row


def _batch(arrays: dict[str, np.ndarray], positions: str) -> Batch:
    def rows(name: str) -> Rows:
        tokens_BL = arrays[name].astype(np.int32)
        segments_BL, positions_BL = arrays[f"{name}_segment_ids"], arrays[f"{name}_positions"]
        if positions == "row":
            positions_BL = np.broadcast_to(np.arange(tokens_BL.shape[1], dtype=np.int32), tokens_BL.shape)
        return Rows(tokens_BL, segments_BL.astype(np.int32), positions_BL.astype(np.int32))

    target = rows("target")
    inputs_BL = shift_right(target.tokens_BL, target.segments_BL)
    return Batch(target, inputs_BL, rows("source") if "source" in arrays else None)


def shift_right(tokens_BL: np.ndarray, segments_BL: np.ndarray) -> np.ndarray:
    """The decoder's inputs: each token moved one place to the right inside its segment, BOS in the first place."""
    before_BL = np.pad(tokens_BL, ((0, 0), (1, 0)))[:, :-1]
    first_BL = segments_BL != np.pad(segments_BL, ((0, 0), (1, 0)))[:, :-1]
    return np.where(segments_BL == 0, PAD, np.where(first_BL, BOS, before_BL)).astype(np.int32)
