"""Writes a comparison's report anew from its records: report.md, report.html and the plots. Runs nothing.

python scripts/report.py --workdir=runs/compare
"""

import pathlib

from absl import flags
from rich.console import Console

from mqa_jax import command, records
from mqa_jax.errors import InputError
from mqa_jax.report import page, tables

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the comparison.", required=True)
VARIANTS = flags.DEFINE_list("variants", [], "Order of the variants, the baseline first. Default: multi_head first.")


def main() -> None:
    folder = pathlib.Path(WORKDIR.value)
    found = records.read(folder)
    if not found:
        raise InputError(f"--workdir={folder} holds no records; run scripts/compare.py first")
    names = sorted({record["variant"] for record in found}, key=lambda name: (name != "multi_head", name))
    order = VARIANTS.value or names
    path = page.write(found, folder, f"{found[0]['name']}: attention types compared", order)
    Console(width=160).print(tables.summary(found, order).to_rich())
    print(f"report: {path}")


if __name__ == "__main__":
    command.run(main)
