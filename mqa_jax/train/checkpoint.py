"""Checkpoints: the state and the data iterator's position, through orbax. Arrays and JSON only, no pickle."""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from mqa_jax.errors import InputError
from mqa_jax.train.step import TrainState


class Checkpoints:
    """The checkpoints of one run, at most `keep` of them, the newest."""

    def __init__(self, workdir: str | pathlib.Path, keep: int = 2):
        self._folder = pathlib.Path(workdir).absolute() / "checkpoints"
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(self._folder, options=options)

    @property
    def latest(self) -> int | None:
        """Step of the newest whole checkpoint; None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, state: TrainState, iterator: Any) -> None:
        """Saves unless this step is saved already."""
        if step in self._manager.all_steps():
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(state=ocp.args.StandardSave(state), data=ocp.args.JsonSave(iterator.get_state())),
        )

    def restore(self, abstract: TrainState, iterator: Any) -> tuple[TrainState, Any]:
        """The newest state, in the shapes and shardings of `abstract`, and the iterator set to its position."""
        restored = self._manager.restore(
            self._required(),
            args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract), data=ocp.args.JsonRestore()),
        )
        iterator.set_state(restored["data"])  # one for all processes, however many there are now
        return restored["state"], iterator

    def restore_parameters(self, abstract: Any, average: int = 1) -> tuple[Any, list[int]]:
        """The mean of the parameters of the newest `average` checkpoints, in the shapes of `abstract`, and their steps.

        Raises:
          InputError: there are not so many checkpoints, or they are of another architecture.
        """
        self._required()
        steps = sorted(self._manager.all_steps())[-average:]
        if len(steps) < average:
            raise InputError(
                f"--average={average} needs as many checkpoints, and {self._folder} has {len(steps)}; "
                "train on with --config.train.keep set to that number, or average fewer"
            )
        mean = self._parameters_of(steps[0], abstract)
        for count, step in enumerate(steps[1:], 2):  # two of them in memory at a time
            mean = jax.tree.map(lambda m, x, n=count: m + (x - m) / n, mean, self._parameters_of(step, abstract))
        return mean, steps

    def _parameters_of(self, step: int, abstract: Any) -> Any:
        path = self._folder / str(step) / "state"
        with ocp.PyTreeCheckpointer() as reader:
            saved = reader.metadata(path).item_metadata.tree["parameters"]
            _same_architecture(saved, abstract, path)
            restored = reader.restore(
                path,
                args=ocp.args.PyTreeRestore(
                    item={"parameters": abstract},
                    restore_args=ocp.checkpoint_utils.construct_restore_args({"parameters": abstract}),
                    partial_restore=True,
                ),
            )
        return restored["parameters"]

    def close(self) -> None:
        self._manager.close()

    def _required(self) -> int:
        step = self.latest
        if step is None:
            raise InputError(f"no checkpoint in {self._folder}; train first: scripts/train.py --workdir=...")
        return step


def _same_architecture(saved: Any, wanted: Any, path: pathlib.Path) -> None:
    shapes = lambda tree: {  # noqa: E731
        jax.tree_util.keystr(key, simple=True, separator="."): tuple(leaf.shape)
        for key, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
    }
    has, wants = shapes(saved), shapes(wanted)
    for name in sorted(has.keys() | wants.keys()):
        if has.get(name) != wants.get(name):
            raise InputError(
                f"the checkpoint {path} is of another architecture: {name} is {has.get(name, 'absent')} there and "
                f"{wants.get(name, 'absent')} in the config; use the config it was trained with"
            )
