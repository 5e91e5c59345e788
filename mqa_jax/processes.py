"""Several processes that train one model: how they find each other, and what only the first of them does.

Each process runs the same program. The first writes all files but the arrays of a checkpoint, of which each process
writes its own part; so the run's folder must be one that all of them see.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
from jax.experimental import multihost_utils

from mqa_jax.errors import InputError

T = TypeVar("T")


def join(coordinator: str | None, count: int | None, index: int | None) -> None:
    """Joins the processes of this run; before anything touches a device.

    Without arguments they are what JAX finds in the cluster's environment (Slurm, Open MPI, GKE, Cloud TPU pods).

    Args:
      coordinator: HOST:PORT of process 0.
      count, index: how many processes, and which this one is.
    Raises:
      InputError: some of the arguments are missing, the index is not below the count, or there is no cluster.
    """
    given = {"--coordinator": coordinator, "--processes": count, "--process": index}
    missing = [name for name, value in given.items() if value is None]
    if missing and len(missing) < len(given):
        raise InputError(f"{' and '.join(missing)} missing; give --coordinator=HOST:PORT, --processes and --process")
    if count is not None and index is not None and index >= count:
        raise InputError(f"--process={index} must be below --processes={count}; they count from 0")
    try:
        jax.distributed.initialize(coordinator, count, index)
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"the processes did not meet ({reason}); give --coordinator=HOST:PORT, --processes and --process"
        ) from error


def is_first() -> bool:
    """Whether this is the process that writes the run's files."""
    return jax.process_index() == 0


def first_then_others(run: Callable[[], T]) -> T:
    """What `run` gives; the others call it when the first is through, and find what it has written."""
    if jax.process_count() == 1:
        return run()
    result = run() if is_first() else None
    multihost_utils.sync_global_devices("the first process is through")
    return run() if result is None else result
