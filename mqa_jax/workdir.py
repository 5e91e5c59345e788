"""The folder of one run: which experiment it belongs to and where its parts lie.

WORKDIR/experiment.json   vocabulary.model   checkpoints/   metrics.jsonl   tensorboard/   records/
"""

import dataclasses
import pathlib

from mqa_jax import experiment as experiments
from mqa_jax import processes
from mqa_jax.errors import InputError
from mqa_jax.experiment import Experiment

# What may differ when a run goes on; everything else makes another run.
FREE = {
    "train": ("log_every", "evaluate_every", "checkpoint_every", "keep"),
    "mesh": ("data", "fsdp", "tensor"),
    "decode": tuple(field.name for field in dataclasses.fields(experiments.DecodeConfig)),
    "timing": tuple(field.name for field in dataclasses.fields(experiments.TimingConfig)),
}


def claim(workdir: pathlib.Path, experiment: Experiment) -> None:
    """Makes the folder this experiment's, or checks that it is.

    Raises:
      InputError: another experiment lives there; the message names the first difference.
    """
    path = workdir / "experiment.json"
    if path.exists():
        difference = _difference(dataclasses.asdict(owner(workdir)), dataclasses.asdict(experiment))
        if difference:
            raise InputError(f"{workdir} holds another run ({difference}); choose another --workdir or delete it")
    if not processes.is_first():
        return
    workdir.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part")
    half.write_text(experiments.to_json(experiment), encoding="utf-8")
    half.replace(path)


def owner(workdir: pathlib.Path) -> Experiment:
    """The experiment that was trained in `workdir`.

    Raises:
      InputError: there is none, or its description is damaged.
    """
    path = workdir / "experiment.json"
    if not path.exists():
        raise InputError(f"--workdir={workdir} holds no run (no experiment.json); train one first: scripts/train.py")
    try:
        return experiments.from_json(path.read_text(encoding="utf-8"))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error!r}); train again in a new --workdir") from error


def _difference(old: dict, new: dict, path: str = "config", free: tuple[str, ...] = ()) -> str:
    for key in old.keys() | new.keys():
        if key in free:
            continue
        was, now = old.get(key), new.get(key)
        if isinstance(was, dict) and isinstance(now, dict):
            inner = _difference(was, now, f"{path}.{key}", FREE.get(key, ()) if path == "config" else ())
            if inner:
                return inner
        elif (tuple(was) if isinstance(was, list) else was) != (tuple(now) if isinstance(now, list) else now):
            return f"{path}.{key} is {was!r} there, {now!r} here"
    return ""
