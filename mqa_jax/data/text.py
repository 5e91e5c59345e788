"""Text files of one sentence a line, alone or side by side. Lines are split on "\\n" only: other separators belong to
the text."""

import codecs
import contextlib
import functools
import gzip
import os
import pathlib
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from mqa_jax import files, progress
from mqa_jax.data.corpus import Split
from mqa_jax.errors import NO_ROOM, DiskFull, InputError

TSV = (".tsv", ".tsv.gz")


def read_lines(path: str | pathlib.Path) -> list[str]:
    """The lines of a file, plain or .gz, or of standard input for "-". A last newline ends the last line.

    The carriage returns and the byte order mark of a file from Windows are left out.

    Raises:
      InputError: the file is missing, is not readable or is not UTF-8 (file, line and byte are named).
    """
    name = "standard input" if str(path) == "-" else str(path)
    if name == "standard input" and sys.stdin is None:
        raise InputError("standard input is closed; give it the lines, or name a file of them")
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else pathlib.Path(path).read_bytes()
        data = gzip.decompress(data) if name.endswith(".gz") else data
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}; check the file") from error
    lines = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    return [decoded(line, f"{name}, line {number}") for number, line in enumerate(lines, 1)]


def decoded(line: bytes, where: str = "the line") -> str:
    """The text of a line, without what ends it.

    Raises:
      InputError: it is not UTF-8.
    """
    try:
        return line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}, byte {error.start + 1}: not UTF-8; convert it, for instance with iconv") from error


def write_lines(path: str | pathlib.Path, lines: Sequence[str]) -> None:
    """Writes a file of one line for each string, as UTF-8, whole or not at all (`files.write`)."""
    files.write(path, b"".join(map(_encoded, lines)))


def _encoded(line: str) -> bytes:
    """A newline inside a string becomes a space, so that line i stays that of string i."""
    return line.replace("\n", " ").encode() + b"\n"


@contextlib.contextmanager
def writer(path: str | pathlib.Path) -> Iterator[Callable[[str], Any]]:
    """Gives a function that writes one line, at once: to standard output for "-", else to a file.

    The file is PATH.part until all is written, then it takes the place of `path`. If the work ends before, `path` is
    as it was, and PATH.part stays with the lines so far. A device or a pipe is written to as it is.

    Raises:
      InputError: the file cannot be written.
      DiskFull: a line cannot be.
    """
    if str(path) == "-":
        yield functools.partial(_write, sys.stdout.buffer)
        return
    path = pathlib.Path(path).resolve()  # what a link leads to
    device = path.exists() and not path.is_file()
    part = path if device else path.with_name(f"{path.name}.part")
    try:
        if path.is_file():
            path.open("ab").close()
        file = part.open("wb")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; check the folder") from error
    count = size = 0

    def write(line: str) -> None:
        nonlocal count, size
        size += _write(file, line)
        count += 1

    try:
        with file:
            yield write
    except BaseException as error:
        kept = ""
        if not device and count:
            os.truncate(part, size)  # a part of a line may be there
            kept = f"the first {count:,} lines are in {part}"
        elif not device:
            part.unlink()
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise DiskFull("; ".join(filter(None, (f"cannot write {path}: {error.strerror}", kept)))) from error
        if kept:
            progress.say(kept)
        raise
    if not device:
        part.replace(path)


def _write(file: BinaryIO, line: str) -> int:
    """Writes a line at once; how many bytes that took."""
    data = _encoded(line)
    file.write(data)
    file.flush()
    return len(data)


def read_split(
    paths: Sequence[str | pathlib.Path], task: str, label: str = "the input", columns: Sequence[int] = (1, 2)
) -> Split:
    """The lines of some files, one corpus after another; every line is kept.

    A corpus of a translation is a source and a target file, or one .tsv; of a language model one file.

    Args:
      label: what names the files, for messages.
      columns: of a .tsv, counted from 1: source, target.
    Raises:
      InputError: the wrong number of files, unequal line counts, a line without a column, or an empty file.
    """
    named, tables = [pathlib.Path(path) for path in paths], [path for path in map(str, paths) if path.endswith(TSV)]
    if not named:
        wanted = "a source and a target file, or a .tsv" if task == "translation" else "a file"
        raise InputError(f"{label} is empty; {task} takes {wanted}")
    if task == "language" and tables:
        raise InputError(f"{label} names {tables[0]}; a language model takes text, give it one column (cut -f2)")
    source, target, sizes = [], [], []
    while named:
        path = named.pop(0)
        lines, sources = _some_lines(path), []
        if path.name.endswith(TSV):
            sources, lines = _columns(path, lines, columns)
        elif task == "translation":
            if not named or named[0].name.endswith(TSV):
                names = ", ".join(map(str, paths))
                raise InputError(f"{label} names {names}; translation takes a source and a target file, or a .tsv")
            other = named.pop(0)
            sources, lines = lines, _some_lines(other)
            if len(sources) != len(lines):
                raise InputError(
                    f"{path} has {len(sources)} lines and {other} has {len(lines)}; "
                    "line i of one must translate line i of the other"
                )
        source += sources
        target += lines
        sizes.append(len(lines))
    return Split(source, target, tuple(sizes))


def _some_lines(path: pathlib.Path) -> list[str]:
    lines = read_lines(path)
    if not lines:
        raise InputError(f"{path} is empty; give it at least one line")
    return lines


def _columns(path: pathlib.Path, lines: Sequence[str], columns: Sequence[int]) -> tuple[list[str], list[str]]:
    rows = [line.split("\t") for line in lines]
    for number, row in enumerate(rows, 1):
        if len(row) < max(columns):
            raise InputError(
                f"{path}, line {number} has {len(row)} columns; config.data.columns={columns[0]},{columns[1]} needs "
                f"{max(columns)}, with a tab between"
            )
    source, target = ([row[column - 1] for row in rows] for column in columns)
    return source, target
