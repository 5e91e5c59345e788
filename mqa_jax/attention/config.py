"""What an attention type costs and keeps: all that the rest of the project asks of one before it runs.

A type's config is a frozen dataclass that knows its fields and their checks, its parameters, the rows that a token
leaves in the cache, and its operations. Caches, costs, sharding, plans and reports ask it and know no type by name.
"""

import abc
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from mqa_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Row:
    """What one token leaves in a layer's cache: `heads` parts of `size` numbers, side by side in one row.

    A part is what int8 has a scale for, and what tensor parallelism gives each device.
    """

    name: str
    heads: int
    size: int

    @property
    def width(self) -> int:
        """Numbers."""
        return self.heads * self.size

    def devices(self, tensor: int) -> int:
        """How many of `tensor` devices share it: all, or none where they do not divide its parts."""
        return tensor if self.heads % tensor == 0 else 1

    def bytes(self, dtype: str) -> int:
        """What it takes in a cache of this type; int8 has a float32 scale for each part."""
        return self.width * jnp.dtype(dtype).itemsize + (4 * self.heads if dtype == "int8" else 0)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where in a model an attention stands.

    Attributes:
      width: D.
      causal: whether a position sees what is behind it.
      cross: whether queries and rows come from two sequences.
      norm_eps: of norms that the attention has of its own.
      mesh: the devices that share rows and heads, for what XLA does not divide well; None for one device.
    """

    width: int
    causal: bool = False
    cross: bool = False
    norm_eps: float = 1e-6
    mesh: Mesh | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttentionConfig(abc.ABC):
    """The shape of one attention.

    Attributes:
      heads: H, query heads.
      key_size, value_size: K and V, of one head.
      window: how many positions a query sees, its own and those before it; None sees all.
      sinks: with a window, how many first positions of its text a query sees besides (arXiv 2309.17453).
    """

    type: str = dataclasses.field(init=False)
    heads: int
    key_size: int
    value_size: int
    window: int | None = None
    sinks: int = 0

    name: ClassVar[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "type", self.name)
        self.check_positive("heads", "key_size", "value_size")
        if self.window is not None and self.window < 1:
            raise InputError(f"config.attention.window={self.window} must be at least 1, or None for no window")
        if self.sinks < 0:
            raise InputError(f"config.attention.sinks={self.sinks} must not be negative; 0 keeps none")
        if self.sinks and self.window is None:
            raise InputError(
                f"config.attention.sinks={self.sinks} needs config.attention.window; set it, or sinks to 0"
            )

    def check_positive(self, *names: str) -> None:
        """Raises InputError for a field that is not an integer of at least 1."""
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"config.attention.{name}={value} must be an integer of at least 1")

    @classmethod
    def complete(cls, given: Mapping[str, Any]) -> Self:
        """The config from the fields that are given; the type decides the others.

        Raises:
          InputError: a field that the type has not, or a value that cannot be.
        """
        known = [field.name for field in dataclasses.fields(cls) if field.init]
        for name in given:
            if name not in known:
                raise InputError(
                    f"config.attention.{name} is not a field of {cls.name} attention, which has: {', '.join(known)}"
                )
        return cls(**given)

    @abc.abstractmethod
    def parameters(self, width: int) -> int:
        """Parameters at model width D."""

    @abc.abstractmethod
    def memory_parameters(self, width: int) -> int:
        """Those among them that make the rows of a memory, which a decode step does not multiply with."""

    @abc.abstractmethod
    def rows(self) -> tuple[Row, ...]:
        """What a token leaves in the cache."""

    @abc.abstractmethod
    def operations(self, cached: bool) -> int:
        """Multiply-adds of one query token with one token that it sees: in a cache, or in whole sequences."""

    @abc.abstractmethod
    def module(self, place: Place, rngs: nnx.Rngs) -> Any:
        """The `contract.Attention` of this config."""

    @abc.abstractmethod
    def describe(self) -> str:
        """In words, for a person."""

    def across(self) -> Self:
        """The same attention from one sequence to another, where positions have no distance."""
        return self.everywhere()

    def everywhere(self) -> Self:
        """The same attention without a limit of distance, as an encoder has it."""
        return dataclasses.replace(self, window=None, sinks=0)

    def seen(self, tokens: int, first: int | None = None) -> int:
        """How many of so many tokens the last one's query sees; or of the `first` among them alone."""
        first = tokens if first is None else first
        if self.window is None:
            return first
        return min(first, self.sinks) + max(0, first - max(self.sinks, tokens - self.window))

    def slots(self, tokens: int) -> int:
        """How many slots a layer has for a sentence of so many tokens."""
        return tokens if self.window is None else self.sinks + min(tokens, self.window)

    def sight(self) -> str:
        """The window in words, with a comma before it; nothing without one."""
        sinks = f" and {self.sinks} first tokens" if self.sinks else ""
        return f", window {self.window}{sinks}" if self.window else ""


def cycle(attentions: Sequence[AttentionConfig]) -> tuple[AttentionConfig, ...]:
    """The fewest attentions that the layers can be said to take in turn."""
    counts = range(1, len(attentions) + 1)
    count = next(n for n in counts if all(each == attentions[at % n] for at, each in enumerate(attentions)))
    return tuple(attentions[:count])


def in_turn(cycle: Sequence[AttentionConfig]) -> str:
    """Attentions that layers take in turn, in words; neighbours that are alike are counted."""
    runs = [(text, len(list(same))) for text, same in itertools.groupby(each.describe() for each in cycle)]
    return "; ".join(text if len(runs) == 1 else f"{count} x ({text})" for text, count in runs)
