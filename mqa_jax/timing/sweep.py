"""Timing over many shapes: which there are, which fit into memory, which are there already."""

import pathlib
from collections.abc import Mapping, Sequence

import jax

from mqa_jax import progress, records
from mqa_jax.experiment import Experiment
from mqa_jax.model.build import build, count
from mqa_jax.timing import cost, decode, latency, peaks, stopwatch
from mqa_jax.timing.decode import Shape
from mqa_jax.timing.peaks import Peaks

STEPS = 32  # timed of each shape: with a padded cache they all cost the same
COMPILING_S, OVER_FLOOR = 3.0, 3.0  # for saying beforehand how long a sweep takes
PARTS = ("model",)  # what of an experiment a sweep's records depend on


def plan(experiment: Experiment, lengths: Sequence[int], batches: Sequence[int], beams: Sequence[int]) -> list[Shape]:
    """Every length at the config's batch and every batch at the config's length, each with every beam.

    Without lengths: 32 to 512, for a language model to 4096, doubling.
    """
    base, translation = experiment.timing, experiment.task == "translation"
    lengths = lengths or [2**power for power in range(5, 10 if translation else 13)]
    pairs = [(base.batch, length if translation else base.source_length, length) for length in lengths]
    pairs += [(batch, base.source_length, base.target_length) for batch in batches]
    return [
        Shape(batch, beam, source, target, padded_cache=True, steps=STEPS)
        for beam in beams
        for batch, source, target in dict.fromkeys(pairs)
    ]


def sweep(experiments: Sequence[Experiment], shapes: Sequence[Shape], folder: pathlib.Path, repeats: int) -> None:
    """Times every shape that fits into memory for all variants in turn, then the latency of each variant."""
    memory = stopwatch.memory_bytes()
    needs = {shape: memory_needed(experiments, shape) for shape in shapes}
    for shape, need in needs.items():
        if need > memory:
            sizes = f"{need / 2**30:,.1f} of {memory / 2**30:.1f} GiB"
            progress.say(f"left out, for want of memory: {shape.label} ({sizes})")
    place = {each.variant: folder / each.variant for each in experiments}
    time_missing(experiments, [shape for shape in shapes if needs[shape] <= memory], place, repeats, PARTS)
    base = experiments[0].timing
    label = f"{base.source_length}-{base.target_length}"
    for each in experiments:
        if not records.is_there(place[each.variant] / "records", f"latency-{label}", each, PARTS):
            progress.say(f"latency of one sentence: {each.variant}")
            record = latency.measure(each, base.source_length, base.target_length, repeats)
            records.write(place[each.variant] / "records", record, label)


def time_missing(
    experiments: Sequence[Experiment],
    shapes: Sequence[Shape],
    place: Mapping[str, pathlib.Path],
    repeats: int,
    parts: Sequence[str],
) -> None:
    """Times all variants in turn, shape by shape; a shape that any of them lacks is timed for all.

    Args:
      place: each variant's folder; its records go to `records` there.
      parts: what of an experiment must be as it was for a record to count.
    """
    missing = [
        shape
        for shape in shapes
        if not all(
            records.is_there(place[each.variant] / "records", f"timing-{shape.label}", each, parts)
            for each in experiments
        )
    ]
    if not missing:
        progress.say("timing: all there")
        return
    with progress.bar("time decoding", len(missing)) as bar:
        limits = peaks.measure(experiments[0].model.dtype, experiments[0].model.weight_dtype)
        minutes = sum(seconds_expected(experiments, shape, repeats, limits) for shape in missing) / 60
        progress.say(f"{len(missing)} shapes of {len(experiments)} variants: about {minutes:.0f} minutes")
        for done, shape in enumerate(missing):
            for record in decode.time_in_turn(experiments, shape, repeats, limits):
                records.write(place[record["variant"]] / "records", record, shape.label)
            jax.clear_caches()
            bar.update(done + 1, f"batch {shape.batch}, beam {shape.beam}, length {shape.target_length}")


def memory_needed(experiments: Sequence[Experiment], shape: Shape) -> int:
    """Bytes to time a shape: the weights of all variants, which are there together, twice while they are laid out, and
    twice the largest caches, since one variant runs at a time."""
    weights = sum(count(build(each.model).shapes()) * cost.BYTES[each.model.dtype] for each in experiments)
    lengths = shape.source_length, shape.target_length
    caches = max(cost.cache_bytes_per_sequence(each.model, *lengths) for each in experiments)
    return 2 * (weights + caches * shape.batch * shape.beam)


def seconds_expected(experiments: Sequence[Experiment], shape: Shape, repeats: int, limits: Peaks) -> float:
    """Of timing a shape: the floors of all rounds, which a run takes about three times as long for, and compilation."""
    seconds = 0.0
    for each in experiments:
        step = cost.decode_cost(
            each.model, shape.batch, shape.beam, shape.source_length, shape.target_length, shape.padded_cache
        )
        source = cost.encode_cost(each.model, shape.batch, shape.source_length)
        round_s = shape.timed_steps * cost.floor(step, limits) + cost.floor(source, limits)
        seconds += COMPILING_S + OVER_FLOOR * (1 + repeats) * round_s
    return seconds
