"""The log of a run: entries as JSON lines, to TensorBoard and, where it is asked for, to Weights & Biases.

The JSON lines are what counts. A run that goes on drops those beyond its checkpoint and writes the TensorBoard file
anew from the rest, so that no step is in it twice or missing, however often the run was killed.
"""

import dataclasses
import hashlib
import importlib
import json
import math
import os
import pathlib
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2

from mqa_jax import files, records
from mqa_jax.errors import InputError
from mqa_jax.experiment import Experiment
from mqa_jax.train.step import TrainState

ENTRIES = "metrics.jsonl"
TRANSLATIONS = "translations.jsonl"
DIVERGENCE = "divergence_per_token"

FIELDS = ("source", "reference", "output")
Translation = Mapping[str, str]  # of these


@dataclasses.dataclass(frozen=True)
class Rate:
    """What throughput is a share of: matmul operations (forwards and backwards) a token, and a second at best."""

    flops_per_source_token: float
    flops_per_target_token: float
    peak_flops_per_s: float


def values(state: TrainState, seconds: float, rate: Rate | None = None, taught: bool = False) -> dict[str, float]:
    """The values of an entry: the open interval's, which took `seconds` to train. Waits for the last step.

    A loss that is not a number is left out of the means.

    Args:
      taught: there is a teacher, and so a divergence from it.
    """
    guard, interval = jax.device_get((state.guard, state.interval))
    counted, source, target = int(interval.counted), int(interval.source_tokens), int(interval.target_tokens)
    mean = lambda total: float(total) / counted if counted else math.nan  # noqa: E731
    found = {
        "loss": mean(interval.loss),
        "nll_per_token": mean(interval.nll),
        "tokens": source + target,
        "target_tokens": target,
        "seconds": seconds,
        "tokens_per_s": (source + target) / seconds,
        "gradient_norm": float(guard.gradient_norm),
    }
    if taught:
        found[DIVERGENCE] = mean(interval.divergence)
    if rate:
        flops = rate.flops_per_source_token * source + rate.flops_per_target_token * target
        found["mfu"] = flops / seconds / rate.peak_flops_per_s
    if guard.refused:
        found["refused"] = int(guard.refused)
    return found


def text(entry: Mapping[str, float]) -> str:
    """An entry for the progress bar."""
    words = [f"loss {entry['loss']:.3f}"]
    if DIVERGENCE in entry:
        words.append(f"kl {entry[DIVERGENCE]:.3f}")
    if "dev_nll_per_token" in entry:
        words.append(f"dev {entry['dev_nll_per_token']:.3f}")
    words.append(f"{entry['tokens_per_s']:,.0f} tokens/s")
    if "mfu" in entry:
        words.append(f"{entry['mfu']:.0%} mfu")
    if "refused" in entry:
        words.append(f"{entry['refused']:.0f} skipped")
    return "  ".join(words)


def figures(entries: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """The record's figures from the entries of the whole run, resumed or not."""
    curve, seconds, tokens = [], 0.0, 0.0
    for each in entries:
        seconds, tokens = seconds + each["seconds"], tokens + each["tokens"]
        point = {"step": each["step"], "seconds": seconds, "tokens": tokens, "loss": each["loss"]}
        curve.append(point | {name: each[name] for name in ("dev_nll_per_token", DIVERGENCE) if name in each})
    known = bool(entries) and all("mfu" in each for each in entries)
    targets = [each["target_tokens"] for each in entries if "target_tokens" in each]  # an earlier version has none
    return {
        "tokens_per_s": tokens / seconds if seconds else 0.0,
        "target_tokens_per_s": sum(targets) / seconds if seconds and len(targets) == len(entries) else None,
        "mfu": sum(each["mfu"] * each["seconds"] for each in entries) / seconds if known else None,
        "train_s": seconds,
        "final_loss": curve[-1]["loss"] if curve else math.nan,
        **({"final_divergence": curve[-1][DIVERGENCE]} if curve and DIVERGENCE in curve[-1] else {}),
        "curve": curve,
    }


def words(record: Mapping[str, Any]) -> str:
    """A `train` record for a person to read, in one line."""
    dev = [f"dev nll {point['dev_nll_per_token']:.4f}" for point in record["curve"] if "dev_nll_per_token" in point]
    kl = [f"kl {record['final_divergence']:.4f}"] if "final_divergence" in record else []
    rest = [f"loss {record['final_loss']:.4f}", *kl, *dev[-1:], f"{record['tokens_per_s']:,.0f} tokens/s"]
    return f"step {record['steps']:,}: {', '.join(rest)}"


class Sink(Protocol):
    """Where entries go besides their files."""

    def write(self, step: int, entry: Mapping[str, float], translations: Sequence[Translation]) -> None: ...

    def close(self) -> None: ...


class Log:
    """Appends to WORKDIR/metrics.jsonl, translations.jsonl and tensorboard/, and to other sinks.

    Args:
      step: the last step that the run has behind it; what the files hold beyond it is dropped.
    """

    def __init__(self, workdir: pathlib.Path, step: int, sinks: Sequence[Sink] = ()):
        self._workdir = workdir
        board = _TensorBoard(workdir / "tensorboard")
        for each in cut(workdir / ENTRIES, step):
            board.write(each.pop("step"), each, (), each.pop("time", None))
        for each in cut(workdir / TRANSLATIONS, step):
            board.write(each["step"], {}, each["translations"], each["time"])
        self._sinks = [board, *sinks]

    def write(self, step: int, entry: Mapping[str, float], translations: Sequence[Translation] = ()) -> None:
        """One line, whole: {"step": step, "time": seconds since 1970, **entry}; and what the model translates now."""
        when = {"step": step, "time": time.time()}
        if translations:
            append(self._workdir / TRANSLATIONS, {**when, "translations": list(translations)})
        append(self._workdir / ENTRIES, {**when, **entry})
        for sink in self._sinks:
            sink.write(step, entry, translations)

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()


class _TensorBoard:
    """TensorBoard's event file.

    tensorboardX's SummaryWriter would write from a thread: a full disk would be a traceback there and a queue that
    blocks here, and a kill would lose what is in the queue.
    """

    def __init__(self, folder: pathlib.Path):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._writer = EventsWriter(str(folder / "events"))

    def write(
        self, step: int, entry: Mapping[str, float], translations: Sequence[Translation], when: float | None = None
    ) -> None:
        summaries = [summary.scalar(name, value) for name, value in entry.items()]
        if translations:
            cells = [[each[name].replace("|", "\\|") for name in FIELDS] for each in translations]
            rows = [FIELDS, ["---"] * len(FIELDS), *cells]
            summaries.append(summary.text("translations", "\n".join(f"| {' | '.join(row)} |" for row in rows)))
        for each in summaries:
            event = event_pb2.Event(summary=each, step=step, wall_time=when or time.time())  # pyright: ignore[reportAttributeAccessIssue]
            self._writer.write_event(event)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class Wandb:
    """Weights & Biases, an optional extra: pip install 'mqa_jax[wandb]'.

    One run there for one folder here: a run that goes on goes on there, and steps that it has already are ignored.

    Raises:
      InputError: the package is not installed.
    """

    def __init__(self, project: str, folder: pathlib.Path, experiment: Experiment):
        try:
            self._wandb: Any = importlib.import_module("wandb")
        except ImportError as error:
            raise InputError(f"--wandb={project} needs a package: pip install 'mqa_jax[wandb]'") from error
        self._run = self._wandb.init(
            project=project,
            dir=str(folder),
            id=hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16],
            name=folder.name,
            resume="allow",
            config=records.config_of(experiment),
        )

    def write(self, step: int, entry: Mapping[str, float], translations: Sequence[Translation]) -> None:
        values: dict[str, Any] = dict(entry)
        if translations:
            rows = [[each[name] for name in FIELDS] for each in translations]
            values["translations"] = self._wandb.Table(columns=list(FIELDS), data=rows)
        self._run.log(values, step=step)

    def close(self) -> None:
        self._run.finish()


def entries(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """All entries of a run so far."""
    return read(workdir / ENTRIES)


def translations(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """All translations of a run so far: {"step", "time", "translations"}."""
    return read(workdir / TRANSLATIONS)


def dev_losses(workdir: pathlib.Path, step: int) -> dict[int, float]:
    """The dev losses of a run up to a step, by step."""
    found = (each for each in entries(workdir) if each["step"] <= step)
    return {each["step"]: each["dev_nll_per_token"] for each in found if "dev_nll_per_token" in each}


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines, none without a file; a last one cut short by a crash is left out."""
    found = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").split("\n"):  # splitlines also splits where a text has U+2028
            try:
                found += [json.loads(line)] if line else []
            except json.JSONDecodeError:
                break
    return found


def cut(path: pathlib.Path, step: int) -> list[dict[str, Any]]:
    """The objects up to a step, which become all that the file holds. Makes no file where there is none."""
    kept = [each for each in read(path) if each["step"] <= step]
    if path.exists():
        files.write(path, "".join(map(_line, kept)))
    return kept


def append(path: pathlib.Path, entry: Mapping[str, Any]) -> None:
    """Adds a line, which is on the disk when this returns."""
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(entry))
        file.flush()
        os.fsync(file.fileno())


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"
