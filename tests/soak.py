"""Kills a training run at random moments, over and over, and compares what it ends as with a run left alone.

    python tests/soak.py --kills=30 --workdir=runs/soak --config=configs/toy.py:multi_query --config.train.steps=200

The moments are real: the process gets SIGKILL, and just before it SIGUSR1, at which it writes where it is
(train/signals.py), so that the kills can be counted by what they hit.
"""

import argparse
import collections
import contextlib
import os
import pathlib
import random
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from tensorboardX.proto import event_pb2

from mqa_jax import progress
from mqa_jax.train import checkpoint, log

ROOT = pathlib.Path(__file__).parents[1]
TRAIN = sys.executable, str(ROOT / "scripts" / "train.py")
TIMES = ("time", "seconds", "tokens_per_s", "mfu")  # what differs between equal runs
# Innermost first: what a stack with this in it was doing.
PLACES = (
    ('/train/checkpoint.py"', "a checkpoint was read or written"),
    (" in dev_loss", "an evaluation ran"),
    ('/decode/generate.py"', "an evaluation ran"),
    ('/train/log.py"', "the log was written"),
    ('/compiler.py"', "a program was compiled"),
    ('/loop.py"', "a step ran"),
)


def soak(train: Sequence[str], folder: pathlib.Path, kills: int, seed: int) -> dict[str, int]:
    """Kills runs of `train`, a command that takes --workdir, until there were `kills`; then the last runs to its end.

    Every run that comes to its end is compared with `folder`/alone.

    Returns:
      The number of kills for each place where they hit.
    Raises:
      AssertionError: the first difference that was found.
    """
    alone, choose = folder / "alone", random.Random(seed)
    process, began = _start(train, alone)
    _finish(process, alone)
    seconds = time.monotonic() - began
    hit: collections.Counter[str] = collections.Counter()
    run = 0
    while True:
        killed = folder / f"killed-{run}"
        process, _ = _start(train, killed)
        if hit.total() < kills:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(choose.uniform(0, seconds / 4))
            if process.poll() is None:
                hit[_kill(process, killed)] += 1
                progress.say(f"kill {hit.total()} of {kills}: {words(hit)}")
                continue
        _finish(process, killed)
        compare(alone, killed)
        progress.say(f"run {run} ended as the one left alone, after {hit.total()} kills so far")
        if hit.total() >= kills:
            return dict(hit)
        run += 1


def words(hit: Mapping[str, int]) -> str:
    """What `soak` returns for a person to read."""
    return ", ".join(f"{count} when {place}" for place, count in hit.items())


def compare(one: pathlib.Path, two: pathlib.Path) -> None:
    """Raises AssertionError unless two runs agree: log, translations, TensorBoard, all that their checkpoints hold."""
    here, there = _kept(one), _kept(two)
    for what in here | there:
        a, b = here.get(what, []), there.get(what, [])
        if a != b:
            first = next((f": {x!r} and {y!r}" for x, y in zip(a, b, strict=False) if x != y), "")
            raise AssertionError(f"{what} differ{first}")


def _start(train: Sequence[str], folder: pathlib.Path) -> tuple[subprocess.Popen, float]:
    """The process once it has begun to train, and that moment."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "stderr.txt"
    before = log.stat().st_size if log.exists() else 0
    with log.open("ab") as errors:
        nothing = subprocess.DEVNULL
        here = os.environ | {"PYTHONPATH": str(ROOT)}  # this checkout's code, whatever is installed
        process = subprocess.Popen(
            [*train, f"--workdir={folder}"], env=here, stdin=nothing, stdout=nothing, stderr=errors
        )
    while b" parameters, d_ff " not in log.read_bytes()[before:]:
        if process.poll() is not None:
            _finish(process, folder)
            break
        time.sleep(0.01)
    return process, time.monotonic()


def _finish(process: subprocess.Popen, folder: pathlib.Path) -> None:
    if process.wait():
        lines = (folder / "stderr.txt").read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
        raise AssertionError(f"{folder}: training ended with code {process.returncode}: {' | '.join(lines)}")


def _kill(process: subprocess.Popen, folder: pathlib.Path) -> str:
    """Kills the process; says what it was doing."""
    log = folder / "stderr.txt"
    before = log.stat().st_size
    process.send_signal(signal.SIGUSR1)
    deadline = time.monotonic() + 2
    while b"loop.py" not in log.read_bytes()[before:] and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    process.wait()
    stack = log.read_bytes()[before:].decode(errors="replace")
    return next((what for place, what in PLACES if place in stack), "it started or ended")


def _kept(run: pathlib.Path) -> dict[str, Sequence[Any]]:
    """What a run leaves and an equal run leaves too, by name."""
    found: dict[str, Sequence[Any]] = {
        "log entries": _untimed(log.entries(run)),
        "translations": _untimed(log.translations(run)),
        "TensorBoard's values": sorted(_scalars(run)),
    }
    for path in sorted((run / "checkpoints").iterdir()):
        positions = checkpoint.stored_metadata(path)["data"]
        found[f"positions in the data at step {path.name}"] = sorted(positions.items())
        plain = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), checkpoint.stored_tree(path))
        with ocp.PyTreeCheckpointer() as reader:
            state = reader.restore(path / "state", args=ocp.args.PyTreeRestore(restore_args=plain))
        for key, array in jax.tree.leaves_with_path(state):
            found[f"bytes of {jax.tree_util.keystr(key)} of checkpoint {path.name}"] = np.asarray(array).tobytes()
    return found


def _untimed(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in entry.items() if name not in TIMES} for entry in entries]


def _scalars(folder: pathlib.Path) -> Iterator[tuple[int, str, str]]:
    """Every (step, name, value) of a run's TensorBoard files, however often it is there."""
    for path in sorted((folder / "tensorboard").iterdir()):
        data, at = path.read_bytes(), 0
        while at < len(data):  # TFRecord: length, its checksum, the event, its checksum
            (size,) = struct.unpack_from("<Q", data, at)
            event = event_pb2.Event.FromString(data[at + 12 : at + 12 + size])
            at += 12 + size + 4
            for value in event.summary.value:
                if value.tag not in TIMES:
                    text = value.tensor.string_val
                    yield event.step, value.tag, repr(list(text) or value.simple_value)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, choices=range(1, 10_000), metavar="N")
    parser.add_argument("--workdir", type=pathlib.Path, default="runs/soak", help="a new folder")
    given, settings = parser.parse_known_args()
    if given.workdir.exists():
        parser.error(f"--workdir={given.workdir} is there; name a new folder for the runs")
    hit = soak([*TRAIN, *settings], given.workdir, given.kills, seed=0)
    print(f"{sum(hit.values())} kills, no difference: {words(hit)}")
