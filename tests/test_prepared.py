"""Prepared ids: the same batches as from text, whole or not there, and one line for what is wrong."""

import dataclasses
import fcntl
import itertools
import json
import os
import pathlib
import re
import signal
import time

import forks
import numpy as np
import pytest
from test_pipeline import lines, same
from test_sources import data_of

from mqa_jax.data import pipeline, preparation, prepared, sources, vocabulary
from mqa_jax.data.examples import Examples
from mqa_jax.errors import InputError


@pytest.fixture
def data(tmp_path):
    for seed, (name, count) in enumerate((("train", 1500), ("more", 300), ("dev", 20), ("test", 20))):
        for language in ("en", "de"):
            text = "\n".join(lines(count, seed=f"{seed}{language}"))
            (tmp_path / f"{name}.{language}").write_text(text + "\n")
    return data_of(
        "text_translation",
        folder=str(tmp_path),
        train=("train.en", "train.de", "more.en", "more.de"),
        dev=("dev.en", "dev.de"),
        test=("test.en", "test.de"),
        pieces=400,
        rows=4,
        source_length=96,
        target_length=80,
    )


@pytest.mark.parametrize("weights", [(), (1.0, 2.0)])
def test_prepared_ids_give_the_batches_of_the_text(data, weights, monkeypatch, tmp_path):
    """Two processes, lines that are encoded in chunks; dev and test stay text."""
    data = dataclasses.replace(data, weights=weights, streams=2)
    monkeypatch.setattr(vocabulary, "CHUNK", 400)
    manifest = preparation.prepare(data, "translation")
    text, there = sources.load_text(data, "translation"), sources.load(data, "translation")
    assert there.prepared and not text.prepared
    assert there.description == text.description and len(there.train) == len(text.train)
    assert there.digests == text.digests and len(set(text.digests.values())) == 3
    for name in ("dev", "test"):
        assert there.splits[name].pairs() == text.splits[name].pairs()
    words = vocabulary.obtain(data, there, tmp_path / "run" / "vocabulary.model")
    assert words.fingerprint == manifest["vocabulary"]["fingerprint"]
    for process in range(2):
        ours, theirs = (pipeline.training_iterator(corpus.train, words, data, 3, [process]) for corpus in (there, text))
        for batch in itertools.islice(theirs, 30):
            same(batch, next(ours))
    assert manifest["splits"]["train"]["tokens"] == {
        side: sum(len(each) + 1 for each in words.encode_all(getattr(text.splits["train"], side)))
        for side in ("source", "target")
    }


def test_ids_of_large_vocabularies_are_kept(tmp_path):
    """Those above 65,535 take four bytes."""
    examples = Examples({"target": np.int32([70_000, 1, 5, 1, 1])}, {"target": np.array([2, 2, 1])})
    examples.save(tmp_path / "examples.npz")
    again = Examples.load(tmp_path / "examples.npz")
    assert [each["target"].tolist() for each in again] == [[70_000, 1], [5, 1], [1]]


def test_a_language_models_ids_are_those_of_its_lines(data, tmp_path):
    (tmp_path / "dev.en").write_text("one\u2028line\nx\n")
    data = dataclasses.replace(data, train=("train.en",), dev=("dev.en",), test=("test.en",))
    manifest = preparation.prepare(data, "language")
    text, there = sources.load_text(data, "language"), sources.load(data, "language")
    words = vocabulary.read(tmp_path / "prepared" / "vocabulary.model")
    assert there.prepared and manifest["ids"] == "uint16"
    found = [each["target"].tolist() for each in there.prepared.read()]
    assert found == [[*words.encode(line), 1] for line in text.splits["train"].target]
    assert there.splits["dev"].pairs() == [("one\u2028line",), ("x",)]


def test_what_is_there_is_checked_and_not_made_again(data, capsys):
    first = preparation.prepare(data, "translation")
    assert preparation.prepare(data, "translation") == first
    assert "is there, its checksums are right" in capsys.readouterr().err
    assert sorted(path.name for path in pathlib.Path(data.folder).glob("prepared*")) == ["prepared", "prepared.lock"]
    rows = dataclasses.replace(data, rows=9, source_length=64, packing=False)
    assert sources.load(rows, "translation").prepared, "those are free"


CHANGES = {
    "another setting": ({"deduplicate": False}, None, "deduplicate is True there, False here"),
    "another size": ({}, ("train.en", lambda text: text.replace("a", "aa", 1)), "train.en has changed since"),
    "the same size": ({}, ("dev.de", lambda text: text.replace("a", "b")), "dev.de has changed since"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_ids_of_something_else_are_not_used_and_made_anew(data, name, capsys):
    preparation.prepare(data, "translation")
    changes, edit, words = CHANGES[name]
    if edit:
        path = pathlib.Path(data.folder) / edit[0]
        path.write_text(edit[1](path.read_text()))
        os.utime(path, (time.time() + 2,) * 2)
    other = dataclasses.replace(data, **changes)
    assert not sources.load(other, "translation").prepared
    assert words in capsys.readouterr().err
    preparation.prepare(other, "translation")
    if edit:  # its manifest is to be newer than the file
        os.utime(path)
    assert sources.load(other, "translation").prepared


def test_a_text_that_changed_is_noticed_from_any_folder(data, monkeypatch, capsys):
    """The folder may be named in another way, or moved, after the ids were made."""
    folder = pathlib.Path(data.folder)
    monkeypatch.chdir(folder.parent)
    preparation.prepare(dataclasses.replace(data, folder=folder.name), "translation")
    monkeypatch.chdir("/")
    (folder / "train.en").write_text((folder / "train.en").read_text() + "one more\n")
    (folder / "train.de").write_text((folder / "train.de").read_text() + "noch einer\n")
    assert not sources.load(data, "translation").prepared
    assert "train.en has changed since" in capsys.readouterr().err


def test_a_vocabulary_that_is_missing_is_named(data):
    preparation.prepare(data, "translation")
    with pytest.raises(InputError, match=r"config\.data\.vocabulary_file=none\.model is missing"):
        sources.load(dataclasses.replace(data, vocabulary_file="none.model"), "translation")


def test_ids_of_another_mapping_to_unk_are_not_used(data, tmp_path, capsys):
    """What the list of words holds counts, not where it is; prepared dev and test are mapped, as train is."""
    files = {"train": ("train.en",), "dev": ("dev.en",), "test": ("test.en",)}
    words = [tmp_path / name for name in ("words.txt", "same.txt", "other.txt")]
    some = " ".join(lines(20, seed="2en")).split()
    for path, known in zip(words, (some[:9], some[:9], some[:3]), strict=True):
        path.write_text("\n".join(known) + "\n")
    plain, mapped, same, other = (dataclasses.replace(data, **files, unk=str(path or "")) for path in (None, *words))
    preparation.prepare(mapped, "language")
    text, there = sources.load_text(mapped, "language"), sources.load(same, "language")
    assert there.prepared and there.digests == text.digests
    target = there.splits["dev"].target
    assert "UNK" in " ".join(target).split() and list(target) == list(text.splits["dev"].target)
    assert set(" ".join(target).split()) <= {*some[:9], "UNK"}
    capsys.readouterr()
    for unlike in (plain, other):
        assert not sources.load(unlike, "language").prepared
        assert re.search(r"unk is '\w{16}' there, '(\w{16})?' here", capsys.readouterr().err)
    words[1].unlink()
    with pytest.raises(InputError, match=r"^config\.data\.unk=.*same\.txt is missing; check the path$"):
        sources.load(same, "language")


def test_damage_is_named(data, tmp_path):
    manifest = preparation.prepare(data, "translation")
    place = tmp_path / "prepared"
    shard = place / manifest["splits"]["train"]["files"][0]["name"]
    good = shard.read_bytes()
    middle = len(good) // 2
    shard.write_bytes(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
    with pytest.raises(InputError, match=r"train-0.npz has another checksum"):
        preparation.prepare(data, "translation")
    corpus = sources.load(data, "translation")
    words = vocabulary.read(place / "vocabulary.model")
    with pytest.raises(InputError, match=r"train-0.npz is damaged \(.*\); delete"):
        pipeline.training_iterator(corpus.train, words, data, 0)
    shard.write_bytes(good[:-1])
    with pytest.raises(InputError, match=r"is damaged \(.* has \d+ bytes, not \d+\); delete it and prepare again"):
        sources.load(data, "translation")
    shard.write_bytes(good)
    other = vocabulary.train(lines(300, seed=9), 320, tmp_path / "other.model")
    with pytest.raises(InputError, match=r"was encoded with the vocabulary \w+, this run has \w+; use"):
        pipeline.training_iterator(corpus.train, other, data, 0)
    (place / "manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"prepared is damaged"):
        sources.load(data, "translation")


def test_two_at_once_are_refused(data):
    manifest = preparation.prepare(data, "translation")
    with open(pathlib.Path(data.folder) / "prepared.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="is being prepared by another process"):
            preparation.prepare(dataclasses.replace(data, seed=5), "translation")
    assert preparation.prepare(data, "translation") == manifest


KILLED_AT = ("prepared.vocabulary-*.model", "prepared.part/train-0*", "prepared.part/manifest.json", "prepared")


def test_a_kill_at_any_moment_leaves_nothing_that_is_taken_for_whole(data):
    """The process is killed as soon as each file of its way is there; then one that is left alone makes the same."""
    folder = pathlib.Path(data.folder)
    command = ["scripts/prepare_data.py", "--config=configs/text_translation.py", f"--data_dir={folder}"]
    command += [f"--config.data.{name}={','.join(getattr(data, name))}" for name in ("train", "dev", "test")]
    command += ["--config.data.pieces=400"]
    for pattern in KILLED_AT:
        process = forks.Process(*command)
        while process.poll() is None and not list(folder.glob(pattern)):
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert list(folder.glob(pattern))
        there = prepared.read_manifest(folder / "prepared")
        assert there is None or pattern == "prepared"
    done = forks.run(*command, "--json=-")
    assert done.returncode == 0, done.stderr
    brief = json.loads(done.stdout)
    assert brief["examples"] == {"train": 1775, "dev": 20, "test": 20}
    prepared.verify(folder / "prepared", prepared.read_manifest(folder / "prepared") or {})
    assert sorted(path.name for path in folder.glob("prepared*")) == ["prepared", "prepared.lock"]
