"""Times incremental decoding of a config's model, with random weights and outputs forced to full length.

    python scripts/time_decode.py --config=configs/wmt14.py:multi_query --batch=128 --padded_cache
    python scripts/time_decode.py --config=configs/text_translation.py:multi_head --beam=4 --dtype=float32
    python scripts/time_decode.py --config=configs/lm1b.py:mla --dtype=int8 --cache_dtype=int8
    python scripts/time_decode.py --config=configs/wmt14.py --sweep --workdir=runs/sweep

A language model's source is its prompt. The cache grows with the outputs, or has their length from the start, as in the
paper. --sweep times many workloads and writes the report; given again, it goes on.
"""

import dataclasses
import pathlib

from absl import flags

from mqa_jax import command, config, progress, records
from mqa_jax.errors import InputError
from mqa_jax.experiment import MOST_BEAMS, Experiment
from mqa_jax.kernels import host
from mqa_jax.report import page
from mqa_jax.timing import decode, peaks, sweep

CONFIG = command.config_flag()
BATCH = flags.DEFINE_integer("batch", None, "Sentences at once. Default: config.timing.batch.", lower_bound=1)
BEAM = flags.DEFINE_integer("beam", 1, "Beams; 1 is greedy.", 1, MOST_BEAMS)
SOURCE = flags.DEFINE_integer("source_length", None, "Source (or prompt) tokens a sentence.", lower_bound=1)
TARGET = flags.DEFINE_integer("target_length", None, "Output tokens a sentence.", lower_bound=1)
DTYPE, CACHE_DTYPE = command.decoding_types()
PADDED = flags.DEFINE_bool("padded_cache", False, "The paper's protocol: every step reads a cache of full length.")
REPEATS = flags.DEFINE_integer("repeats", None, "Timed rounds after the warm-up.", lower_bound=1)
WORKDIR = flags.DEFINE_string("workdir", None, "Also keep the record in this folder. --sweep needs it.")
SWEEP = flags.DEFINE_bool("sweep", False, "Many workloads and variants, with a report; caches are padded.")
VARIANTS = flags.DEFINE_list("variants", None, "--sweep: variants, the baseline first. Default: all of the config.")
LENGTHS = flags.DEFINE_list("lengths", None, "--sweep: default 32 to 512, for a language model to 4096, doubling.")
BATCHES = flags.DEFINE_list("batches", ["1", "4", "16", "64", "256"], "--sweep: batch sizes.")
BEAMS = flags.DEFINE_list("beams", ["1", "4"], "--sweep: beams.")
JSON = command.json_flag()


def main() -> None:
    if DTYPE.value == "int8":
        host.keep_freed_memory()
    settings = CONFIG.value
    command.check_folder(WORKDIR)
    if SWEEP.value:
        command.refuse_given([BATCH, BEAM, SOURCE, TARGET, PADDED, JSON], "is of one workload; leave it out")
        run_sweep(settings)
        return
    command.refuse_given([VARIANTS, LENGTHS, BATCHES, BEAMS], "is for a sweep; add --sweep or leave it out")
    timing = (experiment := read(settings)).timing
    lengths = SOURCE.value or timing.source_length, TARGET.value or timing.target_length
    workload = decode.Workload(BATCH.value or timing.batch, BEAM.value, *lengths, PADDED.value)
    workload.check(experiment, "--batch")
    limits = peaks.measure(experiment.model.dtype, experiment.model.weight_dtype)
    repeats = REPEATS.value or timing.repeats
    expected = progress.clock(sweep.seconds_expected([experiment], workload, repeats, limits))
    progress.say(f"{experiment.name} {experiment.variant}: {workload.words}; takes about {expected}")
    (record,) = decode.time_in_turn([experiment], workload, repeats, limits)
    if WORKDIR.value:
        folder = pathlib.Path(WORKDIR.value, experiment.variant, "records")
        records.write(folder, record, f"{workload.label}-{experiment.model.decoding_types}")
    command.show(decode.text(record), [record], JSON.value)


def read(settings) -> Experiment:
    experiment = config.read(settings)
    return dataclasses.replace(experiment, model=experiment.model.decoding_in(DTYPE.value, CACHE_DTYPE.value))


def run_sweep(settings) -> None:
    if not WORKDIR.value:
        raise InputError("--sweep needs --workdir=FOLDER for its records and its report")
    names = command.variants(VARIANTS, settings.variants)
    experiments = [read(config.select_variant(settings, name)) for name in names]
    beams = command.integers(BEAMS, below=MOST_BEAMS + 1)
    workloads = sweep.plan(experiments[0], command.integers(LENGTHS), command.integers(BATCHES), beams)
    folder, repeats = pathlib.Path(WORKDIR.value), REPEATS.value or experiments[0].timing.repeats
    sweep.sweep(experiments, workloads, folder, repeats)
    path = page.write(records.read(folder), folder, f"{experiments[0].name}: decoding timed", names)
    print(f"report: {path}")
