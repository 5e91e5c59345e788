"""Grouped attention: H query heads over G write heads (K/V heads).

G = H is multi-head attention, G = 1 multi-query (arXiv 1911.02150, section 3), anything between is grouped
(arXiv 2305.13245). G is the only toggle: nothing below asks for a variant's name, and keys and values are never copied
up to H heads.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import nnx

from mqa_jax.attention.config import AttentionConfig, Place, Row
from mqa_jax.attention.contract import Attention, Key, Whole
from mqa_jax.attention.rotary import Rotary, rotate
from mqa_jax.errors import InputError
from mqa_jax.kernels import over_cache
from mqa_jax.kernels.over_cache import Kept
from mqa_jax.layers import Weight

BIASES = ("none", "inputs", "all")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grouped(AttentionConfig):
    """
    Attributes:
      write_heads: G; query head h reads write head h // (H / G).
      rotary: how positions turn queries and keys; None where the model adds positions to its input.
      biases: "inputs", of queries, keys and values; "all", of the output too; "none" of all.
    """

    name = "grouped"

    write_heads: int
    rotary: Rotary | None = None
    biases: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_positive("write_heads")
        if self.heads % self.write_heads:
            raise InputError(
                f"config.attention.write_heads={self.write_heads} does not divide config.attention.heads={self.heads}; "
                "choose a divisor (1 is multi-query, all of them multi-head)"
            )
        if self.biases not in BIASES:
            raise InputError(f"config.attention.biases={self.biases!r} is unknown; choose from: {', '.join(BIASES)}")
        if self.rotary and self.key_size % 2:
            raise InputError(f"config.attention.key_size={self.key_size} must be even for rotary positions")

    @classmethod
    def complete(cls, given: Mapping[str, Any]) -> Self:
        """See `AttentionConfig`. Without `write_heads` it is multi-head."""
        return super().complete({"write_heads": given["heads"], **given})

    def parameters(self, width: int) -> int:
        biases = self.heads * self.key_size + self._row_biases() if self.biases != "none" else 0
        biases += width if self.biases == "all" else 0
        return width * (self.heads + self.write_heads) * (self.key_size + self.value_size) + biases

    def memory_parameters(self, width: int) -> int:
        return width * self.write_heads * (self.key_size + self.value_size) + self._row_biases()

    def _row_biases(self) -> int:
        return self.write_heads * (self.key_size + self.value_size) if self.biases != "none" else 0

    def rows(self) -> tuple[Row, ...]:
        return Row("keys", self.write_heads, self.key_size), Row("values", self.write_heads, self.value_size)

    def operations(self, cached: bool) -> int:
        return self.heads * (self.key_size + self.value_size)

    def across(self) -> Self:
        return dataclasses.replace(self.everywhere(), rotary=None)

    def module(self, place: Place, rngs: nnx.Rngs) -> Attention:
        return GroupedAttention(self, place, rngs)

    def describe(self) -> str:
        sizes = f"d_k {self.key_size}, d_v {self.value_size}"
        rotary = ", rotary" if self.rotary else ""
        biases = f", biases of {self.biases}" if self.biases != "none" else ""
        return f"{self.heads} query heads, {self.write_heads} write heads, {sizes}{rotary}{biases}{self.sight()}"


class GroupedAttention(Attention):
    """The four projections of one attention.

    Queries are scaled by 1/sqrt(K) on their way out, and their weight starts with std D^-0.5. At the start, and
    for Adafactor, whose steps are relative to a parameter's size, that is mesh-tensorflow's std (D K)^-0.5
    without a scale. Adam's steps are not: there the smaller weight would move sqrt(K) times too fast, and
    attention learns much later.
    """

    def __init__(self, config: Grouped, place: Place, rngs: nnx.Rngs):
        D, H, G, K, V = place.width, config.heads, config.write_heads, config.key_size, config.value_size
        bq, bk, bv = ("bq_HK", "bk_GK", "bv_GV") if config.biases != "none" else (None, None, None)
        bo = "bo_D" if config.biases == "all" else None
        super().__init__(
            config,
            place,
            rngs,
            queries={"wq_DHK": Weight((D, H, K), ("width", "heads", "head_size"), bias=bq)},
            rows={
                "wk_DGK": Weight((D, G, K), ("width", "write_heads", "head_size"), bias=bk),
                "wv_DGV": Weight((D, G, V), ("width", "write_heads", "head_size"), bias=bv),
            },
            output=Weight((H, V, D), ("heads", "head_size", "width"), contracted=2, bias=bo),
        )
        self.write_heads, self.rotary = G, config.rotary

    def queries_of(self, made: tuple[jax.Array, ...], positions_BL: jax.Array) -> jax.Array:
        """See `Attention`: q_BLHK."""
        q_BLHK = rotate(made[0], positions_BL, self.rotary)
        return q_BLHK * jnp.asarray(q_BLHK.shape[-1] ** -0.5, q_BLHK.dtype)

    def rows_of(self, made: tuple[jax.Array, ...], positions_BM: jax.Array | None) -> tuple[jax.Array, ...]:
        """See `Attention`: the keys and the values, all write heads of a token side by side."""
        k_BMGK, v_BMGV = made
        if positions_BM is not None:
            k_BMGK = rotate(k_BMGK, positions_BM, self.rotary)
        return tuple(each.reshape(*each.shape[:2], -1) for each in (k_BMGK, v_BMGV))

    def whole(self, queries: jax.Array, rows: tuple[jax.Array, ...], sight: Whole, rate: float, key: Key) -> jax.Array:
        k_BMGK, v_BMGV = (each.reshape(*each.shape[:2], self.write_heads, -1) for each in rows)
        return self.attend(queries, k_BMGK, v_BMGV, sight, rate, key)

    def over(self, queries: jax.Array, kept: Kept) -> jax.Array:
        return over_cache.attend(queries, kept, keys=0, values=1, write_heads=self.write_heads, mesh=self.place.mesh)
