"""Times training steps of a config's model on random tokens: forward, backward and the optimiser's update.

    python scripts/time_train.py --config=configs/text_translation.py:multi_query --batch=64 --nodropout
    python scripts/time_train.py --config=configs/wmt14.py:multi_query --batch=8 --config.train.optimizer=adamw

Compiles anew, whatever the compilation cache holds.
"""

import dataclasses

import jax
from absl import flags

from mqa_jax import command, config, progress, records
from mqa_jax.experiment import DropoutConfig
from mqa_jax.kernels import host
from mqa_jax.timing import peaks, train

CONFIG = command.config_flag()
BATCH = flags.DEFINE_integer("batch", None, "Rows of a step. Default: the config's training batch.", lower_bound=1)
SOURCE = flags.DEFINE_integer("source_length", None, "Source tokens a row. Default: the config's.", lower_bound=1)
TARGET = flags.DEFINE_integer("target_length", None, "Target tokens a row. Default: the config's.", lower_bound=1)
DTYPE = flags.DEFINE_enum("dtype", None, ["bfloat16", "float32"], "Overrides config.model.dtype.")
DROPOUT = flags.DEFINE_bool("dropout", True, "The config's dropout rates; --nodropout: none.")
STEPS = flags.DEFINE_integer("steps", 10, "Timed steps, after those that warm up.", lower_bound=1)
WORKDIR = flags.DEFINE_string("workdir", None, "Also keep the record in this folder.")
JSON = command.json_flag()


def main() -> None:
    host.keep_freed_memory()
    settings = CONFIG.value
    settings.model.dtype = DTYPE.value or settings.model.dtype
    experiment = config.read(settings)
    command.check_folder(WORKDIR)
    if not DROPOUT.value:
        model = dataclasses.replace(experiment.model, dropout=DropoutConfig())
        experiment = dataclasses.replace(experiment, model=model)
    data = experiment.data
    source = 0 if experiment.task == "language" else SOURCE.value or data.source_length
    workload = train.Workload(BATCH.value or data.rows, source, TARGET.value or data.target_length)
    workload.check(experiment)
    progress.say(f"{experiment.name} {experiment.variant}: {workload.words}")
    jax.config.update("jax_enable_compilation_cache", False)
    timed = train.TimedTraining(experiment, workload)
    for _ in range(train.WARM_UP + STEPS.value):
        timed.run()
    figures = timed.figures(peaks.measure(experiment.model.dtype))
    low, high = figures["ms_spread"]
    text = (
        f"{figures['tokens_per_s']:,.0f} tokens/s, {figures['ms_per_step']:.1f} ms a step ({low:.1f} to {high:.1f}), "
        f"{figures['mfu']:.0%} of the matmul peak, compiled in {figures['compile_s']:.1f} s"
    )
    record = records.make("train_timing", experiment, figures)
    if WORKDIR.value:
        also = "-dropout" * any(figures["dropout"]) + "-rematerialised" * figures["rematerialise"]
        label = f"{workload.label}-{figures['dtype']}{also}"
        records.write(f"{WORKDIR.value}/{experiment.variant}/records", record, label)
    command.show(text, [record], JSON.value)
