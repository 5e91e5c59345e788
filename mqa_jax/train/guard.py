"""A guard around an optimiser: no update is made from a batch that would break the model.

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


class GuardState(NamedTuple):
    """What the guard carries from step to step, around the optimiser's own state.

    Attributes:
      inner: the optimiser's state.
      average: running average of the accepted losses, nats per token.
      accepted, refused: int32, steps so far.
      steps_R: int32, the numbers of the last refused steps, the first step being 1; 0 where there is none.
      gradient_norm: of the last step's gradient.
    """

    inner: Any
    average: jax.Array
    accepted: jax.Array
    refused: jax.Array
    steps_R: jax.Array
    gradient_norm: jax.Array


def guarded(optimizer: optax.GradientTransformation, spike: float = 0.0) -> optax.GradientTransformationExtraArgs:
    """The optimiser with a guard. Its `update` needs `value`, the batch's loss per token.

    Args:
      spike: nats per token above the running average from which a loss is refused; 0 for no limit.
    """
    inner = optax.with_extra_args_support(optimizer)

    def init(params: Any) -> GuardState:
        zero = jnp.zeros((), jnp.int32)
        return GuardState(inner.init(params), jnp.zeros(()), zero, zero, jnp.zeros((KEPT,), jnp.int32), jnp.zeros(()))

    def update(updates: Any, state: Any, params: Any = None, **others: Any) -> tuple[Any, GuardState]:
        gradients, value = updates, others["value"]
        norm = optax.tree.norm(gradients)
        sound = jnp.isfinite(value) & jnp.isfinite(norm)
        if spike:
            sound &= (state.accepted < SETTLED) | (value <= state.average + spike)
        updates, statistics = inner.update(gradients, state.inner, params, **others)
        updates = jax.tree.map(lambda new: jnp.where(sound, new, 0), updates)
        statistics = jax.tree.map(lambda new, old: jnp.where(sound, new, old), statistics, state.inner)
        average = jnp.where(state.accepted == 0, value, DECAY * state.average + (1 - DECAY) * value)
        marked_R = state.steps_R.at[state.refused % KEPT].set(state.accepted + state.refused + 1)
        return updates, GuardState(
            statistics,
            jnp.where(sound, average, state.average),
            state.accepted + sound,
            state.refused + ~sound,
            jnp.where(sound, state.steps_R, marked_R),
            norm,
        )

    return optax.GradientTransformationExtraArgs(init, update)
