"""The largest and the k largest of a vocabulary of scores. The vocabulary is the first axis.

XLA's own argmax and top_k over a large vocabulary take a CPU many times as long as a plain maximum. The k largest
scores lie in the k blocks with the largest maxima, so blocks are chosen first and only these are sorted.
"""

import jax
import jax.numpy as jnp

BLOCK = 128


def argmax(scores_VB: jax.Array) -> jax.Array:
    """index_B of the largest of each column; the first of equals."""
    blocks_NVB = _blocks(scores_VB)
    N, V, _ = blocks_NVB.shape
    largest_NB = blocks_NVB.max(1)
    best_B = largest_NB.max(0)
    block_B = _first(largest_NB == best_B[None], N)
    scores_VB = jnp.take_along_axis(blocks_NVB, block_B[None, None], axis=0)[0]
    return block_B * V + _first(scores_VB == best_B[None], V)


def _first(is_best: jax.Array, size: int) -> jax.Array:
    """Index of the first True along the first axis."""
    return jnp.where(is_best, jnp.arange(size)[:, None], size - 1).min(0)


def _blocks(scores: jax.Array) -> jax.Array:
    """[V, ...] as [N, BLOCK, ...], filled up with -inf; one block where V is small."""
    size = scores.shape[0]
    block = BLOCK if size >= 4 * BLOCK else size
    fill = [(0, -size % block, 0)] + [(0, 0, 0)] * (scores.ndim - 1)
    return jax.lax.pad(scores, jnp.asarray(-jnp.inf, scores.dtype), fill).reshape(-1, block, *scores.shape[1:])


def top_k(scores_VBW: jax.Array, k: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The k largest of each sentence's W * V scores, descending: their values, beams and tokens, three [B, k].

    Of equals the first wins, lower beams before lower tokens.
    """
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
