"""Two real processes train one model on this machine, are killed, are asked to stop, and go on as two and as one."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from conftest import CACHE
from test_architecture import ROOT
from test_config import get

from mqa_jax import config, processes, sharding
from mqa_jax.data import sources, vocabulary
from mqa_jax.errors import InputError
from mqa_jax.experiment import MeshConfig
from mqa_jax.train import loop, metrics, trained

STEPS = 12
SETTINGS = {
    "model.encoder_layers": 1,
    "model.decoder_layers": 1,
    "model.width": 32,
    "model.feed_forward": 64,
    "model.vocabulary": 512,
    "model.positions": 64,
    "model.dtype": "float32",
    "data.sentences": 200,
    "data.rows": 8,
    "dropout.residual": 0.1,
    "train.steps": STEPS,
    "train.log_every": 1,
    "train.evaluate_every": STEPS,
    "train.warmup": 2,
    "train.samples": 1,
}
FREE = {"train.checkpoint_every": STEPS, "decode.batch": 16, "mesh.data": -1, "mesh.fsdp": 1}


def flags(settings):
    return [f"--config.{key}={value}" for key, value in settings.items()]


def start(folder, **free):
    """Two processes on `folder`, each with one CPU device."""
    with socket.socket() as free_port:
        free_port.bind(("localhost", 0))
        address = f"localhost:{free_port.getsockname()[1]}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": "", "JAX_COMPILATION_CACHE_DIR": str(CACHE)}
    command = [sys.executable, str(ROOT / "scripts" / "train.py"), "--config=configs/toy.py:multi_query"]
    command += [f"--workdir={folder}", *flags(SETTINGS | FREE | free), f"--coordinator={address}", "--processes=2"]
    return [
        subprocess.Popen(
            [*command, f"--process={index}"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]


def experiment():
    base = get("toy", "multi_query")
    for key, value in (SETTINGS | FREE).items():
        block, name = key.split(".")
        base[block][name] = value
    return config.read(config.select_variant(base, "multi_query"))


def train_here(folder):
    """The same run in this one process, on its eight devices."""
    settings = experiment()
    corpus = sources.load(settings.data, "translation")
    words = vocabulary.obtain(settings.data, corpus, folder / "vocabulary.model")
    return loop.train(settings, corpus, words, folder)


def test_killed_runs_of_two_processes_go_on_as_two_and_as_one(tmp_path):
    whole, killed, two, one = (tmp_path / name for name in ("whole", "killed", "two", "one"))
    both = start(killed, **{"train.checkpoint_every": 1, "mesh.data": 1, "mesh.fsdp": 2})  # each writes its part
    while not (killed / "checkpoints" / "2").exists():
        assert [each.poll() for each in both] == [None, None], [each.communicate()[1] for each in both]
        time.sleep(0.002)
    for each in both:
        each.send_signal(signal.SIGKILL)
    for each in both:
        each.communicate()
    assert [each.returncode for each in both] == [-signal.SIGKILL] * 2, "they were still at work"
    shutil.copytree(killed, two)
    shutil.copytree(killed, one)
    both = start(two)  # and they are asked to stop, the second of them alone, then go on
    while "going on from step" not in (line := both[0].stderr.readline()):
        assert line, both[0].communicate()
    both[1].send_signal(signal.SIGTERM)
    stopped = [each.communicate()[1] for each in both]
    assert [each.returncode for each in both] == [0, 0], stopped
    steps = [re.search(r"stopped after step (\d+) of 12, which is saved", text)[1] for text in stopped]
    assert steps[0] == steps[1] and (two / "checkpoints" / steps[0]).is_dir()
    both = start(two)
    outputs = [each.communicate() for each in both]
    record = train_here(whole)
    train_here(one)
    assert [each.returncode for each in both] == [0, 0], outputs
    assert json.loads(outputs[0][0].splitlines()[-1])["steps"] == STEPS
    assert "{" not in outputs[1][0], "the first speaks for both"
    assert "going on from step" in outputs[0][1]
    wanted = metrics.read(whole)
    for folder in (one, two):
        found = metrics.read(folder)
        assert [line["step"] for line in found] == list(range(1, STEPS + 1))
        for name in ("loss", "tokens"):
            np.testing.assert_allclose([x[name] for x in found], [x[name] for x in wanted], rtol=2e-5)
        # Every line of the dev set counts once, however many processes score it.
        assert found[-1]["dev_nll_per_token"] == pytest.approx(record["curve"][-1]["dev_nll_per_token"], rel=2e-5)
        for a, b in zip(*(jax.tree.leaves(trained.load(each).parameters) for each in (folder, whole)), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-4)


@pytest.mark.parametrize("shape", [(8, 1, 1), (2, 2, 2), (1, 1, 8)])
def test_rows_are_shared_without_overlap(shape):
    mesh = sharding.make_mesh(MeshConfig(*shape))
    rows = np.arange(16 * 3).reshape(16, 3)
    placed = sharding.place({"tokens": rows}, mesh)["tokens"]
    np.testing.assert_array_equal(placed, rows)
    parts = [shard.data for shard in placed.addressable_shards if shard.replica_id == 0]
    assert sorted(np.concatenate(parts)[:, 0].tolist()) == rows[:, 0].tolist()
    assert {len(part) for part in parts} == {16 // (shape[0] * shape[1])}


def test_a_half_named_cluster_is_refused():
    with pytest.raises(InputError, match="--process missing"):
        processes.join("localhost:1", 2, None)
    with pytest.raises(InputError, match="--process=2 must be below --processes=2"):
        processes.join("localhost:1", 2, 2)
