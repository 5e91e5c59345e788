"""Replicas of a model that share the sentences of a batch: which devices have one, and where its arrays lie on them.

A replica has one device, or a group of `config.mesh.tensor` where one does not hold the model; then its devices share
weights and caches as `sharding.RULES` says. Replicas need nothing from each other.
"""

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mqa_jax import sharding
from mqa_jax.attention.cache import DecodeState
from mqa_jax.attention.config import AttentionConfig, Row
from mqa_jax.experiment import MeshConfig
from mqa_jax.kernels import host
from mqa_jax.model.build import Model, count


def groups(model: Model, batch: int, beams: int) -> list[Mesh]:
    """The devices of each replica that decodes an equal part of so many sentences.

    Args:
      model: a replica's; its mesh says how many devices a replica has.
    """
    every = sharding.groups(MeshConfig(tensor=model.tensor), jax.local_devices())
    return every[: host.parts_of(batch, beams, count(model.shapes()), len(every))]


def weight_shardings(model: Model, laid_out: Any, group: Mesh) -> Any:
    """Where a replica has its weights, as `Model.lay_out` made them."""
    if model.tensor == 1:
        return jax.tree.map(lambda _: sharding.replicated(group), laid_out)
    return sharding.parameter_shardings(model.axes(), laid_out, group)


def state_shardings(model: Model, state: DecodeState, group: Mesh) -> DecodeState:
    """Where a replica has its decode state: rows by their heads, where the group divides these, all else everywhere."""
    everywhere, decoder = sharding.replicated(group), model.config.decoder

    def of(row: Row, stored: Any) -> Any:
        split = "tensor" if row.devices(group.size) > 1 else None
        return jax.tree.map(lambda _: NamedSharding(group, PartitionSpec(None, None, split)), stored)

    def where(layers: Sequence[AttentionConfig], kept: Any) -> Any:
        return tuple(tuple(map(of, layer.rows(), rows)) for layer, rows in zip(layers, kept, strict=True))

    return jax.tree.map(lambda _: everywhere, state)._replace(
        caches=where(decoder.attentions, state.caches),
        prompts=where(decoder.attentions, state.prompts) if state.prompts else (),
        memories=where(decoder.crosses, state.memories) if state.memories else (),
    )


def keep(model: Model, rows: Any, state: DecodeState) -> tuple[Any, DecodeState]:
    """A search's rows and the decode state inside a jitted function, each where a replica has it from call to call."""
    if model.mesh is None or model.tensor == 1:
        return rows, state
    everywhere = sharding.replicated(model.mesh)
    where = jax.tree.map(lambda _: everywhere, rows), state_shardings(model, state, model.mesh)
    return jax.lax.with_sharding_constraint((rows, state), where)
