"""What a process does on a CPU before it uses JAX."""

import fnmatch
import os
import pathlib
import statistics
import subprocess
import sys
import types

import pytest

from mqa_jax.kernels import host

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("platforms", "files", "cpu"),
    [(None, [], True), ("cpu", ["/dev/nvidia0"], True), (None, ["/dev/nvidia0"], False), ("tpu,cpu", [], False)],
)
def test_a_cpus_memory_and_cores_are_set_up_only_for_a_cpu(monkeypatch, platforms, files, cpu):
    done = []
    config = types.SimpleNamespace(jax_platforms=platforms, update=lambda *setting: done.append(setting))
    monkeypatch.setattr(host, "jax", types.SimpleNamespace(config=config))
    monkeypatch.setattr(host.glob, "glob", lambda pattern: fnmatch.filter(files, pattern))
    monkeypatch.setattr(
        host.ctypes, "CDLL", lambda _: types.SimpleNamespace(mallopt=lambda *option: done.append(option))
    )
    monkeypatch.setattr(host, "_use_huge_pages", done.append)
    monkeypatch.delenv("XLA_FLAGS")
    host.make_cores_devices()
    assert [name for name, _ in done] == ["jax_num_cpu_devices"] * cpu
    host.keep_freed_memory()
    assert len(done) == 6 * cpu


def test_kept_memory_can_be_given_back():
    """A gap in the middle of the heap too: what was allocated last stays."""
    script = """
import pathlib
from mqa_jax.kernels import host
host.keep_freed_memory()
import jax, jax.numpy as jnp
resident = lambda: int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20
large = jnp.ones(2**26).block_until_ready()
last = jnp.ones(2**20).block_until_ready()
full = resident()
large.delete()
kept = resident()
host.give_back_freed_memory()
print(full - kept, full - resident(), last.sum())
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    at_once, in_the_end, _ = map(float, done.stdout.split())
    assert at_once < 50 and in_the_end > 200, done.stdout


def test_memory_is_kept_from_one_execution_to_the_next(tmp_path):
    """Without the setting every execution takes a page fault for each 4 KiB of its temporaries. With it the first takes
    as many, or one for each 2 MiB, and of later ones one takes few: some may take more, where what was freed came back
    in another order."""
    script = """
import resource
from mqa_jax.kernels import host
host.keep_freed_memory()
import jax, jax.numpy as jnp
work = jax.jit(lambda x: jnp.cumsum(jnp.sin(jnp.arange(2**22) * x)).max())
for _ in range(30):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work(2.0).block_until_ready()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

    def faults(text):
        command = [sys.executable, "-c", text]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
        output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        return [int(line) for line in output.split()]

    kept = faults(script)
    anew = faults(script.replace("host.keep_freed_memory()", "").replace("range(30)", "range(5)"))
    assert min(anew) > 4_000
    assert min(kept) < 250 and statistics.median(kept[10:]) < min(anew) / 2
