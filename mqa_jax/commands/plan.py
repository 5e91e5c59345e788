"""Plans for a TPU that is not here: compiles a config's train step and decode step for it, and says whether they fit.

    python scripts/plan.py --config=configs/wmt14.py:multi_query --topology=v5e:4x4
    python scripts/plan.py --config=configs/wmt14.py --topology=v2:2x2 --variants=all --workdir=runs/plan

Prints memory by kind, operations, exchanges between devices and the floor that the published peaks put under each
step; exit code 1, with the smallest change that helps, where one does not fit. --variants compares several in one
table, beside the paper's times where it has them.
"""

import dataclasses
import json
import pathlib

from absl import flags

from mqa_jax import command, config, records
from mqa_jax.errors import DoesNotFit
from mqa_jax.experiment import MOST_BEAMS
from mqa_jax.plan import chips, plan
from mqa_jax.report import plans
from mqa_jax.timing.decode import Workload

CONFIG = command.config_flag()
TOPOLOGY = flags.DEFINE_string("topology", None, "TPU version and chips along each axis: v5e:4x4.", required=True)
BATCH = flags.DEFINE_integer(
    "batch", None, "Sentences decoded at once. Default: config.timing.batch a device.", lower_bound=1
)
BEAM = flags.DEFINE_integer("beam", 1, "Beams; 1 is greedy.", 1, MOST_BEAMS)
VARIANTS = flags.DEFINE_list("variants", None, "Variants for a table; all: every one of the config.")
WORKDIR = flags.DEFINE_string("workdir", None, "Keep records in this folder; given again, it goes on where it was.")
JSON = command.json_flag()


def main() -> None:
    command.check_folder(WORKDIR)
    topology = chips.topology(TOPOLOGY.value)
    names = command.names(VARIANTS) or [CONFIG.value.variant]
    names = list(CONFIG.value.variants) if names == ["all"] else names
    found = [planned(config.read(config.select_variant(CONFIG.value, name)), topology) for name in names]
    texts = ["\n".join(plans.lines(record)) for record in found]
    if VARIANTS.value:
        texts.append(command.lines(plans.table(found).to_rich()))
    command.show("\n\n".join(texts), found, JSON.value)
    misfits = [record["variant"] for record in found if not record["fits"]]
    if misfits:
        raise DoesNotFit(f"{', '.join(misfits)} needs more memory than {topology.name} has; see above")


def planned(experiment, topology):
    """The record in --workdir, or a new one."""
    timing = experiment.timing
    batch = BATCH.value or timing.batch * len(topology.devices)
    workload = Workload(batch, BEAM.value, timing.source_length, timing.target_length, padded_cache=True)
    label = f"{topology.name.replace(':', '-')}-{workload.label}"
    folder = pathlib.Path(WORKDIR.value or ".") / experiment.variant / "records"
    if WORKDIR.value and records.is_there(folder, f"plan-{label}", experiment, list(dataclasses.asdict(experiment))):
        return json.loads((folder / f"plan-{label}.json").read_text(encoding="utf-8"))
    record = plan.plan(experiment, topology, workload)
    if WORKDIR.value:
        records.write(folder, record, label)
    return record
