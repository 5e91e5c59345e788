"""A finished (or running) training run, read back from its folder. Nothing is written."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import orbax.checkpoint as ocp

from mqa_jax import sharding, workdir
from mqa_jax.data import sources
from mqa_jax.data import vocabulary as vocabularies
from mqa_jax.data.corpus import Split
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.errors import InputError
from mqa_jax.experiment import Experiment
from mqa_jax.kernels import host
from mqa_jax.model.build import Model, Parameters, build
from mqa_jax.train import checkpoint as checkpoints


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run's newest parameters, or a mean of its last ones, with all that is needed to use them.

    Attributes:
      model, parameters: of one replica, on its devices.
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


def load(
    folder: pathlib.Path,
    average: int = 1,
    dtype: str | None = None,
    cache_dtype: str | None = None,
    tensor: int | None = None,
) -> Trained:
    """The run in `folder`, with the mean of its last `average` checkpoints (Vaswani et al. 2017, section 6.1).

    Args:
      dtype, cache_dtype: to decode in, if not in the config's (`ModelConfig.decoding_in`).
      tensor: devices that share a replica, if not the config's (`config.mesh.tensor`).
    Raises:
      InputError: no run, too few checkpoints, no vocabulary or another one, a checkpoint of another architecture or of
        another run, or devices that cannot be grouped so.
    """
    if dtype == "int8":
        host.keep_freed_memory()
    experiment = workdir.owner(folder)
    mesh = experiment.mesh if tensor is None else dataclasses.replace(experiment.mesh, tensor=tensor)
    experiment = dataclasses.replace(experiment, model=experiment.model.decoding_in(dtype, cache_dtype), mesh=mesh)
    group = sharding.groups(mesh, jax.local_devices())[0]
    model = build(experiment.model).over(group)
    path = vocabularies.path_in(folder)
    if not path.exists():
        raise InputError(f"{path} is missing; copy it from where the run was trained or train again")
    vocabulary = vocabularies.read(path)
    workdir.refuse_unlike(folder, workdir.fingerprint(folder), {"vocabulary": vocabulary.fingerprint})
    shapes = model.shapes()
    where = sharding.parameter_shardings(model.axes(), shapes, group)
    parameters, steps = mean_parameters(folder, sharding.placed(shapes, where), average)
    return Trained(folder, experiment, model, parameters, vocabulary, tuple(steps))


def lines_of_all(folders: Sequence[pathlib.Path], name: str, sentences: int) -> Split:
    """The first lines of a split of the corpus that all runs were made of. Says no before long work.

    Args:
      folders: of the runs, as --workdirs names them.
      name: of the split, as --split names it.
    Raises:
      InputError: the runs cannot be compared on any line, or have no such split.
    """
    experiments = [workdir.owner(folder, "--workdirs") for folder in folders]
    made_of = [workdir.fingerprint(folder) for folder in folders]
    first, task = folders[0], experiments[0].task
    for at, (folder, experiment) in enumerate(zip(folders, experiments, strict=True)):
        if folder.name in [other.name for other in folders[:at]]:
            raise InputError(f"--workdirs names {folder.name} twice; give each run once, and each a name of its own")
        if experiment.task != task:
            raise InputError(f"--workdirs: {first} is of {task}, {folder} of {experiment.task}; give runs of one task")
        vocabularies = [each.get("vocabulary") for each in (made_of[0], made_of[at])]
        if vocabularies[0] != vocabularies[1]:
            raise InputError(
                f"--workdirs: {folder} has the vocabulary {vocabularies[1]}, {first} has {vocabularies[0]}; give runs "
                "that share one"
            )
    splits = sources.load(experiments[0].data, task).splits
    if name not in splits:
        raise InputError(f"--split={name} is not in the corpus of {first}; choose from: {', '.join(sorted(splits))}")
    for folder, parts in zip(folders, made_of, strict=True):
        workdir.refuse_unlike(folder, parts, {name: splits[name].digest()})
    return splits[name].first(sentences)


def mean_parameters(run: pathlib.Path, abstract: Any, count: int = 1) -> tuple[Parameters, list[int]]:
    """The mean parameters of a run's newest `count` intact checkpoints, in the shapes of `abstract`, and their steps.

    They are the last that were saved, one after the other: an older one that stays because it is the best is none of
    them, unless nothing else can be read.

    Raises:
      InputError: there are not so many checkpoints that can be read, or they are of another architecture or run.
    """
    folder, fingerprint = checkpoints_of(run), workdir.fingerprint(run)
    steps = _steps(folder)

    def read(step: int) -> tuple[int, dict[str, Any], Parameters]:
        path = folder / str(step)
        metadata = checkpoints.stored_metadata(path)
        workdir.refuse_unlike(path, metadata.get("fingerprint", {}), fingerprint)
        return step, metadata, parameters(path, abstract)

    readable = checkpoints.intact(folder, steps, read)
    last, metadata, mean = next(readable)
    if count > 1 and "saved" not in metadata:
        raise InputError(
            f"{folder / str(last)} does not say which steps were saved before it: another version of mqa_jax wrote it; "
            "leave out --average"
        )
    used, gone = [last], set(metadata.get("saved", ())) - set(steps)
    while len(used) < count:
        step, _, each = next(readable, (None, None, None))  # two of them in memory at a time
        if step is None or any(step < other < used[-1] for other in gone):
            raise InputError(
                f"--average={count} needs as many checkpoints, and {folder} has {len(used)} of the newest; train on "
                "with --config.train.keep set to that number, or average fewer"
            )
        used.append(step)
        mean = jax.tree.map(lambda m, x: m + (x - m) / len(used), mean, each)
    return mean, sorted(used)


def newest(run: pathlib.Path) -> pathlib.Path:
    """A run's newest checkpoint. Raises InputError if there is none."""
    folder = checkpoints_of(run)
    return folder / str(_steps(folder)[-1])


def checkpoints_of(run: pathlib.Path) -> pathlib.Path:
    return run.absolute() / "checkpoints"


def _steps(folder: pathlib.Path) -> list[int]:
    steps = sorted(int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit())
    if not steps:
        raise InputError(f"no checkpoint in {folder}; train first: scripts/train.py")
    return steps


def parameters(checkpoint: pathlib.Path, abstract: Any) -> Parameters:
    """The parameters of one checkpoint, whatever lies beside them, in the shapes of `abstract`.

    Raises:
      InputError: they are of another architecture; the message names the first difference.
    """
    difference = checkpoints.difference(checkpoints.stored_tree(checkpoint)["parameters"], abstract)
    if difference:
        raise InputError(
            f"the checkpoint {checkpoint} is of another architecture: {difference}; use the config it was trained with"
        )
    return part(checkpoint, "parameters", abstract)


def part(checkpoint: pathlib.Path, name: str, abstract: Any) -> Any:
    """A part of the state of one checkpoint, whatever lies beside it, in the shapes of `abstract`."""
    arguments = ocp.args.PyTreeRestore(
        item={name: abstract},
        restore_args=ocp.checkpoint_utils.construct_restore_args({name: abstract}),
        partial_restore=True,
    )
    with ocp.PyTreeCheckpointer() as reader:
        return reader.restore(checkpoint / "state", args=arguments)[name]
