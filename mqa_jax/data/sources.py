"""Where text comes from: the generated language pair, Python's documentation, text files, or TFDS."""

import dataclasses
import hashlib
import itertools
import json
import pathlib
import platform
from collections.abc import Callable, Mapping
from typing import Any

from mqa_jax import progress
from mqa_jax.data import filters, grammar, parallel, prepared, tfds
from mqa_jax.data.corpus import Corpus
from mqa_jax.data.split import Split
from mqa_jax.errors import InputError
from mqa_jax.experiment import DataConfig


def load(data: DataConfig, task: str) -> Corpus:
    """The corpus that the config names: from config.data.folder/prepared where that was made of it, else from text.

    Raises:
      InputError: an unknown kind, or data that are missing, unequal, empty, damaged or not UTF-8.
    """
    manifest = prepared.read_manifest(prepared_folder(data)) if data.folder else None
    if manifest:
        unlike = difference(data, task, manifest)
        if not unlike:
            folder = prepared_folder(data)
            return Corpus(manifest["description"], prepared.read(folder, manifest), folder / "vocabulary.model")
        progress.say(f"{prepared_folder(data)} is of another config: {unlike}; text is read in its place")
    return load_text(data, task)


def load_text(data: DataConfig, task: str) -> Corpus:
    """As `load`, whatever was prepared."""
    if data.kind not in LOADERS:
        raise InputError(f"config.data.kind={data.kind!r} is unknown; choose from: {', '.join(LOADERS)}")
    corpus = LOADERS[data.kind](data, task)
    for name, split in corpus.splits.items():
        if not len(split):
            raise InputError(f"config.data.{name} holds no lines; give it at least one")
    return corpus


def prepared_folder(data: DataConfig) -> pathlib.Path:
    """Where the ids of this config's data are, if they were prepared."""
    return pathlib.Path(data.folder) / "prepared"


def asked(data: DataConfig, task: str) -> dict[str, Any]:
    """The settings that decide what is prepared, as JSON gives them back; rows, lengths and packing stay free."""
    free = ("folder", "vocabulary_file", "source_length", "target_length", "rows", "packing", "positions", "streams")
    values = {key: value for key, value in dataclasses.asdict(data).items() if key not in free}
    return json.loads(json.dumps({"task": task} | values))


def files(data: DataConfig) -> list[dict[str, Any]]:
    """Name, bytes and SHA-256 of each file that the corpus is read from."""
    there = {name: path for name, path in _paths(data).items() if path.is_file()}
    return [
        {"name": name, "bytes": path.stat().st_size, "sha256": prepared.checksum(path)} for name, path in there.items()
    ]


def _paths(data: DataConfig) -> dict[str, pathlib.Path]:
    """Where each file is that the corpus is read from, by its name in the config."""
    if data.kind == "tfds":
        path = tfds.description_file(data)
        return {str(path): path}
    return {name: pathlib.Path(data.folder) / name for name in (*data.train, *data.dev, *data.test)}


def difference(data: DataConfig, task: str, manifest: Mapping[str, Any]) -> str:
    """What the config asks for, or its files hold, that the prepared ids are not of; empty if they are of it."""
    there = manifest["asked"]
    for key, value in asked(data, task).items():
        if there.get(key) != value:
            return f"{key} is {there.get(key)!r} there, {value!r} here"
    named = data.vocabulary_file
    if named and not pathlib.Path(named).is_file():
        raise InputError(f"config.data.vocabulary_file={named} is missing; check the path")
    if named and prepared.checksum(pathlib.Path(named)) != manifest["vocabulary"]["sha256"]:
        return f"config.data.vocabulary_file={named} is not its vocabulary"
    written = (prepared_folder(data) / "manifest.json").stat().st_mtime
    paths = _paths(data) if data.kind != "tfds" else {}
    for source in manifest["sources"]:
        path = paths.get(source["name"], pathlib.Path(source["name"]))
        if not path.is_file():  # prepared ids may have been moved without their text
            continue
        size, changed = path.stat().st_size, path.stat().st_mtime > written
        if size != source["bytes"] or (changed and prepared.checksum(path) != source["sha256"]):
            return f"{path} has changed since"
    return ""


def _text(data: DataConfig, task: str) -> Corpus:
    """Files of the user's. Train loses what `filters` drops, counted; dev and test keep every line."""
    splits = {}
    for name in ("dev", "test", "train"):
        paths = [pathlib.Path(data.folder) / path for path in getattr(data, name)]
        splits[name] = parallel.read_split(paths, task, f"config.data.{name}", data.columns)
    splits["train"], note = _filtered(data, splits)
    sizes = f"{len(splits['train'])} train lines{note and f' ({note})'}"
    description = f"text files {', '.join(data.train)}: {sizes}, {len(splits['dev'])} dev, {len(splits['test'])} test"
    return Corpus(description, splits)


def _filtered(data: DataConfig, splits: Mapping[str, Split]) -> tuple[Split, str]:
    """What of train may train, corpus by corpus, and a note of what was dropped, which is said."""
    if data.weights and len(data.weights) != len(splits["train"].sizes):
        raise InputError(
            f"config.data.weights={','.join(map(str, data.weights))} are {len(data.weights)} for the "
            f"{len(splits['train'].sizes)} corpora of config.data.train; give one for each"
        )
    held_out = {pair for name in ("dev", "test") for pair in splits[name].pairs()}
    counts, seen = filters.Counts(), set() if data.deduplicate else None
    lines, pairs, parts = iter(splits["train"].pairs()), [], []
    for size in splits["train"].sizes:
        part = itertools.islice(lines, size)
        pairs.append(filters.kept(part, held_out, seen, data.length_ratio, data.drop_overlap, counts))
        parts.append(len(pairs[-1]))
    if not all(parts):
        which = f"corpus {parts.index(0) + 1} of " if len(parts) > 1 else ""
        raise InputError(f"{which}config.data.train={','.join(data.train)} has nothing left to train on: {counts.note}")
    if counts.note:
        progress.say(f"train: {counts.note}")
    split = Split.of_pairs([pair for part in pairs for pair in part])
    return dataclasses.replace(split, sizes=tuple(parts), weights=data.weights), counts.note


def _grammar(data: DataConfig, task: str) -> Corpus:
    if data.sentences < 1:
        raise InputError(f"config.data.sentences={data.sentences} must be at least 1")
    splits = grammar.splits(data.sentences, data.seed, held_out=min(1000, data.sentences))
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
