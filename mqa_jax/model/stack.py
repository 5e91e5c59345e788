"""A stack of pre-norm blocks: y = x + f(norm(x)) for each attention and feed-forward, then a final norm."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from mqa_jax.experiment import DropoutConfig, StackConfig
from mqa_jax.model.attention import Attention, FlatAttention, attend
from mqa_jax.model.cache import DecodeState, KeysValues, step_masks, write_many, write_step
from mqa_jax.model.layers import FeedForward, Norm, dropout, split_key

Around = Callable[[Callable[..., jax.Array]], Callable[..., jax.Array]]


def as_it_is(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Puts nothing around a block."""
    return function


class Block(nnx.Module):
    """Self-attention, cross-attention where there is a memory, feed-forward."""

    def __init__(self, config: StackConfig, width: int, rngs: nnx.Rngs):
        self.attention_norm = Norm(width)
        self.attention = Attention(config.attention, width, rngs)
        self.cross_norm = Norm(width) if config.cross else None
        self.cross = Attention(config.cross, width, rngs) if config.cross else None
        self.feed_forward_norm = Norm(width)
        self.feed_forward = FeedForward(width, config.feed_forward, rngs)

    def whole(
        self,
        rates: DropoutConfig,
        x_BLD: jax.Array,
        mask_BLL: jax.Array,
        memory_BMD: jax.Array | None,
        memory_mask_BLM: jax.Array | None,
        key: jax.Array | None,
    ) -> jax.Array:
        """Whole sequences: [B, L, D] -> [B, L, D]."""
        k1, k2, k3, k4, k5, k6 = split_key(key, 6)
        h = self.attention_norm(x_BLD)
        x = x_BLD + dropout(self.attention(h, h, mask_BLL, rates.attention, k1), rates.residual, k2)
        if self.cross is not None and self.cross_norm is not None:
            assert memory_BMD is not None and memory_mask_BLM is not None
            h = self.cross(self.cross_norm(x), memory_BMD, memory_mask_BLM, rates.attention, k3)
            x += dropout(h, rates.residual, k4)
        h = self.feed_forward(self.feed_forward_norm(x), rates.hidden, k5)
        return x + dropout(h, rates.residual, k6)


class Stack(nnx.Module):
    """N blocks and a final norm. Which method is called decides what it computes:

    `__call__` whole sequences, `prompt` whole sequences while filling a cache, `extend` the next part of them,
    `step` one token on a cache.
    """

    def __init__(self, config: StackConfig, width: int, rates: DropoutConfig, rngs: nnx.Rngs):
        self.blocks = nnx.List([Block(config, width, rngs) for _ in range(config.layers)])
        self.norm = Norm(width)
        self.rates = rates

    def __call__(
        self,
        x_BLD: jax.Array,
        mask_BLL: jax.Array,
        memory_BMD: jax.Array | None = None,
        memory_mask_BLM: jax.Array | None = None,
        key: jax.Array | None = None,
        around: Around = as_it_is,
    ) -> jax.Array:
        """Whole sequences -> [B, L, D]. A decoder is given a memory and its mask; without a key, no dropout.

        Args:
          around: what is put around each block's function of arrays; jax.checkpoint rematerialises it.
        """
        keys = split_key(key, len(self.blocks) + 2)
        x = dropout(x_BLD, self.rates.residual, keys[0])
        for block, block_key in zip(self.blocks, keys[1:-1], strict=True):
            whole = around(functools.partial(block.whole, self.rates))
            x = whole(x, mask_BLL, memory_BMD, memory_mask_BLM, block_key)
        return dropout(self.norm(x), self.rates.residual, keys[-1])

    def prompt(
        self, x_BPD: jax.Array, mask_BPP: jax.Array, caches: tuple[KeysValues, ...], beams: int
    ) -> tuple[KeysValues, ...]:
        """Prefill of a decoder without cross-attention: empty caches filled with [B, P, D] from time 0."""
        x, filled = x_BPD, []
        for block, cache in zip(self.blocks, caches, strict=True):
            h = block.attention_norm(x)
            k_BPGK, v_BPGV = block.attention.keys_values(h)
            filled.append(write_many(cache, _flat(k_BPGK), _flat(v_BPGV), jnp.zeros((), jnp.int32), beams))
            x += block.attention.output(attend(block.attention.queries(h), k_BPGK, v_BPGV, mask_BPP))
            x += block.feed_forward(block.feed_forward_norm(x))
        return tuple(filled)

    def extend(
        self, x_BCD: jax.Array, mask_BCM: jax.Array, caches: tuple[KeysValues, ...], time: jax.Array, beams: int
    ) -> tuple[KeysValues, ...]:
        """Prefill of C more tokens from `time` on, which see `caches` and each other: the caches with them.

        Args:
          x_BCD: the embedded tokens.
          mask_BCM: over the slots of the caches and behind them the C tokens themselves (`cache.extend_mask`).
        """
        x, filled = x_BCD, []
        for block, cache in zip(self.blocks, caches, strict=True):
            h = block.attention_norm(x)
            k_BCGK, v_BCGV = block.attention.keys_values(h)
            B, _, G, _ = k_BCGK.shape
            slots = cache.k.shape[1] // beams
            k_BMGK = jnp.concatenate([cache.k[:, :slots].reshape(B, slots, G, -1), k_BCGK], axis=1)
            v_BMGV = jnp.concatenate([cache.v[:, :slots].reshape(B, slots, G, -1), v_BCGV], axis=1)
            filled.append(write_many(cache, _flat(k_BCGK), _flat(v_BCGV), time, beams))
            x += block.attention.output(attend(block.attention.queries(h), k_BMGK, v_BMGV, mask_BCM))
            x += block.feed_forward(block.feed_forward_norm(x))
        return tuple(filled)

    def memories(self, memory_BMD: jax.Array) -> tuple[KeysValues, ...]:
        """The memory projected to every layer's cross-attention keys and values, once for the whole decode."""
        crosses = [block.cross for block in self.blocks if block.cross is not None]
        return tuple(KeysValues(*(_flat(each) for each in cross.keys_values(memory_BMD))) for cross in crosses)

    def lay_out(self) -> tuple["FlatBlock", ...]:
        """The weights for `step`, laid out once for many steps."""
        return tuple(
            FlatBlock(
                block.attention.lay_out(),
                block.cross and block.cross.lay_out(memory=False),
                block.feed_forward.lay_out(),
            )
            for block in self.blocks
        )

    def step(
        self, flat: tuple["FlatBlock", ...], x_BWD: jax.Array, state: DecodeState
    ) -> tuple[jax.Array, DecodeState]:
        """One token of every beam: [B, W, D] -> [B, W, D] and the state after it."""
        masks = step_masks(state)
        x, caches = x_BWD, []
        for layer, (block, weights) in enumerate(zip(self.blocks, flat, strict=True)):
            q_BWHK, k_BWX, v_BWY = block.attention.project(weights.attention, block.attention_norm(x))
            cache = write_step(state.caches[layer], k_BWX, v_BWY, state.time)
            caches.append(cache)
            x += block.attention.over_cache(weights.attention, q_BWHK, cache, masks.live_BM, masks.ancestry_BWM)
            if block.cross is not None and block.cross_norm is not None:
                q_BWHK, _, _ = block.cross.project(weights.cross, block.cross_norm(x))
                x += block.cross.over_memory(weights.cross, q_BWHK, state.memories[layer], masks.memory_BWM)
            x += block.feed_forward.step(weights.feed_forward, block.feed_forward_norm(x))
        state = state._replace(caches=tuple(caches), time=state.time + 1, ancestry_BWM=masks.ancestry_BWM)
        return self.norm(x), state


class FlatBlock(NamedTuple):
    """A block's weights as decode steps multiply with them."""

    attention: FlatAttention
    cross: Any  # FlatAttention, or None where there is no memory
    feed_forward: tuple[jax.Array, jax.Array]


def _flat(heads: jax.Array) -> jax.Array:
    """[..., G, K] -> [..., G * K]."""
    return jnp.reshape(heads, (*heads.shape[:-2], -1))
