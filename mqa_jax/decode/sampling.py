"""Choosing a token at random."""

import jax
import jax.numpy as jnp


def sample(logits: jax.Array, key: jax.Array, temperature: float, top: int, mass: float) -> jax.Array:
    """One index of [..., V] at random: int32 [...].

    Args:
      logits: float32 scores.
      key: PRNG key.
      temperature: divides the logits; must be above 0.
      top: only among the `top` largest; 0 for all (top-k sampling).
      mass: only among the fewest that hold this share of the probability; 1 for all (nucleus, top-p sampling).
    """
    scores, index = jax.lax.top_k(logits / temperature, min(top or logits.shape[-1], logits.shape[-1]))
    probabilities = jax.nn.softmax(scores, axis=-1)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    scores = jnp.where(before < mass, scores, -jnp.inf)
    return jnp.take_along_axis(index, jax.random.categorical(key, scores)[..., None], axis=-1)[..., 0]
