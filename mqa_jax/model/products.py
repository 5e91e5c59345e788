"""The matrix products, each in the form that is fast on the backend at hand, for operands of either type.

Products of bfloat16 operands accumulate in float32, forwards and backwards. JAX's own transpose rule would
multiply a float32 cotangent with a bfloat16 operand, which a CPU does in float32, five times slower.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def product(subscripts: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """`einsum(subscripts, a, b)` in float32 from operands of one type, with derivatives of the same kind.

    Every letter must stand in two of the three terms (no sums over a single operand).
    """
    return jnp.einsum(subscripts, a, b, preferred_element_type=jnp.float32)


def _product_forward(subscripts, a, b):
    return product(subscripts, a, b), (a, b)


def _product_backward(subscripts, operands, cotangent):
    a, b = operands
    operand_terms, result_term = subscripts.split("->")
    a_term, b_term = operand_terms.split(",")
    cotangent = cotangent.astype(a.dtype)
    a_bar = jnp.einsum(f"{result_term},{b_term}->{a_term}", cotangent, b, preferred_element_type=jnp.float32)
    b_bar = jnp.einsum(f"{result_term},{a_term}->{b_term}", cotangent, a, preferred_element_type=jnp.float32)
    return a_bar.astype(a.dtype), b_bar.astype(b.dtype)


product.defvjp(_product_forward, _product_backward)


def linear(x: jax.Array, w: jax.Array, contracted: int = 1) -> jax.Array:
    """Contracts the last `contracted` axes of `x` with the first of the weight `w`, in the type of `x`.

    Args:
      x: [..., D] activations.
      w: [D, ...] weights, of any type; cast to the type of `x`.
    Returns:
      [..., *w.shape[contracted:]] in the type of `x`.
    """
    lead, inner = x.shape[: x.ndim - contracted], math.prod(w.shape[:contracted])
    y = _linear(x.reshape(-1, inner), w.reshape(inner, -1))
    return y.reshape(*lead, *w.shape[contracted:])


@jax.custom_vjp
def _linear(x_MD: jax.Array, w_DN: jax.Array) -> jax.Array:
    return jnp.dot(x_MD, w_DN.astype(x_MD.dtype), preferred_element_type=jnp.float32).astype(x_MD.dtype)


def _linear_forward(x_MD, w_DN):
    return _linear(x_MD, w_DN), (x_MD, w_DN)


def _linear_backward(operands, y_bar_MN):
    x_MD, w_DN = operands
    y_bar_MN = y_bar_MN.astype(x_MD.dtype)
    x_bar_MD = jnp.einsum("mn,dn->md", y_bar_MN, w_DN.astype(x_MD.dtype), preferred_element_type=jnp.float32)
    return x_bar_MD.astype(x_MD.dtype), weight_gradient(x_MD, y_bar_MN).astype(w_DN.dtype)


_linear.defvjp(_linear_forward, _linear_backward)


def weight_gradient(x_MD: jax.Array, y_bar_MN: jax.Array) -> jax.Array:
    """x^T y in float32. On a CPU a real transpose first makes it up to five times faster in bfloat16."""

    def transposed(x_MD, y_bar_MN):
        x_DM = with_layout_constraint(x_MD.T, Layout((0, 1)))
        return jnp.dot(x_DM, y_bar_MN, preferred_element_type=jnp.float32)

    def plain(x_MD, y_bar_MN):
        return jnp.einsum("md,mn->dn", x_MD, y_bar_MN, preferred_element_type=jnp.float32)

    return jax.lax.platform_dependent(x_MD, y_bar_MN, cpu=transposed, default=plain)


FEW_ROWS = 64
FEW_QUERIES = 16


def weights_first(*weights: jax.Array, contracted: int = 1) -> jax.Array:
    """Weights [D..., N...] as one matrix w_ND for `few_rows`, their outputs one behind the other."""
    inner = math.prod(weights[0].shape[:contracted])
    return jnp.concatenate([w.reshape(inner, -1).T for w in weights], axis=0)


def few_rows(x: jax.Array, w_ND: jax.Array) -> jax.Array:
    """[..., D] -> [..., N] in the type of `x`, for the few rows of a decode step.

    Weights with their outputs' axis first are multiplied up to 2.3 times faster on a CPU than [D, N], and faster still
    as the first operand where the rows are few (bfloat16, 32 rows, 9088 x 1024, from memory: 2.2 ms for [D, N], 1.7
    for [N, D] behind the rows, 0.97 before them; at the paper's 128 rows the latter two are alike).
    """
    x_MD = x.reshape(-1, x.shape[-1])
    if x_MD.shape[0] <= FEW_ROWS:
        y_NM = jnp.einsum("nd,md->nm", w_ND, x_MD, preferred_element_type=jnp.float32).astype(x.dtype)
        # Kept apart from the product, whose operands XLA would swap to be rid of the transposition.
        y_MN = jax.lax.optimization_barrier(y_NM).T
    else:
        y_MN = jnp.einsum("md,nd->mn", x_MD, w_ND, preferred_element_type=jnp.float32).astype(x.dtype)
    return y_MN.reshape(*x.shape[:-1], -1)


def attend_flat(
    q_BQHK: jax.Array, k_BMX: jax.Array, v_BMY: jax.Array, mask_BQM: jax.Array, write_heads: int
) -> jax.Array:
    """Attention of few queries over a cache: softmax(q k^T) v, with the write heads side by side in a row.

    A decode step reads its cache once and does little else, so the form of the two products decides the
    time. Here it is one product a sentence: each query is laid into its own head's columns of a row of zeros,
    as wide as the cache's rows. On a CPU that is faster than a product for each write head, for every G. A
    TPU loads each tile of the cache into its matrix unit once either way, and with a product for each head
    its compiler would first move the whole cache into another layout, at every step (tests/test_tpu.py).

    Args:
      q_BQHK: scaled queries; Q is beams times positions.
      k_BMX: keys, X = G * K.
      v_BMY: values, Y = G * V.
      mask_BQM: True where a query may look.
      write_heads: G.
    Returns:
      o_BQHV, in the type of the values.
    """
    B, Q, H, K = q_BQHK.shape
    G, R, M, V = write_heads, H // write_heads, k_BMX.shape[1], v_BMY.shape[-1] // write_heads
    # Static pads and slices: on a CPU several times faster than a product with the pattern of zeros.
    own = [q_BQHK[:, :, g * R : (g + 1) * R] for g in range(G)]
    laid_out = [jnp.pad(q, ((0, 0), (0, 0), (0, 0), (g * K, (G - 1 - g) * K))) for g, q in enumerate(own)]
    q_BQHX = jnp.concatenate(laid_out, axis=2).reshape(B, Q * H, G * K)
    scores_BQHM = _scores(q_BQHX, k_BMX).reshape(B, Q, H, M)
    weights_BQHM, sums_BQH = _unnormalised_softmax(scores_BQHM, mask_BQM[:, :, None])
    weights_BQHM = weights_BQHM.astype(v_BMY.dtype).reshape(B, Q * H, M)
    o_BQHY = jnp.einsum("bqm,bmy->bqy", weights_BQHM, v_BMY, preferred_element_type=jnp.float32).reshape(B, Q, H, -1)
    kept = [o_BQHY[:, :, g * R : (g + 1) * R, g * V : (g + 1) * V] for g in range(G)]
    return (jnp.concatenate(kept, axis=2) / sums_BQH[..., None]).astype(v_BMY.dtype)


def _scores(q_BQX: jax.Array, k_BMX: jax.Array) -> jax.Array:
    """q k^T in float32. On a CPU the keys are the first operand where the queries are few.

    That takes multi-head attention of 128 sentences over 128 tokens, 8 heads of 128, from 8.6 to 6.9 ms in float32
    and from 3.6 to 3.3 in bfloat16; with 32 queries (4 beams of 8 heads) the other order is the faster one.
    """

    def queries_first(q_BQX, k_BMX):
        return jnp.einsum("bqx,bmx->bqm", q_BQX, k_BMX, preferred_element_type=jnp.float32)

    def keys_first(q_BQX, k_BMX):
        scores_BMQ = jnp.einsum("bmx,bqx->bmq", k_BMX, q_BQX, preferred_element_type=jnp.float32)
        # Kept apart from the product, whose operands XLA would swap to be rid of the transposition.
        return jnp.swapaxes(jax.lax.optimization_barrier(scores_BMQ), 1, 2)

    on_cpu = keys_first if q_BQX.shape[1] <= FEW_QUERIES else queries_first
    return jax.lax.platform_dependent(q_BQX, k_BMX, cpu=on_cpu, default=queries_first)


def _unnormalised_softmax(scores, mask):
    """exp(scores - max) over the last axis and its sum: dividing the output is cheaper than the weights."""
    scores = jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
    weights = jnp.exp(scores - scores.max(-1, keepdims=True))
    return weights, weights.sum(-1)
