"""The models over whole sequences: packing, causality, budgets, the first values."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small import BOS, HEADS, SIGHTS, VOCABULARY, WRITE_HEADS, Compiled, batch, model, parameters, rows, sentences
from steps import EVERY_TYPE, IN_BOTH_TASKS, feed

from mqa_jax.attention.config import Place
from mqa_jax.attention.grouped import Grouped
from mqa_jax.batch import Batch, Prompt, Rows
from mqa_jax.kernels import platforms
from mqa_jax.layers import Norm
from mqa_jax.model.build import count


@pytest.mark.parametrize(("kind", "sight"), EVERY_TYPE)
def test_packed_equals_unpacked(kind, sight):
    of = model("translation", kind, sight)
    module = Compiled(of.bind(parameters(of)))
    targets, sources = sentences(0, [5, 4, 3]), sentences(1, [4, 6, 2])
    apart_BLV = module(batch(targets, 12, sources))

    def pack(each):
        ends = np.cumsum([len(x) for x in each])
        segments = np.concatenate([np.full(len(x), n + 1) for n, x in enumerate(each)])
        positions = np.concatenate([np.arange(len(x)) for x in each])
        tokens = np.concatenate(each)
        pad = lambda x: jnp.asarray(np.pad(x, (0, 12 - len(x)))[None], jnp.int32)  # noqa: E731
        return Rows(pad(tokens), pad(segments), pad(positions)), ends

    target, ends = pack(targets)
    source, _ = pack(sources)
    inputs, _ = pack([[BOS, *each[:-1]] for each in targets])
    together_1LV = module(Batch(target, inputs.tokens_BL, source))
    start = 0
    for row, end in enumerate(ends):
        np.testing.assert_allclose(together_1LV[0, start:end], apart_BLV[row, : end - start], atol=2e-5)
        start = end


@pytest.mark.parametrize(("task", "kind", "sight"), IN_BOTH_TASKS)
def test_causality_through_gradients(task, kind, sight):
    """The logits of position i depend on the inputs of i and before, within the window of each layer, and no others."""
    of = model(task, kind, sight)
    module, L = Compiled(of.bind(parameters(of))), 10
    pairs = batch(sentences(0, [L]), L, sentences(1, [L]))
    embedded_BLD = module.embedding(pairs.inputs_BL, pairs.target.positions_BL)
    target, source = pairs.target, pairs.source

    def logits_of(embedded_BLD, position):
        memory = (module.encode(source), source.segments_BL) if task == "translation" else ()
        return module.decoder(embedded_BLD, target.segments_BL, target.positions_BL, *memory)[0, position].sum()

    window, sinks = SIGHTS[sight]
    gradient = jax.jit(jax.grad(logits_of))
    for position in (0, 4, L - 1):
        gradient_L = np.abs(gradient(embedded_BLD, position)[0]).sum(-1)
        first = 0 if window is None else max(0, position - 2 * (window - 1))  # two layers
        seen = (np.arange(L) <= position) & ((np.arange(L) >= first) | (np.arange(L) < sinks))
        assert (gradient_L[seen] > 1e-7).all() and (gradient_L[~seen] == 0).all()


@pytest.mark.parametrize("task", ["translation", "language"])
def test_whole_model_is_causal_in_its_tokens(task):
    of = model(task, 1)
    module = Compiled(of.bind(parameters(of)))
    pairs = batch(sentences(0, [10]), 10, sentences(1, [10]))
    changed = pairs._replace(inputs_BL=pairs.inputs_BL.at[0, 6].set(5 + (pairs.inputs_BL[0, 6] == 5)))
    before, after = module(pairs)[0], module(changed)[0]
    np.testing.assert_array_equal(before[:6], after[:6])
    assert (jnp.abs(before[6:] - after[6:]).max(-1) > 1e-6).all()


def test_padding_and_other_segments_change_nothing():
    of = model("translation", 2)
    module = Compiled(of.bind(parameters(of)))
    pairs = batch(sentences(0, [5]), 8, sentences(1, [4]))
    noisy = pairs._replace(
        inputs_BL=pairs.inputs_BL.at[:, 5:].set(9),
        source=pairs.source._replace(tokens_BL=pairs.source.tokens_BL.at[:, 4:].set(9)),
    )
    np.testing.assert_array_equal(module(pairs)[:, :5], module(noisy)[:, :5])


def test_initial_standard_deviations():
    of = model("translation", 2)
    D, H, G, K = 256, 8, 2, 32
    attention = Grouped(heads=H, write_heads=G, key_size=K, value_size=K).module(Place(D), nnx.Rngs(params=0))
    for weight, std in [
        (attention.inputs.wq_DHK, D**-0.5),
        (attention.inputs.wk_DGK, D**-0.5),
        (attention.inputs.wv_DGV, D**-0.5),
        (attention.output.wo_HVD, (H * K) ** -0.5),
    ]:
        assert float(weight[...].std()) == pytest.approx(std, rel=0.05)
    values = of.init(jax.random.key(0))
    assert set(values) == {"embedding", "encoder", "decoder"} and "bias" not in str(jax.tree.structure(values))


def test_untied_softmax_is_a_table_of_its_own():
    """In whole sequences, in steps, and where weights are int8."""
    tied, untied = model("language"), model("language", tied=False)
    assert count(untied.shapes()) - count(tied.shapes()) == VOCABULARY * 16
    values, texts = untied.init(jax.random.key(0)), batch(sentences(0, [8, 8]), 8)
    module = untied.bind(values)
    wanted_BLV = module.hidden(texts) @ values["embedding"]["softmax_VD"].T
    np.testing.assert_allclose(module(texts), wanted_BLV, atol=1e-5)
    for weight_dtype, near in ((None, 1e-5), ("int8", 0.05)):
        of = model("language", tied=False, weight_dtype=weight_dtype)
        module = Compiled(of.bind(jax.jit(of.lay_out)(values)))
        state = module.begin(Prompt(texts.inputs_BL[:, :1], jnp.ones((2,), "int32")), 1, 7)
        _, steps_BWLV = feed(module, state, texts.inputs_BL, 1, 8)
        np.testing.assert_allclose(steps_BWLV[:, 0], wanted_BLV[:, 1:], atol=near * float(jnp.ptp(wanted_BLV)))


@pytest.mark.parametrize("task", ["translation", "language"])
def test_write_heads_are_stored_once(task):
    sizes = {G: count(model(task, G).shapes()) for G in WRITE_HEADS}
    attentions = 5 if task == "translation" else 2
    for G in WRITE_HEADS:
        assert sizes[HEADS] - sizes[G] == attentions * 16 * (HEADS - G) * (4 + 6)


def test_sources_encoded_a_few_rows_at_a_time_equal_all_at_once(monkeypatch):
    of = model("translation", 2)
    module = of.bind(parameters(of))
    source = rows(sentences(1, [5, 8, 3, 6, 7, 4]), 8)
    whole = module.begin(source, 1, 4)
    for at_once in (1, 8, 24, 40):  # of 6 rows of 8 tokens: 1, 1, 3, 3
        monkeypatch.setattr(platforms, "CPU", dataclasses.replace(platforms.CPU, encoded=at_once))
        for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(module.begin(source, 1, 4)), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_of_the_norm_match_those_of_its_plain_form(dtype):
    x = (3 * jax.random.normal(jax.random.key(0), (2, 5, 16))).astype(dtype)
    bar = jax.random.normal(jax.random.key(1), (2, 5, 16)).astype(dtype)
    scale = 1 + 0.3 * jax.random.normal(jax.random.key(2), (16,))

    def ours(x, scale):
        norm = Norm(16)
        norm.scale_D = nnx.Param(scale)
        return norm(x)

    def plain(x, scale):
        return x / jnp.sqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6) * scale[None, None]

    (y, pull), (y_plain, pull_plain) = jax.vjp(ours, x, scale), jax.vjp(plain, x.astype("float32"), scale)
    tolerance = {"atol": 2e-6, "rtol": 1e-5} if dtype == "float32" else {"atol": 0.03, "rtol": 0.01}
    found = [y, *pull(bar)]
    assert [each.dtype for each in found] == [x.dtype, x.dtype, jnp.float32]
    for a, b in zip(found, [y_plain, *pull_plain(bar.astype("float32"))], strict=True):
        np.testing.assert_allclose(np.asarray(a, np.float32), b, **tolerance)
