"""What was trained since the last log line. A checkpoint holds it, so that a line after a stop counts every step."""

import dataclasses
import math
import time
from typing import Any

import jax
import jax.numpy as jnp

from mqa_jax.batch import Batch
from mqa_jax.train.loss import Sums


@dataclasses.dataclass(frozen=True)
class Rate:
    """What throughput is a share of: matmul operations (forwards and backwards) a token, and a second at best."""

    flops_per_source_token: float
    flops_per_target_token: float
    peak_flops_per_s: float


class Window:
    """Sums since the last log line. They stay on the device until the line is due; so do few steps, at most."""

    AHEAD = 2  # steps that are started before the first of them must be through: a stop waits for no more

    def __init__(self, saved: dict[str, Any] | None = None):
        """A window that is empty, or goes on from what `state` gave."""
        saved = saved or {"objective": [], "nll": [], "tokens": [], "source_tokens": 0, "seconds": 0.0}
        self._sums = [Sums(*each) for each in zip(saved["objective"], saved["nll"], saved["tokens"], strict=True)]
        self._source_tokens: list[Any] = [saved["source_tokens"]]
        self._seconds = saved["seconds"]
        self._start: float | None = time.perf_counter()

    def __len__(self) -> int:
        return len(self._sums)

    def start_clock(self) -> None:
        """Counts time from here on; what passed since the window was made or its clock was stopped is forgotten."""
        self._start = time.perf_counter()

    def stop_clock(self) -> None:
        """Keeps the time so far. What passes until `start_clock` is not training."""
        if self._start is not None:
            self._seconds, self._start = self._seconds + time.perf_counter() - self._start, None

    def add(self, sums: Sums, batch: Batch) -> None:
        """Counts one step, whose batch lies on the devices; waits until the step `AHEAD` before it is through."""
        self._sums.append(sums)
        if batch.source is not None:
            self._source_tokens.append(_tokens(batch.source.segments_BL))
        if len(self._sums) > self.AHEAD:
            jax.block_until_ready(self._sums[-1 - self.AHEAD])

    def state(self) -> dict[str, Any]:
        """JSON that makes an equal window. Stop the clock first."""
        columns = [[float(value) for value in column] for column in zip(*self._sums, strict=True)] or [[], [], []]
        named = dict(zip(Sums._fields, columns, strict=True))
        return named | {"source_tokens": sum(map(int, self._source_tokens)), "seconds": self._seconds}

    def close(self, rate: Rate | None = None) -> dict[str, float]:
        """The figures of a log line. Steps whose loss is not a number are left out of its mean. Stops the clock."""
        steps = [tuple(float(each) for each in sums) for sums in self._sums]  # waits for the last step
        self.stop_clock()
        target = math.fsum(tokens for _, _, tokens in steps)
        sound = [each for each in steps if math.isfinite(each[0])]
        objective, nll, counted = (math.fsum(each) for each in zip(*sound, strict=True)) if sound else (math.nan,) * 3
        source = sum(map(int, self._source_tokens))
        tokens = target + source
        values = {
            "loss": objective / counted,
            "nll_per_token": nll / counted,
            "tokens": tokens,
            "seconds": self._seconds,
            "tokens_per_s": tokens / self._seconds,
        }
        if rate:
            flops = rate.flops_per_source_token * source + rate.flops_per_target_token * target
            values["peak_share"] = flops / self._seconds / rate.peak_flops_per_s
        return values


@jax.jit
def _tokens(segments_BL: jax.Array) -> jax.Array:
    return jnp.count_nonzero(segments_BL)
