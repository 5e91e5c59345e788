"""Corpora: what is kept, what is dropped and said, and one line for what is wrong."""

import contextlib
import dataclasses
import gzip
import io
import json
import os
import re
import subprocess
import sys

import pytest
from test_config import get

from mqa_jax import config
from mqa_jax.data import sources, tfds
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


# --- TFDS: the real reader on real files, prepared here from few lines -----------------------------------------------

PAIRS = [{"en": f"the dog {i}\u00a0runs", "de": f"der Hund {i} läuft"} for i in range(2500)]
WMT = {"train": PAIRS, "validation": PAIRS[:2], "test": PAIRS[2:5]}
LINES = [{"text": f"line {i}"} for i in range(7)]
LM1B = {"train": LINES[:3], "test": LINES}


def prepare(data, contents):
    """Writes `contents` as the dataset's own builder would write what it downloads."""
    real = type(tfds.builder(data))

    class Few(real, skip_registration=True):  # pyright: ignore
        name = real.name

        def _split_generators(self, dl_manager):
            return {split: enumerate(rows) for split, rows in contents.items()}

    name = data.dataset.partition("/")[2]
    few = Few(data_dir=data.folder, file_format="array_record", **({"config": name} if name else {}))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        few.download_and_prepare()
    return few.data_path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    prepare(data_of("wmt14", folder=str(folder)), WMT)
    prepare(data_of("lm1b", folder=str(folder)), LM1B)
    return str(folder)


def test_wmt_is_read_as_it_was_prepared(folder):
    corpus = sources.load(data_of("wmt14", folder=folder), "translation")
    assert "wmt14_translate/de-en" in corpus.description and "3 test" in corpus.description
    assert "newstest2013" in corpus.description and "wmt14/full" in corpus.description
    for ours, theirs in (("train", "train"), ("dev", "validation"), ("test", "test")):
        # TFDS shuffles what it writes, so the order is its own.
        assert sorted(corpus.splits[ours].pairs()) == sorted((row["en"], row["de"]) for row in WMT[theirs])


def test_columns_of_tfds_are_sequences(folder):
    split = sources.load(data_of("wmt14", folder=folder), "translation").splits["train"]
    lines = list(split.target)
    assert len(split.target) == len(lines) == len(PAIRS)
    assert split.target[0] == lines[0] and split.target[-1] == lines[-1] and split.target[1234] == lines[1234]
    assert split.target[10:2000:7] == lines[10:2000:7] and split.target[2490:9999] == lines[2490:]
    with pytest.raises(IndexError):
        split.target[len(lines)]


def test_lm1b_lends_half_of_its_test_set_to_dev_where_no_file_is_named(folder):
    corpus = sources.load(data_of("lm1b", folder=folder, dev=(), test=()), "language")
    dev, test = (list(corpus.splits[name].target) for name in ("dev", "test"))
    assert (len(dev), len(test), len(corpus.splits["train"])) == (4, 3, 3)
    assert sorted(dev + test) == [row["text"] for row in LINES]
    assert "dev and test are halves of its test set" in corpus.description


HELD_OUT = {
    "news.en.heldout-00000-of-00050": "The dog 's first line .\n a second one \n",
    "news.en.heldout-00001-of-00050": "of the other file\n",
    "news.en.heldout-00049-of-00050": "the last\n",
}


@pytest.fixture
def held_out(tmp_path):
    """LM1B's prepared lines, and below them the archive as TFDS unpacks it."""
    prepare(data_of("lm1b", folder=str(tmp_path)), LM1B)
    place = tmp_path / "downloads" / "extracted" / "TAR_GZ.archive" / tfds.ARCHIVE.partition(".")[0]
    for name, text in HELD_OUT.items():
        path = place / "heldout-monolingual.tokenized.shuffled" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_lm1b_scores_the_held_out_files_that_the_config_names(held_out):
    """By default the first, as Tensor2Tensor; one that lies in the data's folder comes before the archive's."""
    data = data_of("lm1b", folder=str(held_out))
    corpus = sources.load(data, "language")
    assert list(corpus.splits["dev"].target) == ["The dog 's first line .", "a second one"], "as TFDS strips them"
    assert list(corpus.splits["test"].target) == ["of the other file"] and len(corpus.splits["train"]) == 3
    assert corpus.description == (
        "lm1b of TFDS: 3 train, 2 dev, 1 test; dev is news.en.heldout-00000-of-00050, "
        "test is news.en.heldout-00001-of-00050"
    )
    (held_out / "news.en.heldout-00049-of-00050").write_text("put here by hand\n")
    other = dataclasses.replace(data, dev=("news.en.heldout-00049-of-00050",))
    assert list(sources.load(other, "language").splits["dev"].target) == ["put here by hand"]
    words = held_out / "words.txt"
    words.write_text("line\n1\na\nof\n")
    mapped = sources.load(dataclasses.replace(data, unk=str(words)), "language")
    assert list(mapped.splits["dev"].target) == ["UNK UNK UNK UNK line UNK", "a UNK UNK"]
    assert list(mapped.splits["test"].target) == ["of UNK UNK UNK"]
    assert sorted(mapped.splits["train"].target) == ["line 1", "line UNK", "line UNK"]
    assert {mapped.digests[name] == corpus.digests[name] for name in ("train", "dev", "test")} == {False}


BAD_HELD_OUT = {
    "not there": (
        {"dev": ("news.en.heldout-00002-of-00050",)},
        r"^config.data.dev=news.en.heldout-00002-of-00050 is neither in .* nor unpacked below .*; put that file of "
        r"1-billion.*tar.gz into the first, or empty config.data.dev and config.data.test, for the halves",
    ),
    "one of two": ({"test": ()}, r"heldout-00000-of-00050 and config.data.test= must name a held-out file each, or be"),
    "two of one": ({"dev": ("a", "b")}, r"^config.data.dev=a,b and config.data.test=.* must name a held-out file each"),
    "weights": ({"weights": (1.0,)}, r"^config.data.weights=1.0 is not read where config.data.kind='tfds'"),
}


@pytest.mark.parametrize("name", BAD_HELD_OUT)
def test_held_out_files_that_cannot_be_are_named(folder, name):
    changes, words = BAD_HELD_OUT[name]
    with pytest.raises(InputError, match=words) as error:
        sources.load(data_of("lm1b", folder=folder, **changes), "language")
    assert "\n" not in str(error.value)


def test_what_is_of_lm1b_alone_is_refused_elsewhere(folder, tmp_path):
    with pytest.raises(InputError, match=r"config.data.dev=a is not read where config.data.dataset='wmt14_translate/"):
        sources.load(data_of("wmt14", folder=folder, dev=("a",)), "translation")
    with pytest.raises(InputError, match=r"config.data.dev=a is not read where config.data.dataset='wmt14_translate/"):
        sources.load(data_of("wmt14", folder=folder, dev=("a",), test=("b",)), "translation")
    with pytest.raises(InputError, match=r"config.data.unk=words.txt is for a language model; leave it out"):
        sources.load(dataclasses.replace(fill(tmp_path), unk="words.txt"), "translation")


def test_tfds_is_imported_only_where_it_is_used_and_tensorflow_never(folder):
    code = f"""
import sys
from test_sources import data_of
from mqa_jax.data import sources
assert "tensorflow_datasets" not in sys.modules
corpus = sources.load(data_of("wmt14", folder={folder!r}), "translation")
assert corpus.splits["test"].pairs() and "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": ":".join(sys.path)})


BAD_DATASETS = {
    "unknown": ("imdb", "language", r"config.data.dataset='imdb' is unknown; choose from: wmt14_translate,"),
    "not prepared": ("wmt_t2t_translate/de-en", "translation", r"is not prepared in .*; run scripts/prepare_data.py"),
    "another task": ("lm1b", "translation", r"config.data.dataset='lm1b' is for a language model; .* translation"),
    "no config": ("wmt14_translate", "translation", r"'wmt14_translate' is not English-German; name its config"),
    "another pair": ("wmt14_translate/fr-en", "translation", r"'wmt14_translate/fr-en' is not English-German"),
    "unknown config": ("wmt14_translate/en-xx", "translation", r"is not what TFDS has: .*en-xx not found"),
    "unknown version": ("wmt14_translate/de-en:9.9.9", "translation", r"is not what TFDS has: .*at version 9.9.9"),
}


@pytest.mark.parametrize("name", BAD_DATASETS)
def test_bad_datasets_are_named(folder, name):
    dataset, task, words = BAD_DATASETS[name]
    with pytest.raises(InputError, match=words) as error:
        sources.load(data_of("wmt14", dataset=dataset, folder=folder), task)
    assert "\n" not in str(error.value)


def test_a_format_that_only_tensorflow_reads_is_refused(tmp_path):
    """TFDS's default is TFRecord; here by name only, since writing it takes TensorFlow."""
    data = data_of("wmt14", folder=str(tmp_path))
    path = prepare(data, WMT | {"train": PAIRS[:2]})
    info = json.loads((path / "dataset_info.json").read_text())
    (path / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    with pytest.raises(
        InputError, match=r"is in the format tfrecord, which only TensorFlow reads; prepare it elsewhere"
    ):
        sources.load(data, "translation")
