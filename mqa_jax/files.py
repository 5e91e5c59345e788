"""Files that are there whole or not at all."""

import os
import pathlib
import uuid


def write(path: str | os.PathLike[str], content: str | bytes) -> pathlib.Path:
    """Writes a file under a name of its own, which then takes the place of `path`; makes the folder.

    A reader finds the old content or the new, and of two writers the later one wins. If there is no room, the old
    content stays.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
