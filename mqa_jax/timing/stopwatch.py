"""Times that can be trusted: after warm-up, blocked on the results, compile time apart."""

import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import jax


def time_call(run: Callable[..., Any], *arguments: Any, repeats: int, warmup: int = 1) -> list[float]:
    """Seconds of `repeats` calls, each until its results are there, after `warmup` calls that do not count."""
    return [time_once(lambda: run(*arguments)) for _ in range(warmup + repeats)][warmup:]


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
    """Most memory held so far, in MiB: the first accelerator's, or this process's where there is none."""
    held = jax.local_devices()[0].memory_stats()
    if held and "peak_bytes_in_use" in held:
        return held["peak_bytes_in_use"] / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
