"""Token rows for training and scoring, on grain.

Order, packing and position are grain's: shuffled anew each epoch under a seed, made ahead on a thread, with a state
that a checkpoint holds and that resumes exactly.

A batch's rows fall into `config.data.streams` equal shares, so that a process makes only the rows of its devices. Each
share comes from a stream of its own, which takes every so-many-th example of the one endless order and packs them by
itself. So the batches are the same whichever process makes which stream, and any number of processes can go on from a
checkpoint, which holds the position of each stream.
"""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np
from grain import experimental as grain_experimental

from mqa_jax import progress
from mqa_jax.batch import Array, Batch, Rows
from mqa_jax.data import vocabulary
from mqa_jax.data.corpus import Split
from mqa_jax.data.examples import Examples, PreparedSplit, join
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.errors import InputError
from mqa_jax.experiment import DataConfig
from mqa_jax.tokens import PAD

MOST_BINS, ENOUGH_BINS = 512, 64  # of all streams together; of one stream where there are many
SMALLEST_BUCKET = 16


def limits(split: Split | PreparedSplit, data: DataConfig) -> dict[str, int]:
    """Columns of a row for each side that the split has."""
    return {side: limit for side, limit in _limits(data).items() if side in split.sides}


def _limits(data: DataConfig) -> dict[str, int]:
    return {"source": data.source_length, "target": data.target_length}


# --- Training --------------------------------------------------------------------------------------------------------


def training_iterator(
    split: Split | PreparedSplit,
    words: Vocabulary,
    data: DataConfig,
    seed: int,
    streams: Sequence[int] | None = None,
) -> "Streams":
    """Endless batches of the rows of `streams`, or of all `data.rows` rows, packed if `data.packing`.

    What is too long for a row is left out or cut into pieces: see `training_examples`.

    Raises:
      InputError: nothing is left to train on, or prepared ids of another vocabulary.
    """
    return batches(training_corpora(split, words, data), split.weights, data, seed, words.bos, streams)


def training_corpora(split: Split | PreparedSplit, words: Vocabulary, data: DataConfig) -> list[Examples]:
    """The `training_examples` of each corpus that has a weight, or of all together."""
    return [training_examples(corpus, words, data) for corpus in split.corpora()]


def batches(
    corpora: Sequence[Examples],
    weights: Sequence[float],
    data: DataConfig,
    seed: int,
    bos: int,
    streams: Sequence[int] | None = None,
) -> "Streams":
    """What `training_iterator` gives, from ids. Corpora that have weights are mixed in those shares, each shuffled and
    repeated by itself."""
    columns = {side: limit for side, limit in _limits(data).items() if side in corpora[0].lengths}
    orders = [grain.MapDataset.source(corpus).seed(seed).shuffle().repeat() for corpus in corpora]
    bins, rows = packing_bins(corpora, columns, data.streams), data.rows // data.streams

    def rows_of_stream(stream: int) -> Any:
        own = [order[stream :: data.streams] for order in orders]
        order = grain.MapDataset.mix(own, weights) if weights else own[0]
        # An example is a slice: reading it on threads of its own costs three times what it takes.
        examples: Any = order.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
        if not data.packing:
            return examples.batch(rows, batch_fn=list)
        return grain_experimental.FirstFitPackIterDataset(
            examples, length_struct=columns, num_packing_bins=bins, seed=seed + stream, shuffle_bins=True
        ).batch(rows)

    def together(made: Sequence[Any]) -> Batch:
        if not data.packing:
            return _one_a_row(list(itertools.chain(*made)), columns, bos)
        joined = {name: np.concatenate([each[name] for each in made]) for name in made[0]}
        return _packed(joined, data.positions, bos)

    streams = range(data.streams) if streams is None else streams
    joined = grain_experimental.ZipIterDataset([rows_of_stream(stream) for stream in streams]).map(together)
    return Streams(streams, iter(grain_experimental.ThreadPrefetchIterDataset(joined, prefetch_buffer_size=8)))


class Streams(Iterator[Batch]):
    """Batches of the rows of some streams, and where each of these is."""

    def __init__(self, streams: Sequence[int], batches: grain.DatasetIterator):
        """
        Args:
          batches: of a dataset that is made of a `ZipIterDataset` of the streams' datasets, in their order.
        """
        self._names, self._batches = [str(stream) for stream in streams], batches

    def __next__(self) -> Batch:
        return next(self._batches)

    def get_state(self) -> dict[str, Any]:
        """JSON: the position of each stream, by its number."""
        return dict(zip(self._names, self._batches.get_state()["parents"], strict=True))

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes to where `get_state` was called, whichever other streams `state` also holds."""
        self._batches.set_state({"parents": [state[name] for name in self._names]})


def streams_of_rows(rows: Sequence[int], data: DataConfig) -> list[int]:
    """The streams that some rows of a batch come from."""
    return sorted({row * data.streams // data.rows for row in rows})


def rows_of_streams(streams: Sequence[int], data: DataConfig) -> list[int]:
    """The rows of a batch that come from some streams."""
    each = data.rows // data.streams
    return [row for stream in streams for row in range(stream * each, (stream + 1) * each)]


def training_examples(split: Split | PreparedSplit, words: Vocabulary, data: DataConfig) -> Examples:
    """Every line, each side ending in EOS.

    Pairs with a side longer than its row are left out, and said. A language model's long lines are cut into pieces
    of a row's length, each an example of its own.

    Raises:
      InputError: nothing is left to train on, or prepared ids of another vocabulary.
    """
    columns = limits(split, data)
    if isinstance(split, Split):
        chunks = _with_progress(words.encode_split(split), len(split))
    elif split.fingerprint == words.fingerprint:
        chunks = split.read()
    else:
        raise InputError(
            f"{split.folder} was encoded with the vocabulary {split.fingerprint}, this run has "
            f"{words.fingerprint}; use {split.folder / 'vocabulary.model'} or delete {split.folder}"
        )
    if "source" not in columns:
        return join([chunk.pieces(data.target_length) for chunk in chunks], list(columns))
    examples = join([chunk.where(chunk.fit(columns)) for chunk in chunks], list(columns))
    if not len(examples):
        raise InputError(
            f"config.data.source_length={data.source_length} and target_length={data.target_length} are less than "
            "every training pair has; raise them"
        )
    if left_out := len(split) - len(examples):
        progress.say(f"train: left out {left_out} of {len(split)} pairs that are longer than their rows")
    return examples


def _with_progress(chunks: Iterator[Examples], total: int) -> Iterator[Examples]:
    """The chunks, with a bar if there are enough lines to wait for."""
    done = 0
    with progress.bar("encode", total) if total > vocabulary.CHUNK else contextlib.nullcontext() as bar:
        for chunk in chunks:
            done += len(chunk)
            if bar:
                bar.update(done)
            yield chunk


def packing_bins(corpora: Sequence[Examples], columns: Mapping[str, int], streams: int = 1) -> int:
    """Rows that a stream fills at a time: the more, the fuller, but all that hold one row of an epoch's end mix two
    epochs, and the first batch waits for all of them.

    A tenth of the rows that a stream's share of an epoch fills, and no more than are of use.
    """
    filled = max(sum(each.lengths[name].sum() for each in corpora) / limit for name, limit in columns.items())
    return int(np.clip(filled // 10 // streams, 1, max(MOST_BINS // streams, ENOUGH_BINS)))


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
    columns, examples = limits(split, data), join(list(words.encode_split(split)), list(split.sides))
    if "source" not in columns:
        examples = examples.pieces(data.target_length)
    elif too_long := int((~examples.fit(columns)).sum()):
        progress.say_once(f"scoring: cut {too_long} of {len(split)} pairs that are longer than their rows")
        examples = examples.cut(columns)
    own = range(rows) if own is None else own
    if data.packed_scoring and len(examples):
        yield from _packed_batches(examples, columns, data.positions, words.bos, rows, own)
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
        yield _one_a_row(members, sizes, words.bos, len(own))


def _packed_batches(
    examples: Examples, columns: Mapping[str, int], positions: str, bos: int, rows: int, own: Sequence[int]
) -> Iterator[Batch]:
    in_order: Any = grain.MapDataset.source(examples).to_iter_dataset(
        grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    )
    packed = iter(
        grain_experimental.FirstFitPackIterDataset(in_order, length_struct=columns, num_packing_bins=ENOUGH_BINS)
    )
    while members := list(itertools.islice(packed, rows)):
        filling = {name: np.zeros_like(array) for name, array in members[0].items()}
        held = [members[row] if row < len(members) else filling for row in own]
        yield _packed({name: np.stack([row[name] for row in held]) for name in filling}, positions, bos)


def lost_in_scoring(split: Split, words: Vocabulary, data: DataConfig) -> tuple[int, int]:
    """What `scoring_batches` cuts off: pairs with a side that is cut, and target tokens that are in no row."""
    columns = limits(split, data)
    if "source" not in columns:
        return 0, 0
    examples = join(list(words.encode_split(split)), list(columns))
    over_S = np.maximum(examples.lengths["target"] - data.target_length, 0)
    return int((~examples.fit(columns)).sum()), int(over_S.sum())


# --- Rows ------------------------------------------------------------------------------------------------------------


def filled(batch: Batch) -> tuple[int, int]:
    """The positions of a batch, source and target together, that hold a token, and all of them."""
    segments = [side.segments_BL for side in (batch.source, batch.target) if side]
    return sum(int(np.count_nonzero(each)) for each in segments), sum(each.size for each in segments)


def packing_share(batches: Iterable[Batch]) -> float:
    """Share of the positions of some batches that hold a token."""
    real, total = np.sum([filled(batch) for batch in batches], axis=0)
    return float(real / total)


def shift_right(tokens_BL: Array, segments_BL: Array, bos: int) -> np.ndarray:
    """The decoder's inputs: each token moved one place to the right inside its segment, BOS in the first place."""
    before_BL = np.pad(tokens_BL, ((0, 0), (1, 0)))[:, :-1]
    first_BL = segments_BL != np.pad(segments_BL, ((0, 0), (1, 0)))[:, :-1]
    return np.where(segments_BL == 0, PAD, np.where(first_BL, bos, before_BL)).astype(np.int32)


def _one_a_row(
    examples: Sequence[dict[str, np.ndarray]], sizes: Mapping[str, int], bos: int, count: int | None = None
) -> Batch:
    """Each example alone in a row, and empty rows up to `count`."""

    def rows(name: str) -> Rows:
        tokens_BL = np.full((count or len(examples), sizes[name]), PAD, np.int32)
        segments_BL = np.zeros_like(tokens_BL)
        for row, example in enumerate(examples):
            tokens_BL[row, : len(example[name])] = example[name]
            segments_BL[row, : len(example[name])] = 1
        return Rows(tokens_BL, segments_BL, _row_positions(tokens_BL))

    return _batch({name: rows(name) for name in sizes}, bos)


def _packed(arrays: Mapping[str, np.ndarray], positions: str, bos: int) -> Batch:
    """A batch of grain's packed rows."""

    def rows(name: str) -> Rows:
        tokens_BL, segments_BL = arrays[name].astype(np.int32), arrays[f"{name}_segment_ids"]
        positions_BL = arrays[f"{name}_positions"] if positions == "segment" else _row_positions(tokens_BL)
        return Rows(tokens_BL, segments_BL, positions_BL)

    return _batch({name: rows(name) for name in ("source", "target") if name in arrays}, bos)


def _batch(sides: Mapping[str, Rows], bos: int) -> Batch:
    target = sides["target"]
    return Batch(target, shift_right(target.tokens_BL, target.segments_BL, bos), sides.get("source"))


def _row_positions(tokens_BL: np.ndarray) -> np.ndarray:
    return np.tile(np.arange(tokens_BL.shape[1], dtype=np.int32), (len(tokens_BL), 1))
