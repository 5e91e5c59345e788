"""A finished (or running) training run, read back from its folder."""

import dataclasses
import pathlib

from mqa_jax import workdir
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.errors import InputError
from mqa_jax.experiment import Experiment
from mqa_jax.model.build import Model, Parameters, build, cast
from mqa_jax.train.checkpoint import Checkpoints


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run's newest parameters with all that is needed to use them."""

    folder: pathlib.Path
    experiment: Experiment
    model: Model
    parameters: Parameters
    vocabulary: Vocabulary

    def decoding_parameters(self) -> Parameters:
        """The parameters in the type that the model computes in."""
        return cast(self.parameters, self.experiment.model.dtype)


def load(folder: pathlib.Path) -> Trained:
    """The run in `folder`.

    Raises:
      InputError: no run, no checkpoint, no vocabulary, or a checkpoint of another architecture.
    """
    experiment = workdir.owner(folder)
    model = build(experiment.model)
    path = folder / "vocabulary.model"
    if not path.exists():
        raise InputError(f"{path} is missing; copy it from where the run was trained or train again")
    checkpoints = Checkpoints(folder, experiment.train.keep)
    try:
        parameters = checkpoints.restore_parameters(model.shapes())
    finally:
        checkpoints.close()
    return Trained(folder, experiment, model, parameters, Vocabulary(path))
