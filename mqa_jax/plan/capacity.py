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
from mqa_jax.timing.peaks import Peaks

CACHES = "bfloat16", "int8"
POINTS = 24  # of a curve
MOST = 2**24  # sequences, where they keep next to nothing


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
    """The figures of one type of cache. A group's devices hold and read the same, so one of them is counted."""
    model = dataclasses.replace(model, positions=max(model.positions, context if model.learned_positions else 0))
    lengths, groups = (context if model.encoder else 0, context), topology.size // tensor
    weights = cost.parameters_by_part(model)["total"] * cost.weight_bytes(model) / tensor
    sequence = cost.cache_bytes_per_sequence(model, *lengths, tensor=tensor) + _temporary_bytes(model, context) / tensor
    most = min(MOST, max(0, int((topology.memory_bytes - weights) // sequence)))
    one = cost.decode_cost(model, 1, 1, *lengths, padded_cache=True, tensor=tensor)

    def speed(batch: int) -> dict[str, Any]:
        """Of so many sequences a group; none of them get no tokens."""
        step_s, limit = _step(one, batch, topology.peaks())
        return {
            "sequences": batch * groups,
            "ms_per_token": step_s * 1e3,
            "tokens_per_s": batch * groups / step_s,
            "limit": limit,
        }

    within = bisect.bisect_right(range(1, most + 1), latency_ms, key=lambda batch: speed(batch)["ms_per_token"])
    batches = sorted({round(most ** (place / (POINTS - 1))) for place in range(POINTS)}) if most else []
    return {
        "bytes_per_sequence": cost.cache_bytes_per_sequence(model, *lengths),
        "weight_bytes_per_device": weights,
        "at_most": speed(most),
        "within_latency": speed(within),
        "curve": [[each["ms_per_token"], each["tokens_per_s"]] for each in map(speed, batches)],
    }


def _temporary_bytes(model: ModelConfig, context: int) -> int:
    """What a step has besides, for a sequence: logits, and the scores of the layer that has most."""
    decoder = model.decoder
    slots = [(layer, layer.slots(context)) for layer in decoder.attentions]
    slots += [(layer, context) for layer in decoder.crosses]
    scores = max(layer.heads * count * _score_bytes(layer, model.kept_dtype) for layer, count in slots)
    return model.vocabulary * 4 + scores


def _score_bytes(layer: AttentionConfig, dtype: str) -> int:
    """A step's temporaries for each query head and slot of a layer: the score; with int8 also the products of both
    digits, the weight and its digits, and scales that are repeated for the heads of each of several write heads."""
    if dtype != "int8":
        return 4
    return 14 if max(row.heads for row in layer.rows()) == 1 else 30


def _step(one: cost.Cost, batch: int, peaks: Peaks) -> tuple[float, str]:
    """Seconds of a step at the peaks (as `cost.floor`), and what takes the most of them.

    Args:
      one: of a step of one sequence.
    """
    weights_s = one.weight_bytes / peaks.bytes_per_s, batch * one.weight_flops / peaks.weight_flops_per_s
    cache_s = batch * one.cache_bytes / peaks.bytes_per_s, batch * one.cache_flops / peaks.flops_per_s
    parts = {"weights": 0.0, "cache": 0.0, "operations": 0.0}
    for name, (bytes_s, flops_s) in (("weights", weights_s), ("cache", cache_s)):
        parts[name if bytes_s >= flops_s else "operations"] += max(bytes_s, flops_s)
    return sum(parts.values()), max(parts, key=parts.__getitem__)
