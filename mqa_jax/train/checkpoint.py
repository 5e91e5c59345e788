"""Checkpoints, through orbax: the state, and as step metadata the data's position and what else a run goes on with.

    WORKDIR/checkpoints/STEP/  state/  _CHECKPOINT_METADATA (data, seconds, saved, fingerprint)  SHA256.json

Arrays and JSON only, no pickle. Orbax makes a checkpoint under another name and renames it when it is complete. Each
process writes its part of the arrays; all else in the folder is the first one's to do. Sums lie beside the files,
since a flipped bit in an array is something no reader would notice.
"""

import contextlib
import hashlib
import json
import logging
import pathlib
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from absl import logging as absl_logging
from orbax.checkpoint import checkpoint_managers

from mqa_jax import files, processes, progress, workdir
from mqa_jax.data.pipeline import Streams
from mqa_jax.errors import InputError
from mqa_jax.train.step import TrainState
from mqa_jax.workdir import Fingerprint

SUMS = "SHA256.json"
METADATA = "data", "seconds", "saved", "fingerprint"

T = TypeVar("T")


class Checkpoints:
    """The newest `keep` checkpoints of a run and the one of the lowest of the `dev_losses`, to which the loop adds."""

    def __init__(self, folder: pathlib.Path, keep: int, dev_losses: Mapping[int, float], fingerprint: Fingerprint):
        self._folder, self._dev_losses = folder.absolute() / "checkpoints", dev_losses
        self._fingerprint = dict(fingerprint)
        self._saved: list[int] = []
        if processes.is_first():  # orbax removes them; the run that is here is the only one that saves here
            for path in sorted(self._folder.glob("*.orbax-checkpoint-tmp*")):
                progress.say(f"{path} was only half written and is removed")
        policies = [checkpoint_managers.LatestN(keep), _Best(dev_losses)]
        options = ocp.CheckpointManagerOptions(
            preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
            cleanup_tmp_directories=True,
            lightweight_initialize=True,  # it reads no metadata, which may be damaged
            enable_async_checkpointing=False,
        )
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    def best(self) -> int | None:
        """The step of the lowest dev loss among the checkpoints there are."""
        return lowest(self._manager.all_steps(), self._dev_losses)

    def save(self, step: int, state: Any, position: dict[str, Any], seconds: float) -> None:
        """Saves.

        Args:
          state: a `TrainState`; of a run that was made and not trained {"parameters": ...} alone.
          position: of this process's streams of the data.
          seconds: of training, since the last log entry.
        """
        self._saved = [*self._saved, step]
        metadata = {
            "data": processes.merged(position),
            "seconds": seconds,
            "saved": self._saved,  # so far, kept or not
            "fingerprint": self._fingerprint,
        }
        with _quiet():
            state_of = ocp.args.Composite(state=ocp.args.StandardSave(state))
            self._manager.save(step, args=state_of, custom_metadata=metadata)
        if processes.is_first():
            path = self._folder / str(step)
            files.write(path / SUMS, json.dumps(_sums(path), indent=1))

    def restore(self, abstract: TrainState, batches: Streams) -> tuple[int, TrainState, float] | None:
        """Step, state and seconds of the newest intact checkpoint, and `batches` go to its place; None without any.

        The state has the shapes and shardings of `abstract`. Damaged checkpoints are named and, once there is one to
        go on from, put aside.

        Raises:
          InputError: there are checkpoints, but none can be read, or another version or another run wrote them.
        """
        steps = self._manager.all_steps()
        if not steps:
            return None

        def read(step: int) -> tuple[int, TrainState, float]:
            metadata = _of_this_version(self._folder / str(step), abstract)
            workdir.refuse_unlike(self._folder / str(step), metadata["fingerprint"], self._fingerprint)
            found = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)))
            batches.set_state(metadata["data"])  # each process takes its own streams' of all
            self._saved = metadata["saved"]
            return step, found["state"], metadata["seconds"]

        def put_aside() -> None:
            """Makes room for the next checkpoints; a person may look at the damaged ones, the last of each step."""
            for step in [step for step in steps if step > restored[0]]:
                path, aside = self._folder / str(step), self._folder.parent / f"checkpoint-{step}.damaged"
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
                progress.say(f"{path} was moved to {aside}")

        restored = next(intact(self._folder, steps, read))
        processes.first_alone(put_aside)
        self._manager.reload()
        return restored

    def close(self) -> None:
        self._manager.close()


class _Best(checkpoint_managers.PreservationPolicy):
    """Keeps the checkpoint of the lowest dev loss.

    Orbax's BestN reads the losses from all checkpoints at the start, and ends with an error if one is damaged. The log
    has them too, also of an evaluation that a stop cut short and that was made up for.
    """

    def __init__(self, dev_losses: Mapping[int, float]):
        self._dev_losses = dev_losses

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        del context
        best = lowest([each.step for each in checkpoints], self._dev_losses)
        return [each.step == best for each in checkpoints]


def lowest(steps: Sequence[int], losses: Mapping[int, float]) -> int | None:
    """The step of the lowest loss, the first of several; None if there is none."""
    return min((step for step in sorted(steps) if step in losses), key=lambda step: losses[step], default=None)


def intact(folder: pathlib.Path, steps: Sequence[int], read: Callable[[int], T]) -> Iterator[T]:
    """What `read` makes of each step's checkpoint that can be read, the newest first; the damaged ones are named.

    Raises:
      InputError: none can be read, or `read` raised it.
    """
    reason, found = "", False
    for step in sorted(steps, reverse=True):
        path = folder / str(step)
        result = _attempt(_check_sums, path)
        if not isinstance(result, Exception):
            result = _attempt(read, step)
        if isinstance(result, Exception):
            lines = str(result).strip().splitlines() or ["no reason given"]
            reason = f"{type(result).__name__}: {lines[0][:200]}"
            progress.say(f"{path} is damaged and is passed over ({reason})")
        else:
            found = True
            yield result
    if not found:
        raise InputError(
            f"no checkpoint in {folder} can be read (the last: {reason}); restore one from a copy, or train anew in "
            "another --workdir"
        )


def _attempt(read: Callable[[Any], T], what: Any) -> T | Exception:
    """What `read` makes of something, or its error; an error in every process if there is one in any."""
    result: T | Exception
    try:
        result = read(what)
    except InputError:
        raise
    except Exception as error:  # orbax, tensorstore and grain raise anything on a damaged file
        result = error
    if processes.any_of(isinstance(result, Exception)) and not isinstance(result, Exception):
        return ValueError("another process cannot read it")
    return result


def _check_sums(checkpoint: pathlib.Path) -> None:
    """Raises ValueError, in the first process, if a file is not what was written.

    A checkpoint without sums is one whose run ended just before they were written: reading it has to show.
    """
    path = checkpoint / SUMS
    if not processes.is_first():
        return
    if not path.exists():
        progress.say(f"{path} is missing: a changed bit in this checkpoint would not be noticed")
        return
    wanted, there = json.loads(path.read_text(encoding="utf-8")), _sums(checkpoint)
    for name in sorted(wanted.keys() | there.keys()):
        if wanted.get(name) != there.get(name):
            raise ValueError(f"{name} is {'not what was written' if name in there else 'missing'}")


def _sums(checkpoint: pathlib.Path) -> dict[str, str]:
    found = {}
    for path in sorted(checkpoint.rglob("*")):
        if path.is_file() and not path.name.startswith(SUMS):  # nor what a kill left of an atomic write
            with path.open("rb") as file:
                found[path.relative_to(checkpoint).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def digest(checkpoint: pathlib.Path) -> str:
    """16 hex digits of all that is in a checkpoint."""
    return hashlib.sha256(json.dumps(_sums(checkpoint)).encode()).hexdigest()[:16]


def stored_tree(checkpoint: pathlib.Path) -> dict[str, Any]:
    """The state that is stored, with shapes for arrays."""
    with ocp.PyTreeCheckpointer() as reader:
        return reader.metadata(checkpoint / "state").item_metadata.tree


def stored_metadata(checkpoint: pathlib.Path) -> dict[str, Any]:
    """What `Checkpoints.save` wrote beside the state: `METADATA`, of another version perhaps others.

    Raises:
      ValueError: it cannot be read.
    """
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
        found = reader.metadata(checkpoint).custom_metadata
    if not found:  # so orbax reads a file that is no JSON
        raise ValueError("its metadata cannot be read")
    return found


def difference(there: Any, wanted: Any) -> str:
    """The first array, in words, that one of two trees lacks or has in another shape; empty if there is none."""
    has, wants = _shapes(there), _shapes(wanted)
    for name in sorted(has.keys() | wants.keys()):
        if has.get(name) != wants.get(name):
            return f"{name} is {has.get(name, 'absent')} there and {wants.get(name, 'absent')} here"
    return ""


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    return {
        jax.tree_util.keystr(key, simple=True, separator="."): tuple(leaf.shape)
        for key, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }


def _of_this_version(checkpoint: pathlib.Path, state: TrainState) -> dict[str, Any]:
    """The metadata of a checkpoint whose state has the names and shapes of `state`.

    Raises:
      InputError: it has others. A run has one config from its first step on, so another version of the code wrote it.
    """
    found = difference(stored_tree(checkpoint), state)
    metadata = {} if found else stored_metadata(checkpoint)
    found = found or next((f"it has no {name!r}" for name in METADATA if name not in metadata), "")
    if found:
        raise InputError(
            f"the checkpoint {checkpoint} was written by another version of mqa_jax ({found}); train on with that "
            "version, whose commit is in the folder's records, or anew in another --workdir"
        )
    return metadata


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps orbax and tensorstore from logging what is also raised: a save that fails is one error."""
    verbosity, hook, loops = absl_logging.get_verbosity(), sys.unraisablehook, logging.getLogger("asyncio")
    level = loops.level
    absl_logging.set_verbosity(absl_logging.FATAL)
    sys.unraisablehook = lambda _: None
    loops.setLevel(logging.CRITICAL + 1)
    yield  # after an error the threads have nothing more to say, so nothing is set back
    absl_logging.set_verbosity(verbosity)
    sys.unraisablehook = hook
    loops.setLevel(level)
