"""The matrix products, each in the form that is fast on the platform at hand.

Products of bfloat16 operands accumulate in float32, forwards and backwards. JAX's own transpose rule would
multiply a float32 cotangent with a bfloat16 operand, which a CPU does in float32, several times slower.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.layout import Layout, with_layout_constraint

from mqa_jax.kernels import int8, platforms
from mqa_jax.kernels.int8 import Int8

FEW_ROWS = 64  # up to which the weights are the first operand


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
    """x^T y in float32. A CPU transposes one operand by itself first; its kernels contract rows slowly.

    Transposing x gives the result as it is wanted, transposing y gives it the other way round. What moves fewer
    numbers is done.
    """
    (M, D), N = x_MD.shape, y_bar_MN.shape[1]

    def tuned(x_MD, y_bar_MN):
        if M * D <= M * N + 2 * D * N:  # elements moved; those of the result are twice as wide
            return _contract_rows(x_MD, y_bar_MN)
        return _moved(_contract_rows(y_bar_MN, x_MD))

    def plain(x_MD, y_bar_MN):
        return jnp.einsum("md,mn->dn", x_MD, y_bar_MN, preferred_element_type=jnp.float32)

    return platforms.choose(tuned, plain, x_MD, y_bar_MN)


def _contract_rows(a_MX: jax.Array, b_MY: jax.Array) -> jax.Array:
    # The barrier keeps a transposition behind it from becoming the product's own layout, which XLA's CPU kernels lack.
    return jax.lax.optimization_barrier(jnp.dot(_moved(a_MX), b_MY, preferred_element_type=jnp.float32))


def transposed(a_XY: jax.Array) -> jax.Array:
    """a^T, which a CPU makes once and by itself. Left to XLA it is fused into what is before and behind it, which then
    go along the wrong axis."""
    return platforms.choose(_moved, jnp.transpose, a_XY)


def _moved(a_XY: jax.Array) -> jax.Array:
    return with_layout_constraint(jax.lax.optimization_barrier(a_XY).T, Layout((0, 1)))


def rows_first(*weights: jax.Array, contracted: int = 1) -> jax.Array:
    """Weights [D..., N...] of one input as one matrix w_ND, their outputs one behind the other."""
    inner = math.prod(weights[0].shape[:contracted])
    return jnp.concatenate([w.reshape(inner, -1).T for w in weights], axis=0)


def laid_out(x: jax.Array, w_ND: jax.Array | Int8) -> jax.Array:
    """[..., D] -> [..., N] in the type of `x`, with weights that were laid out once for many steps (`rows_first`).

    A decode step has few rows. A CPU multiplies them fastest with the outputs' axis first in memory, and faster still
    with the weights as the first operand. int8 weights have a scale an output; each row of `x` is rounded to int8.
    """
    x_MD = x.reshape(-1, x.shape[-1])
    if isinstance(w_ND, Int8):
        rounded = int8.quantise(x_MD)
        y_MN = _rows_by_outputs(rounded.values, w_ND.values, jnp.int32)
        y_MN = (y_MN.astype(jnp.float32) * rounded.scales * w_ND.scales.T).astype(x.dtype)
    else:
        y_MN = _rows_by_outputs(x_MD, w_ND, jnp.float32, x.dtype)
    return y_MN.reshape(*x.shape[:-1], -1)


def by_vocabulary(x: jax.Array, table_VD: jax.Array | Int8) -> jax.Array:
    """logits float32 [V, ...] of `x` [..., D]: vocabulary first, as a product of few rows gives them fastest."""
    x_MD = x.reshape(-1, x.shape[-1])
    if isinstance(table_VD, Int8):
        rounded = int8.quantise(x_MD)
        # The table second: of int8 operands XLA's CPU kernel copies the first at every call.
        logits_MV = jnp.einsum("md,vd->mv", rounded.values, table_VD.values, preferred_element_type=jnp.int32)
        logits_VM = transposed(logits_MV.astype(jnp.float32) * rounded.scales * table_VD.scales.T)
    else:
        logits_VM = jnp.einsum("vd,md->vm", table_VD.astype(x.dtype), x_MD, preferred_element_type=jnp.float32)
    return logits_VM.reshape(-1, *x.shape[:-1])


def _rows_by_outputs(x_MD: jax.Array, w_ND: jax.Array, accumulated: Any, dtype: Any = None) -> jax.Array:
    """x w^T, rounded to `dtype` if one is given."""
    if x_MD.shape[0] > FEW_ROWS:
        return jnp.einsum("md,nd->mn", x_MD, w_ND, preferred_element_type=accumulated).astype(dtype or accumulated)
    y_NM = jnp.einsum("nd,md->nm", w_ND, x_MD, preferred_element_type=accumulated).astype(dtype or accumulated)
    # Kept apart from the product, whose operands XLA would swap to be rid of the transposition.
    return jax.lax.optimization_barrier(y_NM).T
