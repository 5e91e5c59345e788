"""What both models are: a stack between the embedding and its logits, in training and in decoding."""

import jax
import jax.numpy as jnp
from flax import nnx

from mqa_jax.attention import cache
from mqa_jax.attention.cache import DecodeState
from mqa_jax.batch import Batch, Prompt, Rows
from mqa_jax.model.block import Around, Stack, as_it_is
from mqa_jax.model.embedding import Embedding


class Decoder(nnx.Module):
    """A model with an `embedding` and a `decoder`; what reads its input is of the two kinds."""

    embedding: Embedding
    decoder: Stack

    def __call__(self, batch: Batch, key: jax.Array | None = None) -> jax.Array:
        """logits_BLV, float32, for every position of the target. Without a key, no dropout."""
        return self.embedding.logits(self.hidden(batch, key))

    def hidden(self, batch: Batch, key: jax.Array | None = None, around: Around = as_it_is) -> jax.Array:
        """The decoder's output [B, L, D] before the softmax. `around`: see `Stack`."""
        raise NotImplementedError

    def begin(self, given: Rows | Prompt, beams: int, room: int) -> DecodeState:
        """The state before the first step, with room for so many output tokens of W beams.

        Args:
          given: unpacked sources to translate, or a language model's prompts.
        """
        raise NotImplementedError

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
        x_BQD, state = self.decoder.extend(x_BQD, state)
        return state, self.embedding.step_logits(x_BQD).reshape(-1, B, W, C)
