"""Greedy search, beam search and sampling over a step function. Nothing here knows a model.

A search is given `step(state, tokens_BW) -> (state, logits_BWV)`, the state to begin with and the tokens to
feed first (BOS, or the last token of a prompt). Each is one `while_loop`: trace it inside `jit`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mqa_jax.decode import choose

Step = Callable[[Any, jax.Array], tuple[Any, jax.Array]]
Reorder = Callable[[Any, jax.Array], Any]

IMPOSSIBLE = -1e9


class Found(NamedTuple):
    """The best output of each sentence.

    Attributes:
      tokens_BT: int32; EOS ends an output, PAD (0) fills the row.
      scores_B: log-probability over the length penalty; zeros where the search does not score.
      steps: int32 scalar, decode steps taken.
      state: the step function's state after the last step; a caller that donated it gets its buffers back.
    """

    tokens_BT: jax.Array
    scores_B: jax.Array
    steps: jax.Array
    state: Any


def greedy(step: Step, state: Any, first_B: jax.Array, limits_B: jax.Array, length: int, eos: int) -> Found:
    """The likeliest token at each step.

    Args:
      step, state: see above, with W = 1.
      first_B: int32, the first token to feed.
      limits_B: int32, the most tokens for each sentence; 0 for a row that is filling only.
      length: T, at least the largest limit.
      eos: the id that ends an output; -1 forces every output to its limit.
    """
    return _one_by_one(step, state, first_B, limits_B, length, eos, lambda logits_BV, t: choose.argmax(logits_BV))


def sample(
    step: Step,
    state: Any,
    first_B: jax.Array,
    limits_B: jax.Array,
    length: int,
    eos: int,
    key: jax.Array,
    temperature: float = 1.0,
    top: int = 0,
    mass: float = 1.0,
) -> Found:
    """A token at random at each step; see `choose.sample` for the last three and `greedy` for the rest."""
    return _one_by_one(
        step,
        state,
        first_B,
        limits_B,
        length,
        eos,
        lambda logits_BV, t: choose.sample(logits_BV, jax.random.fold_in(key, t), temperature, top, mass),
    )


def _one_by_one(step, state, first_B, limits_B, length, eos, pick) -> Found:
    def running(carry):
        t, _, _, _, done_B = carry
        return (t < length) & ~done_B.all()

    def advance(carry):
        t, state, token_B, tokens_BT, done_B = carry
        state, logits_B1V = step(state, token_B[:, None])
        token_B = jnp.where(done_B, 0, pick(logits_B1V[:, 0], t).astype(jnp.int32))
        tokens_BT = jax.lax.dynamic_update_slice(tokens_BT, token_B[:, None], (0, t))
        return t + 1, state, token_B, tokens_BT, done_B | (token_B == eos) | (t + 1 >= limits_B)

    B = first_B.shape[0]
    start = jnp.zeros((), jnp.int32), state, first_B, jnp.zeros((B, length), jnp.int32), limits_B <= 0
    t, state, _, tokens_BT, _ = jax.lax.while_loop(running, advance, start)
    return Found(tokens_BT, jnp.zeros((B,), jnp.float32), t, state)


class _Beams(NamedTuple):
    t: jax.Array
    state: Any
    token_BW: jax.Array  # the last token of each live beam
    live_BWT: jax.Array
    live_scores_BW: jax.Array  # log-probabilities, best first
    ended_BWT: jax.Array
    ended_scores_BW: jax.Array  # over the length penalty, best first


def length_penalty(length: jax.Array, alpha: float) -> jax.Array:
    """((5 + length) / 6)^alpha (Wu et al. 2016, as in T2T)."""
    return ((5.0 + length) / 6.0) ** alpha


def beam(
    step: Step,
    reorder: Reorder,
    state: Any,
    first_B: jax.Array,
    limits_B: jax.Array,
    length: int,
    eos: int,
    beams: int,
    alpha: float,
) -> Found:
    """Beam search with 2W candidates a step, stopping when no live beam can win any more (T2T).

    Args:
      step, state, first_B, limits_B, length, eos: as in `greedy`, with W beams.
      reorder: `reorder(state, parents_BW)`: beam w goes on from beam parents_BW[:, w].
      beams: W.
      alpha: exponent of the length penalty.
    Returns:
      The best ended output; where none ended within its limit, the best live one.
    """
    B, W = first_B.shape[0], beams
    limits_B = limits_B.astype(jnp.int32)

    def running(c: _Beams):
        # A live beam's score can only fall, and no penalty is larger than that of the limit.
        bound_B = c.live_scores_BW[:, 0] / length_penalty(jnp.maximum(limits_B, 1).astype(jnp.float32), alpha)
        over_B = (c.t >= limits_B) | (c.ended_scores_BW[:, 0] >= bound_B)
        return (c.t < length) & ~over_B.all()

    def advance(c: _Beams):
        state, logits_BWV = step(c.state, c.token_BW)
        logits_BWV = logits_BWV.astype(jnp.float32)
        V = logits_BWV.shape[-1]
        total_BW = c.live_scores_BW - jax.nn.logsumexp(logits_BWV, axis=-1)
        scores_BC, index_BC = choose.top_k((logits_BWV + total_BW[..., None]).reshape(B, W * V), min(2 * W, W * V))
        parent_BC, token_BC = index_BC // V, index_BC % V
        ends_BC = token_BC == eos
        outputs_BCT = jnp.take_along_axis(c.live_BWT, parent_BC[..., None], axis=1)
        outputs_BCT = jax.lax.dynamic_update_slice(outputs_BCT, token_BC[..., None], (0, 0, c.t))

        live_scores_BW, live_BW = jax.lax.top_k(jnp.where(ends_BC, IMPOSSIBLE, scores_BC), W)
        parents_BW = jnp.take_along_axis(parent_BC, live_BW, axis=1)

        penalty = length_penalty((c.t + 1).astype(jnp.float32), alpha)
        # An output that ends must be among the W best, as one that goes on must: a beam of one is then greedy.
        counts_BC = ends_BC & (c.t < limits_B)[:, None] & (jnp.arange(ends_BC.shape[1]) < W)[None]
        ended_scores = jnp.concatenate([c.ended_scores_BW, jnp.where(counts_BC, scores_BC / penalty, IMPOSSIBLE)], 1)
        ended = jnp.concatenate([c.ended_BWT, outputs_BCT], 1)
        ended_scores_BW, ended_BW = jax.lax.top_k(ended_scores, W)

        # A sentence at its limit keeps its live beams as they are: they are what it returns if none ended.
        open_B = c.t < limits_B
        return _Beams(
            t=c.t + 1,
            state=reorder(state, parents_BW),
            token_BW=jnp.take_along_axis(token_BC, live_BW, axis=1),
            live_BWT=jnp.where(
                open_B[:, None, None], jnp.take_along_axis(outputs_BCT, live_BW[..., None], axis=1), c.live_BWT
            ),
            live_scores_BW=jnp.where(open_B[:, None], live_scores_BW, c.live_scores_BW),
            ended_BWT=jnp.take_along_axis(ended, ended_BW[..., None], axis=1),
            ended_scores_BW=ended_scores_BW,
        )

    none_BWT = jnp.zeros((B, W, length), jnp.int32)
    c = jax.lax.while_loop(
        running,
        advance,
        _Beams(
            t=jnp.zeros((), jnp.int32),
            state=state,
            token_BW=jnp.broadcast_to(first_B[:, None], (B, W)).astype(jnp.int32),
            live_BWT=none_BWT,
            # All beams begin alike: only the first may have children.
            live_scores_BW=jnp.broadcast_to(jnp.where(jnp.arange(W) == 0, 0.0, IMPOSSIBLE)[None], (B, W)),
            ended_BWT=none_BWT,
            ended_scores_BW=jnp.full((B, W), IMPOSSIBLE),
        ),
    )
    any_B = c.ended_scores_BW[:, 0] > IMPOSSIBLE / 2
    live_B = c.live_scores_BW[:, 0] / length_penalty(jnp.maximum(limits_B, 1).astype(jnp.float32), alpha)
    return Found(
        tokens_BT=jnp.where(any_B[:, None], c.ended_BWT[:, 0], c.live_BWT[:, 0]),
        scores_B=jnp.where(any_B, c.ended_scores_BW[:, 0], live_B),
        steps=c.t,
        state=c.state,
    )
