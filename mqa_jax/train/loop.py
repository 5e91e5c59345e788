"""The training loop: data in, checkpoints, metrics and a record out. A stopped run goes on where it was."""

import contextlib
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from mqa_jax import processes, progress, records, workdir
from mqa_jax.data.sources import Corpus
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.errors import Stopped
from mqa_jax.experiment import Experiment
from mqa_jax.model.build import Parameters, count
from mqa_jax.train import disk, interrupt, metrics, summary
from mqa_jax.train.checkpoint import Checkpoints
from mqa_jax.train.interrupt import Stop
from mqa_jax.train.lines import Lines
from mqa_jax.train.metrics import Sample, Sink
from mqa_jax.train.start import Start, begin
from mqa_jax.train.step import make_train_step
from mqa_jax.train.window import Rate


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
      InputError: the folder belongs to another experiment, another process trains in it, or `start.begin` raised it.
      Diverged: a loss or gradient was not a number or jumped, more often than config.train.skips allows.
      DiskFull: there is no room for a checkpoint or the metrics.
      Stopped: a signal asked for it; the state is saved.
    """
    with contextlib.ExitStack() as held, disk.full_is_one_line(folder), interrupt.watched() as stop:
        processes.first_alone(lambda: held.enter_context(workdir.locked(folder)))
        processes.together(lambda: workdir.refuse_another(folder, experiment))
        checkpoints = held.enter_context(contextlib.closing(Checkpoints(folder, experiment.train.keep)))
        start = begin(experiment, corpus, vocabulary, checkpoints)
        processes.first_alone(lambda: workdir.claim(folder, experiment))  # now that it can be trained
        lines = Lines(experiment, corpus, vocabulary, folder, start, rate, sample, sinks, stop)
        held.enter_context(contextlib.closing(lines))
        run = _Run(experiment, folder, checkpoints, start, lines, stop)
        compile_s = run.to_the_end()
        return run.record(corpus, compile_s)


class _Run:
    """The steps of one start of a run, up to the last, a signal or an error."""

    def __init__(
        self,
        experiment: Experiment,
        folder: pathlib.Path,
        checkpoints: Checkpoints,
        start: Start,
        lines: Lines,
        stop: Stop,
    ):
        self._experiment, self._folder, self._stop = experiment, folder, stop
        self._checkpoints, self._start, self._lines = checkpoints, start, lines
        self._parameters = count(start.model.shapes())
        self._state = start.state

    def to_the_end(self) -> float:
        """All steps that are left. Returns the seconds that their compilation took."""
        experiment, config, start, lines = self._experiment, self._experiment.train, self._start, self._lines
        first = start.step
        progress.say(
            f"{experiment.name} {experiment.variant}: {self._parameters:,} parameters, "
            f"d_ff {experiment.model.decoder.feed_forward}" + (f", going on from step {first}" if first else "")
        )
        compile_s = 0.0
        step: Any = make_train_step(start.model, start.optimizer, config, start.mesh)
        with progress.bar(f"train {experiment.variant}", config.steps, first) as bar:
            if lines.window:
                lines.window.start_clock()
                lines.write(first, self._state)
            for done in range(first + 1, config.steps + 1):
                if done == first + 1 and self._stop.agreed():
                    raise self._stopped(first)
                rows = next(start.batches)
                batch = start.place(rows)
                if done == first + 1:
                    began = time.perf_counter()
                    step = step.lower(self._state, batch).compile()
                    compile_s = time.perf_counter() - began
                    lines.window.start_clock()
                self._state, sums = step(self._state, batch)
                lines.add(done, sums, batch, rows)
                text = lines.write(done, self._state)
                stopped = self._stop.agreed()
                if stopped or done % config.checkpoint_every == 0 or done == config.steps:
                    self._save(done)
                bar.update(done, text)
                if stopped and (done < config.steps or lines.window):
                    raise self._stopped(done)
        return compile_s

    def record(self, corpus: Corpus, compile_s: float) -> dict[str, Any]:
        """The `train` record, which is written."""
        losses = self._lines.losses
        best = self._checkpoints.best(losses)
        figures = {
            "parameters": self._parameters,
            "feed_forward": self._experiment.model.decoder.feed_forward,
            **summary.figures(metrics.read(self._folder), compile_s),
            "refused_steps": int(self._state.guard.refused),
            "best": None if best is None else {"step": best, "dev_nll_per_token": losses[best]},
            "steps": self._experiment.train.steps,
            "corpus": corpus.description,
        }
        record = records.make("train", self._experiment, figures)
        if processes.is_first():
            records.write(self._folder / "records", record)
        return record

    def _save(self, step: int) -> None:
        window = self._lines.window
        window.stop_clock()
        self._lines.look(self._state)
        self._checkpoints.save(step, self._state, self._start.batches, window.state(), self._lines.losses)
        window.start_clock()

    def _stopped(self, step: int) -> Stopped:
        after = f"after step {step} of {self._experiment.train.steps}, which is saved" if step else "before step 1"
        return Stopped(f"stopped {after}; the same command goes on from there ({self._folder})")
