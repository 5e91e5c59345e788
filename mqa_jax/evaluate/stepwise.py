"""Given texts as decoding sees them: fed step by step through the cache, in its types.

Whole sequences keep nothing, so that they cannot tell what a cache or weights in int8 lose.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from mqa_jax.batch import Batch, Prompt
from mqa_jax.kernels import largest
from mqa_jax.model.build import Model, Parameters


@functools.partial(jax.jit, static_argnums=0)
def nll_of_rows(model: Model, parameters: Parameters, batch: Batch) -> jax.Array:
    """The negative log-likelihood of each row's target, float32 [B]; one sentence a row.

    Args:
      parameters: as `Model.lay_out` made them.
    """

    def nll(logits_VB: jax.Array, token_B: jax.Array) -> jax.Array:
        own_B = jnp.take_along_axis(logits_VB, token_B[None], axis=0)[0]
        return jax.nn.logsumexp(logits_VB, axis=0) - own_B

    real_LB = (jnp.asarray(batch.target.segments_BL) > 0).T
    return jnp.where(real_LB, _each(model, parameters, batch, nll), 0).sum(0)


@functools.partial(jax.jit, static_argnums=0)
def choices_of_rows(model: Model, parameters: Parameters, batch: Batch) -> jax.Array:
    """The likeliest token at each place, int32 [B, L], with the target's own tokens before it; one sentence a row."""
    return _each(model, parameters, batch, lambda logits_VB, _: largest.argmax(logits_VB, None)).T


def _each(
    model: Model, parameters: Parameters, batch: Batch, of: Callable[[jax.Array, jax.Array], jax.Array]
) -> jax.Array:
    """`of(logits_VB, token_B)` at each place of the target, [L, B]."""
    module, target = model.bind(parameters), batch.target
    B, L = target.tokens_BL.shape
    if batch.source is None:
        state = module.begin(Prompt(jnp.zeros((B, 1), jnp.int32), jnp.zeros((B,), jnp.int32)), 1, L)
    else:
        state = module.begin(batch.source, 1, L)

    def step(state, column):
        input_B, token_B = column
        state, logits_VB1 = module.step(state, input_B[:, None])
        return state, of(logits_VB1[..., 0], token_B)

    return jax.lax.scan(step, state, (jnp.asarray(batch.inputs_BL).T, jnp.asarray(target.tokens_BL).T))[1]
