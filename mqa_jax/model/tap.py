"""What the attentions of a model are given in a forward over whole sequences."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx

from mqa_jax.attention.cache import Rows
from mqa_jax.attention.contract import Attention, Whole
from mqa_jax.batch import Batch
from mqa_jax.model.decoder import Decoder

# The stack that an attention is in, and what its blocks call it; in the order of a forward.
SITES = {"encoder": ("encoder", "attention"), "decoder": ("decoder", "attention"), "cross": ("decoder", "cross")}

Note = Callable[[str, tuple[Any, ...]], None]


class Seen(NamedTuple):
    """What one attention was given, whatever its type.

    Attributes:
      q_BLHK: scaled queries.
      k_BMGK, v_BMGV: as the type makes them for whole sequences, with the positions turned in.
      rows: what the tokens would leave in a cache, by the names of `config.rows()`; [B, M, heads, size] each.
      sight: who sees whom.
    """

    q_BLHK: jax.Array
    k_BMGK: jax.Array
    v_BMGV: jax.Array
    rows: dict[str, jax.Array]
    sight: Whole


class Tap(nnx.Module):
    """Stands where an attention is in a forward over whole sequences, and notes what it is given.

    `note` is called with "input", "whole" and "attend", the last two methods of the contract, and with the arguments.
    """

    def __init__(self, attention: Attention, note: Note):
        self.attention, self.note = attention, note
        for name in ("whole", "attend"):  # of this instance alone: no other model pays for it
            setattr(attention, name, functools.partial(_noted, note, name, getattr(attention, name)))

    def __call__(self, x_BLD: jax.Array, *others: Any) -> tuple[jax.Array, Rows | None]:
        self.note("input", (x_BLD,))
        return self.attention(x_BLD, *others)

    def across(self, x_BLD: jax.Array, *others: Any) -> jax.Array:
        self.note("input", (x_BLD,))
        return self.attention.across(x_BLD, *others)


def seen(module: Decoder, batch: Batch) -> dict[str, list[Seen]]:
    """What each attention is given in a forward over a batch, without dropout: by site, a list over layers.

    The module is changed by it; bind another for other work.
    """
    taps: dict[str, list[tuple[Attention, dict[str, tuple[Any, ...]]]]] = {}
    for site, (stack, name) in SITES.items():
        for block in getattr(module, stack).blocks if hasattr(module, stack) else ():
            attention, noted = getattr(block, name), {}
            if attention is not None:
                setattr(block, name, Tap(attention, noted.__setitem__))
                taps.setdefault(site, []).append((attention, noted))
    module.hidden(batch)
    return {site: [_seen(*each) for each in layers] for site, layers in taps.items()}


def _seen(attention: Attention, noted: dict[str, tuple[Any, ...]]) -> Seen:
    (q_BLHK, k_BMGK, v_BMGV, sight, *_), (_, rows, *_) = noted["attend"], noted["whole"]
    named = {
        row.name: each.reshape(*each.shape[:2], row.heads, row.size)
        for row, each in zip(attention.config.rows(), rows, strict=True)
    }
    return Seen(q_BLHK, k_BMGK, v_BMGV, named, sight)


def _noted(note: Note, name: str, method: Callable[..., jax.Array], *given: Any) -> jax.Array:
    note(name, given)
    return method(*given)
