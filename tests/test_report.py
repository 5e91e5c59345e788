"""Reports: each number in its cell, from records alone; text that cannot break the page; plots of what there is."""

import base64
import dataclasses
import html.parser
import io
import math
import pathlib
import re
import subprocess
import sys
from typing import TypeVar

import numpy as np
import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from mqa_jax import config, records
from mqa_jax.errors import InputError
from mqa_jax.report import cells, full, labels, page, paper, plots, sitting, tables
from mqa_jax.report.document import Facts, Table

CONFIGS = pathlib.Path(__file__).parent.parent / "configs"
T = TypeVar("T")
PNG = b"\x89PNG\r\n\x1a\n"
SIGNATURE = "nrefs:1|case:mixed|eff:no|tok:{}|smooth:exp|version:2.6.0"
PAIR = ["multi_head", "multi_query"]


def get_config(name):
    scope = {}
    exec(compile((CONFIGS / f"{name}.py").read_text(), name, "exec"), scope)
    return scope["get_config"]()


def experiment(name, variant, seed=0, change=lambda base: None):
    base = get_config(name)
    change(base)
    base.seed = seed
    return config.read(config.select_variant(base, variant))


def train(of, final_loss=2.0, corpus="40,000 generated sentence pairs", parameters=1_000_000, tokens_per_s=20_000.0):
    curve = [{"step": step, "seconds": 1.0, "tokens": 9, "loss": 4.0 - step / 400} for step in range(100, 801, 100)]
    for point in curve[1::2]:
        point["dev_nll_per_token"] = point["loss"] - 0.5
    figures = {"parameters": parameters, "feed_forward": of.model.decoder.feed_forward, "steps": of.train.steps}
    figures |= {"tokens_per_s": tokens_per_s, "train_s": 60.0, "compile_s": 5.0}
    return records.make("train", of, figures | {"final_loss": final_loss, "corpus": corpus, "curve": curve})


def quality(of, bleu, split="test", beam=1, truncated=0):
    scores = {"bleu_intl": bleu, "bleu_13a": bleu - 0.75, "chrf": bleu + 25}
    scores |= {f"signature_{each}": SIGNATURE.format(each) for each in ("intl", "13a", "chrf")}
    figures = {"split": split, "beam": beam, "alpha": 0.6, "sentences": 2000, "truncated": truncated}
    figures |= {"translate_s": 9.0, "sentences_per_s": 222.0, "hypotheses": "hypotheses/test-beam1.txt"}
    return records.make("quality", of, figures | scores)


def perplexity(of, nll, per_word, split="dev"):
    figures = {"split": split, "nll_per_token": nll, "perplexity_per_token": math.exp(nll), "sentences": 2000}
    return records.make(
        "perplexity", of, figures | {"perplexity_per_word": per_word, "tokens": 48_211, "words": 30_122}
    )


def timing(of, decoder, beam=1, length=None, encoder=4.0, floor=10.0, cache=16_384, padded=True):
    target = length or of.timing.target_length
    source = of.timing.source_length if length is None or of.task == "language" else length
    figures = {"batch": of.timing.batch, "beam": beam, "source_length": source, "target_length": target}
    figures |= {"dtype": of.model.dtype, "padded_cache": padded, "repeats": 5, "ms_per_step": 2.5}
    figures |= {"encoder_us_per_token": encoder, "encoder_us_spread": [encoder * 0.9, encoder * 1.1]}
    figures |= {"decoder_us_per_token": decoder, "decoder_us_spread": [decoder * 0.9, decoder * 1.1]}
    figures |= {"floor_us_per_token": floor, "encoder_floor_us_per_token": 2.0, "floor_share": floor / decoder}
    figures |= {"bytes_per_step": 1e7, "flops_per_step": 1e8, "peak_bytes_per_s": 31e9, "peak_flops_per_s": 1.1e12}
    return records.make(
        "timing", of, figures | {"compile_s": 3.0, "peak_memory_mb": 900.0, "cache_bytes_per_sequence": cache}
    )


def significance(of, rows):
    figures = {"metric": "BLEU", "split": "test", "beam": 4, "baseline": of.variant, "samples": 1000, "rows": rows}
    return records.make("significance", of, figures | {"signature": "bs:1000|seed:12345|" + SIGNATURE.format("intl")})


@pytest.fixture(scope="module")
def toy():
    """A whole comparison of two variants: multi_query is three times as fast."""
    result = []
    for variant, bleu, decoder, cache in (("multi_head", 27.5, 90.0, 131_072), ("multi_query", 27.25, 30.0, 16_384)):
        of = experiment("toy", variant)
        result += [train(of), quality(of, bleu), quality(of, bleu + 1, beam=4, truncated=3), quality(of, 26.0, "dev")]
        result += [perplexity(of, 0.9, 3.21), perplexity(of, 0.95, 3.45, "test")]
        result += [timing(of, decoder, cache=cache), timing(of, 3 * decoder, beam=4, cache=cache)]
        result += [timing(of, decoder * n / 64, length=n, floor=n / 8) for n in (16, 32, 128)]
    rows = [
        {"variant": "multi_head", "score": 28.5, "mean": 28.49, "ci": 0.61, "p_value": None},
        {"variant": "multi_query", "score": 28.25, "mean": 28.24, "ci": 0.6, "p_value": 0.021},
    ]
    return [*result, significance(experiment("toy", "multi_head"), rows)]


def there(value: T | None) -> T:
    assert value is not None
    return value


def cell(table: Table | None, row: str, column: str) -> str:
    table = there(table)
    (found,) = [line for line in table.rows if line[0] == row]
    return found[table.columns.index(column)]


def of_kind(everything, *kinds):
    return [record for record in everything if record["kind"] in kinds]


def without(everything, kind):
    return [record for record in everything if record["kind"] != kind]


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
    both, alone = (there(plots.time_against_length(records, PAIR)) for records in ([*old, *toy], toy))
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


# The paper's tables.


def rows_of_the_paper(name, table):
    variants = {variant: experiment(name, variant) for variant in get_config(name).variants}
    return {variant: table(name, dataclasses.asdict(each)) for variant, each in variants.items()}


@pytest.mark.parametrize(
    ("name", "table", "data"),
    [
        ("wmt14", paper.table_1, paper.TABLE_1),
        ("wmt14", paper.table_2, paper.TABLE_2),
        ("lm1b", paper.table_3, paper.TABLE_3),
    ],
)
def test_each_row_of_the_paper_belongs_to_one_variant(name, table, data):
    found = {variant: row for variant, row in rows_of_the_paper(name, table).items() if row is not None}
    assert len(found) == len(data) and set(found.values()) == set(data.values())
    assert not {"grouped_2", "grouped_4"} & found.keys()


def test_the_papers_numbers_are_those_of_the_paper():
    assert rows_of_the_paper("wmt14", paper.table_1)["multi_query"] == paper.Translation(1.439, 26.5, (27.5, 28.5))
    assert rows_of_the_paper("wmt14", paper.table_1)["multi_head_h2"] == paper.Translation(1.480, 26.2, (26.8, 27.9))
    assert rows_of_the_paper("wmt14", paper.table_2)["multi_head"] == paper.Timing(13.2, (1.7, 46), (2.0, 203))
    assert rows_of_the_paper("lm1b", paper.table_3)["multi_query"] == 30.2


@pytest.mark.parametrize(
    "change",
    [
        lambda base: base.model.update(width=512),
        lambda base: base.model.update(encoder_layers=3),
        lambda base: base.model.update(feed_forward=2048),
        lambda base: base.attention.update(sites=("decoder",)),
        lambda base: base.attention.update(window=16),
        lambda base: base.attention.update(value_size=64),
        lambda base: base.update(equal_parameters=False),
    ],
)
def test_another_model_has_no_row_in_the_paper(change):
    other = experiment("wmt14", "multi_query", change=change)
    assert paper.table_1("wmt14", dataclasses.asdict(other)) is None


def test_another_task_has_no_row_in_the_paper():
    wmt14 = dataclasses.asdict(experiment("wmt14", "multi_query"))
    assert paper.table_1("mine", wmt14) is None and paper.table_3("wmt14", wmt14) is None
    longer = experiment("wmt14", "multi_query", change=lambda base: base.timing.update(target_length=64))
    assert paper.table_2("wmt14", dataclasses.asdict(longer)) is None


def test_table_1_has_ours_beside_the_papers():
    result = []
    for variant in ("multi_head", "grouped_2"):
        of = experiment("wmt14", variant)
        result += [perplexity(of, 1.45, 4.0), quality(of, 26.4, "dev"), quality(of, 27.6), quality(of, 28.3, beam=4)]
    table = there(tables.table_1(result))
    assert table.columns[:4] == ("attention", "h", "d_k, d_v", "d_ff")
    assert table.rows == (
        ("multi_head", "8", "128", "4096", "1.450", "26.40", "27.60 / 28.30", "1.424", "26.7", "27.7 / 28.4"),
        ("grouped_2", "8", "128", "5248", "1.450", "26.40", "27.60 / 28.30", "–", "–", "–"),
    )
    assert [column for column in table.columns if column.startswith("paper")] == list(table.columns[-3:])
    assert "1911.02150" in table.note


def test_table_2_marks_the_papers_machine():
    of = experiment("wmt14", "multi_query")
    table = there(tables.table_2([train(of), timing(of, 3.9, encoder=1.5), timing(of, 31.0, beam=4, encoder=1.5)]))
    assert table.rows == (("multi_query", "50.0", "1.50 + 3.90", "1.50 + 31.0", "13.0", "1.5 + 3.8", "1.6 + 32"),)
    assert all("TPUv2" in column for column in table.columns[-3:])
    assert not any("TPUv2" in column for column in table.columns[:-3])


def test_table_3_has_ours_beside_the_papers():
    table = there(tables.table_3([perplexity(experiment("lm1b", "multi_query"), 3.5, 30.61)]))
    assert table.rows == (("multi_query", "8", "128", "9088", "30.61", "30.2"),)


def test_the_toy_task_has_no_number_of_the_paper(toy, tmp_path):
    for table in map(there, (tables.table_1(toy, PAIR), tables.table_2(toy, PAIR))):
        assert table.rows and not any("paper" in column for column in table.columns)
    assert cell(tables.table_2(toy, PAIR), "multi_query", "beam 4: encoder + decoder") == "4.00 + 90.0"
    page.write(toy, tmp_path, "toy", PAIR)
    assert "TPUv2" not in (tmp_path / "report.html").read_text()


def test_only_tables_with_records_appear(toy):
    assert tables.table_3(toy, PAIR) is None
    assert tables.table_1(of_kind(toy, "train", "timing"), PAIR) is None
    assert tables.table_2(without(toy, "timing"), PAIR) is None
    of = experiment("lm1b", "multi_head")
    assert tables.table_1([perplexity(of, 3.5, 30.0)]) is None
    assert there(tables.table_2([timing(of, 20.0)])).columns == ("attention", "training", "greedy: prompt + decoder")


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
    assert cell(full.attention_types(toy, PAIR), "multi_query", "write heads") == "1"
    assert full.quality([], PAIR) is full.timing([], PAIR) is None


def test_write_heads_of_each_site_are_told_apart():
    mixed = experiment("toy", "multi_query", change=lambda base: base.attention.update(sites=("decoder",)))
    table = full.attention_types([train(mixed)])
    assert cell(table, "multi_query", "write heads") == "encoder 8, decoder 1, cross 8"


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


# Escaping.

NASTY = (
    "<script>alert('x')</script>",
    "a|b",
    "*bold* _it_ `code` ~~gone~~",
    "[link](http://x.invalid) ![i](y)",
    "&amp; $x$ \\ # {}",
    "multi_query_local",
    "two\nlines",
    "[red]not markup[/red]",
)


class Cells(html.parser.HTMLParser):
    """The text of table cells, and every tag with its attributes."""

    def __init__(self):
        super().__init__()
        self.cells, self.tags, self._inside = [], [], False

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th"):
            self.cells.append("")
            self._inside = True

    def handle_endtag(self, tag):
        self._inside = self._inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self._inside:
            self.cells[-1] += data


def read_html(text):
    parser = Cells()
    parser.feed(text)
    return parser


def test_tables_keep_their_text_in_html_and_markdown():
    table = Table("t <i>", ("variant", "x < y | z"), tuple((text, text) for text in NASTY), "note & <b>")
    expected = ["variant", "x < y | z", *(text for text in NASTY for _ in range(2))]
    assert read_html(table.to_html()).cells == expected
    rendered = MarkdownIt("commonmark").enable("table").enable("strikethrough").render(table.to_markdown())
    assert read_html(rendered).cells == [" ".join(text.split()) for text in expected]
    assert {tag for tag, _ in read_html(rendered).tags} <= {"h3", "p", "table", "thead", "tbody", "tr", "th", "td"}


def test_ordinary_names_stay_legible_in_markdown():
    assert (
        "| multi_query_local | 27.5 |"
        in Table("t", ("variant", "BLEU"), (("multi_query_local", "27.5"),)).to_markdown()
    )


def test_code_in_markdown_survives_backticks():
    rendered = MarkdownIt("commonmark").render(Facts([("Command", "run `x` <y>")], literal=["Command"]).to_markdown())
    assert "<code>run `x` &lt;y&gt;</code>" in rendered


def test_tables_print_to_a_terminal_without_reading_markup(toy):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(Table("[bold]t", ("[x]", "y"), (("[red]name[/red]", "1"),), "[note]").to_rich())
    console.print(tables.summary(toy, PAIR).to_rich())
    text = console.export_text()
    assert all(part in text for part in ("[bold]t", "[x]", "[red]name[/red]", "[note]", "multi_query", "3.00×"))


def test_a_hostile_variant_cannot_break_the_page(toy, tmp_path):
    hostile = [
        record | {"variant": NASTY[0], "command": f"$title {NASTY[0]}"}
        for record in toy
        if record["variant"] == "multi_head"
    ]
    page.write(hostile, tmp_path, f"$body {NASTY[0]}")
    text = (tmp_path / "report.html").read_text()
    assert "<script" not in text and NASTY[0] in read_html(text).cells
    assert "<h1>$body &lt;script&gt;" in text
    rendered = MarkdownIt("commonmark").enable("table").render((tmp_path / "report.md").read_text())
    assert "<script" not in rendered and NASTY[0] in read_html(rendered).cells


# The page.


def test_the_page_is_one_file_that_fetches_nothing(toy, tmp_path):
    path = page.write(toy, tmp_path, "toy compared", PAIR)
    assert path == tmp_path / "report.html"
    parser = read_html(path.read_text())
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in parser.tags}
    pictures = [attributes["src"] for tag, attributes in parser.tags if tag == "img"]
    assert len(pictures) == 5
    for source in pictures:
        kind, data = source.split(",", 1)
        assert kind == "data:image/png;base64" and base64.b64decode(data).startswith(PNG)
    others = [
        value for tag, attributes in parser.tags for key, value in attributes.items() if key in ("href", "srcset")
    ]
    assert not others and not re.search(r"url\(|@import", path.read_text())
    assert "viewport" in path.read_text() and "prefers-color-scheme: dark" in path.read_text()


def test_markdown_and_html_say_the_same(toy, tmp_path):
    page.write(toy, tmp_path, "toy compared", PAIR)
    text = (tmp_path / "report.md").read_text()
    rendered = read_html(MarkdownIt("commonmark").enable("table").render(text))
    assert rendered.cells == read_html((tmp_path / "report.html").read_text()).cells
    for _, attributes in (each for each in rendered.tags if each[0] == "img"):
        assert (tmp_path / attributes["src"]).read_bytes().startswith(PNG)


def test_the_page_says_what_was_run_and_how_to_read_it(toy, tmp_path):
    page.write(toy, tmp_path, "toy compared", PAIR)
    text = (tmp_path / "report.md").read_text()
    versions = toy[0]["versions"]
    for part in (toy[0]["device"], toy[0]["commit"], f"jax {versions['jax']}", "multi_head, multi_query"):
        assert part in text
    for part in (
        "The corpus is generated",
        "One seed",
        f"Short training: {toy[0]['config']['train']['steps']:,} steps",
        "at most 3 of 2,000",
        "Floor:",
    ):
        assert part in text
    assert SIGNATURE.format("intl") in text and SIGNATURE.format("13a") in text and "31.0 GB/s" in text


def test_limits_that_do_not_hold_are_not_claimed(tmp_path):
    seeds = [experiment("wmt14", "multi_head", seed) for seed in (0, 1)]
    result = [record for of in seeds for record in (train(of, corpus="wmt14, 4.5M pairs"), quality(of, 27.0))]
    clean = [record | {"commit": "0123456789ab"} for record in result]
    page.write(clean, tmp_path, "wmt14")
    text = (tmp_path / "report.md").read_text()
    assert not any(part in text for part in ("generated", "One seed", "Short training", "not committed", "## Limits"))


def test_unsteady_timing_is_said(toy, tmp_path):
    page.write(toy, tmp_path, "toy", PAIR)
    assert "unsteady" not in (tmp_path / "report.md").read_text()
    noisy = timing(experiment("toy", "multi_query"), 30.0) | {"decoder_us_spread": [29.0, 66.0]}
    page.write([*toy, noisy], tmp_path, "toy", PAIR)
    assert (
        "Timing was unsteady: the slowest round over the median is multi_query 2.2×"
        in (tmp_path / "report.md").read_text()
    )


def test_unequal_budgets_broken_runs_and_changed_commits_are_said(toy, tmp_path):
    of = experiment("toy", "grouped_2")
    page.write([*toy, train(of, math.nan, parameters=900_000) | {"commit": "abc+"}], tmp_path, "toy", PAIR)
    text = (tmp_path / "report.md").read_text()
    assert "grouped\\_2" not in text
    for part in ("grouped_2 has 900,000 parameters", "grouped_2 (seed 0) is not a number", "not committed"):
        assert part in text


def test_a_page_of_timings_alone_speaks_of_no_training(toy, tmp_path):
    page.write(of_kind(toy, "timing"), tmp_path, "toy", PAIR)
    text = (tmp_path / "report.md").read_text()
    assert not any(part in text for part in ("Corpus", "- Training:", "generated"))


@pytest.mark.parametrize("kind", ["train", "quality", "perplexity", "timing", "significance"])
def test_a_page_can_be_made_from_any_one_kind(toy, tmp_path, kind):
    page.write(of_kind(toy, kind), tmp_path, "toy", PAIR)
    assert "multi_head" in (tmp_path / "report.md").read_text()


def test_a_page_without_records_says_so(tmp_path):
    page.write([], tmp_path, "nothing", PAIR)
    assert "no records" in (tmp_path / "report.html").read_text()
    assert tables.summary([]).rows == ()


def test_a_picture_of_an_earlier_report_goes(toy, tmp_path):
    page.write(toy, tmp_path, "toy", PAIR)
    page.write(without(toy, "timing"), tmp_path, "toy", PAIR)
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "report.html", "learning_curves.png"}


def test_report_imports_no_jax():
    code = "import sys, mqa_jax.report.page; sys.exit('jax' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=CONFIGS.parent).returncode == 0


# The plots.

PLOTS = [draw for _, draw, _ in page.PLOTS]


def lines_of(figure, panel=0):
    return [line for line in figure.axes[panel].lines if len(line.get_xdata()) > 1]


def test_time_against_length_has_a_line_and_a_floor_for_each_variant(toy):
    figure = there(plots.time_against_length(toy, PAIR))
    solid = {line.get_label(): line for line in lines_of(figure) if line.get_linestyle() == "-"}
    dashed = [line for line in lines_of(figure) if line.get_linestyle() != "-"]
    assert solid.keys() == set(PAIR) and len(dashed) == 2
    np.testing.assert_array_equal(solid["multi_query"].get_xydata(), [[16, 7.5], [32, 15], [64, 30], [128, 60]])
    np.testing.assert_array_equal(dashed[0].get_xydata(), [[16, 2], [32, 4], [64, 10], [128, 16]])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(texts) == sorted(PAIR)


def test_quality_against_time_joins_the_beams_of_a_variant(toy):
    figure = there(plots.quality_against_time(toy, PAIR))
    joined = lines_of(figure)
    assert len(joined) == 2
    np.testing.assert_array_equal(joined[1].get_xydata(), [[30, 27.25], [90, 28.25]])
    assert {text.get_text() for text in figure.axes[0].texts} >= set(PAIR)


def test_learning_curves_have_a_line_for_each_run_and_panel(toy):
    more = train(experiment("toy", "multi_query", seed=1))
    broken = train(experiment("toy", "multi_query", seed=2))
    broken["curve"] = [{"step": 100, "loss": 3.0}, {"step": 200, "loss": math.nan, "dev_nll_per_token": math.nan}]
    figure = there(plots.learning_curves([*toy, more, broken], PAIR))
    assert len(figure.axes[0].lines) == 4 and len(figure.axes[1].lines) == 3
    assert "label smoothing" in " ".join(text.get_text() for text in figure.texts)


def test_cache_size_has_a_bar_for_each_variant(toy):
    axes = there(plots.cache_size(toy, PAIR)).axes[0]
    assert [bar.get_extents().width / axes.patches[1].get_extents().width for bar in axes.patches] == pytest.approx(
        [8, 1]
    )
    assert [text.get_text() for text in axes.texts] == ["128 KiB", "16 KiB  (0.125)"]


def test_a_variant_has_one_colour_in_every_plot(toy):
    more = [*toy, timing(experiment("toy", "grouped_2"), 20.0, cache=1)]
    order = ["multi_head", "grouped_2", "multi_query"]
    seen = {
        line.get_color()
        for draw in PLOTS[:3]
        for line in lines_of(there(draw(more, order)))
        if "query" in str(line.get_label())
    }
    bar = there(plots.cache_size(more, order)).axes[0].patches[2]
    assert seen == {plots.COLORS[2]} and bar.get_facecolor()[:3] == pytest.approx(
        np.array([0, 158, 115]) / 255, abs=0.01
    )


@pytest.mark.parametrize("draw", PLOTS)
def test_nothing_to_draw_makes_no_figure(toy, draw):
    assert draw([], PAIR) is None and draw(of_kind(toy, "significance"), PAIR) is None
    figure = draw([*toy, timing(experiment("toy", "grouped_2"), math.nan)], PAIR)
    assert figure is not None and figure.axes


@pytest.mark.parametrize("draw", PLOTS)
def test_many_variants_and_long_names_stay_inside_the_picture(toy, draw):
    many = [
        record | {"variant": f"{record['variant']}_with_a_name_{n}"}
        for record in toy
        for n in range(6)
        if record["kind"] != "significance"
    ]
    figure = there(draw(many))
    figure.canvas.draw()
    width, height = figure.get_size_inches() * figure.dpi
    assert all(text.get_window_extent().x1 <= width + 1 for text in figure.texts)
    for axes in figure.axes:
        for text in [*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label]:
            box = text.get_window_extent()
            assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text


def test_spread_keeps_order_and_distance_and_moves_little():
    values = [5.0, 5.1, 40.0, 4.9]
    placed = labels.spread(values, 10, 0, 100)
    assert np.argsort(placed).tolist() == np.argsort(values).tolist()
    assert np.diff(sorted(placed)).min() == pytest.approx(10)
    assert placed[2] == 40.0 and min(placed) >= 0
    assert labels.spread([1.0, 50.0], 10, 0, 100) == [1.0, 50.0]
    crowded = labels.spread([5.0] * 20, 10, 0, 100)
    assert np.diff(sorted(crowded)) == pytest.approx(np.full(19, 10.0))


def test_a_sitting_puts_all_works_and_the_peers_in_one_table(toy):
    timings = [record for record in toy if record["kind"] == "timing"]
    assert timings
    named = [record | {"name": "text_translation", "parts": 2} for record in timings]
    peers = [
        {
            "peer": "other",
            "dtype": "int8",
            "work": "W2",
            "attention": "mha",
            "batch": 64,
            "beam": 1,
            "enc_us_per_token": 7.0,
            "dec_us_per_token": 81.5,
        },
    ]
    slower, other_batch = peers[0] | {"dec_us_per_token": 99.0}, peers[0] | {"batch": 8, "dec_us_per_token": 1.0}
    table = sitting.table(named, [slower, *peers, other_batch])
    assert table.columns[-1] == "other int8" and len(table.rows) == len(timings)
    for row in table.rows:
        expected = "7.00 + 81.5" if "64 to 64, beam 1" in row[0] and row[1] == "multi_head" else "–"
        assert row[-1] == expected and len(row) == len(table.columns)
    assert "81.5" in table.to_markdown() and sitting.table([], []).rows == ()


def test_a_sitting_puts_training_steps_beside_the_peers(toy):
    (header, *_) = [record for record in toy if record["kind"] == "timing"]
    figures = {
        "name": "text_translation",
        "kind": "train_timing",
        "tokens_per_s": 23456.7,
        "ms_per_step": 350.0,
        "ms_spread": [340.0, 400.0],
        "peak_share": 0.42,
        "activations_mb": 527.0,
        "compile_s": 3.1,
    }
    ours = [
        header | figures | {"variant": variant, "dropout": dropout}
        for variant in ("multi_head", "multi_query")
        for dropout in ([0.0, 0.0, 0.0], [0.1, 0.1, 0.1])
    ]
    peer = {"peer": "other", "dtype": "bfloat16", "work": "W4", "attention": "mha", "batch": 64, "dropout": 0.0}
    peers = [
        peer | {"tokens_per_s": 10000.0},
        peer | {"tokens_per_s": 9000.0},
        peer | {"tokens_per_s": 1, "dropout": 0.1},
    ]
    table = sitting.training(ours, peers)
    assert [row[1] for row in table.rows] == ["multi_head", "multi_head", "multi_query", "multi_query"]
    assert [row[3] for row in table.rows] == ["no", "yes"] * 2 and all(row[4] == "23,457" for row in table.rows)
    assert [row[-1] for row in table.rows] == ["10,000", "1", "–", "–"]
    assert sitting.table([header | {"parts": 1}], peers).columns[-1] == "MiB" and sitting.training([], []).rows == ()
    changed = sitting.training([*ours, ours[0] | {"commit": "fedcba987654+"}], peers)
    assert ours[0]["commit"] in changed.note and "fedcba987654+" in changed.note


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"peer": "other"}', "line 1 lacks attention, batch"),
        ("[1]", "line 1 is not a JSON object"),
        ("not JSON", "line 1 is not a JSON object"),
        (None, "cannot be read"),
    ],
)
def test_a_file_of_peers_that_is_none_is_named(tmp_path, text, words):
    if text is not None:
        (tmp_path / "peers.jsonl").write_text(text)
    with pytest.raises(InputError, match=f"--peers=.*{words}"):
        sitting.read_peers(tmp_path / "peers.jsonl")
