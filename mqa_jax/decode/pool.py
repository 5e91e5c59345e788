"""Many sentences through a batch of fixed size: a row whose sentence is over is given to the next one at once.

All rows share the model's clock and keep a time of their own, so a sentence can join while others are under way:
its source (or prompt) is read, put into the free row, and the loop goes on. One program does both. It comes
back when enough rows are free to be worth reading new sentences for.
"""

import collections
import contextlib
import dataclasses
import functools
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mqa_jax import sharding
from mqa_jax.attention import cache
from mqa_jax.decode import replicas
from mqa_jax.decode.search import LEAST, Search, run
from mqa_jax.model.build import Model, Parameters

SHARE = 4  # rows that are read at once, and free before that: one in so many of a replica's


class Request(NamedTuple):
    """One sentence to be served.

    Attributes:
      index: the caller's name for it.
      tokens: the source, or a prompt up to its last token.
      first: the token that the search feeds first.
      limit: most output tokens.
      seed: uint32, for a search that draws at random.
    """

    index: int
    tokens: Sequence[int]
    first: int
    limit: int
    seed: int


class Answer(NamedTuple):
    """What a request got.

    Attributes:
      outputs: best first, each with its score: ids up to EOS, or as far as the search's length reached.
      over: False if the search's length ended it, before its own limit did.
    """

    index: int
    outputs: list[tuple[float, list[int]]]
    over: bool


def serve(
    model: Model,
    search: Search,
    parameters: Parameters,
    inputs: Callable[[Sequence[Sequence[int]]], Any],
    requests: Sequence[Request],
    batch: int,
) -> Iterator[Answer]:
    """Answers all requests, in the order in which they come to an end.

    The batch is shared by as many replicas of the model as `replicas.groups` gives it. Each has a thread that takes
    requests from one queue: one that is through sooner serves more of them.

    Args:
      model: a replica's; its mesh says how many devices a replica has.
      inputs: makes what `begin` of the model reads of some requests' tokens, always of the same length.
      requests: longest first is best, so that few rows stand empty while the last ones end.
      batch: B.
    """
    groups = replicas.groups(model, batch, search.beams)
    waiting, out, given_up = collections.deque(requests), queue.SimpleQueue(), threading.Event()

    def work(group):
        try:
            with jax.default_device(group.devices.flat[0]):
                own = model.over(group)
                values = jax.device_put(parameters, replicas.weight_shardings(own, parameters, group))
                find = dataclasses.replace(search, mesh=own.mesh)
                _serve_replica(own, find, values, group, inputs, waiting, batch // len(groups), out.put, given_up)
        except BaseException as error:  # is raised again in the caller's thread
            waiting.clear()
            out.put(error)

    threads = [threading.Thread(target=work, args=(group,), daemon=True) for group in groups]
    for thread in threads:
        thread.start()
    try:
        for _ in requests:
            answer = out.get()
            if isinstance(answer, BaseException):
                raise answer
            yield answer
    finally:  # also where the caller takes no more answers: Python cannot end while a thread is in a device's call
        given_up.set()
        for thread in threads:
            thread.join()


def _serve_replica(
    model: Model,
    search: Search,
    parameters: Parameters,
    group: Mesh,
    inputs: Any,
    waiting: collections.deque,
    batch: int,
    on_answer: Callable[[Answer], None],
    given_up: threading.Event,
) -> None:
    """A replica's share of the batch, on its devices, until the queue is empty or nobody wants more answers."""
    at_once = max(1, batch // SHARE)
    rows, state = _empty(model, search, parameters, group, inputs, batch)
    serving: dict[int, Request] = {}
    while (waiting or serving) and not given_up.is_set():
        free = [row for row in range(batch) if row not in serving]
        taken = _take(waiting, min(at_once, len(free)))
        serving |= dict(zip(free, taken, strict=False))
        wanted = batch if not waiting else at_once if len(serving) == batch else 0
        rows, state, *found = _advance(
            model, search, parameters, rows, state, _admission(inputs, taken, free, at_once, batch), wanted
        )
        halted_B, over_B, tokens_BWT, scores_BW = map(np.asarray, found)
        for row in [row for row in serving if halted_B[row]]:
            scores_W = scores_BW[row][scores_BW[row] > LEAST]
            outputs = list(zip(scores_W.tolist(), tokens_BWT[row].tolist(), strict=False))
            on_answer(Answer(serving.pop(row).index, outputs, bool(over_B[row])))


def _take(waiting: collections.deque, most: int) -> list[Request]:
    """Up to `most` requests off the queue, which other threads take from too."""
    taken = []
    with contextlib.suppress(IndexError):
        while len(taken) < most:
            taken.append(waiting.popleft())
    return taken


def _empty(
    model: Model, search: Search, parameters: Parameters, group: Mesh, inputs: Any, batch: int
) -> tuple[Any, Any]:
    """Rows and state for a batch in which every row is free. Zeros from the host, so that nothing is compiled."""

    def begin(parameters):
        none_B = jnp.zeros((batch,), jnp.int32)
        state = model.bind(parameters).begin(inputs([()] * batch), search.beams, search.length)
        return search.begin(none_B, none_B, none_B.astype(jnp.uint32)), state

    rows, state = jax.eval_shape(begin, parameters)
    where = jax.tree.map(lambda _: sharding.replicated(group), rows), replicas.state_shardings(model, state, group)
    return jax.tree.map(lambda leaf, at: jax.device_put(np.zeros(leaf.shape, leaf.dtype), at), (rows, state), where)


def _admission(inputs: Any, taken: list[Request], free: list[int], at_once: int, batch: int) -> tuple[Any, ...]:
    """The arrays that `_advance` takes sentences in by, filled up with requests for a row that does not exist."""
    filling = at_once - len(taken)
    column = lambda values, rest, dtype: np.asarray([*values, *[rest] * filling], dtype)  # noqa: E731
    return (
        inputs([*(request.tokens for request in taken), *[()] * filling]),
        column((request.first for request in taken), 0, np.int32),
        column((request.limit for request in taken), 0, np.int32),
        column((request.seed for request in taken), 0, np.uint32),
        column(free[: len(taken)], batch, np.int32),
    )


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=(3, 4))
def _advance(model: Model, search: Search, parameters: Parameters, rows: Any, state: Any, admission, wanted):
    """Takes sentences in, then goes on until `wanted` rows are free."""
    inputs, first_R, limits_R, seeds_R, into_R = admission
    module = model.bind(parameters)
    state = cache.admit(state, module.begin(inputs, search.beams, 0), model.config.decoder.attentions, into_R)
    fresh = search.begin(first_R, limits_R, seeds_R)
    rows = jax.tree.map(lambda old, new: old.at[into_R].set(new, mode="drop"), rows, fresh)
    rows, state = run(search, module.step, rows, state, lambda rows: search.halted(rows).sum() >= wanted)
    rows, state = replicas.keep(model, rows, state)
    return rows, state, search.halted(rows), search.over(rows), *search.outputs(rows)
