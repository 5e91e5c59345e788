"""Trains one model of a config.

    python scripts/train.py --config=configs/wmt14.py:multi_query --workdir=runs/mq [--config.train.steps=1000]
    python scripts/train.py --config=configs/wmt14.py:multi_query --describe
    python scripts/train.py --config=configs/uptrain.py --from=runs/converted --workdir=runs/up

A run that was stopped or killed goes on from its newest checkpoint when the same command is given again.
"""

import pathlib

from absl import flags

from mqa_jax import command, config, processes, records, workdir
from mqa_jax.data import sources
from mqa_jax.data import vocabulary as vocabularies
from mqa_jax.errors import InputError
from mqa_jax.evaluate import translations
from mqa_jax.experiment import Experiment, ModelConfig
from mqa_jax.kernels import host
from mqa_jax.report import run
from mqa_jax.timing import describe, memory
from mqa_jax.timing.train import peak_rate
from mqa_jax.train import log, loop, source, teacher

CONFIG = command.config_flag()
FROM = flags.DEFINE_string("from", None, "Run whose model, vocabulary and parameters this one starts with.")
OTHERS = command.other_processes()
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics, vocabulary, records.")
WANDB = flags.DEFINE_string("wandb", None, "Send metrics to this Weights & Biases project too.")
DESCRIBE = flags.DEFINE_bool("describe", False, "Print the model's parts, sizes and decode costs, and exit.")
JSON = command.json_flag()


def check_others(experiment: Experiment) -> ModelConfig | None:
    """The teacher's model. Says no before any work if a run that this one needs is not there, or does not fit."""
    if FROM.value:
        source.check(experiment)
    return teacher.check(experiment)


def main() -> None:
    host.keep_freed_memory()
    if others := command.joining(OTHERS):
        processes.join(*others)
    start = source.of(pathlib.Path(FROM.value)) if FROM.value else None
    experiment = config.read(CONFIG.value, FROM.value or "", start)
    if DESCRIBE.value:
        description = describe.describe(experiment)
        command.show(describe.text(description), [description], JSON.value)
        return
    if not WORKDIR.value:
        raise InputError("--workdir is missing; name a folder for the run, for instance --workdir=runs/first")
    folder = pathlib.Path(WORKDIR.value)
    processes.first_alone(lambda: command.check_folder(WORKDIR))
    processes.first_alone(lambda: workdir.check(folder, experiment))
    other = processes.together(lambda: check_others(experiment))
    processes.together(lambda: memory.check_training(experiment, other))
    corpus = processes.together(lambda: sources.load(experiment.data, experiment.task))
    obtain = lambda: vocabularies.obtain(experiment.data, corpus, vocabularies.path_in(folder))  # noqa: E731
    vocabulary = processes.first_then_others(obtain)
    translate = translations.translator(experiment, corpus, vocabulary)
    first = processes.is_first()
    sinks = [log.Wandb(WANDB.value, folder, experiment)] if WANDB.value and first else []
    rate = peak_rate(experiment.model, other) if first else None
    record = loop.train(experiment, corpus, vocabulary, folder, rate, translate, sinks)
    if not first:
        return
    last = log.translations(folder)[-1:]
    page = run.write(folder, records.read_run(folder), last[0]["translations"] if last else [])
    command.show(f"{log.words(record)}; more in {page}", [record], JSON.value)
