"""The encoder-decoder (paper, section 4.1)."""

import jax
import jax.numpy as jnp
from flax import nnx

from mqa_jax.batch import Batch, Rows
from mqa_jax.experiment import ModelConfig
from mqa_jax.model.attention import causal_mask, segment_mask
from mqa_jax.model.cache import DecodeState, KeysValues, empty_caches
from mqa_jax.model.decoder import Decoder
from mqa_jax.model.layers import Embedding, split_key
from mqa_jax.model.stack import Around, Stack, as_it_is

ENCODED_AT_ONCE = 2048  # tokens


class Translation(Decoder):
    """Encoder and decoder over one embedding table."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        assert config.encoder is not None
        self.config = config
        self.embedding = Embedding(
            config.vocabulary, config.positions, config.width, config.tied_softmax, config.dtype, rngs
        )
        self.encoder = Stack(config.encoder, config.width, config.dropout, rngs)
        self.decoder = Stack(config.decoder, config.width, config.dropout, rngs)

    def __call__(self, batch: Batch, key: jax.Array | None = None) -> jax.Array:
        """logits_BLV, float32, for every position of the target. Without a key, no dropout."""
        hidden_BLD = self.hidden(batch, key)
        return self.embedding.logits(hidden_BLD)

    def hidden(self, batch: Batch, key: jax.Array | None = None, around: Around = as_it_is) -> jax.Array:
        """The decoder's output [B, L, D] before the softmax. `around`: see `Stack`."""
        assert batch.source is not None
        target, (encoder_key, decoder_key) = batch.target, split_key(key, 2)
        memory_BMD = self.encode(batch.source, encoder_key, around)
        mask_BLL = segment_mask(target.segments_BL, target.segments_BL)
        mask_BLL &= causal_mask(target.tokens_BL.shape[1], self.config.decoder.attention.window)
        memory_mask_BLM = segment_mask(target.segments_BL, batch.source.segments_BL)
        x_BLD = self.embedding(batch.inputs_BL, target.positions_BL)
        return self.decoder(x_BLD, mask_BLL, memory_BMD, memory_mask_BLM, decoder_key, around)

    def encode(self, source: Rows, key: jax.Array | None = None, around: Around = as_it_is) -> jax.Array:
        """The encoder's output [B, M, D]."""
        x_BMD = self.embedding(source.tokens_BL, source.positions_BL)
        return self.encoder(x_BMD, segment_mask(source.segments_BL, source.segments_BL), key=key, around=around)

    def begin(self, source: Rows, beams: int, room: int) -> DecodeState:
        """Encodes unpacked sources and makes room for so many output tokens of W beams."""
        B, config = source.tokens_BL.shape[0], self.config.decoder
        caches = empty_caches(config.layers, config.attention, B, beams, room, self.config.dtype)
        return DecodeState(
            caches=caches,
            memories=self._memories(source),
            memory_mask_BM=jnp.asarray(source.segments_BL) > 0,
            time=jnp.zeros((), jnp.int32),
            start_B=jnp.zeros((B,), jnp.int32),
            ancestry_BWM=jnp.zeros((B, beams, caches[0].k.shape[1] // beams), jnp.int8),
        )

    def _memories(self, source: Rows) -> tuple[KeysValues, ...]:
        """The decoder's keys and values of the encoded source. On a CPU a few rows at a time, whose activations stay
        in its caches: 151 us a token against 260 at the paper's shape, batch 128."""

        def whole(source: Rows) -> tuple[KeysValues, ...]:
            return self.decoder.memories(self.encode(source))

        def in_parts(source: Rows) -> tuple[KeysValues, ...]:
            B, L = source.tokens_BL.shape
            rows = max(n for n in range(1, B + 1) if B % n == 0 and (n == 1 or n * L <= ENCODED_AT_ONCE))
            parts = jax.tree.map(lambda each: each.reshape(B // rows, rows, L), source)
            return jax.tree.map(lambda each: each.reshape(B, *each.shape[2:]), jax.lax.map(whole, parts))

        return jax.lax.platform_dependent(jax.tree.map(jnp.asarray, source), cpu=in_parts, default=whole)
