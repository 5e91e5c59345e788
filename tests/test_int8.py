"""Weights laid out for decoding, weights in int8 and caches in int8: the same logits, or nearly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import TYPES, Compiled, batch, model, parameters, sentences
from steps import IN_BOTH_TASKS, LENGTHS, feed

from mqa_jax.attention.cache import reorder
from mqa_jax.batch import Prompt
from mqa_jax.kernels.int8 import Int8

IN_INT8 = [case for case in IN_BOTH_TASKS if case[2] != "local"]


@pytest.mark.parametrize(
    ("task", "kind"),
    [*(("translation", kind) for kind in TYPES if kind != "grouped_2"), ("language", "grouped_1")],
)
def test_weights_laid_out_for_decoding_equal_those_that_train(kind, task):
    """One matrix for each input of the decoder, the same logits; in int8 nearly."""
    of = model(task, kind)
    values = parameters(of)
    pairs = batch(sentences(0, LENGTHS), 12, sentences(1, [5, 9, 12]))
    given = pairs.source if task == "translation" else Prompt(pairs.inputs_BL[:, :1], jnp.full((3,), 1))
    logits = []
    for weight_dtype in ("trained", None, "int8"):
        model_ = of if weight_dtype == "trained" else model(task, kind, weight_dtype=weight_dtype)
        module = Compiled(model_.bind(values if weight_dtype == "trained" else jax.jit(model_.lay_out)(values)))
        assert (module.decoder.blocks[0].attention.inputs.laid is None) == (weight_dtype == "trained")
        logits.append(feed(module, module.begin(given, 1, 8), pairs.inputs_BL, 1, 9)[1])
    np.testing.assert_allclose(logits[1], logits[0], atol=2e-5)
    error = float(jnp.abs(logits[2] - logits[0]).max()) / float(jnp.ptp(logits[0]))
    assert 1e-4 < error < 0.05, error


@pytest.mark.parametrize(("kind", "own"), [("grouped_1", set()), ("latent_ranked", {"wk_CHK", "wv_CHV"})])
def test_int8_holds_every_weight_of_a_linear_map_and_of_the_softmax(kind, own):
    """Of encoder and decoder. What is looked up, added or part of an attention's own products stays as it is."""
    of = model("translation", kind, weight_dtype="int8")
    shapes = jax.eval_shape(of.lay_out, of.shapes())
    leaves = jax.tree.leaves_with_path(shapes, is_leaf=lambda each: isinstance(each, Int8))
    wide = {path[-1].key for path, each in leaves if not isinstance(each, Int8) and each.ndim > 1}
    assert wide == {"tokens_VD", "positions_PD"} | own
    assert isinstance(shapes["embedding"]["laid"], Int8), "the softmax has the table in int8 beside that for look-ups"
    assert all(each.values.dtype == "int8" for _, each in leaves if isinstance(each, Int8))


@pytest.mark.parametrize(("task", "kind", "sight"), IN_INT8)
def test_a_cache_in_int8_loses_little(kind, sight, task):
    """Prompt, steps, beams and ring: near the logits of a cache in float32, and not the same."""
    of, small_ = model(task, kind, sight), model(task, kind, sight, cache_dtype="int8")
    values = parameters(of)
    pairs = batch(sentences(0, [12, 12, 12]), 12, sentences(1, [5, 9, 12]))
    given = pairs.source if task == "translation" else Prompt(pairs.inputs_BL[:, :3], jnp.asarray([3, 2, 1]))
    logits = []
    for each in (of, small_):
        module = Compiled(each.bind(values))
        state = reorder(module.begin(given, 2, 12), jnp.asarray([[1, 0], [0, 0], [1, 1]]))
        logits.append(feed(module, state, pairs.inputs_BL, 3, 12)[1])
    assert {x.dtype.name for x in jax.tree.leaves((state.caches, state.memories))} == {"int8", "float32"}
    error = float(jnp.abs(logits[1] - logits[0]).max()) / float(jnp.ptp(logits[0]))
    assert 1e-4 < error < 0.03, error
