"""The decode state of a stack: explicit arrays, passed in and returned, written in place.

All beams of a sentence write into one cache, side by side, and nothing is ever moved: `ancestry_BWM` says
which beam wrote slot m of beam w's history, and a reorder permutes that small table instead of the keys and
values. Greedy search is the case of one beam. A prompt is stored once, as beam 0's, for all beams.

All rows share one clock, so that one `dynamic_update_slice` writes them all; a row's tokens begin at its
`start_B`. Prompts of different lengths therefore end together, padded in front, and a row whose sentence is
over can be given to another one at any time (`admit`). The cache is a ring: the time at which slot m was last
written follows from the clock alone, and what was written before a row's start is not seen by it. With a
window the ring has `window` slots, or else as many as the longest sentence needs.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mqa_jax.experiment import AttentionConfig


class KeysValues(NamedTuple):
    """Keys and values of one layer. X = G * K and Y = G * V: a row holds the write heads side by side.

    A decode state's are k_BNX and v_BNY, N = W * M: the slots of beam 0, then those of beam 1. A step writes and
    multiplies with that very array. With a reshape between, XLA's CPU compiler makes two whole copies a step.
    """

    k: jax.Array
    v: jax.Array


class DecodeState(NamedTuple):
    """What decoding carries from step to step, for B sentences of W beams.

    Attributes:
      caches: one (k_BNX, v_BNY) a layer, M slots of W beams.
      memories: one (k_BMX, v_BMY) a layer from the encoder, shared by all beams; empty without an encoder.
      memory_mask_BM: True on the encoder's real tokens.
      time: int32 scalar, the clock: the next token goes to slot time % M.
      start_B: int32, the time of each row's first real token; below 0 for a prompt admitted early.
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
    size = lambda head_size: (batch, slots * beams, config.write_heads * head_size)  # noqa: E731
    return tuple(
        KeysValues(jnp.zeros(size(config.key_size), dtype), jnp.zeros(size(config.value_size), dtype))
        for _ in range(layers)
    )


def positions(state: DecodeState) -> jax.Array:
    """positions_B of the token about to be fed."""
    return state.time - state.start_B


def write_step(cache: KeysValues, k_BWX: jax.Array, v_BWY: jax.Array, time: jax.Array) -> KeysValues:
    """The cache with one token of every beam written at slot time % M."""
    beams = k_BWX.shape[1]
    slots = cache.k.shape[1] // beams

    def put(into, new):
        for beam in range(beams):
            row = beam * slots + time % slots
            into = jax.lax.dynamic_update_slice(into, new[:, beam : beam + 1], (0, row, 0))
        return into

    return KeysValues(put(cache.k, k_BWX), put(cache.v, v_BWY))


def by_beam(rows_BNX: jax.Array, beams: int) -> jax.Array:
    """[B, N, X] -> [B, W, M, X]."""
    return rows_BNX.reshape(rows_BNX.shape[0], beams, -1, rows_BNX.shape[-1])


def _in_ring(slots: int, count: int, time: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Which of the `count` tokens from `time` on lies in each slot of a ring, and whether one does."""
    age_M = (time + count - 1 - jnp.arange(slots)) % slots
    return jnp.maximum(count - 1 - age_M, 0), age_M < count


def write_many(cache: KeysValues, k_BCX: jax.Array, v_BCY: jax.Array, time: jax.Array, beams: int) -> KeysValues:
    """The cache with C tokens from `time` on written for beam 0; a ring keeps the last M of them."""
    if k_BCX.shape[1] == 0:
        return cache
    token_M, new_M = _in_ring(cache.k.shape[1] // beams, k_BCX.shape[1], time)

    def put(into_BNX, new_BCX):
        first_BMX = jnp.where(new_M[None, :, None], new_BCX[:, token_M], into_BNX[:, : new_M.size])
        return jax.lax.dynamic_update_slice(into_BNX, first_BMX, (0, 0, 0))

    return KeysValues(put(cache.k, k_BCX), put(cache.v, v_BCY))


def grow(state: DecodeState, slots: int) -> DecodeState:
    """The same state with caches of `slots` slots. Rows must not be older than the slots that there were."""
    B, W, M = state.ancestry_BWM.shape
    if slots == M:
        return state
    token_M, _ = _in_ring(slots, M, state.time - M)
    slot_M = (state.time - M + token_M) % M
    return state._replace(
        caches=jax.tree.map(lambda each: by_beam(each, W)[:, :, slot_M].reshape(B, W * slots, -1), state.caches),
        ancestry_BWM=state.ancestry_BWM[:, :, slot_M],
    )


def admit(state: DecodeState, fresh: DecodeState, into_R: jax.Array) -> DecodeState:
    """The state with sentence r of `fresh` in row into_R[r], its time now; rows outside the state are dropped.

    What the row held before needs no clearing: it was written before the new sentence's start. `fresh` has as
    many beams and its prompt's slots, none for a translation; its prompt must be of beam 0 alone.
    """
    put = lambda all_rows, new: all_rows.at[into_R].set(new, mode="drop")  # noqa: E731
    _, beams, fed = fresh.ancestry_BWM.shape
    caches = state.caches
    if fed:
        slot_M = (fresh.time + jnp.arange(fed)) % fed
        admitted = []
        for cache, new in zip(state.caches, fresh.caches, strict=True):
            rows = KeysValues(*(each.at[into_R].get(mode="clip") for each in cache))
            k_RMX, v_RMY = (each[:, slot_M] for each in new)
            rows = write_many(rows, k_RMX, v_RMY, state.time - fed, beams)
            admitted.append(KeysValues(put(cache.k, rows.k), put(cache.v, rows.v)))
        caches = tuple(admitted)
    return state._replace(
        caches=caches,
        memories=jax.tree.map(put, state.memories, fresh.memories),
        memory_mask_BM=put(state.memory_mask_BM, fresh.memory_mask_BM),
        start_B=put(state.start_B, fresh.start_B + state.time - fresh.time),
        ancestry_BWM=put(state.ancestry_BWM, jnp.zeros((), jnp.int8)),
    )


class StepMasks(NamedTuple):
    """Who sees what in one step, made once for all layers.

    Attributes:
      live_BM: True on the slots of the cache that hold the sentence's tokens.
      ancestry_BWM: the state's, with the step's own slot in it.
      memory_BWM: True on the encoder's real tokens.
    """

    live_BM: jax.Array
    ancestry_BWM: jax.Array
    memory_BWM: jax.Array


def step_masks(state: DecodeState) -> StepMasks:
    """The masks of the step that feeds a token at the state's time."""
    B, W, M = state.ancestry_BWM.shape
    slot_M, slot = jnp.arange(M), state.time % M
    beam_W = jnp.arange(W, dtype=jnp.int8)
    ancestry_BWM = jnp.where(slot_M[None, None] == slot, beam_W[None, :, None], state.ancestry_BWM)
    # A slot's age in a ring; in a cache that has not filled up yet, later slots come out as before time 0.
    written_M = state.time - (slot - slot_M) % M
    live_BM = written_M[None] >= state.start_B[:, None]
    memory_BWM = jnp.broadcast_to(state.memory_mask_BM[:, None], (B, W, state.memory_mask_BM.shape[-1]))
    return StepMasks(live_BM, ancestry_BWM, memory_BWM)


def extend_mask(start_B: jax.Array, slots: int, count: int, time: jax.Array, window: int | None) -> jax.Array:
    """mask_BCM of `count` tokens from `time` on: over the ring's slots and, behind them, the tokens themselves."""
    slot_M = jnp.arange(slots)
    written_M = time - 1 - (time - 1 - slot_M) % slots
    time_M = jnp.concatenate([written_M, time + jnp.arange(count)])
    age_CM = (time + jnp.arange(count))[:, None] - time_M[None]
    seen_CM = (age_CM >= 0) & (age_CM < window if window else True)
    return seen_CM[None] & (time_M[None] >= start_B[:, None])[:, None]


def reorder(state: DecodeState, parents_BW: jax.Array) -> DecodeState:
    """Beam w goes on from beam parents_BW[:, w]. Touches the ancestry only."""
    return state._replace(ancestry_BWM=jnp.take_along_axis(state.ancestry_BWM, parents_BW[:, :, None], axis=1))
