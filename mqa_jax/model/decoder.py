"""What both models are while they decode: a stack between the embedding and its logits, one token at a time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from mqa_jax.model.cache import DecodeState, positions
from mqa_jax.model.layers import Embedding
from mqa_jax.model.stack import FlatBlock, Stack


class Decoder(nnx.Module):
    """The decode steps of a model with an `embedding` and a `decoder`."""

    embedding: Embedding
    decoder: Stack

    def lay_out(self) -> tuple[FlatBlock, ...]:
        """The decoder's weights as `stepper` multiplies with them; made once, kept for any number of decodes."""
        return self.decoder.lay_out()

    def stepper(
        self, flat: tuple[FlatBlock, ...] | None = None
    ) -> Callable[[DecodeState, jax.Array], tuple[DecodeState, jax.Array]]:
        """The function that feeds one token of every beam: (state, tokens_BW) -> (state, logits_VBW float32).

        Args:
          flat: what `lay_out` made; by default it is made here, which belongs outside the loop.
        """
        weights = self.lay_out() if flat is None else flat

        def step(state: DecodeState, tokens_BW: jax.Array) -> tuple[DecodeState, jax.Array]:
            position_BW = jnp.broadcast_to(positions(state)[:, None], tokens_BW.shape)
            x_BWD, state = self.decoder.step(weights, self.embedding(tokens_BW, position_BW), state)
            return state, self.embedding.step_logits(x_BWD)

        return step
