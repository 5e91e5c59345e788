"""What stands around the numbers: the result in words, what was compared, how to read it, what to be careful about."""

import math
from collections.abc import Iterable, Iterator, Mapping

from mqa_jax.report import paper
from mqa_jax.report.cells import p_value, significant
from mqa_jax.report.selection import Selection, over_seeds

BUDGET_TOLERANCE = 0.001  # of the baseline's parameters
# By how many times the baseline's is the size: what share that is, in words.
_SHARES = {2.0: "half", 3.0: "a third of", 4.0: "a quarter of", 8.0: "an eighth of", 16.0: "a sixteenth of"}
UNSTEADY = 1.5  # slowest round over the median
READING = {  # by the kind of record that it is about
    "timing": (
        "Time: the batch is decoded to full length with random weights and caches padded to that length, so every step "
        "costs the same. After a warm-up, rounds are timed, the variants in turn; a time is the median, and the full "
        "table has minimum and maximum. Encoder time is divided by source tokens, a prompt's by prompt tokens, decoder "
        "time by output tokens.",
        "Floor: the least time a decoder step can take on this machine: its products with weights, then its attention "
        "over the caches, each at the measured peak of memory or of arithmetic, whichever is slower, all read once. "
        "Share of floor is the floor over the measured time: 100% is the best there can be.",
    ),
    "latency": (
        "Latency: greedy, batch 1, every step started by itself and waited for; the first token includes the reading "
        "of the source.",
    ),
    "train": (
        "Training tokens/s: of source and target together, no padding; compilation and evaluation are left out.",
    ),
    "quality": (
        "BLEU: sacreBLEU on raw text, every sentence scored; intl and 13a are two tokenisations whose scores do not "
        "compare, so quote the signature with a score.",
    ),
    "perplexity": (
        "Perplexity per token depends on the vocabulary; per word it does not, and only that can be compared across "
        "vocabularies. Words are those of the raw text and one end of sentence a line. Neither counts label smoothing "
        "or dropout.",
    ),
    "seeds": (
        "Over seeds: the difference of the means of a variant's runs and the baseline's. Its standard error is of two "
        "parts: the spread between seeds, pooled over all variants, and the choice of test sentences (bootstrap, the "
        "same sentences for all runs). Student's t with Satterthwaite's degrees of freedom; Holm's correction is over "
        "the variants of the table.",
    ),
    "significance": (
        "A p-value says how often a difference this large would come from the choice of test sentences alone; it knows "
        "nothing of the seeds, and is not corrected for several comparisons.",
    ),
}
RECORDS = (
    "Records: every number here is from VARIANT-sSEED/records/*.json and records/*.json beside this file, and every "
    "record has its config, command, commit, versions and device. Translations: VARIANT-sSEED/hypotheses/."
)


def result(runs: Selection) -> list[str]:
    """A sentence a variant: its decoding time, test quality and cache beside the baseline's.

    Of more than three only those are told that no other variant beats in both time and quality.
    """
    others, sign, beam = runs.variants[1:], 1 if runs.task == "translation" else -1, runs.beams[-1]
    qualities = {name: runs.quality(name, beam).mean for name in others}
    gains = {n: (runs.speed_up(n) or 0, -math.inf if mean is None else sign * mean) for n, mean in qualities.items()}
    best = [a for a in others if not any(b[0] > gains[a][0] and b[1] > gains[a][1] for b in gains.values())]
    return list(filter(None, (_sentence(runs, name) for name in (others if len(others) <= 3 else best))))


def _sentence(runs: Selection, variant: str) -> str:
    """`multi_query decodes 2.4 times as fast as multi_head, −5.9 BLEU (p ≤ 0.001), with an eighth of the cache.`"""
    baseline, beam, parts = runs.variants[0], runs.beams[-1], []
    speed, at = runs.speed_up(variant), ""
    if not speed and (pairs := runs.beside_baseline("target_length").get(variant)):  # a sweep of other lengths
        length, (before, after) = max(pairs.items())
        speed, at = before["decoder_us_per_token"] / after["decoder_us_per_token"], f" at {length:,} tokens"
    if speed:
        times = f"{speed:#.2g}".rstrip(".")
        parts.append(f"{variant} decodes {f'{times} times ' * (times != '1.0')}as fast as {baseline}{at}")
    before, after = (runs.quality(name, beam).mean for name in (baseline, variant))
    if before is not None and after is not None and math.isfinite(after - before):
        unit = "BLEU" if runs.task == "translation" else "perplexity per word"
        digits = 1 if runs.task == "translation" and abs(after - before) >= 0.1 else 2
        tested = _all((f"p {text}" if text[0] == "≤" else f"p = {text}" for text in _tested(runs, variant)), ", ")
        change = f"{after - before:+.{digits}f}".replace("-", "−") if round(after - before, digits) else "the same"
        parts.append(f"{change} {unit}" + f" ({tested})" * bool(tested))
    before, after = (over_seeds(runs.timed(name), "cache_bytes_per_sequence").mean for name in (baseline, variant))
    if before and after:
        share = f"{after / before:.0%} of" if after < before else f"{after / before:#.2g} times"
        share = _SHARES.get(round(before / after, 2), share)
        parts.append("with the same cache" if before == after else f"with {share} the cache")
    about = "" if speed else f"{variant} against {baseline}: "
    return f"{about}{', '.join(parts)}." if parts else ""


def _tested(runs: Selection, variant: str) -> list[str]:
    """The p-value over seeds, corrected by Holm; or that of each seed alone, where nothing was tested over seeds."""
    baseline, where = runs.variants[0], {"split": runs.test, "beam": runs.beams[-1]}
    if runs.task == "language":
        where = {"split": "test"}
    if row := runs.tested().get(variant):
        return [f"{p_value(row['p_holm'], 1000)} over {row['seeds']} seeds"]
    alone = runs.of("significance", baseline, baseline=baseline, **where)
    return [p_value(row["p_value"], t["samples"]) for t in alone for row in t["rows"] if row["variant"] == variant]


def setting(runs: Selection) -> dict[str, str]:
    """What was compared, on what."""
    config = runs.newest["config"]
    data, model, train = config["data"], config["model"], config["train"]
    encoder = f"{model['encoder']['layers']} + " if model["encoder"] else ""
    columns = f"{data['source_length']} + {data['target_length']}" if model["encoder"] else str(data["target_length"])
    corpus = _all(record["corpus"] for record in runs.of("train")) or data["dataset"] or data["folder"] or data["kind"]
    packing = "packed" if data["packing"] else "one sentence a row"
    facts = {
        "Task": f"{runs.task}, config {runs.name}",
        "Corpus": f"{corpus} (generated)" if _generated(runs) and "generated" not in corpus.lower() else corpus,
        "Variants": f"{', '.join(runs.variants)} (the first is the baseline)",
        "Model": f"{encoder}{model['decoder']['layers']} layers, width {model['width']}, "
        f"vocabulary {model['vocabulary']:,}, {model['dtype']}",
        "Training": f"{train['steps']:,} steps of {data['rows']} rows x {columns} tokens, {packing}",
        "Seeds": _all((str(record["seed"]) for record in runs.records), ", "),
        "Device": _all(record["device"] for record in runs.records),
    }
    if timed := runs.of("timing"):
        last = max(timed, key=lambda record: record["when"])
        memory, arithmetic = (significant(last[f"peak_{each}_per_s"] / 1e9) for each in ("bytes", "flops"))
        facts["Measured peaks"] = f"{memory} GB/s, {arithmetic} GFLOP/s"
    trained = any(runs.of(kind) for kind in ("train", "quality", "perplexity"))
    return {name: text for name, text in facts.items() if trained or name not in ("Corpus", "Training")}


def provenance(runs: Selection) -> dict[str, str]:
    """When, and what is needed to do it again."""
    when = sorted(record["when"][:16].replace("T", " ") for record in runs.records)
    return {
        "Measured": _all((when[0], when[-1]), " to ") + " UTC",
        "Versions": _all(", ".join(f"{p} {v}" for p, v in record["versions"].items()) for record in runs.records),
        "Commit": _all(record["commit"] for record in runs.records),
        "Command": _all(record["command"] for record in runs.records),
    }


def warnings(runs: Selection) -> Iterator[str]:
    """What must be known before any number is read."""
    if _generated(runs) and (runs.of("quality") or runs.of("perplexity")):
        yield (
            "The corpus is generated, not collected: the scores compare attention types in this code "
            "and say nothing about real text."
        )
    bad = [f"{r['variant']} (seed {r['seed']})" for r in runs.of("train") if not math.isfinite(r["final_loss"])]
    if bad:
        yield f"The loss of {', '.join(bad)} is not a number."
    if runs.of("train", runs.variants[0]):
        budgets = {variant: over_seeds(runs.of("train", variant), "parameters").mean for variant in runs.variants}
        yield from unequal_budgets({variant: size for variant, size in budgets.items() if size})
    if not runs.trained_alike:
        used = ", ".join(sorted({record["device"] for record in runs.of("train")}))
        yield f"The runs were trained on several devices ({used}): training speeds are not compared."
    devices = {record["device"] for variant in runs.variants for record in runs.timed(variant)}
    if len(devices) > 1:
        yield f"Decoding was timed on several devices ({', '.join(sorted(devices))}): no speed-up is given across them."


def unequal_budgets(parameters: Mapping[str, float]) -> Iterator[str]:
    """Which variants do not have as many parameters as the first."""
    baseline, expected = next(iter(parameters.items()))
    for variant, size in parameters.items():
        if abs(size - expected) > BUDGET_TOLERANCE * expected:
            yield f"{variant} has {size:,.0f} parameters, {baseline} {expected:,.0f}: not an equal budget."


def limits(runs: Selection) -> Iterator[str]:
    """The limits of what was measured."""
    if len({record["seed"] for kind in ("train", "quality", "perplexity") for record in runs.of(kind)}) == 1:
        yield (
            "One seed: how much the scores vary from training to training is not known. A small difference may be "
            "the seed's; run more with --seeds."
        )
    steps = runs.newest["config"]["train"]["steps"]
    if runs.of("train") and steps < paper.STEPS[runs.task]:
        yield (
            f"Short training: {steps:,} steps; the paper trained {paper.STEPS[runs.task]:,} on its {runs.task} task. "
            "How attention types compare so early need not be how they compare later."
        )
    if any("(cpu)" in record["device"] for record in runs.of("timing")):
        yield "Decoding was timed on a CPU: neither the times nor the speed-ups carry over to an accelerator."
    slowest = {
        variant: max(
            r[f"{side}_us_spread"][1] / r[f"{side}_us_per_token"] for r in timed for side in ("encoder", "decoder")
        )
        for variant in runs.variants
        if (timed := runs.timed(variant))
    }
    if unsteady := [f"{variant} {ratio:.1f}×" for variant, ratio in slowest.items() if ratio > UNSTEADY]:
        yield (
            f"Timing was unsteady: the slowest round over the median is {', '.join(unsteady)}. Other work on the "
            "machine may be why; time again when it is idle before trusting the speed-ups."
        )
    if any(record["commit"].endswith("+") for record in runs.records):
        yield "A commit marked + had files that were changed and not committed."
    worst = max(runs.of("quality"), key=lambda record: record["truncated"], default={"truncated": 0})
    if worst["truncated"]:
        yield (
            "Some sources were longer than the model's positions and were translated without their end, at most "
            f"{worst['truncated']:,} of {worst['sentences']:,} ({worst['variant']}, {worst['split']}, beam "
            f"{worst['beam']})."
        )


def reading(runs: Selection) -> list[str]:
    """What the columns mean and how they were measured."""
    return [*(text for kind, texts in READING.items() if runs.of(kind) for text in texts), RECORDS]


def signatures(runs: Selection) -> dict[str, str]:
    """The sacreBLEU signatures in full, and what else must be known to score alike."""
    fields = {"BLEU intl": "signature_intl", "BLEU 13a": "signature_13a", "chrF": "signature_chrf"}
    facts = {name: _all(record[field] for record in runs.of("quality")) for name, field in fields.items()}
    facts["paired bootstrap"] = _all(record["signature"] for record in runs.of("significance"))
    facts["length penalty of beam search"] = _all(f"{record['alpha']:g}" for record in runs.of("quality"))
    return {name: text for name, text in facts.items() if text}


def _generated(runs: Selection) -> bool:
    return runs.newest["config"]["data"]["kind"] == "grammar"


def _all(values: Iterable[str], between: str = "; ") -> str:
    """The different values, in order."""
    return between.join(dict.fromkeys(values))
