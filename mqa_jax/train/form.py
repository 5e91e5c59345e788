"""What is stored in a checkpoint, by name and shape, and whether that is what is asked for."""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from mqa_jax.errors import InputError

ITEMS = ("state", "data", "window", "saved")


def check(path: pathlib.Path, state: Any) -> None:
    """Raises InputError unless the checkpoint at `path` has all items, and a state of the names and shapes of `state`.

    A run has one config from its first step on, so what differs comes of another version of the code.
    """
    there = {each.name for each in path.iterdir()}
    difference = next((f"it has no {name!r}" for name in ITEMS if name not in there), "")
    difference = difference or difference_of(stored(path / "state"), state)
    if difference:
        raise InputError(
            f"the checkpoint {path} was written by another version of mqa_jax ({difference}); train on with that "
            "version, whose commit is in the folder's records, or anew in another --workdir"
        )


def stored(state: pathlib.Path) -> dict[str, Any]:
    """The tree of the state that is stored in this folder, with shapes for arrays."""
    with ocp.PyTreeCheckpointer() as reader:
        return reader.metadata(state).item_metadata.tree


def difference_of(there: Any, wanted: Any) -> str:
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
