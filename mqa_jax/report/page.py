"""The report of a comparison, from records alone: report.md, report.html in one file, and the plots as PNG."""

import pathlib
from collections.abc import Iterable, Sequence

from mqa_jax import files
from mqa_jax.report import context, html, plots, tables
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
    text = f"# {escape(title)}\n\n{_body(runs, folder) if runs else '> There are no records yet.'}\n"
    files.write(folder / "report.md", text)
    return files.write(folder / "report.html", html.render(text, title, folder))


def _body(runs: Selection, folder: pathlib.Path) -> str:
    signatures = [f"{name}: {code(text)}" for name, text in context.signatures(runs).items()]
    sections = {
        "Result": _tables(tables.summary(runs)),
        "In the paper's shape": _tables(tables.table_1(runs), tables.table_2(runs), tables.table_3(runs)),
        "Significance": _tables(*tables.significance(runs)),
        "Plots": _pictures(runs, folder),
        "Limits": _items(map(escape, context.limits(runs))),
        "How to read it": _items(map(escape, context.reading(runs))),
        "sacreBLEU signatures": _items(signatures),
        "In full": _tables(*tables.in_full(runs).values()),
    }
    facts = (
        f"**{name}**: {(code if name in ('Commit', 'Command') else escape)(text)}"
        for name, text in context.head(runs).items()
    )
    notices = [f"> {escape(warning)}" for warning in context.warnings(runs)]
    return "\n\n".join([_items(facts), *notices, *(f"## {name}\n\n{text}" for name, text in sections.items() if text)])


def _tables(*found: Table | None) -> str:
    return "\n\n".join(table.to_markdown() for table in found if table)


def _items(texts: Iterable[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


def _pictures(runs: Selection, folder: pathlib.Path) -> str:
    pictures = []
    for name, (draw, alt) in plots.PLOTS.items():
        if figure := draw(runs):
            files.write(folder / f"{name}.png", plots.png(figure))
            pictures.append(f"![{alt}]({name}.png)")
        else:
            (folder / f"{name}.png").unlink(missing_ok=True)  # of an earlier report
    return "\n\n".join(pictures)
