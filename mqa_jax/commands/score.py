"""Prints the log-probability of each line, and how many tokens it has: one line out for each line in.

    python scripts/score.py --workdir=runs/smol < lines.txt
    python scripts/score.py --workdir=runs/smol --prefix_id=0 --eos < lines.txt
    python scripts/score.py --workdir=runs/mq --target=out.de < in.en

Logarithms are natural. A line is scored behind the token that begins a text, or behind --prefix_id, and without the
token that ends one unless --eos asks for it. An empty line has no tokens, and 0 for its logarithm.
"""

import pathlib

from absl import flags

from mqa_jax import progress
from mqa_jax.data import text
from mqa_jax.errors import InputError
from mqa_jax.evaluate import likelihood
from mqa_jax.train import trained

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the trained run.", required=True)
INPUT = flags.DEFINE_string("input", "-", "File of lines; - is standard input. A translation's sources.")
TARGET = flags.DEFINE_string("target", None, "A translation's outputs to score, one for each line of --input.")
OUTPUT = flags.DEFINE_string("output", "-", "File to write; - is standard output.")
PREFIX = flags.DEFINE_integer("prefix_id", None, "The token before a line. Default: the vocabulary's.", lower_bound=0)
EOS = flags.DEFINE_bool("eos", False, "The end of a text is scored too.")
AVERAGE = flags.DEFINE_integer("average", 1, "Takes the mean of the last so many checkpoints.", lower_bound=1)
DTYPE = flags.DEFINE_enum("dtype", None, ["bfloat16", "float32"], "Of activations and products. Default: the model's.")


def main() -> None:
    run = trained.load(pathlib.Path(WORKDIR.value), AVERAGE.value, DTYPE.value)
    translates = run.experiment.task == "translation"
    if translates != bool(TARGET.value):
        missing = "--target is missing: name the file of translations that are scored"
        raise InputError(
            missing if translates else "--target is of a translation; a language model's lines are --input"
        )
    if PREFIX.value is not None and PREFIX.value >= run.model.config.vocabulary:
        raise InputError(f"--prefix_id={PREFIX.value} must be below the vocabulary, {run.model.config.vocabulary}")
    lines, sources = text.read_lines(INPUT.value), None
    if TARGET.value:
        lines, sources = text.read_lines(TARGET.value), lines
        if len(lines) != len(sources):
            raise InputError(f"--target={TARGET.value} has {len(lines)} lines, the sources are {len(sources)}")
    with progress.bar("score", len(lines)) as bar:
        scored = likelihood.score(run, lines, sources, PREFIX.value, EOS.value, bar.update)
    if scored.cut:
        progress.say(f"{len(scored.cut)} lines are longer than the model's positions; their ends were left out")
    with text.writer(OUTPUT.value) as write:
        for log_probability, tokens in zip(scored.log_probabilities, scored.tokens, strict=True):
            write(f"{log_probability:.4f}\t{tokens}")
