"""What the host makes of the guard's verdicts: the batches that were refused, in a file, and the end of the run.

A verdict follows from the loss and gradient of the whole batch, so all processes come to the same; the first writes it.
"""

import pathlib
from collections.abc import Callable

import numpy as np

from mqa_jax import processes, progress
from mqa_jax.batch import Batch, Rows
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.errors import Diverged
from mqa_jax.train import jsonl
from mqa_jax.train.guard import KEPT, Guard

FILE = "refused.jsonl"


class Refused:
    """Keeps the batches since the last look, so that a refused one can be written out.

    What the file holds beyond the step that the run goes on from is dropped: those steps are taken again.
    """

    def __init__(
        self,
        label: str,
        folder: pathlib.Path,
        vocabulary: Vocabulary,
        whole: Callable[[Batch], Batch],
        allowed: int,
        step: int,
        before: int,
    ):
        """
        Args:
          label: what the run is called in a message.
          whole: the batch of which the processes, all of which call it, have these rows.
          allowed: refused steps with which a run may still go on.
          step: the last step that the run has behind it.
          before: steps that were refused before this start.
        """
        self._label, self._vocabulary, self._whole = label, vocabulary, whole
        self._allowed, self._count = allowed, before
        self._path = folder / FILE
        self._batches: dict[int, Batch] = {}
        if processes.is_first():
            jsonl.cut(self._path, step)

    def add(self, step: int, rows: Batch) -> None:
        """Keeps this process's rows of the batch of a step."""
        self._batches[step] = rows

    def look(self, guard: Guard) -> int:
        """How many steps were refused so far. Writes what is new to WORKDIR/refused.jsonl; waits for the last step.

        Raises:
          Diverged: more than are allowed; the message names the first of those steps.
        """
        count, steps = int(guard.refused), sorted(int(step) for step in np.asarray(guard.steps_R) if step)
        new = steps[-min(count - self._count, KEPT) :] if count > self._count else []
        for step in new:
            batch = self._whole(self._batches[step])
            if processes.is_first():
                self._write(step, batch)
        if new and count > self._allowed:
            raise Diverged(
                f"{self._label}: the loss or gradient at step {new[0]} is not a number or jumped; its batch is in "
                f"{self._path}, the last good checkpoint is kept. Lower config.train.learning_rate, mend the data or "
                f"let such batches be skipped with config.train.skips=NUMBER (now {self._allowed})"
            )
        if new:
            progress.say(f"skipped the batch of step {', '.join(map(str, new))}; {count} so far, see {self._path}")
        self._count, self._batches = count, {}
        return count

    def _write(self, step: int, batch: Batch) -> None:
        jsonl.append(self._path, {"step": step, "sentences": _sentences(batch, self._vocabulary)})


def _sentences(batch: Batch, vocabulary: Vocabulary) -> list[dict[str, object]]:
    """The token ids of each segment of each row, with the text they stand for."""
    found = []
    sides = {"source": batch.source, "target": batch.target}
    for row, segments_L in enumerate(np.asarray(batch.target.segments_BL)):
        for segment in range(1, int(segments_L.max()) + 1):
            each: dict[str, object] = {"row": row}
            for side, rows in sides.items():
                if rows is not None:
                    ids = _segment(rows, row, segment)
                    each |= {side: ids, f"{side}_text": vocabulary.decode(ids)}
            found.append(each)
    return found


def _segment(rows: Rows, row: int, segment: int) -> list[int]:
    return np.asarray(rows.tokens_BL)[row][np.asarray(rows.segments_BL)[row] == segment].tolist()
