"""The training objective and the plain loss, as sums over tokens. The host divides."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mqa_jax.batch import Rows
from mqa_jax.kernels import platforms
from mqa_jax.kernels.products import transposed, weight_gradient


class Sums(NamedTuple):
    """Sums over the real tokens of a batch, float32 scalars.

    Attributes:
      objective: what training minimises: smoothed cross-entropy plus z-loss. The only one with a derivative.
      nll: negative log-likelihood alone, for perplexity.
      tokens: how many target tokens.
    """

    objective: jax.Array
    nll: jax.Array
    tokens: jax.Array


class _Tokens(NamedTuple):
    """What the softmax sees of B rows of L positions."""

    x_BLD: jax.Array
    token_BL: jax.Array
    weight_BL: jax.Array


def loss_sums(
    x_BLD: jax.Array,
    table_VD: jax.Array,
    target: Rows,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    devices: int = 1,
) -> Sums:
    """Cross-entropy of softmax(x table^T) against the target's tokens; padding (segment 0) counts nothing.

    The logits of some positions at a time are made, used and forgotten, and their derivative is taken at once. So
    memory does not grow with tokens x vocabulary, and nothing is computed twice.

    Args:
      x_BLD: the model's last hidden values; products are in their type, sums in float32.
      table_VD: float32, the softmax's weights; so is its gradient.
      target: [B, L].
      label_smoothing: this share of the target distribution is spread evenly over the vocabulary.
      z_loss: weight of logsumexp(logits)^2, which keeps the normaliser near 1 (mesh-tensorflow).
      devices: how many share the rows and the vocabulary, and so the logits.
    """
    weight_BL = (target.segments_BL > 0).astype(jnp.float32)
    return _sums(label_smoothing, z_loss, devices, x_BLD, table_VD, target.tokens_BL, weight_BL)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _sums(smoothing, z_loss, devices, x_BLD, table_VD, token_BL, weight_BL):
    return _in_chunks(functools.partial(_values, smoothing, z_loss), devices, x_BLD, table_VD, token_BL, weight_BL)[0]


def _sums_forward(smoothing, z_loss, devices, x_BLD, table_VD, token_BL, weight_BL):
    of_chunk = functools.partial(_values_and_gradients, smoothing, z_loss)
    (sums, table_bar_DV), x_bar_BLD = _in_chunks(of_chunk, devices, x_BLD, table_VD, token_BL, weight_BL)
    return sums, (x_bar_BLD, table_bar_DV)


def _sums_backward(smoothing, z_loss, devices, gradients, bar: Sums):
    x_bar_BLD, table_bar_DV = gradients
    return (x_bar_BLD * bar.objective).astype(x_bar_BLD.dtype), transposed(table_bar_DV) * bar.objective, None, None


_sums.defvjp(_sums_forward, _sums_backward)


def _in_chunks(of_chunk, devices, x_BLD, table_VD, token_BL, weight_BL):
    """`of_chunk` of the table and some positions of every row, chunk after chunk: its totals added up, and its values
    by position. Every chunk has all rows, since devices share these out."""

    def at_once(sizes, x_BLD, table_VD, token_BL, weight_BL):
        table_VD = table_VD.astype(x_BLD.dtype)
        B, L = token_BL.shape
        most = max(1, devices * min(sizes.loss_tokens, sizes.loss_logits // table_VD.shape[0]))
        chunks = min(L, -(-B * L // most))
        C = -(-L // chunks)
        chunks = -(-L // C)
        if chunks == 1:
            return of_chunk(table_VD, _Tokens(x_BLD, token_BL, weight_BL))

        def split(each):
            each = jnp.pad(each, [(0, 0), (0, chunks * C - L), *[(0, 0)] * (each.ndim - 2)])
            return jnp.moveaxis(each.reshape(B, chunks, C, *each.shape[2:]), 1, 0)

        def body(totals, tokens):
            more, by_position = of_chunk(table_VD, tokens)
            return jax.tree.map(jnp.add, totals, more), by_position

        tokens = _Tokens(split(x_BLD), split(token_BL), split(weight_BL))
        shapes, _ = jax.eval_shape(of_chunk, table_VD, jax.tree.map(lambda each: each[0], tokens))
        zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
        totals, by_position = jax.lax.scan(body, zeros, tokens)
        return totals, jax.tree.map(
            lambda each: jnp.moveaxis(each, 0, 1).reshape(B, chunks * C, *each.shape[3:])[:, :L], by_position
        )

    return platforms.in_sizes(at_once, x_BLD, table_VD, token_BL, weight_BL)


def _values(smoothing, z_loss, table_VD, tokens: _Tokens):
    sums, _ = _softmax(smoothing, z_loss, table_VD, tokens)
    return sums, ()


def _values_and_gradients(smoothing, z_loss, table_VD, tokens: _Tokens):
    """The sums and the table's gradient (as D by V), and the gradient of x."""
    sums, logits_bar_MV = _softmax(smoothing, z_loss, table_VD, tokens)
    x_MD = tokens.x_BLD.reshape(-1, tokens.x_BLD.shape[-1])
    x_bar_MD = jnp.einsum("mv,vd->md", logits_bar_MV, table_VD, preferred_element_type=jnp.float32)
    table_bar_DV = weight_gradient(x_MD, logits_bar_MV)
    return (sums, table_bar_DV), x_bar_MD.astype(x_MD.dtype).reshape(tokens.x_BLD.shape)


def _softmax(smoothing, z_loss, table_VD, tokens: _Tokens):
    """The sums, and the objective's derivative by the logits in the type of x."""
    V = table_VD.shape[0]
    x_MD, token_M1, weight_M1 = (
        each.reshape(-1, size) for each, size in zip(tokens, (table_VD.shape[1], 1, 1), strict=True)
    )
    logits_MV = jnp.einsum("md,vd->mv", x_MD, table_VD, preferred_element_type=jnp.float32)
    highest_M1 = logits_MV.max(-1, keepdims=True)
    powers_MV = jnp.exp(logits_MV - highest_M1)
    sum_M1 = powers_MV.sum(-1, keepdims=True)
    log_z_M1 = highest_M1 + jnp.log(sum_M1)
    # A comparison and a sum: on a vocabulary split over devices, a gather would collect the logits.
    is_target_MV = jnp.arange(V)[None] == token_M1
    nll_M1 = log_z_M1 - jnp.where(is_target_MV, logits_MV, 0).sum(-1, keepdims=True)
    objective_M1 = nll_M1
    if smoothing:
        uniform_M1 = log_z_M1 - logits_MV.mean(-1, keepdims=True)
        objective_M1 = (1 - smoothing) * nll_M1 + smoothing * uniform_M1
    if z_loss:
        objective_M1 += z_loss * jnp.square(log_z_M1)
    sums = Sums(*((each * weight_M1).sum() for each in (objective_M1, nll_M1, jnp.ones_like(nll_M1))))
    scale_M1 = weight_M1 * (1 + 2 * z_loss * log_z_M1) / sum_M1
    wanted_MV = jnp.where(is_target_MV, 1 - smoothing + smoothing / V, smoothing / V)
    return sums, (powers_MV * scale_M1 - wanted_MV * weight_M1).astype(x_MD.dtype)
