"""What this device can do at best, measured in this process: the two limits that floors are made of."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from mqa_jax.timing.stopwatch import time_once


@dataclasses.dataclass(frozen=True)
class Peaks:
    """Memory read bandwidth, and matmul operations (a multiply-add is two) for operands of `dtype`."""

    bytes_per_s: float
    flops_per_s: float
    dtype: str


@functools.cache
def measure(dtype: str) -> Peaks:
    """The peaks of the first device, the best of several forms and shapes; a few seconds."""
    return Peaks(_bandwidth(), _matmul(dtype), dtype)


def _bandwidth() -> float:
    """A matrix-vector product reads with all cores; a reduction may use one only. The best of both counts."""
    size = 2**28 if jax.default_backend() == "cpu" else 2**31  # bytes, far beyond any cache
    table_MN = jnp.ones((size // 4 // 1024, 1024), jnp.float32)
    forms = (
        jax.jit(lambda x: jnp.dot(x, jnp.ones((1024,), jnp.float32))),
        jax.jit(lambda x: jnp.dot(x, jnp.ones((1024, 2), jnp.float32))),
        jax.jit(lambda x: x.max(axis=1)),
        jax.jit(lambda x: x.sum()),
    )
    return size / min(_best(form, table_MN) for form in forms)


def _matmul(dtype: str) -> float:
    accelerator = jax.default_backend() != "cpu"
    shapes = [(8192, 8192, 8192)] if accelerator else [(128, 1024, 4096), (512, 1024, 4096), (2048, 1024, 1024)]
    run = jax.jit(lambda a, b: jnp.dot(a, b, preferred_element_type=jnp.float32))
    rates = []
    for M, K, N in shapes:
        a, b = jnp.ones((M, K), dtype), jnp.ones((K, N), dtype)
        rates.append(2 * M * K * N / _best(run, a, b))
    return max(rates)


def _best(run, *arguments, rounds: int = 10) -> float:
    time_once(lambda: run(*arguments))
    return min(time_once(lambda: run(*arguments)) for _ in range(rounds))
