"""How many sequences a topology decodes at once beside the weights, how fast at best, and what limits it.

By arithmetic alone (timing/cost.py), with published peaks: no compiler is asked. Each group of `config.mesh.tensor`
devices holds the weights and decodes sequences of its own; the exchanges of a group are left out. Every sequence is
counted at its full length, as a service must that does not know which will be short.
"""

import bisect
import dataclasses
from typing import Any

from mqa_jax import records
from mqa_jax.attention.config import AttentionConfig
from mqa_jax.errors import InputError
from mqa_jax.experiment import Experiment, ModelConfig
from mqa_jax.plan.chips import Topology
from mqa_jax.timing import cost

CACHES = "bfloat16", "int8"
POINTS = 24  # of a curve
MOST = 2**24  # sequences, where they keep next to nothing


@dataclasses.dataclass(frozen=True)
class _Device:
    """What one device of a group holds and reads.

    Attributes:
      weights: bytes held.
      read: bytes of weights that a step reads.
      sequence: bytes that a sequence keeps; `step`: what a step has besides, logits and the scores of a layer.
      seen: bytes of the cache that a step reads for a sequence.
      weight_flops, cache_flops: of a step, for a sequence.
    """

    weights: float
    read: float
    sequence: float
    step: float
    seen: float
    weight_flops: float
    cache_flops: float


def capacity(experiment: Experiment, topology: Topology, context: int, latency_ms: float) -> dict[str, Any]:
    """The `capacity` record of a model with each type of cache.

    Args:
      context: tokens that a sequence keeps. With an encoder, so many of the source and so many of the output.
      latency_ms: what a step may take where `within_latency` is asked for.
    Raises:
      InputError: the mesh does not divide the devices.
    """
    tensor = max(1, experiment.mesh.tensor)
    if topology.size % tensor:
        raise InputError(f"config.mesh.tensor={tensor} does not divide the {topology.size} devices of {topology.name}")
    figures = {
        "topology": topology.name,
        "devices": topology.size,
        "memory_bytes_per_device": topology.memory_bytes,
        "spread_over_devices": tensor,
        "context": context,
        "latency_ms": latency_ms,
        "caches": {
            each: _with_cache(experiment.model.decoding_in(None, each), topology, tensor, context, latency_ms)
            for each in CACHES
        },
    }
    return records.make("capacity", experiment, figures)


def _with_cache(model: ModelConfig, topology: Topology, tensor: int, context: int, latency_ms: float) -> dict[str, Any]:
    device, groups = _device(model, tensor, context), topology.size // tensor
    free = topology.memory_bytes - device.weights
    most = min(MOST, max(0, int(free // (device.sequence + device.step))))

    def speed(batch: int) -> dict[str, Any]:
        """Of so many sequences a group; None of them takes no time."""
        step_s, limit = _step(device, batch, topology)
        return {
            "sequences": batch * groups,
            "ms_per_token": step_s * 1e3,
            "tokens_per_s": batch * groups / step_s if batch else 0.0,
            "limit": limit if batch else "weights",
        }

    within = bisect.bisect_right(range(1, most + 1), latency_ms, key=lambda batch: speed(batch)["ms_per_token"])
    batches = sorted({round(most ** (place / (POINTS - 1))) for place in range(POINTS)}) if most else []
    return {
        "bytes_per_sequence": cost.cache_bytes_per_sequence(model, *_lengths(model, context)),
        "weight_bytes_per_device": device.weights,
        "at_most": speed(most),
        "within_latency": speed(within),
        "curve": [[each["ms_per_token"], each["tokens_per_s"]] for each in map(speed, batches)],
    }


def _lengths(model: ModelConfig, context: int) -> tuple[int, int]:
    """Of source and target."""
    return (context if model.encoder else 0), context


def _device(model: ModelConfig, tensor: int, context: int) -> _Device:
    longest = max(model.positions, context) if model.learned_positions else model.positions
    model = dataclasses.replace(model, positions=longest)
    step = cost.decode_cost(model, 1, 1, *_lengths(model, context), padded_cache=True, tensor=tensor)
    decoder = model.decoder
    slots = [(layer, layer.slots(context)) for layer in decoder.attentions]
    slots += [(layer, context) for layer in decoder.crosses]
    scores = max(layer.heads * count * _score_bytes(layer, model.kept_dtype) for layer, count in slots)
    weights = cost.parameters_by_part(model)["total"] * cost.weight_bytes(model)
    return _Device(
        weights=weights / tensor,
        read=step.weight_bytes,
        sequence=cost.cache_bytes_per_sequence(model, *_lengths(model, context), tensor=tensor),
        step=(model.vocabulary * 4 + scores) / tensor,
        seen=step.cache_bytes,
        weight_flops=step.weight_flops,
        cache_flops=step.cache_flops,
    )


def _score_bytes(layer: AttentionConfig, dtype: str) -> int:
    """A step's temporaries for each query head and slot of a layer: the score; with int8 also the products of both
    digits, the weight and its digits, and scales that are repeated for the heads of each of several write heads."""
    if dtype != "int8":
        return 4
    return 14 if max(row.heads for row in layer.rows()) == 1 else 30


def _step(device: _Device, batch: int, topology: Topology) -> tuple[float, str]:
    """Seconds of a step at the peaks (as `cost.floor`), and what takes the most of them."""
    peaks = topology.peaks()
    cache_s = batch * device.seen / peaks.bytes_per_s, batch * device.cache_flops / peaks.flops_per_s
    weights_s = device.read / peaks.bytes_per_s, batch * device.weight_flops / peaks.weight_flops_per_s
    parts = {"weights": 0.0, "cache": 0.0, "operations": 0.0}
    for name, (bytes_s, flops_s) in (("weights", weights_s), ("cache", cache_s)):
        parts[name if bytes_s >= flops_s else "operations"] += max(bytes_s, flops_s)
    return sum(parts.values()), max(parts, key=parts.__getitem__)
