"""What this device can do at best, measured in this process: the two limits that floors are made of.

Both are the best of several forms and sizes, each at its fastest call. Other load on the machine lowers them
and raises the floors: time on an idle one. A model small enough for the processor's caches can read faster
than this bandwidth.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from mqa_jax.timing.stopwatch import time_call

# As published for the SXM forms: bytes of memory and dense operations in bfloat16 a second; by the driver's name.
PUBLISHED = {
    "NVIDIA A100-SXM4-80GB": (2.039e12, 312e12),
    "NVIDIA H100 80GB HBM3": (3.35e12, 989e12),
    "NVIDIA H200": (4.8e12, 989e12),
    "NVIDIA B200": (8e12, 2250e12),
}


@dataclasses.dataclass(frozen=True)
class Peaks:
    """Memory read bandwidth, and matmul operations (a multiply-add is two): of any operands, and with weights, which
    may be int8."""

    bytes_per_s: float
    flops_per_s: float
    weight_flops_per_s: float


@functools.cache
def measure(dtype: str, weight_dtype: str | None = None) -> Peaks:
    """The peaks of the default device; measured once a process, in a few seconds."""
    return Peaks(_bandwidth(), matmul(dtype), matmul(weight_dtype or dtype))


def published() -> dict[str, float]:
    """What is published of the default device, for a record beside what is measured; empty where it is not known."""
    found = PUBLISHED.get(jax.devices()[0].device_kind, ())
    return dict(zip(("published_bytes_per_s", "published_bfloat16_flops_per_s"), found, strict=False))


@functools.cache
def matmul(dtype: str) -> float:
    """Operations a second, accumulated in float32 (int8: in int32), at the best of a few sizes."""
    sizes = [(128, 1024, 4096), (512, 1024, 4096), (2048, 1024, 1024)]
    if jax.default_backend() != "cpu":
        sizes = [(8192, 8192, 8192)]
    product = functools.partial(jnp.dot, preferred_element_type=jnp.int32 if dtype == "int8" else jnp.float32)
    return max(2 * M * K * N / _fastest(product, jnp.ones((M, K), dtype), jnp.ones((K, N), dtype)) for M, K, N in sizes)


@functools.cache
def _bandwidth() -> float:
    """Bytes a second of the fastest of some ways to read one array; which of them uses all cores is XLA's choice."""
    size = 2**28 if jax.default_backend() == "cpu" else 2**31
    table_MN = jnp.ones((size // 4 // 1024, 1024), jnp.float32)
    forms = (
        lambda x_MN: x_MN @ jnp.ones((1024,), jnp.float32),
        lambda x_MN: x_MN.max(axis=0),
        lambda x_MN: x_MN.max(axis=1),
        lambda x_MN: x_MN.sum(),
    )
    return max(size / _fastest(form, table_MN) for form in forms)


def _fastest(run, *arguments: jax.Array) -> float:
    """Seconds of a call of `run`, jitted. An accelerator gets four at once, so that starting them costs no time."""
    calls = 1 if jax.default_backend() == "cpu" else 4
    jitted = jax.jit(run)
    return min(time_call(lambda: [jitted(*arguments) for _ in range(calls)], repeats=20)) / calls
