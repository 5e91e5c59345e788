"""Corpora: what is kept, what is dropped and said, and one line for what is wrong."""

import dataclasses
import gzip
import re

import pytest
from test_config import get

from mqa_jax import config
from mqa_jax.data import sources
from mqa_jax.errors import InputError


def data_of(name, **changes):
    return dataclasses.replace(config.read(get(name)).data, **changes)


# --- Text files ------------------------------------------------------------------------------------------------------

FILES = {
    "train.en": "a b\nc d\n\ne f\ng h\n",
    "train.de": "A B\nC D\nX\nE F\nG H\n",
    "val.en": "c d\n\n",
    "val.de": "C D\n\n",
    "test.en": "y\n",
    "test.de": "Y\n",
}


def fill(folder, **changes):
    for name, content in (FILES | {name.replace("_", "."): content for name, content in changes.items()}).items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return data_of("text_translation", folder=str(folder))


def test_train_drops_empty_sides_and_held_out_pairs_and_says_so(tmp_path, capsys):
    corpus = sources.load(fill(tmp_path), "translation")
    assert corpus.splits["train"].pairs() == [("a b", "A B"), ("e f", "E F"), ("g h", "G H")]
    assert corpus.splits["dev"].pairs() == [("c d", "C D"), ("", "")], "dev and test keep every line"
    said = "dropped 1 with an empty side, 1 that are in dev or test"
    assert said in capsys.readouterr().err and said in corpus.description


@pytest.mark.parametrize("task", ["translation", "language"])
def test_train_loses_what_dev_has_and_what_test_has(tmp_path, task):
    """A line of each between two that stay."""
    data = fill(tmp_path, train_en="a b\nc d\ny\ne f\n", train_de="A B\nC D\nY\nE F\n")
    kept = [("a b", "A B"), ("e f", "E F")]
    if task == "language":
        data = dataclasses.replace(data, train=("train.en",), dev=("val.en",), test=("test.en",))
        kept = [pair[:1] for pair in kept]
    corpus = sources.load(data, task)
    assert corpus.splits["train"].pairs() == kept and "dropped 2 that are in dev or test" in corpus.description


def test_a_pair_is_held_out_as_a_pair(tmp_path):
    """A sentence with another translation than the one in dev may train."""
    corpus = sources.load(fill(tmp_path, train_de="A B\nanother\nX\nE F\nG H\n"), "translation")
    assert ("c d", "another") in corpus.splits["train"].pairs()


def test_a_language_model_takes_one_file(tmp_path):
    fill(tmp_path)
    data = data_of(
        "text_lm", kind="text", folder=str(tmp_path), train=("train.en",), dev=("val.en",), test=("test.en",)
    )
    corpus = sources.load(data, "language")
    assert corpus.splits["train"].pairs() == [("a b",), ("e f",), ("g h",)] and not corpus.splits["train"].source
    two = sources.load(dataclasses.replace(data, test=("test.en", "test.de")), "language")
    assert two.splits["test"].pairs() == [("y",), ("Y",)]


def test_a_language_model_takes_no_table(tmp_path):
    data = dataclasses.replace(fill(tmp_path, more_tsv="k l\tK L\n"), train=("more.tsv",), dev=("val.en",))
    with pytest.raises(InputError, match=r"config\.data\.train names .*more\.tsv; a language model takes text"):
        sources.load(dataclasses.replace(data, test=("test.en",)), "language")


@pytest.mark.parametrize("task", ["translation", "language"])
def test_dev_and_test_are_held_out_where_no_file_gives_them(tmp_path, task, capsys):
    """By what a line holds: in another order the same ones are held out, and one that is there twice leaves twice."""
    lines = [f"line {number}" for number in range(400)]
    again = [*reversed(lines), lines[0]]
    english, german = ("\n".join(lines), "\n".join(again)), ("\n".join(lines).upper(), "\n".join(again).upper())
    fill(tmp_path, train_en=english[0], train_de=german[0], again_en=english[1], again_de=german[1])
    names = {"train": ("train.en", "train.de"), "again": ("again.en", "again.de"), "val": ("val.en", "val.de")}
    if task == "language":
        names = {name: files[:1] for name, files in names.items()}
    data = data_of("text_translation", folder=str(tmp_path), train=names["train"], dev=(), test=(), deduplicate=False)
    corpus = sources.load(data, task)
    parts = {name: split.pairs() for name, split in corpus.splits.items()}
    assert {name: len(part) for name, part in parts.items()} == {"train": 392, "dev": 4, "test": 4}
    assert len(set().union(*parts.values())) == 400, "no line is in two splits"
    said = "dev and test held out by a hash of the line"
    assert said in corpus.description and f"{said}: 4 lines each" in capsys.readouterr().err
    turned = sources.load(dataclasses.replace(data, train=names["again"]), task).splits
    assert all(sorted(turned[name].pairs()) == sorted(parts[name]) for name in ("dev", "test"))
    assert {*turned["train"].pairs()} == {*parts["train"]}
    given = sources.load(dataclasses.replace(data, dev=names["val"]), task)
    assert len(given.splits["dev"]) == 2 and given.splits["test"].pairs() == parts["test"]
    assert "; test held out by a hash" not in said and "test held out by a hash of the line" in given.description


def test_of_several_corpora_each_keeps_its_share_and_few_lines_are_too_few(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MOST_HELD_OUT", 3)
    data = fill(tmp_path, a_en="".join(f"a {n}\n" for n in range(500)), b_en="".join(f"b {n}\n" for n in range(500)))
    data = dataclasses.replace(data, train=("a.en", "b.en"), dev=(), test=(), weights=(1.0, 2.0))
    splits = sources.load(data, "language").splits
    assert [len(splits[name]) for name in ("train", "dev", "test")] == [994, 3, 3]
    first, second = splits["train"].corpora()
    assert {line[0] for line in first.target} == {"a"} and {line[0] for line in second.target} == {"b"}
    fill(tmp_path, a_en="one\ntwo\n")
    with pytest.raises(InputError, match=r"config.data.train has too few lines to hold test and dev out; give config"):
        sources.load(dataclasses.replace(data, train=("a.en",), weights=()), "language")


def test_compressed_files_are_read(tmp_path):
    data = fill(tmp_path)
    (tmp_path / "train.en.gz").write_bytes(gzip.compress(FILES["train.en"].encode()))
    packed = dataclasses.replace(data, train=("train.en.gz", "train.de"))
    assert sources.load(packed, "translation").splits == sources.load(data, "translation").splits


def test_what_train_drops_is_counted_by_rule(tmp_path, capsys):
    """Each rule against lines that it alone drops; one that is off keeps them, and an overlap is said all the same."""
    english = ["a b", " ", "c d", "a b", "a b", "x", "no\u00a0break\u2028here"]
    german = ["A B", "X", "C D", "A B", "other", "y" * 10, "Umbruch\x0bhier"]
    data = fill(tmp_path, train_en="\n".join(english) + "\n", train_de="\n".join(german) + "\n")
    kept = [("a b", "A B"), ("a b", "other"), (english[-1], german[-1])]
    corpus = sources.load(data, "translation")
    assert corpus.splits["train"].pairs() == kept
    note = "dropped 1 with an empty side, 1 with sides of too unlike lengths"
    note += ", 1 that are in dev or test, 1 that are there before"
    assert note in corpus.description and f"train: {note}" in capsys.readouterr().err
    loose = dataclasses.replace(data, length_ratio=0.0, deduplicate=False, drop_overlap=False)
    corpus = sources.load(loose, "translation")
    everything = list(zip(english, german, strict=True))
    assert corpus.splits["train"].pairs() == [everything[0], *everything[2:]]
    assert "dropped 1 with an empty side; kept 1 that are in dev or test" in corpus.description


def test_a_tsv_is_two_columns_of_one_file(tmp_path):
    data = fill(tmp_path)
    lines = [f"id\t{en}\t{de}\trest" for en, de in (("a b", "A B"), ("e f", "E F"), ("g h", "G H"))]
    (tmp_path / "more.tsv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    tsv = dataclasses.replace(data, train=("more.tsv.gz",), columns=(2, 3))
    plain = sources.load(data, "translation").splits["train"].pairs()
    assert sources.load(tsv, "translation").splits["train"].pairs() == plain
    swapped = sources.load(dataclasses.replace(tsv, columns=(3, 2)), "translation").splits["train"].pairs()
    assert swapped == [pair[::-1] for pair in plain]
    with pytest.raises(InputError, match=r"more.tsv.gz, line 1 has 4 columns; config.data.columns=2,5 needs 5, with a"):
        sources.load(dataclasses.replace(tsv, columns=(2, 5)), "translation")


def test_several_corpora_are_joined_or_mixed_by_weight(tmp_path):
    data = fill(tmp_path, more_tsv="k l\tK L\na b\tA B\n", more_en="m\n", more_de="M\n")
    three = dataclasses.replace(data, train=("train.en", "train.de", "more.tsv", "more.en", "more.de"))
    joined = sources.load(three, "translation").splits["train"]
    assert joined.sizes == (3, 1, 1) and joined.corpora() == [joined]
    assert joined.pairs()[3:] == [("k l", "K L"), ("m", "M")], "what an earlier corpus has is not there twice"
    weighted = sources.load(dataclasses.replace(three, weights=(2.0, 1.0, 1.0)), "translation").splits["train"]
    assert [part.pairs() for part in weighted.corpora()] == [joined.pairs()[:3], [("k l", "K L")], [("m", "M")]]
    with pytest.raises(InputError, match=r"config.data.weights=1.0,2.0 are 2 for the 3 corpora of config.data.train"):
        sources.load(dataclasses.replace(three, weights=(1.0, 2.0)), "translation")
    with pytest.raises(InputError, match=r"corpus 3 of config.data.train=.* has nothing left .* that are there before"):
        again = ("train.en", "train.de", "more.tsv", "train.en", "train.de")
        sources.load(dataclasses.replace(three, train=again), "translation")


BAD_FILES = {
    "unequal": ({"train_de": "A\n"}, r"train.en has 5 lines and .*train.de has 1; line i"),
    "empty": ({"val_en": "", "val_de": ""}, r"val.en is empty; give it"),
    "nothing left": (
        {"train_en": "c d\n", "train_de": "C D\n"},
        r"config.data.train=train.en,train.de has nothing left",
    ),
    "not utf-8": ({"test_de": b"\xff\n"}, r"test.de, line 1, byte 1: not UTF-8"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_named(tmp_path, name):
    changes, words = BAD_FILES[name]
    data = fill(tmp_path, **changes)
    with pytest.raises(InputError, match=words):
        sources.load(data, "translation")


NO_FILES = {"train": (), "dev": (), "test": ()}
BAD_CONFIGS = {
    "a missing file": ({"dev": ("val.en", "val.fr")}, r"cannot read .*val.fr: No such file"),
    "one file": ({"train": ("train.en",)}, r"config.data.train names .*train.en; translation takes a source and a"),
    "no file": ({"train": ()}, r"config.data.train is empty; translation takes"),
    "no folder": ({"folder": "gone"}, r"config.data.folder=gone is not a folder here; give the data's place, or write"),
    "an unknown kind": ({"kind": "csv"}, re.escape("config.data.kind='csv' is unknown; choose from: grammar, pydoc")),
    "files that are not read": (
        {"kind": "pydoc"},
        r"config.data.train=.* is not read where config.data.kind='pydoc'; set",
    ),
    "no sentences": (NO_FILES | {"kind": "grammar"}, r"config.data.sentences=0 must be at least 1"),
    "one language": (NO_FILES | {"kind": "pydoc"}, r"config.data.kind='pydoc' is one language only"),
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_bad_configs_are_named(tmp_path, name):
    changes, words = BAD_CONFIGS[name]
    with pytest.raises(InputError, match=words):
        sources.load(dataclasses.replace(fill(tmp_path), **changes), "translation")


# --- What is there without a file ------------------------------------------------------------------------------------


def test_the_grammar_is_said_to_be_generated():
    data = data_of("toy", sentences=300)
    corpus = sources.load(data, "translation")
    assert "generated" in corpus.description and len(corpus.splits["train"]) == 300
    english = sources.load(data, "language")
    for name, split in corpus.splits.items():
        assert list(english.splits[name].target) == list(split.source) and not english.splits[name].source


def test_pythons_documentation_is_split_the_same_way_each_time():
    data = data_of("text_lm")
    corpus, again = sources.load(data, "language"), sources.load(data, "language")
    assert corpus == again and "documentation of Python 3" in corpus.description
    lines = [line for split in corpus.splits.values() for line in split.target]
    assert len(lines) == len(set(lines)) > 1000, "no paragraph is in two splits"
    assert all(line == " ".join(line.split()) for line in lines)
    assert all(len(corpus.splits[name]) > 50 for name in ("dev", "test"))
