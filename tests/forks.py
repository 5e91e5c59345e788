"""Processes forked from one that has imported JAX: a command begins at once; its imports would take seconds.

Python's own start, signals during the imports and closed streams need new processes; tests/test_start.py has those.
"""

import atexit
import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import weakref

from conftest import CACHE

ROOT = pathlib.Path(__file__).parents[1]
SERVER = pathlib.Path(__file__).with_name("fork_server.py")


class Process:
    """A command at work. As `subprocess.Popen`, but what it reads and writes are files."""

    def __init__(self, program, *arguments, folder=ROOT, stdin=b"", environment=None):
        """In `folder`, where `program` is a file; `environment` is what is added to that of the tests."""
        self.files = pathlib.Path(tempfile.mkdtemp())
        weakref.finalize(self, shutil.rmtree, self.files)
        (self.files / "stdin").write_bytes(stdin)
        changed = os.environ | {"PYTHONPATH": str(ROOT), "MQA_JAX_CACHE": str(CACHE)} | (environment or {})
        server = _server()
        request = [str(self.files), str(folder), [*map(str, [program, *arguments])], changed]
        print(json.dumps(request), file=server.stdin, flush=True)
        self.pid = int(server.stdout.readline())

    @property
    def returncode(self):
        return self.poll()

    def poll(self):
        try:
            return int((self.files / "code").read_text())
        except FileNotFoundError:
            return None

    def wait(self):
        while (code := self.poll()) is None:
            time.sleep(0.005)
        return code

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self):
        """What it has written to its stdout and stderr, at its end."""
        self.wait()
        return self.stdout, self.stderr

    @property
    def stdout(self):
        return (self.files / "stdout").read_text()

    @property
    def stderr(self):
        return (self.files / "stderr").read_text()


def run(program, *arguments, **places):
    process = Process(program, *arguments, **places)
    return subprocess.CompletedProcess(arguments, process.wait(), process.stdout, process.stderr)


@functools.cache
def _server():
    """One for all files of a test process."""
    environment, pipe = os.environ | {"PYTHONPATH": str(ROOT)}, subprocess.PIPE
    process = subprocess.Popen([sys.executable, str(SERVER)], env=environment, stdin=pipe, stdout=pipe, text=True)
    atexit.register(process.communicate)  # closes its stdin, at which it ends
    return process
