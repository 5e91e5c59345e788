"""The likelihood of given texts as decoding sees them: fed step by step through the cache, in its types.

Whole sequences keep nothing, so that they cannot tell what a cache or weights in int8 lose.
"""

import functools

import jax
import jax.numpy as jnp

from mqa_jax.batch import Batch, Prompt
from mqa_jax.model.build import Model, Parameters


@functools.partial(jax.jit, static_argnums=0)
def nll_of_rows(model: Model, parameters: Parameters, batch: Batch) -> jax.Array:
    """The negative log-likelihood of each row's target, float32 [B]; one sentence a row.

    Args:
      parameters: as `Model.lay_out` made them.
    """
    module, target = model.bind(parameters), batch.target
    B, L = target.tokens_BL.shape
    if batch.source is None:
        state = module.begin(Prompt(jnp.zeros((B, 1), jnp.int32), jnp.zeros((B,), jnp.int32)), 1, L)
    else:
        state = module.begin(batch.source, 1, L)

    def step(state, column):
        input_B, token_B = column
        state, logits_VB1 = module.step(state, input_B[:, None])
        logits_VB = logits_VB1[..., 0]
        own_B = jnp.take_along_axis(logits_VB, token_B[None], axis=0)[0]
        return state, jax.nn.logsumexp(logits_VB, axis=0) - own_B

    _, nll_LB = jax.lax.scan(step, state, (jnp.asarray(batch.inputs_BL).T, jnp.asarray(target.tokens_BL).T))
    real_LB = (jnp.asarray(target.segments_BL) > 0).T
    return jnp.where(real_LB, nll_LB, 0).sum(0)
