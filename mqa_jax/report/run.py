"""The page of one training run: what it was, how it went and what came out, from its records and translations."""

import json
import pathlib
from collections.abc import Mapping, Sequence

from mqa_jax import files
from mqa_jax.report import plots
from mqa_jax.report.cells import decimals, integer, percent, significant
from mqa_jax.report.selection import Record, Selection
from mqa_jax.report.table import Column, Table

FIGURES = (
    Column("steps", "steps", integer),
    Column("parameters", "parameters", integer),
    Column("parameters from", "config.start"),
    Column("teacher", "config.train.teacher"),
    Column("data", "corpus"),
    Column("final training loss, nats per token", "final_loss", decimals(4)),
    Column("final divergence from the teacher, nats per token", "final_divergence", decimals(4)),
    Column("final dev NLL, nats per token", "final_dev_nll", decimals(4)),
    Column("lowest dev NLL of a kept checkpoint", "best.dev_nll_per_token", decimals(4)),
    Column("its step", "best.step", integer),
    Column("seconds of training", "train_s", integer),
    Column("seconds to compile", "compile_s", significant),
    Column("tokens a second", "tokens_per_s", integer),
    Column("mfu, the share of the matmul peak", "mfu", percent),
    Column("steps refused", "refused_steps", integer),
    Column("device", "device"),
    Column("commit", "commit"),
)


def write(folder: pathlib.Path, records: Sequence[Record], translations: Sequence[Mapping[str, str]]) -> pathlib.Path:
    """Writes FOLDER/README.md and FOLDER/curve.svg.

    Args:
      records: those of the run, its `train` record among them.
      translations: the last ones: {"source", "reference", "output"}.
    """
    (train,) = [record for record in records if record["kind"] == "train"]
    nll = [point["dev_nll_per_token"] for point in train["curve"] if "dev_nll_per_token" in point]
    train = {**train, "final_dev_nll": nll[-1] if nll else None}
    if figure := plots.learning_curves(Selection([train])):
        files.write(folder / "curve.svg", plots.svg(figure))
    figures = [(column.header, *column.cells([[train]])) for column in FIGURES if column.has_any([[train]])]
    figures += [
        (f"BLEU, {each['split']}, beam {each['beam']}", f"{each['bleu_13a']:.1f} ({each['signature_13a']})")
        for each in records
        if each["kind"] == "quality"
    ]
    sides = "source", "reference", "output"
    dev = Table("Translations of dev", sides, tuple(tuple(each[side] for side in sides) for each in translations))
    use = [f"python scripts/evaluate.py --workdir={folder} --split=test"]
    if train["task"] == "translation":
        use = [f"{use[0]} --beam=4", f"python scripts/translate.py --workdir={folder} < in.txt > out.txt"]
    parts = [
        f"# {train['name']} {train['variant']}, seed {train['seed']}",
        "Written by `scripts/train.py` when the run ended.",
        "![Loss against steps](curve.svg)" if figure else "",
        Table("Figures", ("figure", "value"), tuple(figures)).to_markdown(),
        dev.to_markdown() if dev.rows else "",
        "\n".join(["## Use it\n\n```", *use, "```"]),
        f"## Config\n\n`{train['command']}`\n\n```json\n{json.dumps(train['config'], indent=1)}\n```",
    ]
    return files.write(folder / "README.md", "\n\n".join(filter(None, parts)) + "\n")
