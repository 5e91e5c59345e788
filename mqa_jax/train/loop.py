"""The training loop: data in, checkpoints, a log and a record out. A stopped run goes on where it was."""

import collections
import contextlib
import functools
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mqa_jax import processes, progress, records, sharding, workdir
from mqa_jax.batch import Batch
from mqa_jax.data import pipeline
from mqa_jax.data.corpus import Corpus
from mqa_jax.data.pipeline import Streams
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.errors import InputError, Stopped
from mqa_jax.experiment import Experiment
from mqa_jax.model.build import Model, Parameters, build, count
from mqa_jax.train import log as logs
from mqa_jax.train import refused, signals, source
from mqa_jax.train import teacher as teachers
from mqa_jax.train.checkpoint import Checkpoints
from mqa_jax.train.log import Log, Rate, Sink, Translation
from mqa_jax.train.optimizer import optimizer as make_optimizer
from mqa_jax.train.signals import Stop
from mqa_jax.train.step import init_state, make_train_step, score, state_shardings

STEPS_IN_FLIGHT = 2  # at most: a stop waits for no more


def train(
    experiment: Experiment,
    corpus: Corpus,
    vocabulary: Vocabulary,
    folder: pathlib.Path,
    rate: Rate | None = None,
    translate: Callable[[Parameters], Sequence[Translation]] | None = None,
    sinks: Sequence[Sink] = (),
) -> dict[str, Any]:
    """Trains to `experiment.train.steps` in `folder`, from its newest checkpoint if it has one.

    Args:
      rate: what throughput is shown as a share of, if it is known.
      translate: translates a few sentences at each evaluation.
      sinks: where log entries go besides the folder.

    Returns:
      The `train` record, which is also written to folder/records.
    Raises:
      InputError: the folder belongs to another experiment, another process trains in it, the mesh does not fit the
        devices or the rows, there is nothing to train on, or no checkpoint can be read.
      Diverged: a loss or gradient was not a number or jumped, more often than config.train.skips allows.
      DiskFull: there is no room for a checkpoint or the log.
      Stopped: a signal asked for it; the state is saved.
    """
    config = experiment.train
    with contextlib.ExitStack() as held:
        held.enter_context(workdir.full_disk_in_one_line(folder))
        stop = held.enter_context(signals.watched())
        processes.first_alone(lambda: held.enter_context(workdir.locked(folder)))
        mesh = sharding.make_mesh(experiment.mesh)
        teacher = teachers.load(experiment, vocabulary.fingerprint, mesh)
        digests = {**corpus.digests, "teacher": teacher.digest} if teacher else corpus.digests
        fingerprint = workdir.fingerprint_of(folder, experiment, digests, vocabulary.fingerprint)
        processes.together(lambda: workdir.refuse_another(folder, experiment, fingerprint))

        # Model, data.
        model = build(experiment.model, mesh)
        optimizer = make_optimizer(config, model.axes())
        batches, place = training_batches(experiment, corpus, vocabulary, mesh)

        # The state, from the newest checkpoint if there is one.
        shardings = state_shardings(model, optimizer, mesh)
        init = jax.jit(functools.partial(init_state, model, optimizer, experiment.seed), out_shardings=shardings)
        dev_losses: dict[int, float] = {}
        checkpoints = held.enter_context(contextlib.closing(Checkpoints(folder, config.keep, dev_losses, fingerprint)))
        restored = checkpoints.restore(sharding.placed(jax.eval_shape(init), shardings), batches)
        first, state, seconds = restored or (0, init(), 0.0)
        if restored is None and experiment.start:
            state = source.begin(experiment, state, vocabulary.fingerprint)
        if first > config.steps:
            raise InputError(
                f"{folder} is at step {first} already, beyond config.train.steps={config.steps}; set that to {first} "
                "or more, or choose another --workdir"
            )
        processes.first_alone(lambda: workdir.claim(folder, experiment, fingerprint))  # now that it can be trained

        # The log. An interval that is open at the checkpoint's step was saved before that step's entry was written.
        logged = first - bool(state.interval.steps)
        dev_losses |= logs.dev_losses(folder, logged)
        log = held.enter_context(contextlib.closing(Log(folder, logged, sinks))) if processes.is_first() else None
        if log:
            logs.cut(folder / refused.FILE, first)
        write_refused = functools.partial(refused.write, folder / refused.FILE, vocabulary, place, config.skips)
        unread: dict[int, Batch] = {}  # batches since the guard was last read
        evaluate = functools.partial(dev_loss, experiment, model, mesh, corpus, vocabulary, stop=stop)

        parameters = count(model.shapes())
        progress.say(
            f"{experiment.name} {experiment.variant}: {parameters:,} parameters, "
            f"d_ff {experiment.model.decoder.feed_forward}" + (f", going on from step {first}" if first else "")
        )
        bar = held.enter_context(progress.bar(f"train {experiment.variant}", config.steps, first))
        train_step: Any = make_train_step(model, optimizer, config, mesh, teacher and teacher.model)
        knowledge = [teacher.parameters] if teacher else []
        in_flight: collections.deque[Any] = collections.deque()
        compile_s, text, began = 0.0, "", time.perf_counter()

        for step in range(first, config.steps + 1):  # the first round only makes up for what a stop cut short
            if step > first:
                rows = next(batches)
                batch = place(rows)
                if step == first + 1:
                    began = time.perf_counter()
                    train_step = train_step.lower(state, batch, *knowledge).compile()
                    compile_s = time.perf_counter() - began
                    began = time.perf_counter()
                state, sums = train_step(state, batch, *knowledge)
                unread[step] = rows
                in_flight.append(sums)
                if len(in_flight) > STEPS_IN_FLIGHT:
                    jax.block_until_ready(in_flight.popleft())

            evaluating = is_due(config.evaluate_every, step, config.steps)
            logging = evaluating or is_due(config.log_every, step, config.steps)
            if logging and state.interval.steps:  # waits for the step
                write_refused(state.guard, unread)
                seconds += time.perf_counter() - began
                entry, translations = logs.values(state, seconds, rate, teacher is not None), []
                dev = evaluate(state.parameters) if evaluating else None
                if dev is not None:
                    entry["dev_nll_per_token"] = dev_losses[step] = dev
                    translations = translate(state.parameters) if translate else []
                if dev is not None or not evaluating:  # a stop inside the evaluation leaves the entry to the next start
                    if log:
                        log.write(step, entry, translations)
                    state = state._replace(interval=jax.tree.map(jnp.zeros_like, state.interval))
                    seconds, text = 0.0, logs.text(entry)
                began = time.perf_counter()

            stopping = stop.agreed()
            if step > first and (stopping or is_due(config.checkpoint_every, step, config.steps)):
                write_refused(state.guard, unread)
                seconds += time.perf_counter() - began
                checkpoints.save(step, state, batches.get_state(), seconds)
                began = time.perf_counter()
            bar.update(step, text)
            if stopping and (step < config.steps or state.interval.steps):
                after = f"after step {step} of {config.steps}, which is saved" if step else "before step 1"
                raise Stopped(f"stopped {after}; the same command goes on from there ({folder})")

        best = checkpoints.best()
        figures = {
            "parameters": parameters,
            "feed_forward": experiment.model.decoder.feed_forward,
            **logs.figures(logs.entries(folder)),
            "compile_s": compile_s,
            "refused_steps": int(state.guard.refused),
            "best": None if best is None else {"step": best, "dev_nll_per_token": dev_losses[best]},
            "steps": config.steps,
            "corpus": corpus.description,
        }
        record = records.make("train", experiment, figures)
        if processes.is_first():
            records.write(folder / "records", record)
        return record


def is_due(every: int, step: int, steps: int) -> bool:
    return step % every == 0 or step == steps


def training_batches(
    experiment: Experiment, corpus: Corpus, vocabulary: Vocabulary, mesh: Mesh
) -> tuple[Streams, Callable[[Any], Any]]:
    """The batches of which this process makes some rows, and what puts these where they belong on the mesh."""
    data = experiment.data
    sharding.check_rows(data.rows, mesh)
    own = sharding.own_rows(data.rows, mesh)
    made = pipeline.streams_of_rows(own, data)
    held = pipeline.rows_of_streams(made, data)
    if jax.process_count() > 1:
        names = ", ".join(map(str, made))
        progress.say(f"process {jax.process_index()} makes the rows of streams {names} of {data.streams}")
        if processes.any_of(len(held) > len(own)) and processes.is_first():
            progress.say(
                f"config.data.streams={data.streams} are too few for {jax.process_count()} processes: some make rows "
                "that others keep. A new run shares them out with a multiple of the processes that divides "
                "config.data.rows"
            )
    batches = pipeline.training_iterator(corpus.train, vocabulary, data, experiment.seed, made)
    return batches, functools.partial(sharding.place, mesh=mesh, rows=data.rows, held=held)


def dev_loss(
    experiment: Experiment,
    model: Model,
    mesh: Mesh,
    corpus: Corpus,
    vocabulary: Vocabulary,
    parameters: Parameters,
    stop: Stop | None = None,
) -> float | None:
    """Negative log-likelihood per token of dev, without smoothing or dropout; None if a stop cut it short.

    Of dev's first `config.train.dev_lines` lines: what judges a finished run scores all of them.

    Each line counts once, in the process whose device it lies on.
    """
    totals = np.zeros(2)
    rows = experiment.decode.batch
    own = sharding.own_rows(rows, mesh)
    dev = corpus.splits["dev"].first(experiment.train.dev_lines)
    for batch in pipeline.scoring_batches(dev, vocabulary, experiment.data, rows, own):
        if stop and stop.agreed():
            return None
        sums = score(model, parameters, sharding.place(batch, mesh, rows, own), mesh)
        totals += [float(sums.nll), float(sums.tokens)]
    return float(totals[0] / totals[1])
