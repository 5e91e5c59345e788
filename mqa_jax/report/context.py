"""What stands around the numbers: what was compared, on what, how to read it, and what to be careful about."""

import math
from collections.abc import Iterable, Iterator

from mqa_jax.report import cells, paper
from mqa_jax.report.selection import Record, Selection, sample

Fact = tuple[str, str]
BUDGET_TOLERANCE = 0.001  # of the baseline's parameters
UNSTEADY = 1.5  # slowest round over the median


def head(runs: Selection) -> list[Fact]:
    """What was compared, and all that is needed to do it again."""
    config = runs.records[0]["config"]
    data, model, train = config["data"], config["model"], config["train"]
    encoder = f"{model['encoder']['layers']} + " if model["encoder"] else ""
    columns = f"{data['source_length']} + {data['target_length']}" if model["encoder"] else str(data["target_length"])
    packing = "packed" if data["packing"] else "one sentence a row"
    seeds = sorted({record["seed"] for record in runs.records})
    when = sorted(record["when"][:16].replace("T", " ") for record in runs.records)
    trained = any(runs.of(kind) for kind in ("train", "quality", "perplexity"))
    facts = [
        ("Task", f"{runs.task}, config {runs.name}"),
        ("Corpus", corpus(runs) if trained else ""),
        ("Variants", f"{', '.join(runs.variants)} (the first is the baseline)"),
        (
            "Model",
            f"{encoder}{model['decoder']['layers']} layers, width {model['width']}, "
            f"vocabulary {model['vocabulary']:,}, {model['dtype']}",
        ),
        (
            "Training",
            f"{train['steps']:,} steps of {data['rows']} rows x {columns} tokens, {packing}" if trained else "",
        ),
        ("Seeds", ", ".join(map(str, seeds))),
        ("Device", _all(record["device"] for record in runs.records)),
        ("Measured", " to ".join(dict.fromkeys((when[0], when[-1]))) + " UTC"),
        ("Commit", _all(record["commit"] for record in runs.records)),
        ("Versions", _all(", ".join(f"{p} {v}" for p, v in record["versions"].items()) for record in runs.records)),
        ("Command", _all(record["command"] for record in runs.records)),
    ]
    return [(name, text) for name, text in facts if text]


def corpus(runs: Selection) -> str:
    """One line on the text; says so where it is generated."""
    data = runs.records[0]["config"]["data"]
    named = data["dataset"] or data["folder"] or data["kind"]
    text = _all(record["corpus"] for record in runs.of("train")) or named
    return f"{text} (generated)" if _generated(runs) and "generated" not in text.lower() else text


def warnings(runs: Selection) -> Iterator[str]:
    """What must be known before any number is read."""
    if _generated(runs) and (runs.of("quality") or runs.of("perplexity")):
        yield (
            "The corpus is generated, not collected: the scores compare attention types in this code "
            "and say nothing about real text."
        )
    bad = [record for record in runs.of("train") if not math.isfinite(record["final_loss"])]
    if bad:
        yield f"The loss of {_runs(bad)} is not a number."
    budgets = {variant: sample(runs.of("train", variant), "parameters").mean for variant in runs.variants}
    baseline = budgets[runs.variants[0]]
    for variant, size in budgets.items():
        if baseline and size and abs(size - baseline) > BUDGET_TOLERANCE * baseline:
            yield f"{variant} has {size:,.0f} parameters, {runs.variants[0]} {baseline:,.0f}: not an equal budget."
    devices = {record["device"] for variant in runs.variants for record in runs.headline(variant, 1)}
    if len(devices) > 1:
        yield f"Decoding was timed on several devices ({', '.join(sorted(devices))}): no speed-up is given across them."


def limits(runs: Selection) -> Iterator[str]:
    """The limits of what was measured."""
    seeds = {record["seed"] for kind in ("train", "quality", "perplexity") for record in runs.of(kind)}
    if len(seeds) == 1:
        yield (
            "One seed: how much the scores vary from training to training is not known. A small difference may be "
            "the seed's; run more with --seeds."
        )
    steps = runs.records[0]["config"]["train"]["steps"]
    if runs.of("train") and steps < paper.STEPS[runs.task]:
        yield f"Short training: {steps:,} steps; the paper trained {paper.STEPS[runs.task]:,} on its {runs.task} task."
    if any("(cpu)" in record["device"] for record in runs.of("timing")):
        yield "Decoding was timed on a CPU: neither the times nor the speed-ups carry over to an accelerator."
    slowest = {
        variant: max(
            record[f"{side}_us_spread"][1] / record[f"{side}_us_per_token"]
            for record in timed
            for side in ("encoder", "decoder")
        )
        for variant in runs.variants
        if (timed := runs.headline(variant, 1))
    }
    unsteady = [f"{variant} {ratio:.1f}×" for variant, ratio in slowest.items() if ratio > UNSTEADY]
    if unsteady:
        yield (
            f"Timing was unsteady: the slowest round over the median is {', '.join(unsteady)}. Other work on the "
            "machine may be why; time again when it is idle before trusting the speed-ups."
        )
    if any(record["commit"].endswith("+") for record in runs.records):
        yield "A commit marked + had files that were changed and not committed."
    cut = [record for record in runs.of("quality") if record["truncated"]]
    if cut:
        worst = max(cut, key=lambda record: record["truncated"])
        yield (
            f"Some sources were longer than the model's positions and were translated without their end, at most "
            f"{worst['truncated']:,} of {worst['sentences']:,} ({worst['variant']}, {worst['split']}, beam "
            f"{worst['beam']})."
        )


def reading(runs: Selection) -> Iterator[str]:
    """What the columns mean and how they were measured."""
    timing = runs.of("timing")
    if timing:
        yield (
            "Time: the batch is decoded to full length with random weights and caches padded to that length, so every "
            f"step costs the same. After a warm-up, {_range(timing, 'repeats')} rounds are timed, the variants in "
            "turn; a time is the median, and the full table has minimum and maximum. "
            + (
                "Encoder time is divided by source tokens, decoder time by output tokens."
                if runs.task == "translation"
                else "Prompt time is divided by prompt tokens, decoder time by output tokens."
            )
        )
        last = max(timing, key=lambda record: record["when"])
        peaks = cells.rate(last["peak_bytes_per_s"], "B"), cells.rate(last["peak_flops_per_s"], "FLOP")
        yield (
            "Floor: the least time a decoder step can take on this machine: its products with weights, then its "
            "attention over the caches, each at the peak of memory or of arithmetic, whichever is slower, all read "
            f"once. The peaks are measured in the same sitting (last: {peaks[0]}, {peaks[1]}). Share of floor is the "
            "floor over the measured time: 100% is the best there can be."
        )
    if runs.of("train"):
        tokens = "source and target tokens" if runs.task == "translation" else "tokens"
        yield f"Training tokens/s: {tokens}, no padding; compilation and evaluation are left out."
    if runs.of("quality"):
        alphas = sorted({f"{record['alpha']:g}" for record in runs.of("quality")})
        yield (
            "BLEU: sacreBLEU on raw text, every sentence scored; intl and 13a are two tokenisations whose scores do "
            f"not compare, so quote the signature with a score. Beam search has length penalty {', '.join(alphas)}."
        )
    if runs.of("perplexity"):
        yield (
            "Perplexity per token depends on the vocabulary; per word it does not, and only that can be compared "
            "across vocabularies. Words are those of the raw text and one end of sentence a line. Neither counts "
            "label smoothing or dropout."
        )
    if runs.of("significance"):
        yield (
            "A p-value says how often a difference this large would come from the choice of test sentences alone; "
            "it knows nothing of the seeds, and is not corrected for several comparisons."
        )
    yield (
        "Records: every number here is from VARIANT-sSEED/records/*.json and records/*.json beside this file, and "
        "every record has its config, command, commit, versions and device. "
        + ("Translations: VARIANT-sSEED/hypotheses/." if runs.of("quality") else "")
    ).strip()


def signatures(runs: Selection) -> list[Fact]:
    """The sacreBLEU signatures in full."""
    fields = ("BLEU intl", "signature_intl"), ("BLEU 13a", "signature_13a"), ("chrF", "signature_chrf")
    facts = [(name, _all(record[field] for record in runs.of("quality"))) for name, field in fields]
    facts.append(("paired bootstrap", _all(record["signature"] for record in runs.of("significance"))))
    return [(name, text) for name, text in facts if text]


def _generated(runs: Selection) -> bool:
    return runs.records[0]["config"]["data"]["kind"] == "grammar"


def _runs(records: Iterable[Record]) -> str:
    return ", ".join(f"{record['variant']} (seed {record['seed']})" for record in records)


def _range(records: Iterable[Record], field: str) -> str:
    values = sorted({record[field] for record in records})
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def _all(values: Iterable[str]) -> str:
    """The different values, in order."""
    return "; ".join(dict.fromkeys(values))
