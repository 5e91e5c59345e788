"""Tables of a report: each number in its cell, from records alone; the paper's beside its own rows."""

import dataclasses
import math

import numpy as np
import pytest
from reported import (
    PAIR,
    cell,
    comparison,
    experiment,
    of_kind,
    perplexity,
    quality,
    there,
    timing,
    train,
    without,
)

from mqa_jax.errors import InputError
from mqa_jax.report import cells, full, tables, time_plots


@pytest.fixture(scope="module")
def toy():
    return comparison()


# The summary.


def test_summary_has_each_figure_in_its_cell(toy):
    table = tables.summary(toy, PAIR)
    assert [row[0] for row in table.rows] == PAIR
    expected = {
        "d_ff": "680",
        "parameters": "1,000,000",
        "BLEU, beam 1": "27.25",
        "BLEU, beam 4": "28.25",
        "greedy µs/token, encoder + decoder": "4.00 + 30.0",
        "decoder speed-up": "3.00×",
        "share of floor": "33%",
        "cache a sequence": "16.0 KiB",
        "training tokens/s": "20,000",
    }
    assert {column: cell(table, "multi_query", column) for column in table.columns[1:]} == expected
    assert cell(table, "multi_head", "decoder speed-up") == "1.00×"
    assert "±" not in table.note and "64 tokens in, 64 out" in table.note


def test_the_first_in_the_order_is_the_baseline(toy):
    table = tables.summary(toy, PAIR[::-1])
    assert [row[0] for row in table.rows] == PAIR[::-1]
    assert cell(table, "multi_head", "decoder speed-up") == "0.33×"
    assert "multi_query's decoder time" in table.note


def test_several_seeds_give_mean_and_standard_deviation(toy):
    seeds = [quality(experiment("toy", "multi_head", seed), bleu) for seed, bleu in ((1, 28.5), (2, 29.5))]
    table = tables.summary([*toy, *seeds], PAIR)
    assert cell(table, "multi_head", "BLEU, beam 1") == "28.50 ± 1.00"
    assert cell(table, "multi_query", "BLEU, beam 1") == "27.25"
    assert "multi_head 3, multi_query 1" in table.note
    same = [quality(experiment("toy", "multi_query", seed), 27.25) for seed in (1, 2)]
    assert "n = 3" in tables.summary([*toy, *seeds, *same], PAIR).note


def test_what_was_measured_of_an_earlier_checkpoint_is_left_out():
    """Trained on, with another beam: the record of the old beam is replaced by none, and its checkpoint is gone."""
    before = experiment("toy", "multi_head")
    after = dataclasses.replace(before, decode=dataclasses.replace(before.decode, beam=8))
    first = {"checkpoints": [100], "when": "2026-01-01T00:00:00+00:00"}
    last = {"checkpoints": [200], "when": "2026-01-02T00:00:00+00:00"}
    found = [timing(before, 30.0), *(quality(before, 20.0, beam=beam) | first for beam in (1, 4))]
    assert cell(tables.summary(found), "multi_head", "BLEU, beam 4") == "20.00"
    found += [quality(after, 25.0, beam=beam) | last for beam in (1, 8)] + [perplexity(before, 1.0, 9.0) | first]
    table = tables.summary(found)
    assert [column for column in table.columns if "BLEU" in column] == ["BLEU, beam 1", "BLEU, beam 8"]
    assert cell(table, "multi_head", "BLEU, beam 8") == "25.00"
    assert [row[2] for row in there(full.quality(found)).rows] == ["1", "8"] and full.perplexity(found) is None
    other = quality(experiment("toy", "multi_head", seed=1), 30.0) | first
    assert "30.00" in there(full.quality([other])).rows[0][3], "each run by itself"
    assert cell(tables.summary([*found, other]), "multi_head", "BLEU, beam 1") == "27.50 ± 3.54"


def test_a_language_model_has_perplexity_per_word():
    of = experiment("text_lm", "multi_head")
    table = tables.summary([perplexity(of, 3.0, 31.41, "test"), timing(of, 50.0)])
    assert cell(table, "multi_head", "perplexity per word") == "31.41"
    assert cell(table, "multi_head", "greedy µs/token, prompt + decoder") == "4.00 + 50.0"
    assert not any("BLEU" in column for column in table.columns)


def test_what_is_missing_is_a_dash(toy):
    table = tables.summary(without(toy, "timing"), [*PAIR, "grouped_2"])
    assert cell(table, "multi_head", "BLEU, beam 1") == "27.50"
    assert cell(table, "multi_head", "decoder speed-up") == cell(table, "multi_head", "share of floor") == "–"
    assert table.rows[2] == ("grouped_2", *["–"] * (len(table.columns) - 1))


def test_no_speed_up_without_the_baselines_time(toy):
    rest = [record for record in toy if (record["kind"], record["variant"]) != ("timing", "multi_head")]
    assert cell(tables.summary(rest, PAIR), "multi_query", "decoder speed-up") == "–"


def test_no_speed_up_across_devices(toy):
    moved = [
        record | {"device": "1 x TPU v5e (tpu)"} if record["variant"] == "multi_query" else record for record in toy
    ]
    assert cell(tables.summary(moved, PAIR), "multi_query", "decoder speed-up") == "–"


def test_nan_is_shown(toy):
    of = experiment("toy", "grouped_2")
    broken = [*toy, train(of, math.nan), quality(of, math.nan), timing(of, 40.0)]
    assert cell(tables.summary(broken, PAIR), "grouped_2", "BLEU, beam 1") == "NaN"


def test_only_the_configs_own_shape_makes_the_headline(toy):
    of = experiment("toy", "multi_head")
    others = [timing(of, 1.0, length=32), timing(of, 2.0, beam=2), timing(of, 3.0, padded=False)]
    others.append(timing(dataclasses.replace(of, timing=dataclasses.replace(of.timing, batch=8)), 4.0) | {"batch": 16})
    assert tables.summary([*toy, *others], PAIR) == tables.summary(toy, PAIR)


@pytest.mark.parametrize("other", [{"batch": 8}, {"dtype": "float32"}])
def test_times_of_an_earlier_config_in_the_folder_do_not_count(toy, other):
    """compare.py given again with another --config.timing.batch leaves the records of the first."""
    old = [record | other | {"when": "1999-01-01T00:00:00+00:00"} for record in of_kind(toy, "timing")]
    old = [
        record
        | {"decoder_us_per_token": 1.0, "config": record["config"] | {"timing": record["config"]["timing"] | other}}
        for record in old
    ]
    assert tables.summary([*old, *toy], PAIR) == tables.summary(toy, PAIR)
    both, alone = (there(time_plots.time_against_length(records, PAIR)) for records in ([*old, *toy], toy))
    for one, two in zip(both.axes[0].lines, alone.axes[0].lines, strict=True):
        np.testing.assert_array_equal(one.get_xydata(), two.get_xydata())


def test_the_newest_of_two_equal_measurements_counts(toy):
    of = experiment("toy", "multi_query")
    again = quality(of, 30.0) | {"when": "2999-01-01T00:00:00+00:00"}
    before = quality(of, 10.0) | {"when": "1999-01-01T00:00:00+00:00"}
    assert cell(tables.summary([again, *toy, before], PAIR), "multi_query", "BLEU, beam 1") == "30.00"


def test_records_of_two_configs_are_not_mixed(toy):
    with pytest.raises(InputError, match="text_lm, toy"):
        tables.summary([*toy, perplexity(experiment("text_lm", "multi_head"), 3.0, 31.0)], PAIR)


# The other tables.


def test_significance_is_against_the_baseline(toy):
    (table,) = tables.significance(toy, PAIR)
    assert table.title == "BLEU intl against multi_head: test, beam 4, seed 0"
    assert table.columns[1] == "BLEU intl"
    assert table.rows == (
        ("multi_head", "28.50", "28.49 ± 0.61", "baseline"),
        ("multi_query", "28.25", "28.24 ± 0.60", "0.021"),
    )


def test_full_tables_have_every_measurement(toy):
    scores, perplexities, timings = (there(table(toy, PAIR)) for table in (full.quality, full.perplexity, full.timing))
    assert len(scores.rows) == len(of_kind(toy, "quality"))
    assert ("multi_query", "test", "4", "28.25", "27.50", "53.25", "2,000", "3") in scores.rows
    assert len(perplexities.rows) == len(of_kind(toy, "perplexity"))
    assert len(timings.rows) == len(of_kind(toy, "timing"))
    assert "90.0 (81.0 to 99.0)" in {row[7] for row in timings.rows}
    assert "8 query heads, 1 write heads" in cell(
        full.attention_types(toy, PAIR), "multi_query", "decoder self-attention"
    )
    assert full.quality([], PAIR) is full.timing([], PAIR) is None


def test_write_heads_of_each_site_are_told_apart():
    mixed = experiment("toy", "multi_query", change=lambda base: base.attention.update(sites=("decoder",)))
    table = full.attention_types([train(mixed)])
    assert "1 write heads" in cell(table, "multi_query", "decoder self-attention")
    assert "8 write heads" in cell(table, "multi_query", "elsewhere")


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (cells.significant(3.8149), "3.81"),
        (cells.significant(45.96), "46.0"),
        (cells.significant(1234.4), "1,234"),
        (cells.significant(0.01234), "0.0123"),
        (cells.significant(0.0), "0"),
        (cells.significant(None), "–"),
        (cells.significant(math.nan), "NaN"),
        (cells.size(512), "512 B"),
        (cells.size(6 * 2**20), "6.00 MiB"),
        (cells.size(2**45), "32,768 GiB"),
        (cells.times(12.06), "12.1×"),
        (cells.percent(0.624), "62%"),
        (cells.percent(math.nan), "NaN"),
        (cells.count(3.0), "3"),
        (cells.count(2.5), "2.5"),
        (cells.joined(["–", "–"]), "–"),
        (cells.joined(["27.7", "–"]), "27.7 / –"),
    ],
)
def test_figures_as_text(shown, text):
    assert shown == text
