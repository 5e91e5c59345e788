"""Timed decodes and the records they give."""

import dataclasses

import pytest
from test_config import every_variant

from mqa_jax.timing import decode
from mqa_jax.timing.peaks import Peaks

BFLOAT16 = Peaks(31e9, 1400e9, "bfloat16")


@pytest.mark.parametrize("name", ["toy", "text_lm"])
@pytest.mark.parametrize("beam", [1, 2])
def test_timed_decodes_give_whole_records_in_turn(name, beam):
    experiments = [every_variant(name)[variant] for variant in ("multi_head", "multi_query_local")]
    records = decode.time_in_turn(experiments, decode.Shape(2, beam, 8, 12), 3, BFLOAT16)
    for record, experiment in zip(records, experiments, strict=True):
        assert record["variant"] == experiment.variant and record["repeats"] == 3
        low, high = record["decoder_us_spread"]
        assert 0 < low <= record["decoder_us_per_token"] <= high
        assert record["ms_per_step"] == pytest.approx(record["decoder_us_per_token"] * 2 / 1e3)
        assert record["floor_share"] == pytest.approx(record["floor_us_per_token"] / record["decoder_us_per_token"])
        assert record["peak_memory_mb"] > 10 and record["compile_s"] > 0 and record["encoder_us_per_token"] > 0
    assert records[0]["cache_bytes_per_sequence"] > records[1]["cache_bytes_per_sequence"]


def test_a_length_beyond_the_positions_is_timed_with_a_longer_table():
    timed = decode.TimedDecode(every_variant("toy")["multi_query"], decode.Shape(1, 1, 8, 200))
    assert timed.model_config == dataclasses.replace(timed.experiment.model, positions=200)
    timed.run()
    assert len(timed.decoder_s) == 1
