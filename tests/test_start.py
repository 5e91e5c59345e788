"""How a command begins and is ended: slow imports, signals, closed streams. Each is a new process."""

import importlib
import os
import pathlib
import signal
import subprocess
import sys
import types

import pytest

from mqa_jax import start as start_of

BOTH = signal.SIGINT, signal.SIGTERM
ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = ROOT / "tests" / "script.py"
TOY = f"--config={ROOT}/configs/toy.py"


def test_neither_help_nor_a_wrong_flag_waits_for_jax():
    text = "import runpy, sys\ntry:\n    runpy.run_path(sys.argv[0], run_name='__main__')\n"
    text += "except SystemExit:\n    print([name for name in ('jax', 'flax', 'matplotlib') if name in sys.modules])\n"
    for wrong in ("--help", "--btach=4"):
        command = [sys.executable, "-c", f"import sys; sys.argv = {[str(SCRIPT), wrong]}\n{text}"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert result.stdout.splitlines()[-1] == "[]", result.stdout


def start(action):
    command = [sys.executable, str(SCRIPT), TOY, "--workdir=x", f"--action={action}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    # A shell has what it starts in the background ignore SIGINT, and that is handed down: to the tests, and from them.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    signal.signal(signal.SIGINT, before)
    assert process.stdout and process.stderr
    return process, process.stdout, process.stderr


def test_an_interrupt_is_one_line():
    process, output, errors = start("wait")
    with process:
        assert output.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        told = errors.read()
    assert process.returncode == 130
    assert told.startswith("interrupted") and told.count("\n") == 1


IMPORTING = """
import importlib, os, sys, time
from mqa_jax import start
def wait(name):
    print(os.open(os.devnull, os.O_RDONLY), flush=True)
    time.sleep(60)
importlib.import_module = wait
start.train()
"""


def importing(redirected=""):
    """A command that is at its slow imports, or has refused to come so far. Prints the first free file number."""
    line = f"exec {sys.executable} -c '{IMPORTING}' {redirected}"
    environment, pipe = os.environ | {"PYTHONPATH": str(ROOT)}, subprocess.PIPE
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(["bash", "-c", line], env=environment, stdout=pipe, stderr=pipe, text=True)
    signal.signal(signal.SIGINT, before)
    assert process.stdout
    return process, process.stdout.readline()


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_signal_during_the_imports_is_one_line(number, word):
    process, printed = importing("<&-")
    process.send_signal(number)
    assert process.communicate() == ("", f"{word} before the work began\n")
    assert (printed, process.returncode) == ("3\n", 128 + number)


def test_signals_are_as_they_were_when_the_work_begins(monkeypatch):
    seen = []
    ready = types.SimpleNamespace(main="its main", run=lambda main: seen.append((main, *map(signal.getsignal, BOTH))))
    monkeypatch.setattr(importlib, "import_module", lambda name: seen.append(name) or ready)
    before = tuple(map(signal.getsignal, BOTH))
    start_of.train()
    assert seen == ["mqa_jax.command", "mqa_jax.commands.train", ("its main", *before)]


def test_a_closed_stdout_is_one_line_and_closed_stderr_is_no_files():
    process, printed = importing(">&-")
    assert process.communicate()[1] == "error: standard output is closed; send it somewhere, for instance >/dev/null\n"
    assert (printed, process.returncode) == ("", 2)
    process, printed = importing("2>&-")
    process.kill()
    process.communicate()
    assert printed == "3\n", "what is printed to stderr would land in file 2"


def test_a_reader_that_leaves_is_no_error():
    process, output, errors = start("pour")
    with process:
        assert output.readline() == "0\n"
        output.close()
        told = errors.read()
    assert (process.returncode, told) == (141, "")


def test_compiled_programs_are_kept(tmp_path):
    slow = "from mqa_jax import command\nimport jax\ncommand.enable_compilation_cache()\n"
    slow += "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)\nprint(jax.jit(lambda x: x + 1)(1))\n"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MQA_JAX_CACHE": str(tmp_path / "cache")}
    subprocess.run([sys.executable, "-c", slow], env=environment, check=True, capture_output=True)
    assert any((tmp_path / "cache").iterdir())
