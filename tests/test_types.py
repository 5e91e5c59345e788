"""Attention types against their equations, one head and one position at a time in float64; a Llama block likewise."""

import dataclasses
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small import HEADS, ROTARY, SIGHTS, TYPES, attention, batch, model, parameters, sentences

from mqa_jax.attention import registry
from mqa_jax.attention.config import AttentionConfig, Place, Row
from mqa_jax.attention.contract import Attention, Context, Whole
from mqa_jax.attention.latent import Latent
from mqa_jax.attention.rotary import Rotary, rotate
from mqa_jax.batch import Prompt
from mqa_jax.errors import InputError
from mqa_jax.kernels import fused, over_cache
from mqa_jax.kernels.whole import causal_mask, segment_mask
from mqa_jax.layers import Weight

D, L = 16, 6
EPS = 0.1  # of a norm, large enough to be noticed


def turned(x, position, rotary, size):
    """Half-rotation: x[i] + j x[i + size/2] times e^(j position frequency)."""
    frequency = rotary.frequencies(size)
    z = (x[: size // 2] + 1j * x[size // 2 :]) * np.exp(1j * position * frequency)
    return np.concatenate([z.real, z.imag])


def softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def normed(x, scale, eps=1e-6):
    return x / np.sqrt(np.mean(x**2) + eps) * scale


def module_and_weights(config, x_LD):
    """The module with norms that are not all ones, its weights in float64, and its y_LD for positions 3, 4, ..."""
    module = config.module(Place(D, causal=True), nnx.Rngs(params=0))
    for _, node in nnx.iter_graph(module):
        if isinstance(node, nnx.Param) and node[...].ndim == 1:
            node[...] = 1 + 0.3 * jax.random.normal(jax.random.key(node[...].size), node[...].shape)
    weights = {path[-1] if path[-1] != "scale_D" else path[-2]: np.asarray(node[...], np.float64)
               for path, node in nnx.iter_graph(module) if isinstance(node, nnx.Param)}  # fmt: skip
    segments_BL = jnp.ones((1, L), "int32")
    sight = Whole(segments_BL, segments_BL, causal_mask(segments_BL))
    y_BLD, _ = module(jnp.asarray(x_LD, "float32")[None], Context(3 + jnp.arange(L)[None], sight))
    return weights, y_BLD[0]


@pytest.mark.parametrize("ranked", [False, True])
def test_latent_attention_is_the_papers(ranked):
    """DeepSeek-V2, equations 9 to 19, in their own order: every head's keys and values made of the latent."""
    config = Latent(heads=3, key_size=4, value_size=6, kv_rank=5, query_rank=7 if ranked else None, rotary_size=2)
    x_LD = np.random.default_rng(0).normal(size=(L, D))
    w, found_LD = module_and_weights(config, x_LD)
    latents, keys_R = [], []
    for t, x in enumerate(x_LD):
        row = x @ w["wc_DC"]
        latents.append(normed(row[:5], w["norm"]))
        keys_R.append(turned(row[5:], 3 + t, config.rotary, 2))
    for t, x in enumerate(x_LD):
        y = np.zeros(D)
        c_Q = normed(x @ w["wq_DQ"], w["query_norm"]) if ranked else x
        for h in range(3):
            q = c_Q @ w["wq_QHK" if ranked else "wq_DHK"][:, h]
            q = np.concatenate([q[:4], turned(q[4:], 3 + t, config.rotary, 2)])
            keys = [np.concatenate([c @ w["wk_CHK"][:, h], k_R]) for c, k_R in zip(latents, keys_R, strict=True)]
            weights = softmax(np.stack(keys[: t + 1]) @ q / np.sqrt(6))
            y += weights @ np.stack([c @ w["wv_CHV"][:, h] for c in latents[: t + 1]]) @ w["wo_HVD"][h]
        np.testing.assert_allclose(found_LD[t], y, atol=2e-5)


UNBIASED = dataclasses.replace(TYPES["grouped_2_rotary"], biases="none")


def test_grouped_attention_with_rotary_positions_is_llamas():
    """Query head h reads write head h // (H / G); queries and keys are turned, values are not."""
    x_LD = np.random.default_rng(0).normal(size=(L, D))
    w, found_LD = module_and_weights(UNBIASED, x_LD)
    for t, x in enumerate(x_LD):
        y = np.zeros(D)
        for h in range(HEADS):
            g = h // 2
            q = turned(x @ w["wq_DHK"][:, h], 3 + t, ROTARY, 4)
            keys = np.stack([turned(x_LD[s] @ w["wk_DGK"][:, g], 3 + s, ROTARY, 4) for s in range(t + 1)])
            y += softmax(keys @ q / 2) @ (x_LD[: t + 1] @ w["wv_DGV"][:, g]) @ w["wo_HVD"][h]
        np.testing.assert_allclose(found_LD[t], y, atol=2e-5)


def test_a_language_model_can_be_llama():
    """h = embed; h += attention(norm(h)); h += down(silu(gate(x)) * up(x)), x = norm(h); logits by the same table."""
    of = model(
        "language", [UNBIASED], learned_positions=False, scaled_embedding=False, feed_forward="swiglu",
        norm_eps=EPS,
    )  # fmt: skip
    values = parameters(of)
    tokens = sentences(0, [L])[0]
    texts = batch([tokens], L)
    w = jax.tree.map(lambda x: np.asarray(x, np.float64), values)
    assert set(w["embedding"]) == {"tokens_VD"}
    h_LD = w["embedding"]["tokens_VD"][np.asarray(texts.inputs_BL[0])]
    for layer in range(2):
        block = w["decoder"]["blocks"][layer]
        inputs = block["attention"]["inputs"]
        x_LD = np.stack([normed(h, block["attention_norm"]["scale_D"], EPS) for h in h_LD])
        q = np.einsum("ld,dhk->lhk", x_LD, inputs["wq_DHK"])
        k, v = (np.einsum("ld,dgk->lgk", x_LD, inputs[name]) for name in ("wk_DGK", "wv_DGV"))
        for t in range(L):
            for h in range(HEADS):
                query = turned(q[t, h], t, ROTARY, 4)
                keys = np.stack([turned(k[s, h // 2], s, ROTARY, 4) for s in range(t + 1)])
                o = softmax(keys @ query / 2) @ v[: t + 1, h // 2]
                h_LD[t] = h_LD[t] + o @ block["attention"]["output"]["wo_HVD"][h]
        x_LD = np.stack([normed(h, block["feed_forward_norm"]["scale_D"], EPS) for h in h_LD])
        gate, up = (x_LD @ block["feed_forward"]["inputs"][name] for name in ("w_gate_DF", "w_in_DF"))
        h_LD = h_LD + (gate / (1 + np.exp(-gate)) * up) @ block["feed_forward"]["output"]["w_out_FD"]
    x_LD = np.stack([normed(h, w["decoder"]["norm"]["scale_D"], EPS) for h in h_LD])
    np.testing.assert_allclose(of.bind(values)(texts)[0], x_LD @ w["embedding"]["tokens_VD"].T, atol=3e-5)


def test_rotary_scores_depend_on_the_distance_alone():
    rotary = Rotary(base=100.0, scaling="llama3", factor=8.0, original=64)
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 8))
    score = lambda i, j: (  # noqa: E731
        rotate(q, jnp.full((1, 1), i), rotary) * rotate(k, jnp.full((1, 1), j), rotary)
    ).sum()
    assert float(score(9, 4)) == pytest.approx(float(score(29, 24)), abs=1e-5)
    assert float(score(9, 4)) != pytest.approx(float(score(9, 5)), abs=1e-3)


def test_rotary_scalings():
    plain = Rotary(base=10_000.0).frequencies(64)
    np.testing.assert_allclose(plain[[0, 1, 31]], [1, 10_000 ** (-2 / 64), 10_000 ** (-62 / 64)])
    np.testing.assert_allclose(Rotary(base=100.0).frequencies(8), [1, 100**-0.25, 100**-0.5, 100**-0.75])
    np.testing.assert_allclose(Rotary(scaling="linear", factor=4.0).frequencies(64), plain / 4)
    scaled = Rotary(scaling="llama3", factor=8.0, low=1.0, high=4.0, original=8192).frequencies(64)
    for before, after in zip(plain, scaled, strict=True):
        wavelength = 2 * np.pi / before
        smooth = (8192 / wavelength - 1) / 3
        ramp = (1 - smooth) * before / 8 + smooth * before
        wanted = before if wavelength < 8192 / 4 else before / 8 if wavelength > 8192 else ramp
        assert after == pytest.approx(wanted)
    assert 0 < sum(scaled == plain) < 32


@pytest.mark.parametrize("kind", TYPES)
def test_attention_to_another_sequence_knows_no_positions(kind):
    module = attention(kind).across().module(Place(D, cross=True), nnx.Rngs(params=0))
    x_BLD, memory_BMD = jax.random.normal(jax.random.key(0), (2, 1, L, D))
    segments_BL = jnp.ones((1, L), "int32")
    sight = Whole(segments_BL, segments_BL, segment_mask(segments_BL, segments_BL))
    near, far = (
        module.across(x_BLD, Context(start + jnp.arange(L)[None], sight, sight, memory_BMD), None) for start in (0, 9)
    )
    np.testing.assert_array_equal(near, far)


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("kind", ["grouped_2_rotary", "latent"])
def test_a_kernel_is_given_what_the_plain_form_has(kind, sight, monkeypatch):
    """A TPU's, interpreted: segments, window, causality. Sinks and dropout, which it has not, take the plain form."""
    config, M, calls = attention(kind, sight), 9, []
    x_BLD, memory_BMD = (jax.random.normal(jax.random.key(size), (2, size, D)) for size in (12, M))
    segments_BL = jnp.asarray([[1] * 8 + [2] * 4, [1] * 2 + [2] * 10])
    memory_segments_BM = jnp.asarray([[1] * 3 + [2] * 6, [1] * 4 + [2] * 3 + [0] * 2])
    own = Whole(segments_BL, segments_BL, causal_mask(segments_BL, config.window, config.sinks))
    memory = Whole(segments_BL, memory_segments_BM, segment_mask(segments_BL, memory_segments_BM))
    context = Context(jnp.broadcast_to(jnp.arange(12), (2, 12)), own, memory, memory_BMD)
    within = config.module(Place(D, causal=True), nnx.Rngs(params=0))
    across = config.across().module(Place(D, cross=True), nnx.Rngs(params=1))

    def outputs():
        yield within(x_BLD, context)[0]
        yield within(x_BLD, context, None, 0.5, jax.random.key(2))[0]
        yield across.across(x_BLD, context, None)

    def as_on_a_tpu(*operands, otherwise, mesh, **sight):
        calls.append(sight)
        return fused.on_tpu(*operands, **sight, interpret=True)

    plain = list(outputs())
    monkeypatch.setattr(fused, "attend", as_on_a_tpu)
    for found, wanted in zip(outputs(), plain, strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-5)
    assert len(calls) == (1 if config.sinks else 2)


@pytest.mark.parametrize("kind", TYPES)
def test_parameters_are_those_of_the_module(kind):
    config = attention(kind, "sinks")
    for each, cross in ((config, False), (config.across(), True)):
        module = each.module(Place(D, cross=cross), nnx.Rngs(params=0))
        sizes = {path: node[...].size for path, node in nnx.iter_graph(module) if isinstance(node, nnx.Param)}
        assert sum(sizes.values()) == each.parameters(D)
        if cross:  # all that is needed for the memory's rows; a norm counts, which is small
            memory = sum(size for path, size in sizes.items() if path[0] in ("memory", "norm"))
            assert memory == each.memory_parameters(D)


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("grouped", {"write_heads": 3}, "config.attention.write_heads=3 does not divide config.attention.heads=4"),
        ("grouped", {"window": 0}, "config.attention.window=0 must be at least 1"),
        ("grouped", {"sinks": 2}, "config.attention.sinks=2 needs config.attention.window"),
        ("grouped", {"window": 4, "sinks": -1}, "config.attention.sinks=-1 must not be negative"),
        ("grouped", {"kv_rank": 4}, "config.attention.kv_rank is not a field of grouped attention"),
        ("grouped", {"key_size": 5, "rotary": Rotary()}, "config.attention.key_size=5 must be even"),
        ("latent", {"kv_rank": 0}, "config.attention.kv_rank=0 must be an integer of at least 1"),
        ("latent", {"query_rank": 0}, "config.attention.query_rank=0 must be an integer of at least 1"),
        ("latent", {"rotary_size": 3}, "config.attention.rotary_size=3 must be even"),
        ("latent", {"write_heads": 1}, "config.attention.write_heads is not a field of latent attention"),
    ],
)
def test_what_cannot_be_is_refused(kind, changes, words):
    with pytest.raises(InputError, match=words):
        registry.TYPES[kind].complete({"heads": 4, "key_size": 4, "value_size": 4} | changes)


def test_defaults_of_a_type():
    given = {"heads": 8, "key_size": 128, "value_size": 128}
    assert registry.TYPES["grouped"].complete(given).rows()[0].heads == 8
    latent = registry.TYPES["latent"].complete(given)
    assert [(row.heads, row.size) for row in latent.rows()] == [(1, 512 + 64)]
    assert dataclasses.replace(latent, window=4, sinks=1).everywhere() == latent


@pytest.mark.parametrize("task", ["translation", "language"])
def test_the_readmes_attention_type_decodes_as_it_trains(task):
    """The worked example, as it stands there: steps over rings with sinks against whole sequences; int8 nearly."""
    text = (pathlib.Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    code = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class Shared(" in block)
    names = [dataclasses, jnp, over_cache, Attention, AttentionConfig, Row, Weight]
    known = {getattr(each, "__name__", "").rpartition(".")[2]: each for each in names} | {"jnp": jnp}
    exec(code, known)
    config = known["Shared"](heads=HEADS, key_size=4, value_size=4, write_heads=2, window=3, sinks=1)
    module = nnx.eval_shape(lambda: config.module(Place(D), nnx.Rngs(params=0)))
    assert sum(x.size for x in jax.tree.leaves(nnx.state(module, nnx.Param))) == config.parameters(D)
    pairs = batch(sentences(0, [9, 9]), 9, sentences(1, [5, 8]))
    given = pairs.source if task == "translation" else Prompt(pairs.inputs_BL[:, :1], jnp.ones((2,), "int32"))
    values = parameters(model(task, [config]))
    whole_BLV = model(task, [config]).bind(values)(pairs)[:, 1:]
    for cache_dtype, tolerance in ((None, 2e-5), ("int8", 0.03 * float(jnp.ptp(whole_BLV)))):
        of = model(task, [config], cache_dtype=cache_dtype)
        bound = of.bind(jax.jit(of.lay_out)(values))
        state, step = bound.begin(given, 1, 9), jax.jit(bound.step)
        for t in range(0 if task == "translation" else 1, 9):
            state, logits_VB1 = step(state, pairs.inputs_BL[:, t, None])
            if t:
                np.testing.assert_allclose(logits_VB1[..., 0].T, whole_BLV[:, t - 1], atol=tolerance)
