"""Multi-head latent attention (MLA; DeepSeek-V2, arXiv 2405.04434, section 2.1).

A token leaves one latent vector, from which every head makes its keys and values, and one rotary key that all heads
share. Whole sequences make the keys and values. Over a cache the head's weights move to the other side of the
products: queries are taken into the latent space, and outputs out of it. That is attention with one write head whose
values are a prefix of its keys, so the cache holds them once.
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
from mqa_jax.kernels import over_cache, products
from mqa_jax.kernels.over_cache import Kept
from mqa_jax.layers import Linear, Norm, Weight


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latent(AttentionConfig):
    """
    Attributes:
      key_size: of the part of a head's keys that comes from the latent, without a position.
      kv_rank: size of the latent.
      query_rank: size of a latent for queries; None makes them of the input.
      rotary_size: of the rotary key; 0 for none, as from one sequence to another.
      rotary: how positions turn it.
      normalised: whether the latent has a norm; one that was made of trained heads has none.
    """

    name = "latent"

    kv_rank: int
    query_rank: int | None = None
    rotary_size: int
    rotary: Rotary = dataclasses.field(default_factory=Rotary)
    normalised: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_positive("kv_rank", *(["query_rank"] if self.query_rank is not None else []))
        if self.rotary_size % 2 or self.rotary_size < 0:
            raise InputError(f"config.attention.rotary_size={self.rotary_size} must be even, or 0 for no rotary key")

    @classmethod
    def complete(cls, given: Mapping[str, Any]) -> Self:
        """See `AttentionConfig`. The ranks that are not given are the paper's: 4 K, and K / 2 for the rotary key."""
        K = given["key_size"]
        return super().complete({"kv_rank": 4 * K, "rotary_size": K // 4 * 2, **given})

    def parameters(self, width: int) -> int:
        H, rank = self.heads, self.query_rank
        wide = self.heads * (self.key_size + self.rotary_size)
        queries = width * wide if rank is None else width * rank + rank + rank * wide
        heads = self.kv_rank * H * (self.key_size + self.value_size) + H * self.value_size * width
        return queries + self.memory_parameters(width) + heads

    def memory_parameters(self, width: int) -> int:
        """See `AttentionConfig`. The norm of the latent is among them."""
        return width * (self.kv_rank + self.rotary_size) + self.normalised * self.kv_rank

    def rows(self) -> tuple[Row, ...]:
        return (Row("latent", 1, self.kv_rank + self.rotary_size),)

    def operations(self, cached: bool) -> int:
        if cached:
            return self.heads * (2 * self.kv_rank + self.rotary_size)
        return self.heads * (self.key_size + self.rotary_size + self.value_size)

    def across(self) -> Self:
        return dataclasses.replace(self.everywhere(), rotary_size=0)

    def module(self, place: Place, rngs: nnx.Rngs) -> Attention:
        return LatentAttention(self, place, rngs)

    def describe(self) -> str:
        ranks = f"latent {self.kv_rank}" + (f", of queries {self.query_rank}" if self.query_rank else "")
        sizes = f"d_k {self.key_size} + {self.rotary_size} rotary, d_v {self.value_size}"
        return f"{self.heads} query heads, {ranks}{'' if self.normalised else ', no norm'}, {sizes}{self.sight()}"


class LatentAttention(Attention):
    """The projections of one attention; letters: C the latent's size, P the rotary key's, Q the queries' latent."""

    def __init__(self, config: Latent, place: Place, rngs: nnx.Rngs):
        D, H, K, V = place.width, config.heads, config.key_size, config.value_size
        C, P, Q = config.kv_rank, config.rotary_size, config.query_rank
        queries = {"wq_DHK": Weight((D, H, K + P), ("width", "heads", "head_size"))}
        if Q is not None:
            queries = {"wq_DQ": Weight((D, Q), ("width", "latent"))}
        super().__init__(
            config,
            place,
            rngs,
            queries=queries,
            rows={"wc_DC": Weight((D, C + P), ("width", "latent"))},
            output=Weight((H, V, D), ("heads", "head_size", "width"), contracted=2),
        )
        self.sizes = K, C
        up = Weight((Q or 0, H, K + P), ("latent", "heads", "head_size"))
        self.query_norm = None if Q is None else Norm(Q, place.norm_eps)
        self.query_up = None if Q is None else Linear(rngs, wq_QHK=up)
        self.norm = Norm(C, place.norm_eps) if config.normalised else None
        self.wk_CHK = Weight((C, H, K), ("latent", "heads", "head_size")).parameter(rngs)
        self.wv_CHV = Weight((C, H, V), ("latent", "heads", "head_size")).parameter(rngs)
        self.rotary = config.rotary

    def queries_of(self, made: tuple[jax.Array, ...], positions_BL: jax.Array) -> jax.Array:
        """See `Attention`: the latent part, then the rotary part; q_BLHK with K of both."""
        q = made[0]
        if self.query_norm is not None and self.query_up is not None:
            (q,) = self.query_up(self.query_norm(q))
        K, _ = self.sizes
        turned = rotate(q[..., K:], positions_BL, self.rotary)
        return jnp.concatenate([q[..., :K], turned], axis=-1) * jnp.asarray(q.shape[-1] ** -0.5, q.dtype)

    def rows_of(self, made: tuple[jax.Array, ...], positions_BM: jax.Array | None) -> tuple[jax.Array, ...]:
        """See `Attention`: the latent, then the rotary key."""
        (row_BMX,), (_, C) = made, self.sizes
        latent_BMC, key_BMP = row_BMX[..., :C], row_BMX[..., C:]
        if self.norm is not None:
            latent_BMC = self.norm(latent_BMC)
        if positions_BM is None:
            return (latent_BMC,)
        key_BMP = rotate(key_BMP[:, :, None], positions_BM, self.rotary)[:, :, 0]
        return (jnp.concatenate([latent_BMC, key_BMP], axis=-1),)

    def whole(self, queries: jax.Array, rows: tuple[jax.Array, ...], sight: Whole, rate: float, key: Key) -> jax.Array:
        """See `Attention`: every head's keys and values are made of the latent."""
        (row_BMX,), (_, C) = rows, self.sizes
        latent_BMC, key_BMP = row_BMX[..., :C], row_BMX[..., C:]
        k_BMHK = products.linear(latent_BMC, self.wk_CHK[...])
        v_BMHV = products.linear(latent_BMC, self.wv_CHV[...])
        shared = jnp.broadcast_to(key_BMP[:, :, None], (*k_BMHK.shape[:3], key_BMP.shape[-1]))
        return self.attend(queries, jnp.concatenate([k_BMHK, shared], axis=-1), v_BMHV, sight, rate, key)

    def over(self, queries: jax.Array, kept: Kept) -> jax.Array:
        """See `Attention`: in the latent space (section 2.1.2, "absorbed")."""
        K, C = self.sizes
        q_BUCHX = self._heads("bughk,chk->bughc", queries[..., :K], self.wk_CHK)
        q_BUCHX = jnp.concatenate([q_BUCHX, queries[..., K:]], axis=-1)
        o_BUCHX = over_cache.attend(q_BUCHX, kept, keys=0, values=0, write_heads=1, mesh=self.place.mesh)
        return self._heads("bughc,chv->bughv", o_BUCHX[..., :C], self.wv_CHV)

    @staticmethod
    def _heads(subscripts: str, x: jax.Array, weight: nnx.Param) -> jax.Array:
        w = weight[...].astype(x.dtype)
        return jnp.einsum(subscripts, x, w, preferred_element_type=jnp.float32).astype(x.dtype)
