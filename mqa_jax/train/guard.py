"""A guard before the optimiser: no update is made from a batch that would break the model.

A batch is refused if its loss or its gradient's norm is not a finite number, or if its loss lies too far above the
running average (a spike). The device decides; its state says what was refused, and the host reads it when a log line
is due, so that no step waits for the host. A refused step leaves parameters and statistics as they were.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

DECAY = 0.99  # of the running average
SETTLED = 100  # accepted steps before which a loss may jump as it likes
KEPT = 16  # refused steps that are remembered by number


class Guard(NamedTuple):
    """What the guard carries from step to step.

    Attributes:
      average: running average of the accepted losses, nats per token.
      accepted, refused: int32, steps so far.
      steps_R: int32, the numbers of the last refused steps, the first step being 1; 0 where there is none.
      gradient_norm: of the last step's gradient.
    """

    average: jax.Array
    accepted: jax.Array
    refused: jax.Array
    steps_R: jax.Array
    gradient_norm: jax.Array


def fresh() -> Guard:
    """A guard that has seen nothing."""
    zero = jnp.zeros((), jnp.int32)
    return Guard(jnp.zeros(()), zero, zero, jnp.zeros((KEPT,), jnp.int32), jnp.zeros(()))


def judge(guard: Guard, loss: jax.Array, gradients: Any, spike: float = 0.0) -> tuple[jax.Array, Guard]:
    """Whether a batch may change the model, and the guard after it.

    Args:
      loss: of the batch, nats per token.
      spike: nats per token above the running average from which a loss is refused; 0 for no limit.
    """
    norm = optax.tree.norm(gradients)
    sound = jnp.isfinite(loss) & jnp.isfinite(norm)
    if spike:
        sound &= (guard.accepted < SETTLED) | (loss <= guard.average + spike)
    average = jnp.where(guard.accepted == 0, loss, DECAY * guard.average + (1 - DECAY) * loss)
    marked_R = guard.steps_R.at[guard.refused % KEPT].set(guard.accepted + guard.refused + 1)
    return sound, Guard(
        jnp.where(sound, average, guard.average),
        guard.accepted + sound,
        guard.refused + ~sound,
        jnp.where(sound, guard.steps_R, marked_R),
        norm,
    )
