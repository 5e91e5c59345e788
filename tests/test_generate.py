"""Text in, text out: order, buckets, empty and long lines, few programs."""

import dataclasses
import threading
import types

import jax
import numpy as np
import pytest
from small import BOS, Compiled, find, model, parameters, rows

from mqa_jax.attention.cache import reorder
from mqa_jax.decode import generate, replicas
from mqa_jax.decode.search import Beam, Greedy
from mqa_jax.errors import InputError
from mqa_jax.experiment import DecodeConfig
from mqa_jax.kernels import host
from mqa_jax.tokens import EOS

CONFIG = DecodeConfig(beam=1, alpha=0.6, length_factor=1.5, length_extra=10, batch=4)


class Letters:
    """A vocabulary of 20 letters: the tests' text is words of them."""

    bos, eos = BOS, EOS

    def encode(self, text):
        return [4 + ord(letter) - ord("a") for letter in text if letter != " "]

    def decode(self, ids):
        kept = ids[: ids.index(EOS)] if EOS in ids else ids
        return "".join(chr(ord("a") + token - 4) for token in kept if token >= 4)


LINES = ["abc", "", "defghij", "a", "   ", "tsrqponmlkjihg", "bb", "abc", "abcdefghijklmnopqrstabcdef"]


@pytest.mark.parametrize("beam", [1, 3])
def test_each_line_is_translated_as_if_alone(beam):
    of = model("translation", 2)
    values, config = parameters(of, seed=0), dataclasses.replace(CONFIG, beam=beam)
    together = generate.translate(LINES, of, values, Letters(), config).texts
    alone = [generate.translate([line], of, values, Letters(), config).texts[0] for line in LINES]
    assert together == alone and len(together) == len(LINES)
    assert together[1] == together[4] == "" and together[0] == together[7] != together[2]


def test_the_length_penalty_is_the_configs():
    """A quiet softmax, so that outputs end within their limits; how early depends on alpha."""
    of, lines = model("translation", 2), ["abc", "defghij", "tsrqp", "bb"]
    values = parameters(of, seed=65)
    values["embedding"]["tokens_VD"] *= 0.3
    sources = [[*Letters().encode(line), EOS] for line in lines]
    limits_B = np.asarray([int(CONFIG.length_factor * len(each) + CONFIG.length_extra) for each in sources])

    @jax.jit
    def wanted(alpha):
        module, search = Compiled(of.bind(values)), Beam(int(limits_B.max()), EOS, 4, alpha, reorder)
        state = module.begin(rows(sources, 16), search.beams, search.length)
        return find(search, module.step, state, np.full(len(lines), BOS), limits_B).tokens_BT

    by_alpha = {alpha: [Letters().decode(row) for row in wanted(alpha).tolist()] for alpha in (0.0, 0.6, 1.0)}
    assert by_alpha[0.0] != by_alpha[0.6] != by_alpha[1.0] != by_alpha[0.0]
    config = dataclasses.replace(CONFIG, beam=4, alpha=0.6)
    assert generate.translate(lines, of, values, Letters(), config).texts == by_alpha[0.6]


def test_alternatives_stand_behind_their_scores_best_first():
    of, lines = model("translation", 2), ["abc", "", "hijkl", "de"]
    values, config = parameters(of, seed=13), dataclasses.replace(CONFIG, beam=4)
    values["embedding"]["tokens_VD"] *= 0.4
    best = generate.translate(lines, of, values, Letters(), config)
    several = generate.translate(lines, of, values, Letters(), config, alternatives=3)
    assert several.tokens == best.tokens and several.texts[1] == ""
    for line in (0, 2, 3):
        scores, texts = zip(*(each.split(" ", 1) for each in several.texts[line].split("\t")), strict=True)
        assert texts[0] == best.texts[line] and 1 < len(texts) <= 3
        assert list(map(float, scores)) == sorted(map(float, scores), reverse=True)
    greedy = generate.translate(lines, of, values, Letters(), CONFIG, alternatives=2)
    assert greedy.texts[0].startswith("0.000 ") and "\t" not in greedy.texts[0], "greedy search has no score"


def test_the_length_penalty_of_a_continuation_is_the_configs():
    of, lines = model("language", 2), ["abc", "defghij", "tsrqp", "bb"]
    values = parameters(of, seed=13)
    values["embedding"]["tokens_VD"] *= 0.4

    def run(alpha):
        config = dataclasses.replace(CONFIG, beam=4, alpha=alpha)
        return generate.continue_text(lines, of, values, Letters(), config, 12).texts

    assert run(0.0) != run(0.6)


def test_what_was_cut_is_named_and_the_rest_goes_through():
    of = model("translation", 1)
    lines = ["a" * 10, "b" * 40, "c" * 31, "d" * 32]
    output = generate.translate(lines, of, parameters(of), Letters(), CONFIG)
    assert output.truncated == [1, 3] and len(output.texts) == 4
    assert output.cut() == "too long, cut to 31 tokens: 2 of 4 lines (2, 4)"
    many = dataclasses.replace(output, texts=[""] * 1000, truncated=[*range(0, 1000, 2)])
    assert many.cut() == "too long, cut to 31 tokens: 500 of 1,000 lines (1, 3, 5, 7, 9, ...)"
    assert dataclasses.replace(output, truncated=[]).cut() == ""


def test_lines_are_handed_on_in_their_order_before_all_are_there(monkeypatch):
    """Those of a window go through all buckets before the next ones do; a line draws by its place among all of them."""
    of, lines, config = model("language", 1), LINES * 4, dataclasses.replace(CONFIG, batch=4)
    values, events = parameters(of, seed=2), []

    def run(**listeners):
        return generate.continue_text(lines, of, values, Letters(), config, 8, HOT, **listeners)

    whole = run()
    monkeypatch.setattr(generate, "WINDOW", 2)
    done = run(on_progress=lambda count: events.append(count), on_text=lambda text: events.append(text))
    assert done == whole
    assert [each for each in events if isinstance(each, str)] == whole.texts
    assert [each for each in events if isinstance(each, int)] == list(range(9, len(lines) + 1)), "8 lines are empty"
    assert events.index(whole.texts[0]) < events.index(9 + 8), "before the next window is through"


# Hot enough to draw far from greedily, which at a temperature near 1 these models hardly ever do.
HOT = generate.Sampling(seed=1, temperature=3.0, top_k=12, top_p=0.95)


@pytest.mark.parametrize("sampling", [None, HOT])
@pytest.mark.parametrize("beam", [1, 2])
def test_each_prompt_is_continued_as_if_alone(beam, sampling):
    """A line draws by its place, so alone it stands among empty lines. Sampling has no beams, whatever the config's."""
    of, config = model("language", 1, "local"), dataclasses.replace(CONFIG, beam=beam)
    values, lines = parameters(of, seed=2), LINES[:4]

    def run(lines, sampling=sampling, config=config):
        return generate.continue_text(lines, of, values, Letters(), config, 8, sampling).texts

    together = run(lines)
    alone = [
        run([line if other == place else "" for other in range(len(lines))])[place] for place, line in enumerate(lines)
    ]
    assert together == alone and len(together) == 4
    assert together[1] == "" and all(together[place] for place in (0, 2, 3))
    if sampling:
        assert together != run(lines, dataclasses.replace(sampling, seed=2))
        assert together != run(lines, None)
        assert together == run(lines, config=dataclasses.replace(config, beam=3 - beam))


def test_equal_prompts_are_continued_each_in_its_own_way():
    of = model("language", 1)
    texts = generate.continue_text(["abc"] * 4, of, parameters(of, seed=2), Letters(), CONFIG, 8, HOT).texts
    assert len(set(texts)) == 4


@pytest.mark.parametrize("limit", [{"temperature": float("nan")}, {"temperature": 1e-300}, {"top_p": 0.0}])
def test_a_limit_of_sampling_that_cannot_be_is_named(limit):
    with pytest.raises(InputError, match=f"--{next(iter(limit))}=.* must be"):
        generate.Sampling(**limit)


@pytest.mark.parametrize("limit", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}])
def test_text_sampled_within_the_narrowest_limit_is_greedy(limit):
    of = model("language", 1, "local")
    values = parameters(of, seed=3)
    run = lambda sampling: generate.continue_text(LINES, of, values, Letters(), CONFIG, 8, sampling).texts  # noqa: E731
    wide = generate.Sampling(seed=1, temperature=3.0)
    assert run(dataclasses.replace(wide, **limit)) == run(None) != run(wide)


def test_a_prompts_unknown_words_are_those_of_the_training(tmp_path):
    class Heard(Letters):
        def encode(self, text):
            raise LookupError(text)

    of, words = model("language", 2), tmp_path / "words.txt"
    words.write_text("abc\nd\n")
    for unk, heard in ((str(words), "abc UNK d"), ("", "abc efg d")):
        with pytest.raises(LookupError, match=f"^{heard}$"):
            generate.continue_text(["abc efg d"], of, {}, Heard(), CONFIG, 8, unk=unk)


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
def test_lines_of_all_lengths_compile_at_most_eight_programs(beam, monkeypatch):
    """On one device, counted by JAX itself, everything that is compiled on the way included."""
    monkeypatch.setattr(host, "parts_of", lambda *_: 1)
    of = model("translation", 4, positions=256)
    values, random = parameters(of), np.random.default_rng(0)
    lines = ["".join(random.choice(list("abcdefgh"), size)) for size in random.integers(1, 256, 150) ** 2 // 256 + 1]
    compiled = []
    jax.clear_caches()
    listener = lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listener)
    config = dataclasses.replace(CONFIG, beam=beam, batch=32, length_factor=1.0, length_extra=8)
    output = generate.translate(lines, of, values, Letters(), config)
    jax.monitoring.unregister_event_duration_listener(listener)
    assert len(output.texts) == 150 and output.programs == 4
    assert 4 <= len(compiled) <= 8


def test_an_output_that_outgrows_its_bucket_starts_again_in_the_next():
    """A model whose EOS is never likeliest does not end, so a limit of five times the source outgrows its bucket."""
    of = model("translation", 2, positions=256)
    values, lines = parameters(of), ["abcdefgh", "bcde", "c" * 40]
    values["embedding"]["tokens_VD"] = values["embedding"]["tokens_VD"].at[EOS].set(0.0)
    config = dataclasses.replace(CONFIG, length_factor=1.0, length_extra=40)
    output = generate.translate(lines, of, values, Letters(), config)
    assert output.programs == 3
    whole = []
    for line in lines:
        ids = [*Letters().encode(line), EOS]
        source = rows([ids], 64)
        limit = len(ids) + 40
        search = Greedy(limit, EOS)
        module = Compiled(of.bind(values))
        found = find(search, module.step, module.begin(source, 1, limit), np.asarray([BOS]), np.asarray([limit]))
        whole.append(Letters().decode(found.tokens_BT[0].tolist()))
    assert output.texts == whole and max(map(len, whole)) > 32


def test_what_is_drawn_does_not_depend_on_the_batch():
    of = model("language", 1)
    values = parameters(of, seed=2)

    def run(size, sampling=HOT):
        config = dataclasses.replace(CONFIG, batch=size)
        return generate.continue_text(LINES, of, values, Letters(), config, 8, sampling).texts

    drawn = run(1)
    assert drawn == run(4) == run(16)
    assert LINES[0] == LINES[7] and drawn[0] != drawn[7], "by greed the same"
    assert len(set(drawn)) == len(LINES) - 1, "all but the two empty lines differ"


@pytest.mark.parametrize(
    ("task", "kind", "beam", "sampling"),
    [("translation", "grouped_2", 1, None), ("translation", "grouped_1", 4, None), ("language", "latent", 1, HOT)],
)
def test_parts_of_a_batch_on_several_devices_give_what_one_gives(task, kind, beam, sampling, monkeypatch):
    of, batch = model(task, kind), 16 // beam
    values, config = parameters(of, seed=18), dataclasses.replace(CONFIG, batch=batch, beam=beam)
    lines = ["abcdefghijklmnopq"[: 1 + n % 17] for n in range(50)]
    assert len(replicas.groups(of, batch, beam)) == 2

    def run():
        if task == "language":
            return generate.continue_text(lines, of, values, Letters(), config, 8, sampling)
        return generate.translate(lines, of, values, Letters(), config)

    spread = run()
    monkeypatch.setattr(host, "parts_of", lambda *_: 1)
    assert run() == dataclasses.replace(spread, devices=1) != spread


def test_devices_share_a_batch_that_they_divide(monkeypatch):
    """A CPU's only for a small model and parts of eight rows or more, accelerators in any case."""
    used = lambda parameters, batch, beams=1: host.parts_of(batch, beams, parameters, most=8)  # noqa: E731
    assert (used(1000, 16), used(1000, 12), used(1000, 16, 4), used(1000, 128)) == (2, 1, 8, 8)
    assert used(host.SMALL + 1, 128) == 1
    monkeypatch.setattr(jax, "local_devices", lambda: [types.SimpleNamespace(platform="tpu")])
    assert (used(host.SMALL + 1, 1024), used(1000, 12), used(1000, 1), used(1000, 7)) == (8, 6, 1, 7)


def test_a_reader_that_has_gone_ends_the_work():
    """Python cannot end in good order while threads are in a device's calls."""

    def gone(text):
        raise BrokenPipeError

    of, before = model("translation", 2), threading.active_count()
    with pytest.raises(BrokenPipeError):
        generate.translate(["abc"] * 400, of, parameters(of), Letters(), CONFIG, on_text=gone)
    assert threading.active_count() == before


def test_an_error_in_a_part_reaches_the_caller():
    of = model("translation", 2)
    broken = parameters(of)
    broken["decoder"]["norm"]["scale_D"] = broken["decoder"]["norm"]["scale_D"][:-1]
    with pytest.raises((TypeError, ValueError)):
        generate.translate(["abc"] * 40, of, broken, Letters(), dataclasses.replace(CONFIG, batch=16))
