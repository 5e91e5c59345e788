"""Where text comes from: the generated language pair, Python's documentation, text files, or TFDS."""

import dataclasses
import hashlib
import heapq
import itertools
import os
import pathlib
import platform
from collections.abc import Callable, Collection, Iterable, Sequence

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
    """Files of the user's. Train loses what `Filter` drops, counted; dev and test keep every line.

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
    """What of train may train, corpus by corpus, and a note of what was dropped, which is said."""
    if data.weights and len(data.weights) != len(train.sizes):
        raise InputError(
            f"config.data.weights={','.join(map(str, data.weights))} are {len(data.weights)} for the "
            f"{len(train.sizes)} corpora of config.data.train; give one for each"
        )
    keep, pairs = Filter(data, held_out), iter(train.pairs())
    parts = [keep.of(itertools.islice(pairs, size)) for size in train.sizes]
    sizes = tuple(map(len, parts))
    if not all(sizes):
        which = f"corpus {sizes.index(0) + 1} of " if len(sizes) > 1 else ""
        raise InputError(f"{which}config.data.train={','.join(data.train)} has nothing left to train on: {keep.note}")
    if keep.note:
        progress.say(f"train: {keep.note}")
    split = Split.of_pairs(list(itertools.chain(*parts)))
    return dataclasses.replace(split, sizes=sizes, weights=data.weights), keep.note


def _held_out(train: Split, names: Sequence[str]) -> dict[str, Split]:
    """A split for each name, of the different pairs of train with the lowest hashes, and train without them.

    So the same text is always split alike, whatever its order. Each name gets one in a hundred, but one at least and
    `MOST_HELD_OUT` at most.
    """
    pairs = train.pairs()
    different = dict.fromkeys(pairs)
    size = min(max(1, len(different) // 100), MOST_HELD_OUT)
    digest = lambda pair: hashlib.sha256("\n".join(pair).encode()).digest()  # noqa: E731
    lowest = heapq.nsmallest(size * len(names), different, key=digest)
    chosen = {pair: names[number // size] for number, pair in enumerate(lowest)}
    left, sizes = iter(pairs), train.sizes or (len(pairs),)
    parts = [[pair for pair in itertools.islice(left, size) if pair not in chosen] for size in sizes]
    if not all(parts):
        raise InputError(
            f"config.data.train has too few lines to hold {' and '.join(names)} out; give config.data.{names[0]}"
        )
    kept = Split.of_pairs(list(itertools.chain(*parts)))
    kept = dataclasses.replace(kept, sizes=tuple(map(len, parts)), weights=train.weights)
    return {"train": kept} | {
        name: Split.of_pairs([pair for pair in different if chosen.get(pair) == name]) for name in names
    }


class Filter:
    """What a training corpus loses before it is learnt from. The first rule that a pair breaks counts it."""

    def __init__(self, data: DataConfig, held_out: Collection[tuple[str, ...]]):
        """
        Args:
          held_out: the pairs (or lines alone) of dev and test.
        """
        self._data, self._held_out, self._seen = data, held_out, set()
        rules = "with an empty side", "with sides of too unlike lengths", "that are in dev or test"
        self._dropped = dict.fromkeys((*rules, "that are there before"), 0)
        self._overlap_kept = 0

    def of(self, pairs: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """The pairs that may train."""
        return [pair for pair in pairs if not self._drops(pair)]

    @property
    def note(self) -> str:
        """`dropped 1 with an empty side, ...`, the rules that dropped nothing left out."""
        dropped = ", ".join(f"{count} {rule}" for rule, count in self._dropped.items() if count)
        kept = f"kept {self._overlap_kept} that are in dev or test" if self._overlap_kept else ""
        return "; ".join(filter(None, (dropped and f"dropped {dropped}", kept)))

    def _drops(self, pair: tuple[str, ...]) -> bool:
        sizes = [len(side.strip()) for side in pair]
        overlaps = pair in self._held_out
        key = hash(pair)  # 64 bits: among a billion pairs one in forty is dropped for nothing, once
        rules = (
            not min(sizes),
            self._data.length_ratio and max(sizes) > self._data.length_ratio * min(sizes),
            overlaps and self._data.drop_overlap,
            self._data.deduplicate and key in self._seen,
        )
        for name, broken in zip(self._dropped, rules, strict=True):
            if broken:
                self._dropped[name] += 1
                return True
        if self._data.deduplicate:
            self._seen.add(key)
        self._overlap_kept += overlaps
        return False


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
