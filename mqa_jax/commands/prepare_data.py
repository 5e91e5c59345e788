"""Makes a config's data ready, once: TFDS's download and preparation, the vocabulary, and all text as token ids.

    python scripts/prepare_data.py --config=configs/wmt14.py --data_dir=DATA
    python scripts/prepare_data.py --config=configs/lm1b.py --data_dir=DATA
    python scripts/prepare_data.py --config=configs/text_translation.py --data_dir=PATH \\
        --config.data.train=train.en,train.de --config.data.dev=val.en,val.de --config.data.test=test.en,test.de

Writes DATA/prepared, all or nothing; a run that was ended begins again after what it had finished. Give the other
scripts the same config with --config.data.folder=DATA. --json is the manifest, without its files.
"""

import os
import pathlib

from absl import flags

from mqa_jax import command, config, files
from mqa_jax.data import preparation
from mqa_jax.errors import InputError

CONFIG = command.config_flag()
FOLDER = "config.data.folder"
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of the data; the same as --config.data.folder.")
JSON = command.json_flag()


def main() -> None:
    settings, place = CONFIG.value, DATA_DIR.value
    named = settings.data.folder if FOLDER in flags.FLAGS and flags.FLAGS[FOLDER].present else None
    if place and named and not os.path.abspath(place) == os.path.abspath(named):
        raise InputError(f"--data_dir={place} and --{FOLDER}={named} differ; give one of them")
    settings.data.folder = place or settings.data.folder
    if not settings.data.folder:
        raise InputError("--data_dir is missing; name the folder of the data, for instance --data_dir=data")
    experiment = config.read(settings)
    files.check_folder("--data_dir", experiment.data.folder)
    manifest = preparation.prepare(experiment.data, experiment.task)
    sizes = {name: split["examples"] for name, split in manifest["splits"].items()}
    tokens = manifest["splits"]["train"]["tokens"]
    brief = {key: value for key, value in manifest.items() if key not in ("splits", "asked")}
    lines = ", ".join(f"{count:,} of {name}" for name, count in sizes.items())
    sides = " and ".join(f"{count:,} {side}" for side, count in tokens.items())
    text = f"{pathlib.Path(experiment.data.folder) / 'prepared'} holds {lines}; train has {sides} tokens"
    command.show(text, [brief | {"examples": sizes, "tokens": tokens}], JSON.value)
