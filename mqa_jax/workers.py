"""Work shared by processes that were started on one folder: each piece is done by the one that holds its lock.

A lock dies with its process, however that ends. So the pieces of a dead one are taken over by those that are left.
"""

import contextlib
import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from mqa_jax import processes, progress
from mqa_jax.errors import Stopped

POLL_S = 1.0


@contextlib.contextmanager
def held(path: pathlib.Path, wait: bool = False) -> Iterator[bool]:
    """Whether this process holds the lock file; it is made if it is not there. `wait`: until it does.

    Of processes that joined each other the first holds it for all.
    """
    with contextlib.ExitStack() as opened:

        def take() -> bool:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = opened.enter_context(path.open("a"))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                return False
            return True

        yield processes.told_by_first(take)


def share(folders: Sequence[pathlib.Path], work: Callable[[pathlib.Path], bool], most: int | None = None) -> None:
    """Calls `work` with each folder, and later with those that other processes hold, until all are done by somebody.

    Args:
      work: does what is not done yet; whether there was anything.
      most: how often `work` may have had something to do. With a limit this process waits for no other.
    """
    left, did = list(folders), 0
    while left:
        tried = list(left)
        for folder in tried:
            with held(folder / "row.lock") as mine:
                if mine:
                    did += work(folder)
                    left.remove(folder)
            if did == most:
                return
        if left == tried:
            if most is not None:
                return
            progress.say_once(f"waiting for other processes, which hold {', '.join(each.name for each in left)}")
            time.sleep(POLL_S)


def side_by_side(command: Sequence[str], count: int) -> int:
    """Runs `count` processes of a command, each on its share of the CPU's cores, and passes on their progress.

    Signals to stop reach all of them.

    Returns:
      The first exit code that is not 0; 0 if all are.
    Raises:
      Stopped: such a signal came.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    none = subprocess.DEVNULL
    stopped = threading.Event()
    with contextlib.ExitStack() as held_open:
        started = []
        for index in range(count):
            process = subprocess.Popen(
                command, stdin=none, stdout=none, stderr=subprocess.PIPE, start_new_session=True, errors="replace"
            )
            started.append(held_open.enter_context(process))
            if own := cores[index * len(cores) // count : (index + 1) * len(cores) // count]:
                os.sched_setaffinity(process.pid, own)

        def stop(number: int, _: FrameType | None) -> None:
            stopped.set()
            for each in started:
                each.send_signal(number)

        for number in (signal.SIGINT, signal.SIGTERM):
            held_open.callback(signal.signal, number, signal.signal(number, stop))
        readers = [threading.Thread(target=_pass_on, args=(each,)) for each in started]
        for reader in readers:
            reader.start()
        for reader in readers:
            while reader.is_alive():
                reader.join(POLL_S)  # a signal is heard between two waits
        codes = [process.wait() for process in started]
    if stopped.is_set():
        raise Stopped("stopped; the same command goes on where it was")
    return next((code for code in codes if code), 0)


def _pass_on(process: subprocess.Popen) -> None:
    assert process.stderr
    for line in process.stderr:
        sys.stderr.write(line)
        sys.stderr.flush()
