"""Trains one model of a config.

    python scripts/train.py --config=configs/wmt14.py:multi_query --workdir=runs/mq [--config.train.steps=1000]
    python scripts/train.py --config=configs/wmt14.py:multi_query --describe

A run that was stopped or killed goes on from its newest checkpoint when the same command is given again.
"""

import json
import pathlib

from absl import flags

from mqa_jax import command, config, processes, progress, records, workdir
from mqa_jax.data import sources
from mqa_jax.data import vocabulary as vocabularies
from mqa_jax.errors import InputError
from mqa_jax.evaluate import samples
from mqa_jax.kernels import host
from mqa_jax.report import run
from mqa_jax.timing import describe, live
from mqa_jax.train import loop, metrics
from mqa_jax.train.wandb_sink import WandbSink

CONFIG = command.config_flag()
join_processes = command.process_flags()
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics, vocabulary, records.")
WANDB = flags.DEFINE_string("wandb", None, "Send metrics to this Weights & Biases project too.")
DESCRIBE = flags.DEFINE_bool("describe", False, "Print the model's parts, sizes and decode costs, and exit.")


def main() -> None:
    host.keep_freed_memory()
    join_processes()
    experiment = config.read(CONFIG.value)
    if DESCRIBE.value:
        description = describe.describe(experiment)
        print("\n".join(describe.lines(description)))
        print(json.dumps(description))
        return
    if not WORKDIR.value:
        raise InputError("--workdir is missing; name a folder for the run, for instance --workdir=runs/first")
    folder = pathlib.Path(WORKDIR.value)
    processes.first_alone(lambda: workdir.check(folder, experiment))
    corpus = sources.load(experiment.data, experiment.task)
    path = folder / "vocabulary.model"
    vocabulary = processes.first_then_others(lambda: vocabularies.obtain(experiment.data, corpus, path))
    sample = samples.sampler(experiment, corpus, vocabulary)
    if not processes.is_first():
        loop.train(experiment, corpus, vocabulary, folder, sample=sample)
        return
    sinks = [WandbSink(WANDB.value, folder, experiment)] if WANDB.value else []
    rate = live.rate(experiment.model)
    record = loop.train(experiment, corpus, vocabulary, folder, rate, sample, sinks)
    last = metrics.read_samples(folder)[-1:]
    page = run.write(folder, records.read_run(folder), last[0]["samples"] if last else [])
    progress.say(f"{page} sums the run up")
    print(json.dumps({key: value for key, value in record.items() if key not in ("config", "curve")}))


if __name__ == "__main__":
    command.run(main)
