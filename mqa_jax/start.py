"""Where a command begins, before the seconds in which JAX is imported; imports next to nothing itself.

`python scripts/NAME.py` and the installed commands (pyproject.toml) call the function of their name.
"""

import functools
import importlib
import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def run(name: str) -> None:
    """Runs `mqa_jax/commands/NAME.py` and exits. A signal before that is one line and 128 + its number."""
    _open_streams()
    usual = signal.SIG_DFL, signal.default_int_handler  # not where the caller has signals ignored
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    heard = {each: handler for each, handler in before.items() if handler in usual}
    for each in heard:
        signal.signal(each, _leave)
    command = importlib.import_module("mqa_jax.command")
    main = importlib.import_module(f"mqa_jax.commands.{name}").main
    for each, handler in heard.items():
        signal.signal(each, handler)
    command.run(main)


compare = functools.partial(run, "compare")
compare_heads = functools.partial(run, "compare_heads")
convert_heads = functools.partial(run, "convert_heads")
drift = functools.partial(run, "drift")
evaluate = functools.partial(run, "evaluate")
export_model = functools.partial(run, "export_model")
import_model = functools.partial(run, "import_model")
inspect_attention = functools.partial(run, "inspect_attention")
plan = functools.partial(run, "plan")
prepare_data = functools.partial(run, "prepare_data")
report = functools.partial(run, "report")
score = functools.partial(run, "score")
time_data = functools.partial(run, "time_data")
time_decode = functools.partial(run, "time_decode")
time_train = functools.partial(run, "time_train")
train = functools.partial(run, "train")
translate = functools.partial(run, "translate")


def _open_streams() -> None:
    """Gives the numbers of closed streams to /dev/null: else a file gets one, and what is printed lands in it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115  for as long as the process lives
    if sys.stdout is None:
        print("error: standard output is closed; send it somewhere, for instance >/dev/null", file=sys.stderr)
        sys.exit(2)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """At once, and not by an exception: a module that is being imported may take that for a fault of its own."""
    what = "interrupted" if number == signal.SIGINT else "terminated"
    os.write(2, f"{what} before the work began\n".encode())
    os._exit(128 + number)
