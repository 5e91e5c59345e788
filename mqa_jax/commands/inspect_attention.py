"""Shows what the heads of trained runs look at, how much they differ, and how many directions keys and values vary in.

    python scripts/inspect_attention.py --workdirs=runs/multi_head-s0,runs/multi_query-s0 --to=runs/inspected
    python scripts/inspect_attention.py --workdirs=runs/mh,runs/mq --split=test --sentences=1000 --to=runs/inspected

The runs are of one task and have one vocabulary; all read the same sentences. TO/attention.html is the page, and
TO/RUN/records hold every layer and head. docs/inspection.md says how to read it.
"""

import pathlib

from absl import flags

from mqa_jax import command, records
from mqa_jax.evaluate import inspection
from mqa_jax.report import attention
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
        found.append(inspection.inspect(trained.load(folder), split, SPLIT.value))
        records.write(to / folder.name / "records", found[-1], SPLIT.value)
    page = attention.write(found, to, [record["variant"] for record in found])
    tables = [attention.table(found, site).to_markdown() for site in attention.sites(found)]
    command.show(f"{command.lines(chr(10).join(tables))}\npage: {page}", found, JSON.value)
