"""The text whose activations say what a conversion keeps."""

import dataclasses

import jax
import numpy as np

from mqa_jax.batch import Batch
from mqa_jax.data import pipeline
from mqa_jax.data.corpus import Split
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.experiment import DataConfig

LONGEST = 512  # tokens of a row: one long line must not make all rows long


def batch(split: Split, vocabulary: Vocabulary, data: DataConfig, tokens: int) -> Batch:
    """The first lines of a split that have so many target tokens, or all its lines, packed into rows."""
    ends = np.cumsum([len(ids) + 1 for ids in vocabulary.encode_all(split.target)])
    lines = min(int(np.searchsorted(ends, tokens)) + 1, len(split))
    lengths = {name: min(getattr(data, name), LONGEST) for name in ("source_length", "target_length")}
    data = dataclasses.replace(data, packed_scoring=True, **lengths)
    first = Split(split.source[:lines], split.target[:lines])
    rows = pipeline.scoring_batches(first, vocabulary, data, 1)
    return jax.tree.map(lambda *row: np.concatenate(row), *rows)
