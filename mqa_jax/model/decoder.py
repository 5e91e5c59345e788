"""What both models are while they decode: a stack between the embedding and its logits."""

import jax
import jax.numpy as jnp
from flax import nnx

from mqa_jax.attention import cache
from mqa_jax.attention.cache import DecodeState
from mqa_jax.model.block import Stack
from mqa_jax.model.embedding import Embedding


class Decoder(nnx.Module):
    """The decode steps of a model with an `embedding` and a `decoder`."""

    embedding: Embedding
    decoder: Stack

    def step(self, state: DecodeState, tokens_BW: jax.Array) -> tuple[DecodeState, jax.Array]:
        """Feeds one token of every beam: the state after it, and logits_VBW, float32."""
        state, logits_VBW1 = self.verify(state, tokens_BW[:, :, None])
        return state, logits_VBW1[..., 0]

    def verify(self, state: DecodeState, tokens_BWC: jax.Array) -> tuple[DecodeState, jax.Array]:
        """Feeds C tokens of every beam at once: the state after them, and logits_VBWC, float32."""
        B, W, C = tokens_BWC.shape
        position_BC = cache.positions(state, C)
        position_BWC = jnp.broadcast_to(position_BC[:, None], tokens_BWC.shape)
        x_BQD = self.embedding(tokens_BWC.reshape(B, W * C), position_BWC.reshape(B, W * C))
        x_BQD, state = self.decoder.extend(x_BQD, state, W)
        return state, self.embedding.step_logits(x_BQD).reshape(-1, B, W, C)
