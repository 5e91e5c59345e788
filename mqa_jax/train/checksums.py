"""SHA-256 sums of a checkpoint's files, beside them: a flipped bit in an array is something no reader would notice."""

import hashlib
import json
import pathlib

FILE = "SHA256.json"


def write(folder: pathlib.Path, half: pathlib.Path) -> None:
    """Writes FOLDER/SHA256.json, under the name `half` until it is whole."""
    half.write_text(json.dumps(_sums(folder), indent=1), encoding="utf-8")
    half.replace(folder / FILE)


def check(folder: pathlib.Path) -> None:
    """Raises ValueError if a file is not what was written.

    A checkpoint without sums is one whose run ended just before they were written: reading it has to show.
    """
    path = folder / FILE
    if not path.exists():
        return
    wanted, there = json.loads(path.read_text(encoding="utf-8")), _sums(folder)
    for name in sorted(wanted.keys() | there.keys()):
        if wanted.get(name) != there.get(name):
            raise ValueError(f"{name} is {'not what was written' if name in there else 'missing'}")


def _sums(folder: pathlib.Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != FILE:
            with path.open("rb") as file:
                found[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return found
