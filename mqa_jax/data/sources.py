"""Where text comes from: the generated language pair, Python's documentation, text files, or TFDS."""

import dataclasses
import hashlib
import pathlib
import platform
from collections.abc import Callable, Mapping, Sequence

from mqa_jax import progress
from mqa_jax.data import grammar, tfds
from mqa_jax.data.split import Split
from mqa_jax.data.text import read_lines
from mqa_jax.errors import InputError
from mqa_jax.experiment import DataConfig


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A task's text.

    Attributes:
      description: one line for reports.
      splits: train, dev and test.
    """

    description: str
    splits: Mapping[str, Split]


def load(data: DataConfig, task: str) -> Corpus:
    """The corpus that the config names.

    Raises:
      InputError: an unknown kind, or data that are missing, unequal, empty or not UTF-8.
    """
    if data.kind not in LOADERS:
        raise InputError(f"config.data.kind={data.kind!r} is unknown; choose from: {', '.join(LOADERS)}")
    corpus = LOADERS[data.kind](data, task)
    for name, split in corpus.splits.items():
        if not len(split):
            raise InputError(f"config.data.{name} holds no lines; give it at least one")
    return corpus


def read_split(paths: Sequence[str | pathlib.Path], task: str, label: str = "the input") -> Split:
    """A source and a target file for translation, one file for a language model; every line is kept.

    Args:
      label: what names the files, for messages.
    Raises:
      InputError: the wrong number of files, unequal line counts, or no lines at all.
    """
    wanted = 2 if task == "translation" else 1
    if len(paths) != wanted:
        kind = "a source and a target file" if wanted == 2 else "one file"
        given = f"names {', '.join(map(str, paths))}" if paths else "is empty"
        raise InputError(f"{label} {given}; {task} takes {kind}")
    columns = [read_lines(path) for path in paths]
    if not columns[-1]:
        raise InputError(f"{paths[-1]} is empty; give it at least one line")
    if len(columns[0]) != len(columns[-1]):
        raise InputError(
            f"{paths[0]} has {len(columns[0])} lines and {paths[-1]} has {len(columns[-1])}; "
            "line i of one must translate line i of the other"
        )
    return Split(columns[0], columns[1]) if wanted == 2 else Split((), columns[0])


def _text(data: DataConfig, task: str) -> Corpus:
    """Files of the user's. Train loses pairs with an empty side and those that are in dev or test."""
    splits = {}
    for name in ("train", "dev", "test"):
        paths = [pathlib.Path(data.folder) / path for path in getattr(data, name)]
        splits[name] = read_split(paths, task, f"config.data.{name}")
    held_out = {pair for name in ("dev", "test") for pair in splits[name].pairs()}
    full = [pair for pair in splits["train"].pairs() if all(side.strip() for side in pair)]
    kept = [pair for pair in full if pair not in held_out]
    empty, overlap = len(splits["train"]) - len(full), len(full) - len(kept)
    note = f"dropped {empty} with an empty side, {overlap} that are in dev or test"
    if not kept:
        raise InputError(f"config.data.train={','.join(data.train)} has nothing left to train on: {note}")
    if empty or overlap:
        progress.say(f"train: {note}")
    splits["train"] = Split.of_pairs(kept)
    sizes = f"{len(kept)} train lines ({note}), {len(splits['dev'])} dev, {len(splits['test'])} test"
    return Corpus(f"text files {', '.join(data.train)}: {sizes}", splits)


def _grammar(data: DataConfig, task: str) -> Corpus:
    if data.sentences < 1:
        raise InputError(f"config.data.sentences={data.sentences} must be at least 1")
    splits = grammar.splits(data.sentences, data.seed)
    if task == "translation":
        return Corpus(grammar.DESCRIPTION, {name: Split.of_pairs(pairs) for name, pairs in splits.items()})
    return Corpus(
        f"{grammar.DESCRIPTION}, English side",
        {name: Split((), [english for english, _ in pairs]) for name, pairs in splits.items()},
    )


def _pydoc(data: DataConfig, task: str) -> Corpus:
    """The language reference that every interpreter ships, a paragraph a line, split by a hash of the paragraph."""
    if task != "language":
        raise InputError("config.data.kind='pydoc' is one language only; use it with config.model.encoder_layers=0")
    from pydoc_data.topics import topics

    splits: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    seen = set()
    for topic in sorted(topics):
        for paragraph in topics[topic].split("\n\n"):
            line = " ".join(paragraph.split())
            if len(line) < 20 or line in seen:
                continue
            seen.add(line)
            bucket = hashlib.sha256(line.encode()).digest()[0]
            splits["test" if bucket < 13 else "dev" if bucket < 26 else "train"].append(line)
    return Corpus(
        f"documentation of Python {platform.python_version()} (pydoc_data.topics), {len(splits['train'])} paragraphs",
        {name: Split((), lines) for name, lines in splits.items()},
    )


LOADERS: dict[str, Callable[[DataConfig, str], Corpus]] = {
    "grammar": _grammar,
    "pydoc": _pydoc,
    "text": _text,
    "tfds": lambda data, task: Corpus(*tfds.load(data, task)),
}
