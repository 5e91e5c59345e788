"""Text in, text out: order, buckets, empty and long lines, few programs."""

import dataclasses

import jax
import numpy as np
import pytest
from small import BOS, model, parameters, rows

from mqa_jax.decode import devices, generate
from mqa_jax.decode.search import Greedy, find
from mqa_jax.errors import InputError
from mqa_jax.experiment import DecodeConfig
from mqa_jax.tokens import EOS

CONFIG = DecodeConfig(beam=1, alpha=0.6, length_factor=1.5, length_extra=10, batch=4)


class Letters:
    """A vocabulary of 20 letters: the tests' text is words of them."""

    def encode(self, text):
        return [4 + ord(letter) - ord("a") for letter in text if letter != " "]

    def decode(self, ids):
        kept = ids[: ids.index(EOS)] if EOS in ids else ids
        return "".join(chr(ord("a") + token - 4) for token in kept if token >= 4)


LINES = ["abc", "", "defghij", "a", "   ", "tsrqponmlkjihg", "bb", "abc", "abcdefghijklmnopqrstabcdef"]


@pytest.mark.parametrize("beam", [1, 3])
def test_each_line_is_translated_as_if_alone(beam):
    of = model("translation", 2)
    values, config = parameters(of, seed=18), dataclasses.replace(CONFIG, beam=beam)
    together = generate.translate(LINES, of, values, Letters(), config).texts
    alone = [generate.translate([line], of, values, Letters(), config).texts[0] for line in LINES]
    assert together == alone and len(together) == len(LINES)
    assert together[1] == together[4] == "" and together[0] == together[7] != together[2]


def test_what_was_cut_is_named_and_the_rest_goes_through():
    of = model("translation", 1)
    lines = ["a" * 10, "b" * 40, "c" * 31, "d" * 32]
    output = generate.translate(lines, of, parameters(of), Letters(), CONFIG)
    assert output.truncated == [1, 3] and len(output.texts) == 4


@pytest.mark.parametrize("sampling", [None, generate.Sampling(seed=1, temperature=0.8, top=5, mass=0.9)])
@pytest.mark.parametrize("beam", [1, 2])
def test_each_prompt_is_continued_as_if_alone(beam, sampling):
    if sampling and beam > 1:
        return
    of, config = model("language", 1, window=6), dataclasses.replace(CONFIG, beam=beam)
    values = parameters(of, seed=2)
    together = generate.continue_text(LINES[:4], of, values, Letters(), config, 8, sampling).texts
    assert len(together) == 4 and together[1] == ""
    if not sampling:
        alone = [generate.continue_text([x], of, values, Letters(), config, 8).texts[0] for x in LINES[:4]]
        assert together == alone
    else:
        assert together == generate.continue_text(LINES[:4], of, values, Letters(), config, 8, sampling).texts
        other = dataclasses.replace(sampling, seed=2)
        assert together != generate.continue_text(LINES[:4], of, values, Letters(), config, 8, other).texts


def test_prompts_too_long_keep_their_end():
    of = model("language", 2)
    values = parameters(of)
    run = lambda line: generate.continue_text([line], of, values, Letters(), CONFIG, 8)  # noqa: E731
    assert run("a" * 30 + "bcd" * 8).texts == run("q" * 30 + "bcd" * 8).texts
    with pytest.raises(InputError, match="tokens=31"):
        generate.continue_text(["a"], of, values, Letters(), CONFIG, 31)


def test_buckets_are_few_and_end_with_the_longest():
    assert generate.buckets(256) == [16, 32, 64, 256]
    assert generate.buckets(1000) == [16, 32, 64, 256, 1000]
    assert generate.buckets(10) == [10] and generate.buckets(16) == [16] and generate.buckets(64) == [16, 32, 64]


@pytest.mark.parametrize("beam", [1, 4])
def test_two_thousand_lines_of_all_lengths_compile_at_most_eight_programs(beam, monkeypatch):
    """On one device, counted by JAX itself, everything that is compiled on the way included."""
    monkeypatch.setattr(devices, "for_batch", lambda model, rows: jax.devices()[:1])
    of = model("translation", 4, positions=256)
    values, random = parameters(of), np.random.default_rng(0)
    lines = ["".join(random.choice(list("abcdefgh"), size)) for size in random.integers(1, 256, 2000) ** 2 // 256 + 1]
    compiled = []
    jax.clear_caches()
    listener = lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listener)
    config = dataclasses.replace(CONFIG, beam=beam, batch=64, length_factor=1.0, length_extra=8)
    output = generate.translate(lines, of, values, Letters(), config)
    jax.monitoring.unregister_event_duration_listener(listener)
    assert len(output.texts) == 2000 and output.programs == 4
    assert 4 <= len(compiled) <= 8


def test_an_output_that_outgrows_its_bucket_starts_again_in_the_next():
    """An untrained model hardly ever ends, so a limit of three times the source goes beyond the first bucket's room."""
    of = model("translation", 2, positions=256)
    values, lines = parameters(of, seed=18), ["abcdefgh", "bcde", "c" * 40]
    config = dataclasses.replace(CONFIG, length_factor=1.0, length_extra=40)
    output = generate.translate(lines, of, values, Letters(), config)
    assert output.programs == 3
    whole = []
    for line in lines:
        ids = [*Letters().encode(line), EOS]
        source = rows([ids], 64)
        limit = len(ids) + 40
        search = Greedy(limit, EOS)
        module = of.bind(values)
        found = find(search, module.stepper(), module.begin(source, 1, limit), np.asarray([BOS]), np.asarray([limit]))
        whole.append(Letters().decode(found.tokens_BT[0].tolist()))
    assert output.texts == whole and max(map(len, whole)) > 32


def test_what_is_drawn_does_not_depend_on_the_batch():
    of = model("language", 1)
    values, draw = parameters(of, seed=2), generate.Sampling(seed=1, temperature=0.8, top=5, mass=0.9)
    by_size = [
        generate.continue_text(LINES, of, values, Letters(), dataclasses.replace(CONFIG, batch=size), 8, draw).texts
        for size in (1, 4, 16)
    ]
    assert by_size[0] == by_size[1] == by_size[2]


def test_parts_of_a_batch_on_several_devices_give_what_one_gives(monkeypatch):
    of = model("translation", 2)
    values, config = parameters(of, seed=18), dataclasses.replace(CONFIG, batch=16)
    lines = ["abcdefghijklmnopq"[: 1 + n % 17] for n in range(50)]
    assert len(devices.for_batch(of.config, 16)) == 2 and len(devices.for_batch(of.config, 12)) == 1
    spread = generate.translate(lines, of, values, Letters(), config)
    monkeypatch.setattr(devices, "for_batch", lambda model, rows: jax.devices()[:1])
    assert generate.translate(lines, of, values, Letters(), config) == spread


def test_an_error_in_a_part_reaches_the_caller():
    of = model("translation", 2)
    broken = parameters(of)
    broken["decoder"]["norm"]["scale_D"] = broken["decoder"]["norm"]["scale_D"][:-1]
    with pytest.raises((TypeError, ValueError)):
        generate.translate(["abc"] * 40, of, broken, Letters(), dataclasses.replace(CONFIG, batch=16))
