"""Checkpoints: damage is named and passed over, the best one stays, and nothing in them can run code."""

import json
import os
import pathlib
import pickle
import pickletools
import shutil
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from test_run import corpus, one_device, run, tiny, whole, words  # noqa: F401  the fixtures

from mqa_jax.errors import InputError
from mqa_jax.train import checkpoint, log, trained
from mqa_jax.train.checkpoint import SUMS

METADATA = "_CHECKPOINT_METADATA"  # orbax's name of it


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
    expected = trained.parameters(copy / "checkpoints" / "3", trained.load(copy).model.shapes())
    capsys.readouterr()
    for a, b in zip(jax.tree.leaves(expected), parameters(copy), strict=True):
        np.testing.assert_array_equal(a, b)
    said = capsys.readouterr().err
    assert f"{copy}/checkpoints/6 is damaged and is passed over" in said and "state/" in said


def test_training_goes_on_from_before_the_damage_to_the_same_end(corpus, words, whole, copy, capsys):  # noqa: F811
    flip(copy / "checkpoints" / "6" / METADATA)
    (copy / "checkpoints" / "9.orbax-checkpoint-tmp-1").mkdir()
    run(tiny(), corpus, words, copy)
    said = capsys.readouterr().err
    assert "9.orbax-checkpoint-tmp-1 was only half written and is removed" in said
    assert f"{METADATA} is not what was written" in said and "going on from step 3" in said
    assert (copy / "checkpoint-6.damaged").is_dir() and not (copy / "checkpoints" / "9.orbax-checkpoint-tmp-1").exists()
    for a, b in zip(parameters(whole[0]), parameters(copy), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [line["step"] for line in log.entries(copy)] == [2, 4, 6]


def test_without_an_intact_checkpoint_nothing_starts_over(corpus, words, copy):  # noqa: F811
    for step in (3, 6):
        flip(largest(copy / "checkpoints" / str(step) / "state"))
    with pytest.raises(InputError, match=r"no checkpoint in .* can be read"):
        run(tiny(), corpus, words, copy)
    assert sorted(path.name for path in (copy / "checkpoints").iterdir()) == ["3", "6"]


def test_a_run_that_ended_before_the_sums_were_written_is_intact(copy, capsys):
    (copy / "checkpoints" / "6" / SUMS).unlink()
    assert parameters(copy)
    assert f"checkpoints/6/{SUMS} is missing: a changed bit" in capsys.readouterr().err


def test_a_checkpoint_of_another_run_is_not_taken(corpus, words, copy):  # noqa: F811
    """Its shapes are the same: only what it was made of tells. One is enough to spoil a mean."""

    def spoil(step):
        path = copy / "checkpoints" / str(step)
        metadata = json.loads((path / METADATA).read_text())
        metadata["custom_metadata"]["fingerprint"]["config"] = "another"
        (path / METADATA).write_text(json.dumps(metadata))
        (path / SUMS).unlink(missing_ok=True)
        return pytest.raises(InputError, match=rf"{step} was made of something else \(the config has .* another there")

    with spoil(3):
        trained.load(copy, 2)
    assert trained.load(copy).steps == (6,)
    with spoil(6):
        trained.load(copy)
    with spoil(6):
        run(tiny(), corpus, words, copy)


def test_the_best_is_the_first_of_the_lowest_loss():
    losses = {2: 3.0, 4: 2.0, 6: 2.5, 8: 2.0}
    assert checkpoint.lowest([8, 6, 4, 2], losses) == 4 and checkpoint.lowest([6, 8], losses) == 8
    assert checkpoint.lowest([3], losses) is None


def test_the_best_of_a_run_survives_later_ones(corpus, words, tmp_path):  # noqa: F811
    """A rate at which training gets worse: the first checkpoint stays though only one is to be kept."""
    wild = dict(checkpoint_every=1, evaluate_every=1, learning_rate=3.0, schedule="constant", warmup=0)
    record = run(tiny(keep=1, steps=4, **wild), corpus, words, tmp_path)
    losses = {point["step"]: point["dev_nll_per_token"] for point in record["curve"] if "dev_nll_per_token" in point}
    best = min(losses, key=lambda step: losses[step])
    assert best < 4 and record["best"] == {"step": best, "dev_nll_per_token": losses[best]}
    assert steps(tmp_path) == [best, 4]
    run(tiny(keep=9, steps=6, **wild), corpus, words, tmp_path)  # more are kept than there are: the best is not newest
    assert steps(tmp_path) == [best, 4, 5, 6] and trained.load(tmp_path, 3).steps == (4, 5, 6)
    with pytest.raises(InputError, match=r"--average=4 needs as many checkpoints, and .* has 3 of the newest"):
        trained.load(tmp_path, 4)
    run(tiny(keep=2, steps=7, **wild), corpus, words, tmp_path)
    assert steps(tmp_path) == [best, 6, 7] and trained.load(tmp_path, 2).steps == (6, 7)


def steps(folder):
    return sorted(int(path.name) for path in (folder / "checkpoints").iterdir())


def rewrite_state(folder, step, change):
    """The state of a checkpoint as another version would have written it."""
    path = folder / "checkpoints" / str(step)
    with ocp.PyTreeCheckpointer() as checkpointer:
        plain = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), checkpoint.stored_tree(path))
        tree = checkpointer.restore(path / "state", args=ocp.args.PyTreeRestore(restore_args=plain))
        change(tree)
        shutil.rmtree(path / "state")
        checkpointer.save(path / "state", tree)
    (path / SUMS).unlink()


OLDER = {
    "a field less": (lambda tree: tree["guard"].pop("average"), r"guard.average is absent there and \(\) here"),
    "a field more": (lambda tree: tree.update(more=np.zeros(3)), r"more is \(3,\) there and absent here"),
}


@pytest.mark.parametrize("name", OLDER)
def test_a_state_of_another_version_is_called_so(corpus, words, copy, name):  # noqa: F811
    change, message = OLDER[name]
    rewrite_state(copy, 6, change)
    with pytest.raises(InputError, match=rf"checkpoints/6 was written by another version of mqa_jax \({message}\); "):
        run(tiny(), corpus, words, copy)
    assert trained.load(copy).steps == (6,), "it can be used"


def test_a_checkpoint_without_one_of_its_parts_is_of_another_version(corpus, words, copy):  # noqa: F811
    for step in (3, 6):
        path = copy / "checkpoints" / str(step)
        metadata = json.loads((path / METADATA).read_text())
        del metadata["custom_metadata"]["saved"]
        (path / METADATA).write_text(json.dumps(metadata))
        (path / SUMS).unlink()
    with pytest.raises(InputError, match=r"written by another version of mqa_jax \(it has no 'saved'\)"):
        run(tiny(), corpus, words, copy)
    assert trained.load(copy).steps == (6,)
    with pytest.raises(InputError, match=r"6 does not say which steps were saved before it: .*; leave out --average"):
        trained.load(copy, 2)


def test_reading_writes_nothing(copy):
    def there():
        return [(path, path.stat().st_mtime_ns) for path in sorted(copy.rglob("*"))]

    before = there()
    assert trained.load(copy, 2).steps == (3, 6) and there() == before
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(InputError, match="no checkpoint in"):
        trained.load(copy)
    assert not (copy / "checkpoints").exists()


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


@pytest.mark.parametrize("where", ["state", METADATA, ""])
def test_a_hostile_checkpoint_can_at_worst_fail_to_load(corpus, words, copy, where):  # noqa: F811
    """Every file below `where` is a pickle that makes a folder when it is read as one."""
    bomb = pickle.dumps(Bomb(str(copy / "gone off")))
    for step in (3, 6):
        place = copy / "checkpoints" / str(step) / where
        for path in [place] if place.is_file() else files(place):
            path.write_bytes(bomb)
        (copy / "checkpoints" / str(step) / SUMS).unlink(missing_ok=True)
    UNPICKLED.clear()
    with pytest.raises(InputError, match="can be read"):
        run(tiny(), corpus, words, copy)
    if where in ("state", ""):
        with pytest.raises(InputError, match="can be read"):
            trained.load(copy)
    assert not UNPICKLED and not (copy / "gone off").exists()
    pickle.loads(bomb)
    assert UNPICKLED and (copy / "gone off").exists(), "the bomb is one"
