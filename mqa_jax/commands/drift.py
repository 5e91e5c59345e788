"""Counts how often decoding in bfloat16 or int8, over a cache, takes another token than float32 without one.

    python scripts/drift.py --workdirs=runs/multi_head-s0,runs/multi_query-s0 --to=runs/drift
    python scripts/drift.py --workdirs=runs/mh,runs/mq --split=test --sentences=1000 --to=runs/drift

The runs are of one task and have one vocabulary; all read the same sentences. TO/drift.html is the page, and
TO/RUN/records hold the counts at each place. docs/inspection.md says how to read it.
"""

import pathlib

from absl import flags

from mqa_jax import command, records
from mqa_jax.evaluate import drift as drifts
from mqa_jax.report import drift as pages
from mqa_jax.train import trained

WORKDIRS = flags.DEFINE_list("workdirs", None, "Folders of the trained runs.", required=True)
SPLIT = flags.DEFINE_string("split", "dev", "Which split of the runs' corpus: dev, test or train.")
SENTENCES = flags.DEFINE_integer("sentences", 200, "How many of its lines, from the first.", lower_bound=1)
TO = flags.DEFINE_string("to", None, "Folder for the page and the records.", required=True)
JSON = command.json_flag()


def main() -> None:
    command.check_folder(TO)
    folders, to = [pathlib.Path(name) for name in command.names(WORKDIRS)], pathlib.Path(TO.value)
    split, found = trained.lines_of_all(folders, SPLIT.value, SENTENCES.value), []
    for folder in folders:
        found.append(drifts.drift(folder, split, SPLIT.value))
        records.write(to / folder.name / "records", found[-1], SPLIT.value)
    page = pages.write(found, to, [record["variant"] for record in found])
    command.show(f"{command.lines(pages.table(found).to_markdown())}\npage: {page}", found, JSON.value)
