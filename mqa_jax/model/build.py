"""A model's structure, apart from its parameters: NNX used functionally."""

import collections
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from mqa_jax.errors import InputError
from mqa_jax.experiment import ModelConfig
from mqa_jax.kernels.int8 import Int8
from mqa_jax.layers import Linear
from mqa_jax.model.decoder import Decoder
from mqa_jax.model.embedding import Embedding
from mqa_jax.model.language import Language
from mqa_jax.model.translation import Translation

Parameters = dict[str, Any]  # nested dicts of arrays
Path = tuple[str | int, ...]


@dataclasses.dataclass(frozen=True)
class Model:
    """What a ModelConfig builds. Hashable, so it can be a static argument of `jit`.

    Parameters are a nested dict of arrays, made by `init` and given back to `bind`:

        model = build(config)
        parameters = model.init(jax.random.key(0))
        logits_BLV = model.bind(parameters)(batch)

    Attributes:
      mesh: the devices that share rows and heads, in training or in a replica that decodes; None for one device.
    """

    config: ModelConfig
    mesh: Mesh | None = None

    def init(self, key: jax.Array) -> Parameters:
        """Fresh float32 parameters, each of its own key.

        Weights of one shape are drawn together: to compile a draw for each takes longer than to compile a step.
        """
        state = nnx.state(self._abstract(), nnx.Param)
        shapes, tree = jax.tree.flatten(nnx.to_pure_dict(state))
        stds = jax.tree.leaves(_metadata(state, "std"), is_leaf=lambda std: std is None)
        alike = collections.defaultdict(list)
        for number, (shape, std) in enumerate(zip(shapes, stds, strict=True)):
            alike[None if std is None else shape.shape].append(number)
        values = {number: jnp.ones(shapes[number].shape) for number in alike.pop(None, ())}
        for shape, numbers in alike.items():
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.array(numbers))
            drawn = jax.vmap(lambda key, shape=shape: jax.random.normal(key, shape, jnp.float32))(keys)
            values |= {number: stds[number] * weight for number, weight in zip(numbers, drawn, strict=True)}
        return jax.tree.unflatten(tree, [values[number] for number in range(len(shapes))])

    def bind(self, parameters: Parameters) -> Decoder:
        """The module, `Translation` or `Language`, on parameters of `init` or `lay_out`."""
        graphdef, state = _structure(self)
        plain, laid = _without_laid(parameters)
        nnx.replace_by_pure_dict(state, plain)
        module = nnx.merge(graphdef, state)
        for path, value in laid:
            functools.reduce(_child, path, module).laid = nnx.data(value)
        return module

    def lay_out(self, parameters: Parameters) -> Parameters:
        """The parameters as decoding multiplies with them, in its types; made once, for any number of decodes.

        The decoder's linear maps become one matrix for each input, since a step has few rows. Where weights are int8
        all linear maps do, and the softmax's weights. Where devices share the heads none do: a part of such a matrix
        would be a part of the queries alone.

        Raises:
          InputError: weights in int8 where devices share the heads.
        """
        values: dict[Any, Any] = cast(parameters, self.config.dtype)
        rounded = self.config.weight_dtype == "int8"
        if self.tensor > 1:
            if rounded:
                raise InputError(
                    f"config.mesh.tensor={self.tensor} does not share weights in int8; set --config.mesh.tensor=1, or "
                    "--dtype=bfloat16 (the cache may have int8)"
                )
            return values
        for path, module in nnx.iter_graph(self._abstract()):
            few_rows = path[:1] == ("decoder",) and path[-1:] != ("memory",)
            if isinstance(module, Linear | Embedding) and (few_rows or rounded):
                *above, last = path
                within = functools.reduce(lambda tree, key: tree[key], above, values)
                within[last] = module.lay_out(within[last], rounded)
        return values

    @property
    def tensor(self) -> int:
        """How many devices share the heads."""
        return 1 if self.mesh is None else self.mesh.shape["tensor"]

    def over(self, group: Mesh) -> "Model":
        """The same model for the devices of one replica. One device is no mesh: JAX traces once for all of them."""
        return dataclasses.replace(self, mesh=group if group.size > 1 else None)

    def shapes(self) -> Parameters:
        """The parameters' shapes and types; allocates nothing, whatever the size."""
        return jax.eval_shape(self.init, jax.random.key(0))

    def axes(self) -> Parameters:
        """The parameters' logical axes (sharding.RULES), a tuple of names for each array."""
        return _metadata(nnx.state(self._abstract(), nnx.Param), "axes")

    def _abstract(self) -> Decoder:
        return nnx.merge(*_structure(self))

    def _module(self, key: jax.Array) -> Decoder:
        kind = Language if self.config.encoder is None else Translation
        return kind(self.config, self.mesh, nnx.Rngs(params=key))


def build(config: ModelConfig, mesh: Mesh | None = None) -> Model:
    """The encoder-decoder if the config has an encoder, the language model if not."""
    return Model(config, mesh)


def _structure(model: Model) -> tuple[nnx.GraphDef[Decoder], nnx.State]:
    """The module's structure and its parameters' shapes, in variables that the caller may change."""
    graphdef, state = _traced(model)
    return graphdef, jax.tree.map(lambda shape: shape, state)


@functools.lru_cache(maxsize=64)
def _traced(model: Model) -> tuple[nnx.GraphDef[Decoder], nnx.State]:
    """To trace the module takes a hundred times as long as to put it together again."""
    return nnx.split(nnx.eval_shape(lambda: model._module(jax.random.key(0))))


def _metadata(state: nnx.State, name: str) -> dict[str, Any]:
    """What each parameter was made with under a name."""
    return nnx.to_pure_dict(state, extract_fn=lambda variable: variable.get_metadata()[name])


def _child(module: Any, key: str | int) -> Any:
    return module[key] if isinstance(key, int) else getattr(module, key)


def _without_laid(parameters: Parameters, path: Path = ()) -> tuple[Parameters, list[tuple[Path, jax.Array | Int8]]]:
    """The tree without what `lay_out` put in, and that with its places."""
    plain, laid = {}, []
    for key, value in parameters.items():
        if key == "laid":
            laid.append((path, value))
        elif isinstance(value, dict):
            plain[key], more = _without_laid(value, (*path, key))
            laid += more
        else:
            plain[key] = value
    return plain, laid


def cast(parameters: Parameters, dtype: str) -> Parameters:
    """The parameters in the type that decoding computes in, so that a step does not read them in float32."""
    return jax.tree.map(lambda w: w.astype(jnp.dtype(dtype)), parameters)


def count(parameters: Parameters) -> int:
    """Number of parameters; takes arrays or shapes."""
    return sum(w.size for w in jax.tree.leaves(parameters))
