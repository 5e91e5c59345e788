"""Tokens and positions in, logits out."""

import jax
from flax import nnx

from mqa_jax.experiment import ModelConfig
from mqa_jax.kernels import int8, products
from mqa_jax.kernels.int8 import Int8
from mqa_jax.layers import parameter


class Embedding(nnx.Module):
    """One table serves every input and, if tied, the softmax; learned positions are added if there are any.

    Entries have std D^-0.5 and are multiplied by sqrt(D) on their way in. For the function and for Adafactor,
    whose steps are relative to a parameter's size, this is mesh-tensorflow's std 1 with logits scaled by
    D^-0.5; Adam, whose steps are not, learns faster with it. Without the scaling it is Llama's embedding.
    """

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        V, D, P = config.vocabulary, config.width, config.positions
        table = lambda rows, axis: parameter(rngs, (rows, D), (axis, "width"), D**-0.5)  # noqa: E731
        self.tokens_VD = table(V, "vocabulary")
        self.positions_PD = table(P, "position") if config.learned_positions else None
        self.softmax_VD = None if config.tied_softmax else table(V, "vocabulary")
        self.scale, self.dtype = (D**0.5 if config.scaled_embedding else 1.0), config.dtype
        self.laid = nnx.data(None)  # the softmax's weights in int8, where decoding has them so

    def __call__(self, tokens: jax.Array, positions: jax.Array) -> jax.Array:
        """int32 ids and positions of one shape [...] -> [..., D] in the model's type."""
        x = self.tokens_VD[...][tokens]
        if self.positions_PD is not None:
            x += self.positions_PD[...][positions]
        return (x * self.scale).astype(self.dtype)

    def logits(self, x: jax.Array) -> jax.Array:
        """[..., D] -> [..., V] float32."""
        logits_MV = products.product("md,vd->mv", x.reshape(-1, x.shape[-1]), self.softmax().astype(x.dtype))
        return logits_MV.reshape(*x.shape[:-1], -1)

    def step_logits(self, x_BWD: jax.Array) -> jax.Array:
        """logits_VBW, float32: vocabulary first, as search takes them."""
        return products.by_vocabulary(x_BWD, self.softmax() if self.laid is None else self.laid)

    def softmax(self) -> jax.Array:
        """The softmax's weights [V, D]."""
        return (self.tokens_VD if self.softmax_VD is None else self.softmax_VD)[...]

    def lay_out(self, values: dict[str, jax.Array], rounded: bool) -> dict[str, jax.Array | Int8]:
        """The parameters as decoding takes them: the softmax's beside them in int8, if `rounded`."""
        laid = {"laid": int8.quantise(values.get("softmax_VD", values["tokens_VD"]))} if rounded else {}
        return {**values, **laid}
