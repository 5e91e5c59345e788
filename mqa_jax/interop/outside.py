"""A model that lies outside, whatever its files are: its config, tensors one at a time, and its tokenizer."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from mqa_jax.errors import InputError
from mqa_jax.interop import llama
from mqa_jax.interop.gguf_file import File
from mqa_jax.interop.hugging_face import Folder
from mqa_jax.model.build import Model, Parameters

IGNORED = ("rotary_emb.inv_freq",)  # made of the config


def check(files: Folder | File, model: Model, place: str) -> None:
    """Says no before anything is read.

    Raises:
      InputError: tensors are missing, unknown, or of other shapes than the config's.
    """
    wanted = {each.name: each for each in llama.tensors(model.config)}
    there = {name for name in files.names if not name.endswith(IGNORED)}
    if model.config.tied_softmax:
        there.discard("lm_head.weight")  # the embedding's
    for names, what in ((wanted.keys() - there, "lacks"), (there - wanted.keys(), "has the unknown")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(f"{place} {what} tensor {min(names)}{more}; it does not fit the config")
    shapes = model.shapes()
    for name, each in wanted.items():
        shape = each.outer_shape(_at(shapes, each.path).shape)
        if files.shape(name) != shape:
            raise InputError(
                f"{place} has {name} of shape {list(files.shape(name))}; by the config it is {list(shape)}"
            )


def parameters(files: Folder | File, model: Model, where: Parameters) -> Parameters:
    """The parameters in float32, read one at a time onto their shardings `where`."""
    shapes = model.shapes()
    placed: Parameters = jax.tree.map(lambda _: None, shapes)
    for each in llama.tensors(model.config):
        array = each.inside(files.read(each.name), _at(shapes, each.path).shape)
        *above, last = each.path
        _at(placed, above)[last] = jax.device_put(np.asarray(array, np.float32), _at(where, each.path))
    return placed


def _at(tree: Any, path: Iterable[str | int]) -> Any:
    for key in path:
        tree = tree[key]
    return tree
