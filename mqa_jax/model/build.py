"""A model's structure, apart from its parameters: NNX used functionally."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from mqa_jax.experiment import ModelConfig
from mqa_jax.model.language import Language
from mqa_jax.model.translation import Translation

Parameters = dict[str, Any]  # nested dicts of arrays


@dataclasses.dataclass(frozen=True)
class Model:
    """What a ModelConfig builds. Hashable, so it can be a static argument of `jit`.

    Parameters are a nested dict of arrays, made by `init` and given back to `bind`:

        model = build(config)
        parameters = model.init(jax.random.key(0))
        logits_BLV = model.bind(parameters)(batch)
    """

    config: ModelConfig

    def init(self, key: jax.Array) -> Parameters:
        """Fresh float32 parameters."""
        return nnx.to_pure_dict(nnx.state(self._module(key), nnx.Param))

    def bind(self, parameters: Parameters) -> Any:
        """The module, `Translation` or `Language`, on these parameters."""
        module = nnx.eval_shape(lambda: self._module(jax.random.key(0)))
        graphdef, state = nnx.split(module)
        nnx.replace_by_pure_dict(state, parameters)
        return nnx.merge(graphdef, state)

    def shapes(self) -> Parameters:
        """The parameters' shapes and types; allocates nothing, whatever the size."""
        return jax.eval_shape(self.init, jax.random.key(0))

    def axes(self) -> Parameters:
        """The parameters' logical axes (sharding.RULES), a tuple of names for each array."""
        state = nnx.state(nnx.eval_shape(lambda: self._module(jax.random.key(0))), nnx.Param)
        return nnx.to_pure_dict(state, extract_fn=lambda variable: variable.get_metadata()["axes"])

    def _module(self, key: jax.Array) -> Any:
        kind = Language if self.config.encoder is None else Translation
        return kind(self.config, nnx.Rngs(params=key))


def build(config: ModelConfig) -> Model:
    """The encoder-decoder if the config has an encoder, the language model if not."""
    return Model(config)


def cast(parameters: Parameters, dtype: str) -> Parameters:
    """The parameters in the type that decoding computes in, so that a step does not read them in float32."""
    return jax.tree.map(lambda w: w.astype(jnp.dtype(dtype)), parameters)


def count(parameters: Parameters) -> int:
    """Number of parameters; takes arrays or shapes."""
    return sum(w.size for w in jax.tree.leaves(parameters))
