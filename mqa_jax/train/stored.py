"""The parameters of stored checkpoints, whatever lies beside them. Nothing is written."""

import json
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from mqa_jax.errors import InputError
from mqa_jax.train import damage, form


def parameters(checkpoint: pathlib.Path, abstract: Any) -> Any:
    """The parameters of one checkpoint, in the shapes of `abstract`.

    Raises:
      InputError: they are of another architecture; the message names the first difference.
    """
    path = checkpoint / "state"
    difference = form.difference_of(form.stored(path)["parameters"], abstract)
    if difference:
        raise InputError(
            f"the checkpoint {checkpoint} is of another architecture: {difference}; use the config it was trained with"
        )
    with ocp.PyTreeCheckpointer() as reader:
        restored = reader.restore(
            path,
            args=ocp.args.PyTreeRestore(
                item={"parameters": abstract},
                restore_args=ocp.checkpoint_utils.construct_restore_args({"parameters": abstract}),
                partial_restore=True,
            ),
        )
    return restored["parameters"]


def mean_parameters(folder: pathlib.Path, abstract: Any, count: int = 1) -> tuple[Any, list[int]]:
    """The mean of the parameters of the newest `count` whole checkpoints, in the shapes of `abstract`, and their steps.

    They are the last that were saved, one after the other: an older one that stays because it is the best is none of
    them, unless nothing else can be read.

    Raises:
      InputError: there are not so many checkpoints that can be read, or they are of another architecture.
    """
    steps = sorted(int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit())
    if not steps:
        raise InputError(f"no checkpoint in {folder}; train first: scripts/train.py")
    whole = damage.whole(folder, steps, lambda step: (step, parameters(folder / str(step), abstract)))
    last, mean = next(whole)
    gone = [] if count == 1 else [step for step in _saved(folder / str(last)) if step not in steps]
    used = [last]
    while len(used) < count:
        step, each = next(whole, (None, None))  # two of them in memory at a time
        if step is None or any(step < other < used[-1] for other in gone):
            raise InputError(
                f"--average={count} needs as many checkpoints, and {folder} has {len(used)} of the newest; train on "
                "with --config.train.keep set to that number, or average fewer"
            )
        used.append(step)
        mean = jax.tree.map(lambda m, x: m + (x - m) / len(used), mean, each)
    return mean, sorted(used)


def _saved(checkpoint: pathlib.Path) -> list[int]:
    """The steps that were saved up to a checkpoint, kept or not."""
    path = checkpoint / "saved" / "metadata"  # where orbax keeps JSON
    try:
        return json.loads(path.read_text(encoding="utf-8"))["steps"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{checkpoint} does not say which steps were saved before it (it is damaged, or another version of mqa_jax "
            "wrote it); leave out --average"
        ) from error
