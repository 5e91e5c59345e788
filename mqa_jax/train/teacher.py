"""The run that another learns from: its parameters in bfloat16, which no checkpoint of the learner holds."""

import dataclasses
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from mqa_jax import sharding, workdir
from mqa_jax.errors import InputError
from mqa_jax.experiment import Experiment, ModelConfig
from mqa_jax.model.build import Model, Parameters, build
from mqa_jax.train import checkpoint, trained

KEY = "config.train.teacher"


class Teacher(NamedTuple):
    model: Model
    parameters: Parameters
    digest: str  # of the checkpoint that its parameters are from


def check(experiment: Experiment) -> ModelConfig | None:
    """The teacher's model, as it teaches; None without one. Says no before any work: raises InputError if it is gone,
    or cannot teach this run."""
    if not experiment.train.teacher:
        return None
    folder, data, model = pathlib.Path(experiment.train.teacher), experiment.data, experiment.model
    other = workdir.owner(folder, KEY)
    trained.newest(folder)
    longest = max(data.target_length, data.source_length if model.encoder else 0)
    for what, there, here in (
        ("task", other.task, experiment.task),
        ("config.model.vocabulary", other.model.vocabulary, model.vocabulary),
        ("positions", min(other.model.positions, longest), longest),
    ):
        if there != here:
            raise InputError(f"{KEY}={folder} cannot teach this run: {what} is {there} there, {here} here")
    return dataclasses.replace(other.model, dtype="bfloat16")


def load(experiment: Experiment, vocabulary: str, mesh: Mesh) -> Teacher | None:
    """The teacher, if there is one, its parameters split as the learner's are.

    Args:
      vocabulary: fingerprint of the run's.
    Raises:
      InputError: see `check`; or its vocabulary is another one.
    """
    config = check(experiment)
    if config is None:
        return None
    folder = pathlib.Path(experiment.train.teacher)
    its = workdir.fingerprint(folder).get("vocabulary")
    if its != vocabulary:
        raise InputError(
            f"{KEY}={folder} cannot teach this run: its vocabulary has the fingerprint {its}, this run's {vocabulary}"
        )
    model = build(config, mesh)
    parameters, (step,) = trained.mean_parameters(folder, abstract(model, mesh))
    return Teacher(model, parameters, checkpoint.digest(trained.checkpoints_of(folder) / str(step)))


def abstract(model: Model, mesh: Mesh) -> Parameters:
    """The shapes of a teacher's parameters, each with where it lies."""
    shapes = jax.tree.map(lambda each: jax.ShapeDtypeStruct(each.shape, jnp.bfloat16), model.shapes())
    return sharding.placed(shapes, sharding.parameter_shardings(model.axes(), shapes, mesh))
