"""The ground that all tests stand on: 8 CPU devices, strict shapes, a compilation cache, no skipped test."""

import gc
import os
import pathlib
import platform
import sys

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()
os.environ["MPLBACKEND"] = "Agg"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # compiling is most of the time; the results are the same

import jax  # must see the variables above
import pytest

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "mqa_jax" / "tests"

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


# What GPUs are compiled for with (.ci/gpu).
HAS_GPU_COMPILER = (sys.platform, platform.machine()) == ("linux", "x86_64") and jax.__version_info__ >= (0, 12)
collect_ignore = [] if HAS_GPU_COMPILER else ["extra/test_gpu.py"]
LONGEST = "test_compare", "test_processes", "test_sharding", "test_steps", "test_survival", "test_timing"


def pytest_collection_modifyitems(items):
    """The longest files begin first, so that no core waits for the last of them."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture(scope="module", autouse=True)
def _programs_end_with_their_file():
    """A compiled program takes several of the 65,530 memory maps that Linux gives a process; with none left it dies."""
    yield
    jax.clear_caches()
    gc.collect()


def pytest_terminal_summary(terminalreporter):
    for path in collect_ignore:
        why = f"only JAX 0.12 or newer on Linux compiles for GPUs that are not here; this is {jax.__version__}"
        terminalreporter.write_line(f"left out: {path}, {why}")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    return _not_skipped((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(collector):
    return _not_skipped((yield))


def _not_skipped(report):
    """A skipped or expected failure proves nothing, so it fails."""
    if report.skipped:
        report.longrepr = f"no test may be skipped or expected to fail: {report.longrepr}"
        report.outcome = "failed"
    return report
