"""Cached steps against whole sequences, of which they are a part: prompts, beams that change places, growth."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import VOCABULARY, Compiled, attention, batch, model, parameters, rows, sentences
from steps import EVERY_TYPE, LENGTHS, MIXED, MIXED_TOO, feed

from mqa_jax.attention.cache import admit, grow, reorder
from mqa_jax.batch import Prompt
from mqa_jax.evaluate import stepwise
from mqa_jax.model.build import cast
from mqa_jax.train.step import nll_of_rows

IN_BOTH_DTYPES = [
    (*case, "float32") for case in (*EVERY_TYPE, ("grouped_2_rotary", "sinks"), ("latent_ranked", "local"))
]
IN_BOTH_DTYPES += [(kind, "sinks", "bfloat16") for kind in ("grouped_1", "grouped_4", "latent")]


def in_both_types(task, kind, sight, dtype, inputs):
    """A module, its logits of whole sequences, and those in float32 of the same weights, as rounded to its type."""
    of = model(task, kind, sight, dtype)
    values = cast(parameters(of), dtype)
    module, exact = (
        Compiled(each) for each in (of.bind(values), model(task, kind, sight).bind(cast(values, "float32")))
    )
    return module, module(inputs), exact(inputs)


def assert_as_exact(found_BLV, whole_BLV, exact_BLV, dtype):
    """float32 must agree to its last digits. bfloat16 may stray from the exact logits twice as far as whole sequences
    in the same type do; half of what one key too few or too many of the smallest case comes to."""
    if dtype == "float32":
        np.testing.assert_allclose(found_BLV, whole_BLV, atol=2e-5)
        return
    strays = lambda logits_BLV: np.sqrt(np.square(np.asarray(logits_BLV - exact_BLV)).mean(-1)).max()  # noqa: E731
    assert 0 < strays(found_BLV) < 2 * strays(whole_BLV) < 0.01 * np.ptp(exact_BLV)


@pytest.mark.parametrize(("kind", "sight", "dtype"), IN_BOTH_DTYPES)
def test_translation_steps_equal_the_whole_forward(kind, dtype, sight):
    pairs = batch(sentences(0, LENGTHS), 12, sentences(1, [5, 9, 12]))
    module, whole_BLV, exact_BLV = in_both_types("translation", kind, sight, dtype, pairs)
    state = module.begin(pairs.source, 2, 12)
    config = attention(kind, sight)
    shapes = [each.shape for each in state.caches[0]]
    assert shapes == [(3, 2 * config.slots(12), row.width) for row in config.rows()]
    _, steps_BWLV = feed(module, state, pairs.inputs_BL, 0, 12)
    real = lambda logits_BLV: jnp.where(pairs.target.segments_BL[..., None] > 0, logits_BLV, 0)  # noqa: E731
    for beam in range(2):
        assert_as_exact(*map(real, (steps_BWLV[:, beam], whole_BLV, exact_BLV)), dtype)


@pytest.mark.parametrize(("kind", "sight", "dtype"), IN_BOTH_DTYPES)
def test_language_prefill_and_steps_equal_the_whole_forward(kind, dtype, sight):
    texts = batch(sentences(0, [12, 12, 12]), 12)
    module, whole_BLV, exact_BLV = in_both_types("language", kind, sight, dtype, texts)
    for prompt in (1, 9):
        given = Prompt(texts.inputs_BL[:, :prompt], jnp.full((3,), prompt))
        state = module.begin(given, 2, 12 - prompt)
        _, steps_BWLV = feed(module, state, texts.inputs_BL, prompt, 12)
        for beam in range(2):
            assert_as_exact(steps_BWLV[:, beam], whole_BLV[:, prompt:], exact_BLV[:, prompt:], dtype)


@pytest.mark.parametrize("task", ["translation", "language"])
def test_layers_of_different_attentions_mix(task):
    """Local, sinks and global, grouped and latent: each layer with its own number of slots."""
    of = model(task, MIXED)
    module = Compiled(of.bind(parameters(of)))
    pairs = batch(sentences(0, LENGTHS), 12, sentences(1, [5, 9, 12]))
    whole_BLV = module(pairs)
    given = pairs.source if task == "translation" else Prompt(pairs.inputs_BL[:, :1], jnp.full((3,), 1))
    state = module.begin(given, 2, 12)
    assert len({rows[0].shape[1] for rows in state.caches}) == 3
    start = 0 if task == "translation" else 1
    _, steps_BWLV = feed(module, state, pairs.inputs_BL, start, 12)
    real_BL1 = pairs.target.segments_BL[..., None] > 0
    for beam in range(2):
        found = jnp.where(real_BL1[:, start:], steps_BWLV[:, beam], 0)
        np.testing.assert_allclose(found, jnp.where(real_BL1, whole_BLV, 0)[:, start:], atol=2e-5)


@pytest.mark.parametrize(("kind", "sight", "dtype"), IN_BOTH_DTYPES)
def test_prefill_in_chunks_equals_the_whole_forward(kind, dtype, sight):
    """Of prompts of different lengths in a batch, padded on the left: each row goes on as it would alone."""
    lengths, P = [0, 4, 10, 11], 11
    texts = batch(sentences(0, [16] * 4), 16)
    module, *forwards = in_both_types("language", kind, sight, dtype, texts)
    after = [jnp.stack([each[row, size : size + 5] for row, size in enumerate(lengths)]) for each in forwards]
    prompt_BP = np.zeros((4, P), np.int32)
    for row, size in enumerate(lengths):
        prompt_BP[row, P - size :] = texts.inputs_BL[row, :size]
    prompt = Prompt(jnp.asarray(prompt_BP), jnp.asarray(lengths))
    next_BL = jnp.stack([texts.inputs_BL[row, size : size + 5] for row, size in enumerate(lengths)])
    for chunk in (3, 5, None):  # of which the last has 2, 1 and all tokens
        _, steps_BWLV = feed(module, module.begin(prompt, 2, 5, chunk), next_BL, 0, 5)
        for beam in range(2):
            assert_as_exact(steps_BWLV[:, beam], *after, dtype)


@pytest.mark.parametrize(("task", "kind", "sight"), MIXED_TOO)
def test_reordered_beams_equal_copied_caches(kind, sight, task):
    """The ancestry table against the plain way: every beam's own history fed from the start."""
    of, random = model(task, kind, sight), np.random.default_rng(0)
    module = Compiled(of.bind(parameters(of)))
    B, W, L = 3, 2, 12
    source = rows(sentences(1, [5, 9, 12]), 12)
    given = source if task == "translation" else Prompt(source.tokens_BL[:, :3], jnp.full((B,), 3))
    begun, step = module.begin(given, W, L), module.step
    state = begun
    histories = np.zeros((B, W, 0), np.int32)
    for _ in range(L):
        tokens_BW = random.integers(4, VOCABULARY, (B, W)).astype(np.int32)
        histories = np.concatenate([histories, tokens_BW[..., None]], axis=2)
        state, logits_VBW = step(state, jnp.asarray(tokens_BW))
        parents_BW = random.integers(0, W, (B, W)).astype(np.int32)
        state = reorder(state, jnp.asarray(parents_BW))
        last_VBW, fed = logits_VBW, histories
        histories = np.take_along_axis(histories, parents_BW[..., None], axis=1)
    for beam in range(W):
        _, alone_BWLV = feed(module, begun, jnp.asarray(fed[:, beam]), 0, L)
        np.testing.assert_allclose(last_VBW[..., beam].T, alone_BWLV[:, 0, -1], atol=2e-5)


@pytest.mark.parametrize(("task", "kind", "sight"), MIXED_TOO)
def test_a_grown_cache_equals_one_that_was_large_from_the_start(kind, sight, task):
    """Beams change places, and a prompt that joins late is stored over the end of the ring."""
    of, random, W = model(task, kind, sight), np.random.default_rng(0), 2
    module, layers = Compiled(of.bind(parameters(of))), of.config.decoder.attentions
    pairs = batch(sentences(0, [3, 3, 3]), 12, sentences(1, [5, 9, 12]))
    given = pairs.source if task == "translation" else Prompt(pairs.inputs_BL[:, :3], jnp.asarray([3, 1, 2]))
    tokens_TBW = jnp.asarray(random.integers(4, VOCABULARY, (12, 3, W)), jnp.int32)
    parents_TBW = jnp.asarray(random.integers(0, W, (12, 3, W)), jnp.int32)

    def decode(rooms):
        state, logits = module.begin(given, W, rooms[0]), []
        if task == "language":
            for _ in range(4):
                state, _ = module.step(state, tokens_TBW[0])
            state = jax.jit(admit, static_argnums=2)(state, module.begin(given, W, 0), layers, jnp.arange(3))
        for held, room in itertools.pairwise([rooms[0], *rooms]):
            state = jax.jit(grow, static_argnums=(1, 2))(state, layers, room - held)
            for t in range(len(logits), room):
                state, logits_VBW = module.step(state, tokens_TBW[t])
                state, logits = reorder(state, parents_TBW[t]), [*logits, logits_VBW]
        return jnp.stack(logits)

    np.testing.assert_allclose(decode((2, 5, 12)), decode((12,)), atol=2e-5)


@pytest.mark.parametrize(("kind", "sight", "beams"), [(*case, 3) for case in EVERY_TYPE] + [("latent", "sinks", 1)])
def test_a_verification_of_several_tokens_equals_steps(kind, sight, beams):
    """After a reorder, over the end of the ring, and going on behind it."""
    of, random = model("language", kind, sight), np.random.default_rng(0)
    module = Compiled(of.bind(parameters(of)))
    prompt = Prompt(jnp.asarray(batch(sentences(0, [3, 3]), 3).inputs_BL), jnp.asarray([3, 1]))
    step, verify = module.step, module.verify
    state = module.begin(prompt, beams, 12)
    tokens_BWL = jnp.asarray(random.integers(4, VOCABULARY, (2, beams, 9)), jnp.int32)
    for t in range(2):
        state, _ = step(state, tokens_BWL[..., t])
    state = reorder(state, jnp.asarray(random.integers(0, beams, (2, beams)), jnp.int32))
    one, logits = state, []
    for t in range(2, 9):
        one, logits_VBW = step(one, tokens_BWL[..., t])
        logits.append(logits_VBW)
    many, logits_VBWC = verify(state, tokens_BWL[..., 2:7])
    np.testing.assert_allclose(logits_VBWC, jnp.stack(logits[:5], axis=-1), atol=2e-5)
    for t in range(7, 9):
        many, logits_VBW = step(many, tokens_BWL[..., t])
        np.testing.assert_allclose(logits_VBW, logits[t - 2], atol=2e-5)


@pytest.mark.parametrize("task", ["translation", "language"])
def test_likelihoods_step_by_step_are_those_of_whole_sequences(task):
    of = model(task, "latent", "sinks")
    values = parameters(of)
    pairs = batch(sentences(0, LENGTHS), 12, sentences(1, [5, 9, 12]) if task == "translation" else None)
    whole_B = nll_of_rows(of, values, pairs)
    np.testing.assert_allclose(stepwise.nll_of_rows(of, jax.jit(of.lay_out)(values), pairs), whole_B, rtol=1e-5)
