"""The paper's own numbers as it prints them: Noam Shazeer, Fast Transformer Decoding (arXiv 1911.02150), Tables 1 to 3.

They are given only to records of the paper's own task and model, layer by layer and head by head: beside
another task they would mean nothing.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from mqa_jax.attention.grouped import Grouped
from mqa_jax.experiment import model_of

SOURCE = "Shazeer 2019, arXiv 1911.02150"
DEVICE = "TPUv2"
DEV_SET, TEST_SET = "wmt13", "wmt14"  # newstest2013 and 2014 as sacreBLEU calls them: 3,000 and 2,737 lines
DATA = {"wmt14": ("wmt14_translate", "wmt_t2t_translate"), "lm1b": ("lm1b",)}  # of TFDS, by the config's name
STEPS = {"translation": 100_000, "language": 136_000}  # of the paper's training
CONDITIONS = (
    "one 8-core TPUv2; training steps of 32,768 tokens, time per target token; greedy batch 1024 (128 a core); "
    "beam batch not stated"
)
SCORED = (  # in Table 3, by the code that the paper's models were made with
    "the held-out file news.en.heldout-00000-of-00050 alone, in packed rows, each word outside the original vocabulary "
    "as UNK"
)


class Sizes(NamedTuple):
    """What tells one row of the tables from another. `window` is of decoder self-attention."""

    heads: int
    write_heads: int
    key_size: int
    feed_forward: int
    window: int | None = None


# BLEU is sacreBLEU with `-tok intl`.
TABLE_1_FIELDS = "ln(PPL) wmt13", "BLEU wmt13, beam 1", "BLEU wmt14, beam 1", "BLEU wmt14, beam 4"
TABLE_1 = {
    Sizes(8, 8, 128, 4096): ("1.424", "26.7", "27.7", "28.4"),
    Sizes(8, 1, 128, 5440): ("1.439", "26.5", "27.5", "28.5"),
    Sizes(8, 8, 128, 4096, 32): ("1.427", "26.6", "27.5", "28.3"),
    Sizes(8, 1, 128, 5440, 32): ("1.437", "26.5", "27.6", "28.2"),
    Sizes(1, 1, 128, 6784): ("1.518", "25.8"),
    Sizes(2, 2, 64, 6784): ("1.480", "26.2", "26.8", "27.9"),
    Sizes(4, 4, 32, 6784): ("1.488", "26.1"),
    Sizes(8, 8, 16, 6784): ("1.513", "25.8"),
}
# Microseconds a token, of sources and targets of 128 tokens.
TABLE_2_FIELDS = "training", "greedy: encoder", "greedy: decoder", "beam 4: encoder", "beam 4: decoder"
TABLE_2_LENGTH = 128
TABLE_2 = {
    Sizes(8, 8, 128, 4096): ("13.2", "1.7", "46", "2.0", "203"),
    Sizes(8, 1, 128, 5440): ("13.0", "1.5", "3.8", "1.6", "32"),
    Sizes(8, 8, 128, 4096, 32): ("13.2", "1.7", "23", "1.9", "47"),
    Sizes(8, 1, 128, 5440, 32): ("13.0", "1.5", "3.3", "1.6", "16"),
}
TABLE_3_FIELDS = ("dev PPL per word",)
TABLE_3 = {
    Sizes(8, 8, 128, 8192): ("29.9",),
    Sizes(8, 1, 128, 9088): ("30.2",),
    Sizes(1, 1, 128, 9984): ("31.2",),
    Sizes(2, 2, 64, 9984): ("31.1",),
    Sizes(4, 4, 32, 9984): ("31.0",),
    Sizes(8, 8, 16, 9984): ("30.9",),
}


def search(beam: int) -> str:
    """What a search is called in Table 2's columns."""
    return "greedy" if beam == 1 else f"beam {beam}"


def figures(name: str, config: Mapping[str, Any]) -> dict[str, str]:
    """The paper's figures for an experiment of this name and config, by field; empty if it is none of the paper's."""
    sizes = _sizes(name, config)
    if sizes is None:
        return {}
    timing, found = config["timing"], {}
    if is_of_its_data(name, config):
        fields, rows = (TABLE_3_FIELDS, TABLE_3) if name == "lm1b" else (TABLE_1_FIELDS, TABLE_1)
        found.update(zip(fields, rows.get(sizes, ()), strict=False))  # some rows of Table 1 end early
    if name == "wmt14" and timing["source_length"] == timing["target_length"] == TABLE_2_LENGTH:
        found.update(zip(TABLE_2_FIELDS, TABLE_2.get(sizes, ()), strict=False))
    return found


def is_of_its_data(name: str, config: Mapping[str, Any]) -> bool:
    """Whether an experiment of this name and config is trained and judged on the paper's corpus, not on other text."""
    data = config["data"]
    return data["kind"] == "tfds" and data["dataset"].partition("/")[0] in DATA.get(name, ())


def _sizes(name: str, config: Mapping[str, Any]) -> Sizes | None:
    """The sizes of a model of the paper's width and layers on its task, the same attention at every site."""
    model = model_of({"config": config})
    encoder, decoder = model.encoder, model.decoder
    layers = encoder.layers if encoder else 0, decoder.layers
    if model.width != 1024 or layers != {"wmt14": (6, 6), "lm1b": (0, 6)}.get(name):
        return None
    own, *more = {*decoder.attention}
    others = {*decoder.cross, *(encoder.attention if encoder else ())}
    if more or type(own) is not Grouped or others - {own.across()} or own.key_size != own.value_size:
        return None
    if own != dataclasses.replace(own.across(), window=own.window):
        return None
    return Sizes(own.heads, own.write_heads, own.key_size, decoder.feed_forward, own.window)
