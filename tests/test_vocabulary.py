"""The vocabulary: text to ids and back, the same each time, and one line for what is wrong."""

import dataclasses
import errno
import pickle
import resource

import numpy as np
import pytest
import sentencepiece
from test_config import get

from mqa_jax import config
from mqa_jax.data import vocabulary
from mqa_jax.data.corpus import Split
from mqa_jax.data.sources import Corpus
from mqa_jax.errors import InputError
from mqa_jax.tokens import BOS, EOS, PAD, UNK

DATA = dataclasses.replace(config.read(get("toy")).data, pieces=330, vocabulary_file="")
ENGLISH = [f"The {name} sees {count} red houses." for name in ("dog", "child", "old woman") for count in range(40)]
GERMAN = [
    f"{name} sieht {count} rote Häuser." for name in ("Der Hund", "Das Kind", "Die alte Frau") for count in range(40)
]
CORPUS = Corpus("for a test", {"train": Split(ENGLISH, GERMAN)})


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return vocabulary.obtain(DATA, CORPUS, tmp_path_factory.mktemp("vocabulary") / "v.model")


def test_a_disk_that_is_full_names_the_file_and_leaves_none(tmp_path):
    """A limit on the size of files, which the system enforces as it does a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            vocabulary.obtain(DATA, CORPUS, tmp_path / "v.model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (error.value.errno, error.value.filename) == (errno.EFBIG, str(tmp_path / "v.model"))
    assert not list(tmp_path.iterdir())


def test_text_comes_back_and_no_character_is_unknown(words):
    for text in ("Der Hund sieht rote Häuser.", "日本 🙂", "", "a  b", "no\u00a0break", "</s> <pad> <unk>"):
        ids = words.encode(text)
        assert not {PAD, EOS, BOS, UNK} & set(ids)
        assert words.decode(ids) == " ".join(text.split())


def test_decoding_stops_at_the_end_and_skips_what_is_no_text(words):
    ids = words.encode("Das Kind")
    assert words.decode([BOS, *ids, EOS, *words.encode("Haus"), PAD]) == "Das Kind"
    assert words.decode(np.array([PAD, *ids, words.size, 10**6, -1], np.int32)) == "Das Kind"


def test_text_is_kept_as_it_is_or_made_plain(tmp_path):
    """A language model is scored on the text that is there, spaces too."""
    text = "  ﬁne  cafe\u0301 ½ \u00a0end "
    for rule, wanted in (("identity", text), ("nmt_nfkc", "fine café 1⁄2 end")):
        data = dataclasses.replace(DATA, normalization=rule)
        assert (
            vocabulary.obtain(data, CORPUS, tmp_path / rule).decode(vocabulary.read(tmp_path / rule).encode(text))
            == wanted
        )
    for name, rule in (("lm1b", "identity"), ("text_lm", "identity"), ("lm_llama", "identity"), ("wmt14", "nmt_nfkc")):
        assert config.read(get(name)).data.normalization == rule


def test_many_lines_are_encoded_as_each_of_them(words):
    lines = [*ENGLISH, "", *GERMAN]
    assert words.encode_all(lines) == [words.encode(line) for line in lines]


def test_a_pickled_vocabulary_still_encodes(words):
    assert pickle.loads(pickle.dumps(words)).encode("Häuser") == words.encode("Häuser")


def test_it_is_trained_on_both_sides_and_is_the_same_each_time(words, tmp_path):
    again = vocabulary.obtain(DATA, CORPUS, tmp_path / "v.model")
    assert again.fingerprint == words.fingerprint and len(words.fingerprint) == 16
    assert words.size <= DATA.pieces
    for line in ("red houses", "rote Häuser"):
        assert min(words.encode(line)) >= UNK + 1 + 256, "no character is spelt in bytes"


def test_a_large_corpus_is_sampled_by_its_seed(monkeypatch, tmp_path):
    monkeypatch.setattr(vocabulary, "SAMPLE", 60)
    path = tmp_path / "v.model"
    prints = {}
    for seed in (0, 0, 1):
        path.unlink(missing_ok=True)
        found = vocabulary.obtain(dataclasses.replace(DATA, seed=seed), CORPUS, path).fingerprint
        assert prints.setdefault(seed, found) == found
    assert prints[0] != prints[1]


def test_the_one_that_is_there_is_used_then_the_file_that_is_named(words, tmp_path):
    named = tmp_path / "named.model"
    named.write_bytes(words.path.read_bytes())
    data, nothing = dataclasses.replace(DATA, vocabulary_file=str(named)), Corpus("", {"train": Split([], [])})
    copy = vocabulary.obtain(data, nothing, tmp_path / "run" / "v.model")
    assert copy.fingerprint == words.fingerprint
    named.unlink()
    assert vocabulary.obtain(data, nothing, tmp_path / "run" / "v.model").fingerprint == words.fingerprint
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["v.model"], "no half-written file stays"


def test_bad_vocabularies_are_refused(words, tmp_path):
    def obtain(name="new.model", **changes):
        return vocabulary.obtain(dataclasses.replace(DATA, **changes), CORPUS, tmp_path / name)

    with pytest.raises(InputError, match=r"cannot train config.data.pieces=5 subwords on 240 lines: "):
        obtain(pieces=5)
    with pytest.raises(InputError, match=r"missing.model is missing; check the path"):
        obtain(vocabulary_file="missing.model")
    assert not list(tmp_path.iterdir()), "nothing is left where nothing was made"
    (tmp_path / "text.model").write_bytes(b"no model")
    with pytest.raises(InputError, match=r"text.model is not a SentencePiece model"):
        obtain("text.model")
    with pytest.raises(InputError, match=rf"has {words.size} pieces, more than config.data.pieces=300; raise that"):
        obtain(vocabulary_file=str(words.path), pieces=300)


def test_special_ids_of_another_project_are_refused(tmp_path):
    """SentencePiece's own defaults have UNK where padding is here: each unknown word would be cut out of its row."""
    with open(tmp_path / "theirs.model", "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(ENGLISH), model_writer=file, vocab_size=40, hard_vocab_limit=False, minloglevel=2
        )
    data = dataclasses.replace(DATA, vocabulary_file=str(tmp_path / "theirs.model"))
    with pytest.raises(InputError, match=r"theirs.model has special ids other than .*'unk': 3"):
        vocabulary.obtain(data, CORPUS, tmp_path / "v.model")
    assert not (tmp_path / "v.model").exists()
