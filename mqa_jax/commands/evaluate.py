"""Scores a trained run: BLEU and chrF of a translation model, perplexity of any.

    python scripts/evaluate.py --workdir=runs/mq --split=test --beam=4
    python scripts/evaluate.py --workdir=runs/mq --source=mine.en --reference=mine.de
    python scripts/evaluate.py --workdir=runs/mq --test_set=wmt14 --beam=4         # as the paper reports it
    python scripts/evaluate.py --workdir=runs/mq --dtype=int8 --cache_dtype=int8   # what int8 loses

The last line is the score that the split is judged by; records/ and --json have all figures. Where weights or cache
have another type than the model, the likelihoods are those of decoding, step by step, and what that costs is said.
"""

import dataclasses
import pathlib

from absl import flags

from mqa_jax import command
from mqa_jax.data import sources, test_sets, text, unknown
from mqa_jax.errors import InputError
from mqa_jax.evaluate import quality
from mqa_jax.experiment import MOST_BEAMS
from mqa_jax.timing import memory
from mqa_jax.train import trained

RUN = command.decoding_run()
SPLIT = flags.DEFINE_enum("split", "test", ["dev", "test"], "Which split of the run's own corpus.")
BEAM = flags.DEFINE_integer("beam", None, "Beams; 1 is greedy. Default: the config's.", 1, MOST_BEAMS)
SOURCE = flags.DEFINE_string("source", None, "Score this file of source lines instead of a split.")
REFERENCE = flags.DEFINE_string("reference", None, "The file of references (or of plain text for a language model).")
TEST_SET = flags.DEFINE_string(
    "test_set",
    None,
    "Of sacreBLEU: wmt14 (2,737 lines), wmt14/full, wmt13, ...; --source and --reference stand in for it.",
)
JSON = command.json_flag()


def main() -> None:
    folder, *others = (flag.value for flag in RUN)
    run = trained.load(pathlib.Path(folder), *others)
    experiment, name, origin = run.experiment, SPLIT.value, "the run's corpus"
    files = [path for path in (SOURCE.value, REFERENCE.value) if path]
    if experiment.task == "language" and (SOURCE.value or TEST_SET.value):
        raise InputError("--source and --test_set are for translation; a language model's text is its --reference")
    if experiment.task == "translation" and len(files) == 1:
        raise InputError("one of --source and --reference is missing; give both, or neither")
    if TEST_SET.value:
        split, origin = test_sets.load(TEST_SET.value, files=files)
        name = TEST_SET.value.replace("/", "-")
    elif files:
        split, origin = text.read_split(files, experiment.task), f"files {', '.join(files)}"
        split = dataclasses.replace(split, target=unknown.replaced(split.target, experiment.data.unk))
        name = f"file-{pathlib.Path(files[-1]).stem}"  # not `test`, which is the run's own
    else:
        split = sources.load(experiment.data, experiment.task).splits[name]
    config = dataclasses.replace(experiment.decode, beam=BEAM.value or experiment.decode.beam)
    if experiment.task == "translation":
        memory.check_generating("--beam", run.model, config, len(split))
    results = [quality.perplexity_of(run, split, name, origin)]
    if experiment.task == "translation":
        results.append(quality.translation_quality(run, split, name, config.beam, origin))
    command.show("\n".join(map(quality.words, results)), results, JSON.value)
