"""Checkpoints: the state, the data's position and the open log window, through orbax.

    WORKDIR/checkpoints/STEP/  state  data  window  saved (the steps that were saved up to this one)  SHA256.json

Arrays and JSON only, no pickle. Orbax makes a checkpoint under another name and renames it when it is whole; beside its
files lie their sums. Each process writes its part of the arrays; all else in the folder is the first one's to do.
"""

import contextlib
import logging
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import orbax.checkpoint as ocp
from absl import logging as absl_logging
from orbax.checkpoint import checkpoint_managers

from mqa_jax import processes
from mqa_jax.data.streams import Streams
from mqa_jax.train import checksums, damage, form
from mqa_jax.train.step import TrainState


class Restored(NamedTuple):
    """What a run goes on from: the state, and the open window's JSON."""

    step: int
    state: TrainState
    window: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run: the newest `keep` of them and the one of the lowest dev loss."""

    def __init__(self, workdir: str | pathlib.Path, keep: int = 2):
        self._folder = pathlib.Path(workdir).absolute() / "checkpoints"
        self._losses: Mapping[int, float] = {}
        self._saved: list[int] = []
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
        self, step: int, state: TrainState, batches: Streams, window: dict[str, Any], losses: Mapping[int, float]
    ) -> None:
        """Saves unless this step is saved already.

        Args:
          losses: dev losses by step, of which the lowest keeps its checkpoint.
        """
        if step in self.steps:
            return
        self._losses, self._saved = losses, [*self._saved, step]
        with _one_error():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state),
                    data=ocp.args.JsonSave(processes.merged(batches.get_state())),
                    window=ocp.args.JsonSave(window),
                    saved=ocp.args.JsonSave({"steps": self._saved}),
                ),
            )
        processes.barrier(f"checkpoint {step} is written")
        if processes.is_first():
            checksums.write(self._folder / str(step), self._folder / f"{step}{damage.HALF}-sums")

    def restore(self, abstract: TrainState, batches: Streams) -> Restored | None:
        """The newest whole checkpoint, its state in the shapes and shardings of `abstract`; None if there is none.

        `batches` go to its place. Damaged ones are said and, once there is one to go on from, put aside.

        Raises:
          InputError: there are checkpoints, but none can be read, or they are of another version's form.
        """
        processes.first_alone(lambda: damage.remove_halves(self._folder))
        if not self.steps:
            return None

        def read(step: int) -> tuple[Restored, list[int]]:
            form.check(self._folder / str(step), abstract)
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(abstract),
                    data=ocp.args.JsonRestore(),
                    window=ocp.args.JsonRestore(),
                    saved=ocp.args.JsonRestore(),
                ),
            )
            batches.set_state(restored["data"])  # each process takes its own streams' of all
            return Restored(step, restored["state"], restored["window"]), restored["saved"]["steps"]

        restored, self._saved = next(damage.whole(self._folder, self.steps, read))
        newer = [step for step in self.steps if step > restored.step]
        processes.first_alone(lambda: damage.put_aside(self._folder, newer))
        self._manager.reload()
        return restored

    def close(self) -> None:
        self._manager.close()


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
