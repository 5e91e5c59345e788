"""Plans for TPUs or GPUs that are not here: compiles a config's train step, prefill and decode step for them.

    python scripts/plan.py --config=configs/wmt14.py:multi_query --topology=v5e:4x4
    python scripts/plan.py --config=configs/wmt14.py --topology=h100:1x1x8 --variants=all --workdir=runs/plan
    python scripts/plan.py --config=configs/lm1b.py --topology=h100:1x1x1 --variants=all --decode --context=32768

Prints memory by kind, operations, exchanges between devices and the floor that the published peaks put under each
step; exit code 1, with the smallest change that helps, where one does not fit. --variants compares several in one
table, beside the paper's times where it has them.

--decode compiles nothing. It prints, and in --workdir draws, how many sequences of --context tokens fit beside the
weights and how many tokens a second they get at best, with a cache of bfloat16 and of int8.
"""

import dataclasses
import json
import pathlib

from absl import flags

from mqa_jax import command, config, records
from mqa_jax.errors import DoesNotFit
from mqa_jax.experiment import MOST_BEAMS
from mqa_jax.plan import capacity, chips, plan
from mqa_jax.report import plans, plots
from mqa_jax.timing.decode import Workload

CONFIG = command.config_flag()
TOPOLOGY = flags.DEFINE_string(
    "topology", None, "v5e:4x4: chips along each axis; h100:1x1x8: hosts, GPUs.", required=True
)
BATCH = flags.DEFINE_integer("batch", None, "Sentences decoded at once. Default: config.timing.batch a device.", 1)
BEAM = flags.DEFINE_integer("beam", 1, "Beams; 1 is greedy.", 1, MOST_BEAMS)
VARIANTS = flags.DEFINE_list("variants", None, "Variants for a table; all: every one of the config.")
DECODE = flags.DEFINE_bool("decode", False, "How many sequences are decoded at once, and how fast; by arithmetic.")
CONTEXT = flags.DEFINE_integer("context", 32_768, "With --decode: tokens of a sequence (of each side).", 1, 2**30)
LATENCY = flags.DEFINE_float("latency_ms", 50.0, "With --decode: what a token may take.", lower_bound=1e-6)
WORKDIR = flags.DEFINE_string("workdir", None, "Keep records in this folder; given again, it goes on where it was.")
JSON = command.json_flag()


def main() -> None:
    command.check_folder(WORKDIR)
    topology = chips.topology(TOPOLOGY.value)
    names = command.names(VARIANTS) or [CONFIG.value.variant]
    names = list(CONFIG.value.variants) if names == ["all"] else names
    experiments = [config.read(config.select_variant(CONFIG.value, name)) for name in names]
    if DECODE.value:
        command.refuse_given((BATCH, BEAM), "has no effect with --decode, which finds the batch; leave it out")
        return decode(experiments, topology)
    command.refuse_given((CONTEXT, LATENCY), "belongs to --decode; add that, or leave it out")
    found = [planned(experiment, topology) for experiment in experiments]
    texts = ["\n".join(plans.lines(record)) for record in found]
    if VARIANTS.value:
        texts.append(command.lines(plans.table(found).to_markdown()))
    command.show("\n\n".join(texts), found, JSON.value)
    misfits = [record["variant"] for record in found if not record["fits"]]
    if misfits:
        raise DoesNotFit(f"{', '.join(misfits)} needs more memory than {topology.name} has; see above")


def decode(experiments, topology):
    found = [capacity.capacity(each, topology, CONTEXT.value, LATENCY.value) for each in experiments]
    command.show(command.lines(plans.capacities(found).to_markdown()), found, JSON.value)
    if WORKDIR.value:
        folder, label = pathlib.Path(WORKDIR.value), f"{topology.name.replace(':', '-')}-{CONTEXT.value}"
        for record in found:
            records.write(folder / record["variant"] / "records", record, label)
        plots.draw(folder, f"capacity-{label}", plans.curves(found), "Tokens a second against the time of a token")


def planned(experiment, topology):
    """The record in --workdir, or a new one."""
    timing = experiment.timing
    batch = BATCH.value or timing.batch * topology.size
    workload = Workload(batch, BEAM.value, timing.source_length, timing.target_length, padded_cache=True)
    label = f"{topology.name.replace(':', '-')}-{workload.label}"
    folder = pathlib.Path(WORKDIR.value or ".") / experiment.variant / "records"
    if WORKDIR.value and records.is_there(folder, f"plan-{label}", experiment, list(dataclasses.asdict(experiment))):
        return json.loads((folder / f"plan-{label}.json").read_text(encoding="utf-8"))
    record = plan.plan(experiment, topology, workload)
    if WORKDIR.value:
        records.write(folder, record, label)
    return record
