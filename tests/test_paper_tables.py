"""The paper's tables: its own numbers beside ours where the model is its own, and nowhere else."""

import dataclasses

import pytest
from reported import (
    PAIR,
    column,
    comparison,
    experiment,
    get_config,
    of_kind,
    perplexity,
    quality,
    there,
    timing,
    train,
    without,
)

from mqa_jax import records
from mqa_jax.report import page, paper, tables
from mqa_jax.report.selection import Selection


@pytest.fixture(scope="module")
def toy():
    return comparison()


def figures(name, variant, change=lambda base: None):
    return paper.figures(name, dataclasses.asdict(experiment(name, variant, change=change)))


@pytest.mark.parametrize(
    ("name", "fields", "data"),
    [
        ("wmt14", paper.TABLE_1_FIELDS, paper.TABLE_1),
        ("wmt14", paper.TABLE_2_FIELDS, paper.TABLE_2),
        ("lm1b", paper.TABLE_3_FIELDS, paper.TABLE_3),
    ],
)
def test_each_row_of_the_paper_belongs_to_one_variant(name, fields, data):
    found = {variant: figures(name, variant) for variant in get_config(name).variants}
    rows = [tuple(each[field] for field in fields if field in each) for each in found.values()]
    assert sorted(filter(None, rows)) == sorted(data.values())
    assert not found["grouped_2"] and not found["grouped_4"]


def test_the_papers_numbers_are_those_of_the_paper():
    assert figures("wmt14", "multi_query") == {
        "ln(PPL) wmt13": "1.439",
        "BLEU wmt13, beam 1": "26.5",
        "BLEU wmt14, beam 1": "27.5",
        "BLEU wmt14, beam 4": "28.5",
        "training": "13.0",
        "greedy: encoder": "1.5",
        "greedy: decoder": "3.8",
        "beam 4: encoder": "1.6",
        "beam 4: decoder": "32",
    }
    assert list(figures("wmt14", "multi_head").values())[4:] == ["13.2", "1.7", "46", "2.0", "203"]
    assert list(figures("wmt14", "multi_head_h2").values()) == ["1.480", "26.2", "26.8", "27.9"]
    assert figures("lm1b", "multi_query") == {"dev PPL per word": "30.2"}


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
    assert figures("wmt14", "multi_query", change) == {}


def test_another_task_has_no_row_in_the_paper():
    wmt14 = dataclasses.asdict(experiment("wmt14", "multi_query"))
    assert paper.figures("mine", wmt14) == paper.figures("lm1b", wmt14) == {}
    shorter = figures("wmt14", "multi_query", lambda base: base.timing.update(target_length=64))
    assert tuple(shorter) == paper.TABLE_1_FIELDS


def test_the_paper_has_no_score_of_other_text():
    """Its model on a text of one's own has its times, and none of its scores."""
    mine = lambda base: base.data.update(kind="text", train=("a.en", "a.de"), dataset="")  # noqa: E731
    assert tuple(figures("wmt14", "multi_query", mine)) == paper.TABLE_2_FIELDS
    assert figures("lm1b", "multi_query", mine) == {}
    of = experiment("wmt14", "multi_query", change=mine)
    table = there(tables.table_1(Selection([quality(of, 20.0, "dev"), quality(of, 21.0, "wmt14")])))
    assert table.columns[-2:] == ("BLEU dev, beam 1", "BLEU wmt14, beam 1") and "1911.02150" not in table.note


def test_table_1_has_ours_beside_the_papers():
    result = []
    for variant, more in (("multi_head", 0.0), ("grouped_2", 0.1)):
        of = experiment("wmt14", variant)
        result += [perplexity(of, 1.45 - more, 4.0), quality(of, 26.4 + more, "dev")]
        result += [quality(of, 27.6 + more, "wmt14"), quality(of, 28.3 + more, "wmt14", beam=4)]
    table = there(tables.table_1(Selection(result)))
    ours = ("ln(PPL) wmt13", "BLEU wmt13, beam 1", "BLEU wmt14, beam 1", "BLEU wmt14, beam 4")
    assert table.columns == ("attention", "d_ff", *ours, *(f"paper: {header}" for header in ours))
    assert table.rows == (
        ("multi_head", "4096", "1.450", "26.40", "27.60", "28.30", "1.424", "26.7", "27.7", "28.4"),
        ("grouped_2", "5248", "1.350", "26.50", "27.70", "28.40", "–", "–", "–", "–"),
    )
    assert "In all rows: h 8, d_k 128, d_v 128." in table.note
    assert "1911.02150" in table.note


def test_bleu_of_other_lines_does_not_stand_beside_the_papers():
    """TFDS's test has 3,003 lines, sacreBLEU's wmt14 2,737."""
    of = experiment("wmt14", "multi_head")
    table = there(tables.table_1(Selection([quality(of, 26.4, "dev"), quality(of, 27.6), quality(of, 28.3, beam=4)])))
    assert [header for header in table.columns if "BLEU" in header] == [
        "BLEU wmt13, beam 1",
        "BLEU test, beam 1",
        "BLEU test, beam 4",
        "paper: BLEU wmt13, beam 1",
    ]
    assert "The paper's test BLEU is of wmt14 (2,737 lines), which was not scored here." in table.note
    both = [quality(of, 27.6, "wmt14"), quality(of, 27.1, "wmt14-full"), quality(of, 20.0)]
    table = there(tables.table_1(Selection(both)))
    assert [header for header in table.columns if "beam 1" in header] == [
        "BLEU wmt14, beam 1",
        "BLEU wmt14-full, beam 1",
        "paper: BLEU wmt13, beam 1",
        "paper: BLEU wmt14, beam 1",
    ]
    assert "BLEU wmt14, beam 1" in tables.summary(Selection(both)).columns
    assert Selection(both).quality("multi_head", 1).mean == 27.6


def test_table_3_says_which_lines_were_scored_and_how():
    """By the training's record and the perplexity's, beside what the paper's was scored on."""
    of = experiment("lm1b", "multi_query")
    trained = train(of, corpus="lm1b of TFDS: dev is one file")
    table = there(tables.table_3(Selection([trained, perplexity(of, 3.2, 30.2) | {"packed": True}])))
    assert table.note.startswith(
        "Scored on all of dev: lm1b of TFDS: dev is one file, packed rows, no word replaced by UNK. The paper's was "
        "scored on the held-out file news.en.heldout-00000-of-00050 alone"
    )
    mapped = perplexity(of, 3.2, 30.2)
    mapped["config"]["data"]["unk"] = "words.txt"
    table = there(tables.table_3(Selection([mapped])))
    assert "Scored on all of dev: lm1b, a line in each row, words outside words.txt as UNK." in table.note
    of = experiment("text_lm", "multi_query")
    assert "heldout" not in there(tables.table_3(Selection([perplexity(of, 3.2, 30.2)]))).note


def test_the_training_column_takes_timed_steps_of_the_configs_shape():
    """And the training run's own speed where there are none."""
    of = experiment("wmt14", "multi_query")
    shape = {"batch": 128, "source_length": 256, "target_length": 256, "ms_per_step": 425.0}
    shape |= {"dropout": (0.2, 0.1, 0.1), "dtype": "bfloat16", "rematerialise": False}
    other = records.make("train_timing", of, shape | {"batch": 64, "ms_per_step": 1.0})
    plain = records.make("train_timing", of, shape | {"dropout": (0.0, 0.0, 0.0), "ms_per_step": 1.0})
    own = records.make("train_timing", of, shape)
    # The paper's step of 425 ms is its 13.0 µs: of 128 x 256 target tokens.
    for found, wanted in (([other, plain, own, train(of)], "13.0"), ([other, train(of)], "100"), ([own], "13.0")):
        table = there(tables.table_2(Selection([*found, timing(of, 3.9)])))
        assert table.rows[0][table.columns.index("training")] == wanted
        assert ("timed steps of 128 rows of 256 + 256 tokens" in table.note) == (own in found)
    before = train(of)
    del before["target_tokens_per_s"]
    assert "training" not in there(tables.table_2(Selection([before, timing(of, 3.9)]))).columns
    of = experiment("lm1b", "multi_query")
    table = there(tables.table_2(Selection([train(of), timing(of, 3.9)])))
    assert table.rows[0][table.columns.index("training")] == "50.0", "which has no other tokens"


def test_table_2_marks_the_papers_machine():
    of = experiment("wmt14", "multi_query")
    found = [train(of), timing(of, 3.9, encoder=1.5), timing(of, 31.0, beam=4, encoder=1.5)]
    table = there(tables.table_2(Selection(found)))
    ours, theirs = ("100", "1.50", "3.90", "1.50", "31.0"), ("13.0", "1.5", "3.8", "1.6", "32")
    assert table.rows == (("multi_query", *ours, *theirs),)
    assert ["TPUv2" in header for header in table.columns] == [False] * 6 + [True] * 5


def test_table_3_has_ours_beside_the_papers():
    table = there(tables.table_3(Selection([perplexity(experiment("lm1b", "multi_query"), 3.5, 30.61)])))
    assert table.rows == (("multi_query", "8", "128", "128", "9088", "30.61", "30.2"),)


def test_the_toy_task_has_no_number_of_the_paper(toy, tmp_path):
    runs = Selection(toy, PAIR)
    for table in map(there, (tables.table_1(runs), tables.table_2(runs))):
        assert table.rows and not any("paper" in header for header in table.columns)
    assert column(tables.table_2(runs), "beam 4: decoder") == ["270.0", "90.0"]
    page.write(toy, tmp_path, "toy", PAIR)
    assert "TPUv2" not in (tmp_path / "report.html").read_text()


def test_only_tables_with_records_appear(toy):
    assert tables.table_3(Selection(toy, PAIR)) is None
    assert tables.table_1(Selection(of_kind(toy, "train", "timing"), PAIR)) is None
    assert tables.table_2(Selection(without(toy, "timing"), PAIR)) is None
    of = experiment("lm1b", "multi_head")
    assert tables.table_1(Selection([perplexity(of, 3.5, 30.0)])) is None
    timed = there(tables.table_2(Selection([timing(of, 20.0)])))
    assert timed.columns == ("attention", "greedy: prompt", "greedy: decoder")
