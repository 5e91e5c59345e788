"""Choosing from a vocabulary of scores: the largest, the k largest, one at random.

XLA's argmax and top_k over [128, 32768] cost a CPU 8 ms and 5 ms, a plain maximum 0.4 ms. The k largest
scores lie in the k blocks with the largest maxima, so blocks are chosen first and only these are sorted.
"""

import jax
import jax.numpy as jnp

BLOCK = 128


def argmax(scores: jax.Array) -> jax.Array:
    """Index of the largest of [..., V]; the first of equals. int32 [...]."""
    _, index = top_k(scores, 1)
    return index[..., 0]


def top_k(scores: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The k largest of [..., V], descending, and their indices: two [..., k]."""
    size = scores.shape[-1]
    if size < 4 * BLOCK or k >= size // BLOCK:
        return jax.lax.top_k(scores, k)
    lead = scores.shape[:-1]
    padding = [(0, 0, 0)] * len(lead) + [(0, -size % BLOCK, 0)]
    blocks = jax.lax.pad(scores, jnp.asarray(-jnp.inf, scores.dtype), padding).reshape(*lead, -1, BLOCK)
    _, block = jax.lax.top_k(blocks.max(-1), k)
    block = jnp.sort(block, axis=-1)  # of equal scores the first wins, as in lax.top_k
    chosen = jnp.take_along_axis(blocks, block[..., None], axis=-2)
    best, within = jax.lax.top_k(chosen.reshape(*lead, k * BLOCK), k)
    index = jnp.take_along_axis(block, within // BLOCK, axis=-1) * BLOCK + within % BLOCK
    return best, index


def sample(logits: jax.Array, key: jax.Array, temperature: float, top: int, mass: float) -> jax.Array:
    """One index of [..., V] at random: int32 [...].

    Args:
      logits: float32 scores.
      key: PRNG key.
      temperature: divides the logits; must be above 0.
      top: only among the `top` largest; 0 for all (top-k sampling).
      mass: only among the fewest that hold this share of the probability; 1 for all (nucleus, top-p sampling).
    """
    scores, index = jax.lax.top_k(logits / temperature, top or logits.shape[-1])
    probabilities = jax.nn.softmax(scores, axis=-1)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    scores = jnp.where(before < mass, scores, -jnp.inf)
    return jnp.take_along_axis(index, jax.random.categorical(key, scores)[..., None], axis=-1)[..., 0]
