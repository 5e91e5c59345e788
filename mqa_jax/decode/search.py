"""Greedy search, beam search and sampling over a step function. Nothing here knows a model.

A search is a frozen dataclass of settings; what it has found so far is a NamedTuple of arrays with one row for
each sentence. Rows know their own time, so that a row that is over can be given to another sentence while
the others go on (decode/pool.py). The step function is `step(state, tokens_BW) -> (state, logits_VBW)`, with the
vocabulary first.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from mqa_jax.kernels import largest

Step = Callable[[Any, jax.Array], tuple[Any, jax.Array]]
Reorder = Callable[[Any, jax.Array], Any]

IMPOSSIBLE = -1e9
LEAST = IMPOSSIBLE / 1000  # no output's score is as low; an impossible one is, over any length penalty too


@dataclasses.dataclass(frozen=True)
class Search(abc.ABC):
    """What `run` and the pool ask of a search. Every array of `rows` has a row for each of B sentences, such as `t_B`,
    its time.

    Attributes:
      length: T, the most tokens of an output. A row whose own limit is larger halts there without being over.
      eos: the id that ends an output; -1 forces every output to its limit.
      beams: W, the tokens that a step feeds for each sentence.
      mesh: the devices that share the vocabulary, by its axis `tensor`; None for one device.
    """

    length: int
    eos: int
    beams: int = dataclasses.field(default=1, init=False)
    mesh: Mesh | None = dataclasses.field(default=None, kw_only=True)

    @abc.abstractmethod
    def begin(self, first_B: jax.Array, limits_B: jax.Array, seeds_B: jax.Array) -> Any:
        """The rows before the first step.

        Args:
          first_B: int32, the first token to feed: BOS, or the last token of a prompt.
          limits_B: int32, the most tokens for each sentence; 0 for a row that is filling only.
          seeds_B: uint32, where randomness of a row starts; a search without any ignores it.
        """

    @abc.abstractmethod
    def advance(self, step: Step, rows: Any, state: Any) -> tuple[Any, Any]:
        """One step of every sentence: the rows and the state after it. Rows that have halted stay as they are."""

    @abc.abstractmethod
    def over(self, rows: Any) -> jax.Array:
        """over_B: True where the output is what it will be."""

    def halted(self, rows: Any) -> jax.Array:
        """halted_B: True where no more steps are taken: over, or `length` tokens long."""
        return self.over(rows) | (rows.t_B >= self.length)

    @abc.abstractmethod
    def outputs(self, rows: Any) -> tuple[jax.Array, jax.Array]:
        """The outputs, best first: tokens_BWT, int32, EOS at the end and PAD (0) behind it, and scores_BW, zeros if the
        search has none, below `LEAST` where there are fewer outputs."""

    def best(self, rows: Any) -> tuple[jax.Array, jax.Array]:
        """The first of `outputs`: tokens_BT and scores_B."""
        tokens_BWT, scores_BW = self.outputs(rows)
        return tokens_BWT[:, 0], scores_BW[:, 0]


def run(search: Search, step: Step, rows: Any, state: Any, stop: Callable[[Any], jax.Array]) -> tuple[Any, Any]:
    """One `while_loop` that advances until `stop(rows)`: the rows and the state. Trace it inside `jit`."""
    return jax.lax.while_loop(lambda carry: ~stop(carry[0]), lambda carry: search.advance(step, *carry), (rows, state))


class Line(NamedTuple):
    """The one output of each sentence of a search without beams."""

    t_B: jax.Array
    over_B: jax.Array
    limits_B: jax.Array
    seeds_B: jax.Array
    token_B: jax.Array  # the last one, fed next
    tokens_BT: jax.Array


class Greedy(Search):
    """The likeliest token at each step."""

    def begin(self, first_B: jax.Array, limits_B: jax.Array, seeds_B: jax.Array) -> Line:
        B = first_B.shape[0]
        return Line(
            t_B=jnp.zeros((B,), jnp.int32),
            over_B=limits_B <= 0,
            limits_B=limits_B.astype(jnp.int32),
            seeds_B=seeds_B,
            token_B=first_B.astype(jnp.int32),
            tokens_BT=jnp.zeros((B, self.length), jnp.int32),
        )

    def advance(self, step: Step, rows: Line, state: Any) -> tuple[Line, Any]:
        state, logits_VB1 = step(state, rows.token_B[:, None])
        token_B = self.pick(logits_VB1[..., 0], rows).astype(jnp.int32)
        goes_on_B = ~self.halted(rows)
        now_BT = (jnp.arange(self.length)[None] == rows.t_B[:, None]) & goes_on_B[:, None]
        t_B = rows.t_B + goes_on_B
        after = rows._replace(
            t_B=t_B,
            over_B=rows.over_B | (goes_on_B & ((token_B == self.eos) | (t_B >= rows.limits_B))),
            token_B=token_B,
            tokens_BT=jnp.where(now_BT, token_B[:, None], rows.tokens_BT),
        )
        return after, state

    def pick(self, logits_VB: jax.Array, rows: Line) -> jax.Array:
        """The next token of each sentence."""
        return largest.argmax(logits_VB, self.mesh)

    def over(self, rows: Line) -> jax.Array:
        return rows.over_B

    def outputs(self, rows: Line) -> tuple[jax.Array, jax.Array]:
        return rows.tokens_BT[:, None], jnp.zeros((*rows.t_B.shape, 1), jnp.float32)


@dataclasses.dataclass(frozen=True)
class Sample(Greedy):
    """A token at random at each step. What a row draws depends on its seed and time alone; limits as in `sample`."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def pick(self, logits_VB: jax.Array, rows: Line) -> jax.Array:
        def draw(logits_V, seed, t):
            key = jax.random.fold_in(jax.random.key(seed), t)
            return sample(logits_V, key, self.temperature, self.top_k, self.top_p)

        return jax.vmap(draw)(logits_VB.T, rows.seeds_B, rows.t_B)


def sample(logits: jax.Array, key: jax.Array, temperature: float, top_k: int, top_p: float) -> jax.Array:
    """One index of [..., V] at random: int32 [...].

    Args:
      logits: float32 scores.
      temperature: divides the logits; must be above 0.
      top_k: only among so many largest; 0 for all.
      top_p: only among the fewest that hold this share of the probability; 1 for all.
    """
    scores, index = jax.lax.top_k(logits / temperature, min(top_k or logits.shape[-1], logits.shape[-1]))
    probabilities = jax.nn.softmax(scores, axis=-1)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    scores = jnp.where(before < top_p, scores, -jnp.inf)
    return jnp.take_along_axis(index, jax.random.categorical(key, scores)[..., None], axis=-1)[..., 0]


class Beams(NamedTuple):
    """The live and the ended outputs of each sentence, best first."""

    t_B: jax.Array
    limits_B: jax.Array
    token_BW: jax.Array  # the last token of each live beam
    live_BWT: jax.Array
    live_scores_BW: jax.Array  # log-probabilities
    ended_BWT: jax.Array
    ended_scores_BW: jax.Array  # over the length penalty


def length_penalty(length: jax.Array, alpha: float) -> jax.Array:
    """((5 + length) / 6)^alpha (Wu et al. 2016, as in T2T)."""
    return ((5.0 + length.astype(jnp.float32)) / 6.0) ** alpha


@dataclasses.dataclass(frozen=True)
class Beam(Search):
    """Beam search with 2W candidates a step, stopping when no live beam can win any more (T2T).

    All candidates that end are compared with those that ended before; the W best of the others live on.
    The output is the best ended one; where none ended within its limit, the best live one.

    Attributes:
      alpha: exponent of the length penalty.
      reorder: `reorder(state, parents_BW)`: beam w goes on from beam parents_BW[:, w].
    """

    beams: int = dataclasses.field()
    alpha: float
    reorder: Reorder

    def begin(self, first_B: jax.Array, limits_B: jax.Array, seeds_B: jax.Array) -> Beams:
        B, W = first_B.shape[0], self.beams
        none_BWT = jnp.zeros((B, W, self.length), jnp.int32)
        return Beams(
            t_B=jnp.zeros((B,), jnp.int32),
            limits_B=limits_B.astype(jnp.int32),
            token_BW=jnp.broadcast_to(first_B[:, None], (B, W)).astype(jnp.int32),
            live_BWT=none_BWT,
            # All beams begin alike: only the first may have children.
            live_scores_BW=jnp.broadcast_to(jnp.where(jnp.arange(W) == 0, 0.0, IMPOSSIBLE)[None], (B, W)),
            ended_BWT=none_BWT,
            ended_scores_BW=jnp.full((B, W), IMPOSSIBLE),
        )

    def advance(self, step: Step, rows: Beams, state: Any) -> tuple[Beams, Any]:
        state, logits_VBW = step(state, rows.token_BW)
        logits_VBW, W = logits_VBW.astype(jnp.float32), self.beams
        total_BW = rows.live_scores_BW - jax.nn.logsumexp(logits_VBW, axis=0)
        scores_BC, parent_BC, token_BC = largest.top_k(logits_VBW + total_BW[None], 2 * W, self.mesh)
        ends_BC = token_BC == self.eos
        outputs_BCT = jnp.take_along_axis(rows.live_BWT, parent_BC[..., None], axis=1)
        now_BT = jnp.arange(self.length)[None] == rows.t_B[:, None]
        outputs_BCT = jnp.where(now_BT[:, None], token_BC[..., None], outputs_BCT)

        live_scores_BW, live_BW = jax.lax.top_k(jnp.where(ends_BC, IMPOSSIBLE, scores_BC), W)
        parents_BW = jnp.take_along_axis(parent_BC, live_BW, axis=1)

        # Any of the 2W candidates may end (T2T). Of a beam of one the best alone, which makes it greedy.
        counts_BC = ends_BC & (jnp.arange(ends_BC.shape[1]) < (2 * W if W > 1 else 1))[None]
        penalised_BC = scores_BC / length_penalty(rows.t_B + 1, self.alpha)[:, None]
        ended_scores = jnp.concatenate([rows.ended_scores_BW, jnp.where(counts_BC, penalised_BC, IMPOSSIBLE)], 1)
        ended = jnp.concatenate([rows.ended_BWT, outputs_BCT], 1)
        ended_scores_BW, ended_BW = jax.lax.top_k(ended_scores, W)

        after = Beams(
            t_B=rows.t_B + 1,
            limits_B=rows.limits_B,
            token_BW=jnp.take_along_axis(token_BC, live_BW, axis=1),
            live_BWT=jnp.take_along_axis(outputs_BCT, live_BW[..., None], axis=1),
            live_scores_BW=live_scores_BW,
            ended_BWT=jnp.take_along_axis(ended, ended_BW[..., None], axis=1),
            ended_scores_BW=ended_scores_BW,
        )
        halted_B = self.halted(rows)
        keep = lambda old, new: jnp.where(halted_B.reshape(-1, *[1] * (old.ndim - 1)), old, new)  # noqa: E731
        return jax.tree.map(keep, rows, after), self.reorder(state, parents_BW)

    def over(self, rows: Beams) -> jax.Array:
        # A live beam's score can only fall, and no penalty is larger than that of the limit.
        return (rows.t_B >= rows.limits_B) | (rows.ended_scores_BW[:, 0] >= self._bound(rows))

    def outputs(self, rows: Beams) -> tuple[jax.Array, jax.Array]:
        """The ended beams; the live ones where none ended. The search is over once none can be better than the best, so
        the others are the best of those that it had found by then."""
        any_B1 = rows.ended_scores_BW[:, :1] > LEAST
        live_scores_BW = rows.live_scores_BW / self._penalty_at_limit(rows)[:, None]
        tokens_BWT = jnp.where(any_B1[..., None], rows.ended_BWT, rows.live_BWT)
        return tokens_BWT, jnp.where(any_B1, rows.ended_scores_BW, live_scores_BW)

    def _bound(self, rows: Beams) -> jax.Array:
        return rows.live_scores_BW[:, 0] / self._penalty_at_limit(rows)

    def _penalty_at_limit(self, rows: Beams) -> jax.Array:
        """Of the longest output that may come; no score is divided by more."""
        return length_penalty(jnp.maximum(rows.limits_B, 1), self.alpha)
