"""The fused kernels: splash attention interpreted on the CPU against a slow twin. extra/test_fused_on_tpu.py compiles.

cuDNN's kernel cannot run without a GPU. Only what it is given is tested, with JAX's own attention in its place.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mqa_jax.kernels import fused
from mqa_jax.kernels.whole import attend, causal_mask

H, K, V = 4, 16, 24


def slow_attend(q_BLHK, k_BMGK, v_BMGV, bar_BLHV, mask_BLM):
    """One row and head at a time, in float64 -> o_BLHV, and the gradients of q, k and v for the cotangent `bar`."""
    q, k, v, bar = (np.asarray(x, np.float64) for x in (q_BLHK, k_BMGK, v_BMGV, bar_BLHV))
    o, q_bar, k_bar, v_bar = np.zeros_like(bar), np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        g = h // (q.shape[2] // k.shape[2])
        scores_LM = np.where(mask_BLM[b], q[b, :, h] @ k[b, :, g].T, -np.inf)
        weights_LM = np.exp(scores_LM - scores_LM.max(1, keepdims=True))
        weights_LM /= weights_LM.sum(1, keepdims=True)
        o[b, :, h] = weights_LM @ v[b, :, g]
        weights_bar_LM = bar[b, :, h] @ v[b, :, g].T
        scores_bar_LM = weights_LM * (weights_bar_LM - (weights_bar_LM * weights_LM).sum(1, keepdims=True))
        q_bar[b, :, h] = scores_bar_LM @ k[b, :, g]
        k_bar[b, :, g] += scores_bar_LM.T @ q[b, :, h]
        v_bar[b, :, g] += weights_LM.T @ bar[b, :, h]
    return o, q_bar, k_bar, v_bar


def segments(B, length):
    """Two texts and padding in every row, each cut elsewhere."""
    cuts_B = np.linspace(length // 4, length // 2, B).astype(int)
    position_BL = np.broadcast_to(np.arange(length), (B, length))
    return ((position_BL < cuts_B[:, None]) + 2 * (position_BL >= cuts_B[:, None])) * (position_BL < length - 20)


def operands(G, L, M, B=2, H=H, dtype="float32"):
    shapes = (B, L, H, K), (B, M, G, K), (B, M, G, V), (B, L, H, V)
    q, k, v, bar = (jnp.asarray(np.random.default_rng(0).standard_normal(shape), dtype) for shape in shapes)
    q *= jnp.asarray(K**-0.5, dtype)
    return (q, k, v), (segments(B, L).astype(np.int32), segments(B, M).astype(np.int32)), bar


def slow_mask(query_segments_BL, memory_segments_BM, causal, window):
    mask = query_segments_BL[:, :, None] == memory_segments_BM[:, None, :]
    distance = np.arange(mask.shape[1])[:, None] - np.arange(mask.shape[2])
    return mask & (not causal or distance >= 0) & (window is None or distance < window)


def with_gradients(kernel, arrays, segments, bar):
    @jax.jit
    def both(*arrays):
        o, pull = jax.vjp(lambda *arrays: kernel(*arrays, *segments), *arrays)
        return o, *pull(bar)

    return both(*arrays)


@pytest.mark.parametrize("G", [1, 2, H])
@pytest.mark.parametrize(
    ("L", "M", "causal", "window"), [(300, 300, True, None), (300, 300, True, 37), (200, 300, False, None)]
)
def test_the_tpu_kernel_and_its_gradients_match_the_slow_twin(G, L, M, causal, window):
    arrays, segments, bar = operands(G, L, M)
    kernel = functools.partial(fused.on_tpu, causal=causal, window=window, interpret=True)
    ours = with_gradients(kernel, arrays, segments, bar)
    for a, b in zip(ours, slow_attend(*arrays, bar, slow_mask(*segments, causal, window)), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-4)


def test_the_tpu_kernel_in_bfloat16():
    arrays, segments, bar = operands(1, 256, 256, dtype="bfloat16")
    kernel = functools.partial(fused.on_tpu, causal=True, window=None, interpret=True)
    ours = with_gradients(kernel, arrays, segments, bar)
    for a, b in zip(ours, slow_attend(*arrays, bar, slow_mask(*segments, True, None)), strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.asarray(a, np.float64), b, atol=0.02 * np.abs(b).max())


@pytest.mark.parametrize(
    ("L", "M", "causal", "window"), [(90, 90, True, None), (90, 90, True, 17), (70, 90, False, None)]
)
def test_what_cudnn_is_given(L, M, causal, window, monkeypatch):
    attention = jax.nn.dot_product_attention
    monkeypatch.setattr(
        jax.nn, "dot_product_attention", lambda *arrays, **rest: attention(*arrays, **rest | {"implementation": "xla"})
    )
    (q, k, v), segments, bar = operands(2, L, M)
    ours = with_gradients(functools.partial(fused.on_cuda, causal=causal, window=window), (q, k, v), segments, bar)
    for a, b in zip(ours, slow_attend(q, k, v, bar, slow_mask(*segments, causal, window)), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-4)


def test_a_query_that_sees_nothing_is_finite_and_pulls_on_nothing():
    (q, k, v), (query_segments, memory_segments), bar = operands(1, 200, 150)
    query_segments[:, 90:] = 7
    kernel = functools.partial(fused.on_tpu, causal=False, window=None, interpret=True)
    o, q_bar, *ours = with_gradients(kernel, (q, k, v), (query_segments, memory_segments), bar.at[:, 90:].set(0))
    assert np.isfinite(o).all() and not q_bar[:, 90:].any()
    mask = slow_mask(query_segments[:, :90], memory_segments, False, None)
    for a, b in zip(ours, slow_attend(q[:, :90], k, v, bar[:, :90], mask)[2:], strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("shape", "B", "heads", "G"),
    [
        ((2, 1, 2), 2, 4, 4),  # write heads shared out
        ((1, 2, 2), 2, 4, 1),  # one write head, on every device
        ((2, 1, 4), 2, 8, 2),  # two devices to a write head
        ((2, 1, 4), 3, 6, 3),  # nothing divides
    ],
)
def test_a_mesh_shares_out_rows_and_heads(shape, B, heads, G):
    devices = np.asarray(jax.devices()[: np.prod(shape)]).reshape(shape)
    mesh = jax.sharding.Mesh(devices, ("data", "fsdp", "tensor"))
    arrays, segments, bar = operands(G, 200, 200, B, heads)
    kernel = functools.partial(fused.on_tpu, causal=True, window=None, interpret=True)
    ours = with_gradients(fused.by_part(kernel, mesh), arrays, segments, bar)
    for a, b in zip(ours, slow_attend(*arrays, bar, slow_mask(*segments, True, None)), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-4)


def plain(q_BLHK, k_BMGK, v_BMGV, query_segments_BL, memory_segments_BM):
    return attend(q_BLHK, k_BMGK, v_BMGV, causal_mask(query_segments_BL))


def chosen(*operands):
    return fused.attend(*operands, causal=True, window=None, otherwise=lambda: plain(*operands))


@pytest.mark.parametrize("around", [lambda function: function, jax.checkpoint])
def test_a_cpu_runs_the_plain_form_and_nothing_beside_it(around):
    arrays, segments, bar = operands(1, 256, 256)
    programs = {}
    for form in (plain, chosen):
        loss = lambda *arrays, form=form: (around(form)(*arrays, *segments) * bar).sum()  # noqa: E731
        programs[form] = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(*arrays).compile()
    ours, theirs = (programs[form].memory_analysis() for form in (chosen, plain))
    assert ours.temp_size_in_bytes == theirs.temp_size_in_bytes
    assert "conditional" not in programs[chosen].as_text() and "custom-call" not in programs[chosen].as_text()
    for a, b in zip(programs[chosen](*arrays), programs[plain](*arrays), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("L", "M", "devices"), [(128, 256, None), (256, 128, None), (256, 256, 1), (256, 256, 2)])
def test_short_sequences_and_meshes_of_cpus_have_no_kernel_even_traced(L, M, devices):
    mesh = devices and jax.sharding.Mesh(np.asarray(jax.devices()[:devices])[:, None, None], ("data", "fsdp", "tensor"))
    arrays, segments, _ = operands(1, L, M)
    mark = object()
    found = fused.attend(*arrays, *segments, causal=False, window=None, otherwise=lambda: mark, mesh=mesh)
    assert found is mark
