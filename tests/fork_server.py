"""Imports JAX and what the commands need, then forks a process for each line of its stdin, which tests/forks.py writes.

It knows nothing of the tests: what they set for themselves must not be set for a command.
"""

import atexit
import json
import os
import pathlib
import runpy
import sys

import mqa_jax.compare
import mqa_jax.compare_heads
import mqa_jax.plan.plan  # noqa: F401  and so nearly all
from mqa_jax.timing import peaks

STREAMS = "stdin", "stdout", "stderr"


def serve():
    for line in sys.stdin:
        files, folder, command, environment = json.loads(line)
        if not os.fork():
            return keep(pathlib.Path(files), folder, command, environment)


def keep(files, folder, command, environment):
    """Forks the command, waits for it and writes down its exit code."""
    child = os.fork()
    if not child:
        return become(files, folder, command, environment)
    print(child, flush=True)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    (files / "code.part").write_text(str(code))
    (files / "code.part").rename(files / "code")
    os._exit(0)


def become(files, folder, command, environment):
    os.environ.clear()
    os.environ.update(environment)
    for number, name in enumerate(STREAMS):
        file = os.open(files / name, os.O_RDONLY if name == "stdin" else os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  the old one has read on
    os.chdir(folder)
    sys.argv = command
    code = 0
    try:
        runpy.run_path(command[0], run_name="__main__")
    except SystemExit as ended:
        code = ended.code
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)  # without the second that Python takes to forget JAX


if __name__ == "__main__":
    sys.path.pop(0)  # the tests' folder
    timed = peaks.time_call
    peaks.time_call = lambda run, repeats: timed(run, repeats=1)  # seconds less in each process; no test reads the size
    serve()
    os._exit(0)
