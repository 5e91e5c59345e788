"""The page of one training run: what it was, how it went and what came out, from its records and translations."""

import json
import pathlib
from collections.abc import Mapping, Sequence

from mqa_jax import files
from mqa_jax.report import plots
from mqa_jax.report.columns import column, columns
from mqa_jax.report.selection import Record, Selection
from mqa_jax.report.table import Table

FIGURES = [
    *columns("steps parameters config.start config.train.teacher corpus final_loss final_divergence final_dev_nll"),
    *columns("best.dev_nll_per_token best.step train_s"),
    column("compile_s", header="seconds to compile"),
    column("tokens_per_s", header="tokens a second"),
    column("mfu", header="mfu, the share of the matmul peak"),
    *columns("refused_steps device commit"),
]


def write(folder: pathlib.Path, records: Sequence[Record], translations: Sequence[Mapping[str, str]]) -> pathlib.Path:
    """Writes FOLDER/README.md and the picture of its curve.

    Args:
      records: those of the run, its `train` record among them.
      translations: the last ones: {"source", "reference", "output"}.
    """
    (train,) = [record for record in records if record["kind"] == "train"]
    nll = [point["dev_nll_per_token"] for point in train["curve"] if "dev_nll_per_token" in point]
    train = {**train, "final_dev_nll": nll[-1] if nll else None}
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
        plots.draw(folder, "curve", plots.learning_curves(Selection([train])), "Loss against steps"),
        Table("Figures", ("figure", "value"), tuple(figures)).to_markdown(),
        dev.to_markdown() if dev.rows else "",
        "\n".join(["## Use it\n\n```", *use, "```"]),
        f"## Config\n\n`{train['command']}`\n\n```json\n{json.dumps(train['config'], indent=1)}\n```",
    ]
    return files.write(folder / "README.md", "\n\n".join(filter(None, parts)) + "\n")
