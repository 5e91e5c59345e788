"""Dropout with one mask for all positions of a row."""

import jax
import jax.numpy as jnp


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Zeroes a share `rate` of x[..., L, D] and scales up the rest; without a key, or at rate 0, returns `x`.

    The mask is drawn once for all positions L, as mesh-tensorflow and T5 do: random bits cost a CPU more than the
    products of a small model, and this needs L times fewer of them.
    """
    if key is None or rate == 0:
        return x
    shape = (*x.shape[:-2], 1, x.shape[-1])
    keep = jax.random.bernoulli(key, 1 - rate, shape)
    return jnp.where(keep, x / jnp.asarray(1 - rate, x.dtype), jnp.zeros((), x.dtype))


def split_key(key: jax.Array | None, count: int) -> list[jax.Array | None]:
    """`count` keys from one, or as many None where there is no randomness."""
    return [None] * count if key is None else list(jax.random.split(key, count))
