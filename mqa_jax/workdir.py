"""The folder of one run: which experiment it belongs to, who trains in it and where its parts lie.

WORKDIR/README.md   experiment.json   vocabulary.model   checkpoints/   metrics.jsonl   translations.jsonl
        tensorboard/   records/   lock   refused.jsonl (batches that were refused)
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import socket
import traceback
from collections.abc import Iterator, Mapping

from mqa_jax import experiment as experiments
from mqa_jax import files
from mqa_jax.errors import NO_ROOM, DiskFull, InputError
from mqa_jax.experiment import Experiment

# What may differ when a run goes on; everything else makes another run.
FREE = {
    "data": experiments.PLACES,
    # accumulate and rematerialise trade memory for time; the sums they make are the same but for rounding (under
    # dropout, accumulate draws other masks). clip_norm makes another optimiser.
    "train": (
        *("steps", "accumulate", "rematerialise", "spike", "skips", "translations"),
        *("log_every", "evaluate_every", "checkpoint_every", "keep"),
    ),
    "mesh": ("data", "fsdp", "tensor"),
    "decode": tuple(field.name for field in dataclasses.fields(experiments.DecodeConfig)),
    "timing": tuple(field.name for field in dataclasses.fields(experiments.TimingConfig)),
}

# What a run is made of besides its config, by what a fingerprint calls it.
PARTS = {
    "vocabulary": "the vocabulary",
    "train": "the text of config.data.train",
    "dev": "the text of config.data.dev",
    "test": "the text of config.data.test",
    "config": "the config",
    "teacher": "the checkpoint of config.train.teacher",
}

Fingerprint = Mapping[str, str]  # a digest for each of `PARTS`


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
    """Makes this process the only one that trains in the folder; the lock dies with the process, however it ends.

    Raises:
      InputError: another process trains there; the message names it.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / "lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            who = file.read().strip() or "another process"
            raise InputError(
                f"{workdir} is being trained in by {who}; wait for it, stop it or choose another --workdir"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
        file.truncate(0)


def check(workdir: pathlib.Path, experiment: Experiment) -> None:
    """Says no before any work is done: what `locked` and `claim` would raise, without making anything."""
    if (workdir / "lock").exists():
        with locked(workdir):
            pass
    refuse_another(workdir, experiment)


def claim(workdir: pathlib.Path, experiment: Experiment, found: Fingerprint) -> None:
    """Makes the folder this experiment's. `found`: its `fingerprint`."""
    text = json.dumps(dataclasses.asdict(experiment) | {"fingerprint": dict(found)}, indent=1)
    files.write(workdir / "experiment.json", text + "\n")


def owner(workdir: pathlib.Path, flag: str = "--workdir") -> Experiment:
    """The experiment that was trained in `workdir`.

    Args:
      flag: what the user gave the folder as.

    Raises:
      InputError: there is none, or its description is damaged.
    """
    return _read(workdir, flag)[0]


def fingerprint(workdir: pathlib.Path) -> Fingerprint:
    """What the run in `workdir` is made of; without the parts that its version of the code did not keep."""
    return _read(workdir)[1]


def fingerprint_of(workdir: pathlib.Path, experiment: Experiment, digests: Fingerprint, vocabulary: str) -> Fingerprint:
    """What a run of this experiment is made of now; one that goes on keeps its config's digest.

    Args:
      digests: of the texts (`Corpus.digests`).
      vocabulary: the vocabulary's.
    """
    known = fingerprint(workdir) if (workdir / "experiment.json").exists() else {}
    config = dataclasses.asdict(experiment)
    for block, free in FREE.items():
        config[block] = {key: value for key, value in config[block].items() if key not in free}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]
    return {**digests, "vocabulary": vocabulary, "config": known.get("config", digest)}


def refuse_another(workdir: pathlib.Path, experiment: Experiment, found: Fingerprint | None = None) -> None:
    """Raises InputError if the folder is another experiment's, or of other data; the message names the differences.

    Args:
      found: what the run would be made of now, as far as it is known.
    """
    if not (workdir / "experiment.json").exists():
        return
    run, made_of = _read(workdir)
    there = "; ".join(_differences(dataclasses.asdict(run), dataclasses.asdict(experiment)))
    if there:
        raise InputError(f"{workdir} holds another run ({there}); choose another --workdir or delete it")
    refuse_unlike(workdir, made_of, found or {})


def refuse_unlike(place: pathlib.Path, there: Fingerprint, here: Fingerprint) -> None:
    """Raises InputError unless what is `here` is what `place` was made of, in the parts that both name."""
    differs = "; ".join(
        f"{name} has the fingerprint {there[part]} there, {here[part]} here"
        for part, name in PARTS.items()
        if part in there and part in here and there[part] != here[part]
    )
    if differs:
        raise InputError(f"{place} was made of something else ({differs}); put back what it was made of, or train anew")


def _read(workdir: pathlib.Path, flag: str = "--workdir") -> tuple[Experiment, Fingerprint]:
    path = workdir / "experiment.json"
    if not path.exists():
        inside = sorted(each.parent.name for each in workdir.glob("*/experiment.json"))
        names = ", ".join(str(workdir / each) for each in inside)
        there = f"name one of those in it: {names}" if inside else "train one first: scripts/train.py"
        raise InputError(f"{flag}={workdir} holds no run (no experiment.json); {there}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return experiments.block(Experiment, found, old=True), found.get("fingerprint", {})
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error!r}); train again in a new --workdir") from error


@contextlib.contextmanager
def full_disk_in_one_line(workdir: pathlib.Path) -> Iterator[None]:
    """Turns what any library raises when a disk, a quota or a limit is full into DiskFull.

    Raises:
      DiskFull: there was no room for what was written inside the block.
    """
    try:
        yield
    except Exception as error:
        text = "".join(traceback.format_exception(error))  # with its causes: libraries pass on what the system said
        reason = next((each for each in map(os.strerror, NO_ROOM) if each in text), None)
        if reason is None:
            raise
        raise DiskFull(
            f"{workdir}: {reason[0].lower()}{reason[1:]}; the checkpoints written before are intact. "
            "Make room and give the same command again: it goes on from the newest"
        ) from error


def _differences(old: dict, new: dict, path: str = "config", free: tuple[str, ...] = ()) -> list[str]:
    """What differs and may not, one text for each key."""
    found = []
    for key in old | new:
        was, now = old.get(key), new.get(key)
        if isinstance(was, dict) and isinstance(now, dict):
            found += _differences(was, now, f"{path}.{key}", FREE.get(key, ()) if path == "config" else ())
        elif was != now and key not in free:
            found.append(f"{path}.{key} is {was!r} there, {now!r} here")
    return found
