"""Writes a comparison's report anew from its records: report.md, report.html and the plots. Runs nothing.

    python scripts/report.py --workdir=runs/compare
    python scripts/report.py --workdir=runs/sitting --sitting --peers=peers.jsonl

--sitting prints the timings in a folder, of any configs, as tables in Markdown, beside those of other libraries.
"""

import pathlib

from absl import flags
from rich.console import Console

from mqa_jax import command, records
from mqa_jax.errors import InputError
from mqa_jax.report import page, sitting, tables

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the comparison.", required=True)
VARIANTS = flags.DEFINE_list("variants", [], "Order of the variants, the baseline first. Default: multi_head first.")
SITTING = flags.DEFINE_bool("sitting", False, "Only the tables of all timings, of any configs.")
PEERS = flags.DEFINE_string("peers", None, "--sitting: JSON lines of other libraries' times, see report/sitting.py.")


def main() -> None:
    folder = pathlib.Path(WORKDIR.value)
    found = records.read(folder)
    if not found:
        raise InputError(f"--workdir={folder} holds no records; run scripts/compare.py first")
    if SITTING.value:
        peers = sitting.read_peers(PEERS.value) if PEERS.value else []
        full = [table for table in (sitting.table(found, peers), sitting.training(found, peers)) if table.rows]
        print("\n".join(table.to_markdown() for table in full))
        return
    names = sorted({record["variant"] for record in found}, key=lambda name: (name != "multi_head", name))
    order = VARIANTS.value or names
    for name in order:
        if name not in names:
            raise InputError(f"--variants: {folder} has no record of {name}; choose from: {', '.join(names)}")
    path = page.write(found, folder, f"{found[0]['name']}: attention types compared", order)
    Console(width=160).print(tables.summary(found, order).to_rich())
    print(f"report: {path}")


if __name__ == "__main__":
    command.run(main)
