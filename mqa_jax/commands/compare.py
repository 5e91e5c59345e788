"""Compares attention types on one task: trains what is missing, evaluates, times, reports.

    python scripts/compare.py --config=configs/toy.py --workdir=runs/compare
    python scripts/compare.py --config=configs/wmt14.py --variants=multi_head,multi_query --seeds=0,1,2 \\
        --workdir=runs/table1

The first variant is the baseline. Given again, the command goes on where it was.
"""

import pathlib

from absl import flags

from mqa_jax import command, compare, config
from mqa_jax.errors import InputError
from mqa_jax.kernels import host
from mqa_jax.report import tables
from mqa_jax.report.selection import Selection

CONFIG = command.config_flag()
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the comparison.", required=True)
VARIANTS = flags.DEFINE_list("variants", None, "Variants of the config, the baseline first. Default: all.")
SEEDS = flags.DEFINE_list("seeds", ["0"], "Seeds; every variant is trained once for each.")


def main() -> None:
    host.keep_freed_memory()
    names = command.names(VARIANTS) or sorted(CONFIG.value.variants, key=lambda name: (name != "multi_head", name))
    if len(set(names)) < len(names):
        raise InputError(f"--variants={','.join(names)} names one twice; name each once")
    seeds = command.integers(SEEDS, least=0)
    if len(set(seeds)) != max(1, len(seeds)):
        raise InputError(f"--seeds={','.join(SEEDS.value)} must be one seed or several, each once")
    experiments = [config.read(config.select_variant(CONFIG.value, name)) for name in names]
    folder = pathlib.Path(WORKDIR.value)
    command.check_folder(WORKDIR)
    records = compare.compare(experiments, seeds, folder)
    print(command.lines(tables.summary(Selection(records, names)).to_rich()))
    print(f"report: {folder / 'report.html'}, {folder / 'report.md'}")
