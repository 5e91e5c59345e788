"""The paper's own numbers: Noam Shazeer, Fast Transformer Decoding (arXiv 1911.02150), Tables 1 to 3.

They are given only to records of the paper's own task and model, layer by layer and head by head: beside
another task they would mean nothing.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from mqa_jax.attention.grouped import Grouped
from mqa_jax.experiment import model_of

SOURCE = "Shazeer 2019, arXiv 1911.02150"
DEVICE = "TPUv2"
STEPS = {"translation": 100_000, "language": 136_000}  # of the paper's training
CONDITIONS = "one 8-core TPUv2; training steps of 32,768 tokens; greedy batch 1024 (128 a core); beam batch not stated"


@dataclasses.dataclass(frozen=True)
class Shape:
    """What tells one row of the tables from another. `window` is of decoder self-attention."""

    heads: int
    write_heads: int
    key_size: int
    feed_forward: int
    window: int | None = None


@dataclasses.dataclass(frozen=True)
class Translation:
    """A row of Table 1. BLEU is sacreBLEU with `-tok intl`; test has beam 1 and 4."""

    ln_perplexity: float
    bleu_dev: float
    bleu_test: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Timing:
    """A row of Table 2, in microseconds a token. The pairs are encoder and decoder."""

    training: float
    greedy: tuple[float, float]
    beam_4: tuple[float, float]


TABLE_1 = {
    Shape(8, 8, 128, 4096): Translation(1.424, 26.7, (27.7, 28.4)),
    Shape(8, 1, 128, 5440): Translation(1.439, 26.5, (27.5, 28.5)),
    Shape(8, 8, 128, 4096, 32): Translation(1.427, 26.6, (27.5, 28.3)),
    Shape(8, 1, 128, 5440, 32): Translation(1.437, 26.5, (27.6, 28.2)),
    Shape(1, 1, 128, 6784): Translation(1.518, 25.8),
    Shape(2, 2, 64, 6784): Translation(1.480, 26.2, (26.8, 27.9)),
    Shape(4, 4, 32, 6784): Translation(1.488, 26.1),
    Shape(8, 8, 16, 6784): Translation(1.513, 25.8),
}

TABLE_2 = {
    Shape(8, 8, 128, 4096): Timing(13.2, (1.7, 46), (2.0, 203)),
    Shape(8, 1, 128, 5440): Timing(13.0, (1.5, 3.8), (1.6, 32)),
    Shape(8, 8, 128, 4096, 32): Timing(13.2, (1.7, 23), (1.9, 47)),
    Shape(8, 1, 128, 5440, 32): Timing(13.0, (1.5, 3.3), (1.6, 16)),
}
TABLE_2_LENGTH = 128  # of source and target

TABLE_3 = {  # dev perplexity per word
    Shape(8, 8, 128, 8192): 29.9,
    Shape(8, 1, 128, 9088): 30.2,
    Shape(1, 1, 128, 9984): 31.2,
    Shape(2, 2, 64, 9984): 31.1,
    Shape(4, 4, 32, 9984): 31.0,
    Shape(8, 8, 16, 9984): 30.9,
}


def table_1(name: str, config: Mapping[str, Any]) -> Translation | None:
    """The paper's row for an experiment of this name and config, if it is one of the paper's."""
    return TABLE_1.get(shape) if (shape := _shape(name, "wmt14", config)) else None


def table_2(name: str, config: Mapping[str, Any]) -> Timing | None:
    """The paper's row; the paper timed sources and targets of 128 tokens, so other lengths have none."""
    lengths = config["timing"]["source_length"], config["timing"]["target_length"]
    shape = _shape(name, "wmt14", config)
    return TABLE_2.get(shape) if shape and lengths == (TABLE_2_LENGTH, TABLE_2_LENGTH) else None


def table_3(name: str, config: Mapping[str, Any]) -> float | None:
    """The paper's dev perplexity per word."""
    return TABLE_3.get(shape) if (shape := _shape(name, "lm1b", config)) else None


def _shape(name: str, task: str, config: Mapping[str, Any]) -> Shape | None:
    """The shape of a model of the paper's size on the paper's task, the same attention at every site."""
    model = model_of({"config": config})
    encoder, decoder = model.encoder, model.decoder
    layers = encoder.layers if encoder else 0, decoder.layers
    if name != task or model.width != 1024 or layers != {"wmt14": (6, 6), "lm1b": (0, 6)}[task]:
        return None
    own, *more = {*decoder.attention}
    others = {*decoder.cross, *(encoder.attention if encoder else ())}
    if more or not isinstance(own, Grouped) or others - {own.across()} or own.key_size != own.value_size:
        return None
    if own != dataclasses.replace(own.across(), window=own.window):
        return None
    return Shape(own.heads, own.write_heads, own.key_size, decoder.feed_forward, own.window)
