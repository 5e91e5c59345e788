"""The blocks a report is made of. Each has two renderings, Markdown and HTML, in which all text is escaped."""

import base64
import dataclasses
import html
import pathlib
import re
import string
from collections.abc import Collection, Sequence
from typing import Protocol

import rich.table
import rich.text

# Where GitHub's Markdown gives a character a meaning. An underscore inside a word has none.
_SPECIAL = re.compile(r"[\\`*{}\[\]<>|$~&#!]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")


class Block(Protocol):
    """A piece of a document."""

    def to_markdown(self) -> str: ...

    def to_html(self) -> str: ...


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells as they are printed; the first column names the row. `note` stands below."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def to_markdown(self) -> str:
        lines = [self.columns, (":--", *["--:"] * (len(self.columns) - 1)), *self.rows]
        cells = [[cell if number == 1 else markdown(cell) for cell in line] for number, line in enumerate(lines)]
        body = "\n".join(f"| {' | '.join(line)} |" for line in cells)
        return "\n\n".join(filter(None, (f"### {markdown(self.title)}", body, markdown(self.note))))

    def to_html(self) -> str:
        head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in self.columns)
        body = "".join(
            f'<tr><th scope="row">{html.escape(name)}</th>'
            + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
            + "</tr>\n"
            for name, *cells in self.rows
        )
        table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>"
        note = f'<p class="note">{html.escape(self.note)}</p>' if self.note else ""
        # The region can be scrolled sideways, so it must be reachable by keyboard and have a name.
        name = html.escape(self.title)
        region = f'<div class="wide" role="region" aria-label="{name}" tabindex="0">\n{table}\n</div>'
        return f"<h3>{name}</h3>\n{region}\n{note}"

    def to_rich(self) -> rich.table.Table:
        """For a terminal."""
        table = rich.table.Table(
            title=rich.text.Text(self.title),
            caption=rich.text.Text(self.note) if self.note else None,
            title_justify="left",
            caption_justify="left",
        )
        for number, column in enumerate(self.columns):
            table.add_column(rich.text.Text(column), justify="right" if number else "left", no_wrap=not number)
        for row in self.rows:
            table.add_row(*map(rich.text.Text, row))
        return table


@dataclasses.dataclass(frozen=True)
class Heading:
    """Opens a section."""

    text: str

    def to_markdown(self) -> str:
        return f"## {markdown(self.text)}"

    def to_html(self) -> str:
        return f"<h2>{html.escape(self.text)}</h2>"


@dataclasses.dataclass(frozen=True)
class Notice:
    """What must not be overlooked."""

    text: str

    def to_markdown(self) -> str:
        return f"> {markdown(self.text)}"

    def to_html(self) -> str:
        return f'<p class="notice">{html.escape(self.text)}</p>'


@dataclasses.dataclass(frozen=True)
class Items:
    """A list of sentences."""

    items: Sequence[str]

    def to_markdown(self) -> str:
        return "\n".join(f"- {markdown(item)}" for item in self.items)

    def to_html(self) -> str:
        return "<ul>\n" + "".join(f"<li>{html.escape(item)}</li>\n" for item in self.items) + "</ul>"


@dataclasses.dataclass(frozen=True)
class Facts:
    """Names and what they stand for; the values of those in `literal` are set as code."""

    facts: Sequence[tuple[str, str]]
    literal: Collection[str] = ()

    def to_markdown(self) -> str:
        lines = [
            (name, _markdown_code(value) if name in self.literal else markdown(value)) for name, value in self.facts
        ]
        return "\n".join(f"- {markdown(name)}: {value}" for name, value in lines)

    def to_html(self) -> str:
        lines = [(name, html.escape(value)) for name, value in self.facts]
        lines = [(name, f"<code>{value}</code>" if name in self.literal else value) for name, value in lines]
        return "<dl>\n" + "".join(f"<dt>{html.escape(name)}</dt><dd>{value}</dd>\n" for name, value in lines) + "</dl>"


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG file beside the report. The HTML holds its bytes, so that it can be sent as one file."""

    path: pathlib.Path
    alt: str

    def to_markdown(self) -> str:
        return f"![{markdown(self.alt)}]({self.path.name})"

    def to_html(self) -> str:
        data = base64.b64encode(self.path.read_bytes()).decode("ascii")
        return f'<figure><img src="data:image/png;base64,{data}" alt="{html.escape(self.alt)}"></figure>'


def markdown(text: str) -> str:
    """Text in which Markdown sees no markup, on one line."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))


def _markdown_code(text: str) -> str:
    text = " ".join(text.split())
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {text} {fence}" if longest else f"{fence}{text}{fence}"


def to_markdown(title: str, blocks: Sequence[Block]) -> str:
    """A whole Markdown file."""
    return "\n\n".join([f"# {markdown(title)}", *(block.to_markdown() for block in blocks)]) + "\n"


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """A whole HTML file that fetches nothing."""
    body = "\n".join(block.to_html() for block in blocks)
    return _PAGE.substitute(title=html.escape(title), body=body)


_PAGE = string.Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { color-scheme: light dark;
  --text: #1b1f24; --soft: #57606a; --line: #d6dae0; --back: #fff; --shade: #f5f6f8; --mark: #b35900 }
@media (prefers-color-scheme: dark) {
  :root { --text: #e3e6ea; --soft: #9aa4b0; --line: #353b43; --back: #14171b; --shade: #1d2126; --mark: #f0a04b }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 70rem; color: var(--text); background: var(--back);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word }
p, ul, dl { max-width: 52rem }
h1 { font-size: 1.6rem; line-height: 1.25 }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line) }
h3 { font-size: 1rem; margin: 1.75rem 0 .5rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums }
tbody th, thead th:first-child { position: sticky; left: 0; background: var(--back) }
th, td { padding: .35rem .65rem; text-align: right; white-space: nowrap }
thead th { vertical-align: bottom; white-space: normal; text-wrap: balance; font-weight: 600; color: var(--soft);
  border-bottom: 1px solid var(--soft) }
tbody th { font-weight: 500; text-align: left }
thead th:first-child { text-align: left }
tbody tr + tr > * { border-top: 1px solid var(--line) }
.note { margin: .5rem 0 0; font-size: .875rem; color: var(--soft) }
.notice { padding: .6rem .9rem; border-left: .25rem solid var(--mark); background: var(--shade) }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .25rem 1.25rem; margin: 0 }
dt { color: var(--soft) }
dd { margin: 0 }
li + li { margin-top: .4rem }
code { font-size: .85em; overflow-wrap: anywhere }
figure { margin: 1.5rem 0; overflow-x: auto }
img { display: block; width: 100%; min-width: 32rem; max-width: 50rem; height: auto;
  background: #fff; border-radius: .4rem }
@media (max-width: 40rem) { dl { display: block } dd { margin: 0 0 .6rem } }
</style>
</head>
<body>
<h1>$title</h1>
$body
</body>
</html>
""")
