"""Tables: columns that say which figures of a row's records they show, and their text in Markdown."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mqa_jax.report import cells
from mqa_jax.report.selection import Record, matching, over_seeds

# Where GitHub's Markdown gives a character a meaning. An underscore inside a word has none.
_SPECIAL = re.compile(r"[\\`*{}\[\]<>|$~&#!]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")
LONGEST_FIGURE = 24  # characters


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
      field: of the records; `a.0` is the first entry of field `a`.
      show: how a number is printed, a function of `cells`.
      where: which records of a row are meant, by their fields; without it all that have the field.
    """

    header: str
    field: str
    show: cells.Show = cells.count
    where: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def cells(self, rows: Iterable[Iterable[Record]]) -> tuple[str, ...]:
        """The column's text for the records of each row."""
        found = [over_seeds(matching(row, self.where), self.field) for row in rows]
        return tuple(cells.column(found, self.show))

    def has_any(self, rows: Iterable[Iterable[Record]]) -> bool:
        """Whether any row has its figure."""
        return {*self.cells(rows)} - {cells.MISSING} != set()


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells as they are printed; the first column names the row. `note` stands below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    @classmethod
    def of(cls, title: str, columns: Sequence[Column], rows: Sequence[Sequence[Record]], note: str = "") -> "Table":
        """A table of records: those of each row are given together.

        A column without a figure is left out, and one that has the same text in all of several rows is said in the
        note instead.
        """
        first, *others = columns
        names, texts, equal = [first.header], [first.cells(rows)], []
        for column in others:
            found = column.cells(rows)
            if len(rows) > 1 and len({*found}) == 1:
                equal += [f"{column.header} {found[0]}"] if found[0] != cells.MISSING else []
            elif {*found} != {cells.MISSING}:
                names.append(column.header)
                texts.append(found)
        note = f"In all rows: {', '.join(equal)}. {note}".strip() if equal else note.strip()
        return cls(title, tuple(names), tuple(zip(*texts, strict=True)), note)

    def to_markdown(self) -> str:
        """Figures end below each other; what is longer is text, and begins below each other."""
        long = (max(map(len, found)) > LONGEST_FIGURE for found in list(zip(*self.rows, strict=True))[1:])
        rule = ":--", *(":--" if text else "--:" for text in long)
        lines = [tuple(map(escape, self.columns)), rule, *(tuple(map(escape, row)) for row in self.rows)]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join(filter(None, (f"### {escape(self.title)}", body, escape(self.note))))


def escape(text: str) -> str:
    """Text in which Markdown sees no markup, on one line."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))


def code(text: str) -> str:
    """Text as code in Markdown, on one line."""
    text = " ".join(text.split())
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}" if longest else f"{fence}{text}{fence}"
