"""The page of a report: text that cannot break it, one file that fetches nothing, and what it warns of."""

import base64
import io
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
    quality,
    read_html,
    timing,
    train,
    without,
)
from rich.console import Console

from mqa_jax.report import html, page, tables
from mqa_jax.report.selection import Selection
from mqa_jax.report.table import Table, code

PNG = b"\x89PNG\r\n\x1a\n"


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
    assert "<script" not in text and "href" not in text


def test_ordinary_names_stay_legible_in_markdown():
    table = Table("t", ("variant", "BLEU"), (("multi_query_local", "27.5"),))
    assert "| multi_query_local | 27.5 |" in table.to_markdown()


def test_code_in_markdown_survives_backticks():
    rendered = MarkdownIt("commonmark").render(code("run `x` <y>"))
    assert "<code>run `x` &lt;y&gt;</code>" in rendered


def test_tables_print_to_a_terminal_without_reading_markup(toy):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(Table("[bold]t", ("[x]", "y"), (("[red]name[/red]", "1"),), "[note]").to_rich())
    console.print(tables.summary(Selection(toy, PAIR)).to_rich())
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
    rendered = github((tmp_path / "report.md").read_text())
    assert NASTY[0] in rendered.cells and "script" not in {tag for tag, _ in rendered.tags}


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
    rendered = github((tmp_path / "report.md").read_text())
    assert rendered.cells == read_html((tmp_path / "report.html").read_text()).cells
    for _, attributes in (each for each in rendered.tags if each[0] == "img"):
        assert (tmp_path / attributes["src"]).read_bytes().startswith(PNG)


def test_wide_tables_scroll_and_can_be_reached(toy, tmp_path):
    text = page.write(toy, tmp_path, "toy compared", PAIR).read_text()
    regions = re.findall(r'<div class="wide" role="region" aria-label="[^"]+" tabindex="0">\n<table>', text)
    assert len(regions) == text.count("<table>") == 8 and ".wide { overflow-x: auto }" in text


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
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "report.html", "learning_curves.png"}


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
    command = [sys.executable, "-c", code, str(records_path), str(tmp_path)]
    assert subprocess.run(command, cwd=CONFIGS.parent, env=without_devices).returncode == 0
    assert (tmp_path / "report.html").stat().st_size > 10_000
