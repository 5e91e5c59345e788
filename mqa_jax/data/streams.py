"""The rows of a batch, shared out over processes.

A batch's rows fall into `config.data.streams` equal parts. Each part comes from a stream of its own, which takes every
so-many-th example of the one endless order and packs them by itself. So a process makes the streams that its rows are
of and no others, the batches are the same whichever process makes which stream, and a checkpoint, which holds the
position of each, is gone on with by any number of processes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import grain

from mqa_jax.batch import Batch
from mqa_jax.experiment import DataConfig


def of_rows(rows: Sequence[int], data: DataConfig) -> list[int]:
    """The streams that some rows of a batch come from."""
    return sorted({row * data.streams // data.rows for row in rows})


def rows_of(streams: Sequence[int], data: DataConfig) -> list[int]:
    """The rows of a batch that come from some streams."""
    each = data.rows // data.streams
    return [row for stream in streams for row in range(stream * each, (stream + 1) * each)]


class Streams(Iterator[Batch]):
    """Batches of the rows of some streams, and where each of these is."""

    def __init__(self, streams: Sequence[int], batches: grain.DatasetIterator):
        """
        Args:
          batches: of a dataset that is made of a `ZipIterDataset` of the streams' datasets, in their order.
        """
        self._names, self._batches = [str(stream) for stream in streams], batches

    def __next__(self) -> Batch:
        return next(self._batches)

    def get_state(self) -> dict[str, Any]:
        """JSON: the position of each stream, by its number."""
        return dict(zip(self._names, self._batches.get_state()["parents"], strict=True))

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes to where `get_state` was called, whichever other streams `state` also holds."""
        self._batches.set_state({"parents": [state[name] for name in self._names]})
