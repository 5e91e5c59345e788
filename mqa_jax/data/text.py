"""Text files of one sentence a line. Lines are split on "\\n" only: other separators belong to the text."""

import codecs
import contextlib
import gzip
import pathlib
import sys
import zlib
from collections.abc import Iterator, Sequence

from mqa_jax.errors import InputError


def read_lines(path: str | pathlib.Path) -> list[str]:
    """The lines of a file, plain or .gz, or of standard input for "-". A last newline ends the last line.

    The carriage returns and the byte order mark of a file from Windows are left out.

    Raises:
      InputError: the file is missing, is not readable or is not UTF-8 (file, line and byte are named).
    """
    name = "standard input" if str(path) == "-" else str(path)
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else _read(pathlib.Path(path))
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}; check the file") from error
    lines = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    texts = []
    for number, line in enumerate(lines, 1):
        try:
            texts.append(line.removesuffix(b"\r").decode("utf-8"))
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name}, line {number}, byte {error.start + 1}: not UTF-8; convert the file, for instance with iconv"
            ) from error
    return texts


def write_lines(path: str | pathlib.Path, lines: Sequence[str]) -> None:
    """Writes one line for each string, as UTF-8, to a file or to standard output for "-".

    A newline inside a string becomes a space, so that line i stays that of string i.

    Raises:
      InputError: the file cannot be written.
    """
    data = "".join(line.replace("\n", " ") + "\n" for line in lines).encode()
    if str(path) == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    with _named(path):
        pathlib.Path(path).write_bytes(data)


def check_output(path: str | pathlib.Path) -> None:
    """Raises InputError if `write_lines` could not write there. What long work is to write is checked before it."""
    if str(path) != "-":
        with _named(path):
            pathlib.Path(path).open("ab").close()


@contextlib.contextmanager
def _named(path: str | pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; check the folder") from error


def _read(path: pathlib.Path) -> bytes:
    if path.suffix == ".gz":
        with gzip.open(path) as file:
            return file.read()
    return path.read_bytes()
