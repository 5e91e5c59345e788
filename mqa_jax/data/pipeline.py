"""Token rows for training and scoring, on grain.

Order, packing and position are grain's: shuffled anew each epoch under a seed, made ahead on a thread, with a state
that a checkpoint holds and that resumes exactly. A process may make a part of each batch: see data/streams.py.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np
from grain import experimental as grain_experimental

from mqa_jax.batch import Array, Batch, Rows
from mqa_jax.data import examples as encoded
from mqa_jax.data.ids import Examples
from mqa_jax.data.prepared import PreparedSplit
from mqa_jax.data.split import Split
from mqa_jax.data.streams import Streams
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.experiment import DataConfig
from mqa_jax.tokens import BOS, PAD

MOST_BINS, ENOUGH_BINS = 512, 64  # of all streams together; of one stream where there are many
SMALLEST_BUCKET = 16


def training_iterator(
    split: Split | PreparedSplit,
    vocabulary: Vocabulary,
    data: DataConfig,
    seed: int,
    streams: Sequence[int] | None = None,
) -> Streams:
    """Endless batches of the rows of `streams`, or of all `data.rows` rows, packed if `data.packing`.

    Corpora that have weights are mixed in those shares, each shuffled and repeated by itself.
    What is too long for a row is left out or cut into pieces: see `examples.for_training`.

    Raises:
      InputError: nothing is left to train on.
    """
    limits = encoded.limits(split, data)
    parts = [encoded.for_training(part, vocabulary, data) for part in split.parts()]
    orders = [grain.MapDataset.source(part).seed(seed).shuffle().repeat() for part in parts]
    bins, rows = packing_bins(parts, limits, data.streams), data.rows // data.streams

    def rows_of(stream: int) -> Any:
        own = [order[stream :: data.streams] for order in orders]
        order = grain.MapDataset.mix(own, split.weights) if split.weights else own[0]
        # An example is a slice: reading it on threads of its own costs three times what it takes.
        examples: Any = order.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
        if not data.packing:
            return examples.batch(rows, batch_fn=list)
        return grain_experimental.FirstFitPackIterDataset(
            examples, length_struct=limits, num_packing_bins=bins, seed=seed + stream, shuffle_bins=True
        ).batch(rows)

    def together(parts: Sequence[Any]) -> Batch:
        if not data.packing:
            return _one_a_row(list(itertools.chain(*parts)), limits)
        return _packed({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, data.positions)

    streams = range(data.streams) if streams is None else streams
    batches = grain_experimental.ZipIterDataset([rows_of(stream) for stream in streams]).map(together)
    return Streams(streams, iter(grain_experimental.ThreadPrefetchIterDataset(batches, prefetch_buffer_size=8)))


def scoring_batches(
    split: Split, vocabulary: Vocabulary, data: DataConfig, rows: int, own: Sequence[int] | None = None
) -> Iterator[Batch]:
    """Every line once, one a row, in batches of `rows` rows, longest first; rows that fill up are segment 0.

    All sides of a batch have one length, a power of two of at least 16 or the limit, so there are few shapes.
    What is too long for a row is cut: see `examples.for_scoring`.

    Args:
      own: the rows of each batch to make, in order; all, if None.
    """
    limits = encoded.limits(split, data)
    examples = encoded.for_scoring(split, vocabulary, data)
    lengths = np.max(list(examples.lengths.values()), axis=0)
    order, own = np.argsort(-lengths, kind="stable"), range(rows) if own is None else own
    for start in range(0, len(order), rows):
        members = order[start : start + rows]
        bucket = SMALLEST_BUCKET
        while bucket < lengths[members[0]]:
            bucket *= 2
        sizes = {name: min(bucket, limit) for name, limit in limits.items()}
        yield _one_a_row([examples[members[row]] for row in own if row < len(members)], sizes, len(own))


def packing_share(batches: Iterable[Batch]) -> float:
    """Share of the positions of some batches, source and target together, that hold a token."""
    real = total = 0
    for batch in batches:
        for side in filter(None, (batch.source, batch.target)):
            real += int((side.segments_BL > 0).sum())
            total += side.segments_BL.size
    return real / total


def packing_bins(parts: Sequence[Examples], limits: Mapping[str, int], streams: int = 1) -> int:
    """Rows that a stream fills at a time: the more, the fuller, but all that hold one row of an epoch's end mix two
    epochs, and the first batch waits for all of them.

    A tenth of the rows that a stream's share of an epoch fills, and no more than are of use.
    """
    filled = max(sum(part.lengths[name].sum() for part in parts) / limit for name, limit in limits.items())
    return int(np.clip(filled // 10 // streams, 1, max(MOST_BINS // streams, ENOUGH_BINS)))


def shift_right(tokens_BL: Array, segments_BL: Array) -> np.ndarray:
    """The decoder's inputs: each token moved one place to the right inside its segment, BOS in the first place."""
    before_BL = np.pad(tokens_BL, ((0, 0), (1, 0)))[:, :-1]
    first_BL = segments_BL != np.pad(segments_BL, ((0, 0), (1, 0)))[:, :-1]
    return np.where(segments_BL == 0, PAD, np.where(first_BL, BOS, before_BL)).astype(np.int32)


def _one_a_row(examples: Sequence[dict[str, np.ndarray]], sizes: Mapping[str, int], count: int | None = None) -> Batch:
    """Each example alone in a row, and empty rows up to `count`."""

    def rows(name: str) -> Rows:
        tokens_BL = np.full((count or len(examples), sizes[name]), PAD, np.int32)
        segments_BL = np.zeros_like(tokens_BL)
        for row, example in enumerate(examples):
            tokens_BL[row, : len(example[name])] = example[name]
            segments_BL[row, : len(example[name])] = 1
        return Rows(tokens_BL, segments_BL, _row_positions(tokens_BL))

    return _batch({name: rows(name) for name in sizes})


def _packed(arrays: Mapping[str, np.ndarray], positions: str) -> Batch:
    """A batch of grain's packed rows."""

    def rows(name: str) -> Rows:
        tokens_BL, segments_BL = arrays[name].astype(np.int32), arrays[f"{name}_segment_ids"]
        positions_BL = arrays[f"{name}_positions"] if positions == "segment" else _row_positions(tokens_BL)
        return Rows(tokens_BL, segments_BL, positions_BL)

    return _batch({name: rows(name) for name in ("source", "target") if name in arrays})


def _batch(sides: Mapping[str, Rows]) -> Batch:
    target = sides["target"]
    return Batch(target, shift_right(target.tokens_BL, target.segments_BL), sides.get("source"))


def _row_positions(tokens_BL: np.ndarray) -> np.ndarray:
    return np.tile(np.arange(tokens_BL.shape[1], dtype=np.int32), (len(tokens_BL), 1))
