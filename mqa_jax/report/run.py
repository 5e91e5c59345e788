"""The page of one training run: what it was, how it went and what came out, from its records and samples."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mqa_jax.report import quality_plots

Record = Mapping[str, Any]


def write(folder: pathlib.Path, records: Sequence[Record], samples: Sequence[Mapping[str, str]]) -> pathlib.Path:
    """Writes FOLDER/README.md and FOLDER/curve.png.

    Args:
      records: those of the run, its `train` record among them.
      samples: the last ones: {"source", "reference", "output"}.
    """
    (train,) = [record for record in records if record["kind"] == "train"]
    figure = quality_plots.learning_curves([train])
    if figure:
        figure.savefig(folder / "curve.png", format="png")
    parts = [
        f"# {train['name']} {train['variant']}, seed {train['seed']}",
        "Written by `scripts/train.py` when the run ended.",
        "![Loss against steps](curve.png)" if figure else "",
        _table(("", ""), [*_results(train), *_measured(records)]),
        _samples(samples),
        f"## Use it\n\n```\npython scripts/evaluate.py  --workdir={folder} --split=test --beam=4\n"
        f"python scripts/translate.py --workdir={folder} < in.txt > out.txt\n```"
        if train["task"] == "translation"
        else f"## Use it\n\n```\npython scripts/evaluate.py --workdir={folder} --split=test\n```",
        f"## Config\n\n`{train['command']}`\n\n```json\n{json.dumps(train['config'], indent=1)}\n```",
    ]
    path = folder / "README.md"
    half = path.with_suffix(".part")
    half.write_text("\n\n".join(filter(None, parts)) + "\n", encoding="utf-8")
    half.replace(path)
    return path


def _results(train: Record) -> list[tuple[str, str]]:
    best, share = train["best"], train["peak_share"]
    last = next((p["dev_nll_per_token"] for p in reversed(train["curve"]) if "dev_nll_per_token" in p), None)
    rows = [
        ("steps", f"{train['steps']:,}"),
        ("parameters", f"{train['parameters']:,}"),
        ("data", train["corpus"]),
        ("final training loss, nats per token", f"{train['final_loss']:.4f}"),
        ("final dev NLL, nats per token", "none" if last is None else f"{last:.4f}"),
        (
            "lowest dev NLL of a kept checkpoint",
            f"{best['dev_nll_per_token']:.4f} at step {best['step']}" if best else "",
        ),
        ("training time", f"{train['train_s']:,.0f} s and {train['compile_s']:.1f} s to compile"),
        ("tokens a second", f"{train['tokens_per_s']:,.0f}"),
        ("share of the matmul peak", "" if share is None else f"{share:.0%}"),
        ("steps refused", str(train["refused_steps"]) if train["refused_steps"] else ""),
        ("device", train["device"]),
        ("commit", train["commit"]),
    ]
    return [row for row in rows if row[1]]


def _measured(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Quality that was measured on the run before this page was written."""
    rows = [
        (f"BLEU, {each['split']}, beam {each['beam']}", f"{each['bleu_13a']:.1f} ({each['signature_13a']})")
        for each in records
        if each["kind"] == "quality"
    ]
    return rows


def _samples(samples: Sequence[Mapping[str, str]]) -> str:
    if not samples:
        return ""
    rows = [tuple(each[name] for name in ("source", "reference", "output")) for each in samples]
    return "## Samples of dev\n\n" + _table(("source", "reference", "output"), rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
