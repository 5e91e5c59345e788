"""The report of a comparison, from records alone: report.md, report.html in one file, and the plots as SVG and PNG."""

import pathlib
from collections.abc import Iterable, Sequence

from mqa_jax.report import context, html, plots, tables
from mqa_jax.report.html import facts, items
from mqa_jax.report.selection import Record, Selection
from mqa_jax.report.table import Table, code, escape


def write(records: Sequence[Record], folder: str | pathlib.Path, title: str, order: Sequence[str] = ()) -> pathlib.Path:
    """Writes the report into `folder`. Variants appear in `order`, the baseline first; by default as records come.

    Returns:
      The path of report.html, which needs no other file.
    Raises:
      InputError: the records are of more than one config.
    """
    folder, runs = pathlib.Path(folder), Selection(records, order)
    return html.write(folder, "report", title, _parts(runs, folder) if runs else ["> There are no records yet."])


def _parts(runs: Selection, folder: pathlib.Path) -> Iterable[str]:
    """First the result, in a sentence, a picture and a table; last what is needed to do it again."""
    drawn = [plots.draw(folder, name, draw(runs), shows) for name, (draw, shows) in plots.PLOTS.items()]
    pictures = [picture for picture in drawn if picture]
    signatures = [f"{name}: {code(text)}" for name, text in context.signatures(runs).items()]
    sections = {
        "Result": _tables(tables.summary(runs)),
        "Examples": _tables(tables.examples(runs)),
        "Plots": "\n".join(pictures[1:]),
        "Significance": _tables(*tables.over_seeds(runs), *tables.significance(runs)),
        "In the paper's shape": _tables(tables.table_1(runs), tables.table_2(runs), tables.table_3(runs)),
        "What was compared": facts(context.setting(runs)),
        "Limits": items(map(escape, context.limits(runs))),
        "How to read it": items(map(escape, context.reading(runs))),
        "sacreBLEU signatures": items(signatures),
        "In full": _tables(*tables.in_full(runs).values()),
        "Provenance": facts(context.provenance(runs)),
    }
    sections = {name: text for name, text in sections.items() if text}
    sentences, notices = (list(map(escape, of(runs))) for of in (context.result, context.warnings))
    opening = items(sentences) if len(sentences) > 1 else "".join(sentences)
    contents = " · ".join(f"[{name}](#{html.anchor(name)})" for name in sections)
    first, *rest = (f"## {name}\n\n{text}" for name, text in sections.items())
    return opening, *(f"> {text}" for text in notices), *pictures[:1], first, f"Contents: {contents}", *rest


def _tables(*found: Table | None) -> str:
    return "\n\n".join(table.to_markdown() for table in found if table)
