"""The tables of a comparison, from records.

A table is a list of columns of `columns.py`. One without a figure is left out, and one that is equal in all rows moves
into the note.

BLEU is sacreBLEU's with `intl` tokens, as in the paper, unless a column says otherwise. Times are medians over rounds.
"""

import re
from collections.abc import Sequence

from mqa_jax.attention.config import in_turn
from mqa_jax.experiment import model_of
from mqa_jax.report import paper
from mqa_jax.report.cells import MISSING, decimals, p_value
from mqa_jax.report.columns import column, columns
from mqa_jax.report.selection import Record, Selection
from mqa_jax.report.table import Column, Table

OVER_SEEDS = "Chance is both the seed and the choice of sentences. Holm's p is corrected for the number of variants."
TRAIN = {"kind": "train"}
DEV, TEST = ({"kind": "perplexity", "split": split} for split in ("dev", "test"))
ATTENTION = column("variant", header="attention")
SIZES = [ATTENTION, *columns("heads key_size value_size d_ff")]


def summary(runs: Selection) -> Table:
    """One row a variant: first quality, decoding time and cache, then the rest. The first variant is the baseline."""
    if not runs:
        return Table("No records", ("variant",), (), "Nothing has been measured yet.")
    greedy, workload, translation = runs.headline(1), _workload_note(runs), runs.task == "translation"
    *others, best = [_bleu(runs.test, beam) for beam in runs.beams]
    shown = [
        column("variant"),
        best if translation else column("perplexity_per_word", header="test PPL per word", where=TEST),
        column("decoder_us_per_token", where=greedy),
        column("speed_up"),
        column("cache_bytes_per_sequence", where=greedy),
        *(others if translation else ()),
        column("encoder_us_per_token", header=f"{_side(runs)} µs/token", where=greedy),
        column("floor_share", where=greedy),
        *([column("tokens_per_s", header="training tokens/s", where=TRAIN)] if runs.trained_alike else ()),
        column("d_ff"),
        column("config.train.learning_rate", where=TRAIN),
        column("parameters", where=TRAIN),
    ]
    notes = (
        "BLEU: sacreBLEU, intl." if runs.of("quality") else "",
        f"Speed-up is {runs.variants[0]}'s decoder time over the variant's." if workload else "",
        workload,
        _seed_note(runs),
    )
    return Table.of(f"Summary: {runs.name}", shown, _rows(runs), _joined(*notes))


def headline(runs: Selection) -> Table:
    """The result in a few columns, the difference from the baseline with its interval, for a page like the README."""
    greedy, translation = runs.headline(1), runs.task == "translation"
    shown = [
        column("variant"),
        _bleu(runs.test, runs.beams[-1]) if translation else column("nll_per_token", where=TEST),
        Column(f"against {runs.variants[0]}: 95% interval, Holm's p", "against"),
        column("cache_bytes_per_sequence", where=greedy),
        column("decoder_us_per_token", where=greedy),
        column("speed_up"),
    ]
    rows, tested = _rows(runs), runs.tested()
    for variant, row in zip(runs.variants, rows, strict=True):
        if test := tested.get(variant):
            figures = (test[each] for each in ("difference", "low", "high"))
            difference, low, high = (f"{each:+.{2 if translation else 4}f}" for each in figures)
            text = f"{difference} ({low} to {high}), {_p(test['p_holm'])}"
            row.append({"against": text.replace("-", "\N{MINUS SIGN}")})
    notes = _seed_note(runs), OVER_SEEDS if tested else "", _workload_note(runs)
    return Table.of(f"Result: {runs.name}", shown, rows, _joined(*notes))


def examples(runs: Selection) -> Table | None:
    """Lines of the test text and what each variant makes of them, below each other. None where no record holds any."""
    records = [runs.of("quality", variant, split=runs.test, beam=runs.beams[-1])[:1] for variant in runs.variants]
    found = {record["variant"]: record["examples"] for (record,) in filter(None, records) if "examples" in record}
    if not found:
        return None
    first = next(iter(found.values()))
    rows = [(side, *(each[side] for each in first)) for side in ("source", "reference")]
    for variant, own in found.items():
        if [each["source"] for each in own] == [each["source"] for each in first]:
            rows.append((variant, *(each["output"] for each in own)))
    note = f"Evenly spread over the text, not chosen. Beam {runs.beams[-1]}."
    return Table("Lines of the test text", ("", *(f"line {each['line']:,}" for each in first)), tuple(rows), note)


def table_1(runs: Selection) -> Table | None:
    """Translation quality in the shape of the paper's Table 1."""
    if runs.task != "translation":
        return None
    dev = paper.DEV_SET if paper.is_of_its_data(runs.name, runs.newest["config"]) else "dev"
    texts = dict.fromkeys([runs.test, *(record["split"] for record in runs.of("quality"))])
    judged = [text for text in texts if text == runs.test or text.startswith(f"{runs.test}-")]
    ours = [
        *SIZES,
        column("nll_per_token", header=f"ln(PPL) {dev}", show=decimals(3), where=DEV),
        _bleu("dev", 1, dev),
        *(_bleu(text, beam) for text in judged for beam in runs.beams),
    ]
    scored = paper.TEST_SET in judged  # BLEU of other lines is another figure
    theirs = _papers([field for field in paper.TABLE_1_FIELDS if scored or paper.TEST_SET not in field])
    note = f"ln(PPL) is per subword token and depends on the vocabulary. BLEU: sacreBLEU, intl. {_seed_note(runs)}"
    if not scored and any(paper.figures(r["name"], r["config"]) for r in runs.of("quality")):
        note += f" The paper's test BLEU is of {paper.TEST_SET} (2,737 lines), which was not scored here."
    return _beside("Table 1: translation quality", ours, theirs, runs, note)


def table_2(runs: Selection) -> Table | None:
    """Time a token in the shape of the paper's Table 2."""
    ours = [ATTENTION, column("training_us_per_token")]
    ours += [
        column(
            f"{side}_us_per_token",
            header=f"{paper.search(beam)}: {_side(runs) if side == 'encoder' else side}",
            where=runs.headline(beam),
        )
        for beam in _timed_beams(runs)
        for side in ("encoder", "decoder")
    ]
    note = _joined(_workload_note(runs), _training_note(runs))
    about = f"The paper's: {paper.CONDITIONS}. It is another machine: compare ratios, not times."
    theirs = _papers(paper.TABLE_2_FIELDS, f"paper, {paper.DEVICE}")
    return _beside("Table 2: µs per token", ours, theirs, runs, note, about)


def table_3(runs: Selection) -> Table | None:
    """Perplexity per word in the shape of the paper's Table 3."""
    if runs.task != "language":
        return None
    ours = [*SIZES, column("perplexity_per_word", header="dev PPL per word", where=DEV)]
    note, about = _joined(_scored(runs), _seed_note(runs)), f"The paper's was scored on {paper.SCORED}."
    return _beside("Table 3: language model", ours, _papers(paper.TABLE_3_FIELDS), runs, note, about)


def significance(runs: Selection) -> list[Table]:
    """One table for each paired bootstrap test, which is of one seed."""
    tables = []
    for record in runs.of("significance"):
        rows = {}
        for row in record["rows"]:
            p = row["p_value"]  # the baseline is not tested against itself
            rows[row["variant"]] = [row | {"p_value": "baseline" if p is None else p_value(p, record["samples"])}]
        tokens = re.search(r"tok:(\w+)", record["signature"])
        metric = f"{record['metric']} {tokens[1]}" if tokens else record["metric"]
        shown = [column("variant"), column("score", header=metric), *columns("p_value mean ci")]
        place = f"{record['split']}, beam {record['beam']}, seed {record['seed']}"
        title = f"{metric} against {record['baseline']}: {place}"
        note = f"Paired bootstrap over {record['samples']:,} resamples of the {record['split']} sentences."
        tables.append(Table.of(title, shown, [rows[name] for name in runs.variants if name in rows], note))
    return tables


def over_seeds(runs: Selection) -> list[Table]:
    """One table for each test over the seeds."""
    tables = []
    for record in runs.of("seeds"):
        digits = decimals(2 if "BLEU" in record["metric"] else 4)
        rows = {}
        for row in record["rows"]:
            p = {name: "baseline" if row["difference"] is None else _p(row[name]) for name in ("p_value", "p_holm")}
            rows[row["variant"]] = [row | p]
        figures = [column(name, show=digits) for name in ("sd", "difference", "low", "high")]
        shown = [*columns("variant seeds"), column("mean", header="mean", show=digits), *figures]
        shown += columns("p_value p_holm")
        place = f"{record['split']}, beam {record['beam']}" if "beam" in record else record["split"]
        title = f"{record['metric']} against {record['baseline']} over seeds: {place}"
        tables.append(Table.of(title, shown, [rows[name] for name in runs.variants if name in rows], OVER_SEEDS))
    return tables


def _p(value: float | None) -> str:
    return MISSING if value is None else p_value(value, 1000)


def trainings(runs: Sequence[Record]) -> Table:
    """One row a training, also of several configs: for pilots, which try settings."""
    found = [record for record in runs if record["kind"] == "train"]
    about = "config.train.optimizer config.train.learning_rate steps seed parameters curve.-1.dev_nll_per_token"
    rate = lambda record: (record["variant"], record["config"]["train"]["learning_rate"], record["seed"])  # noqa: E731
    return Table.of("Trainings", columns(f"variant {about}"), [[each] for each in sorted(found, key=rate)])


# Every figure of a kind of record, one row for each measurement and variant: title and fields.
IN_FULL = {
    "quality": (
        "Translation quality in full",
        "variant split beam bleu_intl bleu_13a chrf sentences truncated",
    ),
    "perplexity": (
        "Perplexity in full",
        "variant split nll_per_token perplexity_per_token perplexity_per_word tokens words tokens_cut",
    ),
    "timing": (
        "Decoding time in full",
        "variant beam batch source_length target_length dtype weight_dtype cache_dtype "
        "decoder_us_per_token decoder_us_spread.0 decoder_us_spread.1 floor_us_per_token floor_share ms_per_step "
        "encoder_us_per_token encoder_us_spread.0 encoder_us_spread.1 repeats",
    ),
    "latency": (
        "Latency of one sentence",
        "variant source_length target_length dtype ms_per_token_p50 ms_per_token_p99 ms_to_first_token",
    ),
    "train_timing": (
        "Training steps in full",
        "variant batch source_length target_length dtype dropout.0 rematerialise tokens_per_s "
        "ms_per_step ms_spread.0 ms_spread.1 mfu activations_mb compile_s",
    ),
}


def in_full(runs: Selection) -> dict[str, Table]:
    """Every measurement there is, by kind of record, and what each variant's name stands for (`attention`)."""
    about = "Write heads: heads of keys and values. A window holds the position itself."
    tables = {"attention": Table.of("Attention types", columns("variant decoder elsewhere d_ff"), _rows(runs), about)}
    for kind, (title, fields) in IN_FULL.items():
        if groups := runs.groups(kind):
            tables[kind] = Table.of(title, columns(fields), groups, _seed_note(runs))
    return tables


def _rows(runs: Selection) -> list[list[Record]]:
    """For each variant its records and what follows from them: the model's sizes, the speed-up, the paper's figures."""
    rows: list[list[Record]] = []
    for variant in runs.variants:
        own = [record for record in runs.records if record["variant"] == variant]
        derived: list[Record] = [{"variant": variant, "speed_up": runs.speed_up(variant)}]
        derived += [{"training_us_per_token": 1e6 / rate} for rate in _training_rates(runs, variant)]
        if own:
            derived += [_sizes(own[-1]), {"kind": "paper"} | paper.figures(own[-1]["name"], own[-1]["config"])]
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


def _papers(fields: Sequence[str], whose: str = "paper") -> list[Column]:
    return [Column(f"{whose}: {field}", field, where={"kind": "paper"}) for field in fields]


def _beside(
    title: str, ours: Sequence[Column], theirs: Sequence[Column], runs: Selection, note: str, about: str = ""
) -> Table | None:
    """Our figures, and the paper's if it has any of the rows. None where nothing of ours has been measured.

    Columns that say of which records they are show what was measured; the others name the row.
    """
    rows = _rows(runs)
    if not any(each.has_any(rows) for each in ours if each.where):
        return None
    if not any(each.has_any(rows) for each in theirs):
        return Table.of(title, ours, rows, note)
    return Table.of(title, [*ours, *theirs], rows, _joined(note, about, f"Paper: {paper.SOURCE}."))


def _bleu(split: str, beam: int, name: str = "") -> Column:
    """Of a split; `name`: what sacreBLEU calls it, where the records do not."""
    where = {"kind": "quality", "split": split, "beam": beam}
    return column("bleu_intl", header=f"BLEU {name or split}, beam {beam}", where=where)


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


def _scored(runs: Selection) -> str:
    """Which lines a language model was scored on, how they were laid out, and what became of rare words."""
    data, scored = runs.newest["config"]["data"], runs.of("perplexity", split="dev")
    texts = dict.fromkeys(record["corpus"] for record in runs.of("train")) or [data["dataset"]]
    rows = dict.fromkeys("packed rows" if record.get("packed") else "a line in each row" for record in scored)
    words = f"words outside {data['unk']} as UNK" if data.get("unk") else "no word replaced by UNK"
    return f"Scored on all of dev: {', '.join([*filter(None, [' / '.join(texts)]), ' / '.join(rows), words])}."


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
