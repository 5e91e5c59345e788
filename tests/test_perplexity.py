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
from mqa_jax.train import step
from mqa_jax.train.loss import loss_sums, nll_of_rows

TEXTS = ["one two three", "  four  five ", ""]


@jax.jit
def uniform(of):
    """The likelihoods of a model that gives every token the same probability."""
    return nll_of_rows(jnp.zeros((*of.target.tokens_BL.shape, 4)), jnp.zeros((VOCABULARY, 4)), of.target)


def scored(by, batches):
    """The likelihoods and the tokens of all rows of the batches."""
    found = [(np.asarray(by(each)), np.asarray(each.target.segments_BL > 0).sum(1)) for each in batches]
    return [np.concatenate(each) for each in zip(*found, strict=True)]


def test_a_uniform_model_is_as_perplexed_as_its_vocabulary_is_large():
    """Batches of different lengths and numbers of tokens; per word, ends of line count as words to predict."""
    batches = [batch(sentences(0, [7, 2]), 8), batch(sentences(1, [5]), 16)]
    figures = perplexity(*scored(uniform, batches), TEXTS)
    assert {name: figures[name] for name in ("tokens", "words", "sentences")} == {
        "tokens": 14,
        "words": 5,
        "sentences": 3,
    }
    assert figures["nll_per_token"] == pytest.approx(np.log(VOCABULARY))
    assert figures["perplexity_per_token"] == pytest.approx(VOCABULARY)
    assert figures["perplexity_per_word"] == pytest.approx(VOCABULARY ** (14 / (5 + 3)))


def test_rows_have_the_likelihoods_that_their_sums_have():
    """In chunks of positions and at once; padding counts nothing."""
    of, random = batch(sentences(0, [7, 2, 30, 11]), 32), jax.random.key(0)
    x_BLD, table_VD = jax.random.normal(random, (4, 32, 8)), jax.random.normal(random, (VOCABULARY, 8))
    alone = [jax.tree.map(lambda each, n=n: each[n : n + 1], of.target) for n in range(4)]
    wanted = [loss_sums(x_BLD[n : n + 1], table_VD, each).nll for n, each in enumerate(alone)]
    np.testing.assert_allclose(nll_of_rows(x_BLD, table_VD, of.target), wanted, rtol=1e-5)
    np.testing.assert_allclose(nll_of_rows(x_BLD, table_VD, of.target, devices=8), wanted, rtol=1e-5)


def test_no_figure_per_word_where_tokens_were_cut():
    """The words of the whole texts count, the likelihoods of what was cut do not: the quotient would flatter."""
    figures = perplexity(*scored(uniform, [batch(sentences(0, [7]), 8)]), TEXTS, cut=4)
    assert figures["perplexity_per_word"] is None and figures["tokens_cut"] == 4
    assert figures["perplexity_per_token"] == pytest.approx(VOCABULARY)


def test_tokens_weigh_equally_across_rows():
    """The mean of the rows' means would be 2; the mean over tokens is 1.2."""
    assert perplexity(np.asarray([9.0, 3.0]), np.asarray([9, 1]), ["a"])["nll_per_token"] == pytest.approx(1.2)


def test_sums_are_added_in_float64():
    """2^24 is where float32 stops counting by ones."""
    values = np.asarray([2**24] + [1] * 100, np.float32)
    figures = perplexity(values, values, ["a"])
    assert figures["tokens"] == 2**24 + 100 and figures["nll_per_token"] == 1.0


def test_an_absurd_perplexity_is_infinite():
    figures = perplexity(np.asarray([1e6]), np.asarray([10]), ["a"])
    assert figures["perplexity_per_token"] == figures["perplexity_per_word"] == np.inf
    assert figures["nll_per_token"] == 1e5


def test_nothing_to_score():
    with pytest.raises(InputError, match="no tokens"):
        perplexity(np.zeros(0), np.zeros(0), [])


def test_packed_lines_score_as_alone_where_positions_begin_anew():
    """With the row's positions they score otherwise."""
    of, lines = model("language"), sentences(0, [7, 12, 3, 5, 9, 4])
    flat, lengths = np.concatenate(lines).astype(np.uint16), np.asarray([len(line) for line in lines])
    examples = Examples({"target": flat}, {"target": lengths})
    words = types.SimpleNamespace(bos=BOS, encode_split=lambda split: examples)
    values, found = parameters(of), {}
    for packed, positions in ((False, "segment"), (True, "segment"), (True, "row")):
        data = dataclasses.replace(DATA, target_length=16, positions=positions, packed_scoring=packed)
        batches = list(pipeline.scoring_batches(Split((), ["a"] * 6), words, data, rows=8))
        figures = perplexity(*scored(lambda each: step.nll_of_rows(of, values, each), batches), ["a"] * 6)
        found[packed, positions] = figures["nll_per_token"]
        assert figures["tokens"] == 40
    assert found[True, "segment"] == pytest.approx(found[False, "segment"], rel=1e-5)
    assert abs(found[True, "row"] - found[False, "segment"]) > 1e-3


@pytest.mark.parametrize("kind", ["grouped_1", "latent"])
def test_devices_that_share_the_rows_score_as_one(kind):
    of, mesh = model("translation", kind), sharding.make_mesh(MeshConfig())
    run = types.SimpleNamespace(model=of, parameters=parameters(of))
    pairs = jax.tree.map(np.asarray, batch(sentences(0, [5, 2, 9, 3, 7, 7, 4, 6]), 12, sentences(1, [5] * 8)))
    wanted = step.nll_of_rows(of, run.parameters, pairs)
    for rows in (8, 5):  # five lie on every device
        run.experiment = types.SimpleNamespace(decode=types.SimpleNamespace(batch=rows))
        some = jax.tree.map(lambda each, rows=rows: each[:rows], pairs)
        found = quality._nll_over(cast(Any, run), mesh)(some)
        np.testing.assert_allclose(found, step.nll_of_rows(of, run.parameters, some) if rows < 8 else wanted, rtol=1e-5)


def test_a_record_names_the_devices_that_were_used():
    """Eight virtual ones on a CPU's cores."""
    assert records.device().startswith("8 virtual devices on ") and records.device(1) in records.device()
    assert records.device(2).startswith("2 virtual devices on ") and "virtual" not in records.device(1)
