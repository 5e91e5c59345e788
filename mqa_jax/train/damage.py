"""Damaged and half-written checkpoints: named, passed over, put aside where a run goes on."""

import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from mqa_jax import processes, progress
from mqa_jax.errors import InputError
from mqa_jax.train import checksums

HALF = ".orbax-checkpoint-tmp"
DAMAGED = ".damaged"

T = TypeVar("T")


def whole(folder: pathlib.Path, steps: Sequence[int], read: Callable[[int], T]) -> Iterator[T]:
    """What `read` makes of each step's checkpoint in `folder` that can be read, the newest first; the others are said.

    Raises:
      InputError: none can be read, or `read` raised it.
    """
    reason, found = "", False
    for step in reversed(steps):
        path, damage, result = folder / str(step), None, None
        try:
            if processes.is_first():
                checksums.check(path)
        except Exception as error:
            damage = error
        if not processes.any_of(damage is not None):
            try:
                result = read(step)
            except InputError:
                raise
            except Exception as error:  # orbax, tensorstore and grain raise anything on a damaged file
                damage = error
            if not processes.any_of(damage is not None):
                found = True
                yield result  # pyright: ignore[reportReturnType]  `read` has come to its end
                continue
        reason = f"{type(damage).__name__}: {_first_line(damage)}" if damage else "another process cannot read it"
        progress.say(f"{path} is damaged and is passed over ({reason})")
    if not found:
        raise InputError(
            f"no checkpoint in {folder} can be read (the last: {reason}); restore one from a copy, or train anew in "
            "another --workdir"
        )


def put_aside(folder: pathlib.Path, steps: Sequence[int]) -> None:
    """Makes room for the steps' next checkpoints; a person may look at the damaged ones, the last of each."""
    for step in steps:
        path, aside = folder / str(step), folder.parent / f"checkpoint-{step}{DAMAGED}"
        if aside.exists():
            _remove(aside)
        path.rename(aside)
        progress.say(f"{path} was moved to {aside}")


def remove_halves(folder: pathlib.Path) -> None:
    """Removes what a killed or failed save left behind; the run that calls this is the only one that saves here."""
    for path in sorted(folder.glob(f"*{HALF}*")):
        progress.say(f"{path} was only half written and is removed")
        _remove(path)


def _remove(path: pathlib.Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or "no reason given").splitlines()[0][:200]
