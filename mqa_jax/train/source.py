"""The run that another starts from: it gives the first parameters and, if asked for, the optimiser's state."""

import dataclasses
import pathlib

import jax
import optax

from mqa_jax import workdir
from mqa_jax.data import vocabulary as vocabularies
from mqa_jax.errors import InputError
from mqa_jax.experiment import Experiment
from mqa_jax.model.build import build
from mqa_jax.train import checkpoint, trained
from mqa_jax.train.optimizer import optimizer
from mqa_jax.train.step import TrainState


def of(folder: pathlib.Path) -> Experiment:
    """The experiment of the run that another is to start from, with its vocabulary as the one to take.

    Raises:
      InputError: there is no run.
    """
    there = workdir.owner(folder, "--from")
    vocabulary = str(vocabularies.path_in(folder.absolute()))
    return dataclasses.replace(there, data=dataclasses.replace(there.data, vocabulary_file=vocabulary))


def check(experiment: Experiment) -> None:
    """Says no before any work: raises InputError if there is no checkpoint, or not the optimiser state to keep."""
    folder = pathlib.Path(experiment.start)
    workdir.owner(folder, "--from")
    path = trained.newest(folder)
    if experiment.train.optimizer_state == "reset":
        return
    model = build(experiment.model)
    wanted = jax.eval_shape(optimizer(experiment.train, model.axes()).init, model.shapes())
    there = checkpoint.stored_tree(path).get("optimizer")
    found = "it has none" if there is None else checkpoint.difference(there, wanted)
    if found:
        raise InputError(
            f"config.train.optimizer_state=keep: the optimiser's state in {path} is not this run's ({found}); "
            "take its optimiser and settings, or optimizer_state=reset"
        )


def begin(experiment: Experiment, fresh: TrainState, vocabulary: str) -> TrainState:
    """A fresh state with the other run's newest parameters, and its optimiser's state if the config keeps that.

    The schedule is the new run's: its steps are counted from 0.

    Args:
      vocabulary: fingerprint of the run's.
    Raises:
      InputError: see `check`; or it is of another architecture or vocabulary.
    """
    check(experiment)
    folder = pathlib.Path(experiment.start)
    workdir.refuse_unlike(folder, workdir.fingerprint(folder), {"vocabulary": vocabulary})
    parameters, (step,) = trained.mean_parameters(folder, fresh.parameters)
    state = fresh._replace(parameters=parameters)
    if experiment.train.optimizer_state == "reset":
        return state
    kept = trained.part(trained.checkpoints_of(folder) / str(step), "optimizer", fresh.optimizer)
    is_schedule = lambda each: isinstance(each, optax.ScaleByScheduleState)  # noqa: E731
    at_step_0 = lambda kept, fresh: fresh if is_schedule(kept) else kept  # noqa: E731
    return state._replace(optimizer=jax.tree.map(at_step_0, kept, fresh.optimizer, is_leaf=is_schedule))
