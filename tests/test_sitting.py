"""Timings of one sitting beside those of other libraries."""

import pytest
from reported import comparison

from mqa_jax.errors import InputError
from mqa_jax.report import sitting


@pytest.fixture(scope="module")
def toy():
    return comparison()


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
        peer | {"tokens_per_s": 9500.0, "tokens_per_s_median": 9000.4},
        peer | {"tokens_per_s": 1, "dropout": 0.1},
    ]
    table = sitting.training(ours, peers)
    assert [row[1] for row in table.rows] == ["multi_head", "multi_head", "multi_query", "multi_query"]
    assert [row[3] for row in table.rows] == ["no", "yes"] * 2 and all(row[5] == "23,457" for row in table.rows)
    assert [row[-1] for row in table.rows] == ["10,000 / 9,000", "1", "–", "–"]
    assert {row[4] for row in table.rows} == {"no"}
    again = sitting.training([ours[0], ours[0] | {"rematerialise": True}], peers)
    assert [row[4] for row in again.rows] == ["no", "yes"]
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
