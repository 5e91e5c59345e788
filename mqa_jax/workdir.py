"""The folder of one run: which experiment it belongs to, who trains in it and where its parts lie.

WORKDIR/README.md   experiment.json   vocabulary.model   checkpoints/   metrics.jsonl   translations.jsonl
        tensorboard/   records/   lock   refused.jsonl (batches that were refused)
"""

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator

from mqa_jax import experiment as experiments
from mqa_jax import files
from mqa_jax.errors import DiskFull, InputError
from mqa_jax.experiment import Experiment

# What may differ when a run goes on; everything else makes another run.
FREE = {
    "data": ("folder", "vocabulary_file"),  # where they lie, not what they hold
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

NO_ROOM = ("No space left on device", "File too large", "Disk quota exceeded")


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


def claim(workdir: pathlib.Path, experiment: Experiment) -> None:
    """Makes the folder this experiment's, or checks that it is.

    Raises:
      InputError: another experiment lives there; the message names the differences.
    """
    refuse_another(workdir, experiment)
    files.write(workdir / "experiment.json", experiments.to_json(experiment))


def owner(workdir: pathlib.Path) -> Experiment:
    """The experiment that was trained in `workdir`.

    Raises:
      InputError: there is none, or its description is damaged.
    """
    path = workdir / "experiment.json"
    if not path.exists():
        inside = sorted(each.parent.name for each in workdir.glob("*/experiment.json"))
        names = ", ".join(str(workdir / each) for each in inside)
        there = f"name one of those in it: {names}" if inside else "train one first: scripts/train.py"
        raise InputError(f"--workdir={workdir} holds no run (no experiment.json); {there}")
    try:
        return experiments.from_json(path.read_text(encoding="utf-8"))
    except (InputError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error!r}); train again in a new --workdir") from error


def refuse_another(workdir: pathlib.Path, experiment: Experiment) -> None:
    """Raises InputError if the folder is another experiment's; the message names the differences."""
    if not (workdir / "experiment.json").exists():
        return
    there = _differences(dataclasses.asdict(owner(workdir)), dataclasses.asdict(experiment))
    if there:
        raise InputError(f"{workdir} holds another run ({'; '.join(there)}); choose another --workdir or delete it")


@contextlib.contextmanager
def full_disk_in_one_line(workdir: pathlib.Path) -> Iterator[None]:
    """Turns what any library raises when a disk, a quota or a limit is full into DiskFull.

    Raises:
      DiskFull: there was no room for what was written inside the block.
    """
    try:
        yield
    except Exception as error:
        reason = _no_room(error)
        if reason is None:
            raise
        raise DiskFull(
            f"{workdir}: {reason[0].lower()}{reason[1:]}; the checkpoints written before are intact. "
            "Make room and give the same command again: it goes on from the newest"
        ) from error


def _no_room(error: BaseException | None) -> str | None:
    """What the system said of a full disk, in an error or in what caused it: libraries pass it on in their messages."""
    while error is not None:
        inside = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
        for sign in (*(sign for sign in NO_ROOM if sign in str(error)), *filter(None, map(_no_room, inside))):
            return sign
        error = error.__cause__ or error.__context__
    return None


def _differences(old: dict, new: dict, path: str = "config", free: tuple[str, ...] = ()) -> list[str]:
    """What differs and may not, one text for each key."""
    found = []
    for key in [*old, *(key for key in new if key not in old)]:
        if key in free:
            continue
        was, now = old.get(key), new.get(key)
        if isinstance(was, dict) and isinstance(now, dict):
            found += _differences(was, now, f"{path}.{key}", FREE.get(key, ()) if path == "config" else ())
        elif (tuple(was) if isinstance(was, list) else was) != (tuple(now) if isinstance(now, list) else now):
            found.append(f"{path}.{key} is {was!r} there, {now!r} here")
    return found
