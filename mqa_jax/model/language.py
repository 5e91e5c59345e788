"""The decoder-only language model (paper, section 4.2)."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from mqa_jax.batch import Batch, Prompt
from mqa_jax.experiment import ModelConfig
from mqa_jax.model.attention import causal_mask, segment_mask
from mqa_jax.model.cache import DecodeState, KeysValues, empty_caches, extend_mask
from mqa_jax.model.decoder import Decoder
from mqa_jax.model.layers import Embedding
from mqa_jax.model.stack import Around, Stack, as_it_is

PROMPT_CHUNK, PROMPT_CHUNK_ON_CPU = 512, 128  # positions; the scores of few of them stay in a CPU's cache


class Language(Decoder):
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

    def hidden(self, batch: Batch, key: jax.Array | None = None, around: Around = as_it_is) -> jax.Array:
        """The decoder's output [B, L, D] before the softmax. `around`: see `Stack`."""
        target = batch.target
        mask_BLL = segment_mask(target.segments_BL, target.segments_BL)
        mask_BLL &= causal_mask(target.tokens_BL.shape[1], self.config.decoder.attention.window)
        return self.decoder(self.embedding(batch.inputs_BL, target.positions_BL), mask_BLL, key=key, around=around)

    def begin(self, prompt: Prompt, beams: int, room: int, chunk: int | None = None) -> DecodeState:
        """Reads prompts of different lengths and makes room for so many tokens more of W beams.

        The last token of a prompt is not for here: search feeds it first, and gets the first logits for it.
        A prompt is read `chunk` positions at a time, so that its scores need [B, H, chunk, P], not [B, H, P, P]. On a
        CPU, 128 at a time read 4,096 in 90 us a token (2 prompts, small model), 512 in 146.
        """
        tokens_BP, lengths_B = jnp.asarray(prompt.tokens_BP), jnp.asarray(prompt.lengths_B)
        B, P = tokens_BP.shape
        config = self.config.decoder
        start_B = P - lengths_B
        caches = empty_caches(config.layers, config.attention, B, beams, P + room, self.config.dtype)
        slots = caches[0].k.shape[1] // beams
        caches = jax.lax.platform_dependent(
            tokens_BP,
            start_B,
            caches,
            cpu=functools.partial(self._read, beams, chunk or PROMPT_CHUNK_ON_CPU),
            default=functools.partial(self._read, beams, chunk or PROMPT_CHUNK),
        )
        return DecodeState(
            caches=caches,
            memories=(),
            memory_mask_BM=jnp.zeros((B, 0), bool),
            time=jnp.asarray(P, jnp.int32),
            start_B=start_B,
            ancestry_BWM=jnp.zeros((B, beams, slots), jnp.int8),
        )

    def _read(
        self, beams: int, chunk: int, tokens_BP: jax.Array, start_B: jax.Array, caches: tuple[KeysValues, ...]
    ) -> tuple[KeysValues, ...]:
        """Empty caches with the prompts in them."""
        P, window = tokens_BP.shape[1], self.config.decoder.attention.window
        slots = caches[0].k.shape[1] // beams
        later = max(0, P - 1) // chunk
        first = P - later * chunk

        def embed(time, count):
            part_BC = jax.lax.dynamic_slice_in_dim(tokens_BP, time, count, axis=1)
            position_BC = time + jnp.arange(count)[None] - start_B[:, None]
            return self.embedding(part_BC, jnp.maximum(position_BC, 0)), position_BC >= 0

        def extend(index, caches):
            time = first + index * chunk
            mask_BCM = extend_mask(start_B, slots, chunk, time, window)
            return self.decoder.extend(embed(time, chunk)[0], mask_BCM, caches, time, beams)

        x_BPD, real_BP = embed(0, first)
        mask_BPP = segment_mask(real_BP, real_BP) & causal_mask(first, window)
        caches = self.decoder.prompt(x_BPD, mask_BPP, caches, beams)
        if later:
            caches = jax.lax.fori_loop(0, later, extend, caches)
        return caches
