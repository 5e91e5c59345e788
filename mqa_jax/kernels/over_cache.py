"""Attention of few queries over a cache: softmax(q k^T) v, with the write heads side by side in a row.

A decode step reads its cache once and does little else, so the form of the two products decides the time. Here
it is one product a sentence: each query is laid into its own head's columns of a row of zeros, as wide as the
cache's rows. A CPU is faster with that than with a product for each write head, for every G. A TPU loads each tile
of the cache into its matrix unit once either way, and with a product for each head its compiler would first move
the whole cache into another layout, at every step (tests/extra/test_tpu.py). The many queries of a prompt take a
product for each write head.

Where devices share the query heads, each attends with its own: XLA cannot know that a query is zero in the columns of
the other devices' write heads, and would add its scores up over all of them.

A GPU takes a product for each write head too where each has one query (multi-head, greedy) and the cache is short:
zeros are then much of what attention moves. docs/performance.md has the times.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from mqa_jax.kernels import int8, platforms
from mqa_jax.kernels.int8 import Int8

FEW_QUERIES = 16  # up to which a CPU takes the keys as the first operand
FEW_TOKENS = 8  # of one beam, up to which zeros cost less than a product for each write head
FEW_SLOTS = 1024  # below which a GPU takes a product for each write head where each has one query

Stored = jax.Array | Int8
"""Rows in a cache, [B, N, X], as they are or in int8 with a scale for each write head."""


class Kept(NamedTuple):
    """What C new tokens of each of U beams look at.

    Attributes:
      stored: an attention type's rows, [B, N, X] each: the slots of beam 0, then those of beam 1; or M slots for all.
      live_BCM: True on the slots that a token sees; C and B may be 1.
      ancestry_BUM: int8, the beam that wrote slot m of beam u's history; None where all read the same slots.
      new: rows [B, U, C, X] that are not stored yet, seen by tokens of their own beam only; None where there are none.
      new_mask_BCC: which of them each token sees.
      shared: rows that all beams read besides, as those of a prompt; None where there are none.
    """

    stored: tuple[Stored, ...]
    live_BCM: jax.Array
    ancestry_BUM: jax.Array | None = None
    new: tuple[jax.Array, ...] | None = None
    new_mask_BCC: jax.Array | None = None
    shared: "Kept | None" = None


Part = tuple[jax.Array, Callable[[jax.Array], jax.Array]]
"""Scores of one of the parts that queries look at, [B, Q, H, M] with those not seen at the least number, and what makes
outputs of the weights that they become."""


def attend(
    q_BUCHK: jax.Array, kept: Kept, keys: int, values: int, write_heads: int, mesh: Mesh | None = None
) -> jax.Array:
    """Attention of C tokens of U beams over what is kept.

    Args:
      q_BUCHK: scaled queries.
      keys, values: which of the kept rows are the keys, X = G * K, and which the values, Y = G * V. They may be the
        same: values that are a prefix of their keys are stored once.
      write_heads: G.
      mesh: whose axis `tensor` shares the query heads, where it divides them, and the write heads of the rows, where it
        divides those; None for one device.
    Returns:
      o_BUCHV, in the type of the queries.
    """
    H, G, T = q_BUCHK.shape[3], write_heads, 1 if mesh is None else mesh.shape["tensor"]
    if T == 1 or H % T or (G % T and T % G):
        return _attend(q_BUCHK, kept, keys, values, G)

    def part(q_BUCHK, kept):
        if G == 1 or G % T == 0:
            return _attend(q_BUCHK, kept, keys, values, max(1, G // T))
        return _attend_one_of(q_BUCHK, kept, keys, values, G, jax.lax.axis_index("tensor") * G // T)

    every, heads = PartitionSpec(), PartitionSpec(None, None, None, "tensor")
    rows, new = (PartitionSpec(None, None, "tensor"), heads) if G % T == 0 else (every, every)
    shared = every if kept.shared is None else Kept._make((rows, every, every, every, every, every))
    return jax.shard_map(
        part,
        mesh=mesh,
        in_specs=(heads, Kept._make((rows, every, every, new, every, shared))),
        out_specs=heads,
        check_vma=False,  # a choice by platform does not say over which axes its results differ
    )(q_BUCHK, kept)


def _attend_one_of(
    q_BUCHK: jax.Array, kept: Kept, keys: int, values: int, write_heads: int, own: jax.Array
) -> jax.Array:
    """Attention of query heads that all read write head `own` of rows that hold several.

    A row is then one write head, of which other columns than the own are multiplied with zeros: cut out of the rows,
    the own would be a copy of them at every step.
    """
    K = q_BUCHK.shape[-1]
    wide_BUCHX = jnp.zeros((*q_BUCHK.shape[:-1], write_heads * K), q_BUCHK.dtype)
    wide_BUCHX = jax.lax.dynamic_update_slice_in_dim(wide_BUCHX, q_BUCHK, own * K, axis=-1)

    def alone(stored: Stored) -> Stored:
        if not isinstance(stored, Int8):
            return stored
        return Int8(stored.values, jax.lax.dynamic_slice_in_dim(stored.scales, own, 1, axis=-1))

    def alone_of(kept: Kept) -> Kept:
        shared = None if kept.shared is None else alone_of(kept.shared)
        return kept._replace(stored=tuple(map(alone, kept.stored)), shared=shared)

    o_BUCHY = _attend(wide_BUCHX, alone_of(kept), keys, values, 1)
    V = o_BUCHY.shape[-1] // write_heads
    return jax.lax.dynamic_slice_in_dim(o_BUCHY, own * V, V, axis=-1)


def _attend(q_BUCHK: jax.Array, kept: Kept, keys: int, values: int, write_heads: int) -> jax.Array:
    """`attend` on one device: one softmax over all parts."""
    B, U, C, H, _ = q_BUCHK.shape
    parts = [_over(q_BUCHK, kept, keys, values, write_heads)]
    if kept.shared is not None:
        # Products of the same queries XLA would make one, for which it would copy both arrays into one at every step.
        apart_BUCHK = jax.lax.optimization_barrier(q_BUCHK)
        parts.append(_over(apart_BUCHK, kept.shared, keys, values, write_heads))
    if kept.new is not None and kept.new_mask_BCC is not None:
        parts.append(_over_new(q_BUCHK, kept.new[keys], kept.new[values], kept.new_mask_BCC, write_heads))
    weights, sums_BQH = _unnormalised_softmax([scores_BQHM for scores_BQHM, _ in parts])
    outputs = [outputs(weights_BQHM) for weights_BQHM, (_, outputs) in zip(weights, parts, strict=True)]
    o_BQHV = functools.reduce(jnp.add, outputs)
    return (o_BQHV / sums_BQH[..., None]).astype(q_BUCHK.dtype).reshape(B, U, C, H, -1)


def _over(q_BUCHK: jax.Array, kept: Kept, keys: int, values: int, write_heads: int) -> Part:
    """What is stored.

    Beams that read a cache together take one product for all their scores. Then each slot's score is picked from the
    beam that wrote it, so that the softmax is over M slots, not over all N.
    """
    _, U, C, _, _ = q_BUCHK.shape
    live_BQM = kept.live_BCM if C == 1 else jnp.tile(kept.live_BCM, (1, U, 1))
    ancestry_BQM = kept.ancestry_BUM
    if ancestry_BQM is not None and C > 1:
        ancestry_BQM = jnp.repeat(ancestry_BQM, C, axis=1)
    scores_BQHM = _scores(q_BUCHK, kept.stored[keys], write_heads)
    if ancestry_BQM is not None:
        scores_BQHM = _of_writers(scores_BQHM, ancestry_BQM, U)

    def outputs(weights_BQHM: jax.Array) -> jax.Array:
        weights_BQHM = weights_BQHM.astype(q_BUCHK.dtype)
        if ancestry_BQM is not None:
            weights_BQHM = _to_writers(weights_BQHM, ancestry_BQM, U)
        return _outputs(weights_BQHM, kept.stored[values], write_heads, few=C <= FEW_TOKENS)

    return jnp.where(live_BQM[:, :, None], scores_BQHM, jnp.finfo(jnp.float32).min), outputs


def _over_new(q_BUCHK, k_BUCX, v_BUCY, mask_BCC: jax.Array, write_heads: int) -> Part:
    """Tokens that are not stored yet, each beam its own."""
    B, U, C, H, K = q_BUCHK.shape
    q_BUCGRK = q_BUCHK.reshape(B, U, C, write_heads, H // write_heads, K)
    k_BUEGK, v_BUEGV = (each.reshape(B, U, C, write_heads, -1) for each in (k_BUCX, v_BUCY))
    scores_BUCGRE = jnp.einsum("bucgrk,buegk->bucgre", q_BUCGRK, k_BUEGK, preferred_element_type=jnp.float32)
    scores_BUCGRE = jnp.where(mask_BCC[:, None, :, None, None], scores_BUCGRE, jnp.finfo(jnp.float32).min)

    def outputs(weights_BQHE: jax.Array) -> jax.Array:
        weights_BUCGRE = weights_BQHE.reshape(scores_BUCGRE.shape).astype(v_BUEGV.dtype)
        o_BUCGRV = jnp.einsum("bucgre,buegv->bucgrv", weights_BUCGRE, v_BUEGV, preferred_element_type=jnp.float32)
        return o_BUCGRV.reshape(B, U * C, H, -1)

    return scores_BUCGRE.reshape(B, U * C, H, C), outputs


def _of_writers(scores_BQHN: jax.Array, ancestry_BQM: jax.Array, beams: int) -> jax.Array:
    """scores_BQHM: of each slot of a beam's history, the score over the slots of the beam that wrote it."""
    M = ancestry_BQM.shape[-1]
    scores_BQHM = scores_BQHN[..., :M]
    for beam in range(1, beams):
        of_beam = scores_BQHN[..., beam * M : (beam + 1) * M]
        scores_BQHM = jnp.where(ancestry_BQM[:, :, None] == beam, of_beam, scores_BQHM)
    return scores_BQHM


def _to_writers(weights_BQHM: jax.Array, ancestry_BQM: jax.Array, beams: int) -> jax.Array:
    """weights_BQHN: each weight at the slot of the beam that wrote it, zeros at the other beams'."""
    own = [jnp.where(ancestry_BQM[:, :, None] == beam, weights_BQHM, 0) for beam in range(beams)]
    return jnp.concatenate(own, axis=-1)


def _unnormalised_softmax(scores: list[jax.Array]) -> tuple[list[jax.Array], jax.Array]:
    """exp(scores - max) over the last axis of all parts together, and its sum: dividing the output is cheaper than the
    weights."""
    largest = functools.reduce(jnp.maximum, [each.max(-1, keepdims=True) for each in scores])
    weights = [jnp.exp(each - largest) for each in scores]
    return weights, functools.reduce(jnp.add, [each.sum(-1) for each in weights])


def _scores(q_BUCHK: jax.Array, stored: Stored, write_heads: int) -> jax.Array:
    """q k^T, float32 [B, Q, H, N], Q = U * C."""
    B, U, C, H, K = q_BUCHK.shape
    q_BQHK = q_BUCHK.reshape(B, U * C, H, K)

    def for_each_write_head(q_BQHK, k_BNX):
        k_BNGK = k_BNX.reshape(B, -1, write_heads, K)
        q_BGRQK = jnp.moveaxis(q_BQHK.reshape(B, U * C, write_heads, -1, K), 1, 3)
        scores_BGRQN = jnp.einsum("bgrqk,bngk->bgrqn", q_BGRQK, k_BNGK, preferred_element_type=jnp.float32)
        return jnp.moveaxis(scores_BGRQN, 3, 1).reshape(B, U * C, H, -1)

    def laid_out(q_BQHK, k_BNX):
        return _by_keys(_lay_out(q_BQHK, write_heads), k_BNX, jnp.float32).reshape(B, U * C, H, -1)

    if C > FEW_TOKENS:
        return for_each_write_head(q_BQHK, _wide(stored, q_BQHK.dtype))
    if isinstance(stored, Int8):
        q_BPX = _lay_out(q_BQHK, write_heads)
        digits_BPX, unit_BP1 = int8.digits(q_BPX)
        scores_BPN = int8.from_digits(_by_keys(digits_BPX, stored.values, jnp.int32), unit_BP1)
        return scores_BPN.reshape(B, U * C, H, -1) * _of_heads(stored.scales, H)
    if _is_one_query_a_write_head(U * C, H, write_heads, stored):
        return platforms.choose_on_gpu(for_each_write_head, laid_out, q_BQHK, stored)
    return laid_out(q_BQHK, stored)


def _outputs(weights_BQHN: jax.Array, stored: Stored, write_heads: int, few: bool) -> jax.Array:
    """Unnormalised weights times values, float32 [B, Q, H, V]. `few`: in one product a sentence."""
    B, Q, H, N = weights_BQHN.shape

    def for_each_write_head(weights_BQHN, v_BNY):
        v_BNGV = v_BNY.reshape(B, N, write_heads, -1)
        weights_BGRQN = jnp.moveaxis(weights_BQHN.reshape(B, Q, write_heads, -1, N), 1, 3)
        o_BGRQV = jnp.einsum("bgrqn,bngv->bgrqv", weights_BGRQN, v_BNGV, preferred_element_type=jnp.float32)
        return jnp.moveaxis(o_BGRQV, 3, 1).reshape(B, Q, H, -1)

    def laid_out(weights_BQHN, v_BNY):
        weights_BPN = weights_BQHN.reshape(B, -1, N).astype(v_BNY.dtype)
        o_BPY = jnp.einsum("bpn,bny->bpy", weights_BPN, v_BNY, preferred_element_type=jnp.float32)
        return _own_heads(o_BPY, H, write_heads)

    if not few:
        return for_each_write_head(weights_BQHN, _wide(stored, weights_BQHN.dtype))
    if isinstance(stored, Int8):
        weights_BQHN = weights_BQHN.astype(jnp.float32) * _of_heads(stored.scales, H)
        digits_BPN, unit_BP1 = int8.digits(weights_BQHN.reshape(B, -1, N))
        o_BPY = jnp.einsum("bpn,bny->bpy", digits_BPN, stored.values, preferred_element_type=jnp.int32)
        return _own_heads(int8.from_digits(o_BPY, unit_BP1), H, write_heads)
    if _is_one_query_a_write_head(Q, H, write_heads, stored):
        return platforms.choose_on_gpu(for_each_write_head, laid_out, weights_BQHN, stored)
    return laid_out(weights_BQHN, stored)


def _is_one_query_a_write_head(queries: int, heads: int, write_heads: int, stored: jax.Array) -> bool:
    return queries == 1 and heads == write_heads > 1 and stored.shape[1] < FEW_SLOTS


def _by_keys(q_BPX: jax.Array, k_BNX: jax.Array, accumulated: Any) -> jax.Array:
    """q k^T, [B, P, N]. On a CPU the keys are the first operand where the queries are few."""

    def queries_first(q_BPX, k_BNX):
        return jnp.einsum("bpx,bnx->bpn", q_BPX, k_BNX, preferred_element_type=accumulated)

    def keys_first(q_BPX, k_BNX):
        scores_BNP = jnp.einsum("bnx,bpx->bnp", k_BNX, q_BPX, preferred_element_type=accumulated)
        # Kept apart from the product, whose operands XLA would swap to be rid of the transposition.
        return jnp.swapaxes(jax.lax.optimization_barrier(scores_BNP), 1, 2)

    tuned = keys_first if q_BPX.shape[1] <= FEW_QUERIES else queries_first
    return platforms.choose(tuned, queries_first, q_BPX, k_BNX)


def _lay_out(q_BQHK: jax.Array, write_heads: int) -> jax.Array:
    """q_BPX, P = Q * H: each query in its write head's columns, zeros in the others.

    Static pads and slices: on a CPU several times faster than a product with the pattern of zeros.
    """
    B, _, H, K = q_BQHK.shape
    G, R = write_heads, H // write_heads
    own = [q_BQHK[:, :, g * R : (g + 1) * R] for g in range(G)]
    wide = [jnp.pad(q, ((0, 0), (0, 0), (0, 0), (g * K, (G - 1 - g) * K))) for g, q in enumerate(own)]
    return jnp.concatenate(wide, axis=2).reshape(B, -1, G * K)


def _own_heads(o_BPY: jax.Array, heads: int, write_heads: int) -> jax.Array:
    """o_BQHV: of each query's output its own write head's columns."""
    B, P, Y = o_BPY.shape
    G, R, V = write_heads, heads // write_heads, Y // write_heads
    o_BQHY = o_BPY.reshape(B, P // heads, heads, Y)
    kept = [o_BQHY[:, :, g * R : (g + 1) * R, g * V : (g + 1) * V] for g in range(G)]
    return jnp.concatenate(kept, axis=2)


def _of_heads(scales_BNG: jax.Array, heads: int) -> jax.Array:
    """[B, 1, H, N]: the scale of each head's write head at each slot."""
    return jnp.repeat(jnp.swapaxes(scales_BNG, 1, 2), heads // scales_BNG.shape[2], axis=1)[:, None]


def _wide(stored: Stored, dtype: Any) -> jax.Array:
    return int8.dequantise(stored, dtype) if isinstance(stored, Int8) else stored.astype(dtype)
