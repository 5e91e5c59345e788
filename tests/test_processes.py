"""Two real processes train one model on this machine, are killed, are asked to stop, and go on as two and as one."""

import ast
import json
import re
import shutil
import signal
import socket
import time

import forks
import jax
import numpy as np
import pytest
from test_config import get

from mqa_jax import config, processes, sharding
from mqa_jax.data import sources, vocabulary
from mqa_jax.errors import InputError
from mqa_jax.experiment import MeshConfig
from mqa_jax.train import log, loop, refused, trained

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
    "train.translations": 1,
}
FREE = {"train.checkpoint_every": STEPS, "decode.batch": 16, "mesh.data": -1, "mesh.fsdp": 1}


def flags(settings):
    return [f"--config.{key}={value}" for key, value in settings.items()]


def free_port(lowest=0):
    for port in range(lowest, lowest + 4096):
        with socket.socket() as there:
            try:
                there.bind(("localhost", port))
            except OSError:
                continue
            return there.getsockname()[1]
    raise AssertionError("no port is free")


def start(folder, named=None, **free):
    """Two processes on `folder`, each with one CPU device; `named` gives the environment that tells each its place."""
    address, found = f"localhost:{free_port()}", []
    for index in range(2):
        place = [f"--coordinator={address}", "--processes=2", f"--process={index}"] if not named else ["--distributed"]
        given = ["--config=configs/toy.py:multi_query", f"--workdir={folder}", *flags(SETTINGS | FREE | free), *place]
        environment = {"XLA_FLAGS": ""} | (named(index) if named else {})
        found.append(forks.Process("scripts/train.py", *given, environment=environment))
    return found


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
        assert [each.poll() for each in both] == [None, None], [each.stderr for each in both]
        time.sleep(0.002)
    for each in both:
        each.send_signal(signal.SIGKILL)
    assert [each.wait() for each in both] == [-signal.SIGKILL] * 2, "they were still at work"
    shutil.copytree(killed, two)
    shutil.copytree(killed, one)
    both = start(two)  # and they are asked to stop, the second of them alone, then go on
    while "going on from step" not in both[0].stderr:
        assert both[0].poll() is None, both[0].stderr
        time.sleep(0.002)
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
    last = outputs[0][0].splitlines()[-1]
    assert last.startswith(f"step {STEPS}: loss ") and last.endswith(f"more in {two / 'README.md'}")
    assert "loss" not in outputs[1][0], "the first speaks for both"
    assert "going on from step" in outputs[0][1]
    for index, made in enumerate(("0, 1, 2, 3", "4, 5, 6, 7")):  # none makes what the other does
        assert f"process {index} makes the rows of streams {made} of 8" in outputs[index][1]
        assert "too few" not in outputs[index][1]
    wanted = log.entries(whole)
    for folder in (one, two):
        found = log.entries(folder)
        assert [line["step"] for line in found] == list(range(1, STEPS + 1))
        for name in ("loss", "tokens"):
            np.testing.assert_allclose([x[name] for x in found], [x[name] for x in wanted], rtol=2e-5)
        # Every line of the dev set counts once, however many processes score it.
        assert found[-1]["dev_nll_per_token"] == pytest.approx(record["curve"][-1]["dev_nll_per_token"], rel=2e-5)
        for a, b in zip(*(jax.tree.leaves(trained.load(each).parameters) for each in (folder, whole)), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-4)


def slurm(port):
    return lambda index: {
        "SLURM_JOB_ID": str(port - 61_440),  # of which JAX makes the port
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_PROCID": str(index),
        "SLURM_LOCALID": str(index),
    }


def open_mpi(port):
    return lambda index: {
        "OMPI_MCA_orte_hnp_uri": f"{(port - 61_440) * 4096}.0;tcp://127.0.0.1:1",
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_RANK": str(index),
        "OMPI_COMM_WORLD_LOCAL_RANK": str(index),
    }


def test_processes_that_slurm_places_write_a_refused_batch_whole(tmp_path):
    """One stream for two processes: both make it, which is said. At this rate the batch of step 2 is refused."""
    wild = {"train.learning_rate": 1e30, "train.schedule": "constant", "train.warmup": 0, "train.skips": 9}
    both = start(
        tmp_path, slurm(free_port(61_440)), **wild, **{"train.steps": 2, "train.translations": 0, "data.streams": 1}
    )
    outputs = [each.communicate() for each in both]
    assert [each.returncode for each in both] == [0, 0], outputs
    for index in range(2):
        assert f"process {index} makes the rows of streams 0 of 1" in outputs[index][1]
    assert "config.data.streams=1 are too few for 2 processes" in outputs[0][1]
    lines = [json.loads(line) for line in (tmp_path / refused.FILE).read_text().splitlines()]
    assert [line["step"] for line in lines] == [2]
    assert {sentence["row"] for sentence in lines[0]["sentences"]} == set(range(8))


def test_open_mpi_places_processes(tmp_path):
    code = "from mqa_jax import processes\nprocesses.join(None, None, None)\n"
    code += "index = processes.jax.process_index()\nprint(processes.merged({str(index): [index] * (1 + 20 * index)}))"
    (tmp_path / "placed.py").write_text(code)
    named = open_mpi(free_port(61_440))
    both = [forks.Process("placed.py", folder=tmp_path, environment={"XLA_FLAGS": ""} | named(n)) for n in range(2)]
    for each in both:
        assert ast.literal_eval(each.communicate()[0].splitlines()[-1]) == {"0": [0], "1": [1] * 21}, each.stderr


@pytest.mark.parametrize("shape", [(8, 1, 1), (2, 2, 2), (1, 1, 8)])
def test_rows_are_shared_without_overlap(shape):
    mesh = sharding.make_mesh(MeshConfig(*shape))
    rows = np.arange(16 * 3).reshape(16, 3)
    assert sharding.own_rows(16, mesh) == list(range(16))
    placed = sharding.place({"tokens": rows[::-1]}, mesh, 16, range(16)[::-1])["tokens"]
    np.testing.assert_array_equal(placed, rows)
    parts = [shard.data for shard in placed.addressable_shards if shard.replica_id == 0]
    assert sorted(np.concatenate(parts)[:, 0].tolist()) == rows[:, 0].tolist()
    assert {len(part) for part in parts} == {16 // (shape[0] * shape[1])}


def test_a_half_named_cluster_is_refused():
    with pytest.raises(InputError, match="--process missing"):
        processes.join("localhost:1", 2, None)
    with pytest.raises(InputError, match="--process=2 must be below --processes=2"):
        processes.join("localhost:1", 2, 2)
