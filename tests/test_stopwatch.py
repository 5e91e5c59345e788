"""Times: blocked on results, warm, compilation apart. And peaks that such times give."""

import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mqa_jax.timing import peaks, stopwatch


@jax.jit
def slow(x_DD):
    """Given to the device at once; takes tens of milliseconds there."""
    return jax.lax.fori_loop(0, 100, lambda _, y_DD: jnp.tanh(y_DD @ x_DD), x_DD)


def test_a_call_is_over_when_its_results_are_there():
    x_DD, results = jnp.ones((512, 512)), []

    def call(x_DD):
        results.append({"nested": [slow(x_DD)]})
        return results[-1]

    call(x_DD)
    jax.block_until_ready(results)
    assert not call(x_DD)["nested"][0].is_ready(), "nobody waits here"
    jax.block_until_ready(results)
    assert stopwatch.time_once(lambda: call(x_DD)) > 1e-3 and results[-1]["nested"][0].is_ready()
    times = stopwatch.time_call(call, x_DD, repeats=3)
    assert len(times) == 3 and min(times) > 1e-3
    assert results[-1]["nested"][0].is_ready()


def test_warm_up_is_not_timed():
    calls = []

    def first_is_slow():
        calls.append(None)
        time.sleep(0.2 if len(calls) <= 2 else 0)

    times = stopwatch.time_call(first_is_slow, repeats=4, warmup=2)
    assert len(calls) == 6 and len(times) == 4 and max(times) < 0.2


def test_a_compiled_call_never_compiles():
    traces = []

    @jax.jit
    def double(x):
        traces.append(None)
        return 2 * x

    compiled, seconds = stopwatch.compile_timed(double, jax.ShapeDtypeStruct((3,), jnp.float32))
    assert seconds > 0 and len(traces) == 1
    np.testing.assert_array_equal(compiled(jnp.arange(3.0)), [0, 2, 4])
    assert len(traces) == 1
    with pytest.raises(TypeError):
        compiled(jnp.arange(4.0))


def test_peak_memory_counts_what_is_gone_in_mib():
    script = (
        "from mqa_jax.timing.stopwatch import peak_memory_mb as peak\n"
        "before = peak()\nheld = b'x' * (300 << 20)\nduring = peak()\ndel held\nprint(before, during, peak())"
    )
    # A shell between, because Linux lets a child's peak start at that of the process that starts it.
    shell = ["sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, script]
    run = subprocess.run(shell, capture_output=True, text=True, check=True)
    before, during, after = map(float, run.stdout.split())
    assert before > 50 and 200 < during - before < 301 and after == during


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_peaks_are_of_the_size_that_numpy_reaches(dtype):
    """A slip of units is a factor of eight at least."""
    found = peaks.measure(dtype)
    assert peaks.measure(dtype) is found
    a, b = np.ones((512, 1024), np.float32), np.ones((1024, 4096), np.float32)
    flops_per_s = 2 * 512 * 1024 * 4096 / min(stopwatch.time_call(np.dot, a, b, repeats=3))
    table = np.ones(2**26, np.float32)
    bytes_per_s = table.nbytes / min(stopwatch.time_call(table.max, repeats=3))
    assert bytes_per_s / 8 < found.bytes_per_s < 8 * bytes_per_s
    assert flops_per_s / 8 < found.flops_per_s < 40 * flops_per_s


def test_one_bandwidth_for_all_types():
    assert peaks.measure("float32").bytes_per_s == peaks.measure("bfloat16").bytes_per_s
