"""A finished (or running) training run, read back from its folder."""

import dataclasses
import pathlib

import jax

from mqa_jax import workdir
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.errors import InputError
from mqa_jax.experiment import Experiment
from mqa_jax.model.build import Model, Parameters, build
from mqa_jax.train import stored


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run's newest parameters, or a mean of its last ones, with all that is needed to use them.

    Attributes:
      steps: of the checkpoints that the parameters are the mean of.
    """

    folder: pathlib.Path
    experiment: Experiment
    model: Model
    parameters: Parameters
    vocabulary: Vocabulary
    steps: tuple[int, ...]

    def decoding_parameters(self) -> Parameters:
        """The parameters as decoding multiplies with them."""
        return jax.jit(self.model.lay_out)(self.parameters)


def load(folder: pathlib.Path, average: int = 1, dtype: str | None = None, cache_dtype: str | None = None) -> Trained:
    """The run in `folder`, with the mean of its last `average` checkpoints (Vaswani et al. 2017, section 6.1).

    Args:
      dtype, cache_dtype: to decode in, if not in the config's (`ModelConfig.decoding_in`).
    Raises:
      InputError: no run, too few checkpoints, no vocabulary, or a checkpoint of another architecture.
    """
    experiment = workdir.owner(folder)
    experiment = dataclasses.replace(experiment, model=experiment.model.decoding_in(dtype, cache_dtype))
    model = build(experiment.model)
    path = folder / "vocabulary.model"
    if not path.exists():
        raise InputError(f"{path} is missing; copy it from where the run was trained or train again")
    parameters, steps = stored.mean_parameters(folder.absolute() / "checkpoints", model.shapes(), average)
    return Trained(folder, experiment, model, parameters, Vocabulary(path), tuple(steps))
