"""Compares attention types on one task: trains what is missing, evaluates, times, reports.

    python scripts/compare.py --config=configs/toy.py --workdir=runs/compare
    python scripts/compare.py --config=configs/wmt14.py --variants=multi_head,multi_query --seeds=0,1,2 \\
        --workdir=runs/table1

The first variant is the baseline. Given again, the command goes on where it was. Started several times on one folder,
each start takes runs that nobody holds, and the last one times and reports. With --distributed, as in train.py, several
processes are one start, which trains each run together.
"""

import pathlib
import sys

from absl import flags

from mqa_jax import command, compare, config, processes, progress, workers
from mqa_jax.errors import InputError
from mqa_jax.kernels import host
from mqa_jax.report import tables
from mqa_jax.report.selection import Selection

CONFIG = command.config_flag()
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the comparison.", required=True)
VARIANTS = flags.DEFINE_list("variants", None, "Variants of the config, the baseline first. Default: all.")
SEEDS = flags.DEFINE_list("seeds", ["0"], "Seeds; every variant is trained once for each.")
OTHERS = command.other_processes()
WORKERS = flags.DEFINE_integer(
    "workers", 1, "Processes that train and evaluate side by side, each on its share of a CPU's cores.", lower_bound=1
)
ROWS = flags.DEFINE_integer(
    "rows", None, "Train and evaluate at most so many runs; a later start does the rest and reports.", lower_bound=1
)


def main() -> None:
    host.keep_freed_memory()
    names = command.variants(VARIANTS, CONFIG.value.variants)
    if len(set(names)) < len(names):
        raise InputError(f"--variants={','.join(names)} names one twice; name each once")
    seeds = command.integers(SEEDS, least=0)
    if len(set(seeds)) != max(1, len(seeds)):
        raise InputError(f"--seeds={','.join(SEEDS.value)} must be one seed or several, each once")
    experiments = [config.read(config.select_variant(CONFIG.value, name)) for name in names]
    if others := command.joining(OTHERS):
        if WORKERS.value > 1:
            raise InputError(f"--workers={WORKERS.value} are of one machine; leave it out, or --distributed")
        processes.join(*others)
    folder = pathlib.Path(WORKDIR.value)
    processes.first_alone(lambda: command.check_folder(WORKDIR))
    if WORKERS.value > 1 and not host.is_cpu():
        progress.say(f"note: --workers={WORKERS.value} is for CPUs; here is an accelerator, so one run follows another")
    elif WORKERS.value > 1:
        total = len(experiments) * len(seeds)
        count = min(WORKERS.value, total)
        progress.say(f"{count} processes train and evaluate side by side")
        # As many for each; what is left over is done with all cores.
        each = [sys.executable, *sys.argv, "--workers=1", f"--rows={total // count}"]
        code = workers.side_by_side(each, count)
        if code:
            sys.exit(code)
    records = compare.compare(experiments, seeds, folder, ROWS.value)
    if ROWS.value or not processes.is_first():
        return
    print(command.lines(tables.summary(Selection(records, names)).to_markdown()))
    print(f"report: {folder / 'report.html'}, {folder / 'report.md'}")
