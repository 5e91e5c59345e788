"""Which records belong to which cell: the newest of each measurement and seed, and the values of a field over seeds."""

import dataclasses
import functools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mqa_jax.errors import InputError

Record = Mapping[str, Any]
_WORKLOAD = "batch", "source_length", "target_length"
_TYPES = "dtype", "weight_dtype", "cache_dtype"
# Two records of a kind, variant and seed that agree in these are the same measurement taken twice.
_MEASURED = "split", "beam", *_WORKLOAD, *_TYPES, "padded_cache", "baseline", "dropout", "rematerialise"


OF_RUNS = "attention", "drift"  # kinds that look into trained runs, and have a page of their own


def measurements(records: Iterable[Record]) -> list[Record]:
    """The records without those that say how a model came to be, which may be of another config, and `OF_RUNS`."""
    return [record for record in records if record["kind"] not in ("import", "convert", *OF_RUNS)]


def of_the_same_lines(records: Sequence[Record], names: Sequence[str] = ()) -> list[Record]:
    """Those of records of `OF_RUNS`, all of one kind, that are of the same sentences as the newest.

    Args:
      names: the variants in their order; by default as the records come.
    """
    order = [*names, *(record["variant"] for record in records)]
    newest = max(records, key=lambda record: record["when"])
    alike = [each for each in records if all(each[key] == newest[key] for key in ("task", "split", "sentences"))]
    return sorted(alike, key=lambda record: (order.index(record["variant"]), record["seed"]))


def baseline_first(variants: Iterable[str]) -> list[str]:
    """The variants by name, a usual baseline before all others."""
    return sorted(variants, key=lambda name: (name not in ("multi_head", "original"), name))


class Selection:
    """The records of one comparison. `variants` is in the order asked for; its first is the baseline.

    Of a measurement that was taken twice the newest counts. Records of averaged checkpoints, and of one before the
    checkpoint that a run was evaluated at last, are left out: a comparison is of the newest.

    Raises:
      InputError: the records are of more than one config.
    """

    def __init__(self, records: Iterable[Record], order: Sequence[str] = ()):
        records = list(records)
        names = sorted({record["name"] for record in records})
        if len(names) > 1:
            raise InputError(f"the records are of several configs ({', '.join(names)}); report each by itself")
        self.variants = list(dict.fromkeys([*order, *(record["variant"] for record in records)]))
        records.sort(key=lambda record: record["when"])
        evaluated = {
            (record["variant"], record["seed"]): record["checkpoints"]
            for record in records
            if len(record.get("checkpoints", ())) == 1
        }
        newest = {
            (record["kind"], record["variant"], record["seed"], *_measured(record)): record
            for record in records
            if record.get("checkpoints") in (None, evaluated.get((record["variant"], record["seed"])))
        }
        self.records = sorted(newest.values(), key=lambda record: record["seed"])

    def __bool__(self) -> bool:
        return bool(self.records)

    @functools.cached_property
    def newest(self) -> Record:
        return max(self.records, key=lambda record: record["when"])

    @property
    def name(self) -> str:
        """The config's name."""
        return self.newest["name"]

    @property
    def task(self) -> str:
        """`translation` or `language`."""
        return self.newest["task"]

    @functools.cached_property
    def test(self) -> str:
        """What the text is called that translations are judged by: the config's first test set, where it was scored."""
        named = self.newest["config"]["decode"].get("test_sets") or ("test",)
        name = named[0].replace("/", "-")
        return name if self.of("quality", split=name) else "test"

    @functools.cached_property
    def trained_alike(self) -> bool:
        """Whether all runs were trained on the same devices, so that their speeds can be compared."""
        return len({record["device"] for record in self.of("train")}) < 2

    @property
    def beams(self) -> list[int]:
        """Greedy and the config's beam, as the translations have it: other records may be of an earlier beam."""
        translated = self.of("quality") or self.records
        return sorted({1, *(record["config"]["decode"]["beam"] for record in translated)})

    def of(self, kind: str, variant: str | None = None, **where: Any) -> list[Record]:
        """The records of a kind (and variant) whose fields are as given, in order of their seeds."""
        where |= {"kind": kind} | ({} if variant is None else {"variant": variant})
        return matching(self.records, where)

    def groups(self, kind: str) -> list[list[Record]]:
        """The records of a kind, those that differ only in their seed together; by measurement, then by variant."""
        found: dict[Any, list[Record]] = {}
        for record in self.of(kind):
            key = *((value is None, value) for value in _measured(record)), self.variants.index(record["variant"])
            found.setdefault(key, []).append(record)
        return [found[key] for key in sorted(found)]

    def headline(self, beam: int) -> dict[str, Any]:
        """The fields of the timing records that a comparison is of: the config's workload, padded caches."""
        return {"kind": "timing", "beam": beam, "padded_cache": True, **self.workload}

    def timed(self, variant: str, beam: int = 1) -> list[Record]:
        """The timing records of `headline`."""
        return self.of(variant=variant, **self.headline(beam))

    def timed_alike(self, variant: str) -> list[Record]:
        """The timing records of every workload in the number types of `headline`."""
        return self.of("timing", variant, **{name: self.workload.get(name) for name in _TYPES})

    def speed_up(self, variant: str) -> float | None:
        """The baseline's greedy decoder time over the variant's; None across devices."""
        baseline, own = self.timed(self.variants[0]), self.timed(variant)
        if len({record["device"] for record in [*baseline, *own]}) != 1:
            return None
        before, after = (over_seeds(each, "decoder_us_per_token").mean for each in (baseline, own))
        return before / after if before is not None and after else None

    def tested(self) -> dict[str, Record]:
        """By variant its row of the test over seeds against the first one, where it has an interval: of BLEU of `test`
        with the largest beam, of a language model's nats a token."""
        where = {"split": "test"} if self.task == "language" else {"split": self.test, "beam": self.beams[-1]}
        tests = self.of("seeds", self.variants[0], baseline=self.variants[0], **where)
        return {row["variant"]: row for test in tests for row in test["rows"] if row["low"] is not None}

    def quality(self, variant: str, beam: int) -> "Series":
        """BLEU of `test` with the beam; of a language model test perplexity per word."""
        if self.task == "language":
            return over_seeds(self.of("perplexity", variant, split="test"), "perplexity_per_word")
        return over_seeds(self.of("quality", variant, split=self.test, beam=beam), "bleu_intl")

    def along(self, field: str, variant: str) -> dict[Any, Record]:
        """Greedy timing records by `target_length` or `batch`, all else as the config has it, in ascending order."""
        free = {"batch"} if field == "batch" else {"source_length", "target_length"}
        where = {name: value for name, value in self.headline(1).items() if name not in free}
        found = {record[field]: record for record in reversed(self.of(variant=variant, **where))}
        return dict(sorted(found.items()))

    def beside_baseline(self, field: str) -> dict[str, dict[Any, tuple[Record, Record]]]:
        """`along` a field: by variant and value the baseline's record and the variant's, of one device."""
        baseline, found = self.along(field, self.variants[0]), {}
        for variant in self.variants[1:]:
            both = {x: (baseline[x], own) for x, own in self.along(field, variant).items() if x in baseline}
            found[variant] = {x: pair for x, pair in both.items() if pair[0]["device"] == pair[1]["device"]}
        return {variant: pairs for variant, pairs in found.items() if len(pairs) > 1}

    @functools.cached_property
    def workload(self) -> dict[str, Any]:
        """The batch and lengths that `config.timing` names, and the number types: of the newest record that has them,
        since a folder may also hold records of an earlier config."""
        records = self.of("timing", padded_cache=True)
        own = [r for r in records if all(r[field] == r["config"]["timing"][field] for field in _WORKLOAD)]
        newest = max(own or records, key=lambda record: record["when"], default=None)
        if newest is None:
            return {}
        return {each: newest["config"]["timing"][each] for each in _WORKLOAD} | {t: newest.get(t) for t in _TYPES}


@dataclasses.dataclass(frozen=True)
class Series:
    """The values of one figure, one for each seed. Mean and deviation are NaN where any value is."""

    values: tuple[Any, ...]

    @property
    def mean(self) -> float | None:
        """None where nothing was measured."""
        return math.fsum(self.values) / len(self.values) if self.values else None

    @property
    def sd(self) -> float | None:
        """The sample standard deviation (n - 1); None below two values."""
        if len(self.values) < 2:
            return None
        return statistics.stdev(self.values) if all(map(math.isfinite, self.values)) else math.nan


def matching(records: Iterable[Record], where: Mapping[str, Any]) -> list[Record]:
    """The records whose fields are as given."""
    return [record for record in records if all(record.get(field) == value for field, value in where.items())]


def over_seeds(records: Iterable[Record], field: str) -> Series:
    """The values of a field over records. `a.0` is the first entry of field `a`. Records that lack it do not count."""
    found = (_value(record, field.split(".")) for record in records)
    return Series(tuple(value for value in found if value is not None))


def _value(there: Any, path: Sequence[str]) -> Any:
    for name in path:
        there = there[int(name)] if isinstance(there, list) else there.get(name)
        if there is None:
            return None
    return there


def _measured(record: Record) -> tuple[Any, ...]:
    return tuple(str(value) if isinstance(value, list) else value for value in map(record.get, _MEASURED))
