"""Times the data pipeline by itself: tokens a second, time to the first batch, memory, packing and padding.

    python scripts/time_data.py --config=configs/wmt14.py --config.data.folder=DATA
    python scripts/time_data.py --config=configs/wmt14.py --config.data.folder=DATA --text --cores=1

Reads the prepared ids of the config where there are such, or with --text the text, encoded at the start.
"""

import os
import pathlib
import tempfile

from absl import flags

from mqa_jax import command, config, records
from mqa_jax.data import sources
from mqa_jax.data import vocabulary as vocabularies
from mqa_jax.errors import InputError
from mqa_jax.timing import data as timing

CONFIG = command.config_flag()
TEXT = flags.DEFINE_bool("text", False, "Read the text, even where ids were prepared of it.")
CORES = flags.DEFINE_integer("cores", None, "Cores that this process may use. Default: all.", lower_bound=1)
ROUNDS = flags.DEFINE_integer(
    "rounds", 10, "Timed rounds, of a second or more each; an epoch or more in all.", lower_bound=1
)
WORKDIR = flags.DEFINE_string("workdir", None, "Also keep the record, and the vocabulary of text, in this folder.")
JSON = command.json_flag()


def main() -> None:
    experiment = config.read(CONFIG.value)
    command.check_folder(WORKDIR)
    if CORES.value:
        if not hasattr(os, "sched_setaffinity"):
            raise InputError(f"--cores={CORES.value} cannot be kept on this system; leave it out")
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: CORES.value])
    load = sources.load_text if TEXT.value else sources.load
    corpus = load(experiment.data, experiment.task)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(WORKDIR.value or temporary)
        vocabulary = vocabularies.obtain(experiment.data, corpus, vocabularies.path_in(folder))
        record = timing.time_data(experiment, corpus, vocabulary, ROUNDS.value)
        if WORKDIR.value:
            records.write(folder / "records", record, f"{record['read_as']}-{record['cores']}cores")
    command.show(timing.text(record), [record], JSON.value)
