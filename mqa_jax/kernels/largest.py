"""The largest and the k largest of a vocabulary of scores. The vocabulary is the first axis.

XLA's own argmax and top_k over a large vocabulary take a CPU many times as long as a plain maximum. The k largest
scores lie in the k blocks with the largest maxima, so blocks are chosen first and only these are sorted.

Where devices share the vocabulary each finds its own, and these few are compared: whole scores never leave a device.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

BLOCK = 128


def argmax(scores_VB: jax.Array, mesh: Mesh | None = None) -> jax.Array:
    """index_B of the largest of each column; the first of equals.

    Args:
      mesh: whose axis `tensor` shares the vocabulary, where it divides it; None for one device.
    """
    if not _is_shared(scores_VB, mesh):
        return _argmax(scores_VB)[1]

    def part(scores_VB):
        best_B, index_B = _argmax(scores_VB)
        best_TB, index_TB = jax.lax.all_gather((best_B, _first_token(scores_VB) + index_B), "tensor")
        return jnp.take_along_axis(index_TB, best_TB.argmax(0)[None], axis=0)[0]

    return _by_part(part, mesh, scores_VB)


def _argmax(scores_VB: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The largest of each column, and its index."""
    blocks_NVB = _blocks(scores_VB)
    N, V, _ = blocks_NVB.shape
    largest_NB = blocks_NVB.max(1)
    best_B = largest_NB.max(0)
    block_B = _first(largest_NB == best_B[None], N)
    scores_VB = jnp.take_along_axis(blocks_NVB, block_B[None, None], axis=0)[0]
    return best_B, block_B * V + _first(scores_VB == best_B[None], V)


def _is_shared(scores: jax.Array, mesh: Mesh | None) -> bool:
    return mesh is not None and mesh.shape["tensor"] > 1 and scores.shape[0] % mesh.shape["tensor"] == 0


def _by_part(part: Callable[[jax.Array], Any], mesh: Mesh | None, scores: jax.Array) -> Any:
    """What `part` makes of each device's part of the vocabulary, which is the same on all."""
    parts, same = PartitionSpec("tensor"), PartitionSpec()
    return jax.shard_map(part, mesh=mesh, in_specs=(parts,), out_specs=same, check_vma=False)(scores)


def _first_token(scores: jax.Array) -> jax.Array:
    """Of this device's part of the vocabulary."""
    return jax.lax.axis_index("tensor") * scores.shape[0]


def _first(is_best: jax.Array, size: int) -> jax.Array:
    """Index of the first True along the first axis."""
    return jnp.where(is_best, jnp.arange(size)[:, None], size - 1).min(0)


def _blocks(scores: jax.Array) -> jax.Array:
    """[V, ...] as [N, BLOCK, ...], filled up with -inf; one block where V is small."""
    size = scores.shape[0]
    block = BLOCK if size >= 4 * BLOCK else size
    fill = [(0, -size % block, 0)] + [(0, 0, 0)] * (scores.ndim - 1)
    return jax.lax.pad(scores, jnp.asarray(-jnp.inf, scores.dtype), fill).reshape(-1, block, *scores.shape[1:])


def top_k(scores_VBW: jax.Array, k: int, mesh: Mesh | None = None) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The k largest of each sentence's W * V scores, descending: their values, beams and tokens, three [B, k].

    Of equals the first wins, lower beams before lower tokens. `mesh`: as in `argmax`.
    """
    if not _is_shared(scores_VBW, mesh):
        return _top_k(scores_VBW, k)

    def part(scores_VBW):
        best_BK, beam_BK, token_BK = _top_k(scores_VBW, k)
        own = -best_BK, beam_BK, token_BK + _first_token(scores_VBW)
        every = jax.lax.all_gather(own, "tensor", axis=1, tiled=True)
        worst_BK, beam_BK, token_BK = (each[:, :k] for each in jax.lax.sort(every, dimension=1, num_keys=3))
        return -worst_BK, beam_BK, token_BK

    return _by_part(part, mesh, scores_VBW)


def _top_k(scores_VBW: jax.Array, k: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    blocks_NVBW = _blocks(scores_VBW)
    N, V, B, W = blocks_NVBW.shape
    k = min(k, scores_VBW.shape[0] * W)
    largest_BC = jnp.transpose(blocks_NVBW.max(1), (1, 2, 0)).reshape(B, W * N)
    _, block_BK = jax.lax.top_k(largest_BC, min(k, W * N))
    block_BK = jnp.sort(block_BK, axis=-1)
    beam_BK, number_BK = block_BK // N, block_BK % N
    chosen_BKV = blocks_NVBW[number_BK, :, jnp.arange(B)[:, None], beam_BK]
    best_BK, within_BK = jax.lax.top_k(chosen_BKV.reshape(B, -1), k)
    of_BK = within_BK // V
    pick = lambda each: jnp.take_along_axis(each, of_BK, axis=-1)  # noqa: E731
    return best_BK, pick(beam_BK), pick(number_BK) * V + within_BK % V
