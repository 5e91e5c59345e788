"""Scores a trained run: BLEU and chrF of a translation model, perplexity of any.

    python scripts/evaluate.py --workdir=runs/mq --split=test --beam=4
    python scripts/evaluate.py --workdir=runs/mq --source=mine.en --reference=mine.de

Prints one JSON record a line; the last is the one the split is judged by.
"""

import json
import pathlib

from absl import flags

from mqa_jax import command
from mqa_jax.data import parallel, sources
from mqa_jax.errors import InputError
from mqa_jax.evaluate import quality
from mqa_jax.train import trained

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the trained run.", required=True)
SPLIT = flags.DEFINE_enum("split", "test", ["dev", "test"], "Which split of the run's own corpus.")
BEAM = flags.DEFINE_integer("beam", None, "Beams; 1 is greedy. Default: the config's.", lower_bound=1)
SOURCE = flags.DEFINE_string("source", None, "Score this file of source lines instead of a split.")
REFERENCE = flags.DEFINE_string("reference", None, "The file of references (or of plain text for a language model).")


def main() -> None:
    run = trained.load(pathlib.Path(WORKDIR.value))
    experiment, name = run.experiment, SPLIT.value
    if REFERENCE.value:
        paths = [REFERENCE.value] if experiment.task == "language" else [SOURCE.value, REFERENCE.value]
        if None in paths:
            raise InputError("--source is missing; a translation model needs --source and --reference")
        split, name = parallel.read_split(paths, experiment.task), pathlib.Path(REFERENCE.value).stem
    else:
        split = sources.load(experiment.data, experiment.task).splits[name]
    results = [quality.perplexity_of(run, split, name)]
    if experiment.task == "translation":
        results.append(quality.translation_quality(run, split, name, BEAM.value or experiment.decode.beam))
    for record in results:
        print(json.dumps({key: value for key, value in record.items() if key != "config"}))


if __name__ == "__main__":
    command.run(main)
