"""Where text comes from: the generated language pair, Python's documentation, text files, or TFDS."""

import dataclasses
import hashlib
import heapq
import os
import pathlib
import platform
from collections.abc import Callable, Collection, Sequence

from mqa_jax import progress
from mqa_jax.data import grammar, prepared, tfds, unknown
from mqa_jax.data.corpus import Corpus, Split
from mqa_jax.data.text import read_split
from mqa_jax.errors import InputError
from mqa_jax.experiment import DataConfig

MOST_HELD_OUT = 2000  # lines of a dev or test set that no file gives


def load(data: DataConfig, task: str) -> Corpus:
    """The corpus that the config names: from config.data.folder/prepared where that was made of it, else from text.

    Raises:
      InputError: an unknown kind, or data that are missing, unequal, empty, damaged or not UTF-8.
    """
    place = prepared.folder(data)
    manifest = prepared.read_manifest(place) if data.folder else None
    if manifest:
        unlike = prepared.difference(data, task, manifest)
        if not unlike:
            return prepared.read(place, manifest)
        progress.say(f"{place} is of another config: {unlike}; text is read in its place")
    return load_text(data, task)


def load_text(data: DataConfig, task: str) -> Corpus:
    """As `load`, whatever was prepared."""
    if data.kind not in LOADERS:
        raise InputError(f"config.data.kind={data.kind!r} is unknown; choose from: {', '.join(LOADERS)}")
    read = {"text": ("train", "dev", "test", "weights"), "tfds": tfds.FILES}.get(data.kind, ())
    for key in ("train", "dev", "test", "weights"):
        if (value := getattr(data, key)) and key not in read:
            raise InputError(
                f"config.data.{key}={','.join(map(str, value))} is not read where config.data.kind={data.kind!r}; set "
                f"config.data.kind=text, or empty the first (--config.data.{key}=)"
            )
    if data.kind == "text" and not os.path.isdir(data.folder or "."):
        raise InputError(
            f"config.data.folder={data.folder} is not a folder here; give the data's place, or write it into the "
            "experiment.json of a run that was moved"
        )
    if data.unk and task != "language":
        raise InputError(f"config.data.unk={data.unk} is for a language model; leave it out (--config.data.unk=)")
    corpus = LOADERS[data.kind](data, task)
    if data.unk:
        splits = {
            name: Split((), unknown.replaced(split.target, data.unk), split.sizes, split.weights)
            for name, split in corpus.splits.items()
        }
        corpus = dataclasses.replace(corpus, splits=splits)
    for name, split in corpus.splits.items():
        if not len(split):
            raise InputError(f"config.data.{name} holds no lines; give it at least one")
    return corpus


def _text(data: DataConfig, task: str) -> Corpus:
    """Files of the user's. Train loses what `_filtered` drops, counted; dev and test keep every line.

    Without a file, dev or test is held out of what train keeps.
    """
    splits = {}
    for name in ("train", "dev", "test"):
        paths = [pathlib.Path(data.folder) / path for path in getattr(data, name)]
        if paths or name == "train":
            splits[name] = read_split(paths, task, f"config.data.{name}", data.columns)
    given = {pair for name in splits.keys() - {"train"} for pair in splits[name].pairs()}
    splits["train"], note = _filtered(data, splits["train"], given)
    if missing := [name for name in ("test", "dev") if name not in splits]:
        splits |= _held_out(splits["train"], missing)
        held = f"{' and '.join(sorted(missing))} held out by a hash of the line"
        progress.say(f"{held}: {len(splits[missing[0]])} lines each")
        note = "; ".join(filter(None, (note, held)))
    sizes = f"{len(splits['train'])} train lines{note and f' ({note})'}"
    description = f"text files {', '.join(data.train)}: {sizes}, {len(splits['dev'])} dev, {len(splits['test'])} test"
    return Corpus(description, splits)


def _filtered(data: DataConfig, train: Split, held_out: Collection[tuple[str, ...]]) -> tuple[Split, str]:
    """What of train may train, corpus by corpus, and a note of what was dropped, which is said.

    The first rule that a pair breaks counts it.

    Args:
      held_out: the pairs (or lines alone) of dev and test.
    """
    if data.weights and len(data.weights) != len(train.sizes):
        raise InputError(
            f"config.data.weights={','.join(map(str, data.weights))} are {len(data.weights)} for the "
            f"{len(train.sizes)} corpora of config.data.train; give one for each"
        )
    empty, unlike = "with an empty side", "with sides of too unlike lengths"
    overlap, again = "that are in dev or test", "that are there before"
    dropped, seen, overlap_kept = dict.fromkeys((empty, unlike, overlap, again), 0), set(), 0

    def keeps(pair: tuple[str, ...]) -> bool:
        nonlocal overlap_kept
        sizes = [len(side.strip()) for side in pair]
        key = hash(pair)  # 64 bits: among a billion pairs one in forty is dropped for nothing, once
        if not min(sizes):
            dropped[empty] += 1
        elif data.length_ratio and max(sizes) > data.length_ratio * min(sizes):
            dropped[unlike] += 1
        elif data.drop_overlap and pair in held_out:
            dropped[overlap] += 1
        elif key in seen:
            dropped[again] += 1
        else:
            if data.deduplicate:
                seen.add(key)
            overlap_kept += pair in held_out
            return True
        return False

    kept = dataclasses.replace(train.where(keeps), weights=data.weights)
    counts = ", ".join(f"{count} {rule}" for rule, count in dropped.items() if count)
    notes = f"dropped {counts}" if counts else "", f"kept {overlap_kept} {overlap}" if overlap_kept else ""
    note = "; ".join(filter(None, notes))
    if not all(kept.sizes):
        which = f"corpus {kept.sizes.index(0) + 1} of " if len(kept.sizes) > 1 else ""
        raise InputError(f"{which}config.data.train={','.join(data.train)} has nothing left to train on: {note}")
    if note:
        progress.say(f"train: {note}")
    return kept, note


def _held_out(train: Split, names: Sequence[str]) -> dict[str, Split]:
    """A split for each name, of the different pairs of train with the lowest hashes, and train without them.

    So the same text is always split alike, whatever its order. Each name gets one in a hundred, but one at least and
    `MOST_HELD_OUT` at most.
    """
    different = dict.fromkeys(train.pairs())
    size = min(max(1, len(different) // 100), MOST_HELD_OUT)
    digest = lambda pair: hashlib.sha256("\n".join(pair).encode()).digest()  # noqa: E731
    lowest = heapq.nsmallest(size * len(names), different, key=digest)
    chosen = {pair: names[number // size] for number, pair in enumerate(lowest)}
    kept = train.where(lambda pair: pair not in chosen)
    if not all(kept.sizes):
        raise InputError(
            f"config.data.train has too few lines to hold {' and '.join(names)} out; give config.data.{names[0]}"
        )
    return {"train": kept} | {
        name: Split.of_pairs([pair for pair in different if chosen.get(pair) == name]) for name in names
    }


def _grammar(data: DataConfig, task: str) -> Corpus:
    if data.sentences < 1:
        raise InputError(f"config.data.sentences={data.sentences} must be at least 1")
    splits = grammar.splits(data.sentences, data.seed, held_out=min(1000, data.sentences))
    if task == "translation":
        return Corpus(grammar.DESCRIPTION, {name: Split.of_pairs(pairs) for name, pairs in splits.items()})
    english = {name: Split((), [english for english, _ in pairs]) for name, pairs in splits.items()}
    return Corpus(f"{grammar.DESCRIPTION}, English side", english)


def _pydoc(data: DataConfig, task: str) -> Corpus:
    """The language reference that every interpreter ships, a paragraph a line, split by a hash of the paragraph."""
    if task != "language":
        raise InputError("config.data.kind='pydoc' is one language only; use it with config.model.encoder_layers=0")
    from pydoc_data.topics import topics

    paragraphs = (" ".join(each.split()) for topic in sorted(topics) for each in topics[topic].split("\n\n"))
    splits: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    for line in dict.fromkeys(each for each in paragraphs if len(each) >= 20):
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
    "tfds": tfds.load,
}
