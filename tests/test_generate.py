"""Text in, text out: order, buckets, empty and long lines, few programs."""

import dataclasses

import jax
import numpy as np
import pytest
from small import model, parameters

from mqa_jax.decode import generate
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
    with pytest.raises(ValueError, match="tokens=31"):
        generate.continue_text(["a"], of, values, Letters(), CONFIG, 31)


def test_buckets_are_few_and_hold_every_line_once():
    lengths = {index: 1 + index * 7919 % 97 for index in range(2000)}
    groups = list(generate.buckets(lengths, 64, 100))
    assert sorted(index for _, _, members in groups for index in members) == list(range(2000))
    assert {(bucket, size) for bucket, size, _ in groups} <= {(b, 64) for b in (16, 32, 64, 100)}
    assert all(lengths[index] <= bucket for bucket, _, members in groups for index in members)
    assert [size for _, size, _ in generate.buckets({0: 3}, 64, 100)] == [1]
    assert [size for _, size, _ in generate.buckets(dict.fromkeys(range(5), 3), 64, 100)] == [8]


def test_many_lines_compile_few_programs():
    of = model("translation", 4)
    values, random = parameters(of), np.random.default_rng(0)
    lines = ["".join(random.choice(list("abcdefgh"), random.integers(1, 32))) for _ in range(200)]
    jax.clear_caches()
    before = generate._translate._cache_size()
    generate.translate(lines, of, values, Letters(), CONFIG)
    assert generate._translate._cache_size() - before <= 2
