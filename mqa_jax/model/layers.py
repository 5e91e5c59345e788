"""The small parts of a block: normalisation, feed-forward, embedding, dropout."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from mqa_jax.model.products import few_rows, linear, product, weights_first


def parameter(rngs: nnx.Rngs, shape: tuple[int, ...], axes: tuple[str, ...], std: float) -> nnx.Param:
    """A float32 weight drawn from N(0, std^2), with its logical axes (see sharding.RULES)."""
    return nnx.Param(std * jax.random.normal(rngs.params(), shape, jnp.float32), axes=axes)


class Norm(nnx.Module):
    """RMSNorm without a bias, eps 1e-6; statistics in float32."""

    def __init__(self, width: int):
        self.scale_D = nnx.Param(jnp.ones((width,), jnp.float32), axes=("norm",))

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., D] -> [..., D], in the type of `x`."""
        return _norm(x.reshape(-1, x.shape[-1]), self.scale_D[...].astype(jnp.float32)).reshape(x.shape)


@jax.custom_vjp
def _norm(x_MD: jax.Array, scale_D: jax.Array) -> jax.Array:
    x32_MD = x_MD.astype(jnp.float32)
    return (x32_MD * _inverse_rms(x32_MD) * scale_D[None]).astype(x_MD.dtype)


def _inverse_rms(x32_MD: jax.Array) -> jax.Array:
    return jax.lax.rsqrt(jnp.mean(jnp.square(x32_MD), axis=-1, keepdims=True) + 1e-6)


def _norm_forward(x_MD, scale_D):
    x32_MD = x_MD.astype(jnp.float32)
    inverse_M1 = _inverse_rms(x32_MD)
    return (x32_MD * inverse_M1 * scale_D[None]).astype(x_MD.dtype), (x_MD, scale_D, inverse_M1)


def _norm_backward(kept, y_bar_MD):
    """Both sums are products of one array, x * y_bar: XLA's own order writes four more arrays of its size."""
    x_MD, scale_D, inverse_M1 = kept
    x32_MD, y_bar_MD = x_MD.astype(jnp.float32), y_bar_MD.astype(jnp.float32)
    xy_MD = x32_MD * y_bar_MD
    dot = functools.partial(jnp.dot, precision=jax.lax.Precision.HIGHEST)
    slope_M1 = jnp.square(inverse_M1) * dot(xy_MD, scale_D[:, None]) / x_MD.shape[1]
    x_bar_MD = inverse_M1 * (y_bar_MD * scale_D[None] - x32_MD * slope_M1)
    return x_bar_MD.astype(x_MD.dtype), dot(inverse_M1[:, 0], xy_MD)


_norm.defvjp(_norm_forward, _norm_backward)


class FeedForward(nnx.Module):
    """ReLU(x W_in) W_out, without biases."""

    def __init__(self, width: int, hidden: int, rngs: nnx.Rngs):
        self.w_in_DF = parameter(rngs, (width, hidden), ("width", "hidden"), width**-0.5)
        self.w_out_FD = parameter(rngs, (hidden, width), ("hidden", "width"), hidden**-0.5)

    def __call__(self, x: jax.Array, rate: float = 0.0, key: jax.Array | None = None) -> jax.Array:
        """[B, L, D] -> [B, L, D]. `rate` and `key`: dropout after the ReLU."""
        h = jax.nn.relu(linear(x, self.w_in_DF[...]))
        return linear(dropout(h, rate, key), self.w_out_FD[...])

    def lay_out(self) -> tuple[jax.Array, jax.Array]:
        """The weights for decode steps: w_in_FD, w_out_DF."""
        return weights_first(self.w_in_DF[...]), weights_first(self.w_out_FD[...])

    def step(self, flat: tuple[jax.Array, jax.Array], x_BWD: jax.Array) -> jax.Array:
        """The same function of few rows."""
        w_in_FD, w_out_DF = flat
        return few_rows(jax.nn.relu(few_rows(x_BWD, w_in_FD)), w_out_DF)


class Embedding(nnx.Module):
    """Tokens and learned positions in, logits out. One table serves every input and, if tied, the softmax.

    Entries have std D^-0.5 and are multiplied by sqrt(D) on their way in. For the function and for Adafactor,
    whose steps are relative to a parameter's size, this is mesh-tensorflow's std 1 with logits scaled by
    D^-0.5; Adam, whose steps are not, learns faster with it.
    """

    def __init__(self, vocabulary: int, positions: int, width: int, tied: bool, dtype: str, rngs: nnx.Rngs):
        std = width**-0.5
        self.tokens_VD = parameter(rngs, (vocabulary, width), ("vocabulary", "width"), std)
        self.positions_PD = parameter(rngs, (positions, width), ("position", "width"), std)
        self.softmax_VD = None if tied else parameter(rngs, (vocabulary, width), ("vocabulary", "width"), std)
        self.width, self.dtype = width, dtype

    def __call__(self, tokens: jax.Array, positions: jax.Array) -> jax.Array:
        """int32 ids and positions of one shape [...] -> [..., D] in the model's type."""
        x = self.tokens_VD[...][tokens] + self.positions_PD[...][positions]
        return (x * self.width**0.5).astype(self.dtype)

    def logits(self, x: jax.Array) -> jax.Array:
        """[..., D] -> [..., V] float32."""
        logits_MV = product("md,vd->mv", x.reshape(-1, self.width), self.softmax().astype(x.dtype))
        return logits_MV.reshape(*x.shape[:-1], -1)

    def step_logits(self, x_BWD: jax.Array) -> jax.Array:
        """logits_VBW, float32: vocabulary first, as a product of few rows gives them fastest (see `few_rows`)."""
        B, W, D = x_BWD.shape
        table_VD = self.softmax().astype(x_BWD.dtype)
        logits_VM = jnp.einsum("vd,md->vm", table_VD, x_BWD.reshape(B * W, D), preferred_element_type=jnp.float32)
        return logits_VM.reshape(-1, B, W)

    def softmax(self) -> jax.Array:
        """The softmax's weights [V, D]."""
        return (self.tokens_VD if self.softmax_VD is None else self.softmax_VD)[...]


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Zeroes a share `rate` of x[..., L, D] and scales up the rest; without a key, or at rate 0, returns `x`.

    The mask is drawn once for all positions L, as mesh-tensorflow and T5 do. Random bits cost a CPU more
    than the products of a small model do, and this needs L times fewer of them.
    """
    if key is None or rate == 0:
        return x
    shape = (*x.shape[:-2], 1, x.shape[-1])
    keep = jax.random.bernoulli(key, 1 - rate, shape)
    return jnp.where(keep, x / jnp.asarray(1 - rate, x.dtype), jnp.zeros((), x.dtype))


def split_key(key: jax.Array | None, count: int) -> list[jax.Array | None]:
    """`count` keys from one, or as many None where there is no randomness."""
    return [None] * count if key is None else list(jax.random.split(key, count))
