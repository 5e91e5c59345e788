"""The decode state: explicit arrays, passed in and returned, written in place. It knows no attention type.

All beams of a sentence write into one cache, side by side, and nothing is ever moved: the ancestry says which beam
wrote each token of a beam's history, and a reorder permutes that small table instead of the rows. Greedy search is
the case of one beam.

All rows share one clock, so that one `dynamic_update_slice` writes them all; a row's tokens begin at its
`start_B`. Prompts of different lengths therefore end together, padded in front, and a row whose sentence is
over can be given to another one at any time (`admit`).

A prompt is read by one beam. One beam goes on behind it in the same array; several share it (`branch`), and have slots
of their own for what they add. The clock is 0 where a prompt ends, so a shared one is in order in its ring.

A layer's slots are its sinks, then a ring. The ring has as many slots as the window, or as the longest sentence needs:
the time at which a slot was last written follows from the clock alone, and what was written before a row's start is not
seen by it. A sink's slot is of a position, not of a time: the first tokens of a row stay there while it lasts. They are
in the ring too, where they are not seen. So each layer has its own number of slots, and one clock serves all.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mqa_jax.attention.config import AttentionConfig, Row
from mqa_jax.kernels import int8
from mqa_jax.kernels.over_cache import Kept, Stored

FEW_TOKENS = 8  # up to which each is written by itself

Rows = tuple[Stored, ...]
"""Rows of one layer, [B, N, X] each. A decode state's have N = W * M: the slots of beam 0, then those of beam 1. A step
writes and multiplies with these very arrays: with a reshape between, XLA's CPU compiler makes whole copies a step."""


class DecodeState(NamedTuple):
    """What decoding carries from step to step, for B sentences of W beams.

    Attributes:
      caches: each layer's rows.
      prompts: each layer's rows of the prompt that several beams share, its sinks before its ring; empty without one.
      prompt_BP: int32, the position of each slot of the longest of these rings; below 0 in front of a prompt.
      memories: each layer's rows of the encoder's output, shared by all beams; empty without an encoder.
      memory_mask_BM: True on the encoder's real tokens.
      time: int32 scalar, the clock: the time of the next token.
      start_B: int32, the time of each row's first token; below 0 for a prompt that was there from the beginning.
      sinks_BWS: int8, the beam that wrote the token at position s of beam w's history.
      ancestry_BWM: int8, the beam that wrote the token at time t of beam w's history, at t % M for the last M times.
    """

    caches: tuple[Rows, ...]
    prompts: tuple[Rows, ...]
    prompt_BP: jax.Array
    memories: tuple[Rows, ...]
    memory_mask_BM: jax.Array
    time: jax.Array
    start_B: jax.Array
    sinks_BWS: jax.Array
    ancestry_BWM: jax.Array


class Past(NamedTuple):
    """A state as the layers of one number of slots see it, for C new tokens of each beam; made once for all.

    Attributes:
      live_BCM: which slots each new token sees. One token by itself is stored before it looks, more look first.
      prompt_BCP: which slots of a shared prompt; None without one.
      ancestry_BWM: the beam that wrote each slot of a beam's history.
      new_mask_BCC: which of the new tokens each of them sees; None for one token.
    """

    time: jax.Array
    start_B: jax.Array
    live_BCM: jax.Array
    prompt_BCP: jax.Array | None
    ancestry_BWM: jax.Array
    new_mask_BCC: jax.Array | None


def ring_of(layer: AttentionConfig, tokens: int) -> int:
    """Slots of a layer's ring, where a sentence has so many tokens."""
    return tokens if layer.window is None else min(tokens, layer.window)


def begin(
    layers: Sequence[AttentionConfig],
    batch: int,
    beams: int,
    tokens: int,
    dtype: str,
    start_B: jax.Array,
    memories: tuple[Rows, ...] = (),
    memory_mask_BM: jax.Array | None = None,
) -> DecodeState:
    """A state without tokens, with room for so many in each sentence.

    Args:
      dtype: of the rows: a float type, or int8 with a scale for each head of a row.
    """

    def empty(row: Row, slots: int) -> Stored:
        values = jnp.zeros((batch, beams * slots, row.width), dtype)
        return int8.Int8(values, jnp.zeros((*values.shape[:2], row.heads), jnp.float32)) if dtype == "int8" else values

    ring = max(ring_of(layer, tokens) for layer in layers)
    return DecodeState(
        caches=tuple(
            tuple(empty(row, layer.sinks + ring_of(layer, tokens)) for row in layer.rows()) for layer in layers
        ),
        prompts=(),
        prompt_BP=jnp.zeros((batch, 0), jnp.int32),
        memories=memories,
        memory_mask_BM=jnp.zeros((batch, 0), bool) if memory_mask_BM is None else memory_mask_BM,
        time=jnp.zeros((), jnp.int32),
        start_B=start_B,
        sinks_BWS=jnp.zeros((batch, beams, max(layer.sinks for layer in layers)), jnp.int8),
        ancestry_BWM=jnp.zeros((batch, beams, ring), jnp.int8),
    )


def branch(prompt: DecodeState, layers: Sequence[AttentionConfig], beams: int, room: int, dtype: str) -> DecodeState:
    """A state of several beams that share the prompt that one has read, with room for so many tokens of each."""
    P = prompt.ancestry_BWM.shape[2]
    state = begin(layers, prompt.start_B.shape[0], beams, room, dtype, prompt.start_B)
    prompt_BP = jnp.arange(-P, 0)[None] - prompt.start_B[:, None]
    return state._replace(prompts=prompt.caches if P else (), prompt_BP=prompt_BP)


def encode(rows: Sequence[jax.Array], kept_as: Sequence[Row], dtype: str) -> Rows:
    """Rows [..., X] as a cache of this type stores them."""
    if dtype == "int8":
        return tuple(int8.quantise(each, row.heads) for each, row in zip(rows, kept_as, strict=True))
    return tuple(each.astype(dtype) for each in rows)


def positions(state: DecodeState, count: int = 1) -> jax.Array:
    """positions_BC of the `count` tokens about to be fed; below 0 in front of a prompt."""
    return state.time + jnp.arange(count)[None] - state.start_B[:, None]


def past(state: DecodeState, layer: AttentionConfig, count: int) -> Past:
    """The state as a layer sees it that is about to be fed `count` tokens of each beam."""
    M, S = state.ancestry_BWM.shape[2], layer.sinks
    R = M if layer.window is None else min(M, layer.window)
    time, slot_R = state.time, jnp.arange(R)
    new_C = time + jnp.arange(count)
    start_B1, start_B11 = state.start_B[:, None], state.start_B[:, None, None]
    own_B1 = state.prompt_BP[:, -1:] + 1 if state.prompts else 0  # position of the first token that is no prompt's
    if count == 1:
        state = advance(state, count)
        written_R = time - (time - slot_R) % R  # of slots that were not written yet: before a row's start
        live_BCR = (written_R[None] - start_B1 >= jnp.maximum(own_B1, S))[:, None]
        kept_BS = jnp.arange(S)[None] <= time - start_B1
        new_mask_BCC = None
    else:
        written_R = time - 1 - (time - 1 - slot_R) % R
        live_BCR = (written_R[None] - start_B1 >= jnp.maximum(own_B1, S))[:, None]
        if layer.window:
            live_BCR &= (new_C[:, None] - written_R[None] < layer.window)[None]
        kept_BS = jnp.arange(S)[None] < time - start_B1
        age_CC = new_C[:, None] - new_C[None]
        near_BCC = (age_CC < (layer.window or M + count))[None] | (new_C[None, None] - start_B11 < S)
        new_mask_BCC = (age_CC >= 0)[None] & near_BCC & (new_C[None, None] >= start_B11)
    live_BCR = jnp.broadcast_to(live_BCR, (live_BCR.shape[0], count, R))
    ancestry_BWR = state.ancestry_BWM if R == M else state.ancestry_BWM[:, :, written_R % M]
    if S:
        live_BCR = _with_sinks(kept_BS & (jnp.arange(S)[None] >= own_B1), live_BCR)
        ancestry_BWR = jnp.concatenate([state.sinks_BWS[:, :, :S], ancestry_BWR], axis=-1)
    prompt_BCP = _live_prompt(state, layer, new_C) if state.prompts else None
    return Past(time, state.start_B, live_BCR, prompt_BCP, ancestry_BWR, new_mask_BCC)


def _live_prompt(state: DecodeState, layer: AttentionConfig, new_C: jax.Array) -> jax.Array:
    """Which slots of the shared prompt a layer's new tokens see."""
    longest, S = state.prompt_BP.shape[1], layer.sinks
    position_B1P = state.prompt_BP[:, None, longest - ring_of(layer, longest) :]
    new_BC1 = new_C[None, :, None] - state.start_B[:, None, None]
    live_BCP = jnp.broadcast_to(position_B1P >= S, (*new_BC1.shape[:2], position_B1P.shape[2]))
    if layer.window:
        live_BCP &= new_BC1 - position_B1P < layer.window
    return _with_sinks(jnp.arange(S)[None] <= state.prompt_BP[:, -1:], live_BCP) if S else live_BCP


def _with_sinks(kept_BS: jax.Array, live_BCR: jax.Array) -> jax.Array:
    """Sinks before a ring, for all new tokens alike."""
    B, C, _ = live_BCR.shape
    return jnp.concatenate([jnp.broadcast_to(kept_BS[:, None], (B, C, kept_BS.shape[1])), live_BCR], axis=-1)


def advance(state: DecodeState, count: int) -> DecodeState:
    """The state's clock and ancestry after `count` more tokens of each beam."""
    W, M = state.ancestry_BWM.shape[1:]
    writer_W = jnp.arange(W, dtype=jnp.int8)
    ago_M = (state.time + count - 1 - jnp.arange(M)) % M  # 0: the last one
    ancestry_BWM = jnp.where((ago_M < count)[None, None], writer_W[None, :, None], state.ancestry_BWM)
    first_B1 = state.time - state.start_B[:, None]
    position_1S = jnp.arange(state.sinks_BWS.shape[2])[None]
    written_BS = (position_1S >= first_B1) & (position_1S < first_B1 + count)
    sinks_BWS = jnp.where(written_BS[:, None], writer_W[None, :, None], state.sinks_BWS)
    return state._replace(time=state.time + count, sinks_BWS=sinks_BWS, ancestry_BWM=ancestry_BWM)


def append(rows: Rows, new_BWC: Sequence[jax.Array], past: Past, layer: AttentionConfig) -> Rows:
    """A layer's rows with C new tokens of W beams, [B, W, C, X] each, written at their slots in the cache's type."""
    dtype = "int8" if isinstance(rows[0], int8.Int8) else rows[0].dtype.name
    slots = past.ancestry_BWM.shape[2]
    put = lambda into, new: _append(into, new, past.time, past.start_B, slots, layer.sinks)  # noqa: E731
    return jax.tree.map(put, rows, encode(new_BWC, layer.rows(), dtype))


def _append(into_BNX, new_BWCX, time, start_B, slots: int, sinks: int):
    _, W, C, _ = new_BWCX.shape
    R = slots - sinks
    for beam in range(W if C and R else 0):
        first, new_BCX = beam * slots, new_BWCX[:, beam]
        if sinks:
            at_BS = jnp.arange(sinks)[None] - (time - start_B[:, None])
            token_BSX = jnp.take_along_axis(new_BCX, jnp.clip(at_BS, 0, C - 1)[..., None], axis=1)
            here_BS1 = ((at_BS >= 0) & (at_BS < C))[..., None]
            kept_BSX = jnp.where(here_BS1, token_BSX, into_BNX[:, first : first + sinks])
            into_BNX = jax.lax.dynamic_update_slice(into_BNX, kept_BSX, (0, first, 0))
        first += sinks
        if C <= FEW_TOKENS:
            for c in range(C):
                place = first + (time + c) % R
                into_BNX = jax.lax.dynamic_update_slice(into_BNX, new_BCX[:, c : c + 1], (0, place, 0))
        else:
            into_BNX = _put_many(into_BNX, new_BCX, first, R, time)
    return into_BNX


def _put_many(into_BNX, new_BCX, first: int, ring: int, time):
    """C tokens from `time` on in the ring whose slots begin at `first`, which keeps the last of them."""
    ago_R = (time + new_BCX.shape[1] - 1 - jnp.arange(ring)) % ring
    token_R = jnp.maximum(new_BCX.shape[1] - 1 - ago_R, 0)
    new_R = ago_R < new_BCX.shape[1]
    ring_BRX = jnp.where(new_R[None, :, None], new_BCX[:, token_R], into_BNX[:, first : first + ring])
    return jax.lax.dynamic_update_slice(into_BNX, ring_BRX, (0, first, 0))


def kept(rows: Rows, prompt: Rows | None, past: Past, new: tuple[jax.Array, ...] | None) -> Kept:
    """What new tokens look at: all beams' slots, and the prompt that they share."""
    ancestry_BWM = past.ancestry_BWM if past.ancestry_BWM.shape[1] > 1 else None
    shared = None if prompt is None or past.prompt_BCP is None else Kept(prompt, past.prompt_BCP)
    return Kept(rows, past.live_BCM, ancestry_BWM, new, past.new_mask_BCC, shared)


def grow(state: DecodeState, layers: Sequence[AttentionConfig], more: int) -> DecodeState:
    """The same state with room for so many more tokens. Rows must not be older than the slots that there were."""
    W, M = state.ancestry_BWM.shape[1:]
    tokens = M + more  # of a ring that is as long as the window, which does not grow: some number above it
    new_M = max(ring_of(layer, tokens) for layer in layers)
    if new_M == M:
        return state

    def places(ring: int, larger: int) -> jax.Array:
        """For each slot of the larger ring, the slot of the smaller one that holds its time."""
        ago = (state.time - 1 - jnp.arange(larger)) % larger
        return (state.time - 1 - jnp.minimum(ago, ring - 1)) % ring

    def grown(layer: AttentionConfig, rows: Rows) -> Rows:
        ring, larger = ring_of(layer, M), ring_of(layer, tokens)
        slot = jnp.concatenate([jnp.arange(layer.sinks), layer.sinks + places(ring, larger)])

        def put(each):
            by_beam_BWMX = each.reshape(each.shape[0], W, -1, each.shape[-1])
            return by_beam_BWMX[:, :, slot].reshape(each.shape[0], -1, each.shape[-1])

        return rows if larger == ring else jax.tree.map(put, rows)

    return state._replace(
        caches=tuple(grown(layer, rows) for layer, rows in zip(layers, state.caches, strict=True)),
        ancestry_BWM=state.ancestry_BWM[:, :, places(M, new_M)],
    )


def admit(state: DecodeState, fresh: DecodeState, layers: Sequence[AttentionConfig], into_R: jax.Array) -> DecodeState:
    """The state with sentence r of `fresh` in row into_R[r], its time now; rows outside the state are dropped.

    What the row held before needs no clearing: it was written before the new sentence's start. `fresh` has as
    many beams, and slots for its prompt alone.
    """
    put = lambda all_rows, new: all_rows.at[into_R].set(new, mode="drop")  # noqa: E731
    M, read = state.ancestry_BWM.shape[2], fresh.ancestry_BWM.shape[2]
    caches = state.caches
    if read:
        admitted = []
        for layer, rows, new in zip(layers, state.caches, fresh.caches, strict=True):
            S, ring, prompt = layer.sinks, ring_of(layer, M), ring_of(layer, read)

            def join(all_BNX, new_RMX, S=S, ring=ring, prompt=prompt):
                rows_RNX = all_BNX.at[into_R].get(mode="clip")
                rows_RNX = _put_many(rows_RNX, new_RMX[:, S:], S, ring, state.time - prompt)
                return put(all_BNX, rows_RNX.at[:, :S].set(new_RMX[:, :S]) if S else rows_RNX)

            admitted.append(jax.tree.map(join, rows, new))
        caches = tuple(admitted)
    return state._replace(
        caches=caches,
        prompts=jax.tree.map(put, state.prompts, fresh.prompts),
        prompt_BP=put(state.prompt_BP, fresh.prompt_BP),
        memories=jax.tree.map(put, state.memories, fresh.memories),
        memory_mask_BM=put(state.memory_mask_BM, fresh.memory_mask_BM),
        start_B=put(state.start_B, fresh.start_B + state.time),
    )


def reorder(state: DecodeState, parents_BW: jax.Array) -> DecodeState:
    """Beam w goes on from beam parents_BW[:, w]. Touches the ancestry only."""
    take = lambda table: jnp.take_along_axis(table, parents_BW[:, :, None], axis=1)  # noqa: E731
    return state._replace(sinks_BWS=take(state.sinks_BWS), ancestry_BWM=take(state.ancestry_BWM))
