"""The paper's tables: its own numbers beside ours where the model is its own, and nowhere else."""

import dataclasses

import pytest
from reported import (
    PAIR,
    cell,
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

from mqa_jax.report import page, paper, tables


@pytest.fixture(scope="module")
def toy():
    return comparison()


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
