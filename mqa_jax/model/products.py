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
    """x^T y in float32. On a CPU a real transpose of one operand first makes it up to five times faster in bfloat16.

    Transposing x gives the result as it is wanted, transposing y gives it the other way round. What costs less is
    done: the narrower operand, or the result not at all (4096 rows of 1360: 13 ms, the product 3).
    """
    (M, D), N = x_MD.shape, y_bar_MN.shape[1]

    def on_cpu(x_MD, y_bar_MN):
        if M * D <= M * N + 2 * D * N:  # elements moved; those of the result are twice as wide
            return _contract_rows(x_MD, y_bar_MN)
        return _moved(_contract_rows(y_bar_MN, x_MD))

    def plain(x_MD, y_bar_MN):
        return jnp.einsum("md,mn->dn", x_MD, y_bar_MN, preferred_element_type=jnp.float32)

    return jax.lax.platform_dependent(x_MD, y_bar_MN, cpu=on_cpu, default=plain)


def _contract_rows(a_MX: jax.Array, b_MY: jax.Array) -> jax.Array:
    # The barrier keeps a transposition behind it from becoming the product's own layout, which XLA's CPU kernels lack.
    return jax.lax.optimization_barrier(jnp.dot(_moved(a_MX), b_MY, preferred_element_type=jnp.float32))


def transposed(a_XY: jax.Array) -> jax.Array:
    """a^T, which a CPU makes once and by itself. Left to XLA it is fused into what is before and behind it, which then
    go along the wrong axis: a ReLU takes 11 ms for 1, an optimiser's passes over 4096 x 1024 take 29 ms for 4."""
    return jax.lax.platform_dependent(a_XY, cpu=_moved, default=jnp.transpose)


def _moved(a_XY: jax.Array) -> jax.Array:
    return with_layout_constraint(jax.lax.optimization_barrier(a_XY).T, Layout((0, 1)))


FEW_ROWS = 64


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
