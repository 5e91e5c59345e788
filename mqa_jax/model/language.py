"""The decoder-only language model (paper, section 4.2)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from mqa_jax.attention import cache
from mqa_jax.attention.cache import DecodeState
from mqa_jax.batch import Batch, Prompt
from mqa_jax.experiment import ModelConfig
from mqa_jax.kernels import platforms
from mqa_jax.model.block import Around, Stack, as_it_is
from mqa_jax.model.decoder import Decoder
from mqa_jax.model.embedding import Embedding


class Language(Decoder):
    """A decoder over its embedding; the softmax is tied or has a table of its own."""

    def __init__(self, config: ModelConfig, mesh: Mesh | None, rngs: nnx.Rngs):
        self.config = config
        self.embedding = Embedding(config, rngs)
        self.decoder = Stack(config, config.decoder, True, mesh, rngs)

    def hidden(self, batch: Batch, key: jax.Array | None = None, around: Around = as_it_is) -> jax.Array:
        target = batch.target
        x_BLD = self.embedding(batch.inputs_BL, target.positions_BL)
        return self.decoder(x_BLD, target.segments_BL, target.positions_BL, key=key, around=around)

    def begin(self, prompt: Prompt, beams: int, room: int, chunk: int | None = None) -> DecodeState:
        """Reads prompts of different lengths and makes room for so many tokens more of W beams.

        One beam goes on in the array of its prompt, and so has one product a layer; several beams share the prompt.
        The last token of a prompt is not for here: search feeds it first, and gets the first logits for it.

        Args:
          chunk: positions that are read at once; the platform's number by default. The rest goes to the first part.
        """
        tokens_BP, lengths_B = jnp.asarray(prompt.tokens_BP), jnp.asarray(prompt.lengths_B)
        if (
            beams > 1
        ):  # a TPU lays an array of another number of slots out in its own way, from which it would be copied
            tokens_BP = jnp.pad(tokens_BP, ((0, 0), (-tokens_BP.shape[1] % 8, 0)))
        B, P = tokens_BP.shape
        layers, dtype = self.decoder.layers, self.config.kept_dtype
        state = cache.begin(layers, B, 1, P + room if beams == 1 else P, dtype, -lengths_B)
        state = state._replace(time=state.time - P)

        def read(sizes: platforms.Sizes, tokens_BP: jax.Array, state: DecodeState) -> DecodeState:
            count = chunk or sizes.prompt
            later = (P - 1) // count
            first = P - later * count

            def embed(state: DecodeState, count: int) -> tuple[jax.Array, jax.Array]:
                part_BC = jax.lax.dynamic_slice_in_dim(tokens_BP, P + state.time, count, axis=1)
                position_BC = cache.positions(state, count)
                return self.embedding(part_BC, jnp.maximum(position_BC, 0)), position_BC >= 0

            state = self.decoder.prefill(*embed(state, first), state)
            if later:
                extend = lambda _, state: self.decoder.extend(embed(state, count)[0], state)[1]  # noqa: E731
                state = jax.lax.fori_loop(0, later, extend, state)
            return state

        state = platforms.in_sizes(read, tokens_BP, state) if P else state
        return state if beams == 1 else cache.branch(state, layers, beams, room, dtype)
