"""Checkpoints: the state, the data iterator's position and the open log window, through orbax.

Arrays and JSON only, no pickle. Orbax makes a checkpoint under another name and renames it when it is whole; beside its
files lie their sums. Each process writes its part of the arrays; all else in the folder is the first one's to do.
"""

import contextlib
import logging
import pathlib
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import jax
import orbax.checkpoint as ocp
from absl import logging as absl_logging
from orbax.checkpoint import checkpoint_managers

from mqa_jax import processes, progress
from mqa_jax.errors import InputError
from mqa_jax.train import checksums, stored
from mqa_jax.train.step import TrainState

HALF = ".orbax-checkpoint-tmp"
DAMAGED = ".damaged"

T = TypeVar("T")


class Restored(NamedTuple):
    """What a run goes on from: the state, the iterator at its place, and the open window's JSON."""

    step: int
    state: TrainState
    iterator: Any
    window: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run: the newest `keep` of them and the one of the lowest dev loss."""

    def __init__(self, workdir: str | pathlib.Path, keep: int = 2):
        self._folder, self._keep = pathlib.Path(workdir).absolute() / "checkpoints", keep
        self._losses: Mapping[int, float] = {}
        policies = [checkpoint_managers.LatestN(keep), _Best(lambda: self._losses)]
        options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies), enable_async_checkpointing=False
        )
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    @property
    def steps(self) -> list[int]:
        """Steps of the checkpoints there are, the newest last."""
        return sorted(self._manager.all_steps())

    def best(self, losses: Mapping[int, float]) -> int | None:
        """The step of the lowest dev loss among the checkpoints there are."""
        return _lowest(self.steps, losses)

    def save(
        self, step: int, state: TrainState, iterator: Any, window: dict[str, Any], losses: Mapping[int, float]
    ) -> None:
        """Saves unless this step is saved already.

        Args:
          losses: dev losses by step, of which the lowest keeps its checkpoint.
        """
        if step in self.steps:
            return
        self._losses = losses
        with _one_error():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state),
                    data=ocp.args.JsonSave(processes.merged(iterator.get_state())),
                    window=ocp.args.JsonSave(window),
                ),
            )
        processes.barrier(f"checkpoint {step} is written")
        if processes.is_first():
            checksums.write(self._folder / str(step), self._folder / f"{step}{HALF}-sums")

    def restore(self, abstract: TrainState, iterator: Any) -> Restored | None:
        """The newest whole checkpoint, its state in the shapes and shardings of `abstract`; None if there is none.

        Damaged ones are said and, once there is one to go on from, put aside.

        Raises:
          InputError: there are checkpoints, but none can be read.
        """
        processes.first_alone(self._remove_halves)
        if not self.steps:
            return None

        def read(step: int) -> Restored:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(abstract),
                    data=ocp.args.JsonRestore(),
                    window=ocp.args.JsonRestore(),
                ),
            )
            iterator.set_state(restored["data"])  # each process takes its own streams' of all
            return Restored(step, restored["state"], iterator, restored["window"])

        restored = next(self._whole(read, self.steps))
        processes.first_alone(lambda: self._put_aside([step for step in self.steps if step > restored.step]))
        self._manager.reload()
        return restored

    def parameters(self, step: int, abstract: Any) -> Any:
        """The parameters of one step, in the shapes of `abstract`."""
        return stored.parameters(self._folder / str(step) / "state", abstract)

    def mean_parameters(self, abstract: Any, count: int = 1) -> tuple[Any, list[int]]:
        """The mean of the parameters of the newest `count` whole checkpoints, in the shapes of `abstract`, and their
        steps. An older one that stays because it is the best is none of the newest, unless nothing else can be read.

        Raises:
          InputError: there are not so many checkpoints that can be read, or they are of another architecture.
        """
        if not self.steps:
            raise InputError(f"no checkpoint in {self._folder}; train first: scripts/train.py")
        whole = self._whole(lambda step: (step, self.parameters(step, abstract)), self.steps)
        if count == 1:
            step, newest = next(whole)
            return newest, [step]
        newest, mean, steps = self.steps[-self._keep :], None, []
        for step, each in whole:  # two of them in memory at a time
            if step not in newest:
                break
            steps.append(step)
            mean = each if mean is None else jax.tree.map(lambda m, x, n=len(steps): m + (x - m) / n, mean, each)
            if len(steps) == count:
                return mean, sorted(steps)
        raise InputError(
            f"--average={count} needs as many checkpoints, and {self._folder} has {len(steps)} of the newest; "
            "train on with --config.train.keep set to that number, or average fewer"
        )

    def close(self) -> None:
        self._manager.close()

    def _whole(self, read: Callable[[int], T], steps: list[int]) -> Iterator[T]:
        """What `read` makes of each step that can be read, the newest first. The others are said.

        Raises:
          InputError: none can be read.
        """
        reason, found = "", False
        for step in reversed(steps):
            path, damage, result = self._folder / str(step), None, None
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
                f"no checkpoint in {self._folder} can be read (the last: {reason}); restore one from a copy, or train "
                "anew in another --workdir"
            )

    def _put_aside(self, steps: list[int]) -> None:
        """Makes room for the steps' next checkpoints; a person may look at the damaged ones, the last of each."""
        for step in steps:
            path = self._folder / str(step)
            aside = self._folder.parent / f"checkpoint-{step}{DAMAGED}"
            if aside.exists():
                _remove(aside)
            path.rename(aside)
            progress.say(f"{path} was moved to {aside}")

    def _remove_halves(self) -> None:
        """Removes what a killed or failed save left behind; the run that calls this is the only one that saves here."""
        for path in sorted(self._folder.glob(f"*{HALF}*")):
            progress.say(f"{path} was only half written and is removed")
            _remove(path)


@contextlib.contextmanager
def _one_error() -> Iterator[None]:
    """A save that fails is one error; after it the threads of orbax and tensorstore have nothing more to say."""
    verbosity, hook, loops = absl_logging.get_verbosity(), sys.unraisablehook, logging.getLogger("asyncio")
    level = loops.level
    absl_logging.set_verbosity(absl_logging.FATAL)
    sys.unraisablehook = lambda _: None
    loops.setLevel(logging.CRITICAL + 1)
    yield
    absl_logging.set_verbosity(verbosity)
    sys.unraisablehook = hook
    loops.setLevel(level)


class _Best(checkpoint_managers.PreservationPolicy):
    """Keeps the checkpoint of the lowest dev loss."""

    def __init__(self, losses: Callable[[], Mapping[int, float]]):
        self._losses = losses

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        del context
        best = _lowest([each.step for each in checkpoints], self._losses())
        return [each.step == best for each in checkpoints]


def _lowest(steps: list[int], losses: Mapping[int, float]) -> int | None:
    return min((step for step in steps if step in losses), key=lambda step: (losses[step], step), default=None)


def _remove(path: pathlib.Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or "no reason given").splitlines()[0][:200]
