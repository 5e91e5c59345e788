"""What an attention type does: queries and rows of its input, and attention over whole sequences and over what is kept.

A type is a file with two classes, a config (`config.AttentionConfig`) and a module (`Attention`), and a line in
`registry.py`. Blocks call `Attention` and know no type by name.
"""

import functools
from typing import NamedTuple

import jax
from flax import nnx

from mqa_jax.attention import cache as caches
from mqa_jax.attention.cache import Past, Rows
from mqa_jax.attention.config import AttentionConfig, Place
from mqa_jax.kernels import fused, whole
from mqa_jax.kernels.over_cache import Kept
from mqa_jax.layers import Linear, Weight

Key = jax.Array | None  # of dropout; None for none


class Whole(NamedTuple):
    """Who sees whom in whole sequences. A fused kernel takes the segments, the plain form the mask.

    Attributes:
      into: where a prompt's rows are stored; None if nothing is kept.
    """

    query_segments_BL: jax.Array
    memory_segments_BM: jax.Array
    mask_BLM: jax.Array
    into: Past | None = None


class Context(NamedTuple):
    """What a block is given beside its input; the same for training, a prompt, a step and a verification.

    Attributes:
      positions_BL: of the input.
      own: who sees whom in self-attention: whole sequences, or what a cache holds of the past.
      memory: who sees whom of an encoder's output; None for a language model.
      memory_BMD: the encoder's output, for blocks that have not kept its rows.
      key: randomness of the dropout; None for none.
    """

    positions_BL: jax.Array
    own: Whole | Past
    memory: Whole | Kept | None = None
    memory_BMD: jax.Array | None = None
    key: Key = None


class Attention(nnx.Module):
    """One attention: what a type adds are its weights and the four methods that raise here.

    Queries are arrays [B, L, H, ...] of the type's own kind, rows arrays [B, M, X] in the order of `config.rows()`.
    """

    def __init__(
        self,
        config: AttentionConfig,
        place: Place,
        rngs: nnx.Rngs,
        queries: dict[str, Weight],
        rows: dict[str, Weight],
        output: Weight,
    ):
        """
        Args:
          queries, rows: the weights that make them of the model's width, by name. Self-attention has one input for
            both, and makes both in one product where the weights are laid out.
          output: the weight behind the heads.
        """
        self.config, self.place, self.split = config, place, len(queries)
        self.inputs = Linear(rngs, **queries) if place.cross else Linear(rngs, **queries, **rows)
        self.memory = Linear(rngs, **rows) if place.cross else None
        self.output = Linear(rngs, wo_HVD=output)

    def queries_of(self, made: tuple[jax.Array, ...], positions_BL: jax.Array) -> jax.Array:
        """Queries, scaled, from what the weights of `queries` made of the input."""
        raise NotImplementedError

    def rows_of(self, made: tuple[jax.Array, ...], positions_BM: jax.Array | None) -> tuple[jax.Array, ...]:
        """Rows from what the weights of `rows` made of the input."""
        raise NotImplementedError

    def whole(self, queries: jax.Array, rows: tuple[jax.Array, ...], sight: Whole, rate: float, key: Key) -> jax.Array:
        """o_BLHV of queries over the rows of whole sequences. `rate`, `key`: dropout of the attention weights."""
        raise NotImplementedError

    def over(self, queries: jax.Array, kept: Kept) -> jax.Array:
        """o_BUCHV of queries [B, U, C, H, ...] over stored rows."""
        raise NotImplementedError

    def __call__(
        self,
        x_BLD: jax.Array,
        context: Context,
        kept: Rows | None = None,
        rate: float = 0.0,
        key: Key = None,
        prompt: Rows | None = None,
    ) -> tuple[jax.Array, Rows | None]:
        """Self-attention: y_BLD, and the rows that are kept with the new tokens among them.

        Args:
          x_BLD: whole sequences, or C new tokens of each of W beams, L = W * C, beams first.
          kept: the layer's rows in a decode state; None where nothing is kept.
          rate, key: dropout of the attention weights.
          prompt: the layer's rows of a prompt that all beams share; None without one.
        """
        made = self.inputs(x_BLD)
        queries = self.queries_of(made[: self.split], context.positions_BL)
        rows = self.rows_of(made[self.split :], context.positions_BL)
        own = context.own
        if isinstance(own, Whole):
            if kept is not None and own.into is not None:
                kept = self._append(kept, rows, own.into)
            return self._output(self.whole(queries, rows, own, rate, key)), kept
        assert kept is not None
        if own.new_mask_BCC is None:
            kept = self._append(kept, rows, own)
            sight = caches.kept(kept, prompt, own, None)
            return self._output(self.over(_by_beam(queries, own), sight)), kept
        sight = caches.kept(kept, prompt, own, tuple(_by_beam(each, own) for each in rows))
        return self._output(self.over(_by_beam(queries, own), sight)), self._append(kept, rows, own)

    def across(self, x_BLD: jax.Array, context: Context, rows: Rows | None, rate: float = 0.0, key: Key = None):
        """Cross-attention: y_BLD.

        Args:
          rows: the memory's, if they were kept (`keep`); they are made here otherwise.
        """
        queries = self.queries_of(self.inputs(x_BLD), context.positions_BL)
        if rows is None:
            assert context.memory_BMD is not None and isinstance(context.memory, Whole)
            made = self.rows_of(self._memory(context.memory_BMD), None)
            return self._output(self.whole(queries, made, context.memory, rate, key))
        assert isinstance(context.memory, Kept)
        return self._output(self.over(queries[:, :, None], context.memory._replace(stored=rows)))

    def keep(self, memory_BMD: jax.Array, dtype: str) -> Rows:
        """The memory's rows as they are stored, for a whole decode."""
        return caches.encode(self.rows_of(self._memory(memory_BMD), None), self.config.rows(), dtype)

    def attend(
        self, q_BLHK: jax.Array, k_BMGK: jax.Array, v_BMGV: jax.Array, sight: Whole, rate: float, key: Key
    ) -> jax.Array:
        """o_BLHV: whole sequences in the form that the platform has for them, for a type's `whole`.

        A library's fused kernel where there is one, which keeps no scores. It has no dropout and no sinks.
        """
        plain = functools.partial(whole.attend, q_BLHK, k_BMGK, v_BMGV, sight.mask_BLM, rate, key)
        if self.config.sinks or (rate and key is not None):
            return plain()
        return fused.attend(
            q_BLHK,
            k_BMGK,
            v_BMGV,
            sight.query_segments_BL,
            sight.memory_segments_BM,
            causal=self.place.causal,
            window=self.config.window,
            otherwise=plain,
            mesh=self.place.mesh,
        )

    def _memory(self, memory_BMD: jax.Array) -> tuple[jax.Array, ...]:
        assert self.memory is not None, "only cross-attention has a memory"
        return self.memory(memory_BMD)

    def _append(self, kept: Rows, rows: tuple[jax.Array, ...], past: Past) -> Rows:
        return caches.append(kept, [_by_beam(each, past) for each in rows], past, self.config)

    def _output(self, o: jax.Array) -> jax.Array:
        """y_BLD of [B, L, H, V], or of [B, U, C, H, V]."""
        return self.output(o.reshape(o.shape[0], -1, *o.shape[-2:]))[0]


def _by_beam(each: jax.Array, past: Past) -> jax.Array:
    """[B, W * C, ...] -> [B, W, C, ...]"""
    W, C = past.ancestry_BWM.shape[1], past.live_BCM.shape[1]
    return each.reshape(each.shape[0], W, C, *each.shape[2:])
