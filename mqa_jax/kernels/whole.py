"""Attention of whole sequences in its plain form, and the masks that it takes."""

import jax
import jax.numpy as jnp

from mqa_jax.kernels.dropout import dropout
from mqa_jax.kernels.products import product


def attend(
    q_BLHK: jax.Array,
    k_BMGK: jax.Array,
    v_BMGV: jax.Array,
    mask_BLM: jax.Array,
    rate: float = 0.0,
    key: jax.Array | None = None,
) -> jax.Array:
    """softmax(q k^T) v with R = H / G query heads for each write head; softmax in float32.

    Args:
      q_BLHK: scaled queries.
      mask_BLM: True where a position may look. A row without a True gives an average, not NaN.
      rate, key: dropout of the attention weights, one mask for all L.
    Returns:
      o_BLHV in the type of the values.
    """
    (B, L, H, _), v_BGMV = q_BLHK.shape, jnp.moveaxis(v_BMGV, 2, 1)
    weights_BGRLM = dropout(weights(q_BLHK, k_BMGK, mask_BLM).astype(v_BMGV.dtype), rate, key)
    o_BGRLV = product("bgrlm,bgmv->bgrlv", weights_BGRLM, v_BGMV)
    return jnp.transpose(o_BGRLV, (0, 3, 1, 2, 4)).reshape(B, L, H, -1).astype(v_BMGV.dtype)


def weights(q_BLHK: jax.Array, k_BMGK: jax.Array, mask_BLM: jax.Array) -> jax.Array:
    """softmax(q k^T), weights_BGRLM in float32; see `attend`. Query head h is [h // R, h % R]."""
    B, L, H, K = q_BLHK.shape
    G = k_BMGK.shape[2]
    q_BGRLK = jnp.transpose(q_BLHK.reshape(B, L, G, H // G, K), (0, 2, 3, 1, 4))
    scores_BGRLM = product("bgrlk,bgmk->bgrlm", q_BGRLK, jnp.moveaxis(k_BMGK, 2, 1))
    scores_BGRLM = jnp.where(mask_BLM[:, None, None], scores_BGRLM, jnp.finfo(jnp.float32).min)
    return jax.nn.softmax(scores_BGRLM, axis=-1)


def segment_mask(query_segments_BL: jax.Array, memory_segments_BM: jax.Array) -> jax.Array:
    """mask_BLM: True within one segment; padding (segment 0) is seen by padding only."""
    return query_segments_BL[:, :, None] == memory_segments_BM[:, None, :]


def causal_mask(segments_BL: jax.Array, window: int | None = None, sinks: int = 0) -> jax.Array:
    """mask_BLL: True for the position itself and those before it in its segment.

    With a window only the last `window` of them, and the first `sinks` of the segment.
    """
    mask_BLL = segment_mask(segments_BL, segments_BL)
    position_L = jnp.arange(segments_BL.shape[1])
    distance_LL = position_L[:, None] - position_L[None, :]
    mask_BLL &= (distance_LL >= 0)[None]
    if window is None:
        return mask_BLL
    near_BLL = (distance_LL < window)[None]
    if sinks:
        starts_BL = jnp.pad(segments_BL[:, 1:] != segments_BL[:, :-1], ((0, 0), (1, 0)), constant_values=True)
        first_BL = jax.lax.cummax(jnp.where(starts_BL, position_L[None], 0), axis=1)
        near_BLL |= (position_L[None] - first_BL < sinks)[:, None, :]
    return mask_BLL & near_BLL
