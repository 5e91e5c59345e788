"""Timing many workloads: which there are, which fit into memory, which are there already."""

import pathlib
from collections.abc import Mapping, Sequence

import jax

from mqa_jax import progress, records, sharding
from mqa_jax.experiment import Experiment
from mqa_jax.timing import cost, decode, memory, peaks
from mqa_jax.timing.decode import Workload
from mqa_jax.timing.peaks import Peaks

STEPS = 32  # timed of each workload: with a padded cache they all cost the same
COMPILING_S, OVER_FLOOR = 3.0, 3.0  # for saying beforehand how long a sweep takes
PARTS = ("model",)  # what of an experiment a sweep's records depend on


def plan(
    experiment: Experiment, lengths: Sequence[int], batches: Sequence[int], beams: Sequence[int]
) -> list[Workload]:
    """Every length at the config's batch and every batch at the config's length, each with every beam.

    Without lengths: 32 to 512, for a language model to 4096, doubling.
    """
    base, translation = experiment.timing, experiment.task == "translation"
    lengths = lengths or [2**power for power in range(5, 10 if translation else 13)]
    pairs = [(base.batch, length if translation else base.source_length, length) for length in lengths]
    pairs += [(batch, base.source_length, base.target_length) for batch in batches]
    return [
        Workload(batch, beam, source, target, padded_cache=True, steps=STEPS)
        for beam in beams
        for batch, source, target in dict.fromkeys(pairs)
    ]


def sweep(experiments: Sequence[Experiment], workloads: Sequence[Workload], folder: pathlib.Path, repeats: int) -> None:
    """Times every workload that fits into memory for all variants in turn, then the latency of each variant."""
    there, fitting = memory.available(), []
    tensor = sharding.groups(experiments[0].mesh, jax.local_devices())[0].size
    for workload in workloads:
        # Twice what it needs at least: nobody watches a sweep, and a program's own arrays are not known beforehand.
        need = 2 * workload.memory([each.model for each in experiments], tensor)
        if need > there:
            sizes = f"{need / memory.GIB:,.1f} of {there / memory.GIB:,.1f} GiB"
            progress.say(f"left out, for want of memory: {workload.label} ({sizes})")
        else:
            fitting.append(workload)
    place = {each.variant: folder / each.variant for each in experiments}
    time_missing(experiments, fitting, place, repeats, PARTS)
    base = experiments[0].timing
    label = f"{base.source_length}-{base.target_length}"
    for each in experiments:
        if not records.is_there(place[each.variant] / "records", f"latency-{label}", each, PARTS):
            progress.say(f"latency of one sentence: {each.variant}")
            record = decode.latency(each, base.source_length, base.target_length, repeats)
            records.write(place[each.variant] / "records", record, label)


def time_missing(
    experiments: Sequence[Experiment],
    workloads: Sequence[Workload],
    place: Mapping[str, pathlib.Path],
    repeats: int,
    parts: Sequence[str],
) -> None:
    """Times all variants in turn, workload by workload; one that any of them lacks is timed for all.

    Variants of one model, which differ in their training, are timed once: weights are random.

    Args:
      place: each variant's folder; its records go to `records` there.
      parts: what of an experiment must be as it was for a record to count.
    """
    missing = [
        workload
        for workload in workloads
        if not all(
            records.is_there(place[each.variant] / "records", f"timing-{workload.label}", each, parts)
            for each in experiments
        )
    ]
    if not missing:
        progress.say("timing: all there")
        return
    with progress.bar("time decoding", len(missing)) as bar:
        limits = peaks.measure(experiments[0].model.dtype, experiments[0].model.weight_dtype)
        models = list({each.model: each for each in reversed(experiments)}.values())[::-1]
        minutes = sum(seconds_expected(models, each, repeats, limits) for each in missing) / 60
        progress.say(f"{len(missing)} workloads of {len(models)} models: about {minutes:.0f} minutes")
        for done, workload in enumerate(missing, 1):
            for timed, record in zip(models, decode.time_in_turn(models, workload, repeats, limits), strict=True):
                for each in experiments:
                    if each.model == timed.model:
                        own = {"variant": each.variant, "seed": each.seed, "config": records.config_of(each)}
                        records.write(place[each.variant] / "records", record | own, workload.label)
            jax.clear_caches()
            bar.update(done, f"batch {workload.batch}, beam {workload.beam}, length {workload.target_length}")


def seconds_expected(experiments: Sequence[Experiment], workload: Workload, repeats: int, limits: Peaks) -> float:
    """Of timing a workload: the floors of all rounds, which take about three times as long, and compilation."""
    seconds = 0.0
    for model in (each.model for each in experiments):
        step, source = cost.floor(workload.step_cost(model), limits), cost.floor(workload.source_cost(model), limits)
        seconds += COMPILING_S + OVER_FLOOR * (1 + repeats) * (workload.timed_steps * step + source)
    return seconds
