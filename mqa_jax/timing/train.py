"""Timed training steps: the step of train/step.py, on random tokens, beside the machine's matmul peak.

A step is forward, backward, the guard and the optimiser's update, blocked on its results. Rows are full: every
token counts.
"""

import dataclasses
import functools
import statistics
from typing import Any

import jax
import numpy as np

from mqa_jax import sharding
from mqa_jax.batch import Batch, Rows
from mqa_jax.errors import InputError
from mqa_jax.experiment import Experiment, ModelConfig
from mqa_jax.model.build import build, count
from mqa_jax.timing import cost, memory, peaks, stopwatch
from mqa_jax.tokens import BOS, UNK
from mqa_jax.train.log import Rate
from mqa_jax.train.optimizer import optimizer as make_optimizer
from mqa_jax.train.step import init_state, make_train_step, state_shardings

WARM_UP = 3  # steps; a CPU's heap takes up to three to grow to what a step needs


@dataclasses.dataclass(frozen=True)
class Workload:
    """One batch: rows of so many source and target tokens. A language model has no source."""

    batch: int
    source_length: int
    target_length: int

    @property
    def words(self) -> str:
        """For a person to read."""
        source = f"{self.source_length} + " if self.source_length else ""
        return f"{self.batch} rows of {source}{self.target_length} tokens"

    @property
    def label(self) -> str:
        """What tells the record from those of other workloads in a file's name."""
        return f"b{self.batch}-{self.source_length}-{self.target_length}"

    def check(self, experiment: Experiment) -> None:
        """Raises InputError if the experiment's mesh or its parts of a batch do not divide `--batch`, or if memory is
        too small for it."""
        mesh, parts = sharding.make_mesh(experiment.mesh), experiment.train.accumulate
        sharding.check_rows(self.batch, mesh)
        if self.batch % parts:
            raise InputError(f"config.train.accumulate={parts} does not divide --batch={self.batch}; choose a divisor")
        lengths = self.source_length, self.target_length
        memory.check("--batch", self.batch, lambda rows: memory.training(experiment, mesh, rows, *lengths))


class TimedTraining:
    """One experiment's training step, compiled for one workload, ready to be run and timed."""

    def __init__(self, experiment: Experiment, workload: Workload):
        config = experiment.model
        longest = max(config.positions, workload.source_length, workload.target_length)
        self.model_config = dataclasses.replace(config, positions=longest)
        self.experiment, self.workload = experiment, workload
        mesh = sharding.make_mesh(experiment.mesh)
        model = build(self.model_config, mesh)
        optimizer = make_optimizer(experiment.train, model.axes())
        self.parameters = count(model.shapes())
        self.devices = mesh.size
        init = functools.partial(init_state, model, optimizer, experiment.seed)
        self._state = jax.jit(init, out_shardings=state_shardings(model, optimizer, mesh))()
        self._batch = jax.device_put(random_batch(config.vocabulary, workload), sharding.batch_sharding(mesh))
        step = make_train_step(model, optimizer, experiment.train, mesh)
        self._step, self.compile_s = stopwatch.compile_timed(step, self._state, self._batch)
        self.step_s: list[float] = []

    def run(self) -> None:
        """One timed step."""

        def step():
            self._state, sums = self._step(self._state, self._batch)
            return self._state, sums

        self.step_s.append(stopwatch.time_once(step))

    def memory_mb(self) -> dict[str, float]:
        """What the compiled step takes, in MiB."""
        analysis = self._step.memory_analysis()
        state, rest = analysis.argument_size_in_bytes, analysis.temp_size_in_bytes
        return {"state_mb": state / 2**20, "activations_mb": rest / 2**20}

    def figures(self, limits: peaks.Peaks) -> dict[str, Any]:
        """The figures of a `train_timing` record, of all steps but the first `WARM_UP`."""
        load, times = self.workload, self.step_s[WARM_UP:]
        median, peak = statistics.median(times), limits.flops_per_s * self.devices
        flops = cost.train_flops(self.model_config, load.batch, load.source_length, load.target_length)
        return {
            **dataclasses.asdict(load),
            "dtype": self.model_config.dtype,
            "optimizer": self.experiment.train.optimizer,
            "rematerialise": self.experiment.train.rematerialise,
            "dropout": dataclasses.astuple(self.model_config.dropout),
            "parameters": self.parameters,
            "devices": self.devices,
            "tokens_per_s": load.batch * (load.source_length + load.target_length) / median,
            "ms_per_step": median * 1e3,
            "ms_spread": [min(times) * 1e3, max(times) * 1e3],
            "steps": len(times),
            "compile_s": self.compile_s,
            "model_flops_per_step": flops,
            "model_flops_per_s": flops / median,
            "peak_flops_per_s": peak,
            **peaks.published(),
            "mfu": flops / median / peak,
            **self.memory_mb(),
            "peak_memory_mb": stopwatch.peak_memory_mb(),
        }


def random_batch(vocabulary: int, workload: Workload) -> Batch:
    """Full rows of one segment each."""
    random = np.random.default_rng(0)

    def rows(length: int) -> Rows:
        tokens_BL = random.integers(UNK + 1, vocabulary, (workload.batch, length), np.int32)
        positions_BL = np.broadcast_to(np.arange(length, dtype=np.int32), tokens_BL.shape)
        return Rows(tokens_BL, np.ones_like(tokens_BL), positions_BL)

    target = rows(workload.target_length)
    inputs_BL = np.pad(target.tokens_BL[:, :-1], ((0, 0), (1, 0)), constant_values=BOS)
    return Batch(target, inputs_BL, rows(workload.source_length) if workload.source_length else None)


def peak_rate(model: ModelConfig, teacher: ModelConfig | None = None) -> Rate:
    """What the mfu of a run is measured against: operations a token, and the measured matmul peak times devices.

    Operations are those of products with weights, three times forwards, and a teacher's forwards. Attention over the
    sequence is left out: its length differs from one packed sentence to the next. So mfu is a little too low. Takes a
    few seconds.
    """
    # The cores of a process's CPU are one device in that measurement.
    devices = jax.process_count() if jax.default_backend() == "cpu" else jax.device_count()
    source = target = 0.0
    for each, times in ((model, 3), (teacher, 1)):
        if each:
            source += times * cost.encode_cost(each, 1, 1).weight_flops if each.encoder else 0.0
            target += times * cost.decode_cost(each, 1, 1, 1, 1, False).weight_flops
    return Rate(source, target, devices * peaks.matmul(model.dtype))
