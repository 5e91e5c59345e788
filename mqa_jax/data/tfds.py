"""WMT and LM1B as TensorFlow Datasets prepared them. Reading them needs no TensorFlow."""

import contextlib
import functools
import importlib
import pathlib
import sys
import urllib.parse
from collections.abc import Sequence
from typing import Any, NamedTuple

from mqa_jax import progress
from mqa_jax.data.corpus import Corpus, Lines, Split
from mqa_jax.data.text import read_lines
from mqa_jax.errors import InputError
from mqa_jax.experiment import DataConfig


class _Dataset(NamedTuple):
    task: str
    fields: tuple[str, ...]
    module: str  # registers the dataset with TFDS, which does not find the WMT sets by itself
    note: str


_NEWSTEST = "dev is newstest2013, test newstest2014 in full (sacreBLEU's wmt14/full)"
DATASETS = {
    "wmt14_translate": _Dataset("translation", ("en", "de"), "tensorflow_datasets.translate.wmt14", _NEWSTEST),
    "wmt_t2t_translate": _Dataset("translation", ("en", "de"), "tensorflow_datasets.translate.wmt_t2t", _NEWSTEST),
    "lm1b": _Dataset("language", ("text",), "tensorflow_datasets.text.lm1b", "dev and test are halves of its test set"),
}
FILES = ("dev", "test")  # keys of config.data that may name held-out files of LM1B
ARCHIVE = "1-billion-word-language-modeling-benchmark-r13output.tar.gz"


def builder(data: DataConfig) -> Any:
    """TFDS's builder of config.data.dataset.

    Raises:
      InputError: an unknown dataset, or one of another language pair.
    """
    known = _known(data)
    import tensorflow_datasets

    importlib.import_module(known.module)
    try:
        source: Any = tensorflow_datasets.builder(data.dataset, data_dir=data.folder or None)
    except (AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"config.data.dataset={data.dataset!r} is not what TFDS has: {reason}") from error
    if not set(known.fields) <= set(source.info.features):
        raise InputError(
            f"config.data.dataset={data.dataset!r} is not English-German; name its config, as in NAME/de-en"
        )
    return source


def load(data: DataConfig, task: str) -> Corpus:
    """The corpus, whose lines are read as they are asked for.

    LM1B's test set is all of its held-out files, shuffled. So dev and test are the files that the config names, from
    the archive itself, or else the halves of that set: every other line is dev, beginning with the first.

    Raises:
      InputError: the dataset is unknown, of another task, or not prepared in a form that is read without TensorFlow; or
        a held-out file is not there.
    """
    known = _known(data)
    if known.task != task:
        raise InputError(f"config.data.dataset={data.dataset!r} is for a {known.task} model; this one's task is {task}")
    source = builder(data)
    if not source.is_prepared():
        raise InputError(
            f"config.data.dataset={data.dataset!r} is not prepared in {source.data_path}; "
            "run scripts/prepare_data.py with the same --config first"
        )
    if task == "translation":
        parts = {"train": ("train", 0, 1), "dev": ("validation", 0, 1), "test": ("test", 0, 1)}
    else:
        parts = {"train": ("train", 0, 1), "dev": ("test", 0, 2), "test": ("test", 1, 2)}
    splits = {name: _lines(source, known.fields, *part) for name, part in parts.items()}
    held_out = held_out_files(data)
    splits |= {name: Split((), [line.strip() for line in read_lines(path)]) for name, path in held_out.items()}
    sizes = ", ".join(f"{len(split)} {name}" for name, split in splits.items())
    note = ", ".join(f"{name} is {path.name}" for name, path in held_out.items()) or known.note
    return Corpus(f"{data.dataset} of TFDS: {sizes}; {note}", splits)


def held_out_files(data: DataConfig) -> dict[str, pathlib.Path]:
    """LM1B's files for dev and test: in config.data.folder, or where TFDS unpacked the archive. Empty for the halves.

    Raises:
      InputError: one is not there or of another dataset, or only one of the two splits has a file.
    """
    named = {name: getattr(data, name) for name in FILES}
    given = {name: f"config.data.{name}={','.join(files)}" for name, files in named.items()}
    if not any(named.values()):
        return {}
    if _known(data).task != "language":
        first = next(given[name] for name, files in named.items() if files)
        raise InputError(f"{first} is not read where config.data.dataset={data.dataset!r}; empty it")
    if any(len(files) != 1 for files in named.values()):
        both = " and ".join(given.values())
        raise InputError(f"{both} must name a held-out file each, or be empty both, for the halves of all of them")
    root, found = pathlib.Path(builder(data).data_dir_root), {}
    for split, (name,) in named.items():
        unpacked = sorted((root / "downloads" / "extracted").glob(f"*/*/heldout-*/{name}"))
        there = [path for path in (root / name, *unpacked) if path.is_file()]
        if not there:
            raise InputError(
                f"{given[split]} is neither in {root} nor unpacked below {root / 'downloads'}; put that "
                f"file of {ARCHIVE} into the first, or empty config.data.dev and config.data.test, for the halves of "
                "all files"
            )
        found[split] = there[0]
    return found


def prepare(data: DataConfig) -> None:
    """Downloads and prepares the dataset, or does nothing where that is done.

    Raises:
      InputError: TensorFlow is missing, or a download failed.
    """
    source = builder(data)
    if source.is_prepared():
        return
    progress.say(f"preparing {data.dataset} in {source.data_path}")
    try:
        importlib.import_module("tensorflow")
        importlib.import_module("importlib_resources")  # TFDS needs it and does not say so
    except ImportError as error:
        raise InputError("preparing TFDS data needs TensorFlow: pip install 'mqa_jax[prepare]'") from error
    from tensorflow_datasets.core.download import DownloadConfig, DownloadError, download_manager, extractor

    failures = DownloadError, download_manager.NonMatchingChecksumError, extractor.ExtractError, OSError
    downloads = source.data_dir_root / "downloads"
    downloads.joinpath("manual").mkdir(parents=True, exist_ok=True)
    # Google's copies are TFRecords, which only TensorFlow reads, so it is not asked for them.
    settings = DownloadConfig(try_download_gcs=False)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout is the command's own, for --json
            source.download_and_prepare(download_dir=downloads, download_config=settings, file_format="array_record")
    except failures as error:
        reason = " ".join(str(error).split())
        raise InputError(f"preparing {data.dataset} failed: {reason}; {_remedy(source, downloads, reason)}") from error


def _remedy(source: Any, downloads: pathlib.Path, reason: str) -> str:
    """What to fetch by hand and where to put it, for the archive that a failure is about."""
    for url, info in sorted((source.url_infos or {}).items()):
        place = downloads / "manual" / info.filename
        if url not in reason and urllib.parse.urlsplit(url).path not in reason:
            continue
        if place.exists():
            return f"{place} has {place.stat().length:,} bytes, not {info.size:,}: fetch {url} anew or delete it"
        return f"fetch {url} ({info.size:,} bytes) by hand, for instance with wget -c, put it at {place} and run again"
    return f"mend that and run again; archives fetched by hand go into {downloads / 'manual'}"


def _known(data: DataConfig) -> _Dataset:
    name = data.dataset.partition("/")[0].partition(":")[0]
    if name not in DATASETS:
        raise InputError(f"config.data.dataset={data.dataset!r} is unknown; choose from: {', '.join(DATASETS)}")
    return DATASETS[name]


def _lines(source: Any, fields: Sequence[str], split: str, start: int, step: int) -> Split:
    """Every `step`-th record of a split, from `start` on."""
    try:
        rows = source.as_data_source(split=split)
    except NotImplementedError as error:
        raise InputError(
            f"{source.data_path} is in the format {source.info.file_format.value}, which only TensorFlow reads; "
            "prepare it elsewhere: scripts/prepare_data.py --config.data.folder=FOLDER"
        ) from error
    indices = range(start, len(rows), step)
    # A record holds both sides of a pair. Whoever reads both reads the same lines of one, then of the other.
    read = functools.lru_cache(maxsize=1)(rows.__getitems__)

    def column(field: str) -> Lines:
        return Lines(len(indices), lambda some: [row[field].decode("utf-8") for row in read(indices[some])])

    *source_lines, target = map(column, fields)
    return Split(source_lines[0] if source_lines else (), target)
