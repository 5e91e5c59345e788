"""Stop signals. The first SIGINT or SIGTERM asks the loop to stop; a SIGINT after it ends the process at once.

A thread hears them, because Python's own handlers wait until a compilation or a device call returns. JAX's preemption
service hears SIGTERM alone, and only where there is a coordinator. SIGUSR1 writes to stderr where the process is, as a
first look at a run that seems to hang.
"""

import collections
import contextlib
import faulthandler
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mqa_jax import progress, sharding

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether this process has been asked to stop, and whether the run stops.

    Of several processes all stop at one step. They ask each other on the devices, between steps, and read the answer
    `DELAY` calls later, so that no step waits for it.
    """

    DELAY = 2

    def __init__(self) -> None:
        self.requested = self._stops = False
        self._answers: collections.deque[jax.Array] = collections.deque()
        mesh = Mesh(np.asarray(sharding.training_devices()), "device")
        self._where = NamedSharding(mesh, PartitionSpec("device"))
        self._any = jax.jit(jnp.any, out_shardings=sharding.replicated(mesh))

    def agreed(self) -> bool:
        """Whether the run stops: the same in all processes, each of which calls this equally often."""
        if jax.process_count() == 1:
            return self.requested
        if not self._stops:
            own = np.asarray([self.requested])
            self._answers.append(
                self._any(jax.make_array_from_callback((self._where.mesh.size,), self._where, lambda _: own))
            )
            self._stops = len(self._answers) > self.DELAY and bool(self._answers.popleft())
        return self._stops


@contextlib.contextmanager
def watched() -> Iterator[Stop]:
    """Listens for stop signals inside the block, which the main thread runs."""
    stop = Stop()
    faulthandler.register(signal.SIGUSR1, 2)
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
