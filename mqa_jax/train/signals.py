"""Stop signals. The first SIGINT or SIGTERM asks the loop to stop; a SIGINT after it ends the process at once.

A thread hears them, because Python's own handlers wait until a compilation or a device call returns. JAX's preemption
service hears SIGTERM alone, and only where there is a coordinator. SIGUSR1 writes to stderr where the process is, as a
first look at a run that seems to hang.
"""

import contextlib
import faulthandler
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator

from mqa_jax import processes, progress

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether this process has been asked to stop, and whether the run stops."""

    def __init__(self) -> None:
        self.requested = False
        self._agreement = processes.Agreement()

    def agreed(self) -> bool:
        """Whether any process of the run has been asked; all get the same answer, so that they stop at one step."""
        return self._agreement.ask(self.requested)


@contextlib.contextmanager
def watched() -> Iterator[Stop]:
    """Listens for stop signals inside the block. Signals come to a process's main thread; elsewhere nothing is done."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    if sys.__stderr__ is not None:
        faulthandler.register(signal.SIGUSR1, sys.__stderr__)
    hears, tells = socket.socketpair()
    tells.setblocking(False)
    listener = threading.Thread(target=_listen, args=(hears, stop), daemon=True)
    listener.start()
    # The handlers do nothing: Python writes each signal's number to the socket as it comes.
    handlers = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    wakeup = signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        tells.close()
        listener.join()
        hears.close()
        faulthandler.unregister(signal.SIGUSR1)


def _listen(hears: socket.socket, stop: Stop) -> None:
    while numbers := hears.recv(64):
        for number in numbers:
            if number == signal.SIGINT and stop.requested:
                if sys.stderr.isatty():
                    sys.stderr.write("\x1b[?25h")  # the cursor, which a live bar hides
                progress.say("stopped at once; given again, the command goes on from the last checkpoint")
                os._exit(130)
            if number in SIGNALS and not stop.requested:
                progress.say(f"{signal.Signals(number).name}: finishing the step and saving; Ctrl-C now stops at once")
                stop.requested = True
