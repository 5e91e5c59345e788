"""One JSON record for each measurement: what was run, what came out, when. Everything a person reads is made from them.

A record is one flat JSON object. Its header says what was run (`kind`, `command`, `commit`, `versions`,
`device`, `name`, `variant`, `seed`, `config`); the rest are figures whose names carry their units.
"""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from mqa_jax import files
from mqa_jax.errors import InputError
from mqa_jax.experiment import PLACES, Experiment
from mqa_jax.kernels import host

SCHEMA = 1
RENAMED = {"peak_share": "mfu"}  # fields of the first edition's records, by what they are called now
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "sentencepiece", "sacrebleu", "numpy")

FORCED = "xla_force_host_platform_device_count"


def make(kind: str, experiment: Experiment, figures: Mapping[str, Any], used: int | None = None) -> dict[str, Any]:
    """A record of `kind` for one experiment.

    Args:
      used: how many devices did the work; None for all.
    """
    header = {
        "schema": SCHEMA,
        "kind": kind,
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": _commit(),
        "versions": {"python": platform.python_version()} | {p: importlib.metadata.version(p) for p in PACKAGES},
        "device": device(used),
        "name": experiment.name,
        "task": experiment.task,
        "variant": experiment.variant,
        "seed": experiment.seed,
        "config": config_of(experiment),
    }
    return header | dict(figures)


def write(folder: str | os.PathLike[str], record: Mapping[str, Any], label: str = "") -> pathlib.Path:
    """Writes `folder/KIND[-label].json` whole or not at all; a newer record of the same name replaces the older."""
    path = pathlib.Path(folder) / f"{'-'.join(filter(None, (record['kind'], label)))}.json"
    return files.write(path, json.dumps(record, indent=1) + "\n")


def read(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """All records of the runs in `folder`, its own among them, in the order of their paths.

    Raises:
      InputError: one is damaged.
    """
    return [_load(path) for path in sorted(pathlib.Path(folder).rglob("records/*.json"))]


def read_run(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """As `read`, but of the run in `folder` alone, not of others below it."""
    return [_load(path) for path in sorted(pathlib.Path(folder).glob("records/*.json"))]


def is_there(folder: str | os.PathLike[str], name: str, experiment: Experiment, parts: Sequence[str]) -> bool:
    """Whether `folder/NAME.json` is the record of this experiment, in the parts of it that such a record depends on."""
    path = pathlib.Path(folder) / f"{name}.json"
    if not path.exists():
        return False
    here, there = config_of(experiment), _load(path)["config"]
    for config in (here, there):
        for key in PLACES:  # the data may have been moved since
            config["data"].pop(key, None)
    return all(there.get(part) == here[part] for part in parts)


def config_of(experiment: Experiment) -> dict[str, Any]:
    """The experiment as a reader of JSON finds it, without where a machine has its data: of these the names alone."""
    config = json.loads(json.dumps(dataclasses.asdict(experiment)))
    name = lambda path: pathlib.PurePath(path).name  # noqa: E731
    config["data"] |= {key: name(config["data"][key]) for key in PLACES}
    config["train"]["teacher"], config["start"] = name(config["train"]["teacher"]), name(config["start"])
    return config


def _load(path: pathlib.Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        missing = {"kind", "when", "name", "variant", "config"} - record.keys()
    except (ValueError, AttributeError) as error:
        raise InputError(f"{path} is not a record ({error}); delete it or put a copy there") from error
    if missing:
        raise InputError(f"{path} is not a record: it lacks {', '.join(sorted(missing))}; delete it")
    return {RENAMED.get(str(field), str(field)): value for field, value in record.items()}


def device(used: int | None = None) -> str:
    """The accelerators that were used, or the processor's name and this process's cores: `2 x AMD EPYC (cpu)`.

    Where XLA_FLAGS makes one CPU many devices, to try a mesh, it says so.
    """
    devices = jax.devices()
    used = used or len(devices)
    if devices[0].platform != "cpu":
        return f"{used} x {devices[0].device_kind} ({devices[0].platform})"
    cpuinfo = pathlib.Path("/proc/cpuinfo")  # Linux has it
    named = re.search(r"^model name\s*: (.*)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    model = named[1] if named else platform.machine()
    virtual = f"{used} virtual devices on " if FORCED in os.environ.get("XLA_FLAGS", "") and used > 1 else ""
    return f"{virtual}{host.cores()} x {model} (cpu)"


def _commit() -> str:
    """The checkout's commit, marked `+` where files differ from it; `unknown` outside a checkout."""
    root = pathlib.Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
