"""One attention for all types: H query heads over G write heads.

G = H is multi-head attention, G = 1 multi-query (paper, section 3), anything between is grouped. G is the
only toggle: nothing below asks for a variant's name, and keys and values are never copied up to H heads.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from mqa_jax.experiment import AttentionConfig
from mqa_jax.model.cache import KeysValues
from mqa_jax.model.layers import dropout, parameter
from mqa_jax.model.over_cache import attend_beams, attend_memory
from mqa_jax.model.products import few_rows, linear, product, weights_first


class Attention(nnx.Module):
    """The four projections of one attention.

    Queries are scaled by 1/sqrt(K) on their way out, and their weight starts with std D^-0.5. At the start, and
    for Adafactor, whose steps are relative to a parameter's size, that is mesh-tensorflow's std (D K)^-0.5
    without a scale. Adam's steps are not: there the smaller weight would move sqrt(K) times too fast, and
    attention learns much later.
    """

    def __init__(self, config: AttentionConfig, width: int, rngs: nnx.Rngs):
        H, G, K, V = config.heads, config.write_heads, config.key_size, config.value_size
        self.write_heads = G
        self.wq_DHK = parameter(rngs, (width, H, K), ("width", "heads", "head_size"), width**-0.5)
        self.wk_DGK = parameter(rngs, (width, G, K), ("width", "write_heads", "head_size"), width**-0.5)
        self.wv_DGV = parameter(rngs, (width, G, V), ("width", "write_heads", "head_size"), width**-0.5)
        self.wo_HVD = parameter(rngs, (H, V, width), ("heads", "head_size", "width"), (H * V) ** -0.5)

    def queries(self, x_BLD: jax.Array) -> jax.Array:
        """-> q_BLHK, scaled."""
        q_BLHK = linear(x_BLD, self.wq_DHK[...])
        return q_BLHK * jnp.asarray(q_BLHK.shape[-1] ** -0.5, q_BLHK.dtype)

    def keys_values(self, x_BMD: jax.Array) -> tuple[jax.Array, jax.Array]:
        """-> k_BMGK, v_BMGV: what a cache holds."""
        return linear(x_BMD, self.wk_DGK[...]), linear(x_BMD, self.wv_DGV[...])

    def output(self, o_BLHV: jax.Array) -> jax.Array:
        """-> y_BLD."""
        return linear(o_BLHV, self.wo_HVD[...], contracted=2)

    def __call__(
        self,
        x_BLD: jax.Array,
        memory_BMD: jax.Array,
        mask_BLM: jax.Array,
        rate: float = 0.0,
        key: jax.Array | None = None,
    ) -> jax.Array:
        """Attention of whole sequences, for training and scoring.

        Args:
          x_BLD: where the queries come from.
          memory_BMD: where keys and values come from; `x_BLD` itself for self-attention.
          mask_BLM: True where a position may look. A row without a True gives an average, not NaN.
          rate, key: dropout of the attention weights, one mask for all L.
        Returns:
          y_BLD.
        """
        q_BLHK = self.queries(x_BLD)
        k_BMGK, v_BMGV = self.keys_values(memory_BMD)
        return self.output(attend(q_BLHK, k_BMGK, v_BMGV, mask_BLM, rate, key))

    def lay_out(self, memory: bool = True) -> "FlatAttention":
        """The weights for decode steps; without the memory's where keys and values are there already."""
        inputs = [self.wq_DHK, self.wk_DGK, self.wv_DGV] if memory else [self.wq_DHK]
        return FlatAttention(
            weights_first(*(each[...] for each in inputs)), weights_first(self.wo_HVD[...], contracted=2)
        )

    def project(self, flat: "FlatAttention", x_BQD: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """-> q_BQHK, scaled, and k_BQX and v_BQY as a cache's rows; the last two are empty without a memory."""
        _, H, K = self.wq_DHK.shape
        y_BQN, keys, values = few_rows(x_BQD, flat.w_in_ND), H * K, (H + self.write_heads) * K
        q_BQHK = y_BQN[..., :keys].reshape(*y_BQN.shape[:-1], H, K)
        return q_BQHK * jnp.asarray(K**-0.5, q_BQHK.dtype), y_BQN[..., keys:values], y_BQN[..., values:]

    def over_cache(
        self, flat: "FlatAttention", q_BWHK: jax.Array, cache: KeysValues, live_BM: jax.Array, ancestry_BWM: jax.Array
    ) -> jax.Array:
        """Attention of a new token of every beam over the cache of all beams (`attend_beams`) -> y_BWD."""
        o_BWHV = attend_beams(q_BWHK, cache.k, cache.v, live_BM, ancestry_BWM, self.write_heads)
        return few_rows(o_BWHV.reshape(*o_BWHV.shape[:2], -1), flat.w_out_DY)

    def over_memory(
        self, flat: "FlatAttention", q_BWHK: jax.Array, memory: KeysValues, mask_BWM: jax.Array
    ) -> jax.Array:
        """Attention of a new token of every beam over the encoder's keys and values -> y_BWD."""
        o_BWHV = attend_memory(q_BWHK, memory.k, memory.v, mask_BWM, self.write_heads)
        return few_rows(o_BWHV.reshape(*o_BWHV.shape[:2], -1), flat.w_out_DY)


class FlatAttention(NamedTuple):
    """An attention's weights as a decode step multiplies with them (`products.few_rows`), laid out once for many steps.

    A small product costs a CPU more in its start than in its operations, so queries, keys and values come from
    one. And a TPU would lay three-dimensional weights out anew at every step.

    Attributes:
      w_in_ND: N = H * K for the queries, and behind them G * K and G * V where keys and values are still to be made.
      w_out_DY: Y = H * V.
    """

    w_in_ND: jax.Array
    w_out_DY: jax.Array


def attend(
    q_BLHK: jax.Array,
    k_BMGK: jax.Array,
    v_BMGV: jax.Array,
    mask_BLM: jax.Array,
    rate: float = 0.0,
    key: jax.Array | None = None,
) -> jax.Array:
    """softmax(q k^T) v with R = H / G query heads for each write head; softmax in float32.

    Returns:
      o_BLHV in the type of the values.
    """
    B, L, H, K = q_BLHK.shape
    G = k_BMGK.shape[2]
    q_BGRLK = jnp.transpose(q_BLHK.reshape(B, L, G, H // G, K), (0, 2, 3, 1, 4))
    k_BGMK, v_BGMV = jnp.moveaxis(k_BMGK, 2, 1), jnp.moveaxis(v_BMGV, 2, 1)
    scores_BGRLM = product("bgrlk,bgmk->bgrlm", q_BGRLK, k_BGMK)
    scores_BGRLM = jnp.where(mask_BLM[:, None, None], scores_BGRLM, jnp.finfo(jnp.float32).min)
    weights_BGRLM = dropout(jax.nn.softmax(scores_BGRLM, axis=-1).astype(v_BMGV.dtype), rate, key)
    o_BGRLV = product("bgrlm,bgmv->bgrlv", weights_BGRLM, v_BGMV)
    return jnp.transpose(o_BGRLV, (0, 3, 1, 2, 4)).reshape(B, L, H, -1).astype(v_BMGV.dtype)


def segment_mask(query_segments_BL: jax.Array, memory_segments_BM: jax.Array) -> jax.Array:
    """mask_BLM: True within one segment; padding (segment 0) is seen by padding only."""
    return query_segments_BL[:, :, None] == memory_segments_BM[:, None, :]


def causal_mask(length: int, window: int | None) -> jax.Array:
    """mask_1LL: True for the position itself and those before it, or only the last `window` of them."""
    position_L = jnp.arange(length)
    distance_LL = position_L[:, None] - position_L[None, :]
    mask_LL = distance_LL >= 0
    if window is not None:
        mask_LL &= distance_LL < window
    return mask_LL[None]
