"""Dropout with one mask for all positions of a row."""

import functools

import jax
import jax.numpy as jnp


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Zeroes a share `rate` of x[..., L, D] and scales up the rest; without a key, or at rate 0, returns `x`.

    The mask is drawn once for all positions L, as mesh-tensorflow and T5 do: random bits cost a CPU more than the
    products of a small model, and this needs L times fewer of them.
    """
    return x if key is None or rate == 0 else _dropped(x, rate, _kept(x, rate, key))


def relu(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """`dropout` of ReLU(x). The backward pass sees from the result alone what came through both, and keeps no `x`: of a
    wide layer that is half of what training holds."""
    if key is None or rate == 0:
        return _relu(x, 0.0, jnp.ones((), bool))
    return _relu(x, rate, _kept(x, rate, key))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _relu(x: jax.Array, rate: float, kept: jax.Array) -> jax.Array:
    return _dropped(jax.nn.relu(x), rate, kept)


def _relu_forward(x, rate, kept):
    y = jax.lax.optimization_barrier(_relu(x, rate, kept))
    return y, y


def _relu_backward(rate, y, y_bar):
    return _dropped(y_bar, rate, y > 0), None


_relu.defvjp(_relu_forward, _relu_backward)


def _kept(x: jax.Array, rate: float, key: jax.Array) -> jax.Array:
    return jax.random.bernoulli(key, 1 - rate, (*x.shape[:-2], 1, x.shape[-1]))


def _dropped(x: jax.Array, rate: float, kept: jax.Array) -> jax.Array:
    return jnp.where(kept, x / jnp.asarray(1 - rate, x.dtype), jnp.zeros((), x.dtype))


def split_key(key: jax.Array | None, count: int) -> list[jax.Array | None]:
    """`count` keys from one, or as many None where there is no randomness."""
    return [None] * count if key is None else list(jax.random.split(key, count))
