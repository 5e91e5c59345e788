"""Attention and its products against slow twins that loop over heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mqa_jax.model import over_cache, products
from mqa_jax.model.attention import attend, causal_mask, segment_mask

H, K, V = 8, 4, 6
TOLERANCE = {"float32": {"atol": 2e-6, "rtol": 1e-5}, "bfloat16": {"atol": 2e-2, "rtol": 2e-2}}


def slow_attend(q_BLHK, k_BMGK, v_BMGV, mask_BLM):
    """One head and one position at a time, in float64."""
    q, k, v = (np.asarray(each, np.float64) for each in (q_BLHK, k_BMGK, v_BMGV))
    mask = np.asarray(mask_BLM)
    B, L, heads, _ = q.shape
    o = np.zeros((B, L, heads, v.shape[-1]))
    for b in range(B):
        for i in range(L):
            for h in range(heads):
                g = h // (heads // k.shape[2])
                seen = np.flatnonzero(mask[b, i])
                scores = k[b, seen, g] @ q[b, i, h]
                weights = np.exp(scores - scores.max())
                o[b, i, h] = (weights / weights.sum()) @ v[b, seen, g]
    return o


def operands(G, L, M, dtype, seed=0):
    q, k, v, m = jax.random.split(jax.random.key(seed), 4)
    mask = jax.random.bernoulli(m, 0.6, (3, L, M)).at[:, :, 0].set(True)
    return (
        jax.random.normal(q, (3, L, H, K)).astype(dtype),
        jax.random.normal(k, (3, M, G, K)).astype(dtype),
        jax.random.normal(v, (3, M, G, V)).astype(dtype),
        mask,
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("G", [1, 2, H])
def test_whole_sequences_match_the_slow_twin(G, dtype):
    q, k, v, mask = operands(G, 5, 7, dtype)
    np.testing.assert_allclose(
        np.asarray(attend(q, k, v, mask), np.float64), slow_attend(q, k, v, mask), **TOLERANCE[dtype]
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("G", [1, 2, H])
@pytest.mark.parametrize("queries", [1, over_cache.FEW_QUERIES // H, over_cache.FEW_QUERIES // H + 1])
def test_attention_over_a_memory_matches_the_slow_twin(G, dtype, queries):
    """On both sides of the number of queries where the form changes."""
    q, k, v, mask = operands(G, queries, 7, dtype)
    flat = jax.jit(over_cache.attend_memory, static_argnames="write_heads")(
        q, k.reshape(3, 7, G * K), v.reshape(3, 7, G * V), mask, write_heads=G
    )
    assert flat.dtype == v.dtype
    np.testing.assert_allclose(np.asarray(flat, np.float64), slow_attend(q, k, v, mask), **TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("G", [1, 2, H])
def test_attention_of_beams_matches_the_slow_twin(G, dtype):
    """Each beam by itself over the history that its ancestry spells out."""
    W, M = 4, 7
    q, k, v, _ = operands(G, W, W * M, dtype)
    ancestry = jax.random.randint(jax.random.key(5), (3, W, M), 0, W).astype(jnp.int8)
    live = jnp.arange(M)[None] < jnp.asarray([[1], [4], [M]])
    flat = jax.jit(over_cache.attend_beams, static_argnames="write_heads")(
        q, k.reshape(3, W * M, G * K), v.reshape(3, W * M, G * V), live, ancestry, write_heads=G
    )
    mask = np.zeros((3, W, W, M), bool)
    for b, w, m in np.ndindex(3, W, M):
        mask[b, w, ancestry[b, w, m], m] = live[b, m]
    np.testing.assert_allclose(
        np.asarray(flat, np.float64), slow_attend(q, k, v, mask.reshape(3, W, W * M)), **TOLERANCE[dtype]
    )


@pytest.mark.parametrize("G", [1, 2, H])
def test_gradients_match_those_of_plain_einsum(G):
    q, k, v, mask = operands(G, 5, 7, "float32")

    def plain(q, k, v):
        B, L, _, _ = q.shape
        scores = jnp.einsum("blgrk,bmgk->bgrlm", q.reshape(B, L, G, H // G, K), k)
        weights = jax.nn.softmax(jnp.where(mask[:, None, None], scores, -1e30), axis=-1)
        return jnp.einsum("bgrlm,bmgv->blgrv", weights, v).reshape(B, L, H, V)

    ours = jax.grad(lambda *a: jnp.sin(attend(*a, mask)).sum(), argnums=(0, 1, 2))(q, k, v)
    theirs = jax.grad(lambda *a: jnp.sin(plain(*a)).sum(), argnums=(0, 1, 2))(q, k, v)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("N", [3, 9])
def test_linear_and_its_gradients_match_float64(N, dtype):
    """Outputs narrower and wider than the inputs: the weight gradient transposes the narrower."""
    x = jax.random.normal(jax.random.key(0), (3, 5, 2, 8)).astype(dtype)
    w = jax.random.normal(jax.random.key(1), (2, 8, 4, N))
    bar = jax.random.normal(jax.random.key(2), (3, 5, 4, N))
    y, pull = jax.vjp(lambda x, w: products.linear(x, w, contracted=2), x, w)
    x_bar, w_bar = pull(bar.astype(dtype))
    assert (y.dtype, x_bar.dtype, w_bar.dtype) == (x.dtype, x.dtype, jnp.float32)
    x64, w64 = np.asarray(x, np.float64), np.asarray(w.astype(dtype), np.float64)
    bar64 = np.asarray(bar.astype(dtype), np.float64)
    tolerance = {"atol": 1e-5, "rtol": 1e-5} if dtype == "float32" else {"atol": 0.05, "rtol": 0.01}
    np.testing.assert_allclose(np.asarray(y, np.float64), np.einsum("blij,ijkn->blkn", x64, w64), **tolerance)
    np.testing.assert_allclose(np.asarray(x_bar, np.float64), np.einsum("blkn,ijkn->blij", bar64, w64), **tolerance)
    # The weight gradient is never rounded to bfloat16.
    np.testing.assert_allclose(w_bar, np.einsum("blij,blkn->ijkn", x64, bar64), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("count", [3, products.FEW_ROWS, products.FEW_ROWS + 1])
def test_products_of_few_rows_match_float64(count, dtype):
    """Both forms, with the weights of two projections in one matrix."""
    x = jax.random.normal(jax.random.key(0), (count, 1, 16)).astype(dtype)
    a = jax.random.normal(jax.random.key(1), (16, 4, 3)).astype(dtype)
    b = jax.random.normal(jax.random.key(2), (16, 5)).astype(dtype)
    y = jax.jit(lambda x, a, b: products.few_rows(x, products.weights_first(a, b)))(x, a, b)
    whole = np.concatenate([np.asarray(a, np.float64).reshape(16, 12), np.asarray(b, np.float64)], axis=1)
    assert y.shape == (count, 1, 17) and y.dtype == x.dtype
    tolerance = {"atol": 1e-5} if dtype == "float32" else {"atol": 0.05, "rtol": 0.01}
    np.testing.assert_allclose(np.asarray(y, np.float64), np.asarray(x, np.float64) @ whole, **tolerance)


def test_bfloat16_products_accumulate_in_float32():
    ones = jnp.ones((1, 4096), jnp.bfloat16)
    assert products.product("mk,nk->mn", ones, ones)[0, 0] == 4096
    text = jax.jit(jax.grad(lambda a, b: products.product("mk,nk->mn", a, b).sum())).lower(ones, ones).as_text()
    dots = [line for line in text.splitlines() if "dot_general" in line]
    assert dots and all("bf16>, tensor<" in line and line.count("bf16") >= 2 for line in dots), dots


def test_masks():
    segments = jnp.asarray([[1, 1, 2, 0]])
    expected = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], bool)
    np.testing.assert_array_equal(segment_mask(segments, segments)[0], expected)
    np.testing.assert_array_equal(causal_mask(4, None)[0], np.tril(np.ones((4, 4), bool)))
    np.testing.assert_array_equal(
        causal_mask(4, 2)[0], np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]], bool)
    )
