"""The decoder-only language model (paper, section 4.2)."""

import jax
import jax.numpy as jnp
from flax import nnx

from mqa_jax.batch import Batch
from mqa_jax.experiment import ModelConfig
from mqa_jax.model.attention import causal_mask, segment_mask
from mqa_jax.model.cache import DecodeState, empty_caches, positions
from mqa_jax.model.layers import Embedding
from mqa_jax.model.stack import Stack


class Language(nnx.Module):
    """A decoder over its embedding; the softmax is tied or has a table of its own."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        self.config = config
        self.embedding = Embedding(
            config.vocabulary, config.positions, config.width, config.tied_softmax, config.dtype, rngs
        )
        self.decoder = Stack(config.decoder, config.width, config.dropout, rngs)

    def __call__(self, batch: Batch, key: jax.Array | None = None) -> jax.Array:
        """logits_BLV, float32, for every position of the target. Without a key, no dropout."""
        return self.embedding.logits(self.hidden(batch, key))

    def hidden(self, batch: Batch, key: jax.Array | None = None) -> jax.Array:
        """The decoder's output [B, L, D] before the softmax."""
        target = batch.target
        mask_BLL = segment_mask(target.segments_BL, target.segments_BL)
        mask_BLL &= causal_mask(target.tokens_BL.shape[1], self.config.decoder.attention.window)
        return self.decoder(self.embedding(batch.inputs_BL, target.positions_BL), mask_BLL, key=key)

    def begin(self, prompt_BP: jax.Array, lengths_B: jax.Array, beams: int, slots: int) -> DecodeState:
        """Reads prompts of different lengths, each at the END of its row, padded in front.

        The last token of a prompt is not for here: search feeds it first, and gets the first logits for it.

        Args:
          prompt_BP: int32 ids; row b's prompt is prompt_BP[b, P - lengths_B[b]:], which may be empty.
          lengths_B: int32.
          beams: W.
          slots: tokens the cache must hold, prompt included.
        """
        B, P = prompt_BP.shape
        config = self.config.decoder
        caches = empty_caches(config.layers, config.attention, B, beams, slots, self.config.dtype)
        start_B = P - lengths_B
        position_BP = jnp.arange(P)[None] - start_B[:, None]
        real_BP = position_BP >= 0
        mask_BPP = segment_mask(real_BP, real_BP) & causal_mask(P, config.attention.window)
        x_BPD = self.embedding(prompt_BP, jnp.maximum(position_BP, 0))
        return DecodeState(
            caches=self.decoder.prompt(x_BPD, mask_BPP, caches),
            memories=(),
            memory_mask_BM=jnp.zeros((B, 0), bool),
            time=jnp.asarray(P, jnp.int32),
            start_B=start_B,
            ancestry_BWM=jnp.zeros((B, beams, caches[0].k.shape[1]), jnp.int8),
        )

    def step(self, state: DecodeState, tokens_BW: jax.Array) -> tuple[DecodeState, jax.Array]:
        """Feeds one token of every beam -> (state, logits_BWV float32)."""
        position_BW = jnp.broadcast_to(positions(state)[:, None], tokens_BW.shape)
        x_BWD, state = self.decoder.step(self.embedding(tokens_BW, position_BW), state)
        return state, self.embedding.logits(x_BWD)
