"""The log lines of a run: what was trained since the last one, with an evaluation where one is due."""

import pathlib
from collections.abc import Callable, Sequence

import jax

from mqa_jax import processes
from mqa_jax.batch import Batch
from mqa_jax.data.sources import Corpus
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.experiment import Experiment
from mqa_jax.model.build import Parameters
from mqa_jax.train import summary
from mqa_jax.train.development import dev_loss, dev_losses
from mqa_jax.train.interrupt import Stop
from mqa_jax.train.loss import Sums
from mqa_jax.train.metrics import Metrics, Sample, Sink
from mqa_jax.train.refused import Refused
from mqa_jax.train.start import Start
from mqa_jax.train.step import TrainState
from mqa_jax.train.window import Rate, Window


class Lines:
    """Counts steps and writes their lines. Every process has one; the first writes.

    Attributes:
      window: the steps since the last line.
      losses: the dev losses so far, by step.
    """

    def __init__(
        self,
        experiment: Experiment,
        corpus: Corpus,
        vocabulary: Vocabulary,
        folder: pathlib.Path,
        start: Start,
        rate: Rate | None,
        sample: Callable[[Parameters], Sequence[Sample]] | None,
        sinks: Sequence[Sink],
        stop: Stop,
    ):
        self._experiment, self._corpus, self._vocabulary = experiment, corpus, vocabulary
        self._start, self._rate, self._sample, self._stop = start, rate, sample, stop
        self.window = start.window
        # A window that is still open at the checkpoint's step was saved before that step's line was written.
        written = start.step - bool(self.window)
        self.losses = {step: loss for step, loss in dev_losses(folder).items() if step <= written}
        self._log = Metrics(folder, written, sinks) if processes.is_first() else None
        self._refused = Refused(
            f"{experiment.name} {experiment.variant}",
            folder,
            vocabulary,
            lambda rows: jax.device_get(processes.whole(start.place(rows))),
            experiment.train.skips,
            start.step,
            int(start.state.guard.refused),
        )

    def add(self, step: int, sums: Sums, batch: Batch, rows: Batch) -> None:
        """Counts a step: its batch on the devices and this process's rows of it."""
        self.window.add(sums, batch)
        self._refused.add(step, rows)

    def look(self, state: TrainState) -> int:
        """How many steps were refused so far; see `Refused.look`."""
        return self._refused.look(state.guard)

    def write(self, step: int, state: TrainState) -> str:
        """Writes the line of a step, if one is due; a text of it for the bar.

        A stop during the evaluation leaves the window open: the line is written when the run goes on.
        """
        if not self._is_due(step, self._experiment.train.log_every):
            return ""
        refused = self.look(state)
        values = self.window.close(self._rate)
        values["gradient_norm"] = float(state.guard.gradient_norm)
        if refused:
            values["refused"] = refused
        samples: Sequence[Sample] = []
        if self._is_due(step, self._experiment.train.evaluate_every):
            model, mesh = self._start.model, self._start.mesh
            dev = dev_loss(model, state.parameters, self._corpus, self._vocabulary, self._experiment, mesh, self._stop)
            if dev is None:
                return ""
            values["dev_nll_per_token"] = self.losses[step] = dev
            samples = self._sample(state.parameters) if self._sample else []
        if self._log and samples:
            self._log.write_samples(step, samples)
        if self._log:
            self._log.write(step, values)
        self.window = Window()
        return summary.line(values)

    def close(self) -> None:
        if self._log:
            self._log.close()

    def _is_due(self, step: int, every: int) -> bool:
        return step % every == 0 or step == self._experiment.train.steps
