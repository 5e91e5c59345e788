"""Latency of one sentence: what a reader waits for each token, with the token on the host after every step.

A whole decode in one program says how much work a machine gets done; this says how long one step takes when
each is started by itself, as in a service that sends tokens out as they come. So the cost of a start counts.
"""

import functools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mqa_jax import records
from mqa_jax.decode.search import Greedy, Line
from mqa_jax.experiment import Experiment
from mqa_jax.timing import decode, stopwatch
from mqa_jax.tokens import BOS


def measure(experiment: Experiment, source_length: int, target_length: int, repeats: int) -> dict[str, Any]:
    """The `latency` record: greedy, batch 1, a padded cache; times of single steps over `repeats` sentences."""
    shape = decode.Shape(1, 1, source_length, target_length, padded_cache=True)
    timed = decode.TimedDecode(experiment, shape).parts[0]
    search = Greedy(target_length, decode.NEVER)
    step = jax.jit(functools.partial(_step, timed.model, search), donate_argnums=(1, 2))
    times_ms, first_ms = [], []
    for sentence in range(repeats + 1):
        start = time.perf_counter()
        state = timed.begin()
        rows = search.begin(jnp.full((1,), BOS), jnp.full((1,), target_length), jnp.zeros((1,), jnp.uint32))
        for t in range(target_length):
            before = start if t == 0 else time.perf_counter()
            rows, state, token_1 = step(timed.parameters, rows, state)
            token_1.block_until_ready()
            took_ms = (time.perf_counter() - before) * 1e3
            if sentence:  # the first one warms up
                (times_ms if t else first_ms).append(took_ms)
    p50, p99 = np.percentile(times_ms, [50, 99])
    figures = {
        "source_length": source_length,
        "target_length": target_length,
        "dtype": timed.model.config.dtype,
        "ms_per_token_p50": float(p50),
        "ms_per_token_p99": float(p99),
        "ms_to_first_token": float(np.median(first_ms)),
        "sentences": repeats,
        "peak_memory_mb": stopwatch.peak_memory_mb(),
    }
    return records.make("latency", experiment, figures)


def _step(model: Any, search: Greedy, parameters: Any, rows: Line, state: Any) -> tuple[Line, Any, jax.Array]:
    rows, state = search.advance(model.bind(parameters).step, rows, state)
    return rows, state, rows.token_B
