"""Files to columns of lines: source and target side by side in two files or in one TSV, or lines alone."""

import pathlib
from collections.abc import Iterator, Sequence

from mqa_jax.data.split import Split
from mqa_jax.data.text import read_lines
from mqa_jax.errors import InputError

TSV = (".tsv", ".tsv.gz")


def read_split(
    paths: Sequence[str | pathlib.Path], task: str, label: str = "the input", columns: Sequence[int] = (1, 2)
) -> Split:
    """The lines of some files, one corpus after another; every line is kept.

    A corpus of a translation is a source and a target file, or one .tsv; of a language model one file.

    Args:
      label: what names the files, for messages.
      columns: of a .tsv, counted from 1: source, target.
    Raises:
      InputError: the wrong number of files, unequal line counts, a line without a column, or an empty file.
    """
    corpora = [_read(corpus, columns) for corpus in grouped(paths, task, label)]
    if len(corpora) == 1:
        source, target = corpora[0]
    else:
        source, target = ([line for corpus in corpora for line in corpus[side]] for side in (0, 1))
    return Split(source, target, tuple(len(corpus[1]) for corpus in corpora))


def grouped(paths: Sequence[str | pathlib.Path], task: str, label: str) -> list[list[pathlib.Path]]:
    """The files of each corpus: one (lines alone, or a .tsv) or two."""
    if not paths:
        wanted = "a source and a target file, or a .tsv" if task == "translation" else "a file"
        raise InputError(f"{label} is empty; {task} takes {wanted}")
    corpora, left = [], [pathlib.Path(path) for path in paths]
    if task == "language" and (tables := [path for path in left if path.name.endswith(TSV)]):
        raise InputError(f"{label} names {tables[0]}; a language model takes text, give it one column (cut -f2)")
    while left:
        size = 1 if task == "language" or left[0].name.endswith(TSV) else 2
        corpora.append(left[:size])
        if len(corpora[-1]) < size or any(path.name.endswith(TSV) for path in left[1:size]):
            names = ", ".join(map(str, paths))
            raise InputError(f"{label} names {names}; translation takes a source and a target file, or a .tsv")
        left = left[size:]
    return corpora


def _read(files: Sequence[pathlib.Path], columns: Sequence[int]) -> tuple[Sequence[str], Sequence[str]]:
    if len(files) == 1 and files[0].name.endswith(TSV):
        pairs = list(_cells(files[0], columns))
        return [source for source, _ in pairs], [target for _, target in pairs]
    sides = [_lines(path) for path in files]
    if len(sides[0]) != len(sides[-1]):
        raise InputError(
            f"{files[0]} has {len(sides[0])} lines and {files[-1]} has {len(sides[-1])}; "
            "line i of one must translate line i of the other"
        )
    return (sides[0], sides[1]) if len(sides) == 2 else ((), sides[0])


def _lines(path: pathlib.Path) -> list[str]:
    lines = read_lines(path)
    if not lines:
        raise InputError(f"{path} is empty; give it at least one line")
    return lines


def _cells(path: pathlib.Path, columns: Sequence[int]) -> Iterator[tuple[str, str]]:
    source, target = columns
    for number, line in enumerate(_lines(path), 1):
        cells = line.split("\t")
        if len(cells) < max(columns):
            raise InputError(
                f"{path}, line {number} has {len(cells)} columns; config.data.columns={source},{target} needs "
                f"{max(columns)}, with a tab between"
            )
        yield cells[source - 1], cells[target - 1]
