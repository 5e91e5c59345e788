"""Token rows for training and scoring, on grain.

Order, packing and position are grain's: shuffled anew each epoch under a seed, made ahead on a thread, with a state
that a checkpoint holds and that resumes exactly.

A batch's rows fall into `config.data.streams` equal shares, so that a process makes only the rows of its devices. Each
share comes from a stream of its own, which takes every so-many-th example of the one endless order and packs them by
itself. So the batches are the same whichever process makes which stream, and any number of processes can go on from a
checkpoint, which holds the position of each stream.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np
from grain import experimental as grain_experimental

from mqa_jax import progress
from mqa_jax.batch import Array, Batch, Rows
from mqa_jax.data.corpus import Split
from mqa_jax.data.examples import Examples, PreparedSplit
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.errors import InputError
from mqa_jax.experiment import DataConfig
from mqa_jax.tokens import PAD

MOST_BINS, ENOUGH_BINS = 512, 64  # of all streams together; of one stream where there are many
SMALLEST_BUCKET = 16
# An example is a slice: reading it on threads of its own costs three times what it takes.
UNTHREADED = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)


def limits(split: Split | PreparedSplit, data: DataConfig) -> dict[str, int]:
    """Columns of a row for each side that the split has."""
    columns = {"source": data.source_length, "target": data.target_length}
    return {side: columns[side] for side in split.sides}


# --- Training --------------------------------------------------------------------------------------------------------


class Streams(Iterator[Batch]):
    """Batches of the rows of some streams, and where each of these is.

    Attributes:
      epoch_tokens: tokens of an epoch of all streams.
    """

    def __init__(self, streams: Sequence[int], batches: grain.DatasetIterator, epoch_tokens: int):
        """
        Args:
          batches: of a dataset that is made of a `ZipIterDataset` of the streams' datasets, in their order.
        """
        self._names, self._batches = [str(stream) for stream in streams], batches
        self.epoch_tokens = epoch_tokens

    def __next__(self) -> Batch:
        return next(self._batches)

    def get_state(self) -> dict[str, Any]:
        """JSON: the position of each stream, by its number."""
        return dict(zip(self._names, self._batches.get_state()["parents"], strict=True))

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes to where `get_state` was called, whichever other streams `state` also holds."""
        self._batches.set_state({"parents": [state[name] for name in self._names]})


def training_iterator(
    split: Split | PreparedSplit,
    words: Vocabulary,
    data: DataConfig,
    seed: int,
    streams: Sequence[int] | None = None,
) -> Streams:
    """Endless batches of the rows of `streams`, or of all `data.rows` rows.

    Corpora that have weights are mixed in those shares, each shuffled and repeated by itself. What is too long for a
    row is left out or cut into pieces: see `training_examples`.
    """
    corpora, columns = [training_examples(corpus, words, data) for corpus in split.corpora()], limits(split, data)
    orders = [grain.MapDataset.source(corpus).seed(seed).shuffle().repeat() for corpus in corpora]
    bins, most = (packing_bins(corpora, columns, data.streams), None) if data.packing else (1, 1)

    def rows_of(stream: int) -> grain.IterDataset:
        own = [order[stream :: data.streams] for order in orders]
        order = grain.MapDataset.mix(own, split.weights) if split.weights else own[0]
        return grain_experimental.FirstFitPackIterDataset(
            order.to_iter_dataset(UNTHREADED),
            length_struct=columns,
            num_packing_bins=bins,
            seed=seed + stream,
            max_sequences_per_bin=most,
        ).batch(data.rows // data.streams)

    def joined(parts: Sequence[Mapping[str, np.ndarray]]) -> Batch:
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return _batch(arrays, data.positions, words.bos)

    streams = range(data.streams) if streams is None else streams
    made = grain_experimental.ZipIterDataset([rows_of(stream) for stream in streams]).map(joined)
    ahead = grain_experimental.ThreadPrefetchIterDataset(made, prefetch_buffer_size=8)
    tokens = sum(int(lengths.sum()) for corpus in corpora for lengths in corpus.lengths.values())
    return Streams(streams, iter(ahead), tokens)


def training_examples(split: Split | PreparedSplit, words: Vocabulary, data: DataConfig) -> Examples:
    """Every line, each side ending in EOS.

    Pairs with a side longer than its row are left out, and said. A language model's long lines are cut into pieces
    of a row's length, each an example of its own.

    Raises:
      InputError: nothing is left to train on, or prepared ids of another vocabulary.
    """
    columns = limits(split, data)
    if isinstance(split, Split):
        with progress.bar("encode", len(split)) as bar:
            examples = words.encode_split(split, bar.update)
    elif split.fingerprint == words.fingerprint:
        examples = split.read()
    else:
        raise InputError(
            f"{split.folder} was encoded with the vocabulary {split.fingerprint}, this run has "
            f"{words.fingerprint}; use {split.folder / 'vocabulary.model'} or delete {split.folder}"
        )
    if "source" not in columns:
        return examples.pieces(data.target_length)
    fitting = examples.where(examples.fit(columns))
    if not len(fitting):
        raise InputError(
            f"config.data.source_length={data.source_length} and target_length={data.target_length} are less than "
            "every training pair has; raise them"
        )
    if left_out := len(examples) - len(fitting):
        progress.say(f"train: left out {left_out} of {len(examples)} pairs that are longer than their rows")
    return fitting


def packing_bins(corpora: Sequence[Examples], columns: Mapping[str, int], streams: int) -> int:
    """Rows that a stream fills at a time: the more, the fuller, but all that hold one row of an epoch's end mix two
    epochs, and the first batch waits for all of them.

    A tenth of the rows that a stream's share of an epoch fills, and no more than are of use.
    """
    filled = max(sum(each.lengths[name].sum() for each in corpora) / limit for name, limit in columns.items())
    return int(np.clip(filled // 10 // streams, 1, max(MOST_BINS // streams, ENOUGH_BINS)))


def streams_of_rows(rows: Sequence[int], data: DataConfig) -> list[int]:
    """The streams that some rows of a batch come from."""
    return sorted({row * data.streams // data.rows for row in rows})


def rows_of_streams(streams: Sequence[int], data: DataConfig) -> list[int]:
    """The rows of a batch that come from some streams."""
    each = data.rows // data.streams
    return [row for stream in streams for row in range(stream * each, (stream + 1) * each)]


# --- Scoring ---------------------------------------------------------------------------------------------------------


def scoring_batches(
    split: Split, words: Vocabulary, data: DataConfig, rows: int, own: Sequence[int] | None = None
) -> Iterator[Batch]:
    """Every line once, in batches of `rows` rows; rows that fill up are segment 0.

    Either packed as in training, in the order of the lines (`data.packed_scoring`), or one a row, longest first. Then
    all sides of a batch have one length, a power of two of at least 16 or the limit, so there are few shapes. What is
    cut from a translation is lost, and said once; a language model's long lines go on in further rows.

    Args:
      own: the rows of each batch to make, in order; all, if None.
    """
    columns, examples = limits(split, data), words.encode_split(split)
    if "source" not in columns:
        examples = examples.pieces(data.target_length)
    elif too_long := int((~examples.fit(columns)).sum()):
        progress.say_once(f"scoring: cut {too_long} of {len(split)} pairs that are longer than their rows")
        examples = examples.cut(columns)
    own = range(rows) if own is None else own
    if data.packed_scoring and len(examples):
        packed = grain_experimental.FirstFitPackIterDataset(
            grain.MapDataset.source(examples).to_iter_dataset(UNTHREADED),
            length_struct=columns,
            num_packing_bins=ENOUGH_BINS,
        ).batch(rows)
        for made in packed:
            filled_up = {name: np.pad(part, ((0, rows - len(part)), (0, 0))) for name, part in made.items()}
            yield _batch({name: array[list(own)] for name, array in filled_up.items()}, data.positions, words.bos)
        return
    lengths = np.max(list(examples.lengths.values()), axis=0)
    order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), rows):
        members = order[start : start + rows]
        bucket = SMALLEST_BUCKET
        while bucket < lengths[members[0]]:
            bucket *= 2
        sizes = {name: min(bucket, limit) for name, limit in columns.items()}
        members = [examples[members[row]] for row in own if row < len(members)]
        yield one_a_row(members, sizes, words.bos, len(own))


def lost_in_scoring(split: Split, words: Vocabulary, data: DataConfig) -> tuple[int, int]:
    """What `scoring_batches` cuts off: pairs with a side that is cut, and target tokens that are in no row."""
    columns = limits(split, data)
    if "source" not in columns:
        return 0, 0
    examples = words.encode_split(split)
    over_S = np.maximum(examples.lengths["target"] - data.target_length, 0)
    return int((~examples.fit(columns)).sum()), int(over_S.sum())


# --- Rows ------------------------------------------------------------------------------------------------------------


def filled(batch: Batch) -> tuple[int, int]:
    """The positions of a batch, source and target together, that hold a token, and all of them."""
    segments = [side.segments_BL for side in (batch.source, batch.target) if side]
    return sum(int(np.count_nonzero(each)) for each in segments), sum(each.size for each in segments)


def shift_right(tokens_BL: Array, segments_BL: Array, bos: int) -> np.ndarray:
    """The decoder's inputs: each token moved one place to the right inside its segment, BOS in the first place."""
    before_BL = np.pad(tokens_BL, ((0, 0), (1, 0)))[:, :-1]
    first_BL = segments_BL != np.pad(segments_BL, ((0, 0), (1, 0)))[:, :-1]
    return np.where(segments_BL == 0, PAD, np.where(first_BL, bos, before_BL)).astype(np.int32)


def one_a_row(examples: Sequence[Mapping[str, np.ndarray]], sizes: Mapping[str, int], bos: int, rows: int) -> Batch:
    """Each example alone in a row, and empty rows up to `rows`."""
    arrays = {}
    for name, size in sizes.items():
        tokens_BL = np.full((rows, size), PAD, np.int32)
        segments_BL = np.zeros_like(tokens_BL)
        for row, example in enumerate(examples):
            tokens_BL[row, : len(example[name])] = example[name]
            segments_BL[row, : len(example[name])] = 1
        arrays |= {name: tokens_BL, f"{name}_segment_ids": segments_BL}
    return _batch(arrays, "row", bos)


def _batch(arrays: Mapping[str, np.ndarray], positions: str, bos: int) -> Batch:
    """A batch of rows as grain packs them; `positions` is `config.data.positions`."""

    def side(name: str) -> Rows:
        tokens_BL, segments_BL = arrays[name].astype(np.int32), arrays[f"{name}_segment_ids"]
        if positions == "segment":
            return Rows(tokens_BL, segments_BL, arrays[f"{name}_positions"])
        B, L = tokens_BL.shape
        return Rows(tokens_BL, segments_BL, np.tile(np.arange(L, dtype=np.int32), (B, 1)))

    target = side("target")
    inputs_BL = shift_right(target.tokens_BL, target.segments_BL, bos)
    return Batch(target, inputs_BL, side("source") if "source" in arrays else None)
