"""Numbers in eight bits with scales, and products of them that never make them wide again.

A value x of a group is stored as round(x / s), s = (largest magnitude of the group) / 127. The other operand of a
product is rounded at run time: to one such digit (`quantise`), or to two (`digits`), which leaves it about as exact
as 16 bits do. Products are of int8 by int8 into int32, which CPUs and TPUs multiply faster than wider types; scales
are applied to the result, or to the other operand.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

SECOND = 254.0  # of a first digit's unit: its remainder lies within half a unit


class Int8(NamedTuple):
    """values * scales, a scale for each of G groups along the last axis.

    Attributes:
      values: int8 [..., X].
      scales: float32 [..., G]; G divides X.
    """

    values: jax.Array
    scales: jax.Array


def quantise(x: jax.Array, groups: int = 1) -> Int8:
    """[..., X] -> X / groups neighbours share a scale. The error is at most half a scale."""
    if groups == 1:  # no reshape: a CPU would copy what lies the other way round in memory
        x = x.astype(jnp.float32)
        scale = _scale(jnp.abs(x).max(-1, keepdims=True))
        return Int8(jnp.round(x / scale).astype(jnp.int8), scale)
    x_GX = x.astype(jnp.float32).reshape(*x.shape[:-1], groups, -1)
    scales = _scale(jnp.abs(x_GX).max(-1))
    return Int8(jnp.round(x_GX / scales[..., None]).astype(jnp.int8).reshape(x.shape), scales)


def dequantise(stored: Int8, dtype: str) -> jax.Array:
    """The whole array, wide: for the many queries of a prompt, which read it once."""
    *lead, X = stored.values.shape
    wide = stored.values.astype(jnp.float32).reshape(*lead, stored.scales.shape[-1], -1) * stored.scales[..., None]
    return wide.reshape(*lead, X).astype(dtype)


def digits(x_BPX: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Each row of `x` in two digits: int8 [B, 2P, X], the first ones above the second, and the rows' units [B, P, 1].

    `from_digits` of a product of them is the product of `x`.
    """
    x_BPX = x_BPX.astype(jnp.float32)
    unit_BP1 = _scale(jnp.abs(x_BPX).max(-1, keepdims=True))
    first_BPX = jnp.round(x_BPX / unit_BP1)
    second_BPX = jnp.round((x_BPX / unit_BP1 - first_BPX) * SECOND)
    return jnp.concatenate([first_BPX, second_BPX], axis=1).astype(jnp.int8), unit_BP1


def from_digits(product_BPM: jax.Array, unit_BP1: jax.Array) -> jax.Array:
    """float32 [B, P, M] of the int32 product [B, 2P, M]."""
    first_BPM, second_BPM = jnp.split(product_BPM.astype(jnp.float32), 2, axis=1)
    return (first_BPM + second_BPM / SECOND) * unit_BP1


def _scale(largest: jax.Array) -> jax.Array:
    return jnp.maximum(largest, 1e-30) / 127.0
