"""Every figure of a comparison in full, and what each variant's name stands for."""

from collections.abc import Sequence

from mqa_jax.attention.config import in_turn
from mqa_jax.experiment import model_of
from mqa_jax.report import cells
from mqa_jax.report.document import Table
from mqa_jax.report.selection import Record, Selection, sample
from mqa_jax.report.tables import feed_forward, seed_note


def attention_types(records: Sequence[Record], order: Sequence[str] = ()) -> Table | None:
    """What each variant's name stands for."""
    runs = Selection(records, order)
    rows = []
    for variant in runs.variants:
        if record := runs.any(variant):
            model = model_of(record)
            decoder, encoder = model.decoder, model.encoder
            cycle = in_turn(decoder.attention)
            others = decoder.cross + (encoder.attention if encoder else ())
            described = dict.fromkeys(each.describe() for each in others)
            elsewhere = "; ".join(each for each in described if each != cycle)
            rows.append((variant, cycle, elsewhere or "the same", feed_forward(runs, variant)))
    columns = "variant", "decoder self-attention", "elsewhere", "d_ff"
    note = "Write heads: heads of keys and values. A window holds the position itself."
    return Table("Attention types", columns, tuple(rows), note) if rows else None


def quality(records: Sequence[Record], order: Sequence[str] = ()) -> Table | None:
    """Every BLEU and chrF that was measured."""
    runs = Selection(records, order)
    rows = []
    for split, beam in _distinct(runs.of("quality"), "split", "beam"):
        for variant in runs.variants:
            found = runs.of("quality", variant, split=split, beam=beam)
            if not found:
                continue
            scores = [cells.mean(sample(found, field), 2) for field in ("bleu_intl", "bleu_13a", "chrf")]
            counts = [cells.count(sample(found, field).mean) for field in ("sentences", "truncated")]
            rows.append((variant, split, str(beam), *scores, *counts))
    columns = "variant", "split", "beam", "BLEU intl", "BLEU 13a", "chrF", "sentences", "sources cut"
    return Table("Translation quality in full", columns, tuple(rows), seed_note(runs)) if rows else None


def perplexity(records: Sequence[Record], order: Sequence[str] = ()) -> Table | None:
    """Every perplexity that was measured."""
    runs = Selection(records, order)
    rows = []
    for (split,) in _distinct(runs.of("perplexity"), "split"):
        for variant in runs.variants:
            if found := runs.of("perplexity", variant, split=split):
                fields = ("nll_per_token", 4), ("perplexity_per_token", 3), ("perplexity_per_word", 2)
                scores = [cells.mean(sample(found, field), digits) for field, digits in fields]
                counts = [cells.count(sample(found, field).mean) for field in ("tokens", "words", "tokens_cut")]
                rows.append((variant, split, *scores, *counts))
    columns = "variant", "split", "ln(PPL) per token", "PPL per token", "PPL per word", "tokens", "words", "tokens cut"
    return Table("Perplexity in full", columns, tuple(rows), seed_note(runs)) if rows else None


def timing(records: Sequence[Record], order: Sequence[str] = ()) -> Table | None:
    """Every timing, with its spread and floor."""
    runs = Selection(records, order)
    fields = "beam", "batch", "source_length", "target_length", "dtype"
    rows = [
        (
            record["variant"],
            *(str(record[field]) for field in fields),
            *(_spread(record, side) for side in ("encoder", "decoder")),
            cells.significant(record["floor_us_per_token"]),
            cells.percent(record["floor_share"]),
            cells.significant(record["ms_per_step"]),
            str(record["repeats"]),
        )
        for shape in _distinct(runs.of("timing"), *fields)
        for variant in runs.variants
        for record in runs.of("timing", variant, **dict(zip(fields, shape, strict=True)))
    ]
    first = "encoder" if runs and runs.task == "translation" else "prompt"
    columns = (
        "variant",
        "beam",
        "batch",
        "source",
        "target",
        "type",
        f"{first} µs/token (min to max)",
        "decoder µs/token (min to max)",
        "floor µs/token",
        "share of floor",
        "ms a step",
        "rounds",
    )
    return Table("Decoding time in full", columns, tuple(rows), "Medians over the rounds.") if rows else None


def latency(records: Sequence[Record], order: Sequence[str] = ()) -> Table | None:
    """What one sentence waits for: each token, and the first one."""
    runs = Selection(records, order)
    rows = [
        (
            variant,
            *(str(record[field]) for field in ("source_length", "target_length", "dtype")),
            *(
                cells.significant(record[f"ms_{field}"])
                for field in ("per_token_p50", "per_token_p99", "to_first_token")
            ),
        )
        for variant in runs.variants
        for record in runs.of("latency", variant)
    ]
    columns = "variant", "source", "target", "type", "ms a token, p50", "p99", "ms to the first token"
    note = (
        "Greedy, batch 1, every step started by itself and waited for; the first token includes the source's reading."
    )
    return Table("Latency of one sentence", columns, tuple(rows), note) if rows else None


def _spread(record: Record, side: str) -> str:
    low, high = (cells.significant(bound) for bound in record[f"{side}_us_spread"])
    return f"{cells.significant(record[f'{side}_us_per_token'])} ({low} to {high})"


def _distinct(records: Sequence[Record], *fields: str) -> list[tuple]:
    return sorted({tuple(record[field] for field in fields) for record in records})
