"""What a run lives through: signals, kills, a full disk, a second run in its folder, batches that break the model."""

import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

import forks
import jax
import numpy as np
import pytest
import soak
from test_run import corpus, one_device, run, tiny, whole, words  # noqa: F401  the fixtures
from toy import SMALL

from mqa_jax import workdir
from mqa_jax.errors import Diverged, InputError, Stopped
from mqa_jax.train import log, loop, trained
from mqa_jax.train.refused import FILE

ROOT = pathlib.Path(__file__).parents[1]


class At:
    """A sink that does something when a step's line is written."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def write(self, step, entry, translations):
        if step == self.step:
            self.act()

    def close(self):
        pass


def same_end(one, two):
    a, b = (jax.tree.leaves(trained.load(folder).parameters) for folder in (one, two))
    for left, right in zip(a, b, strict=True):
        np.testing.assert_array_equal(left, right)


def losses(folder):
    timed = {"time", "seconds", "tokens_per_s"}
    return [{name: value for name, value in line.items() if name not in timed} for line in log.entries(folder)]


def test_a_stop_signal_saves_the_step_and_the_run_goes_on_to_the_same_end(corpus, words, whole, tmp_path):  # noqa: F811
    """Signals come at steps 2 and 4, whose entries are written; the checkpoints of these steps are not in the plan."""
    for number, step in ((signal.SIGTERM, 2), (signal.SIGINT, 4)):
        handler = signal.getsignal(number)
        at = At(step, lambda number=number: (os.kill(os.getpid(), number), time.sleep(0.2)))
        with pytest.raises(Stopped, match=rf"stopped after step {step} of 6, which is saved; the same command goes on"):
            run(tiny(), corpus, words, tmp_path, at)
        assert signal.getsignal(number) is handler
        assert (tmp_path / "checkpoints" / str(step)).is_dir()
    run(tiny(), corpus, words, tmp_path)
    same_end(whole[0], tmp_path)
    assert losses(tmp_path) == losses(whole[0])


def test_a_stop_inside_an_evaluation_leaves_its_entry_to_the_next_start(corpus, words, whole, tmp_path, monkeypatch):  # noqa: F811
    """The stop is asked for when the evaluation of step 6 begins; the entry of step 6 comes after the restart."""
    dev_loss = loop.dev_loss

    def stopped(*arguments, stop):
        stop.requested = True
        return dev_loss(*arguments, stop=stop)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "dev_loss", stopped)
        with pytest.raises(Stopped, match="stopped after step 6 of 6"):
            run(tiny(), corpus, words, tmp_path)
    assert [line["step"] for line in log.entries(tmp_path)] == [2, 4]
    run(tiny(), corpus, words, tmp_path)
    assert losses(tmp_path) == losses(whole[0])


def test_an_entry_counts_the_steps_before_a_checkpoint_inside_its_interval(corpus, words, whole, tmp_path):  # noqa: F811
    """Killed after the checkpoint of step 3: the entry of step 4 is still the mean of steps 3 and 4."""
    folder = tmp_path / "cut"
    shutil.copytree(whole[0], folder)
    shutil.rmtree(folder / "checkpoints" / "6")
    run(tiny(), corpus, words, folder)
    soak.compare(whole[0], folder)
    (folder / "metrics.jsonl").write_text(json.dumps(log.entries(folder)[0]) + "\n")
    with pytest.raises(AssertionError, match="log entries differ"):
        soak.compare(whole[0], folder)


def test_a_second_interrupt_ends_the_process_at_once():
    code = "import time\nfrom mqa_jax.train import signals\nwith signals.watched() as stop:\n"
    code += " print('on', flush=True)\n while True: time.sleep(0.1)\n"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout and process.stderr and process.stdout.readline() == "on\n"
        process.send_signal(signal.SIGTERM)
        assert "SIGTERM: finishing the step and saving" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert "stopped at once" in process.stderr.readline()
    assert process.returncode == 130


def test_a_second_run_in_a_folder_is_refused_and_the_first_is_named(tmp_path):
    code = f"import pathlib, time\nfrom mqa_jax import workdir\nwith workdir.locked(pathlib.Path({str(tmp_path)!r})):\n"
    code += " print('on', flush=True)\n time.sleep(600)\n"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as first:
        assert first.stdout and first.stdout.readline() == "on\n"
        who = f"process {first.pid} on {socket.gethostname()}"
        with pytest.raises(InputError, match=f"is being trained in by {who}"), workdir.locked(tmp_path):
            pass
        with pytest.raises(InputError, match=who):
            workdir.check(tmp_path, tiny())
        first.kill()
    with workdir.locked(tmp_path):
        pass
    workdir.check(tmp_path, tiny())


def test_a_run_that_breaks_names_the_step_and_keeps_its_batch(corpus, words, tmp_path):  # noqa: F811
    """At this rate the first update leaves parameters from which no loss can be made: step 2 is refused."""
    wild = dict(learning_rate=1e30, schedule="constant", warmup=0, checkpoint_every=1)
    with pytest.raises(Diverged, match="at step 2 is not a number or jumped"):
        run(tiny(**wild), corpus, words, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert lines[0]["step"] == 2
    sentence = lines[0]["sentences"][0]
    assert words.encode(sentence["target_text"]) == sentence["target"][:-1]
    assert sentence["source_text"] in corpus.splits["train"].source
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1"]
    last_good = trained.load(tmp_path).parameters
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(last_good))
    with pytest.raises(Diverged, match="at step 2 is not a number or jumped"):
        run(tiny(**wild), corpus, words, tmp_path)
    again = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert again == lines, "step 2 was taken again from the checkpoint of step 1, and is in the file once"


def test_refused_steps_can_be_skipped_and_are_counted(corpus, words, tmp_path, capsys):  # noqa: F811
    wild = dict(learning_rate=1e30, schedule="constant", warmup=0, skips=5)
    record = run(tiny(**wild), corpus, words, tmp_path)
    assert record["refused_steps"] == 5 and "skipped the batch of step" in capsys.readouterr().err
    steps = [json.loads(line)["step"] for line in (tmp_path / FILE).read_text().splitlines()]
    assert steps == [2, 3, 4, 5, 6]
    assert log.entries(tmp_path)[-1]["refused"] == 5


# Of a constant rate one program serves any number of steps, and so comes from the compilation cache.
SETTINGS = [
    *(f"--config.train.{each}" for each in ("log_every=2", "evaluate_every=4", "checkpoint_every=3", "translations=1")),
    *("--config.train.schedule=constant", "--config.train.learning_rate=1e-3"),
]


@pytest.fixture(scope="module")
def soaked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("soak") / "runs"
    command = [sys.executable, soak.__file__, "--kills=2", f"--workdir={folder}", *SMALL, *SETTINGS]
    there = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": "", "MQA_JAX_CACHE": str(forks.CACHE)}
    done = subprocess.run([*command, "--config.train.steps=10"], env=there, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_kills_at_random_moments_change_nothing(soaked):
    """The short form: `python tests/soak.py` with 30 kills takes minutes."""
    folder, said = soaked
    assert said.startswith("2 kills, no difference: ")
    page = (folder / "alone" / "README.md").read_text()
    assert "| steps | 10 |" in page and "share of the matmul peak" in page and "## Translations of dev" in page
    assert "<svg" in (folder / "alone" / "curve.svg").read_text()
    assert all(line["mfu"] > 0 for line in log.entries(folder / "alone"))
    assert [line["step"] for line in log.translations(folder / "alone")] == [4, 8, 10]


def test_a_full_disk_is_one_line_and_the_old_checkpoints_are_whole(soaked):
    """A limit on the size of files, which the system enforces as it does a full disk."""
    folder = soaked[0] / "alone"
    before = sorted(path.name for path in (folder / "checkpoints").iterdir())
    longer = ["--config.train.steps=16", "--config.train.checkpoint_every=1"]
    done = forks.Process(
        "scripts/train.py", *SMALL, *SETTINGS, *longer, f"--workdir={folder}", environment={"XLA_FLAGS": ""}
    )
    resource.prlimit(done.pid, resource.RLIMIT_FSIZE, (20 * 1024, 20 * 1024))
    done.wait()
    assert done.returncode == 1 and "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and "file too large; the checkpoints written before are intact" in last
    assert set(before) <= {path.name for path in (folder / "checkpoints").iterdir()}
    assert trained.load(folder)


def test_wandb_is_asked_for_by_name_where_it_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"pip install 'mqa_jax\[wandb\]'"):
        log.Wandb("mine", tmp_path, tiny())
