"""The feed-forward layers of a block, without biases."""

import jax
from flax import nnx

from mqa_jax.kernels.dropout import dropout, relu
from mqa_jax.layers import Linear, Weight


class FeedForward(nnx.Module):
    """relu: ReLU(x W_in) W_out. swiglu: (SiLU(x W_gate) * x W_in) W_out (arXiv 2002.05202)."""

    def __init__(self, width: int, hidden: int, kind: str, rngs: nnx.Rngs):
        weight = Weight((width, hidden), ("width", "hidden"))
        gate = {"w_gate_DF": weight} if kind == "swiglu" else {}
        self.inputs = Linear(rngs, w_in_DF=weight, **gate)
        self.output = Linear(rngs, w_out_FD=Weight((hidden, width), ("hidden", "width")))

    def __call__(self, x_BLD: jax.Array, rate: float = 0.0, key: jax.Array | None = None) -> jax.Array:
        """[B, L, D] -> [B, L, D]. `rate` and `key`: dropout after the activation."""
        h, *gate = self.inputs(x_BLD)
        h = dropout(jax.nn.silu(gate[0]) * h, rate, key) if gate else relu(h, rate, key)
        return self.output(h)[0]
