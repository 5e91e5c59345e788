"""Kills a training run over and over at random moments and checks that it ends as one that was left alone, to the bit.

    python scripts/soak.py --config=configs/toy.py:multi_query --kills=30 --workdir=runs/soak --config.train.steps=200

Prints how many kills there were and what they hit. Worth a run where you train: file systems differ.
"""

import pathlib
import sys

from absl import flags

from mqa_jax import command, config, soak
from mqa_jax.errors import InputError

CONFIG = command.config_flag()
WORKDIR = flags.DEFINE_string("workdir", "runs/soak", "New folder for the runs.")
KILLS = flags.DEFINE_integer("kills", 30, "How often to kill.", lower_bound=1)
SEED = flags.DEFINE_integer("seed", 0, "Of the moments.")
JSON = command.json_flag()


def main() -> None:
    config.read(CONFIG.value)
    folder = pathlib.Path(WORKDIR.value)
    command.check_folder(WORKDIR)
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"--workdir={folder} holds something already; name a new folder for the runs")
    settings = [argument for argument in sys.argv[1:] if argument.lstrip("-").removeprefix("no").startswith("config")]
    own = pathlib.Path(sys.argv[0])  # scripts/soak.py or mqa-soak
    train = [sys.executable, str(own.with_name(own.name.replace("soak", "train"))), *settings]
    hit = soak.soak(train, folder, KILLS.value, SEED.value)
    text = f"{sum(hit.values())} kills, no difference: {soak.words(hit)}"
    command.show(text, [{"kills": sum(hit.values()), "hit": hit}], JSON.value)
