"""Translates lines, or continues them with a language model: one line out for each line in.

    python scripts/translate.py --workdir=runs/mq < in.en > out.de
    python scripts/translate.py --workdir=runs/lm --tokens=40 --temperature=0.8 --top_p=0.95

Lines are written as soon as they and all before them are there; a file has .part behind its name until it is whole. At
a terminal each line is answered as it is typed; the arrow keys bring back earlier ones. --alternatives=3 gives three
outputs of a line with their scores, between tabs, or below each other at a terminal. How many lines were too long and
were cut, and how fast it went, is said on stderr.
"""

import dataclasses
import pathlib
import sys
import time
from functools import partial

from absl import flags

from mqa_jax import command, progress, records
from mqa_jax.data import text
from mqa_jax.decode import dialogue, generate
from mqa_jax.errors import InputError
from mqa_jax.experiment import MOST_BEAMS
from mqa_jax.timing import memory
from mqa_jax.train import trained

RUN = command.decoding_run()
INPUT = flags.DEFINE_string("input", "-", "File of lines; - is standard input.")
OUTPUT = flags.DEFINE_string("output", "-", "File to write; - is standard output.")
BEAM = flags.DEFINE_integer("beam", None, "Beams; 1 is greedy. Default: the config's.", 1, MOST_BEAMS)
ALTERNATIVES = flags.DEFINE_integer("alternatives", 1, "Outputs of each line, of --beam=W at most W.", lower_bound=1)
BATCH = flags.DEFINE_integer("batch", None, "Lines at once. Default: the config's.", lower_bound=1)
TOKENS = flags.DEFINE_integer("tokens", 32, "Language model: tokens to add to each line.", lower_bound=1)
TEMPERATURE = flags.DEFINE_float("temperature", 0.0, "Language model: sample at this temperature; 0: search.", 0.0)
TOP_K = flags.DEFINE_integer("top_k", 0, "Sample among the k likeliest tokens; 0: all.", lower_bound=0)
TOP_P = flags.DEFINE_float("top_p", 1.0, "Sample among the likeliest tokens that hold this probability.")
SEED = flags.DEFINE_integer("seed", 0, "Seed of the sampling.", lower_bound=0)
RECORD = flags.DEFINE_string("record", None, "Also keep how fast it went, as a JSON record in this folder.")


def main() -> None:
    folder, *others = (flag.value for flag in RUN)
    run = trained.load(pathlib.Path(folder), *others)
    check_flags(run.experiment.task)
    config, unk = run.experiment.decode, run.experiment.data.unk
    config = dataclasses.replace(config, beam=BEAM.value or config.beam, batch=BATCH.value or config.batch)
    if ALTERNATIVES.value > config.beam or (ALTERNATIVES.value > 1 and TEMPERATURE.value):
        raise InputError(f"--alternatives={ALTERNATIVES.value} are beams; add --beam={ALTERNATIVES.value} or more")
    own = {"model": run.model, "parameters": run.decoding_parameters(), "vocabulary": run.vocabulary}
    own["alternatives"] = ALTERNATIVES.value
    if run.experiment.task == "translation":
        answer = partial(generate.translate, **own, config=config)
    else:
        draw = generate.Sampling(SEED.value, TEMPERATURE.value, TOP_K.value, TOP_P.value) if TEMPERATURE.value else None
        answer = partial(generate.continue_text, **own, config=config, tokens=TOKENS.value, sampling=draw, unk=unk)
    if INPUT.value == "-" and sys.stdin and sys.stdin.isatty():
        with text.writer(OUTPUT.value) as write:
            below_each_other = lambda line: [write(each) for each in line.split("\t")]  # noqa: E731
            return dialogue.answer_each(answer, below_each_other if ALTERNATIVES.value > 1 else write)
    lines, start = text.read_lines(INPUT.value), time.perf_counter()
    memory.check_generating("--batch", run.model, config, len(lines), TOKENS.value)
    with text.writer(OUTPUT.value) as write, progress.bar("translate", len(lines)) as bar:
        output = answer(lines, on_progress=bar.update, on_text=write)
    if cut := output.cut():
        progress.say(cut)
    speed = output.speed(time.perf_counter() - start)
    progress.say("{sentences:,} lines, {sentences_per_s:,.0f} a second; programs: {programs}".format(**speed))
    if folder := RECORD.value:
        figures = {"beam": config.beam, "batch": config.batch, "checkpoints": list(run.steps)} | speed
        records.write(folder, records.make("translate", run.experiment, figures, output.devices), f"beam{config.beam}")


def check_flags(task: str) -> None:
    if task == "translation":
        own = [TOKENS, TEMPERATURE, TOP_K, TOP_P, SEED]
        command.refuse_given(own, "is for a language model; this run translates, leave it out")
    if not TEMPERATURE.value and (TOP_K.present or TOP_P.present):
        raise InputError("--top_k and --top_p are for sampling; add --temperature=1")
    command.check_folder(RECORD)
