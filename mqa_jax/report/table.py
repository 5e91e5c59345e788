"""Tables: columns that say which figures of a row's records they show, and their text in Markdown and on a terminal."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import rich.table
import rich.text

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
        named = [(column.header, column.cells(rows)) for column in columns]
        kept = [(name, found) for name, found in named[1:] if {*found} - {cells.MISSING}]
        equal = [f"{name} {found[0]}" for name, found in kept if len(found) > 1 and len({*found}) == 1]
        kept = [named[0], *((name, found) for name, found in kept if len(found) == 1 or len({*found}) > 1)]
        names, texts = zip(*kept, strict=True)
        note = " ".join(filter(None, [f"In all rows: {', '.join(equal)}." if equal else "", note.strip()]))
        return cls(title, names, tuple(zip(*texts, strict=True)), note)

    def to_markdown(self) -> str:
        """Figures end below each other; what is longer is text, and begins below each other."""
        long = (max(map(len, found)) > LONGEST_FIGURE for found in list(zip(*self.rows, strict=True))[1:])
        rule = ":--", *(":--" if text else "--:" for text in long)
        lines = [tuple(map(escape, self.columns)), rule, *(tuple(map(escape, row)) for row in self.rows)]
        body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join(filter(None, (f"### {escape(self.title)}", body, escape(self.note))))

    def to_rich(self) -> rich.table.Table:
        """For a terminal."""
        title, caption = rich.text.Text(self.title), rich.text.Text(self.note) if self.note else None
        table = rich.table.Table(title=title, caption=caption, title_justify="left", caption_justify="left")
        for number, column in enumerate(self.columns):
            table.add_column(rich.text.Text(column), justify="right" if number else "left", no_wrap=not number)
        for row in self.rows:
            table.add_row(*map(rich.text.Text, row))
        return table


def escape(text: str) -> str:
    """Text in which Markdown sees no markup, on one line."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))


def code(text: str) -> str:
    """Text as code in Markdown, on one line."""
    text = " ".join(text.split())
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}" if longest else f"{fence}{text}{fence}"
