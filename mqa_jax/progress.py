"""Progress of long work: a live bar at a terminal, a plain line now and then anywhere else. Goes to stderr."""

import contextlib
import functools
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0


class Bar:
    """One stage of work with a known number of steps, of which `first` are done already."""

    def __init__(self, label: str, total: int, first: int, display: Progress | None):
        self._label, self._total, self._text, self._display = label, total, "", display
        self._task = display.add_task(label, total=total, completed=first, text="") if display else None
        self._start = self._said = time.monotonic()
        self._first = self._timed_from = first

    def update(self, done: int, text: str = "") -> None:
        """Says that `done` steps of the total are through; `text` stays until there is a new one."""
        self._text, now = text or self._text, time.monotonic()
        if self._display and self._task is not None:
            self._display.update(self._task, completed=done, text=self._text)
            return
        if self._timed_from == self._first:  # the first step compiles: the rate is that of those behind it
            self._start, self._timed_from = now, done
        if now - self._said >= LINE_EVERY_S or done == self._total:
            self._said, timed = now, done - self._timed_from
            left = f"  {clock((now - self._start) / timed * (self._total - done))} left" if timed else ""
            say(f"{self._label}  {done}/{self._total}  {self._text}{left}")


@contextlib.contextmanager
def bar(label: str, total: int, first: int = 0) -> Iterator[Bar]:
    """A bar for one stage: `with bar("train", 1000) as it: it.update(step, "loss 2.1")`, the first `first` done."""
    if not sys.stderr.isatty():
        yield Bar(label, total, first, None)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[text]}")
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as display:
        yield Bar(label, total, first, display)


def say(text: str) -> None:
    """One line for the person who waits."""
    print(text, file=sys.stderr, flush=True)


@functools.cache
def say_once(text: str) -> None:
    """One line that this process has not said before."""
    say(text)


def clock(seconds: float) -> str:
    """90 -> '1:30', 4000 -> '1:06:40'."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
