"""Several processes that train one model: how they find each other, and what only the first of them does.

Each process runs the same program. The first writes all files but the arrays of a checkpoint, of which each process
writes its own part; so the run's folder must be one that all of them see.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
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
    result = first_alone(run)
    return together(lambda: run() if result is None else result)


def first_alone(run: Callable[[], T]) -> T | None:
    """What `run` gives in the first process, while the others wait; None in those. Errors: as in `together`."""
    return together(run) if is_first() else together(lambda: None)


def told_by_first(run: Callable[[], T]) -> T:
    """What `run` gives in the first process, which is JSON, in every process. Errors: as in `together`."""
    result = first_alone(run)
    return merged({"result": result} if is_first() else {})["result"]


def together(run: Callable[[], T]) -> T:
    """What `run` gives, in every process.

    Raises:
      InputError: `run` raised something in another process. So every process ends, and none waits for one that has.
    """
    result, failure = None, None
    try:
        result = run()
    except BaseException as error:
        failure = error
    if any_of(failure is not None):
        raise failure or InputError("another process of this run was refused or failed; its message says why")
    return result  # pyright: ignore[reportReturnType]  it is there: nothing was raised


def any_of(flag: bool) -> bool:
    """Whether the flag is set in any process; waits until all have called this."""
    return flag if jax.process_count() == 1 else bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))


def merged(entries: Mapping[str, Any]) -> dict[str, Any]:
    """The entries, which are JSON, of all processes together, in every process."""
    if jax.process_count() == 1:
        return dict(entries)
    text = np.frombuffer(json.dumps(entries).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.asarray(len(text)))
    texts = multihost_utils.process_allgather(np.pad(text, (0, int(sizes.max()) - len(text))))
    found: dict[str, Any] = {}
    for each, size in zip(texts, sizes, strict=True):
        found |= json.loads(each[: int(size)].tobytes())
    return found


def gathered(tree: Any) -> Any:
    """Arrays that lie on the devices of several processes, put together on this process's first device."""
    if jax.process_count() > 1:
        tree = multihost_utils.process_allgather(tree, tiled=True)
    return jax.device_put(tree, jax.local_devices()[0])
