"""The parameters alone of a stored state, whatever the optimiser beside them."""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from mqa_jax.errors import InputError


def parameters(path: pathlib.Path, abstract: Any) -> Any:
    """The parameters of the state at `path`, in the shapes of `abstract`.

    Raises:
      InputError: they are of another architecture; the message names the first difference.
    """
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
