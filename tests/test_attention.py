"""Attention and its products against slow twins that loop over heads."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mqa_jax import sharding
from mqa_jax.experiment import MeshConfig
from mqa_jax.kernels import int8, over_cache, products
from mqa_jax.kernels.whole import attend, causal_mask, segment_mask

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


def rows_of(heads_BMGK):
    return heads_BMGK.reshape(*heads_BMGK.shape[:2], -1)


attend_kept = jax.jit(over_cache.attend, static_argnames=("keys", "values", "write_heads"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("G", [1, 2, H])
@pytest.mark.parametrize("queries", [1, over_cache.FEW_QUERIES // H, over_cache.FEW_QUERIES // H + 1])
def test_attention_over_a_memory_matches_the_slow_twin(G, dtype, queries):
    """On both sides of the number of queries where the form changes. All queries read the same slots."""
    q, k, v, mask = operands(G, queries, 7, dtype)
    mask = jnp.broadcast_to(mask[:, :1], mask.shape)
    kept = over_cache.Kept((rows_of(k), rows_of(v)), mask[:, :1])
    o = attend_kept(q[:, :, None], kept, keys=0, values=1, write_heads=G)[:, :, 0]
    assert o.dtype == v.dtype
    np.testing.assert_allclose(np.asarray(o, np.float64), slow_attend(q, k, v, mask), **TOLERANCE[dtype])


def test_devices_that_share_the_heads_attend_as_one_does():
    """A single write head and one of two are on all four devices; of eight each device has its own. With tokens that
    are not stored yet, and with rows in int8."""
    mesh = sharding.groups(MeshConfig(tensor=4), jax.devices())[0]
    W, M, C = 2, 7, 3
    ancestry = jax.random.randint(jax.random.key(5), (3, W, M), 0, W).astype(jnp.int8)
    live, new_mask = jnp.ones((3, C, M), bool).at[1, :, 4:].set(False), jnp.tril(jnp.ones((1, C, C), bool))
    by_beam = lambda each: each.reshape(3, W, C, *each.shape[2:])  # noqa: E731

    @functools.partial(jax.jit, static_argnums=0)
    def attended(mesh):
        found = {}
        for G, dtype in ((1, "float32"), (2, "float32"), (2, "int8"), (H, "int8")):
            q, k, v, _ = operands(G, W * C, W * M, "float32")
            if dtype == "int8":
                stored = tuple(int8.quantise(rows_of(each), G) for each in (k, v))
                kept = over_cache.Kept(stored, live[:, :1], ancestry)
                found[G, dtype] = over_cache.attend(by_beam(q)[:, :, :1], kept, 0, 1, G, mesh)
                continue
            new = tuple(by_beam(rows_of(each)) for each in operands(G, 1, W * C, "float32", seed=1)[1:3])
            kept = over_cache.Kept((rows_of(k), rows_of(v)), live, ancestry, new, new_mask)
            found[G, dtype] = over_cache.attend(by_beam(q), kept, 0, 1, G, mesh)
        return found

    alone, shared = attended(None), attended(mesh)
    for name, o in shared.items():
        assert o.sharding.shard_shape(o.shape)[3] == H // 4
        np.testing.assert_allclose(o, alone[name], err_msg=str(name), **TOLERANCE["float32"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_form_of_a_gpu_matches_the_slow_twin(dtype, monkeypatch):
    chosen = []

    def on_gpu(tuned, plain, *operands):
        chosen.append(tuned)
        return tuned(*operands)

    monkeypatch.setattr(over_cache.platforms, "choose_on_gpu", on_gpu)
    q, k, v, mask = operands(H, 1, 7, dtype)
    o = over_cache.attend(q[:, :, None], over_cache.Kept((rows_of(k), rows_of(v)), mask), 0, 1, H)[:, :, 0]
    assert len(chosen) == 2
    monkeypatch.setattr(over_cache, "FEW_SLOTS", 7)
    over_cache.attend(q[:, :, None], over_cache.Kept((rows_of(k), rows_of(v)), mask), 0, 1, H)
    assert len(chosen) == 2, "a long cache takes zeros"
    np.testing.assert_allclose(np.asarray(o, np.float64), slow_attend(q, k, v, mask), **TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("G", [1, 2, H])
@pytest.mark.parametrize("tokens", [1, 3, over_cache.FEW_TOKENS + 1])
def test_attention_of_beams_matches_the_slow_twin(G, dtype, tokens):
    """Each beam by itself over a prompt that all share, over the history that its ancestry spells out, and over its own
    tokens not yet stored."""
    W, M, C, P = 4, 7, tokens, 5
    q, k, v, _ = operands(G, W * C, W * M, dtype)
    _, new_k, new_v, _ = operands(G, 1, W * C, dtype, seed=1)
    ancestry = jax.random.randint(jax.random.key(5), (3, W, M), 0, W).astype(jnp.int8)
    live = jnp.broadcast_to((jnp.arange(M)[None] < jnp.asarray([[1], [4], [M]]))[:, None], (3, C, M))
    by_beam = lambda each: each.reshape(3, W, C, *each.shape[2:])  # noqa: E731
    new = tuple(by_beam(rows_of(each)) for each in (new_k, new_v)) if C > 1 else None
    new_mask = jnp.tril(jnp.ones((1, C, C), bool)) if C > 1 else None
    _, prompt_k, prompt_v, seen = operands(G, C, P, dtype, seed=2)
    seen = seen.at[1].set(False)  # a row without a prompt
    shared = over_cache.Kept((rows_of(prompt_k), rows_of(prompt_v)), seen)
    kept = over_cache.Kept((rows_of(k), rows_of(v)), live, ancestry, new, new_mask, shared)
    o = attend_kept(by_beam(q), kept, keys=0, values=1, write_heads=G).reshape(3, W * C, H, V)
    mask = np.zeros((3, W, C, W, M), bool)
    for b, w, m in np.ndindex(3, W, M):
        mask[b, w, :, ancestry[b, w, m], m] = live[b, :, m]
    mask = mask.reshape(3, W * C, W * M)
    if C > 1:
        own = np.kron(np.eye(W, dtype=bool), np.tril(np.ones((C, C), bool)))
        mask = np.concatenate([mask, np.broadcast_to(own, (3, W * C, W * C))], axis=-1)
        k, v = jnp.concatenate([k, new_k], axis=1), jnp.concatenate([v, new_v], axis=1)
    mask = np.concatenate([np.tile(seen, (1, W, 1)), mask], axis=-1)
    k, v = jnp.concatenate([prompt_k, k], axis=1), jnp.concatenate([prompt_v, v], axis=1)
    np.testing.assert_allclose(np.asarray(o, np.float64), slow_attend(q, k, v, mask), **TOLERANCE[dtype])


@pytest.mark.parametrize("G", [1, 2, H])
@pytest.mark.parametrize("beams", [1, 3])
def test_rows_in_int8_are_attended_as_exactly_as_their_values(G, beams):
    """The only error is that of storing: over the same rows made wide again the result is the same to 16 bits."""
    M, N, P = 9, beams * 9, 5
    q, k, v, _ = operands(G, beams, N + P, "float32")
    v *= jnp.exp(jax.random.normal(jax.random.key(9), (3, N + P, G, 1)))  # rows of very different size
    ancestry = jax.random.randint(jax.random.key(5), (3, beams, M), 0, beams).astype(jnp.int8)
    live = jnp.ones((3, 1, M), bool).at[1, 0, 4:].set(False)
    stored = tuple(int8.quantise(rows_of(each), G) for each in (k, v))
    wide = tuple(int8.dequantise(each, "float32") for each in stored)

    def attended(rows):
        of = lambda slots: jax.tree.map(lambda each: each[:, slots], rows)  # noqa: E731
        shared = over_cache.Kept(of(slice(N, None)), jnp.ones((3, 1, P), bool))
        kept = over_cache.Kept(of(slice(N)), live, ancestry, shared=shared)
        return attend_kept(q[:, :, None], kept, keys=0, values=1, write_heads=G)

    exact, found = attended(wide), attended(stored)
    np.testing.assert_allclose(found, exact, atol=3e-4 * float(jnp.abs(exact).max()))
    for each, rows in zip(stored, (k, v), strict=True):
        error = jnp.abs(int8.dequantise(each, "float32") - rows_of(rows)).reshape(3, -1, G, rows.shape[-1])
        assert (error <= 0.501 * each.scales[..., None]).all()
        np.testing.assert_allclose(each.scales, jnp.abs(rows).max(-1) / 127, rtol=1e-6)


def test_values_that_are_a_prefix_of_their_keys_are_stored_once():
    q, k, _, mask = operands(1, 2, 7, "float32")
    mask = jnp.broadcast_to(mask[:, :1], mask.shape)
    kept = over_cache.Kept((rows_of(k),), mask[:, :1])
    o = attend_kept(q[:, :, None], kept, keys=0, values=0, write_heads=1)[:, :, 0]
    np.testing.assert_allclose(np.asarray(o, np.float64), slow_attend(q, k, k, mask), **TOLERANCE["float32"])


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
    y = jax.jit(lambda x, a, b: products.laid_out(x, products.rows_first(a, b)))(x, a, b)
    whole = np.concatenate([np.asarray(a, np.float64).reshape(16, 12), np.asarray(b, np.float64)], axis=1)
    assert y.shape == (count, 1, 17) and y.dtype == x.dtype
    tolerance = {"atol": 1e-5} if dtype == "float32" else {"atol": 0.05, "rtol": 0.01}
    np.testing.assert_allclose(np.asarray(y, np.float64), np.asarray(x, np.float64) @ whole, **tolerance)


def test_bfloat16_products_accumulate_in_float32():
    ones = jnp.ones((1, 4095), jnp.bfloat16)  # a sum that bfloat16 has not
    assert products.product("mk,nk->mn", ones, ones)[0, 0] == 4095
    gradients = jax.grad(lambda a, b: products.product("mk,nk->mn", a, b).sum(), argnums=(0, 1))
    dots = [line for line in jax.jit(gradients).lower(ones, ones).as_text().splitlines() if "dot_general" in line]
    for line in dots:
        assert "bf16>, tensor<" in line and line.count("bf16") == 2 and line.endswith("xf32>"), line
    assert len(dots) == 2


@pytest.mark.parametrize("count", [3, products.FEW_ROWS + 1])
def test_products_of_int8_weights_match_float64(count):
    """Within the rounding of a row and of a weight: half a unit each."""
    x = jax.random.normal(jax.random.key(0), (count, 16))
    w = jax.random.normal(jax.random.key(1), (21, 16)) * jnp.exp(jax.random.normal(jax.random.key(2), (21, 1)))
    y = jax.jit(products.laid_out)(x, int8.quantise(w))
    logits = jax.jit(products.by_vocabulary)(x, int8.quantise(w))
    x64, w64 = np.asarray(x, np.float64), np.asarray(w, np.float64)
    units = np.abs(x64).max(1)[:, None] / 127, np.abs(w64).max(1)[None] / 127
    bound = (units[0] * np.abs(w64).sum(1)[None] + np.abs(x64).sum(1)[:, None] * units[1]) / 2 + 4 * units[0] * units[1]
    for found in (np.asarray(y), np.asarray(logits).T):
        error = np.abs(found - x64 @ w64.T)
        assert (error <= bound).all() and error.max() > 0


def test_masks():
    segments = jnp.asarray([[1, 1, 2, 0]])
    expected = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], bool)
    np.testing.assert_array_equal(segment_mask(segments, segments)[0], expected)
    one = jnp.ones((1, 4), "int32")
    np.testing.assert_array_equal(causal_mask(one)[0], np.tril(np.ones((4, 4), bool)))
    local = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]], bool)
    np.testing.assert_array_equal(causal_mask(one, 2)[0], local)
    two = jnp.asarray([[0, 1, 1, 1, 1, 2, 2, 2]])
    mask = causal_mask(two, window=2, sinks=1)[0]
    seen = [[0], [1], [1, 2], [1, 2, 3], [1, 3, 4], [5], [5, 6], [5, 6, 7]]
    assert [np.flatnonzero(row).tolist() for row in mask] == seen
