"""Dropout: keys, places, means."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import Compiled, batch, model, parameters, sentences

from mqa_jax.experiment import DropoutConfig
from mqa_jax.kernels.dropout import dropout


def test_dropout_needs_a_key_and_differs_by_key():
    of = model("translation", 1, dropout=DropoutConfig(0.2, 0.1, 0.1))
    module = Compiled(of.bind(parameters(of)))
    pairs = batch(sentences(0, [8]), 8, sentences(1, [8]))
    still, again = module(pairs), module(pairs)
    one, two = module(pairs, jax.random.key(1)), module(pairs, jax.random.key(2))
    np.testing.assert_array_equal(still, again)
    np.testing.assert_array_equal(one, module(pairs, jax.random.key(1)))
    assert jnp.abs(one - two).max() > 0.1 and jnp.abs(one - still).max() > 0.1


def test_every_place_of_dropout_draws_with_a_key_of_its_own(monkeypatch):
    """A stack drops its input, its output and what each block adds; each attention its weights; each feed-forward its
    hidden values. There is one encoder layer, and two decoder layers."""
    of = model("translation", 2, dropout=DropoutConfig(residual=0.3, attention=0.1, hidden=0.2))
    bernoulli, drawn = jax.random.bernoulli, []

    def recorded(key, p, *others):
        drawn.append((round(1 - float(p), 6), tuple(jax.random.key_data(key).tolist())))
        return bernoulli(key, p, *others)

    monkeypatch.setattr(jax.random, "bernoulli", recorded)
    module, pairs = of.bind(parameters(of)), batch(sentences(0, [8]), 8, sentences(1, [8]))
    with jax.disable_jit():  # the keys are to be read
        module(pairs, jax.random.key(1))
    counts = {0.3: 2 * 2 + 2 + 2 * 3, 0.1: 1 + 2 * 2, 0.2: 1 + 2}
    assert collections.Counter(rate for rate, _ in drawn) == counts
    assert len({key for _, key in drawn}) == len(drawn)


def test_dropout_keeps_the_mean():
    x = jnp.ones((64, 4, 512))
    y = dropout(x, 0.25, jax.random.key(0))
    assert float(y.mean()) == pytest.approx(1, rel=0.02)
    assert float((y == 0).mean()) == pytest.approx(0.25, rel=0.05)
    assert (y == y[:, :1]).all(), "one mask for all positions"
