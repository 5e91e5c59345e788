"""The tables of a comparison, from records.

A column is one line in a table's list: `Column("training s", "train_s", integer, TRAIN)` has a header, the field it
shows, how a number is printed, and of which records. A column without a figure is left out, and one that is equal in
all rows moves into the note.

BLEU is sacreBLEU's with `intl` tokens, as in the paper, unless a column says otherwise. Times are medians over rounds.
"""

import re
from collections.abc import Sequence

from mqa_jax.attention.config import in_turn
from mqa_jax.experiment import model_of
from mqa_jax.report import paper
from mqa_jax.report.cells import decimals, integer, p_value, percent, significant, size, times, yes_no
from mqa_jax.report.selection import Record, Selection
from mqa_jax.report.table import Column, Table

TRAIN, PAPER = {"kind": "train"}, {"kind": "paper"}
ENCODER, DECODER = "encoder_us_per_token", "decoder_us_per_token"
VARIANT, D_FF = Column("variant", "variant"), Column("d_ff", "d_ff")
ATTENTION = Column("attention", "variant")
SIZES = [ATTENTION, Column("h", "heads"), Column("d_k", "key_size"), Column("d_v", "value_size"), D_FF]


def summary(runs: Selection) -> Table:
    """One row a variant: first quality, decoding time and cache, then the rest. The first variant is the baseline."""
    if not runs:
        return Table("No records", ("variant",), (), "Nothing has been measured yet.")
    greedy, workload, translation = runs.headline(1), _workload_note(runs), runs.task == "translation"
    *others, best = [_bleu(runs.test, beam) for beam in runs.beams]
    columns = [
        VARIANT,
        best if translation else Column("test PPL per word", "perplexity_per_word", decimals(2), _perplexity("test")),
        Column("decoder µs/token", DECODER, significant, greedy),
        Column("speed-up", "speed_up", times),
        Column("cache a sequence", "cache_bytes_per_sequence", size, greedy),
        *(others if translation else ()),
        Column(f"{_side(runs)} µs/token", ENCODER, significant, greedy),
        Column("share of floor", "floor_share", percent, greedy),
        *([Column("training tokens/s", "tokens_per_s", integer, TRAIN)] if runs.trained_alike else ()),
        D_FF,
        Column("parameters", "parameters", integer, TRAIN),
    ]
    notes = (
        "BLEU: sacreBLEU, intl." if runs.of("quality") else "",
        f"Speed-up is {runs.variants[0]}'s decoder time over the variant's." if workload else "",
        workload,
        _seed_note(runs),
    )
    return Table.of(f"Summary: {runs.name}", columns, _rows(runs), _joined(*notes))


def examples(runs: Selection) -> Table | None:
    """Lines of the test text and what each variant makes of them, below each other. None where no record holds any."""
    found = {}
    for variant in runs.variants:
        for record in runs.of("quality", variant, split=runs.test, beam=runs.beams[-1])[:1]:
            found |= {variant: record["examples"]} if "examples" in record else {}
    if not found:
        return None
    first = next(iter(found.values()))
    found = {name: own for name, own in found.items() if [e["source"] for e in own] == [e["source"] for e in first]}
    rows = [(side, *(each[side] for each in first)) for side in ("source", "reference")]
    rows += [(variant, *(each["output"] for each in own)) for variant, own in found.items()]
    note = f"Evenly spread over the text, not chosen. Beam {runs.beams[-1]}."
    return Table("Lines of the test text", ("", *(f"line {each['line']:,}" for each in first)), tuple(rows), note)


def table_1(runs: Selection) -> Table | None:
    """Translation quality in the shape of the paper's Table 1."""
    if runs.task != "translation":
        return None
    dev = paper.DEV_SET if paper.is_of_its_data(runs.name, runs.newest["config"]) else ""
    ours = [
        Column(f"ln(PPL) {dev or 'dev'}", "nll_per_token", decimals(3), _perplexity("dev")),
        _bleu("dev", 1, dev),
        *(_bleu(text, beam) for text in _judged(runs) for beam in runs.beams),
    ]
    theirs = [
        Column(f"paper: ln(PPL) {paper.DEV_SET}", "ln_perplexity", where=PAPER),
        Column(f"paper: BLEU {paper.DEV_SET}, beam 1", "bleu_dev", where=PAPER),
    ]
    same = paper.TEST_SET in _judged(runs)  # BLEU of other lines is another figure
    theirs += [
        Column(f"paper: BLEU {paper.TEST_SET}, beam {beam}", f"bleu_test_beam_{beam}", where=PAPER)
        for beam in (1, 4)
        if same
    ]
    note = f"ln(PPL) is per subword token and depends on the vocabulary. BLEU: sacreBLEU, intl. {_seed_note(runs)}"
    if not same and any(paper.figures(r["name"], r["config"]) for r in runs.of("quality")):
        note += f" The paper's test BLEU is of {paper.TEST_SET} (2,737 lines), which was not scored here."
    return _beside("Table 1: translation quality", SIZES, ours, theirs, runs, note)


def table_2(runs: Selection) -> Table | None:
    """Time a token in the shape of the paper's Table 2."""
    beams, them = _timed_beams(runs), f"paper, {paper.DEVICE}"
    named = {beam: "greedy" if beam == 1 else f"beam {beam}" for beam in (1, 4, *beams)}
    sides = (_side(runs), "encoder"), ("decoder", "decoder")
    training = Column("training", "training_us_per_token", significant)
    ours = [
        Column(f"{named[beam]}: {side}", f"{field}_us_per_token", significant, runs.headline(beam))
        for beam in beams
        for side, field in sides
    ]
    theirs = [Column(f"{them}: training", "training_us", where=PAPER)]
    theirs += [
        Column(f"{them}: {named[beam]}: {side}", f"{field}_us_beam_{beam}", where=PAPER)
        for beam in (1, 4)
        for side, field in sides
    ]
    note = _joined(_workload_note(runs), _training_note(runs))
    about = f"The paper's: {paper.CONDITIONS}. It is another machine: compare ratios, not times."
    return _beside("Table 2: µs per token", [ATTENTION, training], ours, theirs, runs, note, about)


def table_3(runs: Selection) -> Table | None:
    """Perplexity per word in the shape of the paper's Table 3."""
    if runs.task != "language":
        return None
    ours = [Column("dev PPL per word", "perplexity_per_word", decimals(2), _perplexity("dev"))]
    theirs = [Column("paper: dev PPL per word", "perplexity_per_word", where=PAPER)]
    note, about = _joined(_scored(runs), _seed_note(runs)), f"The paper's was scored on {paper.SCORED}."
    return _beside("Table 3: language model", SIZES, ours, theirs, runs, note, about)


def significance(runs: Selection) -> list[Table]:
    """One table for each paired bootstrap test, which is of one seed."""
    tables = []
    for record in runs.of("significance"):
        p_values = {  # the baseline is not tested against itself
            row["variant"]: "baseline" if (p := row["p_value"]) is None else p_value(p, record["samples"])
            for row in record["rows"]
        }
        rows = {row["variant"]: [row | {"p_value": p_values[row["variant"]]}] for row in record["rows"]}
        tokens = re.search(r"tok:(\w+)", record["signature"])
        metric = f"{record['metric']} {tokens[1]}" if tokens else record["metric"]
        columns = [
            VARIANT,
            Column(metric, "score", decimals(2)),
            Column("p-value", "p_value"),
            Column("bootstrap mean", "mean", decimals(2)),
            Column("± 95% CI", "ci", decimals(2)),
        ]
        place = f"{record['split']}, beam {record['beam']}, seed {record['seed']}"
        title = f"{metric} against {record['baseline']}: {place}"
        note = f"Paired bootstrap over {record['samples']:,} resamples of the {record['split']} sentences."
        tables.append(Table.of(title, columns, [rows[name] for name in runs.variants if name in rows], note))
    return tables


def _spread(name: str, header: str, figure: str, spread: str) -> tuple[Column, ...]:
    return (
        Column(header, figure, significant),
        Column(f"{name} min", f"{spread}.0", significant),
        Column(f"{name} max", f"{spread}.1", significant),
    )


# Every figure of a kind of record, one row for each measurement and variant: kind, title, columns.
IN_FULL = (
    (
        "quality",
        "Translation quality in full",
        VARIANT,
        Column("split", "split"),
        Column("beam", "beam"),
        Column("BLEU intl", "bleu_intl", decimals(2)),
        Column("BLEU 13a", "bleu_13a", decimals(2)),
        Column("chrF", "chrf", decimals(2)),
        Column("sentences", "sentences"),
        Column("sources cut", "truncated"),
    ),
    (
        "perplexity",
        "Perplexity in full",
        VARIANT,
        Column("split", "split"),
        Column("ln(PPL) per token", "nll_per_token", decimals(4)),
        Column("PPL per token", "perplexity_per_token", decimals(3)),
        Column("PPL per word", "perplexity_per_word", decimals(2)),
        Column("tokens", "tokens"),
        Column("words", "words"),
        Column("tokens cut", "tokens_cut"),
    ),
    (
        "timing",
        "Decoding time in full",
        VARIANT,
        Column("beam", "beam"),
        Column("batch", "batch"),
        Column("source", "source_length"),
        Column("target", "target_length"),
        Column("type", "dtype"),
        Column("weights", "weight_dtype"),
        Column("cache", "cache_dtype"),
        *_spread("decoder", "decoder µs/token", DECODER, "decoder_us_spread"),
        Column("floor µs/token", "floor_us_per_token", significant),
        Column("share of floor", "floor_share", percent),
        Column("ms a step", "ms_per_step", significant),
        *_spread("source", "source µs/token", ENCODER, "encoder_us_spread"),
        Column("rounds", "repeats"),
    ),
    (
        "latency",
        "Latency of one sentence",
        VARIANT,
        Column("source", "source_length"),
        Column("target", "target_length"),
        Column("type", "dtype"),
        Column("ms a token, p50", "ms_per_token_p50", significant),
        Column("p99", "ms_per_token_p99", significant),
        Column("ms to the first token", "ms_to_first_token", significant),
    ),
    (
        "train_timing",
        "Training steps in full",
        VARIANT,
        Column("batch", "batch"),
        Column("source", "source_length"),
        Column("target", "target_length"),
        Column("type", "dtype"),
        Column("dropout", "dropout.0", percent),
        Column("rematerialised", "rematerialise", yes_no),
        Column("tokens/s", "tokens_per_s", integer),
        *_spread("step", "ms a step", "ms_per_step", "ms_spread"),
        Column("mfu", "mfu", percent),
        Column("activations MiB", "activations_mb", integer),
        Column("compile s", "compile_s", significant),
    ),
)


def in_full(runs: Selection) -> dict[str, Table]:
    """Every measurement there is, by kind of record, and what each variant's name stands for (`attention`)."""
    about = "Write heads: heads of keys and values. A window holds the position itself."
    columns = VARIANT, Column("decoder self-attention", "decoder"), Column("elsewhere", "elsewhere"), D_FF
    tables = {"attention": Table.of("Attention types", columns, _rows(runs), about)}
    for kind, title, *columns in IN_FULL:
        if groups := runs.groups(kind):
            tables[kind] = Table.of(title, columns, groups, _seed_note(runs))
    return tables


def _rows(runs: Selection) -> list[list[Record]]:
    """For each variant its records and what follows from them: the model's sizes, the speed-up, the paper's figures."""
    rows: list[list[Record]] = []
    for variant in runs.variants:
        own = [record for record in runs.records if record["variant"] == variant]
        derived: list[Record] = [{"variant": variant, "speed_up": runs.speed_up(variant)}]
        derived += [{"training_us_per_token": 1e6 / rate} for rate in _training_rates(runs, variant)]
        if own:
            derived += [_sizes(own[-1]), PAPER | paper.figures(own[-1]["name"], own[-1]["config"])]
        rows.append([*derived, *own])
    return rows


def _sizes(record: Record) -> dict[str, str]:
    """A variant's attention and feed-forward layers. The sizes are those of the first decoder layer."""
    model = model_of(dict(record))
    decoder, encoder = model.decoder, model.encoder
    first, cycle = decoder.attention[0], in_turn(decoder.attention)
    others = dict.fromkeys(each.describe() for each in decoder.cross + (encoder.attention if encoder else ()))
    return {
        "heads": str(first.heads),
        "key_size": str(first.key_size),
        "value_size": str(first.value_size),
        "d_ff": str(decoder.feed_forward),
        "decoder": cycle,
        "elsewhere": "; ".join(each for each in others if each != cycle) or "the same",
    }


def _beside(
    title: str,
    named: Sequence[Column],
    ours: Sequence[Column],
    theirs: Sequence[Column],
    runs: Selection,
    note: str,
    about: str = "",
) -> Table | None:
    """Our figures, and the paper's if it has any of the rows. None where nothing of ours has been measured."""
    rows = _rows(runs)
    if not any(column.has_any(rows) for column in ours):
        return None
    if any(column.has_any(rows) for column in theirs):
        return Table.of(title, [*named, *ours, *theirs], rows, _joined(note, about, f"Paper: {paper.SOURCE}."))
    return Table.of(title, [*named, *ours], rows, note.strip())


def _bleu(split: str, beam: int, name: str = "") -> Column:
    """Of a split; `name`: what sacreBLEU calls it, where the records do not."""
    where = {"kind": "quality", "split": split, "beam": beam}
    return Column(f"BLEU {name or split}, beam {beam}", "bleu_intl", decimals(2), where)


def _training_rates(runs: Selection, variant: str) -> list[float]:
    """Target tokens a second, as the paper counts them: of timed steps, or of the training itself where there are none.

    The training's own are left out where runs were trained on different devices.
    """
    if timed := _timed_steps(runs, variant):
        return [each["batch"] * each["target_length"] / each["ms_per_step"] * 1e3 for each in timed]
    trained = runs.of("train", variant) if runs.trained_alike else []
    key = "tokens_per_s" if runs.task == "language" else "target_tokens_per_s"
    return [each[key] for each in trained if each.get(key)]


def _training_note(runs: Selection) -> str:
    """Of which steps the training column is."""
    shapes: dict[str, None] = {}
    for each in (each for variant in runs.variants for each in _timed_steps(runs, variant)):
        source = f"{each['source_length']} + " if each["source_length"] else ""
        shapes |= {f"{each['batch']} rows of {source}{each['target_length']} tokens, {each['device']}": None}
    if not any(_training_rates(runs, variant) for variant in runs.variants):
        return ""
    return "Training is per target token" + (f": timed steps of {'; '.join(shapes)}." if shapes else ", unpadded.")


def _timed_steps(runs: Selection, variant: str) -> list[Record]:
    """Timed steps of the shape that the config trains with, dropout included."""
    data = runs.newest["config"]["data"]
    source = 0 if runs.task == "language" else data["source_length"]
    shape = {"batch": data["rows"], "source_length": source, "target_length": data["target_length"]}
    dropout = list(runs.newest["config"]["model"]["dropout"].values())
    return [each for each in runs.of("train_timing", variant, **shape) if list(each["dropout"]) == dropout]


def _judged(runs: Selection) -> list[str]:
    """What the texts are called that translations are judged by, the first one first."""
    texts = dict.fromkeys([runs.test, *(record["split"] for record in runs.of("quality"))])
    return [text for text in texts if text == runs.test or text.startswith(f"{runs.test}-")]


def _scored(runs: Selection) -> str:
    """Which lines a language model was scored on, how they were laid out, and what became of rare words."""
    data, scored = runs.newest["config"]["data"], runs.of("perplexity", split="dev")
    texts = dict.fromkeys(record["corpus"] for record in runs.of("train")) or [data["dataset"]]
    rows = dict.fromkeys("packed rows" if record.get("packed") else "a line in each row" for record in scored)
    words = f"words outside {data['unk']} as UNK" if data.get("unk") else "no word replaced by UNK"
    return f"Scored on all of dev: {', '.join([*filter(None, [' / '.join(texts)]), ' / '.join(rows), words])}."


def _perplexity(split: str) -> dict[str, str]:
    return {"kind": "perplexity", "split": split}


def _side(runs: Selection) -> str:
    return "encoder" if runs.task == "translation" else "prompt"


def _timed_beams(runs: Selection) -> list[int]:
    return sorted({beam for record in runs.of("timing") for beam in record["config"]["timing"]["beams"]})


def _workload_note(runs: Selection) -> str:
    """What the headline times are of: device, batch, lengths, type. One clause for each that there is."""
    workloads = dict.fromkeys(
        f"batch {r['batch']}, {r['source_length']} tokens in, {r['target_length']} out, {r['dtype']}, {r['device']}"
        for variant in runs.variants
        for beam in _timed_beams(runs)
        for r in runs.timed(variant, beam)
    )
    return f"Decoding: {'; '.join(workloads)}." if workloads else ""


def _seed_note(runs: Selection) -> str:
    """Over how many seeds `±` was taken."""
    kinds = "train", "quality", "perplexity"
    seeds = {name: {record["seed"] for kind in kinds for record in runs.of(kind, name)} for name in runs.variants}
    counts = {name: len(of) for name, of in seeds.items()}
    if max(counts.values()) < 2:
        return ""
    same = len(set(counts.values())) == 1
    n = f"n = {max(counts.values())}" if same else ", ".join(f"{name} {n}" for name, n in counts.items())
    return f"± is the standard deviation over seeds ({n})."


def _joined(*notes: str) -> str:
    return " ".join(filter(None, map(str.strip, notes)))
