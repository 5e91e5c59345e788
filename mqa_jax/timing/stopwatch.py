"""Times that can be trusted: after warm-up, blocked on the results, compile time apart."""

import resource
import time
from collections.abc import Callable
from typing import Any

import jax


def time_once(run: Callable[[], Any]) -> float:
    """Seconds until the results of `run` are there."""
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def compile_timed(jitted: Any, *arguments: Any) -> tuple[Any, float]:
    """The compiled form of a jitted function for these arguments (arrays or shapes), and the seconds it took."""
    start = time.perf_counter()
    compiled = jitted.lower(*arguments).compile()
    return compiled, time.perf_counter() - start


def peak_memory_mb() -> float:
    """Most memory held so far: the first accelerator's, or this process's where there is none."""
    statistics = jax.local_devices()[0].memory_stats()
    if statistics and "peak_bytes_in_use" in statistics:
        return statistics["peak_bytes_in_use"] / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
