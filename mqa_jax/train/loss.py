"""The training objective and the plain loss, as sums over tokens. The host divides."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mqa_jax.batch import Rows


class Sums(NamedTuple):
    """Sums over the real tokens of a batch, float32 scalars.

    Attributes:
      objective: what training minimises: smoothed cross-entropy plus z-loss.
      nll: negative log-likelihood alone, for perplexity.
      tokens: how many target tokens.
    """

    objective: jax.Array
    nll: jax.Array
    tokens: jax.Array


def loss_sums(logits_BLV: jax.Array, target: Rows, label_smoothing: float = 0.0, z_loss: float = 0.0) -> Sums:
    """Cross-entropy of float32 logits against the target's tokens; padding (segment 0) counts nothing.

    Args:
      logits_BLV: float32.
      target: [B, L].
      label_smoothing: this share of the target distribution is spread evenly over the vocabulary.
      z_loss: weight of logsumexp(logits)^2, which keeps the normaliser near 1 (mesh-tensorflow).
    """
    V = logits_BLV.shape[-1]
    weight_BL = (target.segments_BL > 0).astype(jnp.float32)
    log_z_BL = jax.nn.logsumexp(logits_BLV, axis=-1)
    # A comparison and a sum fuse; a gather's derivative would scatter into [B, L, V].
    is_target_BLV = jnp.arange(V)[None, None] == target.tokens_BL[..., None]
    nll_BL = log_z_BL - jnp.where(is_target_BLV, logits_BLV, 0).sum(-1)
    objective_BL = nll_BL
    if label_smoothing:
        uniform_BL = log_z_BL - logits_BLV.mean(-1)
        objective_BL = (1 - label_smoothing) * nll_BL + label_smoothing * uniform_BL
    if z_loss:
        objective_BL += z_loss * jnp.square(log_z_BL)
    return Sums(*((each * weight_BL).sum() for each in (objective_BL, nll_BL, jnp.ones_like(nll_BL))))
