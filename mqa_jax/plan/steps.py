"""The train step and the decode step as they run on a mesh of devices, to be compiled for TPUs that are not here."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mqa_jax import sharding
from mqa_jax.attention.config import AttentionConfig, Row
from mqa_jax.batch import Batch, Rows
from mqa_jax.experiment import Experiment
from mqa_jax.model.build import build
from mqa_jax.plan.chips import Topology
from mqa_jax.plan.program import Program, TooLarge, compile_for
from mqa_jax.timing import cost, decode
from mqa_jax.timing.decode import Shape
from mqa_jax.train.optimizer import optimizer as make_optimizer
from mqa_jax.train.step import init_state, make_train_step, state_shardings


@dataclasses.dataclass(frozen=True)
class Step:
    """A compiled step beside the least that it needs.

    Attributes:
      experiment: with the mesh and the rows that were compiled.
      batch: rows of a training step, or sentences of a decode step, on all devices together.
      devices: how many the step is spread over; a decode's replicas need nothing from each other.
      flops: operations of all devices, by arithmetic (timing/cost.py).
      floor_parts_s: seconds that the published peaks of operations, memory and interconnect each put under it.
    """

    experiment: Experiment
    batch: int
    devices: int
    program: Program | TooLarge
    flops: float
    floor_parts_s: dict[str, float]

    @property
    def fits(self) -> bool:
        return isinstance(self.program, Program)

    @property
    def floor_s(self) -> float:
        return max(self.floor_parts_s.values())


def train_step(experiment: Experiment, topology: Topology) -> Step:
    """The training step on the config's mesh over all devices.

    Raises:
      InputError: the mesh does not fit the devices, or its data axes do not divide the rows.
    """
    mesh = sharding.make_mesh(experiment.mesh, topology.devices)
    model, optimizer = build(experiment.model, mesh), make_optimizer(experiment.train)
    sharding.check_rows(experiment.data.rows, mesh)
    where = state_shardings(model, optimizer, mesh)
    state = _placed(jax.eval_shape(functools.partial(init_state, model, optimizer, 0)), where)
    batch = _batch(experiment, sharding.batch_sharding(mesh))
    kinds = {
        "parameters": state.parameters,
        "optimizer": state.optimizer,
        "batch": (batch, state.step, state.guard, state.key),
    }
    step = make_train_step(model, optimizer, experiment.train, mesh)
    devices = len(topology.devices)
    program = compile_for(step, (state, batch), kinds, devices, loops_only=False)
    data, peaks = experiment.data, topology.peaks()
    source_length = data.source_length if experiment.model.encoder else 0
    flops = cost.train_flops(experiment.model, data.rows, source_length, data.target_length)
    parts = {"operations": flops / devices / peaks.flops_per_s}
    if isinstance(program, Program):
        # Each parameter and statistic is read once and written once.
        moved = 2 * (program.held.kinds["parameters"] + program.held.kinds["optimizer"])
        parts |= {"memory": moved / peaks.bytes_per_s, "interconnect": _exchange_s(program, topology)}
    return Step(experiment, experiment.data.rows, devices, program, flops, parts)


def decode_step(experiment: Experiment, topology: Topology, shape: Shape) -> Step:
    """A step of a decode of `shape`, whose batch is shared by the groups of `tensor` devices that the mesh holds.

    The groups need nothing from each other, so one of them is compiled.
    """
    mesh = sharding.make_mesh(experiment.mesh, topology.devices)
    groups = mesh.size // mesh.shape["tensor"]
    sharding.check_rows(shape.batch, mesh)
    longest = shape.target_length + (shape.source_length if experiment.task == "language" else 0)
    config = dataclasses.replace(
        experiment.model, positions=max(experiment.model.positions, longest, shape.source_length)
    )
    model, part = build(config), dataclasses.replace(shape, batch=shape.batch // groups)
    group = Mesh(mesh.devices[:1, :1], mesh.axis_names, axis_types=mesh.axis_types)
    jitted, (parameters, state) = decode.abstract(model, part, laid_out=group.size == 1)
    everywhere = sharding.replicated(group)
    if group.size == 1:
        parameters = _placed(parameters, jax.tree.map(lambda _: everywhere, parameters))
    else:
        parameters = _placed(parameters, sharding.parameter_shardings(model.axes(), parameters, group))

    def where(layers: Sequence[AttentionConfig], kept: Any) -> Any:
        """A row's heads are split over `tensor` where it divides them."""

        def of(row: Row, stored: Any) -> Any:
            split = "tensor" if row.heads % group.size == 0 else None
            return jax.tree.map(lambda _: NamedSharding(group, PartitionSpec(None, None, split)), stored)

        return tuple(tuple(map(of, layer.rows(), rows)) for layer, rows in zip(layers, kept, strict=True))

    decoder = config.decoder
    at = jax.tree.map(lambda _: everywhere, state)._replace(
        caches=where(decoder.attentions, state.caches), memories=where(decoder.crosses, state.memories)
    )
    state = _placed(state, at)
    cache = state.caches, state.memories
    rest = state._replace(caches=(), memories=())
    kinds = {"parameters": parameters, "cache": cache, "search": rest}
    program = compile_for(jitted, (parameters, state), kinds, group.size, loops_only=True)
    needed = cost.decode_cost(
        config, part.batch, shape.beam, shape.source_length, shape.target_length, shape.padded_cache
    )
    parts = {"operations and memory": cost.floor(needed, topology.peaks(group.size))}
    if isinstance(program, Program):
        parts["interconnect"] = _exchange_s(program, topology)
    return Step(experiment, shape.batch, group.size, program, needed.flops * groups, parts)


def _exchange_s(program: Program, topology: Topology) -> float:
    sent = sum(each.sent(topology.devices_per_chip) for each in program.exchanges)
    return sent / topology.chip.link_bytes_per_s


def _batch(experiment: Experiment, where: NamedSharding) -> Batch:
    def rows(length: int) -> Rows:
        each = jax.ShapeDtypeStruct((experiment.data.rows, length), "int32", sharding=where)
        return Rows(each, each, each)

    target = rows(experiment.data.target_length)
    return Batch(target, target.tokens_BL, rows(experiment.data.source_length) if experiment.model.encoder else None)


def _placed(shapes: Any, where: Any) -> Any:
    return jax.tree.map(lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), shapes, where)
