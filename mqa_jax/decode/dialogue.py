"""A translator, or a language model, that is talked to at a terminal."""

import contextlib
import io
import sys
from collections.abc import Callable
from typing import Any

from mqa_jax import progress
from mqa_jax.data import text
from mqa_jax.decode.generate import Generated
from mqa_jax.errors import InputError


def answer_each(answer: Callable[[list[str]], Generated], write: Callable[[str], Any]) -> None:
    """Answers lines as they are typed. One that is not text is said to be so, and the next one is waited for."""
    with contextlib.suppress(ImportError):  # not on every system
        import readline  # noqa: F401  input() then edits its line and knows the earlier ones
    assert isinstance(sys.stdin, io.TextIOWrapper)
    sys.stdin.reconfigure(errors="surrogateescape")
    prompt = "> " if sys.stdout.isatty() else ""
    with contextlib.suppress(EOFError):
        while True:
            line = input(prompt).encode(errors="surrogateescape")
            try:
                output = answer([text.decoded(line)])
            except InputError as error:
                progress.say(f"error: {error}")
                continue
            if cut := output.cut():
                progress.say(cut)
            write(output.texts[0])
