"""The training loop: data in, checkpoints, metrics and a record out. A stopped run goes on where it was."""

import functools
import math
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mqa_jax import processes, progress, records, sharding, workdir
from mqa_jax.batch import Batch
from mqa_jax.data import pipeline
from mqa_jax.data.sources import Corpus
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.errors import Diverged
from mqa_jax.experiment import Experiment
from mqa_jax.model.build import Model, Parameters, build, count
from mqa_jax.train import metrics as metrics_files
from mqa_jax.train.checkpoint import Checkpoints
from mqa_jax.train.loss import Sums
from mqa_jax.train.metrics import Metrics
from mqa_jax.train.optimizer import optimizer as make_optimizer
from mqa_jax.train.step import TrainState, init_state, make_train_step, score, state_shardings


def train(experiment: Experiment, corpus: Corpus, vocabulary: Vocabulary, folder: pathlib.Path) -> dict[str, Any]:
    """Trains to `experiment.train.steps` in `folder`, from its newest checkpoint if it has one.

    Returns:
      The `train` record, which is also written to folder/records.
    Raises:
      InputError: the folder belongs to another experiment.
      Diverged: the loss became NaN or infinite.
    """
    workdir.claim(folder, experiment)
    config, model = experiment.train, build(experiment.model)
    mesh = sharding.make_mesh(experiment.mesh)
    optimizer = make_optimizer(config)
    sharding.check_rows(experiment.data.rows, mesh)
    iterator = pipeline.training_iterator(corpus.splits["train"], vocabulary, experiment.data, experiment.seed)
    checkpoints = Checkpoints(folder, config.keep)
    state, iterator = _begin(experiment, model, optimizer, mesh, checkpoints, iterator)
    first = int(state.step)
    figures = {"parameters": count(model.shapes()), "feed_forward": experiment.model.decoder.feed_forward}
    progress.say(
        f"{experiment.name} {experiment.variant}: {figures['parameters']:,} parameters, "
        f"d_ff {figures['feed_forward']}" + (f", going on from step {first}" if first else "")
    )
    step = make_train_step(model, optimizer, config, mesh)
    log = Metrics(folder, first) if processes.is_first() else None
    window, compile_s = _Window(experiment), 0.0
    try:
        with progress.bar(f"train {experiment.variant}", config.steps, first) as bar:
            for done in range(first + 1, config.steps + 1):
                rows = next(iterator)
                batch = sharding.place(rows, mesh)
                if done == first + 1:
                    start = time.perf_counter()
                    step = step.lower(state, batch).compile()
                    compile_s = time.perf_counter() - start
                    window.restart()
                state, sums = step(state, batch)
                window.add(sums, rows)
                last = done == config.steps
                if last or done % config.log_every == 0:
                    values = window.close(done)
                    if last or done % config.evaluate_every == 0:
                        values["dev_nll_per_token"] = dev_loss(
                            model, state.parameters, corpus, vocabulary, experiment, mesh
                        )
                    if log:
                        log.write(done, values)
                    bar.update(done, _line(values))
                    window.restart()
                if last or done % config.checkpoint_every == 0:
                    window.check(done, state.parameters)
                    with window.paused():
                        checkpoints.save(done, state, iterator)
    finally:
        if log:
            log.close()
        checkpoints.close()
    figures |= _figures(folder, compile_s) | {"steps": config.steps, "corpus": corpus.description}
    record = records.make("train", experiment, figures)
    if processes.is_first():
        records.write(folder / "records", record)
    return record


def dev_loss(
    model: Model, parameters: Parameters, corpus: Corpus, vocabulary: Vocabulary, experiment: Experiment, mesh: Mesh
) -> float:
    """Negative log-likelihood per token of the dev set, without smoothing or dropout; each line once, on one device."""
    totals = np.zeros(2)
    batches = pipeline.scoring_batches(corpus.splits["dev"], vocabulary, experiment.data, experiment.decode.batch)
    for batch in batches:
        sums = score(model, parameters, sharding.place(batch, mesh))
        totals += [float(sums.nll), float(sums.tokens)]
    return float(totals[0] / totals[1])


def _begin(
    experiment: Experiment, model: Model, optimizer: Any, mesh: Mesh, checkpoints: Checkpoints, iterator: Any
) -> tuple[TrainState, Any]:
    """The state to go on from and the iterator at its place."""
    shardings = state_shardings(model, optimizer, mesh)
    init = functools.partial(init_state, model, optimizer, experiment.seed)
    if checkpoints.latest is None:
        return jax.jit(init, out_shardings=shardings)(), iterator
    abstract = jax.tree.map(
        lambda shape, where: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=where),
        jax.eval_shape(init),
        shardings,
    )
    return checkpoints.restore(abstract, iterator)


class _Window:
    """Sums since the last log line. They stay on the device until the line is due."""

    def __init__(self, experiment: Experiment):
        self._name = f"{experiment.name} {experiment.variant}"
        self.restart()

    def restart(self) -> None:
        self._sums: list[Sums] = []
        self._source_tokens = 0
        self._start = time.perf_counter()

    def add(self, sums: Sums, batch: Batch) -> None:
        self._sums.append(sums)
        if batch.source is not None:
            self._source_tokens += int((np.asarray(batch.source.segments_BL) > 0).sum())

    def close(self, step: int) -> dict[str, float]:
        objective, nll, tokens = (math.fsum(float(each) for each in sums) for sums in zip(*self._sums, strict=True))
        seconds = time.perf_counter() - self._start
        if not math.isfinite(objective):
            self._stop(step)
        return {
            "loss": objective / tokens,
            "nll_per_token": nll / tokens,
            "tokens": tokens + self._source_tokens,
            "seconds": seconds,
            "tokens_per_s": (tokens + self._source_tokens) / seconds,
        }

    def check(self, step: int, parameters: Parameters) -> None:
        """No checkpoint of a broken state is ever written."""
        if not bool(_all_finite(parameters)):
            self._stop(step)

    def paused(self) -> "_Pause":
        return _Pause(self)

    def _stop(self, step: int) -> None:
        raise Diverged(
            f"{self._name}: the loss or a parameter is not a number at step {step}; the last good checkpoint is kept. "
            "Lower config.train.learning_rate or look at the data near that step."
        )


@jax.jit
def _all_finite(parameters: Parameters) -> jax.Array:
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(parameters)]).all()


class _Pause:
    """Time that is not training: shifts the window's start by what passed."""

    def __init__(self, window: _Window):
        self._window = window

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._window._start += time.perf_counter() - self._start


def _line(values: dict[str, float]) -> str:
    dev = f"  dev {values['dev_nll_per_token']:.3f}" if "dev_nll_per_token" in values else ""
    return f"loss {values['loss']:.3f}{dev}  {values['tokens_per_s']:,.0f} tokens/s"


def _figures(folder: pathlib.Path, compile_s: float) -> dict[str, Any]:
    """The record's figures from the metrics of the whole run, resumed or not."""
    curve, seconds, tokens = [], 0.0, 0.0
    for line in metrics_files.read(folder):
        seconds, tokens = seconds + line["seconds"], tokens + line["tokens"]
        point = {"step": line["step"], "seconds": seconds, "tokens": tokens, "loss": line["loss"]}
        if "dev_nll_per_token" in line:
            point["dev_nll_per_token"] = line["dev_nll_per_token"]
        curve.append(point)
    return {
        "tokens_per_s": tokens / seconds if seconds else 0.0,
        "train_s": seconds,
        "compile_s": compile_s,
        "final_loss": curve[-1]["loss"] if curve else math.nan,
        "curve": curve,
    }
