"""The training objective and the plain loss, as sums over tokens. The host divides."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mqa_jax.batch import Rows
from mqa_jax.kernels import platforms
from mqa_jax.kernels.products import transposed, weight_gradient


class Sums(NamedTuple):
    """Sums over the real tokens of a batch, float32 scalars.

    Attributes:
      objective: what training minimises: the loss, or a mixture of it and the divergence. The only one with a
        derivative.
      loss: smoothed cross-entropy plus z-loss.
      nll: negative log-likelihood alone, for perplexity.
      divergence: Kullback-Leibler, of the teacher from the model; 0 without a teacher.
      tokens: how many target tokens.
    """

    objective: jax.Array
    loss: jax.Array
    nll: jax.Array
    divergence: jax.Array
    tokens: jax.Array


class Lesson(NamedTuple):
    """What a teacher says of a batch: its last hidden values and its softmax's weights. It gets no gradient.

    Attributes:
      weight: the divergence's share of the objective; the loss has the rest.
      temperature: both models' logits are divided by it, and the divergence is multiplied by its square, so that the
        gradient keeps its size (Hinton et al. 2015).
    """

    x_BLE: jax.Array
    table_VE: jax.Array
    weight: float
    temperature: float


class _Tables(NamedTuple):
    """The weights of both softmaxes; there may be no teacher."""

    table_VD: jax.Array
    taught_VE: jax.Array | None


class _Tokens(NamedTuple):
    """What the softmaxes see of B rows of L positions."""

    x_BLD: jax.Array
    taught_BLE: jax.Array | None
    token_BL: jax.Array
    weight_BL: jax.Array


def loss_sums(
    x_BLD: jax.Array,
    table_VD: jax.Array,
    target: Rows,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    devices: int = 1,
    lesson: Lesson | None = None,
) -> Sums:
    """Cross-entropy of softmax(x table^T) against the target's tokens; padding (segment 0) counts nothing.

    The logits of some positions at a time are made, used and forgotten, and their derivative is taken at once. So
    memory does not grow with tokens x vocabulary, and nothing is computed twice. So it is with a teacher's logits.

    Args:
      x_BLD: the model's last hidden values; products are in their type, sums in float32.
      table_VD: float32, the softmax's weights; so is its gradient.
      target: [B, L].
      label_smoothing: this share of the target distribution is spread evenly over the vocabulary.
      z_loss: weight of logsumexp(logits)^2, which keeps the normaliser near 1 (mesh-tensorflow).
      devices: how many share the rows and the vocabulary, and so the logits.
      lesson: what a teacher says of the same tokens.
    """
    weight_BL = (target.segments_BL > 0).astype(jnp.float32)
    x_BLE, table_VE, weight, temperature = lesson or (None, None, 0.0, 1.0)
    objective = label_smoothing, z_loss, weight, temperature
    tokens = _Tokens(x_BLD, x_BLE, target.tokens_BL, weight_BL)
    return _sums(objective, devices, _Tables(table_VD, table_VE), tokens)


def nll_of_rows(x_BLD: jax.Array, table_VD: jax.Array, target: Rows, devices: int = 1) -> jax.Array:
    """The negative log-likelihood of each row's target, float32 [B]; arguments as in `loss_sums`."""
    weight_BL = (target.segments_BL > 0).astype(jnp.float32)
    tokens = _Tokens(x_BLD, None, target.tokens_BL, weight_BL)
    return _in_chunks(_nll_by_row, devices, _Tables(table_VD, None), tokens)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _sums(objective, devices, tables, tokens):
    return _in_chunks(functools.partial(_values, objective), devices, tables, tokens)[0]


def _sums_forward(objective, devices, tables, tokens):
    of_chunk = functools.partial(_values_and_gradients, objective)
    (sums, table_bar_DV), x_bar_BLD = _in_chunks(of_chunk, devices, tables, tokens)
    return sums, (x_bar_BLD, table_bar_DV)


def _sums_backward(objective, devices, gradients, bar: Sums):
    x_bar_BLD, table_bar_DV = gradients
    x_bar_BLD = (x_bar_BLD * bar.objective).astype(x_bar_BLD.dtype)
    none: Any = None  # what is no variable
    return _Tables(transposed(table_bar_DV) * bar.objective, none), _Tokens(x_bar_BLD, none, none, none)


_sums.defvjp(_sums_forward, _sums_backward)


def _in_chunks(of_chunk, devices, tables: _Tables, tokens: _Tokens):
    """`of_chunk` of the tables and some positions of every row, chunk after chunk: its totals added up, and its values
    by position. Every chunk has all rows, since devices share these out."""

    def at_once(sizes, tables, tokens):
        tables = _Tables(*jax.tree.map(lambda table, x: table.astype(x.dtype), tuple(tables), tuple(tokens[:2])))
        B, L = tokens.token_BL.shape
        most = max(1, devices * min(sizes.loss_tokens, sizes.loss_logits // tables.table_VD.shape[0]))
        chunks = min(L, -(-B * L // most))
        C = -(-L // chunks)
        chunks = -(-L // C)
        if chunks == 1:
            return of_chunk(tables, tokens)

        def split(each):
            each = jnp.pad(each, [(0, 0), (0, chunks * C - L), *[(0, 0)] * (each.ndim - 2)])
            return jnp.moveaxis(each.reshape(B, chunks, C, *each.shape[2:]), 1, 0)

        def body(totals, tokens):
            more, by_position = of_chunk(tables, tokens)
            return jax.tree.map(jnp.add, totals, more), by_position

        tokens = jax.tree.map(split, tokens)
        shapes, _ = jax.eval_shape(of_chunk, tables, jax.tree.map(lambda each: each[0], tokens))
        zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
        totals, by_position = jax.lax.scan(body, zeros, tokens)
        return totals, jax.tree.map(
            lambda each: jnp.moveaxis(each, 0, 1).reshape(B, chunks * C, *each.shape[3:])[:, :L], by_position
        )

    return platforms.in_sizes(at_once, tables, tokens)


def _values(objective, tables: _Tables, tokens: _Tokens):
    columns_M1, _ = _softmax(objective, tables, tokens)
    return _added(columns_M1), ()


def _nll_by_row(tables: _Tables, tokens: _Tokens):
    columns_M1, _ = _softmax((0.0, 0.0, 0.0, 0.0), tables, tokens)
    return columns_M1.nll.reshape(tokens.token_BL.shape).sum(1), ()


def _values_and_gradients(objective, tables: _Tables, tokens: _Tokens):
    """The sums and the table's gradient (as D by V), and the gradient of x."""
    columns_M1, logits_bar_MV = _softmax(objective, tables, tokens)
    x_MD = tokens.x_BLD.reshape(-1, tokens.x_BLD.shape[-1])
    x_bar_MD = jnp.einsum("mv,vd->md", logits_bar_MV, tables.table_VD, preferred_element_type=jnp.float32)
    table_bar_DV = weight_gradient(x_MD, logits_bar_MV)
    return (_added(columns_M1), table_bar_DV), x_bar_MD.astype(x_MD.dtype).reshape(tokens.x_BLD.shape)


def _softmax(objective, tables: _Tables, tokens: _Tokens):
    """What each token adds to the sums, and the objective's derivative by the logits in the type of x."""
    smoothing, z_loss, share, temperature = objective
    token_M1, weight_M1 = (each.reshape(-1, 1) for each in (tokens.token_BL, tokens.weight_BL))
    logits_MV = _logits(tokens.x_BLD, tables.table_VD)
    V = logits_MV.shape[1]
    highest_M1 = logits_MV.max(-1, keepdims=True)
    powers_MV = jnp.exp(logits_MV - highest_M1)
    sum_M1 = powers_MV.sum(-1, keepdims=True)
    log_z_M1 = highest_M1 + jnp.log(sum_M1)
    # A comparison and a sum: on a vocabulary split over devices, a gather would collect the logits.
    is_target_MV = jnp.arange(V)[None] == token_M1
    nll_M1 = log_z_M1 - jnp.where(is_target_MV, logits_MV, 0).sum(-1, keepdims=True)
    loss_M1 = nll_M1
    if smoothing:
        uniform_M1 = log_z_M1 - logits_MV.mean(-1, keepdims=True)
        loss_M1 = (1 - smoothing) * nll_M1 + smoothing * uniform_M1
    if z_loss:
        loss_M1 += z_loss * jnp.square(log_z_M1)
    scale_M1 = weight_M1 * (1 + 2 * z_loss * log_z_M1) / sum_M1
    wanted_MV = jnp.where(is_target_MV, 1 - smoothing + smoothing / V, smoothing / V)
    bar_MV = powers_MV * scale_M1 - wanted_MV * weight_M1
    objective_M1, divergence_M1 = loss_M1, jnp.zeros_like(loss_M1)
    if tables.taught_VE is not None:
        divergence_M1, divergence_bar_MV = _divergence(
            _logits(tokens.taught_BLE, tables.taught_VE), logits_MV, temperature
        )
        objective_M1 = (1 - share) * loss_M1 + share * divergence_M1
        bar_MV = (1 - share) * bar_MV + share * divergence_bar_MV * weight_M1
    columns = objective_M1, loss_M1, nll_M1, divergence_M1, jnp.ones_like(nll_M1)
    return Sums(*(each * weight_M1 for each in columns)), bar_MV.astype(tokens.x_BLD.dtype)


def _added(columns_M1: Sums) -> Sums:
    return Sums(*(each.sum() for each in columns_M1))


def _logits(x_BLD, table_VD):
    x_MD = x_BLD.reshape(-1, x_BLD.shape[-1])
    return jnp.einsum("md,vd->mv", x_MD, table_VD, preferred_element_type=jnp.float32)


def _divergence(taught_MV, logits_MV, temperature):
    """Of the teacher's distribution from the model's, and its derivative by the model's logits."""
    log_p_MV, log_q_MV = (jax.nn.log_softmax(each / temperature) for each in (taught_MV, logits_MV))
    p_MV = jnp.exp(log_p_MV)
    divergence_M1 = temperature**2 * (p_MV * (log_p_MV - log_q_MV)).sum(-1, keepdims=True)
    return divergence_M1, temperature * (jnp.exp(log_q_MV) - p_MV)
