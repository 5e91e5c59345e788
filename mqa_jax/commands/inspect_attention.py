"""Shows what the heads of trained runs look at, how much they differ, and how many directions keys and values vary in.

    python scripts/inspect_attention.py --workdirs=runs/multi_head-s0,runs/multi_query-s0 --to=runs/inspected
    python scripts/inspect_attention.py --workdirs=runs/mh,runs/mq --split=test --sentences=1000 --to=runs/inspected

The runs are of one task and have one vocabulary; all read the same sentences. TO/attention.html is the page, and
TO/RUN/records hold every layer and head. docs/inspection.md says how to read it.
"""

import pathlib

from absl import flags

from mqa_jax import command, records, workdir
from mqa_jax.data import sources
from mqa_jax.data.corpus import Split
from mqa_jax.errors import InputError
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
    split, found = chosen(folders), []
    for folder in folders:
        found.append(inspection.inspect(trained.load(folder), split, SPLIT.value))
        records.write(to / folder.name / "records", found[-1], SPLIT.value)
    page = attention.write(found, to, [record["variant"] for record in found])
    tables = [attention.table(found, site).to_markdown() for site in attention.sites(found)]
    command.show(f"{command.lines(chr(10).join(tables))}\npage: {page}", found, JSON.value)


def chosen(folders: list[pathlib.Path]) -> Split:
    """The lines that all runs read. Says no before long work, where they cannot be compared on any."""
    experiments = [workdir.owner(folder, "--workdirs") for folder in folders]
    made_of = [workdir.fingerprint(folder) for folder in folders]
    first, task, name = folders[0], experiments[0].task, SPLIT.value
    for at, (folder, experiment) in enumerate(zip(folders, experiments, strict=True)):
        if folder.name in [other.name for other in folders[:at]]:
            raise InputError(f"--workdirs names {folder.name} twice; give each run once, and each a name of its own")
        if experiment.task != task:
            raise InputError(f"--workdirs: {first} is of {task}, {folder} of {experiment.task}; give runs of one task")
        vocabularies = [each.get("vocabulary") for each in (made_of[0], made_of[at])]
        if vocabularies[0] != vocabularies[1]:
            raise InputError(
                f"--workdirs: {folder} has the vocabulary {vocabularies[1]}, {first} has {vocabularies[0]}; give runs "
                "that share one"
            )
    splits = sources.load(experiments[0].data, task).splits
    if name not in splits:
        raise InputError(f"--split={name} is not in the corpus of {first}; choose from: {', '.join(sorted(splits))}")
    for folder, parts in zip(folders, made_of, strict=True):
        workdir.refuse_unlike(folder, parts, {name: splits[name].digest()})
    return splits[name].first(SENTENCES.value)
