"""A model that lies outside, whatever its files are: its config, tensors one at a time, and its tokenizer."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import jax
import numpy as np

from mqa_jax.errors import InputError
from mqa_jax.interop import llama
from mqa_jax.model.build import Model, Parameters

IGNORED = ("rotary_emb.inv_freq",)  # made of the config


class Outside(Protocol):
    """Files of a model, in Hugging Face's terms.

    Attributes:
      config: what its `config.json` has, or would have.
      names: of its tensors.
      dtype: what most of them are read in.
    """

    @property
    def config(self) -> Mapping[str, Any]: ...

    @property
    def names(self) -> Iterable[str]: ...

    @property
    def dtype(self) -> str: ...

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's, without reading it."""
        ...

    def read(self, name: str) -> np.ndarray:
        """One tensor, in a type of floats."""
        ...

    def vocabulary(self) -> tuple[str, bytes]:
        """The suffix and content of a vocabulary's file (data/vocabulary.py)."""
        ...


def check(files: Outside, model: Model, place: str) -> None:
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


def parameters(files: Outside, model: Model, where: Parameters) -> Parameters:
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
