"""TFDS's data sets: the real reader on real files, prepared here from few lines."""

import contextlib
import dataclasses
import io
import json
import os
import subprocess
import sys

import pytest
from test_sources import data_of, fill

from mqa_jax.data import sources, tfds
from mqa_jax.errors import InputError

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
