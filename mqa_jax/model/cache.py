"""The decode state of a stack: explicit arrays, passed in and returned, written in place.

All beams of a sentence write into one cache, side by side, and nothing is ever moved: `ancestry_BWM` says
which beam wrote slot m of beam w's history, and a reorder permutes that small table instead of the keys and
values. Greedy search is the case of one beam. A prompt is stored once, as beam 0's, for all beams.

Rows of different prompt lengths end at the same slot: a row's first `start_B` slots are padding, so that
one `dynamic_update_slice` writes every row. With a window the cache is a ring of `window` slots; the time
that slot m was last written follows from the current time alone.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mqa_jax.experiment import AttentionConfig


class KeysValues(NamedTuple):
    """Keys and values of one layer. X = G * K and Y = G * V: a row holds the write heads side by side."""

    k: jax.Array
    v: jax.Array


class DecodeState(NamedTuple):
    """What decoding carries from step to step, for B sentences of W beams.

    Attributes:
      caches: one (k_BMWX, v_BMWY) a layer, M slots.
      memories: one (k_BMX, v_BMY) a layer from the encoder, shared by all beams; empty without an encoder.
      memory_mask_BM: True on the encoder's real tokens.
      time: int32 scalar, tokens fed so far (padding included); the next one goes to slot time % M.
      start_B: int32, the first real token's time.
      ancestry_BWM: int8, see above.
    """

    caches: tuple[KeysValues, ...]
    memories: tuple[KeysValues, ...]
    memory_mask_BM: jax.Array
    time: jax.Array
    start_B: jax.Array
    ancestry_BWM: jax.Array


def empty_caches(
    layers: int, config: AttentionConfig, batch: int, beams: int, slots: int, dtype: str
) -> tuple[KeysValues, ...]:
    """Zeroed caches for `slots` tokens, or for the window where that is shorter."""
    slots = min(slots, config.window or slots)
    size = lambda head_size: (batch, slots, beams, config.write_heads * head_size)  # noqa: E731
    return tuple(
        KeysValues(jnp.zeros(size(config.key_size), dtype), jnp.zeros(size(config.value_size), dtype))
        for _ in range(layers)
    )


def positions(state: DecodeState) -> jax.Array:
    """positions_B of the token about to be fed."""
    return state.time - state.start_B


def write_step(cache: KeysValues, k_BWX: jax.Array, v_BWY: jax.Array, time: jax.Array) -> KeysValues:
    """The cache with one token of every beam written at slot time % M."""
    slot = time % cache.k.shape[1]
    put = lambda into, new: jax.lax.dynamic_update_slice(into, new[:, None], (0, slot, 0, 0))  # noqa: E731
    return KeysValues(put(cache.k, k_BWX), put(cache.v, v_BWY))


def write_prompt(cache: KeysValues, k_BPX: jax.Array, v_BPY: jax.Array) -> KeysValues:
    """The cache with the tokens of times 0 to P - 1 written for beam 0; a ring keeps the last M of them."""
    slots, length = cache.k.shape[1], k_BPX.shape[1]
    kept = min(slots, length)
    shift = (length - kept) % slots

    def put(into, new_BPX):
        newest = jnp.roll(new_BPX[:, length - kept :], shift, axis=1) if kept == slots else new_BPX
        return jax.lax.dynamic_update_slice(into, newest[:, :, None], (0, 0, 0, 0))

    return KeysValues(put(cache.k, k_BPX), put(cache.v, v_BPY))


def step_masks(state: DecodeState) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The masks of one step, made once for all layers, and the ancestry with the step's own slot in it.

    Returns:
      self_mask_BQM: [B, W, M * W], over the flattened slots of `caches`.
      memory_mask_BQM: [B, W, M], over `memories`.
      ancestry_BWM.
    """
    B, W, M = state.ancestry_BWM.shape
    slot_M, slot = jnp.arange(M), state.time % M
    beam_W = jnp.arange(W, dtype=jnp.int8)
    ancestry_BWM = jnp.where(slot_M[None, None] == slot, beam_W[None, :, None], state.ancestry_BWM)
    # A slot's age in a ring; in a cache that has not filled up yet, later slots come out as before time 0.
    written_M = state.time - (slot - slot_M) % M
    live_BM = written_M[None] >= state.start_B[:, None]
    mask_BWMW = live_BM[:, None, :, None] & (ancestry_BWM[..., None] == beam_W[None, None, None])
    memory_mask_BQM = jnp.broadcast_to(state.memory_mask_BM[:, None], (B, W, state.memory_mask_BM.shape[-1]))
    return mask_BWMW.reshape(B, W, M * W), memory_mask_BQM, ancestry_BWM


def reorder(state: DecodeState, parents_BW: jax.Array) -> DecodeState:
    """Beam w goes on from beam parents_BW[:, w]. Touches the ancestry only."""
    return state._replace(ancestry_BWM=jnp.take_along_axis(state.ancestry_BWM, parents_BW[:, :, None], axis=1))
