"""Training metrics: JSON lines, TensorBoard files and, where it is asked for, Weights & Biases.

The JSON lines are what counts. A run that goes on drops those beyond its checkpoint and writes the TensorBoard files
anew from the rest, so that no step is in them twice, however often the run was killed.
"""

import pathlib
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2

from mqa_jax.train import jsonl

METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"

FIELDS = ("source", "reference", "output")
Sample = Mapping[str, str]  # of these


class Sink(Protocol):
    """Where metrics go besides their files."""

    def write(self, step: int, values: Mapping[str, float]) -> None: ...

    def write_samples(self, step: int, samples: Sequence[Sample]) -> None: ...

    def close(self) -> None: ...


class Metrics:
    """Appends to WORKDIR/metrics.jsonl, samples.jsonl and tensorboard/, and to other sinks.

    Args:
      step: the last step that the run has behind it; what the files hold beyond it is dropped.
    """

    def __init__(self, workdir: pathlib.Path, step: int, sinks: Sequence[Sink] = ()):
        self._metrics, self._samples = workdir / METRICS, workdir / SAMPLES
        lines, samples = jsonl.cut(self._metrics, step), jsonl.cut(self._samples, step)
        self._board = _Board(workdir / "tensorboard")
        self._sinks = [self._board, *sinks]
        for line in sorted([*lines, *samples], key=lambda line: line["step"]):
            if "samples" in line:
                self._board.write_samples(line["step"], line["samples"], line["time"])
            else:
                self._board.write(line["step"], line, line.get("time"))
        self._board.flush()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One line, whole: {"step": step, "time": seconds since 1970, **values}."""
        jsonl.append(self._metrics, {"step": step, "time": time.time(), **values})
        for sink in self._sinks:
            sink.write(step, values)

    def write_samples(self, step: int, samples: Sequence[Sample]) -> None:
        """What the model makes of a few sentences."""
        line = {"step": step, "time": time.time(), "samples": [dict(sample) for sample in samples]}
        jsonl.append(self._samples, line)
        for sink in self._sinks:
            sink.write_samples(step, samples)

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()


class _Board:
    """TensorBoard's event file, written as it comes: a viewer sees a line at once, and a full disk is an error here."""

    def __init__(self, folder: pathlib.Path):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._writer = EventsWriter(str(folder / "events"))

    def write(self, step: int, values: Mapping[str, float], when: float | None = None) -> None:
        for name, value in values.items():
            if name not in ("step", "time"):
                self._add(summary.scalar(name, value), step, when)
        self.flush()

    def write_samples(self, step: int, samples: Sequence[Sample], when: float | None = None) -> None:
        header = "| source | reference | output |\n|---|---|---|\n"
        cells = [[sample.get(name, "").replace("|", "\\|") for name in FIELDS] for sample in samples]
        text = header + "".join(f"| {' | '.join(row)} |\n" for row in cells)
        self._add(summary.text("samples", text), step, when)
        self.flush()

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _add(self, what: Any, step: int, when: float | None) -> None:
        event = event_pb2.Event(summary=what, step=step, wall_time=when or time.time())  # pyright: ignore[reportAttributeAccessIssue]
        self._writer.write_event(event)


def read(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """All lines of metrics so far; a last line cut short by a crash is left out."""
    return jsonl.read(workdir / METRICS)


def read_samples(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """All samples so far: {"step", "time", "samples"}."""
    return jsonl.read(workdir / SAMPLES)
