"""Training metrics, to JSON lines and to TensorBoard files."""

import json
import pathlib
from collections.abc import Mapping

from tensorboardX import SummaryWriter


class Metrics:
    """Appends to WORKDIR/metrics.jsonl and WORKDIR/tensorboard; a resumed run drops what lies after its step."""

    def __init__(self, workdir: pathlib.Path, step: int):
        self._path = workdir / "metrics.jsonl"
        kept = [line for line in read(workdir) if line["step"] <= step]
        self._path.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
        self._board = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One line, whole: {"step": step, **values}."""
        with self._path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        self._board.close()


def read(workdir: pathlib.Path) -> list[dict[str, float]]:
    """All lines so far; a last line cut short by a crash is left out."""
    path, lines = workdir / "metrics.jsonl", []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return lines
