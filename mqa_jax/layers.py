"""The parts that attention and models are made of: a weight, linear maps, RMSNorm."""

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from mqa_jax.kernels import int8, norm, products
from mqa_jax.kernels.int8 import Int8


def parameter(rngs: nnx.Rngs, shape: tuple[int, ...], axes: tuple[str, ...], std: float) -> nnx.Param:
    """A float32 weight drawn from N(0, std^2), with its logical axes (see sharding.RULES)."""
    return nnx.Param(std * jax.random.normal(rngs.params(), shape, jnp.float32), axes=axes, std=std)


@dataclasses.dataclass(frozen=True)
class Weight:
    """One linear map: the sizes and logical axes of its input, then of its output; it starts with std inner^-0.5.

    Attributes:
      contracted: how many of the axes are the input's.
      bias: the name of what is added to the output; None for nothing.
    """

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    contracted: int = 1
    bias: str | None = None

    def parameter(self, rngs: nnx.Rngs) -> nnx.Param:
        """A fresh weight."""
        return parameter(rngs, self.shape, self.axes, math.prod(self.shape[: self.contracted]) ** -0.5)


class Linear(nnx.Module):
    """Linear maps of one input, side by side.

    They train as separate weights. Laid out for decoding (`Model.lay_out`) they are one matrix, and one product gives
    all outputs: the start of a small product costs a CPU more than its operations.
    """

    def __init__(self, rngs: nnx.Rngs, **weights: Weight):
        self.weights = tuple(weights.items())
        for name, weight in self.weights:
            setattr(self, name, weight.parameter(rngs))
            if weight.bias is not None:
                output, axes = weight.shape[weight.contracted :], weight.axes[weight.contracted :]
                setattr(self, weight.bias, parameter(rngs, output, axes, std=0.0))
        self.laid = nnx.data(None)  # what `lay_out` made, in a model that is bound to it

    def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """[..., *input] -> [..., *output] of each weight, in the type of `x`."""
        lead = x.shape[: x.ndim - self.weights[0][1].contracted]
        if self.laid is None:
            made = [products.linear(x, getattr(self, name)[...], each.contracted) for name, each in self.weights]
            return tuple(self._with_bias(y, each) for y, (_, each) in zip(made, self.weights, strict=True))
        y, outputs, start = products.laid_out(x.reshape(*lead, -1), self.laid), [], 0
        for _, weight in self.weights:
            output = weight.shape[weight.contracted :]
            stop = start + math.prod(output)
            outputs.append(self._with_bias(y[..., start:stop].reshape(*lead, *output), weight))
            start = stop
        return tuple(outputs)

    def lay_out(self, values: Mapping[str, jax.Array], rounded: bool) -> dict[str, jax.Array | Int8]:
        """The parameters of this module as decoding multiplies with them; in int8 if `rounded`."""
        contracted = self.weights[0][1].contracted
        w_ND = products.rows_first(*(values[name] for name, _ in self.weights), contracted=contracted)
        biases = {each.bias: values[each.bias] for _, each in self.weights if each.bias is not None}
        return {"laid": int8.quantise(w_ND) if rounded else w_ND, **biases}

    def _with_bias(self, y: jax.Array, weight: Weight) -> jax.Array:
        if weight.bias is None:
            return y
        bias = getattr(self, weight.bias)[...].astype(y.dtype)
        return y + jnp.expand_dims(bias, tuple(range(y.ndim - bias.ndim)))


class Norm(nnx.Module):
    """RMSNorm without a bias; statistics in float32."""

    def __init__(self, width: int, eps: float = 1e-6):
        self.scale_D = nnx.Param(jnp.ones((width,), jnp.float32), axes=("norm",), std=None)
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., D] -> [..., D], in the type of `x`."""
        scale_D = self.scale_D[...].astype(jnp.float32)
        return norm.rms_norm(self.eps, x.reshape(-1, x.shape[-1]), scale_D).reshape(x.shape)
