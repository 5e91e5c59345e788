"""Which records belong to which cell: by variant and measurement, the newest of each seed."""

import dataclasses
import functools
import math
import statistics
from collections.abc import Sequence
from typing import Any

from mqa_jax.errors import InputError

Record = dict[str, Any]
_SHAPE = "batch", "source_length", "target_length"


class Selection:
    """The records of one comparison. `variants` is in the order asked for; its first is the baseline.

    Raises:
      InputError: the records are of more than one config.
    """

    def __init__(self, records: Sequence[Record], order: Sequence[str] = ()):
        names = sorted({record["name"] for record in records})
        if len(names) > 1:
            raise InputError(f"the records are of several configs ({', '.join(names)}); report each by itself")
        self.records = tuple(records)
        self.variants = list(dict.fromkeys([*order, *(record["variant"] for record in records)]))

    def __bool__(self) -> bool:
        return bool(self.records)

    @property
    def name(self) -> str:
        """The config's name."""
        return self.records[0]["name"]

    @property
    def task(self) -> str:
        """`translation` or `language`."""
        return self.records[0]["task"]

    @property
    def beams(self) -> list[int]:
        """The beams that are reported side by side: greedy and the config's, which the translations know: records of
        training and timing do not depend on it and may have an earlier one."""
        translated = self.of("quality") or self.records
        return sorted({1, *(record["config"]["decode"]["beam"] for record in translated)})

    def of(self, kind: str, variant: str | None = None, **wanted: Any) -> list[Record]:
        """The records of a kind (and variant) whose fields are as wanted, in order of their seeds.

        Those of averaged checkpoints, and of one before the checkpoint that a run was evaluated at last, are left out:
        a comparison is of the newest.
        """
        newest: dict[Any, Record] = {}
        for record in sorted(self.records, key=lambda record: record["when"]):
            mine = record["kind"] == kind and variant in (None, record["variant"])
            mine &= record.get("checkpoints") in (None, self._evaluated.get((record["variant"], record["seed"])))
            if mine and all(record.get(field) == value for field, value in wanted.items()):
                newest[_identity(record)] = record
        return sorted(newest.values(), key=lambda record: record["seed"])

    def any(self, variant: str) -> Record | None:
        """Some record of a variant, for its config."""
        return next((record for record in self.records if record["variant"] == variant), None)

    def headline(self, variant: str, beam: int) -> list[Record]:
        """The timing records of the shape that `config.timing` names: full length, padded caches."""
        return self.of("timing", variant, beam=beam, padded_cache=True, **self.shape)

    def lengths(self, variant: str, beam: int = 1) -> list[Record]:
        """Timing records of the config's batch by target length, one for each."""
        return self._along("target_length", ("batch", "dtype"), variant, beam)

    def batches(self, variant: str, beam: int = 1) -> list[Record]:
        """Timing records of the config's lengths by batch, one for each."""
        return self._along("batch", ("source_length", "target_length", "dtype"), variant, beam)

    @functools.cached_property
    def shape(self) -> dict[str, Any]:
        """The batch and lengths that `config.timing` names, and the type: of the newest record that has them, since
        a folder may also hold records of an earlier config."""
        records = self.of("timing", padded_cache=True)
        own = [r for r in records if all(r[field] == r["config"]["timing"][field] for field in _SHAPE)]
        newest = max(own or records, key=lambda record: record["when"], default=None)
        if newest is None:
            return {}
        return {field: newest["config"]["timing"][field] for field in _SHAPE} | {"dtype": newest["dtype"]}

    @functools.cached_property
    def _evaluated(self) -> dict[tuple[str, int], list[int]]:
        """By variant and seed, the single checkpoint that a run was evaluated at last."""
        return {
            (record["variant"], record["seed"]): record["checkpoints"]
            for record in sorted(self.records, key=lambda record: record["when"])
            if len(record.get("checkpoints", ())) == 1
        }

    def _along(self, field: str, same: Sequence[str], variant: str, beam: int) -> list[Record]:
        wanted = {name: self.shape[name] for name in same if name in self.shape}
        found: dict[int, Record] = {}
        for record in self.of("timing", variant, beam=beam, padded_cache=True, **wanted):
            found.setdefault(record[field], record)
        return [found[value] for value in sorted(found)]


def _identity(record: Record) -> tuple[Any, ...]:
    """Two records of one identity are the same measurement taken twice."""
    fields = "split", "beam", "batch", "source_length", "target_length", "dtype", "padded_cache", "baseline"
    return record["variant"], record["seed"], *(record.get(field) for field in fields)


@dataclasses.dataclass(frozen=True)
class Sample:
    """The values of one figure, one for each seed. NaN where any of them is."""

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float | None:
        """None where nothing was measured."""
        return math.fsum(self.values) / self.n if self.values else None

    @property
    def sd(self) -> float | None:
        """The sample standard deviation (n - 1); None below two values."""
        if self.n < 2:
            return None
        return statistics.stdev(self.values) if all(map(math.isfinite, self.values)) else math.nan


def sample(records: Sequence[Record], field: str) -> Sample:
    """The values of a figure over records; those that lack it are passed over."""
    return Sample(tuple(float(record[field]) for record in records if record.get(field) is not None))


def drawable(points: Sequence[tuple[float, float | None]]) -> list[tuple[float, float]]:
    """The points that a logarithmic axis can show."""
    return [(x, y) for x, y in points if y is not None and math.isfinite(y) and y > 0]
