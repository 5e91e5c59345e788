"""A stack of pre-norm blocks: y = x + f(norm(x)) for each attention and feed-forward, then a final norm.

A block is `(x, context, kept) -> (x, kept)`. Training, scoring, a prompt, a part of one, a step, a verification differ
in how many positions `x` has and whether something is kept, not in code.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from mqa_jax.attention import cache
from mqa_jax.attention.cache import DecodeState, Past, Rows
from mqa_jax.attention.config import AttentionConfig, Place
from mqa_jax.attention.contract import Attention, Context, Whole
from mqa_jax.experiment import DropoutConfig, ModelConfig, StackConfig
from mqa_jax.kernels.dropout import dropout, split_key
from mqa_jax.kernels.over_cache import Kept
from mqa_jax.kernels.whole import causal_mask, segment_mask
from mqa_jax.layers import Norm
from mqa_jax.model.feed_forward import FeedForward

OneBlock = Callable[[jax.Array, Context], jax.Array]
Around = Callable[[OneBlock], OneBlock]


def as_it_is(function: OneBlock) -> OneBlock:
    """Puts nothing around a block."""
    return function


class Held(NamedTuple):
    """What a decode state holds for one block; None where nothing is kept.

    Attributes:
      own: rows of self-attention.
      prompt: its rows of a prompt that all beams share.
      memory: rows of the encoder's output.
    """

    own: Rows | None = None
    prompt: Rows | None = None
    memory: Rows | None = None


class Block(nnx.Module):
    """Self-attention, cross-attention where there is a memory, feed-forward."""

    def __init__(self, config: ModelConfig, stack: StackConfig, layer: int, place: Place, rngs: nnx.Rngs):
        norm = functools.partial(Norm, config.width, config.norm_eps)
        self.attention_norm = norm()
        self.attention: Attention = stack.attentions[layer].module(place, rngs)
        across = dataclasses.replace(place, causal=False, cross=True)
        self.cross_norm: Norm | None = norm() if stack.crosses else None
        self.cross: Attention | None = stack.crosses[layer].module(across, rngs) if stack.crosses else None
        self.feed_forward_norm = norm()
        self.feed_forward = FeedForward(config.width, stack.feed_forward, config.feed_forward, rngs)

    def __call__(
        self, rates: DropoutConfig, x_BLD: jax.Array, context: Context, held: Held
    ) -> tuple[jax.Array, Rows | None]:
        """[B, L, D] -> [B, L, D], and the rows of self-attention that are kept."""
        k1, k2, k3, k4, k5, k6 = split_key(context.key, 6)
        y, kept = self.attention(self.attention_norm(x_BLD), context, held.own, rates.attention, k1, held.prompt)
        x = x_BLD + dropout(y, rates.residual, k2)
        if self.cross is not None and self.cross_norm is not None:
            y = self.cross.across(self.cross_norm(x), context, held.memory, rates.attention, k3)
            x += dropout(y, rates.residual, k4)
        y = self.feed_forward(self.feed_forward_norm(x), rates.hidden, k5)
        return x + dropout(y, rates.residual, k6), kept


class Stack(nnx.Module):
    """N blocks and a final norm. The methods make contexts for the blocks; `blocks` and `norm` do the work."""

    def __init__(self, config: ModelConfig, stack: StackConfig, causal: bool, mesh: Mesh | None, rngs: nnx.Rngs):
        place = Place(config.width, causal, norm_eps=config.norm_eps, mesh=mesh)
        self.blocks = nnx.List([Block(config, stack, layer, place, rngs) for layer in range(stack.layers)])
        self.norm = Norm(config.width, config.norm_eps)
        self.layers, self.rates, self.causal = stack.attentions, config.dropout, causal

    def __call__(
        self,
        x_BLD: jax.Array,
        segments_BL: jax.Array,
        positions_BL: jax.Array,
        memory_BMD: jax.Array | None = None,
        memory_segments_BM: jax.Array | None = None,
        key: jax.Array | None = None,
        around: Around = as_it_is,
    ) -> jax.Array:
        """Whole sequences -> [B, L, D]. A decoder is given a memory and its segments; without a key, no dropout.

        Args:
          segments_BL: positions see those of their own segment; 0 is padding.
          around: what is put around each block's function of arrays; jax.checkpoint rematerialises it.
        """
        keys = split_key(key, len(self.blocks) + 2)
        memory = None
        if memory_segments_BM is not None:
            mask_BLM = segment_mask(segments_BL, memory_segments_BM)
            memory = Whole(segments_BL, memory_segments_BM, mask_BLM)
        sights = self._whole(segments_BL)
        x = dropout(x_BLD, self.rates.residual, keys[0])
        for block, layer, block_key in zip(self.blocks, self.layers, keys[1:-1], strict=True):
            context = Context(positions_BL, sights[_sight(layer)], memory, memory_BMD, block_key)
            x = around(functools.partial(_without_cache, block, self.rates))(x, context)
        return dropout(self.norm(x), self.rates.residual, keys[-1])

    def prefill(self, x_BPD: jax.Array, real_BP: jax.Array, state: DecodeState) -> DecodeState:
        """An empty state of one beam with the first P tokens of each sentence read: [B, P, D].

        Args:
          real_BP: False in front of a sentence's first token.
        """
        P = x_BPD.shape[1]
        sights = self._whole(real_BP.astype("int32"))
        pasts = self._pasts(state, P)
        contexts = [
            Context(cache.positions(state, P), sights[_sight(layer)]._replace(into=pasts[_sight(layer)]))
            for layer in self.layers
        ]
        return self._feed(x_BPD, state, contexts, P)[1]

    def extend(self, x_BQD: jax.Array, state: DecodeState) -> tuple[jax.Array, DecodeState]:
        """C more tokens of each of W beams: [B, W * C, D], beams first -> [B, W * C, D] and the state after."""
        W = state.ancestry_BWM.shape[1]
        count = x_BQD.shape[1] // W
        positions_BQ = jnp.tile(cache.positions(state, count), (1, W))
        memory = Kept((), state.memory_mask_BM[:, None]) if state.memories else None
        pasts = self._pasts(state, count)
        contexts = [Context(positions_BQ, pasts[_sight(layer)], memory) for layer in self.layers]
        return self._feed(x_BQD, state, contexts, count)

    def keep(self, memory_BMD: jax.Array, dtype: str) -> tuple[Rows, ...]:
        """The memory's rows of every layer's cross-attention, made once for the whole decode."""
        return tuple(block.cross.keep(memory_BMD, dtype) for block in self.blocks if block.cross is not None)

    def _feed(
        self, x: jax.Array, state: DecodeState, contexts: list[Context], count: int
    ) -> tuple[jax.Array, DecodeState]:
        none, caches = (None,) * len(self.blocks), []
        held = map(Held, state.caches, state.prompts or none, state.memories or none)
        for block, context, each in zip(self.blocks, contexts, held, strict=True):
            x, kept = block(self.rates, x, context, each)
            caches.append(kept)
        return self.norm(x), cache.advance(state, count)._replace(caches=tuple(caches))

    def _whole(self, segments_BL: jax.Array) -> dict[tuple[int, int], Whole]:
        """Who sees whom, once for each window among the layers."""

        def sight(layer: AttentionConfig) -> Whole:
            mask = causal_mask(segments_BL, layer.window, layer.sinks) if self.causal else None
            return Whole(segments_BL, segments_BL, segment_mask(segments_BL, segments_BL) if mask is None else mask)

        return {_sight(layer): sight(layer) for layer in dict.fromkeys(self.layers)}

    def _pasts(self, state: DecodeState, count: int) -> dict[tuple[int, int], Past]:
        return {_sight(layer): cache.past(state, layer, count) for layer in dict.fromkeys(self.layers)}


def _sight(layer: AttentionConfig) -> tuple[int, int]:
    return layer.window or 0, layer.sinks


def _without_cache(block: Block, rates: DropoutConfig, x_BLD: jax.Array, context: Context) -> jax.Array:
    return block(rates, x_BLD, context, Held())[0]
