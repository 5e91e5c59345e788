"""Checkpoints: damage is named and passed over, the best one stays, and nothing in them can run code."""

import os
import pathlib
import pickle
import pickletools
import shutil
import sys

import jax
import numpy as np
import pytest
from test_run import corpus, run, tiny, whole, words  # noqa: F401  the fixtures

from mqa_jax.errors import InputError
from mqa_jax.train import checksums, metrics, trained
from mqa_jax.train.checkpoint import Checkpoints, _Best


def files(folder):
    return [path for path in sorted(pathlib.Path(folder).rglob("*")) if path.is_file()]


def largest(folder):
    return max(files(folder), key=lambda path: path.stat().st_size)


def parameters(folder):
    return jax.tree.leaves(trained.load(folder).parameters)


@pytest.fixture
def copy(whole, tmp_path):  # noqa: F811
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    return folder


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)


DAMAGE = {
    "a flipped bit": flip,
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(copy, capsys, damage):
    DAMAGE[damage](largest(copy / "checkpoints" / "6" / "state"))
    expected = Checkpoints(copy, 5).parameters(3, trained.load(copy).model.shapes())
    capsys.readouterr()
    for a, b in zip(jax.tree.leaves(expected), parameters(copy), strict=True):
        np.testing.assert_array_equal(a, b)
    said = capsys.readouterr().err
    assert f"{copy}/checkpoints/6 is damaged and is passed over" in said and "state/" in said


def test_training_goes_on_from_before_the_damage_to_the_same_end(corpus, words, whole, copy, capsys):  # noqa: F811
    flip(copy / "checkpoints" / "6" / "data" / "metadata")
    (copy / "checkpoints" / "9.orbax-checkpoint-tmp-1").mkdir()
    run(tiny(), corpus, words, copy)
    said = capsys.readouterr().err
    assert "9.orbax-checkpoint-tmp-1 was only half written and is removed" in said
    assert "data/metadata is not what was written" in said and "going on from step 3" in said
    assert (copy / "checkpoint-6.damaged").is_dir() and not (copy / "checkpoints" / "9.orbax-checkpoint-tmp-1").exists()
    for a, b in zip(parameters(whole[0]), parameters(copy), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [line["step"] for line in metrics.read(copy)] == [2, 4, 6]


def test_without_a_whole_checkpoint_nothing_starts_over(corpus, words, copy):  # noqa: F811
    for step in (3, 6):
        flip(largest(copy / "checkpoints" / str(step) / "state"))
    with pytest.raises(InputError, match=r"no checkpoint in .* can be read"):
        run(tiny(), corpus, words, copy)
    assert sorted(path.name for path in (copy / "checkpoints").iterdir()) == ["3", "6"]


def test_a_run_that_ended_before_the_sums_were_written_is_whole(copy):
    (copy / "checkpoints" / "6" / checksums.FILE).unlink()
    assert parameters(copy)


def test_the_best_checkpoint_is_kept_beside_the_newest():
    class Info:
        def __init__(self, step):
            self.step = step

    losses = {2: 3.0, 4: 2.0, 6: 2.5, 8: 2.0}
    keeps = _Best(lambda: losses).should_preserve([Info(step) for step in (2, 4, 6, 8)], context=None)
    assert keeps == [False, True, False, False]
    assert _Best(dict).should_preserve([Info(2)], context=None) == [False]


def test_the_best_of_a_run_survives_later_ones(corpus, words, tmp_path):  # noqa: F811
    """A rate at which training gets worse: the first checkpoint stays though only one is to be kept."""
    record = run(
        tiny(keep=1, checkpoint_every=1, evaluate_every=1, steps=4, learning_rate=3.0, schedule="constant", warmup=0),
        corpus,
        words,
        tmp_path,
    )
    losses = {point["step"]: point["dev_nll_per_token"] for point in record["curve"] if "dev_nll_per_token" in point}
    best = min(losses, key=lambda step: losses[step])
    assert best < 4 and record["best"] == {"step": best, "dev_nll_per_token": losses[best]}
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == [best, 4]


def test_checkpoints_hold_no_pickle(whole):  # noqa: F811
    for path in files(whole[0] / "checkpoints"):
        with pytest.raises(Exception):  # noqa: B017  anything: no file reads as a whole pickle
            list(pickletools.genops(path.read_bytes()))


class Bomb:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


UNPICKLED = []
sys.addaudithook(lambda event, arguments: UNPICKLED.append(arguments) if event == "pickle.find_class" else None)


@pytest.mark.parametrize("where", ["state", "data", "window", ""])
def test_a_hostile_checkpoint_can_at_worst_fail_to_load(corpus, words, copy, where):  # noqa: F811
    """Every file below `where` is a pickle that makes a folder when it is read as one."""
    bomb = pickle.dumps(Bomb(str(copy / "gone off")))
    for step in (3, 6):
        for path in files(copy / "checkpoints" / str(step) / where):
            path.write_bytes(bomb)
        (copy / "checkpoints" / str(step) / checksums.FILE).unlink(missing_ok=True)
    UNPICKLED.clear()
    with pytest.raises(InputError, match="can be read"):
        run(tiny(), corpus, words, copy)
    if where in ("state", ""):
        with pytest.raises(InputError, match="can be read"):
            trained.load(copy)
    assert not UNPICKLED and not (copy / "gone off").exists()
    pickle.loads(bomb)
    assert UNPICKLED and (copy / "gone off").exists(), "the bomb is one"
