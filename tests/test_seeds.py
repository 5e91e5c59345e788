"""Differences over seeds: against closed forms, simulations and sacreBLEU."""

import json

import numpy as np
import pytest
from scipy import stats
from test_significance import REFERENCES, SYSTEMS

from mqa_jax.errors import InputError
from mqa_jax.evaluate import bleu, sentences
from mqa_jax.evaluate.seeds import compare, holm

RANDOM = np.random.default_rng(0)


def runs(count, shift=0.0, of_seed=0.0, of_sentence=1.0, random=RANDOM, common=None):
    """[N, 2] counts of so many runs: nats of sentences of one token, with noise of a seed and of each sentence."""
    common = np.zeros(400) if common is None else common
    made = []
    for _ in range(count):
        nats = 3 + shift + common + of_seed * random.standard_normal() + of_sentence * random.standard_normal(400)
        made.append(np.stack([nats, np.ones(400)], axis=1))
    return made


def test_bleu_of_sentences_is_sacrebleu_of_the_corpus():
    for lines in SYSTEMS.values():
        counts = sentences.bleu_counts(lines, REFERENCES)
        assert counts.shape == (60, 10)
        assert sentences.bleu(counts.sum(0)) == pytest.approx(bleu.score(lines, REFERENCES)["bleu_intl"], abs=1e-9)
    few = [" ".join([*words[:2], "none", *words[3:5]]) for words in map(str.split, REFERENCES)]  # no four in order
    counts = sentences.bleu_counts(few, REFERENCES).sum(0)
    assert counts[3] == 0 < counts[7]
    assert sentences.bleu(counts) == pytest.approx(bleu.score(few, REFERENCES)["bleu_intl"], abs=1e-9)
    short = sentences.bleu_counts(["alpha beta"], ["alpha beta gamma"])
    assert sentences.bleu(short.sum(0)) == pytest.approx(bleu.score(["alpha beta"], ["alpha beta gamma"])["bleu_intl"])


def test_counts_are_read_as_written(tmp_path):
    counts = np.asarray([[1.25, 3], [0.33333333, 2]])
    sentences.write(tmp_path, "perplexity-test", counts)
    np.testing.assert_allclose(sentences.read(tmp_path, "perplexity-test"), counts, atol=1e-4)
    assert sentences.read(tmp_path, "perplexity-dev") is None
    path = tmp_path / "sentences" / "perplexity-test.json"
    path.write_text("[[1, 2]")
    with pytest.raises(InputError, match=r"perplexity-test.json is damaged .* delete it"):
        sentences.read(tmp_path, "perplexity-test")


def test_variance_is_that_of_seeds_and_of_sentences():
    """Against the same made by hand: pooled spread of seeds; of sentences, the variance of a mean of differences."""
    counts = {"base": runs(3, of_seed=0.1), "other": runs(5, 0.2, of_seed=0.1), "third": runs(2, of_seed=0.1)}
    base, row, third = compare(counts, sentences.nats, resamples=4000)
    means = {name: np.asarray([run[:, 0].mean() for run in of]) for name, of in counts.items()}
    free = 2 + 4 + 1
    pooled = sum(((each - each.mean()) ** 2).sum() for each in means.values()) / free
    assert row["se_seeds"] == pytest.approx((pooled * (1 / 3 + 1 / 5)) ** 0.5)
    assert third["se_seeds"] == pytest.approx((pooled * (1 / 3 + 1 / 2)) ** 0.5)
    of_each = np.mean([run[:, 0] for run in counts["other"]], 0) - np.mean([run[:, 0] for run in counts["base"]], 0)
    assert row["se_sentences"] == pytest.approx(of_each.std(ddof=1) / 400**0.5, rel=0.05)
    assert row["difference"] == pytest.approx(means["other"].mean() - means["base"].mean())
    whole = row["se_seeds"] ** 2 + row["se_sentences"] ** 2
    df = whole**2 / (row["se_seeds"] ** 4 / free + row["se_sentences"] ** 4 / 399)
    assert row["df"] == pytest.approx(df)
    assert row["p_value"] == pytest.approx(2 * stats.t.sf(abs(row["difference"]) / whole**0.5, df))
    assert row["high"] - row["difference"] == pytest.approx(stats.t.ppf(0.975, df) * whole**0.5)
    assert row["difference"] - row["low"] == pytest.approx(row["high"] - row["difference"])
    assert [base[key] for key in ("seeds", "difference", "p_value", "p_holm")] == [3, None, None, None]
    assert base["sd"] == pytest.approx(means["base"].std(ddof=1)) and row["seeds"] == 5


def test_sentences_that_are_hard_for_all_are_no_difference():
    """The same sentences are drawn for all runs: what is common to them cancels."""
    hard = 5 * RANDOM.standard_normal(400)
    found = []
    for common in (None, hard):
        drawn = {"base": np.random.default_rng(1), "other": np.random.default_rng(2)}
        counts = {name: runs(2, random=each, common=common) for name, each in drawn.items()}
        found.append(compare(counts, sentences.nats)[1]["se_sentences"])
    assert found[1] == pytest.approx(found[0], rel=1e-6)


def test_chance_is_called_significant_as_rarely_as_it_says():
    """Of 200 comparisons without a difference about one in twenty; never more than one in eleven here."""
    random, found = np.random.default_rng(3), 0
    for _ in range(200):
        counts = {name: runs(3, of_seed=0.2, random=random) for name in ("base", "one", "two")}
        found += compare(counts, sentences.nats, resamples=60)[1]["p_value"] < 0.05
    assert 2 <= found <= 18


def test_real_differences_are_found():
    random = np.random.default_rng(4)
    counts = {"base": runs(3, of_seed=0.05, random=random), "other": runs(3, 0.5, of_seed=0.05, random=random)}
    row = compare(counts, sentences.nats)[1]
    assert row["p_value"] < 0.001 and row["low"] < 0.5 < row["high"]


def test_one_seed_tells_nothing_of_seeds():
    base, other = compare({"base": runs(1), "other": runs(1)}, sentences.nats)
    assert other["difference"] is not None and other["se_sentences"] > 0
    assert other["p_value"] is None and other["low"] is None and base["sd"] is None


def test_equal_runs_do_not_differ():
    same = runs(2)
    twice = [same[0], same[0]]
    row = compare({"base": twice, "other": twice}, sentences.nats)[1]
    assert row["p_value"] == 1 and row["difference"] == 0


def test_holm():
    """Worked out by hand: sorted 0.01, 0.02, 0.03, 0.4 times 4, 3, 2, 1, and never below the one before."""
    assert holm([0.03, 0.01, 0.4, 0.02]) == pytest.approx([0.06, 0.04, 0.4, 0.06])
    assert holm([0.6, 0.9]) == pytest.approx([1.0, 1.0]) and holm([]) == []


def test_rows_are_json():
    rows = compare({"base": runs(2), "other": runs(2)}, sentences.nats, resamples=20)
    assert json.loads(json.dumps(rows)) == rows


def test_runs_of_other_sentences_are_refused():
    with pytest.raises(InputError, match="different sentences"):
        compare({"base": runs(2), "other": [runs(1)[0][:300]]}, sentences.nats)
    with pytest.raises(InputError, match="1 variants to compare"):
        compare({"base": runs(2)}, sentences.nats)
