"""A plan: a config's train step, prefill and decode step on a topology, whether they fit, and what would make them
fit."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from mqa_jax import progress, records
from mqa_jax.errors import InputError
from mqa_jax.experiment import Experiment, MeshConfig, ModelConfig
from mqa_jax.plan.chips import Topology
from mqa_jax.plan.steps import Step, decode_step, prefill_step, train_step
from mqa_jax.timing import cost
from mqa_jax.timing.decode import Workload
from mqa_jax.train import teacher

Change = tuple[str, Callable[[], Step]]
"""Flags, and the step with them."""


def plan(experiment: Experiment, topology: Topology, workload: Workload) -> dict[str, Any]:
    """The `plan` record of these steps. A step that does not fit has the smallest change that does, found by trying.

    Args:
      workload: what is decoded, on all devices together.
    Raises:
      InputError: the mesh does not fit the devices, or its data axes do not divide the rows or the batch.
    """
    data = experiment.data
    progress.say(f"{experiment.name} {experiment.variant} on {topology.name}: compiling the train step")
    taught_by = teacher.check(experiment)
    train = train_step(experiment, topology, taught_by)
    progress.say("compiling the prefill and the decode step")
    reads = experiment.model.encoder or workload.source_length > 1  # a prompt's last token is the first step's
    prefill = prefill_step(experiment, topology, workload) if reads else None
    decode = decode_step(experiment, topology, workload)
    encoder_s = cost.floor(workload.source_cost(experiment.model), topology.peaks(topology.size))
    figures = {
        "topology": topology.name,
        "chips": topology.chips,
        "devices": topology.size,
        "memory_bytes_per_device": topology.memory_bytes,
        "fits": train.fits and decode.fits and (prefill is None or prefill.fits),
        "train": _figures(train, data.rows * data.target_length, _train_changes(experiment, topology, taught_by))
        | {"rows": data.rows, "target_length": data.target_length},
        "decode": _figures(decode, workload.batch, _decode_changes(decode_step, experiment, topology, workload))
        | dataclasses.asdict(workload)
        | {"encoder_floor_us_per_token": encoder_s * 1e6 / (workload.batch * workload.source_length)},
    }
    if prefill:
        changes = _decode_changes(prefill_step, experiment, topology, workload)
        figures["prefill"] = _figures(prefill, workload.batch * workload.source_length, changes)
    return records.make("plan", experiment, figures)


def _figures(step: Step, tokens: int, changes: Iterator[Change]) -> dict[str, Any]:
    """A step that makes so many tokens; the `changes` are tried if it does not fit."""
    program = step.program
    figures: dict[str, Any] = {
        "fits": step.fits,
        "spread_over_devices": step.devices,
        "flops": step.flops,
        "floor_s": step.floor_s,
        "floor_parts_s": step.floor_parts_s,
        "floor_us_per_token": step.floor_s * 1e6 / tokens,
    }
    if not step.fits:
        change = _first_that_fits(changes)
        return figures | {"held_bytes": program.inputs, "reason": program.reason, "change": change}
    exchanges: dict[str, dict[str, int]] = {}
    for each in program.exchanges:
        of = exchanges.setdefault(f"{each.kind} of {each.devices}", {"count": 0, "bytes": 0})
        of["count"], of["bytes"] = of["count"] + 1, of["bytes"] + each.bytes
    held = program.inputs | program.others
    return figures | {
        "held_bytes": held,
        "held_bytes_total": sum(held.values()),
        "collectives": exchanges,
        "compiler_flops_per_device": program.flops,
        "compiler_bytes_per_device": program.bytes_accessed,
        "compile_s": program.compile_s,
    }


def _train_changes(experiment: Experiment, topology: Topology, taught_by: ModelConfig | None) -> Iterator[Change]:
    """Parameters and statistics over ever more devices; then also fewer rows, which makes another run."""
    config, devices = experiment.mesh, topology.size
    tensor = max(1, config.tensor)
    meshes = [MeshConfig(-1, fsdp, tensor) for fsdp in _doublings(2, devices // tensor) if fsdp != config.fsdp]
    rows = [n for n in _halvings(experiment.data.rows) if n % (devices // tensor) == 0]
    options = [(mesh, experiment.data.rows) for mesh in meshes]
    options += [(mesh, n) for n in rows for mesh in (config, *meshes[-1:])]
    for mesh, n in options:
        changed = dataclasses.replace(experiment, mesh=mesh, data=dataclasses.replace(experiment.data, rows=n))
        flags = f"--config.mesh.data=-1 --config.mesh.fsdp={mesh.fsdp}" if mesh != config else ""
        flags += f" --config.data.rows={n}" if n != experiment.data.rows else ""
        yield flags.strip(), lambda changed=changed: train_step(changed, topology, taught_by)


def _decode_changes(
    step: Callable[[Experiment, Topology, Workload], Step],
    experiment: Experiment,
    topology: Topology,
    workload: Workload,
) -> Iterator[Change]:
    """Fewer sentences at once, which changes no output; then weights and heads over several devices."""
    devices, tensor = topology.size, max(1, experiment.mesh.tensor)
    for n in (n for n in _halvings(workload.batch) if n % (devices // tensor) == 0):
        smaller = dataclasses.replace(workload, batch=n)
        yield f"--batch={n}", lambda smaller=smaller: step(experiment, topology, smaller)
    for wide in _doublings(2 * tensor, min(devices, max(each.heads for each in experiment.model.decoder.attention))):
        changed = dataclasses.replace(experiment, mesh=MeshConfig(-1, 1, wide))
        flags = f"--config.mesh.data=-1 --config.mesh.fsdp=1 --config.mesh.tensor={wide}"
        yield flags, lambda changed=changed: step(changed, topology, workload)


def _first_that_fits(changes: Iterator[Change]) -> str | None:
    for flags, attempt in changes:
        progress.say(f"does not fit; trying {flags}")
        try:
            if attempt().fits:
                return flags
        except InputError:
            continue  # this mesh does not divide the rows
    return None


def _doublings(first: int, last: int) -> list[int]:
    return [first << n for n in range(max(last, 1).bit_length()) if first << n <= last and last % (first << n) == 0]


def _halvings(number: int) -> list[int]:
    return [number >> n for n in range(1, number.bit_length()) if number % (1 << n) == 0]
