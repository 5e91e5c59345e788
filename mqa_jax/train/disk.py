"""A full disk, in one line."""

import contextlib
import pathlib
from collections.abc import Iterator

from mqa_jax.errors import DiskFull

# What the system says; libraries pass it on inside messages of their own.
SIGNS = ("No space left on device", "File too large", "Disk quota exceeded")


@contextlib.contextmanager
def full_is_one_line(folder: pathlib.Path) -> Iterator[None]:
    """Turns what any library raises when a disk, a quota or a limit is full into DiskFull.

    Raises:
      DiskFull: there was no room for what was written inside the block.
    """
    try:
        yield
    except Exception as error:
        reason = _reason(error)
        if reason is None:
            raise
        raise DiskFull(
            f"{folder}: {reason[0].lower()}{reason[1:]}; the checkpoints written before are whole. "
            "Make room and give the same command again: it goes on from the newest"
        ) from error


def _reason(error: BaseException | None) -> str | None:
    """The sign of a full disk in an error or what caused it."""
    while error is not None:
        inside = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
        for sign in (*(sign for sign in SIGNS if sign in str(error)), *filter(None, map(_reason, inside))):
            return sign
        error = error.__cause__ or error.__context__
    return None
