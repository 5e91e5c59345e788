"""The report of a comparison, from records alone: report.md, report.html in one file, and the plots as SVG."""

import pathlib
from collections.abc import Iterable, Mapping, Sequence

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
    """First the result, in a sentence, a picture and a table; last what is needed to do it again."""
    pictures = _pictures(runs, folder)
    signatures = [f"{name}: {code(text)}" for name, text in context.signatures(runs).items()]
    sections = {
        "Result": _tables(tables.summary(runs)),
        "Examples": _tables(tables.examples(runs)),
        "Plots": "\n".join(pictures[1:]),
        "Significance": _tables(*tables.over_seeds(runs), *tables.significance(runs)),
        "In the paper's shape": _tables(tables.table_1(runs), tables.table_2(runs), tables.table_3(runs)),
        "What was compared": _facts(context.setting(runs)),
        "Limits": _items(map(escape, context.limits(runs))),
        "How to read it": _items(map(escape, context.reading(runs))),
        "sacreBLEU signatures": _items(signatures),
        "In full": _tables(*tables.in_full(runs).values()),
        "Provenance": _facts(context.provenance(runs)),
    }
    sections = {name: text for name, text in sections.items() if text}
    sentences, notices = (list(map(escape, of(runs))) for of in (context.result, context.warnings))
    opening = _items(sentences) if len(sentences) > 1 else "".join(sentences)
    contents = " · ".join(f"[{name}](#{html.anchor(name)})" for name in sections)
    first, *rest = (f"## {name}\n\n{text}" for name, text in sections.items())
    parts = opening, *(f"> {text}" for text in notices), *pictures[:1], first, f"Contents: {contents}", *rest
    return "\n\n".join(filter(None, parts))


def _facts(found: Mapping[str, str]) -> str:
    shown = {name: (code if name in ("Commit", "Command") else escape)(text) for name, text in found.items()}
    return _items(f"**{name}**: {text}" for name, text in shown.items())


def _tables(*found: Table | None) -> str:
    return "\n\n".join(table.to_markdown() for table in found if table)


def _items(texts: Iterable[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


def _pictures(runs: Selection, folder: pathlib.Path) -> list[str]:
    pictures = []
    for name, (draw, alt) in plots.PLOTS.items():
        if figure := draw(runs):
            files.write(folder / f"{name}.svg", plots.svg(figure))
            pictures.append(f"![{alt}]({name}.svg)")
        else:
            (folder / f"{name}.svg").unlink(missing_ok=True)  # of an earlier report
    return pictures
