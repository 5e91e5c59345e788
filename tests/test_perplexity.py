"""Perplexity: per token, per word, added up exactly."""

import dataclasses
import types
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import BOS, VOCABULARY, batch, model, parameters, sentences
from test_pipeline import DATA

from mqa_jax import records, sharding
from mqa_jax.data import pipeline
from mqa_jax.data.corpus import Split
from mqa_jax.data.examples import Examples
from mqa_jax.errors import InputError
from mqa_jax.evaluate import quality
from mqa_jax.evaluate.perplexity import perplexity
from mqa_jax.experiment import MeshConfig
from mqa_jax.train.loss import loss_sums
from mqa_jax.train.step import score

TEXTS = ["one two three", "  four  five ", ""]


@jax.jit
def uniform(of):
    """The sums of a model that gives every token the same probability."""
    sums = loss_sums(jnp.zeros((*of.target.tokens_BL.shape, 4)), jnp.zeros((VOCABULARY, 4)), of.target)
    return sums.nll, sums.tokens


def test_a_uniform_model_is_as_perplexed_as_its_vocabulary_is_large():
    """Batches of different lengths and numbers of tokens; per word, ends of line count as words to predict."""
    batches = [batch(sentences(0, [7, 2]), 8), batch(sentences(1, [5]), 16)]
    figures = perplexity(uniform, batches, TEXTS)
    assert {name: figures[name] for name in ("tokens", "words", "sentences")} == {
        "tokens": 14,
        "words": 5,
        "sentences": 3,
    }
    assert figures["nll_per_token"] == pytest.approx(np.log(VOCABULARY))
    assert figures["perplexity_per_token"] == pytest.approx(VOCABULARY)
    assert figures["perplexity_per_word"] == pytest.approx(VOCABULARY ** (14 / (5 + 3)))


def test_no_figure_per_word_where_tokens_were_cut():
    """The words of the whole texts count, the likelihoods of what was cut do not: the quotient would flatter."""
    figures = perplexity(uniform, [batch(sentences(0, [7]), 8)], TEXTS, cut=4)
    assert figures["perplexity_per_word"] is None and figures["tokens_cut"] == 4
    assert figures["perplexity_per_token"] == pytest.approx(VOCABULARY)


def test_tokens_weigh_equally_across_batches():
    """The mean of the batches' means would be 2; the mean over tokens is 1.2."""
    sums = {"long": (9.0, 9.0), "short": (3.0, 1.0)}
    figures = perplexity(lambda of: sums[of], ["long", "short"], ["a"])  # pyright: ignore[reportArgumentType]
    assert figures["nll_per_token"] == pytest.approx(1.2)


def test_sums_are_added_in_float64():
    """2^24 is where float32 stops counting by ones."""
    values = [np.float32(2**24)] + [np.float32(1)] * 100
    figures = perplexity(lambda of: (of, of), values, ["a"])  # pyright: ignore[reportArgumentType]
    assert figures["tokens"] == 2**24 + 100 and figures["nll_per_token"] == 1.0


def test_an_absurd_perplexity_is_infinite():
    figures = perplexity(lambda of: (1e6, 10.0), [batch(sentences(0, [3]), 4)], ["a"])
    assert figures["perplexity_per_token"] == figures["perplexity_per_word"] == np.inf
    assert figures["nll_per_token"] == 1e5


def test_nothing_to_score():
    with pytest.raises(InputError, match="no tokens"):
        perplexity(uniform, [], [])


def test_packed_lines_score_as_alone_where_positions_begin_anew():
    """With the row's positions they score otherwise."""
    of, lines = model("language"), sentences(0, [7, 12, 3, 5, 9, 4])
    flat, lengths = np.concatenate(lines).astype(np.uint16), np.asarray([len(line) for line in lines])
    examples = Examples({"target": flat}, {"target": lengths})
    words = types.SimpleNamespace(bos=BOS, encode_split=lambda split: examples)
    values, found = parameters(of), {}
    sums_of = lambda sums: (sums.nll, sums.tokens)  # noqa: E731
    for packed, positions in ((False, "segment"), (True, "segment"), (True, "row")):
        data = dataclasses.replace(DATA, target_length=16, positions=positions, packed_scoring=packed)
        batches = list(pipeline.scoring_batches(Split((), ["a"] * 6), words, data, rows=8))
        figures = perplexity(lambda each: sums_of(score(of, values, each)), batches, ["a"] * 6)
        found[packed, positions] = figures["nll_per_token"]
        assert figures["tokens"] == 40
    assert found[True, "segment"] == pytest.approx(found[False, "segment"], rel=1e-5)
    assert abs(found[True, "row"] - found[False, "segment"]) > 1e-3


@pytest.mark.parametrize("kind", ["grouped_1", "latent"])
def test_devices_that_share_the_rows_score_as_one(kind):
    of, mesh = model("translation", kind), sharding.make_mesh(MeshConfig())
    run = types.SimpleNamespace(model=of, parameters=parameters(of))
    pairs = jax.tree.map(np.asarray, batch(sentences(0, [5, 2, 9, 3, 7, 7, 4, 6]), 12, sentences(1, [5] * 8)))
    wanted = score(of, run.parameters, pairs)
    for rows in (8, 5):  # five lie on every device
        run.experiment = types.SimpleNamespace(decode=types.SimpleNamespace(batch=rows))
        some = jax.tree.map(lambda each, rows=rows: each[:rows], pairs)
        found = quality._sums_over(cast(Any, run), mesh)(some)
        np.testing.assert_allclose(found, score(of, run.parameters, some) if rows < 8 else wanted, rtol=1e-5)


def test_a_record_names_the_devices_that_were_used():
    """Eight virtual ones on a CPU's cores."""
    assert records.device().startswith("8 virtual devices on ") and records.device(1) in records.device()
    assert records.device(2).startswith("2 virtual devices on ") and "virtual" not in records.device(1)
