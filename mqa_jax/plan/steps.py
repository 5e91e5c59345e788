"""The train step, the prefill and the decode step on a mesh of devices, compiled for devices that are not here.

What each holds, does and exchanges, beside the least that it needs; or by how much it is too large.
"""

import dataclasses
import functools
import re
import time
from typing import Any

import jax
from jax.sharding import NamedSharding

from mqa_jax import sharding
from mqa_jax.batch import Batch, Rows
from mqa_jax.decode import replicas
from mqa_jax.errors import InputError
from mqa_jax.experiment import Experiment, ModelConfig
from mqa_jax.model.build import build
from mqa_jax.plan import collectives
from mqa_jax.plan.chips import Topology
from mqa_jax.plan.collectives import Collective
from mqa_jax.timing import cost, decode
from mqa_jax.timing.decode import Workload
from mqa_jax.train import teacher as teachers
from mqa_jax.train.optimizer import optimizer as make_optimizer
from mqa_jax.train.step import init_state, make_train_step, state_shardings


@dataclasses.dataclass(frozen=True)
class Program:
    """What the compiler made for each device.

    Attributes:
      inputs: bytes of the program's own inputs by kind, as their shapes give them.
      reason: the compiler's line where it found no room, and nothing below is known.
      others: bytes of what else is held: layout padding, temporaries (activations, gradients), the program itself.
      flops, bytes_accessed: of the compiler's cost model, each loop run once; None where it has none, as for GPUs.
    """

    inputs: dict[str, int]
    reason: str = ""
    others: dict[str, int] = dataclasses.field(default_factory=dict)
    flops: float | None = None
    bytes_accessed: float | None = None
    exchanges: tuple[Collective, ...] = ()
    compile_s: float = 0.0


@dataclasses.dataclass(frozen=True)
class Step:
    """A compiled step beside the least that it needs.

    Attributes:
      devices: how many the step is spread over; a decode's replicas need nothing from each other.
      flops: operations of all devices, by arithmetic (timing/cost.py).
      floor_parts_s: seconds that the published peaks of operations, memory and interconnect each put under it.
    """

    devices: int
    program: Program
    flops: float
    floor_parts_s: dict[str, float]

    @property
    def fits(self) -> bool:
        return not self.program.reason

    @property
    def floor_s(self) -> float:
        return max(self.floor_parts_s.values())


def train_step(experiment: Experiment, topology: Topology, teacher: ModelConfig | None = None) -> Step:
    """The training step on the config's mesh over all devices; a teacher's forward pass is part of it.

    Raises:
      InputError: the mesh does not fit the devices, or its data axes do not divide the rows.
    """
    mesh = sharding.make_mesh(experiment.mesh, topology.devices)
    model = build(experiment.model, mesh)
    optimizer = make_optimizer(experiment.train, model.axes())
    sharding.check_rows(experiment.data.rows, mesh)
    where = state_shardings(model, optimizer, mesh)
    state = sharding.placed(jax.eval_shape(functools.partial(init_state, model, optimizer, 0)), where)
    batch = _batch(experiment, sharding.batch_sharding(mesh))
    kinds = {
        "parameters": state.parameters,
        "optimizer": state.optimizer,
        "batch": (batch, state.step, state.guard, state.interval, state.key),
    }
    other = build(teacher, mesh) if teacher else None
    step, arguments = make_train_step(model, optimizer, experiment.train, mesh, other), (state, batch)
    if other:
        kinds["teacher"] = teachers.abstract(other, mesh)
        arguments += (kinds["teacher"],)
    devices = len(topology.devices)
    program = _compile(step, arguments, kinds, topology, devices, loops_only=False)
    data, peaks = experiment.data, topology.peaks()
    source_length = data.source_length if experiment.model.encoder else 0
    flops = cost.train_flops(experiment.model, data.rows, source_length, data.target_length)
    if teacher:  # no way back
        flops += cost.train_flops(teacher, data.rows, source_length, data.target_length) / 3
    floors = {"operations": flops / devices / peaks.flops_per_s}
    if not program.reason:
        # Each parameter and statistic is read once and written once; a teacher's are read.
        moved = 2 * (program.inputs["parameters"] + program.inputs["optimizer"]) + program.inputs.get("teacher", 0)
        floors |= {"memory": moved / peaks.bytes_per_s, "interconnect": _exchange_s(program, topology)}
    return Step(devices, program, flops, floors)


def decode_step(experiment: Experiment, topology: Topology, workload: Workload) -> Step:
    """A decode step, the batch shared by the groups of `tensor` devices that the mesh holds.

    The groups need nothing from each other, so one of them is compiled.
    """
    return _step_of_group(experiment, topology, workload, prefill=False)


def prefill_step(experiment: Experiment, topology: Topology, workload: Workload) -> Step:
    """Reading the sources, or the prompts, into what decoding starts with; shared as a decode step is."""
    return _step_of_group(experiment, topology, workload, prefill=True)


def _step_of_group(experiment: Experiment, topology: Topology, workload: Workload, prefill: bool) -> Step:
    """What is timed (timing/decode.py), of a group's share of the batch, with shapes that say where they lie."""
    sharding.check_rows(workload.batch, sharding.make_mesh(experiment.mesh, topology.devices))
    group, *others = sharding.groups(experiment.mesh, topology.devices)
    groups = 1 + len(others)
    config, share = workload.fitted(experiment.model), dataclasses.replace(workload, batch=workload.batch // groups)
    model = build(config, group)
    decoding, (parameters, state) = decode.abstract(model, share)
    parameters = sharding.placed(parameters, replicas.weight_shardings(model, parameters, group))
    state = sharding.placed(state, replicas.state_shardings(model, state, group))
    caches = state.caches, state.prompts, state.memories
    kinds = {"cache": caches, "search": state._replace(caches=(), prompts=(), memories=())}
    if prefill:
        needed, shape = share.source_cost, (share.batch, share.source_length)
        source = jax.ShapeDtypeStruct(shape, "int32", sharding=sharding.replicated(group))
        beginning, _ = decode.programs(model, share)
        where = jax.tree.map(lambda each: each.sharding, state)
        begin = jax.jit(beginning, out_shardings=where, keep_unused=True)
        kinds = {"parameters": parameters, "sources": source} | kinds
        program = _compile(begin, (parameters, source), kinds, topology, group.size, loops_only=False)
    else:
        needed, kinds = share.step_cost, {"parameters": parameters} | kinds
        program = _compile(decoding, (parameters, state), kinds, topology, group.size, loops_only=True)
    floors = {"operations and memory": cost.floor(needed(config, group.size), topology.peaks())}
    if not program.reason:
        floors["interconnect"] = _exchange_s(program, topology)
    return Step(group.size, program, needed(config).flops * groups, floors)


def _exchange_s(program: Program, topology: Topology) -> float:
    sent = sum(each.sent(topology.chip.devices) for each in program.exchanges)
    return sent / topology.chip.link_bytes_per_s


def _batch(experiment: Experiment, where: NamedSharding) -> Batch:
    def rows(length: int) -> Rows:
        each = jax.ShapeDtypeStruct((experiment.data.rows, length), "int32", sharding=where)
        return Rows(each, each, each)

    target = rows(experiment.data.target_length)
    return Batch(target, target.tokens_BL, rows(experiment.data.source_length) if experiment.model.encoder else None)


def _compile(
    jitted: Any,
    arguments: tuple[Any, ...],
    kinds: dict[str, Any],
    topology: Topology,
    devices: int,
    loops_only: bool,
) -> Program:
    """Compiles a jitted function for arguments given as shapes that carry their shardings.

    Args:
      kinds: trees of those shapes by what they are, for the account of memory.
      loops_only: whether the exchanges of one pass of its loop count (a decode's step), or those of all the program.
    """
    start, inputs = time.perf_counter(), {kind: _device_bytes(tree) for kind, tree in kinds.items()}
    try:
        compiled = jitted.lower(*arguments).compile()
    except jax.errors.JaxRuntimeError as error:
        if "should include all slice devices" in str(error):
            raise InputError(
                f"the compiler makes no program for {devices} of this topology's devices, which decoding over "
                f"config.mesh.tensor={devices} needs; plan it on a smaller topology or with --config.mesh.tensor=1"
            ) from error
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return Program(inputs, _reason(str(error)))
    memory, costs, text = compiled.memory_analysis(), compiled.cost_analysis() or {}, compiled.as_text()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    others = {
        "layout padding": held - sum(inputs.values()),
        "temporaries": memory.temp_size_in_bytes,
        "program": memory.generated_code_size_in_bytes,
    }
    needed = sum(inputs.values()) + sum(others.values())
    if needed > topology.memory_bytes:  # a GPU's compiler does not say no
        reason = f"needs {needed / 2**30:.2f} GiB a device, of {topology.memory_bytes / 2**30:.2f} GiB"
        return Program(inputs | others, reason)
    read = collectives.collectives_of_a_pass if loops_only else collectives.collectives
    seconds, exchanges = time.perf_counter() - start, tuple(read(text, devices))
    return Program(inputs, "", others, costs.get("flops"), costs.get("bytes accessed"), exchanges, seconds)


def _device_bytes(tree: Any) -> int:
    """Bytes on one device of a tree of shapes with shardings."""
    parts = [jax.ShapeDtypeStruct(x.sharding.shard_shape(x.shape), x.dtype) for x in jax.tree.leaves(tree)]
    return sum(part.size * part.dtype.itemsize for part in parts)


def _reason(error: str) -> str:
    """The compiler's sentence about memory, without its codes."""
    line = next((line for line in error.splitlines() if "emory" in line or "hbm" in line.lower()), error)
    return re.sub(r"^(\w+: )*", "", line.strip()).rstrip(".")
