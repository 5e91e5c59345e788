"""Writes a comparison's report anew from its records: report.md, report.html and the plots. Runs nothing.

    python scripts/report.py --workdir=runs/compare
    python scripts/report.py --workdir=results/toy --variants=multi_query,multi_head

The first variant is the baseline.
"""

import pathlib

from absl import flags

from mqa_jax import command, records
from mqa_jax.errors import InputError
from mqa_jax.report import page, tables
from mqa_jax.report.selection import Selection

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the comparison.", required=True)
VARIANTS = flags.DEFINE_list("variants", [], "Order of the variants. Default: multi_head first.")


def main() -> None:
    folder = pathlib.Path(WORKDIR.value)
    found = records.read(folder)
    if not found:
        raise InputError(f"--workdir={folder} holds no records; run scripts/compare.py first")
    names = sorted({record["variant"] for record in found}, key=lambda name: (name != "multi_head", name))
    order = command.names(VARIANTS) or names
    for name in order:
        if name not in names:
            raise InputError(f"--variants: {folder} has no record of {name}; choose from: {', '.join(names)}")
    path = page.write(found, folder, f"{found[0]['name']}: attention types compared", order)
    print(command.lines(tables.summary(Selection(found, order)).to_markdown()))
    print(f"report: {path}")
