"""The tables of a comparison, from records: a summary, the paper's three tables with our rows, and significance.

BLEU is sacreBLEU's with `intl` tokens, as in the paper, unless a column says otherwise. Times are the medians
that the records hold, in microseconds a token.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from mqa_jax.experiment import model_of
from mqa_jax.report import cells, paper
from mqa_jax.report.document import Table
from mqa_jax.report.selection import Record, Sample, Selection, sample

T = TypeVar("T")
_ATTENTION = "attention", "h", "d_k, d_v", "d_ff"


def summary(records: Sequence[Record], order: Sequence[str] = ()) -> Table:
    """One row a variant: budget, quality, decoding time and training speed. The first variant is the baseline."""
    runs = Selection(records, order)
    if not runs:
        return Table("No records", ("variant",), (), "Nothing has been measured yet.")
    translation = runs.task == "translation"
    columns = ["variant", "d_ff", "parameters"]
    columns += [f"BLEU, beam {beam}" for beam in runs.beams] if translation else ["perplexity per word"]
    columns += [
        f"greedy µs/token, {'encoder' if translation else 'prompt'} + decoder",
        "decoder speed-up",
        "share of floor",
        "cache a sequence",
        "training tokens/s",
    ]
    rows = []
    for variant in runs.variants:
        train, timing = runs.of("train", variant), runs.headline(variant, 1)
        quality = [_bleu(runs, variant, "test", beam) for beam in runs.beams]
        if not translation:
            quality = [cells.mean(sample(runs.of("perplexity", variant, split="test"), "perplexity_per_word"), 2)]
        rows.append(
            (
                variant,
                feed_forward(runs, variant),
                cells.whole(sample(train, "parameters").mean),
                *quality,
                _encoder_decoder(timing),
                cells.times(speed_up(runs, variant, 1)),
                cells.percent(sample(timing, "floor_share").mean),
                cells.size(sample(timing, "cache_bytes_per_sequence").mean),
                cells.whole(sample(train, "tokens_per_s").mean),
            )
        )
    notes = [
        "BLEU: sacreBLEU, intl." if translation else "",
        f"Speed-up is {runs.variants[0]}'s decoder time over the variant's.",
        _shape_note(runs),
        seed_note(runs),
    ]
    return Table(
        f"Summary: {runs.name}, quality on the test split", tuple(columns), tuple(rows), " ".join(filter(None, notes))
    )


def table_1(records: Sequence[Record], order: Sequence[str] = ()) -> Table | None:
    """Translation quality in the shape of the paper's Table 1; None without a measured translation model."""
    runs = Selection(records, order)
    if not runs or runs.task != "translation" or not (runs.of("quality") or runs.of("perplexity")):
        return None
    beams = " / ".join(map(str, runs.beams))
    rows = []
    for variant in runs.variants:
        dev = sample(runs.of("perplexity", variant, split="dev"), "nll_per_token")
        test = cells.joined([_bleu(runs, variant, "test", beam) for beam in runs.beams])
        rows.append((*_attention(runs, variant), cells.mean(dev, 3), _bleu(runs, variant, "dev", 1), test))
    ours = *_ATTENTION, "ln(PPL) dev", "BLEU dev", f"BLEU test, beam {beams}"
    theirs = "paper: ln(PPL) dev", "paper: BLEU dev", "paper: BLEU test, beam 1 / 4"
    beside = [
        row
        and (
            f"{row.ln_perplexity:.3f}",
            f"{row.bleu_dev:.1f}",
            " / ".join(f"{bleu:.1f}" for bleu in row.bleu_test) if row.bleu_test else cells.MISSING,
        )
        for row in (_paper_row(runs, variant, paper.table_1) for variant in runs.variants)
    ]
    note = f"ln(PPL) is per subword token and depends on the vocabulary. BLEU: sacreBLEU, intl. {seed_note(runs)}"
    return _beside("Table 1: translation quality", ours, rows, theirs, beside, note)


def table_2(records: Sequence[Record], order: Sequence[str] = ()) -> Table | None:
    """Time a token in the shape of the paper's Table 2; None without a timing record of the config's shape."""
    runs = Selection(records, order)
    if not any(runs.headline(variant, beam) for variant in runs.variants for beam in _timed_beams(runs)):
        return None
    sides = "encoder + decoder" if runs.task == "translation" else "prompt + decoder"
    ours = ["attention", "training"]
    ours += [f"{'greedy' if beam == 1 else f'beam {beam}'}: {sides}" for beam in _timed_beams(runs)]
    rows = []
    for variant in runs.variants:
        rates = sample(runs.of("train", variant), "tokens_per_s").values
        training = Sample(tuple(1e6 / rate for rate in rates if rate))
        decoding = [_encoder_decoder(runs.headline(variant, beam)) for beam in _timed_beams(runs)]
        rows.append((variant, cells.mean_significant(training), *decoding))
    theirs = [f"paper, {paper.DEVICE}: {what}" for what in ("training", f"greedy: {sides}", f"beam 4: {sides}")]
    beside = [
        row
        and (
            f"{row.training:.1f}",
            *(f"{encoder:.1f} + {decoder:g}" for encoder, decoder in (row.greedy, row.beam_4)),
        )
        for row in (_paper_row(runs, variant, paper.table_2) for variant in runs.variants)
    ]
    counted = "source and target tokens" if runs.task == "translation" else "tokens"
    note = f"{_shape_note(runs)} Training is per {counted}, padding not counted."
    if any(beside):
        per = " Its training time is per target token." if runs.task == "translation" else ""
        note += f" The paper's: {paper.CONDITIONS}; another machine, so compare ratios, not times.{per}"
    return _beside("Table 2: µs per token", ours, rows, theirs, beside, note)


def table_3(records: Sequence[Record], order: Sequence[str] = ()) -> Table | None:
    """Perplexity per word in the shape of the paper's Table 3; None without a measured language model."""
    runs = Selection(records, order)
    if not runs or runs.task != "language" or not runs.of("perplexity", split="dev"):
        return None
    rows = []
    for variant in runs.variants:
        dev = sample(runs.of("perplexity", variant, split="dev"), "perplexity_per_word")
        rows.append((*_attention(runs, variant), cells.mean(dev, 2)))
    found = [_paper_row(runs, variant, paper.table_3) for variant in runs.variants]
    beside = [(f"{perplexity:.1f}",) if perplexity else None for perplexity in found]
    ours, theirs = (*_ATTENTION, "dev PPL per word"), ["paper: dev PPL per word"]
    return _beside("Table 3: language model", ours, rows, theirs, beside, seed_note(runs))


def significance(records: Sequence[Record], order: Sequence[str] = ()) -> list[Table]:
    """One table for each paired bootstrap test, which is of one seed."""
    runs = Selection(records, order)
    tables = []
    for record in runs.of("significance"):
        found = {row["variant"]: row for row in record["rows"]}
        rows = [
            (
                variant,
                cells.decimals(row["score"], 2),
                f"{cells.decimals(row['mean'], 2)} ± {cells.decimals(row['ci'], 2)}",
                "baseline" if row["p_value"] is None else cells.decimals(row["p_value"], 3),
            )
            for variant in runs.variants
            if (row := found.get(variant))
        ]
        tokens = re.search(r"tok:(\w+)", record["signature"])
        metric = f"{record['metric']} {tokens[1]}" if tokens else record["metric"]
        place = f"{record['split']}, beam {record['beam']}, seed {record['seed']}"
        title = f"{metric} against {record['baseline']}: {place}"
        note = f"Paired bootstrap over {record['samples']:,} resamples of the {record['split']} sentences."
        tables.append(Table(title, ("variant", metric, "bootstrap mean ± 95% CI", "p-value"), tuple(rows), note))
    return tables


def speed_up(runs: Selection, variant: str, beam: int) -> float | None:
    """The baseline's decoder time over the variant's, both of the headline shape; None across devices."""
    baseline, own = runs.headline(runs.variants[0], beam), runs.headline(variant, beam)
    if len({(record["device"], record["dtype"]) for record in [*baseline, *own]}) != 1:
        return None
    before, after = (sample(each, "decoder_us_per_token").mean for each in (baseline, own))
    return before / after if before is not None and after else None


def _beside(
    title: str,
    ours: Sequence[str],
    rows: Sequence[tuple[str, ...]],
    theirs: Sequence[str],
    beside: Sequence[tuple[str, ...] | None],
    note: str,
) -> Table:
    """Our columns, and then the paper's if it has any of the rows."""
    if any(beside):
        rows = [row + (other or (cells.MISSING,) * len(theirs)) for row, other in zip(rows, beside, strict=True)]
        ours, note = [*ours, *theirs], f"{note} Paper: {paper.SOURCE}."
    return Table(title, tuple(ours), tuple(rows), note.strip())


def _paper_row(runs: Selection, variant: str, table: Callable[[str, Mapping[str, Any]], T | None]) -> T | None:
    record = runs.any(variant)
    return table(record["name"], record["config"]) if record else None


def _attention(runs: Selection, variant: str) -> tuple[str, str, str, str]:
    """The variant, h, d_k and d_v, d_ff."""
    record = runs.any(variant)
    if record is None:
        return variant, cells.MISSING, cells.MISSING, cells.MISSING
    attention = model_of(record).decoder.attention[0]
    sizes = dict.fromkeys((attention.key_size, attention.value_size))
    return variant, str(attention.heads), ", ".join(map(str, sizes)), feed_forward(runs, variant)


def feed_forward(runs: Selection, variant: str) -> str:
    """d_ff of a variant."""
    record = runs.any(variant)
    return str(record["config"]["model"]["decoder"]["feed_forward"]) if record else cells.MISSING


def _bleu(runs: Selection, variant: str, split: str, beam: int) -> str:
    return cells.mean(sample(runs.of("quality", variant, split=split, beam=beam), "bleu_intl"), 2)


def _encoder_decoder(timing: Sequence[Record]) -> str:
    return cells.plus(
        *(cells.mean_significant(sample(timing, f"{side}_us_per_token")) for side in ("encoder", "decoder"))
    )


def _timed_beams(runs: Selection) -> list[int]:
    return sorted({beam for record in runs.of("timing") for beam in record["config"]["timing"]["beams"]})


def _shape_note(runs: Selection) -> str:
    """What the headline times are of: device, batch, lengths, type. One clause for each that there is."""
    timed = [
        record for variant in runs.variants for beam in _timed_beams(runs) for record in runs.headline(variant, beam)
    ]
    shapes = dict.fromkeys(
        f"batch {r['batch']}, {r['source_length']} tokens in, {r['target_length']} out, {r['dtype']}, {r['device']}"
        for r in timed
    )
    return f"Decoding: {'; '.join(shapes)}." if shapes else ""


def seed_note(runs: Selection) -> str:
    """Over how many seeds `±` was taken."""
    kinds = "train", "quality", "perplexity"
    counts = {
        variant: len({record["seed"] for kind in kinds for record in runs.of(kind, variant)})
        for variant in runs.variants
    }
    if max(counts.values(), default=0) < 2:
        return ""
    same = len(set(counts.values())) == 1
    n = f"n = {counts[runs.variants[0]]}" if same else ", ".join(f"{variant} {n}" for variant, n in counts.items())
    return f"± is the standard deviation over seeds ({n})."
