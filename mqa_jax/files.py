"""Files that are there whole or not at all."""

import contextlib
import errno
import os
import pathlib
import tempfile
import uuid

from mqa_jax.errors import InputError


def write(path: str | os.PathLike[str], content: str | bytes) -> pathlib.Path:
    """Writes a file under a name of its own, which then takes the place of `path`; makes the folder.

    A reader finds the old content or the new, and of two writers the later one wins. If there is no room, the old
    content stays, and the OSError names `path`: that of a failed write names no file.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        part.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        part.unlink(missing_ok=True)
    return path


def check_folder(name: str, folder: str | os.PathLike[str]) -> None:
    """Says no before long work: raises InputError if there is no writing in `folder`. All stays as it was.

    Args:
      name: what the user gave the folder as, `--workdir`.
    """
    folder = pathlib.Path(folder)
    made = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        reason = os.strerror(errno.ENOTDIR) if error.errno == errno.EEXIST else error.strerror
        raise InputError(f"{name}={folder} cannot be used: {reason}; name a folder that can be written to") from error
    finally:
        for each in made:  # the innermost first
            with contextlib.suppress(OSError):
                each.rmdir()
