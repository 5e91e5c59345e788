"""What the host makes of the guard's verdicts: the batches that were refused, in a file, and the end of the run.

A verdict follows from the loss and gradient of the whole batch, so all processes come to the same; the first writes it.
"""

import pathlib
from collections.abc import Callable

import jax
import numpy as np

from mqa_jax import processes, progress
from mqa_jax.batch import Batch
from mqa_jax.data.vocabulary import Vocabulary
from mqa_jax.errors import Diverged
from mqa_jax.train import log
from mqa_jax.train.step import Guard

FILE = "refused.jsonl"


def write(
    path: pathlib.Path,
    vocabulary: Vocabulary,
    place: Callable[[Batch], Batch],
    allowed: int,
    guard: Guard,
    unread: dict[int, Batch],
) -> None:
    """Writes the batches that were refused since the guard was last read, and says so. Waits for the last step.

    Args:
      place: makes this process's rows of a batch the batch of all processes.
      allowed: refused steps with which a run may still go on.
      unread: this process's rows of the batches since then, by step; they are forgotten.
    Raises:
      Diverged: there are new ones and more than are allowed; the message names the first.
    """
    count, new = int(guard.refused), sorted(unread.keys() & set(np.asarray(guard.steps_R).tolist()))
    for step in new:
        batch = jax.device_get(processes.gathered(place(unread[step])))
        if processes.is_first():
            log.append(path, {"step": step, "sentences": _sentences(batch, vocabulary)})
    unread.clear()
    if new and count > allowed:
        raise Diverged(
            f"{path.parent}: the loss or gradient at step {new[0]} is not a number or jumped; its batch is in {path}, "
            "the last good checkpoint is kept. Lower config.train.learning_rate, mend the data or let such batches be "
            f"skipped with config.train.skips=NUMBER (now {allowed})"
        )
    if new:
        progress.say(f"skipped the batch of step {', '.join(map(str, new))}; {count} so far, see {path}")


def _sentences(batch: Batch, vocabulary: Vocabulary) -> list[dict[str, object]]:
    """The token ids of each segment of each row, with the text they stand for."""
    found = []
    for row, segments_L in enumerate(batch.target.segments_BL):
        for segment in range(1, int(segments_L.max()) + 1):
            each: dict[str, object] = {"row": row}
            for side, rows in (("source", batch.source), ("target", batch.target)):
                if rows is not None:
                    ids = rows.tokens_BL[row][rows.segments_BL[row] == segment].tolist()
                    each |= {side: ids, f"{side}_text": vocabulary.decode(ids)}
            found.append(each)
    return found
