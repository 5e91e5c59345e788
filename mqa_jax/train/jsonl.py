"""Files of JSON lines, each with its step, that a run appends to and cuts back when it goes on from a checkpoint."""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    """All lines, none without a file; a last line cut short by a crash is left out."""
    lines = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").split("\n"):  # splitlines also splits where a text has U+2028
            if not line:
                continue
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return lines


def cut(path: pathlib.Path, step: int) -> list[dict[str, Any]]:
    """The lines up to a step, which become all that the file holds. Makes no file where there is none."""
    kept = [line for line in read(path) if line["step"] <= step]
    if path.exists():
        half = path.with_suffix(".part")
        half.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept), encoding="utf-8")
        half.replace(path)
    return kept


def append(path: pathlib.Path, line: Mapping[str, Any]) -> None:
    """Adds a line, which is on the disk when this returns."""
    with path.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line, ensure_ascii=False) + "\n")
        lines.flush()
        os.fsync(lines.fileno())
