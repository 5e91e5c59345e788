"""Rotary position embedding: pairs of numbers turned by an angle that grows with the position (arXiv 2104.09864).

The halves of a head make the pairs, x[i] with x[i + K / 2], as in Llama. A scaling changes the frequencies of a model
that goes on to longer texts.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from mqa_jax.errors import InputError

SCALINGS = ("none", "linear", "llama3", "yarn")


@dataclasses.dataclass(frozen=True)
class Rotary:
    """How positions turn queries and keys.

    Attributes:
      base: theta; pair i of a head of size K turns by position * base^(-2 i / K).
      scaling: `linear` divides every frequency by `factor`; `llama3` only the slow ones: those that turn fewer than
        `low` times in `original` positions, with a ramp up to `high` times; `yarn` (arXiv 2309.00071) the same with
        a ramp over the number of the pair.
      length: what queries and keys are multiplied by, as in YaRN.
    """

    base: float = 10_000.0
    scaling: str = "none"
    factor: float = 1.0
    low: float = 1.0
    high: float = 4.0
    original: int = 8192
    length: float = 1.0

    def __post_init__(self) -> None:
        if self.scaling not in SCALINGS:
            choices = ", ".join(SCALINGS)
            raise InputError(f"config.attention.rotary.scaling={self.scaling!r} is unknown; choose from: {choices}")
        if not self.base > 1:
            raise InputError(f"config.attention.rotary.base={self.base} must be above 1, or None for none")
        if not self.factor >= 1:
            raise InputError(f"config.attention.rotary.factor={self.factor} must be at least 1")
        if not self.length > 0:
            raise InputError(f"config.attention.rotary.length={self.length} must be above 0")
        if not (0 < self.low < self.high and self.original >= 1):
            raise InputError(
                f"config.attention.rotary has low={self.low}, high={self.high}, original={self.original}; low must be "
                "above 0 and below high, original at least 1"
            )

    def frequencies(self, size: int) -> np.ndarray:
        """Radians a position of each of `size` / 2 pairs, float64."""
        plain = self.base ** (-np.arange(0, size, 2) / size)
        if self.scaling == "none":
            return plain
        if self.scaling == "linear":
            return plain / self.factor
        if self.scaling == "yarn":
            # The pair that turns so many times; a ramp begins and ends at a whole number.
            at = lambda turns: size * math.log(self.original / (2 * math.pi * turns)) / (2 * math.log(self.base))  # noqa: E731
            first, last = max(math.floor(at(self.high)), 0), min(math.ceil(at(self.low)), size - 1)
            kept = 1 - np.clip((np.arange(size // 2) - first) / max(last - first, 1e-3), 0, 1)
        else:
            turns = self.original * plain / (2 * math.pi)
            kept = np.clip((turns - self.low) / (self.high - self.low), 0, 1)
        return plain * kept + plain / self.factor * (1 - kept)


def rotate(x_BLHK: jax.Array, positions_BL: jax.Array, rotary: Rotary | None) -> jax.Array:
    """`x` turned by its positions, in its own type; `x` itself without a rotary. Angles are float32."""
    if rotary is None:
        return x_BLHK
    frequency_K = jnp.asarray(rotary.frequencies(x_BLHK.shape[-1]), jnp.float32)
    angle_BLHK = positions_BL.astype(jnp.float32)[..., None, None] * frequency_K[None, None, None]
    cos, sin = rotary.length * jnp.cos(angle_BLHK), rotary.length * jnp.sin(angle_BLHK)
    first, second = jnp.split(x_BLHK.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x_BLHK.dtype)
