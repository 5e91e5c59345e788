"""The encoder-decoder (paper, section 4.1)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from mqa_jax.attention import cache
from mqa_jax.attention.cache import DecodeState, Rows
from mqa_jax.batch import Batch
from mqa_jax.batch import Rows as TokenRows
from mqa_jax.experiment import ModelConfig
from mqa_jax.kernels import platforms
from mqa_jax.kernels.dropout import split_key
from mqa_jax.model.block import Around, Stack, as_it_is
from mqa_jax.model.decoder import Decoder
from mqa_jax.model.embedding import Embedding


class Translation(Decoder):
    """Encoder and decoder over one embedding table."""

    def __init__(self, config: ModelConfig, mesh: Mesh | None, rngs: nnx.Rngs):
        assert config.encoder is not None
        self.config = config
        self.embedding = Embedding(config, rngs)
        self.encoder = Stack(config, config.encoder, False, mesh, rngs)
        self.decoder = Stack(config, config.decoder, True, mesh, rngs)

    def hidden(self, batch: Batch, key: jax.Array | None = None, around: Around = as_it_is) -> jax.Array:
        assert batch.source is not None
        target, (encoder_key, decoder_key) = batch.target, split_key(key, 2)
        memory_BMD = self.encode(batch.source, encoder_key, around)
        x_BLD = self.embedding(batch.inputs_BL, target.positions_BL)
        memory = memory_BMD, batch.source.segments_BL
        return self.decoder(x_BLD, target.segments_BL, target.positions_BL, *memory, decoder_key, around)

    def encode(self, source: TokenRows, key: jax.Array | None = None, around: Around = as_it_is) -> jax.Array:
        """The encoder's output [B, M, D]."""
        x_BMD = self.embedding(source.tokens_BL, source.positions_BL)
        return self.encoder(x_BMD, source.segments_BL, source.positions_BL, key=key, around=around)

    def begin(self, source: TokenRows, beams: int, room: int) -> DecodeState:
        """Encodes unpacked sources and makes room for so many output tokens of W beams."""
        B, dtype = source.tokens_BL.shape[0], self.config.kept_dtype
        mask_BM, start_B = jnp.asarray(source.segments_BL) > 0, jnp.zeros((B,), jnp.int32)
        memories = self._memories(source, dtype)
        return cache.begin(self.decoder.layers, B, beams, room, dtype, start_B, memories, mask_BM)

    def _memories(self, source: TokenRows, dtype: str) -> tuple[Rows, ...]:
        """The decoder's rows of the encoded source. On a CPU a few sentences at a time, whose activations stay in its
        caches."""

        def in_parts(sizes: platforms.Sizes, source: TokenRows) -> tuple[Rows, ...]:
            whole = lambda part: self.decoder.keep(self.encode(part), dtype)  # noqa: E731
            B, L = source.tokens_BL.shape
            rows = max(n for n in range(1, B + 1) if B % n == 0 and (n == 1 or n * L <= sizes.encoded))
            if rows == B:
                return whole(source)
            parts = jax.tree.map(lambda each: each.reshape(B // rows, rows, L), source)
            return jax.tree.map(lambda each: each.reshape(B, *each.shape[2:]), jax.lax.map(whole, parts))

        return platforms.in_sizes(in_parts, jax.tree.map(jnp.asarray, source))
