"""WMT and LM1B as TensorFlow Datasets prepared them. Reading them needs no TensorFlow."""

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mqa_jax.data.split import Split
from mqa_jax.errors import InputError
from mqa_jax.experiment import DataConfig

# dataset -> the module that registers it; the registry does not find the WMT sets by themselves
MODULES = {
    "wmt14_translate": "tensorflow_datasets.translate.wmt14",
    "wmt_t2t_translate": "tensorflow_datasets.translate.wmt_t2t",
    "lm1b": "tensorflow_datasets.text.lm1b",
}


def builder(data: DataConfig) -> Any:
    """TFDS's builder of config.data.dataset, with files in a format that is read without TensorFlow."""
    name = data.dataset.partition("/")[0]
    if name not in MODULES:
        raise InputError(f"config.data.dataset={data.dataset!r} is unknown; choose from: {', '.join(MODULES)}")
    import tensorflow_datasets

    importlib.import_module(MODULES[name])
    return tensorflow_datasets.builder(data.dataset, data_dir=data.folder or None, file_format="array_record")


def load(data: DataConfig, task: str) -> tuple[str, dict[str, Split]]:
    """A description and the splits.

    WMT's validation set is newstest2013, its test set newstest2014 in full (3,003 lines, what sacreBLEU calls
    wmt14/full). LM1B has no dev set: even lines of its test set are dev, odd ones test.

    Raises:
      InputError: the dataset is unknown or has not been prepared.
    """
    source = builder(data)
    if not source.is_prepared():
        raise InputError(
            f"config.data.dataset={data.dataset!r} is not prepared in {source.data_path}; "
            "run scripts/prepare_data.py with the same --config first"
        )
    splits = {name: source.as_data_source(split=name) for name in source.info.splits}
    if task == "language":
        lines = {name: _Lines(rows, "text") for name, rows in splits.items()}
        halves = {"dev": _Lines(splits["test"], "text", 0, 2), "test": _Lines(splits["test"], "text", 1, 2)}
        return f"{data.dataset} (TFDS)", {name: Split((), each) for name, each in (lines | halves).items()}
    names = {"train": "train", "dev": "validation", "test": "test"}
    return f"{data.dataset} (TFDS); test is newstest2014 in full", {
        name: Split(_Lines(splits[theirs], "en"), _Lines(splits[theirs], "de")) for name, theirs in names.items()
    }


def prepare(data: DataConfig, on_start: Callable[[str], None]) -> None:
    """Downloads and prepares the dataset, or does nothing where that is done.

    Raises:
      InputError: TensorFlow is missing, or a download failed.
    """
    source = builder(data)
    if source.is_prepared():
        return
    on_start(f"preparing {data.dataset} in {source.data_path}")
    try:
        importlib.import_module("tensorflow")
    except ImportError as error:
        raise InputError("preparing TFDS data needs TensorFlow: pip install 'mqa_jax[prepare]'") from error
    from tensorflow_datasets.core.download import DownloadError

    try:
        source.download_and_prepare()
    except (DownloadError, OSError) as error:
        raise InputError(
            f"preparing {data.dataset} failed: {' '.join(str(error).split())}; fetch that file by hand into "
            f"{source.data_path.parent}/downloads/manual and run again"
        ) from error


class _Lines(Sequence[str]):
    """One text field of a data source, decoded as it is read."""

    def __init__(self, rows: Any, field: str, start: int = 0, stride: int = 1):
        self._rows, self._field, self._start, self._stride = rows, field, start, stride

    def __len__(self) -> int:
        return len(range(self._start, len(self._rows), self._stride))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        value = self._rows[self._start + index * self._stride][self._field]
        return value.decode("utf-8") if isinstance(value, bytes) else str(value)

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))
