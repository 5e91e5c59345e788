"""Models small enough for a test, and batches for them."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mqa_jax.attention import registry
from mqa_jax.attention.config import AttentionConfig
from mqa_jax.attention.grouped import Grouped
from mqa_jax.attention.latent import Latent
from mqa_jax.attention.rotary import Rotary
from mqa_jax.batch import Batch, Rows
from mqa_jax.decode.search import Search, Step, run
from mqa_jax.experiment import DropoutConfig, ModelConfig, StackConfig
from mqa_jax.model import build
from mqa_jax.model.build import Model

HEADS = 4
WRITE_HEADS = (1, 2, HEADS)
VOCABULARY = 24
BOS, EOS = 2, 1


ROTARY = Rotary(base=100.0)
TYPES: dict[str, AttentionConfig] = {
    **{f"grouped_{G}": Grouped(heads=HEADS, write_heads=G, key_size=4, value_size=6) for G in WRITE_HEADS},
    "grouped_2_rotary": Grouped(heads=HEADS, write_heads=2, key_size=4, value_size=6, rotary=ROTARY, biases="all"),
    "latent": Latent(heads=HEADS, key_size=4, value_size=6, kv_rank=10, rotary_size=2, rotary=ROTARY),
    "latent_ranked": Latent(heads=HEADS, key_size=4, value_size=6, kv_rank=8, query_rank=5, rotary_size=4),
}
assert {each.name for each in TYPES.values()} == registry.TYPES.keys(), "a type that is registered is tested"
SIGHTS = {"global": (None, 0), "local": (4, 0), "sinks": (3, 2)}  # window, sinks


def attention(kind: str | int = HEADS, sight: str = "global") -> AttentionConfig:
    """One of `TYPES`, or grouped with so many write heads, with a window and sinks of `SIGHTS`."""
    window, sinks = SIGHTS[sight]
    return dataclasses.replace(TYPES[f"grouped_{kind}" if isinstance(kind, int) else kind], window=window, sinks=sinks)


def model(
    task: str,
    kind: str | int | Sequence[AttentionConfig] = HEADS,
    sight: str = "global",
    dtype: str = "float32",
    vocabulary: int = VOCABULARY,
    dropout: DropoutConfig = DropoutConfig(),
    tied: bool = True,
    positions: int = 32,
    layers: int = 2,
    **changes: Any,
) -> Model:
    """An encoder layer and two decoder layers, or more: one for each of a sequence of attentions.
    Width 16 and 4 heads, whose keys (4) and values (6) differ in size."""
    cycle = (attention(kind, sight),) if isinstance(kind, str | int) else tuple(kind)
    layers, translation = max(layers, len(cycle)), task == "translation"
    encoder = StackConfig(min(2, len(cycle)), 32, tuple(each.everywhere() for each in cycle))
    return build.build(
        ModelConfig(
            width=16,
            vocabulary=vocabulary,
            positions=positions,
            tied_softmax=tied,
            dtype=dtype,
            decoder=StackConfig(layers, 32, cycle, tuple(each.across() for each in cycle) if translation else ()),
            encoder=encoder if translation else None,
            dropout=dropout,
            **changes,
        )
    )


def rows(tokens: list[list[int]], length: int) -> Rows:
    """One sentence a row, padded behind to `length`."""
    tokens_BL = np.zeros((len(tokens), length), np.int32)
    segments_BL = np.zeros_like(tokens_BL)
    for row, each in enumerate(tokens):
        tokens_BL[row, : len(each)] = each
        segments_BL[row, : len(each)] = 1
    positions_BL = np.broadcast_to(np.arange(length, dtype=np.int32), tokens_BL.shape)
    return Rows(jnp.asarray(tokens_BL), jnp.asarray(segments_BL), jnp.asarray(positions_BL))


def batch(targets: list[list[int]], length: int, sources: list[list[int]] | None = None) -> Batch:
    """Unpacked rows with the shifted inputs."""
    target = rows(targets, length)
    inputs = rows([[BOS, *each[:-1]] for each in targets], length)
    return Batch(target, inputs.tokens_BL, None if sources is None else rows(sources, length))


def sentences(seed: int, lengths: list[int], vocabulary: int = VOCABULARY) -> list[list[int]]:
    """Random ids above the special ones, EOS last."""
    random = np.random.default_rng(seed)
    return [[*random.integers(4, vocabulary, size - 1).tolist(), EOS] for size in lengths]


def parameters(of: Model, seed: int = 0) -> dict:
    """Initial values drawn by NumPy, since nothing is compiled for that, and with a louder softmax, so that the choices
    of a search are not near ties."""
    random = np.random.default_rng(seed)

    def draw(shape: jax.ShapeDtypeStruct, std: float | None) -> jax.Array:
        drawn = random.standard_normal(shape.shape, np.float32)
        return jnp.asarray(np.ones_like(drawn) if std is None else (std or 0.2) * drawn)  # 0: a bias

    state = nnx.state(of._abstract(), nnx.Param)
    values = jax.tree.map(draw, nnx.to_pure_dict(state), build._metadata(state, "std"))
    values["embedding"]["tokens_VD"] *= 3
    return values


class Compiled:
    """A bound module whose calls are compiled: many times as fast as one operation after the other.

    Modules of equal structure share their programs.
    """

    def __init__(self, module: Any):
        self.module = module
        self._structure, self._values = nnx.split(module)

    def begin(self, given: Any, beams: int, room: int, chunk: int | None = None) -> Any:
        return _begin(self._structure, self._values, given, beams, room, *([] if chunk is None else [chunk]))

    def step(self, state: Any, tokens_BW: jax.Array) -> Any:
        return _step(self._structure, self._values, state, tokens_BW)

    def verify(self, state: Any, tokens_BWC: jax.Array) -> Any:
        return _verify(self._structure, self._values, state, tokens_BWC)

    def __call__(self, batch: Batch, key: jax.Array | None = None) -> jax.Array:
        return _whole(self._structure, self._values, batch, key)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)


@functools.partial(jax.jit, static_argnums=(0, 3, 4, 5))
def _begin(structure: Any, values: Any, given: Any, beams: int, room: int, *chunk: int) -> Any:
    return nnx.merge(structure, values).begin(given, beams, room, *chunk)


@functools.partial(jax.jit, static_argnums=0)
def _step(structure: Any, values: Any, state: Any, tokens_BW: jax.Array) -> Any:
    return nnx.merge(structure, values).step(state, tokens_BW)


@functools.partial(jax.jit, static_argnums=0)
def _verify(structure: Any, values: Any, state: Any, tokens_BWC: jax.Array) -> Any:
    return nnx.merge(structure, values).verify(state, tokens_BWC)


@functools.partial(jax.jit, static_argnums=0)
def _whole(structure: Any, values: Any, batch: Batch, key: jax.Array | None) -> jax.Array:
    return nnx.merge(structure, values)(batch, key)


class Found(NamedTuple):
    """The best output of each sentence and its score, the steps taken, and the state after the last one."""

    tokens_BT: jax.Array
    scores_B: jax.Array
    steps: jax.Array
    state: Any


def find(search: Search, step: Step, state: Any, first_B: Any, limits_B: Any, seeds_B: Any = None) -> Found:
    """Searches until every sentence has halted; arguments as in `Search.begin`."""
    seeds_B = jnp.zeros(first_B.shape, jnp.uint32) if seeds_B is None else seeds_B
    rows = search.begin(first_B, limits_B, seeds_B)
    rows, state = run(search, step, rows, state, lambda rows: search.halted(rows).all())
    return Found(*search.best(rows), rows.t_B.max(), state)
