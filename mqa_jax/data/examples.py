"""Text, or ids that were prepared, to the examples of training and scoring."""

import contextlib
from collections.abc import Iterator

import numpy as np

from mqa_jax import progress
from mqa_jax.data import ids
from mqa_jax.data.ids import Examples, encode, join
from mqa_jax.data.prepared import PreparedSplit
from mqa_jax.data.split import Split
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.errors import InputError
from mqa_jax.experiment import DataConfig


def limits(split: Split | PreparedSplit, data: DataConfig) -> dict[str, int]:
    """Columns of a row for each side that the split has."""
    target = {"target": data.target_length}
    return {"source": data.source_length} | target if split.is_parallel else target


def for_training(split: Split | PreparedSplit, vocabulary: Vocabulary, data: DataConfig) -> Examples:
    """Every line, each side ending in EOS.

    Pairs with a side longer than its row are left out, and said. A language model's long lines are cut into pieces
    of a row's length, each an example of its own.

    Raises:
      InputError: nothing is left to train on, or prepared ids of another vocabulary.
    """
    sides = limits(split, data)
    if isinstance(split, PreparedSplit):
        chunks = split.read(vocabulary)
    else:
        chunks = _with_progress(encode(split, vocabulary, range(len(split))), len(split))
    if not split.is_parallel:
        return join([chunk.pieces(data.target_length) for chunk in chunks], sides)
    examples = join([chunk.where(chunk.fit(sides)) for chunk in chunks], sides)
    if not len(examples):
        raise InputError(
            f"config.data.source_length={data.source_length} and target_length={data.target_length} are less than "
            "every training pair has; raise them"
        )
    left_out = len(split) - len(examples)
    if left_out:
        progress.say(f"train: left out {left_out} of {len(split)} pairs that are longer than their rows")
    return examples


def for_scoring(split: Split, vocabulary: Vocabulary, data: DataConfig) -> Examples:
    """Every line, each side ending in EOS, cut where it is longer than its row.

    What is cut from a translation is lost, and said. A language model's long lines go on in further examples, so that
    every token is in one.
    """
    sides = limits(split, data)
    whole = join(list(encode(split, vocabulary, range(len(split)))), sides)
    if not split.is_parallel:
        return whole.pieces(data.target_length)
    too_long = (~whole.fit(sides)).sum()
    if not too_long:
        return whole
    progress.say(f"scoring: cut {too_long} of {len(split)} pairs that are longer than their rows")
    return whole.cut(sides)


def lost_in_scoring(split: Split, vocabulary: Vocabulary, data: DataConfig) -> tuple[int, int]:
    """What `for_scoring` cuts off: pairs with a side that is cut, and target tokens that are in no example."""
    if not split.is_parallel:
        return 0, 0
    sides = limits(split, data)
    whole = join(list(encode(split, vocabulary, range(len(split)))), sides)
    over_S = np.maximum(whole.lengths["target"] - data.target_length, 0)
    return int((~whole.fit(sides)).sum()), int(over_S.sum())


def _with_progress(chunks: Iterator[Examples], total: int) -> Iterator[Examples]:
    """The chunks, with a bar if there are enough lines to wait for."""
    done = 0
    with progress.bar("encode", total) if total > ids.CHUNK else contextlib.nullcontext() as bar:
        for chunk in chunks:
            done += len(chunk)
            if bar:
                bar.update(done)
            yield chunk
