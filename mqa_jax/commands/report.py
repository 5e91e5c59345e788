"""Writes a comparison's report anew from its records: report.md, report.html and the plots. Runs nothing.

Of a comparison of fewer heads (scripts/compare_heads.py) it writes heads.md and heads.html too; of what heads look at
(scripts/inspect_attention.py) attention.md and attention.html; of drift (scripts/drift.py) drift.md and drift.html.

    python scripts/report.py --workdir=runs/compare
    python scripts/report.py --workdir=results/toy --variants=multi_query,multi_head
    python scripts/report.py --fill=RESULTS.md

The first variant is the baseline. --fill writes the tables of a page anew, each from the records that its mark names
(mqa_jax/report/filled.py), and the whole page as RESULTS.html, in one file.
"""

import pathlib

from absl import flags

from mqa_jax import command, records
from mqa_jax.errors import InputError
from mqa_jax.report import attention, drift, filled, heads, page, tables
from mqa_jax.report.selection import Selection, measurements

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the comparison.")
VARIANTS = flags.DEFINE_list("variants", [], "Order of the variants. Default: multi_head, or the original, first.")
FILL = flags.DEFINE_string("fill", None, "A Markdown page with marks; alone.")
PAGES = {"attention": attention.write, "drift": drift.write}


def main() -> None:
    if FILL.value:
        command.refuse_given([WORKDIR, VARIANTS], "is of one comparison, --fill of a page; give one of the two")
        print(f"filled: {FILL.value}\npage: {filled.write(pathlib.Path(FILL.value))}")
        return
    if not WORKDIR.value:
        raise InputError("--workdir is missing; name the folder of a comparison, or a page with --fill")
    folder = pathlib.Path(WORKDIR.value)
    every = records.read(folder)
    of_runs, found = {kind: [each for each in every if each["kind"] == kind] for kind in PAGES}, measurements(every)
    if not found and not any(of_runs.values()):
        raise InputError(f"--workdir={folder} holds no records; run scripts/compare.py first")
    there = sorted({record["variant"] for record in sum(of_runs.values(), found)})
    order = command.variants(VARIANTS, there)
    for name in order:
        if name not in there:
            raise InputError(f"--variants: {folder} has no record of {name}; choose from: {', '.join(there)}")
    for kind, its in of_runs.items():
        if its:
            print(f"page: {PAGES[kind](its, folder, order)}")
    if not found:
        return
    order = [name for name in order if name in {record["variant"] for record in found}]
    path = page.write(found, folder, f"{found[0]['name']}: attention types compared", order)
    if any(record.get("split") == heads.BEFORE for record in found):
        path = heads.write(found, folder, f"{found[0]['name']}: fewer key/value heads", order)
    print(command.lines(tables.summary(Selection(found, order)).to_markdown()))
    print(f"report: {path}")
