"""Tables of a report: each number in its cell, from records alone."""

import dataclasses
import math
import pathlib
import re

import numpy as np
import pytest
from reported import (
    PAIR,
    column,
    comparison,
    experiment,
    of_kind,
    over_seeds,
    perplexity,
    quality,
    there,
    timing,
    train,
    without,
)

from mqa_jax import records
from mqa_jax.errors import InputError
from mqa_jax.plan import chips
from mqa_jax.report import cells, context, filled, paper, plots, tables
from mqa_jax.report.selection import Selection, Series, measurements
from mqa_jax.report.table import Column, Table

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def toy():
    return comparison()


def summary(found, order=()):
    return tables.summary(Selection(found, order))


# The summary.


def test_summary_has_each_figure_in_its_cell(toy):
    table = summary(toy, PAIR)
    assert list(zip(table.columns, zip(*table.rows, strict=True), strict=True)) == [
        ("variant", ("multi_head", "multi_query")),
        ("BLEU test, beam 4", ("28.50", "28.25")),
        ("decoder µs/token", ("90.0", "30.0")),
        ("speed-up", ("1.00×", "3.00×")),
        ("cache a sequence", ("128.0 KiB", "16.0 KiB")),
        ("BLEU test, beam 1", ("27.50", "27.25")),
        ("share of floor", ("11%", "33%")),
        ("d_ff", ("512", "656")),
    ]
    same = "encoder µs/token 4.00, training tokens/s 20,000, learning rate 0.003, parameters 1,000,000"
    assert table.note.startswith(f"In all rows: {same}. BLEU")
    assert "±" not in table.note and "64 tokens in, 64 out" in table.note


def test_the_first_in_the_order_is_the_baseline(toy):
    table = summary(toy, PAIR[::-1])
    assert column(table, "variant") == PAIR[::-1] and column(table, "speed-up") == ["1.00×", "0.33×"]
    assert "multi_query's decoder time" in table.note


def test_several_seeds_give_mean_and_standard_deviation(toy):
    seeds = [quality(experiment("toy", "multi_head", seed), bleu) for seed, bleu in ((1, 28.5), (2, 29.5))]
    table = summary([*toy, *seeds], PAIR)
    assert column(table, "BLEU test, beam 1") == ["28.50 ± 1.00", "27.25"]
    assert "multi_head 3, multi_query 1" in table.note
    same = [quality(experiment("toy", "multi_query", seed), 27.25) for seed in (1, 2)]
    assert "n = 3" in summary([*toy, *seeds, *same], PAIR).note


def test_what_was_measured_of_an_earlier_checkpoint_is_left_out():
    """Trained on, with another beam: the record of the old beam is replaced by none, and its checkpoint is gone."""
    before = experiment("toy", "multi_head")
    after = dataclasses.replace(before, decode=dataclasses.replace(before.decode, beam=8))
    first = {"checkpoints": [100], "when": "2026-01-01T00:00:00+00:00"}
    last = {"checkpoints": [200], "when": "2026-01-02T00:00:00+00:00"}
    found = [timing(before, 30.0), *(quality(before, 20.0, beam=beam) | first for beam in (1, 4))]
    assert column(summary(found), "BLEU test, beam 4") == ["20.00"]
    found += [quality(after, 25.0, beam=beam) | last for beam in (1, 8)] + [perplexity(before, 1.0, 9.0) | first]
    headers = [header for header in summary(found).columns if "BLEU" in header]
    assert headers == ["BLEU test, beam 8", "BLEU test, beam 1"]
    assert column(summary(found), "BLEU test, beam 8") == ["25.00"]
    full = tables.in_full(Selection(found))
    assert column(full["quality"], "beam") == ["1", "8"] and "perplexity" not in full
    other = quality(experiment("toy", "multi_head", seed=1), 30.0) | first
    assert column(summary([*found, other]), "BLEU test, beam 1") == ["27.50 ± 3.54"], "each run by itself"


def test_a_language_model_has_perplexity_per_word():
    of = experiment("text_lm", "multi_head")
    table = summary([perplexity(of, 3.0, 31.41, "test"), timing(of, 50.0)])
    assert column(table, "test PPL per word") == ["31.41"]
    assert column(table, "prompt µs/token") == ["4.00"] and column(table, "decoder µs/token") == ["50.0"]
    assert not any("BLEU" in header for header in table.columns)


def test_what_is_missing_is_a_dash_and_what_is_no_number_is_said(toy):
    table = summary(without(toy, "timing"), [*PAIR, "grouped_2"])
    assert column(table, "BLEU test, beam 1") == ["27.50", "27.25", "–"]
    assert not {"speed-up", "share of floor"} & {*table.columns}, "of which nothing was measured"
    assert table.rows[2] == ("grouped_2", *["–"] * (len(table.columns) - 1))
    of = experiment("toy", "grouped_2")
    broken = [*toy, train(of, math.nan), quality(of, math.nan), timing(of, 40.0)]
    assert column(summary(broken, PAIR), "BLEU test, beam 1") == ["27.50", "27.25", "NaN"]


def test_training_speeds_are_compared_on_one_device_alone(toy):
    moved = [
        r | ({"device": "1 x a CPU"} if (r["kind"], r["variant"]) == ("train", "multi_query") else {}) for r in toy
    ]
    for found, shown in ((toy, True), (moved, False)):
        table = summary(found, PAIR)
        assert ("training tokens/s" in (*table.columns, table.note) or "training tokens/s" in table.note) == shown
        said = " ".join(context.warnings(Selection(found, PAIR)))
        assert ("training speeds are not compared" in said) != shown
        costs = there(tables.table_2(Selection(found, PAIR)))
        assert ("In all rows: training 100" in costs.note) == ("per target token, unpadded" in costs.note) == shown


def test_no_speed_up_without_the_baselines_time_or_across_devices(toy):
    rest = [record for record in toy if (record["kind"], record["variant"]) != ("timing", "multi_head")]
    assert "speed-up" not in summary(rest, PAIR).columns
    moved = [record | ({"device": "a TPU"} if record["variant"] == "multi_query" else {}) for record in toy]
    assert column(summary(moved, PAIR), "speed-up") == ["1.00×", "–"]


def test_only_the_configs_own_workload_makes_the_headline(toy):
    of = experiment("toy", "multi_head")
    others = [timing(of, 1.0, length=32), timing(of, 2.0, beam=2), timing(of, 3.0, padded=False)]
    others.append(timing(dataclasses.replace(of, timing=dataclasses.replace(of.timing, batch=8)), 4.0) | {"batch": 16})
    others.append(timing(of, 5.0) | {"weight_dtype": "int8", "when": "1999-01-01T00:00:00+00:00"})
    assert summary([*toy, *others], PAIR) == summary(toy, PAIR)


@pytest.mark.parametrize("other", [{"batch": 8}, {"dtype": "float32"}])
def test_times_of_an_earlier_config_in_the_folder_do_not_count(toy, other):
    """compare.py given again with another --config.timing.batch leaves the records of the first."""
    old = [record | other | {"when": "1999-01-01T00:00:00+00:00"} for record in of_kind(toy, "timing")]
    old = [
        record
        | {"decoder_us_per_token": 1.0, "config": record["config"] | {"timing": record["config"]["timing"] | other}}
        for record in old
    ]
    assert summary([*old, *toy], PAIR) == summary(toy, PAIR)
    both, alone = (there(plots.time_against_length(Selection(found, PAIR))) for found in ([*old, *toy], toy))
    for one, two in zip(both.axes[0].lines, alone.axes[0].lines, strict=True):
        np.testing.assert_array_equal(one.get_xydata(), two.get_xydata())


def test_the_newest_of_two_equal_measurements_counts(toy):
    of = experiment("toy", "multi_query")
    again = quality(of, 30.0) | {"when": "2999-01-01T00:00:00+00:00"}
    before = quality(of, 10.0) | {"when": "1999-01-01T00:00:00+00:00"}
    assert column(summary([again, *toy, before], PAIR), "BLEU test, beam 1") == ["27.50", "30.00"]


def test_records_of_two_configs_are_not_mixed(toy):
    with pytest.raises(InputError, match="text_lm, toy"):
        Selection([*toy, perplexity(experiment("text_lm", "multi_head"), 3.0, 31.0)], PAIR)


# The other tables.


def test_significance_is_against_the_baseline(toy):
    (table,) = tables.significance(Selection(toy, PAIR))
    assert table.title == "BLEU intl against multi_head: test, beam 4, seed 0"
    assert table.columns[1] == "BLEU intl"
    assert table.rows == (
        ("multi_head", "28.50", "baseline", "28.49", "0.61"),
        ("multi_query", "28.25", "0.021", "28.24", "0.60"),
    )


@pytest.mark.parametrize(
    ("value", "samples", "shown"),
    [
        *[(0.0214, 1000, "0.021"), (1 / 1001, 1000, "≤ 0.001"), (2 / 1001, 1000, "0.002"), (1.0, 1000, "1.000")],
        *[(1 / 101, 100, "≤ 0.010"), (1 / 301, 300, "≤ 0.004"), (1 / 100_001, 100_000, "≤ 0.001")],
    ],
)
def test_a_p_value_at_the_floor_of_the_resamples_is_said_to_be_no_higher(value, samples, shown):
    assert cells.p_value(value, samples) == shown
    assert not shown.startswith("≤") or value <= float(shown[2:])


def test_examples_are_below_each_other_and_of_the_same_lines(toy):
    assert tables.examples(Selection(without(toy, "quality"), PAIR)) is None
    table = there(tables.examples(Selection(toy, PAIR)))
    assert table.columns == ("", "line 1", "line 667", "line 1,334") and "Beam 4" in table.note
    assert [row[0] for row in table.rows] == ["source", "reference", *PAIR]
    assert [row[1] for row in table.rows] == ["source 1", "reference 1", "multi_head 4 1", "multi_query 4 1"]
    other = [{"line": 1, "source": "another text", "reference": "", "output": "not beside it"}]
    moved = [record | {"examples": other} if record["variant"] == "multi_query" else record for record in toy]
    assert [row[0] for row in there(tables.examples(Selection(moved, PAIR))).rows] == ["source", "reference", PAIR[0]]
    old = [{name: value for name, value in record.items() if name != "examples"} for record in toy]
    assert tables.examples(Selection(old, PAIR)) is None


def test_full_tables_have_every_measurement(toy):
    full = tables.in_full(Selection(toy, PAIR))
    assert {kind: len(full[kind].rows) for kind in ("quality", "perplexity", "timing")} == {
        kind: len(of_kind(toy, kind)) for kind in ("quality", "perplexity", "timing")
    }
    assert ("multi_query", "test", "4", "28.25", "27.50", "53.25", "3") in full["quality"].rows
    spread = zip(*(column(full["timing"], f"decoder {name}") for name in ("µs/token", "min", "max")), strict=True)
    assert ("90.00", "81.00", "99.00") in spread
    assert "In all rows: sentences 2,000." in full["quality"].note
    assert "\n| :-- | :-- | --: |\n" in full["attention"].to_markdown(), (
        "text begins at the left, figures end at the right"
    )
    assert "4 query heads, 1 write heads" in column(full["attention"], "decoder self-attention")[1]
    assert tables.in_full(Selection(of_kind(toy, "train"))).keys() == {"attention"}


def test_write_heads_of_each_site_are_told_apart():
    mixed = experiment("toy", "multi_query", change=lambda base: base.attention.update(sites=("decoder",)))
    table = tables.in_full(Selection([train(mixed)]))["attention"]
    assert "1 write heads" in column(table, "decoder self-attention")[0]
    assert "4 write heads" in column(table, "elsewhere")[0]


def test_a_column_shows_a_field_of_the_records_that_it_is_of():
    row = [{"kind": "a", "seed": seed, "time": 10.0 + seed, "spread": [9.0, 20.0]} for seed in (0, 2)]
    row.append({"kind": "b", "spread": [1, 2]})
    columns = [Column("kind", "kind"), Column("time", "time", cells.integer, {"kind": "a"})]
    columns += [Column(kind, "spread.1", where={"kind": kind}) for kind in "ab"]
    table = Table.of("t", columns, [row, []])
    assert table.columns == ("kind", "time", "a", "b")
    assert table.rows == (("a, b", "11 ± 1", "20", "2"), ("–", "–", "–", "–"))


def test_a_column_that_is_equal_in_all_rows_is_said_once_and_one_without_figures_not_at_all():
    columns = [Column("name", "name"), *(Column(field, field) for field in ("x", "y", "z"))]
    rows = [[{"name": "a", "x": 7, "y": 1}], [{"name": "a", "x": 7}]]
    table = Table.of("t", columns, rows, "Note.")
    assert (table.columns, table.rows) == (("name", "y"), (("a", "1"), ("a", "–")))
    assert table.note == "In all rows: x 7. Note."
    assert Table.of("t", columns, rows[:1]).columns == ("name", "x", "y"), "one row has nothing to be equal to"


@pytest.mark.parametrize(
    ("show", "shown"),
    [
        (cells.significant, {8.014: "8.01", 152.3: "152.30", 0.0: "0.00", -60.0: "-60.00", math.nan: "NaN"}),
        (cells.size, {48 * 1024: "48.0 KiB", 3 * 2**20: "3,072.0 KiB"}),
        (cells.times, {1.0: "1.00×", 12.06: "12.06×"}),
    ],
)
def test_numbers_of_a_column_are_printed_as_the_smallest_is(show, shown):
    """So that the decimals are below each other, in one unit."""
    assert cells.column([Series((value,)) for value in shown], show) == list(shown.values())
    assert cells.column([Series(()), Series(("text",))], show) == ["–", "text"]


@pytest.mark.parametrize(
    ("show", "shown"),
    [
        (
            cells.significant,
            {3.8149: "3.81", 45.96: "46.0", 1234.4: "1,234", 0.01234: "0.0123", 0.0: "0", None: "–", math.nan: "NaN"},
        ),
        (cells.size, {512: "512 B", 6 * 2**20: "6.00 MiB", 2**45: "32,768 GiB"}),
        (cells.times, {12.06: "12.1×", 0.984: "0.98×"}),
        (cells.percent, {0.624: "62%", math.nan: "NaN"}),
        (cells.count, {3.0: "3", 2.5: "2.5", 1024: "1,024"}),
        (cells.decimals(2), {27.0: "27.00", math.inf: "inf"}),
    ],
)
def test_figures_as_text(show, shown):
    alone = (cells.column([Series(() if value is None else (value,))], show) for value in shown)
    assert [text for (text,) in alone] == list(shown.values())


# Records that are published, among them those of the first edition.


def test_differences_over_seeds():
    """With Holm's p in the result's sentence, in place of that of one seed."""
    rows = [
        ("multi_head", 5, 28.5, 0.21, *[None] * 5),
        ("multi_query", 5, 28.25, 0.19, -0.25, -0.5, 0.0, 0.0471, 0.0942),
        ("grouped_2", 1, 28.5, None, 0.0, None, None, None, None),
    ]
    record = over_seeds(experiment("toy", "multi_head"), rows)
    (table,) = tables.over_seeds(Selection([*comparison(), record], [*PAIR, "grouped_2"]))
    assert table.title == "BLEU intl against multi_head over seeds: test, beam 4"
    assert table.columns[:5] == ("variant", "seeds", "mean", "sd over seeds", "difference")
    assert table.columns[5:] == ("95% CI from", "to", "p-value", "Holm's p")
    assert table.rows == (
        ("multi_head", "5", "28.50", "0.21", "–", "–", "–", "baseline", "baseline"),
        ("multi_query", "5", "28.25", "0.19", "-0.25", "-0.50", "0.00", "0.047", "0.094"),
        ("grouped_2", "1", "28.50", "–", "0.00", "–", "–", "–", "–"),
    )
    (sentence,) = context.result(Selection([*comparison(), record], PAIR))
    assert "−0.2 BLEU (p = 0.094 over 5 seeds)" in sentence, sentence
    nats = [("multi_head", 2, 3.0, 0.01, *[None] * 5), ("multi_query", 2, 3.1, 0.01, 0.1, 0.05, 0.15, 0.0004, 0.0004)]
    record = over_seeds(experiment("text_lm", "multi_head"), nats, "nats a token")
    (table,) = tables.over_seeds(Selection([record], PAIR))
    assert table.title == "nats a token against multi_head over seeds: test"
    assert table.rows[1] == ("multi_query", "3.1000", "0.1000", "0.0500", "0.1500", "≤ 0.001", "≤ 0.001")
    assert "seeds 2, sd over seeds 0.0100" in table.note


def tables_of(path):
    """The rows of each table in a Markdown file, by its title."""
    found, title = {}, ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            title = line.strip("# ")
        elif line.startswith("| ") and not line.startswith("| :--"):
            found.setdefault(title, []).append(tuple(line.removeprefix("| ").removesuffix(" |").split(" | ")))
    return found


@pytest.mark.parametrize(
    "folder", [path.parent for path in sorted((ROOT / "results").glob("*/report.md"))], ids=lambda path: path.name
)
def test_published_records_give_the_published_tables(folder):
    found = measurements(records.read(folder))
    there = {record["variant"] for record in found}
    runs = Selection(found, [name for name in ("multi_head", "original") if name in there])
    found = [table(runs) for table in (tables.summary, tables.examples, tables.table_1, tables.table_2, tables.table_3)]
    found += [*tables.significance(runs), *tables.over_seeds(runs)]
    found = {table.title: table for table in (*found, *tables.in_full(runs).values()) if table}
    for title, (header, *rows) in tables_of(folder / "report.md").items():
        assert found[title].columns == header
        assert sorted(found[title].rows) == sorted(rows)


@pytest.mark.parametrize("page", ["README.md", "RESULTS.md"])
def test_links_to_results_lead_somewhere(page):
    links = re.findall(r"\]\((results[^)]*)\)", (ROOT / page).read_text(encoding="utf-8"))
    assert links and all((ROOT / link).exists() for link in links)


def test_results_are_what_the_records_say():
    text = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    assert text.count("<!-- end -->") > 2 and filled.fill(ROOT / "RESULTS.md") == text


def test_pages_are_filled_between_their_marks(tmp_path):
    for record in comparison():
        records.write(tmp_path / "runs" / "toy" / "records", record, str(id(record)))
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- summary, significance of runs/toy -->\nold\n<!-- end -->\nafter\n")
    text = filled.fill(page)
    assert text.startswith("before\n<!-- summary, significance of runs/toy -->\n#### Summary: toy\n\n| variant |")
    assert "#### BLEU intl against multi_head" in text and "old" not in text and text.endswith("<!-- end -->\nafter\n")
    page.write_text("# The *title*\n" + text)
    assert filled.fill(page) == "# The *title*\n" + text
    shown = filled.write(page).read_text()
    assert page.read_text() == "# The *title*\n" + text and "<title>The *title*</title>" in shown
    assert shown.count("<table>") == 2 == shown.count('<div class="wide"') and "of runs/toy" not in shown
    assert 'aria-label="Summary: toy" tabindex="0">\n<table>' in shown and "&lt;!--" not in shown


def test_the_headline_has_the_difference_and_its_interval():
    rows = [("multi_head", 3, 30.0, 0.3) + (None,) * 5, ("multi_query", 3, 29.5, 0.2, -0.5, -1.1, 0.1, 0.09, 0.09)]
    of = experiment("toy", "multi_head")
    other = [rows[0], (*rows[1][:4], 9.0, 9.0, 9.0, 9.0, 9.0)]
    nats = over_seeds(of, other, "nats a token")
    table = tables.headline(Selection([*comparison(), nats, over_seeds(of, rows)], PAIR))
    assert column(table, "against multi_head: 95% interval, Holm's p") == ["–", "−0.50 (−1.10 to +0.10), 0.090"]
    greedily = [over_seeds(of, other) | {"beam": 1}, over_seeds(of, other) | {"baseline": "mla"}]
    assert tables.headline(Selection([*comparison(), over_seeds(of, rows), *greedily], PAIR)).rows == table.rows
    assert column(table, "BLEU test, beam 4") == ["28.50", "28.25"] and column(table, "speed-up") == ["1.00×", "3.00×"]
    without_test = tables.headline(Selection(comparison(), PAIR))
    assert len(without_test.columns) == 5 and without_test.columns[2] == "cache a sequence"


def test_what_stands_right_under_a_filled_table_is_no_row_of_it(tmp_path):
    """A table without a note, which the mark's end alone parts from the text."""
    records.write(tmp_path / "runs" / "records", of_kind(comparison(), "train")[0])
    page = tmp_path / "page.md"
    page.write_text("<!-- trainings of runs -->\n<!-- end -->\nafter\n")
    shown = filled.write(page).read_text()
    assert shown.count("<tr>") == 2 and "<p>after</p>" in shown
    page.write_text(f"![gone](gone.svg)\n{page.read_text()}")
    with pytest.raises(InputError, match=r"page: there is no picture .*gone\.svg"):
        filled.write(page)


def test_trainings_that_differ_in_their_settings_are_rows_of_one_table():
    """A comparison would count the newest of a variant and seed alone."""
    found = []
    for variant, rate, gap in (("multi_query", 4e-3, 0.2), ("multi_head", 4e-3, 0.1), ("multi_head", 5e-4, 0.3)):
        record = train(experiment("toy", variant, change=lambda base, rate=rate: base.train.update(learning_rate=rate)))
        record["curve"][-1]["dev_nll_per_token"] = 2 + gap
        found.append(record)
    table = tables.trainings([*found, *of_kind(comparison(), "quality")])
    assert column(table, "variant") == ["multi_head", "multi_head", "multi_query"]
    assert column(table, "learning rate") == ["0.0005", "0.004", "0.004"]
    assert column(table, "dev NLL at the end") == ["2.3000", "2.1000", "2.2000"]


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ("<!-- summary of runs/none -->\n<!-- end -->\n", "runs/none holds no records"),
        ("<!-- sumary of results/multi30k -->\n<!-- end -->\n", "no table is called sumary; choose from: summary, "),
        ("<!-- summary of results/multi30k -->\n", "not closed"),
        ("<!-- end -->\n", "not closed"),
    ],
)
def test_a_mark_that_cannot_be_filled_is_named(mark, said, tmp_path):
    (tmp_path / "results").symlink_to(ROOT / "results")
    page = tmp_path / "page.md"
    page.write_text(mark)
    with pytest.raises(InputError, match=said):
        filled.fill(page)


def test_the_share_of_the_peak_in_old_records_is_the_mfu():
    found = records.read(ROOT / "results" / "train")
    small = [record for record in found if record["name"] == "text_translation"]
    assert len(small) == 5 and not any("peak_share" in record for record in small)
    table = tables.in_full(Selection(small))["train_timing"]
    assert table.note == "In all rows: batch 64, source 64, target 64, type bfloat16."
    assert table.rows[0][:2] == ("multi_head", "0%")
    assert "28%" in column(table, "mfu") and "24,364" in column(table, "tokens/s")


def test_the_hours_to_reproduce_are_those_of_the_plans():
    """They follow from the plans' floors, or from their operations where a step was not compiled for the machine, and
    from the shares of the floor that the page says it assumes."""
    found = [each for each in records.read(ROOT / "results" / "plan") if each["variant"] == "multi_query"]
    planned = {each["name"]: each for each in found}
    on_v2 = next(each for each in found if each["topology"] == "v2:2x2")
    (timed,) = Selection(records.read(ROOT / "results" / "h100")).of("timing", "multi_query", beam=1)
    tpu = on_v2["train"]["floor_us_per_token"] / float(paper.figures("wmt14", on_v2["config"])["training"])
    gpu = timed["encoder_floor_share"] * timed["peak_flops_per_s"] / timed["published_bfloat16_flops_per_s"]
    _, *rows = tables_of(ROOT / "docs" / "reproduce.md")["What it takes"]
    assert len(rows) == 3
    for machine, share, *figures in rows:
        topology, used, wanted = chips.topology(machine.split("`")[1]), gpu if "H100" in machine else tpu, []
        for task, count in (("wmt14", 8), ("lm1b", 6)):
            operations_s = planned[task]["train"]["flops"] / topology.peaks(topology.size).flops_per_s
            same = [each for each in found if (each["name"], each["topology"]) == (task, topology.name)]
            floor_s = same[0]["train"]["floor_s"] if same else operations_s
            assert floor_s >= 0.999 * operations_s, "operations are a part of it"
            hours = floor_s * planned[task]["config"]["train"]["steps"] / 3600
            wanted += [f"{floor_s * 1e3:.1f}", f"{hours:.2f}", f"{hours / used:.1f}", f"{count * hours / used:.0f}"]
        (step,) = (each["decode"] for each in found if (each["name"], each["topology"]) == ("wmt14", topology.name))
        wanted.append(f"{step['encoder_floor_us_per_token']:.3f} + {step['floor_us_per_token']:.3f}")
        assert (share, figures) == (f"{used:.0%}", wanted)
