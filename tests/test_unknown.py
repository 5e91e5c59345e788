"""Words outside a list become UNK: which ones, in which lines, and one line for a list that is none."""

import pathlib
import subprocess
import sys

import pytest

from mqa_jax.data import unknown
from mqa_jax.data.corpus import Split
from mqa_jax.errors import InputError

LINES = ["The cat sat , the dog sat .", "", "  a\u00a0cat  cat's dogs ", "cat"]
MAPPED = ["UNK cat sat , the UNK sat .", "", "  UNK\u00a0cat  UNK UNK ", "cat"]


@pytest.fixture
def words(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("the 12\ncat\nsat\t3\n, 1\n.\n\n4\n7\u00a0000 2\n")
    return str(path)


def test_words_outside_the_list_are_unk_and_the_rest_stays_as_it_is(words):
    """White space too, so that a line keeps its number of words; a list may say how often it has each."""
    found = unknown.replaced(LINES, words)
    assert list(found) == found[0:9] == [found[index] for index in range(len(found))] == MAPPED
    assert found[-1] == "cat" and found[0:2] == MAPPED[:2]
    known = "the", "cat", "sat", ",", ".", "4"
    slow = [" ".join(word if word in known else "UNK" for word in line.split()) for line in LINES]
    assert [" ".join(line.split()) for line in found] == slow
    assert [len(line.split()) for line in found] == [len(line.split()) for line in LINES]
    assert unknown.replaced(["UNK 4 12"], words)[0] == "UNK 4 UNK", "a count is no word"
    assert unknown.replaced(LINES, "") is LINES


def test_lines_are_read_as_they_are_asked_for(words):
    class Few(list):
        def __iter__(self):
            raise AssertionError("all of them")

    assert unknown.replaced(Few(LINES), words)[0:1] == MAPPED[:1]
    split = Split((), unknown.replaced(LINES, words))
    assert split.digest() == Split((), MAPPED).digest() != Split((), LINES).digest()


BAD = {
    "missing": (None, r"cannot read .*words.txt: No such file or directory; check the file$"),
    "empty": ("", r"holds no words; give it one a line$"),
    "empty lines": ("\n\n", r"holds no words; give it one a line$"),
    "a text": ("the 1\nthe cat sat\n", r"line 2 is not a word, or a word and its count; name a file of words$"),
    "no count": ("the cat\n", r"line 1 is not a word, or a word and its count; name a file of words$"),
    "not UTF-8": (b"the\n\xff\n", r"line 2, byte 1: not UTF-8"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_list_that_is_none_is_one_line(tmp_path, name):
    content, reason = BAD[name]
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=rf"^config\.data\.unk={path}.*{reason}") as error:
        unknown.replaced(LINES, str(path))
    assert "\n" not in str(error.value)


def test_a_text_to_evaluate_is_mapped_too(words, tmp_path):
    """The command itself, its run and its score stood in for."""
    (tmp_path / "mine.txt").write_text("\n".join(LINES) + "\n")
    code = f"""
import types
from absl import flags
from mqa_jax.commands import evaluate
data, decode = types.SimpleNamespace(unk={words!r}), evaluate.dataclasses.make_dataclass("Decode", [("beam", int)])(4)
experiment = types.SimpleNamespace(task="language", data=data, decode=decode)
evaluate.trained.load = lambda *of: types.SimpleNamespace(experiment=experiment)
evaluate.quality.perplexity_of = lambda run, split, name, origin: {{"lines": list(split.target)}}
evaluate.quality.words = lambda record: repr(record["lines"])
flags.FLAGS(["evaluate", "--workdir=x", "--reference={tmp_path}/mine.txt"])
evaluate.main()
"""
    root = pathlib.Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{MAPPED!r}\n"), done.stderr
