"""The training loop: data in, checkpoints, metrics and a record out. A stopped run goes on where it was."""

import contextlib
import functools
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from mqa_jax import processes, progress, records, sharding, workdir
from mqa_jax.data import pipeline
from mqa_jax.data.sources import Corpus
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.errors import Stopped
from mqa_jax.experiment import Experiment
from mqa_jax.model.build import Parameters, build, count
from mqa_jax.train import disk, interrupt, summary
from mqa_jax.train import metrics as metrics_files
from mqa_jax.train.checkpoint import Checkpoints
from mqa_jax.train.development import dev_loss, dev_losses
from mqa_jax.train.interrupt import Stop
from mqa_jax.train.metrics import Metrics, Sample, Sink
from mqa_jax.train.optimizer import optimizer as make_optimizer
from mqa_jax.train.refused import Refused
from mqa_jax.train.step import TrainState, init_state, make_train_step, state_shardings
from mqa_jax.train.window import Rate, Window


def train(
    experiment: Experiment,
    corpus: Corpus,
    vocabulary: Vocabulary,
    folder: pathlib.Path,
    rate: Rate | None = None,
    sample: Callable[[Parameters], Sequence[Sample]] | None = None,
    sinks: Sequence[Sink] = (),
) -> dict[str, Any]:
    """Trains to `experiment.train.steps` in `folder`, from its newest checkpoint if it has one.

    Args:
      rate: what throughput is shown as a share of, if it is known.
      sample: translates a few sentences at each evaluation.
      sinks: where metrics go besides the folder.

    Returns:
      The `train` record, which is also written to folder/records.
    Raises:
      InputError: the folder belongs to another experiment, or another process trains in it.
      Diverged: a loss or gradient was not a number or jumped, more often than config.train.skips allows.
      DiskFull: there is no room for a checkpoint or the metrics.
      Stopped: a signal asked for it; the state is saved.
    """
    with contextlib.ExitStack() as held, disk.full_is_one_line(folder), interrupt.watched() as stop:
        processes.first_alone(lambda: held.enter_context(workdir.locked(folder)))
        processes.first_alone(lambda: workdir.claim(folder, experiment))
        processes.together(lambda: workdir.refuse_another(folder, experiment))
        run = _Run(experiment, corpus, vocabulary, folder, rate, sample, sinks, stop)
        try:
            return run.to_the_end()
        finally:
            run.close()


class _Run:
    """One start of a run: it goes on from a checkpoint and ends at the last step, at a signal or in an error."""

    def __init__(
        self,
        experiment: Experiment,
        corpus: Corpus,
        vocabulary: Vocabulary,
        folder: pathlib.Path,
        rate: Rate | None,
        sample: Callable[[Parameters], Sequence[Sample]] | None,
        sinks: Sequence[Sink],
        stop: Stop,
    ):
        self._experiment, self._corpus, self._vocabulary = experiment, corpus, vocabulary
        self._folder, self._rate, self._sample, self._stop = folder, rate, sample, stop
        self._config = experiment.train
        self._model = build(experiment.model)
        self._mesh = sharding.make_mesh(experiment.mesh)
        sharding.check_rows(experiment.data.rows, self._mesh)
        self._optimizer = make_optimizer(self._config)
        self._checkpoints = Checkpoints(folder, self._config.keep)
        self._first, self._state, self._iterator, self._window = self._begin()
        # A window that is still open at the checkpoint's step was saved before that step's line was written.
        written = self._first - bool(self._window)
        self._losses = {step: loss for step, loss in dev_losses(folder).items() if step <= written}
        self._log = Metrics(folder, written, sinks) if processes.is_first() else None
        label = f"{experiment.name} {experiment.variant}"
        refused = int(self._state.guard.refused)
        self._refused = Refused(label, folder, vocabulary, self._config.skips, refused)

    def to_the_end(self) -> dict[str, Any]:
        """All steps that are left, then the record."""
        config, first = self._config, self._first
        parameters = count(self._model.shapes())
        progress.say(
            f"{self._experiment.name} {self._experiment.variant}: {parameters:,} parameters, "
            f"d_ff {self._experiment.model.decoder.feed_forward}" + (f", going on from step {first}" if first else "")
        )
        compile_s = 0.0
        step: Any = make_train_step(self._model, self._optimizer, config, self._mesh)
        with progress.bar(f"train {self._experiment.variant}", config.steps, first) as bar:
            if self._window and self._is_due(first, config.log_every):
                self._window.start_clock()
                self._write_line(first)
            for done in range(first + 1, config.steps + 1):
                if done == first + 1 and self._stop.agreed():
                    raise self._stopped(first)
                rows = next(self._iterator)
                batch = sharding.place(rows, self._mesh)
                if done == first + 1:
                    start = time.perf_counter()
                    step = step.lower(self._state, batch).compile()
                    compile_s = time.perf_counter() - start
                    self._window.start_clock()
                self._state, sums = step(self._state, batch)
                self._window.add(sums, rows)
                self._refused.add(done, rows)
                text = self._write_line(done) if self._is_due(done, config.log_every) else ""
                stopped = self._stop.agreed()
                if stopped or self._is_due(done, config.checkpoint_every):
                    self._save(done)
                bar.update(done, text)
                if stopped and (done < config.steps or self._window):
                    raise self._stopped(done)
        return self._record(parameters, compile_s)

    def close(self) -> None:
        if self._log:
            self._log.close()
        self._checkpoints.close()

    def _begin(self) -> tuple[int, TrainState, Any, Window]:
        """The step, state and window to go on from, and the iterator at its place."""
        experiment = self._experiment
        train = self._corpus.splits["train"]
        iterator = pipeline.training_iterator(train, self._vocabulary, experiment.data, experiment.seed)
        shardings = state_shardings(self._model, self._optimizer, self._mesh)
        init = functools.partial(init_state, self._model, self._optimizer, experiment.seed)
        abstract = jax.tree.map(
            lambda shape, where: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=where),
            jax.eval_shape(init),
            shardings,
        )
        restored = self._checkpoints.restore(abstract, iterator)
        if restored is None:
            return 0, jax.jit(init, out_shardings=shardings)(), iterator, Window()
        return restored.step, restored.state, restored.iterator, Window(restored.window)

    def _is_due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self._config.steps

    def _write_line(self, step: int) -> str:
        """The log line of a step, with an evaluation where one is due, and a text of it for the bar.

        A stop during the evaluation leaves the window open: the line is written when the run goes on.
        """
        refused = self._refused.look(self._state.guard)
        values = self._window.close(self._rate)
        values["gradient_norm"] = float(self._state.guard.gradient_norm)
        if refused:
            values["refused"] = refused
        samples = []
        if self._is_due(step, self._config.evaluate_every):
            dev = dev_loss(
                self._model,
                self._state.parameters,
                self._corpus,
                self._vocabulary,
                self._experiment,
                self._mesh,
                self._stop,
            )
            if dev is None:
                return ""
            values["dev_nll_per_token"] = self._losses[step] = dev
            samples = self._sample(self._state.parameters) if self._sample else []
        if self._log and samples:
            self._log.write_samples(step, samples)
        if self._log:
            self._log.write(step, values)
        self._window = Window()
        return summary.line(values)

    def _save(self, step: int) -> None:
        self._window.stop_clock()
        self._refused.look(self._state.guard)
        self._checkpoints.save(step, self._state, self._iterator, self._window.state(), self._losses)
        self._window.start_clock()

    def _stopped(self, step: int) -> Stopped:
        after = f"after step {step} of {self._config.steps}, which is saved" if step else "before step 1"
        return Stopped(f"stopped {after}; the same command goes on from there ({self._folder})")

    def _record(self, parameters: int, compile_s: float) -> dict[str, Any]:
        best = self._checkpoints.best(self._losses)
        figures = {
            "parameters": parameters,
            "feed_forward": self._experiment.model.decoder.feed_forward,
            **summary.figures(metrics_files.read(self._folder), compile_s),
            "refused_steps": int(self._state.guard.refused),
            "best": None if best is None else {"step": best, "dev_nll_per_token": self._losses[best]},
            "steps": self._config.steps,
            "corpus": self._corpus.description,
        }
        record = records.make("train", self._experiment, figures)
        if processes.is_first():
            records.write(self._folder / "records", record)
        return record
