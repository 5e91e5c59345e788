"""Timed decodes and the records they give."""

import dataclasses
import functools
import pathlib
import tempfile

import jax
import numpy as np
import pytest
from test_config import get

from mqa_jax import config, records
from mqa_jax.data import sources, vocabulary
from mqa_jax.experiment import MeshConfig
from mqa_jax.timing import cost, data, decode, peaks, sweep, train
from mqa_jax.timing.peaks import Peaks

BFLOAT16 = Peaks(31e9, 1400e9, 1400e9)


@functools.cache
def small(name):
    """The config's variants at a size that compiles soon."""
    base = get(name)
    base.model.update(decoder_layers=2, width=32, feed_forward=64, vocabulary=512, positions=64, dtype="float32")
    base.baseline.update(heads=4, key_size=8, value_size=8)
    base.data.update(source_length=64, target_length=64)
    if name == "toy":
        base.model.encoder_layers = 1
    names = ("multi_head", "multi_query", "multi_query_local", "grouped_2")
    return {each: config.read(config.select_variant(base, each)) for each in names if each in base.variants}


@pytest.mark.parametrize(
    ("name", "beam", "padded"), [("toy", 1, True), ("toy", 2, False), ("text_lm", 1, False), ("text_lm", 2, True)]
)
def test_timed_decodes_give_whole_records_in_turn(name, beam, padded):
    experiments = [small(name)[variant] for variant in ("multi_head", "multi_query_local")]
    records = decode.time_in_turn(experiments, decode.Workload(2, beam, 8, 12, padded), 3, BFLOAT16)
    for record, experiment in zip(records, experiments, strict=True):
        assert record["padded_cache"] == padded and record["steps"] == record["target_length"] == 12
        assert record["variant"] == experiment.variant and record["repeats"] == 3
        low, high = record["decoder_us_spread"]
        assert 0 < low <= record["decoder_us_per_token"] <= high
        assert record["ms_per_step"] == pytest.approx(record["decoder_us_per_token"] * 2 / 1e3)
        assert record["floor_share"] == pytest.approx(record["floor_us_per_token"] / record["decoder_us_per_token"])
        assert record["peak_memory_mb"] > 10 and record["compile_s"] > 0 and record["encoder_us_per_token"] > 0
    assert records[0]["cache_bytes_per_sequence"] > records[1]["cache_bytes_per_sequence"]


def test_a_length_beyond_the_positions_is_timed_with_a_longer_table():
    timed = decode.TimedDecode(small("toy")["multi_query"], decode.Workload(1, 1, 8, 200, True))
    assert timed.model_config == dataclasses.replace(timed.experiment.model, positions=200)
    timed.run()
    assert len(timed.decoder_s) == 1


@pytest.mark.parametrize(("name", "beam"), [("toy", 2), ("text_lm", 1), ("text_lm", 2)])
def test_a_growing_cache_decodes_what_a_padded_one_does(name, beam):
    """Past two doublings, the tokens, and the keys and values of every layer and position, must be the same."""
    experiment = small(name)["grouped_2" if name == "toy" else "multi_query"]
    outputs, caches = [], []
    for padded in (True, False):
        workload = decode.Workload(2, beam, 8, 80, padded)
        assert workload.rooms == ([80] if padded else [32, 64, 80])
        timed = decode.TimedDecode(experiment, workload)
        (replica,) = timed.replicas
        (tokens_BT, _), state = replica.decode(replica.begin())
        prompt = 7 if name == "text_lm" else 0
        assert state.caches[0][0].shape[1] == (80 + prompt if beam == 1 else beam * 80)
        assert [rows[0].shape[1] for rows in state.prompts] == ([prompt + 1] * 2 if prompt and beam > 1 else [])
        outputs.append(np.asarray(tokens_BT))
        caches.append((state.caches, state.prompts))
    np.testing.assert_array_equal(*outputs)
    for large, grown in zip(*map(jax.tree.leaves, caches), strict=True):
        np.testing.assert_allclose(grown, large, atol=1e-5)


def test_a_model_that_devices_share_is_timed_with_the_floor_of_one_of_them():
    """Two devices: each has half of the weights, and a single write head's rows whole."""
    experiment = dataclasses.replace(small("toy")["multi_query"], mesh=MeshConfig(tensor=2))
    workload = decode.Workload(4, 1, 8, 12, True)
    (record,) = decode.time_in_turn([experiment], workload, 1, BFLOAT16)
    assert record["device"].startswith("2 virtual devices on ")
    assert (record["parts"], record["spread_over_devices"]) == (1, 2)
    whole, half = (workload.step_cost(experiment.model, tensor) for tensor in (1, 2))
    floor_us = cost.floor(whole, BFLOAT16) * 1e6 / 4
    assert record["floor_us_per_token"] == pytest.approx(floor_us), "a CPU's cores share its peaks"
    assert half.weight_bytes == whole.weight_bytes / 2 and half.cache_bytes == whole.cache_bytes
    assert half.flops == whole.flops / 2
    many = [workload.step_cost(small("toy")["multi_head"].model, tensor).cache_bytes for tensor in (1, 2)]
    assert many[0] == 2 * many[1]


def test_a_part_of_the_steps_can_be_timed():
    timed = decode.TimedDecode(small("toy")["multi_query"], decode.Workload(2, 1, 8, 400, True, steps=5))
    timed.run()
    figures = timed.figures(BFLOAT16)
    assert (figures["steps"], figures["target_length"]) == (5, 400)
    assert figures["decoder_us_per_token"] == pytest.approx(timed.decoder_s[0] * 1e6 / (2 * 5))


def test_a_prompt_of_several_chunks_is_timed_by_the_token():
    timed = decode.TimedDecode(small("text_lm")["multi_query"], decode.Workload(1, 1, 1100, 2, False))
    timed.run()
    figures = timed.figures(BFLOAT16)
    assert figures["encoder_us_per_token"] == pytest.approx(timed.encoder_s[0] * 1e6 / 1100)
    share = figures["encoder_floor_us_per_token"] / figures["encoder_us_per_token"]
    assert figures["encoder_floor_share"] == pytest.approx(share) and 0 < share < 1


def test_variants_of_one_model_are_timed_once(tmp_path, capsys, monkeypatch):
    """Each has a record under its own name."""
    monkeypatch.setattr(peaks, "measure", lambda *_: BFLOAT16)
    first, other = (small("toy")[name] for name in ("multi_head", "multi_query"))
    twin = dataclasses.replace(first, variant="twin", train=dataclasses.replace(first.train, steps=7))
    place = {each.variant: tmp_path / each.variant for each in (first, other, twin)}
    sweep.time_missing([first, other, twin], [decode.Workload(3, 1, 4, 4, True)], place, 2, sweep.PARTS)
    assert "1 workloads of 2 models" in capsys.readouterr().err
    of_first, of_other, of_twin = (records.read(place[name])[0] for name in ("multi_head", "multi_query", "twin"))
    assert of_twin["variant"] == "twin" and of_twin["config"]["train"]["steps"] == 7
    assert {**of_twin, "variant": "multi_head", "config": of_first["config"]} == of_first
    assert of_other["decoder_us_per_token"] != of_first["decoder_us_per_token"]


def test_a_sweep_times_all_workloads_once_and_goes_on_where_it_was(tmp_path, capsys, monkeypatch):
    of = small("toy")
    experiments = [of["multi_head"], of["multi_query"]]
    base = experiments[0].timing
    assert [s.target_length for s in sweep.plan(experiments[0], [], [], [1])] == [32, 64, 128, 256, 512]
    workloads = sweep.plan(experiments[0], [4, 8], [1, 2], [1, 2])
    assert len(workloads) == len({each.label for each in workloads}) == 8
    assert {(s.source_length, s.target_length) for s in workloads} == {(4, 4), (8, 8), (base.source_length,) * 2}
    monkeypatch.setattr(peaks, "measure", lambda *_: BFLOAT16)
    # 3 sentences, which the eight devices of the tests do not share out: one compilation, not eight.
    few = [dataclasses.replace(s, batch=3) for s in workloads if s.beam == 1 and s.target_length < 9]
    huge = dataclasses.replace(few[0], batch=10**9)
    short = [
        dataclasses.replace(each, timing=dataclasses.replace(base, source_length=4, target_length=4))
        for each in experiments
    ]
    sweep.sweep(short, [*few, huge], tmp_path, 2)
    said = capsys.readouterr().err
    assert f"left out, for want of memory: {huge.label} (" in said and "2 workloads of 2 models: about" in said
    found = records.read(tmp_path)
    assert sorted(record["kind"] for record in found) == ["latency"] * 2 + ["timing"] * 4
    late = [record for record in found if record["kind"] == "latency"]
    assert all(0 < record["ms_per_token_p50"] <= record["ms_per_token_p99"] for record in late)
    assert all(record["ms_to_first_token"] > 0 and record["sentences"] == 2 for record in late)
    sweep.sweep(short, few, tmp_path, 2)
    assert "timing: all there" in capsys.readouterr().err and records.read(tmp_path) == found


@pytest.mark.parametrize("name", ["toy", "text_lm"])
def test_timed_training_gives_a_whole_record(name):
    experiment = small(name)["multi_query"]
    source = 8 if name == "toy" else 0
    timed = train.TimedTraining(experiment, train.Workload(8, source, 16))
    for _ in range(train.WARM_UP + 2):
        timed.run()
    record = records.make("train_timing", experiment, timed.figures(BFLOAT16))
    low, high = record["ms_spread"]
    assert record["steps"] == 2 and 0 < low <= record["ms_per_step"] <= high
    assert record["tokens_per_s"] == pytest.approx(8 * (source + 16) * 1e3 / record["ms_per_step"])
    assert record["model_flops_per_s"] == pytest.approx(record["model_flops_per_step"] * 1e3 / record["ms_per_step"])
    assert record["mfu"] == pytest.approx(record["model_flops_per_s"] / (1400e9 * record["devices"]))
    assert record["state_mb"] > 3 * 4 * record["parameters"] / 2**20 / record["devices"]
    assert record["activations_mb"] > 0 and record["compile_s"] > 0


@pytest.mark.parametrize("name", ["toy", "text_lm"])
def test_a_teachers_forward_pass_is_work_too(name, monkeypatch):
    monkeypatch.setattr(train.peaks, "matmul", lambda dtype: 1e12)
    model = small(name)["multi_query"].model
    alone, taught = train.peak_rate(model), train.peak_rate(model, model)
    assert taught.peak_flops_per_s == alone.peak_flops_per_s
    assert taught.flops_per_target_token == pytest.approx(alone.flops_per_target_token * 4 / 3)
    assert taught.flops_per_source_token == pytest.approx(alone.flops_per_source_token * 4 / 3)
    assert (alone.flops_per_source_token > 0) == (name == "toy")


def test_the_data_pipeline_is_timed_over_an_epoch_at_least():
    experiment = small("toy")["multi_query"]
    settings = dataclasses.replace(experiment.data, sentences=2500, target_length=32)
    experiment = dataclasses.replace(experiment, data=settings)
    corpus = sources.load(experiment.data, experiment.task)
    few = dataclasses.replace(experiment.data, pieces=400)
    with tempfile.TemporaryDirectory() as folder:
        words = vocabulary.obtain(few, corpus, pathlib.Path(folder) / "v.model")
        record = data.time_data(experiment, corpus, words, rounds=1)
    sides = [words.encode_all(side) for side in (corpus.splits["train"].source, corpus.splits["train"].target)]
    pairs = [(len(source) + 1, len(target) + 1) for source, target in zip(*sides, strict=True)]
    tokens = sum(source + target for source, target in pairs if target <= 32)
    assert tokens < sum(map(sum, pairs)), "pairs that are longer than their rows are not trained on"
    assert record["epoch_tokens"] == tokens and record["epochs"] >= 1 and record["read_as"] == "text"
    low, high = record["tokens_per_s_spread"]
    assert 0 < low <= record["tokens_per_s"] <= high and record["first_batch_s"] > 0
    assert all(0 < record[name] < 1 for name in ("packing_share", "scoring_padding", "decode_padding", "pod_share"))
    assert "tokens/s" in data.text(record)
