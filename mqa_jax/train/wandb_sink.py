"""Metrics to Weights & Biases, an optional extra: pip install 'mqa_jax[wandb]'."""

import dataclasses
import hashlib
import importlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mqa_jax.errors import InputError
from mqa_jax.experiment import Experiment
from mqa_jax.train.metrics import FIELDS, Sample


class WandbSink:
    """One run there for one folder here: a run that goes on goes on there, and steps that it has already are ignored.

    Raises:
      InputError: the package is not installed.
    """

    def __init__(self, project: str, folder: pathlib.Path, experiment: Experiment):
        try:
            self._wandb: Any = importlib.import_module("wandb")
        except ImportError as error:
            raise InputError(f"--wandb={project} needs a package: pip install 'mqa_jax[wandb]'") from error
        name = str(folder.absolute())
        self._run = self._wandb.init(
            project=project,
            dir=str(folder),
            id=hashlib.sha256(name.encode()).hexdigest()[:16],
            name=folder.name,
            resume="allow",
            config=dataclasses.asdict(experiment),
        )

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def write_samples(self, step: int, samples: Sequence[Sample]) -> None:
        table = self._wandb.Table(columns=list(FIELDS), data=[[each[name] for name in FIELDS] for each in samples])
        self._run.log({"samples": table}, step=step)

    def close(self) -> None:
        self._run.finish()
