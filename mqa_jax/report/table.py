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


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
      fields: of the records, one or several for a cell; `a.0` is the first entry of field `a`.
      show: how a number is printed, a function of `cells`.
      where: which records of a row are meant, by their fields; without it all that have the field.
      template: how several fields share a cell: "{} + {}".
    """

    header: str
    fields: str | tuple[str, ...]
    show: cells.Show = cells.count
    where: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    template: str = "{}"

    def cell(self, row: Iterable[Record]) -> str:
        """The column's text for the records of a row."""
        fields, found = (self.fields,) if isinstance(self.fields, str) else self.fields, matching(row, self.where)
        texts = [cells.text(over_seeds(found, field), self.show) for field in fields]
        return cells.MISSING if set(texts) == {cells.MISSING} else self.template.format(*texts)

    def has_any(self, rows: Iterable[Iterable[Record]]) -> bool:
        """Whether any row has its figure."""
        return any(self.cell(row) != cells.MISSING for row in rows)


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells as they are printed; the first column names the row. `note` stands below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    @classmethod
    def of(cls, title: str, columns: Sequence[Column], rows: Iterable[Sequence[Record]], note: str = "") -> "Table":
        """A table of records: those of each row are given together."""
        found = tuple(tuple(column.cell(row) for column in columns) for row in rows)
        return cls(title, tuple(column.header for column in columns), found, note)

    def to_markdown(self) -> str:
        rule = ":--", *["--:"] * (len(self.columns) - 1)
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
