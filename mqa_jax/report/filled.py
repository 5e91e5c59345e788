"""A page that people write and whose tables records fill in, as RESULTS.md.

Between two marks stands what the records in a folder beside the page say; all else is left alone:

    <!-- summary, over_seeds of results/multi30k -->
    <!-- end -->
"""

import pathlib
import re
from collections.abc import Callable

from mqa_jax import files, records
from mqa_jax.errors import InputError
from mqa_jax.report import heads, html, tables
from mqa_jax.report.selection import Record, Selection, baseline_first, measurements
from mqa_jax.report.table import Table

_FILLED = re.compile(r"<!-- ([\w, ]+?) of (\S+) -->\n.*?<!-- end -->\n", re.DOTALL)
_MARK = re.compile(r"^<!-- (?:end|[\w, ]+ of \S+) -->$", re.MULTILINE)
TABLES: dict[str, Callable[[Selection], Table | list[Table] | None]] = {
    "summary": tables.summary,
    "headline": tables.headline,
    "table_1": tables.table_1,
    "table_2": tables.table_2,
    "table_3": tables.table_3,
    "over_seeds": tables.over_seeds,
    "significance": tables.significance,
}
OF_ALL: dict[str, Callable[[list[Record]], Table]] = {  # also of records that a comparison leaves out
    "fewer_heads": lambda found: heads.table(found, baseline_first({record["variant"] for record in found})),
    "trainings": tables.trainings,
}


def write(path: pathlib.Path) -> pathlib.Path:
    """Fills the page, and writes it as an HTML file beside it that needs no other file. Returns the latter's path."""
    text = fill(path)
    title = re.search(r"^# (.*)$", text, re.MULTILINE)
    page = html.render(_MARK.sub("", text), title[1] if title else path.stem, path.parent)
    files.write(path, text)
    return files.write(path.with_suffix(".html"), page)


def fill(path: pathlib.Path) -> str:
    """The page's text with the tables that its records give now.

    Raises:
      InputError: a mark names an unknown table or a folder without records, or a mark has no end.
    """
    text = path.read_text(encoding="utf-8")
    opened = len(re.findall(r"^<!-- .* of .* -->$", text, re.MULTILINE))
    if not opened == text.count("<!-- end -->") == len(_FILLED.findall(text)):
        raise InputError(f"{path}: a mark is not closed; after <!-- TABLE of FOLDER --> comes <!-- end -->")
    return _FILLED.sub(lambda mark: _between(path, mark[1], mark[2]), text)


def _between(page: pathlib.Path, names: str, folder: str) -> str:
    found = measurements(records.read(page.parent / folder))
    if not found:
        raise InputError(f"{page}: {folder} holds no records; name a folder beside the page")
    made = []
    for name in names.split(", "):
        if name not in TABLES | OF_ALL:
            raise InputError(f"{page}: no table is called {name}; choose from: {', '.join(TABLES | OF_ALL)}")
        if name in OF_ALL:
            table = OF_ALL[name](found)
        else:
            table = TABLES[name](Selection(found, baseline_first({record["variant"] for record in found})))
        made += table if isinstance(table, list) else [table]
    text = "\n\n".join(table.to_markdown().replace("### ", "#### ", 1) for table in made if table)
    return f"<!-- {names} of {folder} -->\n{text}\n<!-- end -->\n"
