"""RMSNorm without a bias; statistics in float32."""

import functools

import jax
import jax.numpy as jnp


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def rms_norm(eps: float, x_MD: jax.Array, scale_D: jax.Array) -> jax.Array:
    """x / sqrt(mean(x^2) + eps) * scale over the last axis, in the type of `x`; `scale_D` is float32."""
    return _forward(eps, x_MD, scale_D)[0]


def _forward(eps, x_MD, scale_D):
    x32_MD = x_MD.astype(jnp.float32)
    inverse_M1 = jax.lax.rsqrt(jnp.mean(jnp.square(x32_MD), axis=-1, keepdims=True) + eps)
    return (x32_MD * inverse_M1 * scale_D[None]).astype(x_MD.dtype), (x_MD, scale_D, inverse_M1)


def _backward(eps, kept, y_bar_MD):
    """Both sums are products of one array, x * y_bar: XLA's own order writes four more arrays of its size."""
    x_MD, scale_D, inverse_M1 = kept
    x32_MD, y_bar_MD = x_MD.astype(jnp.float32), y_bar_MD.astype(jnp.float32)
    xy_MD = x32_MD * y_bar_MD
    dot = functools.partial(jnp.dot, precision=jax.lax.Precision.HIGHEST)
    slope_M1 = jnp.square(inverse_M1) * dot(xy_MD, scale_D[:, None]) / x_MD.shape[1]
    x_bar_MD = inverse_M1 * (y_bar_MD * scale_D[None] - x32_MD * slope_M1)
    return x_bar_MD.astype(x_MD.dtype), dot(inverse_M1[:, 0], xy_MD)


rms_norm.defvjp(_forward, _backward)
