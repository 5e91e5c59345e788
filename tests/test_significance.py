"""Paired bootstrap: what sacreBLEU gives for systems that differ much, little, or not at all."""

import json

import numpy as np
import pytest

from mqa_jax.errors import InputError
from mqa_jax.evaluate import bleu
from mqa_jax.evaluate.significance import paired_bootstrap

WORDS = np.array(["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"])


def spoil(lines, share, seed):
    """The lines with a share of their words replaced."""
    random = np.random.default_rng(seed)

    def spoilt(line):
        words = line.split()
        return " ".join(random.choice(WORDS) if random.random() < share else word for word in words)

    return [spoilt(line) for line in lines]


REFERENCES = [" ".join(np.random.default_rng(i).choice(WORDS, 12)) for i in range(60)]
SYSTEMS = {
    "baseline": spoil(REFERENCES, 0.2, 1),
    "twin": spoil(REFERENCES, 0.2, 1),
    "equal": spoil(REFERENCES, 0.2, 2),
    "worse": spoil(REFERENCES, 0.5, 3),
}


@pytest.fixture(scope="module")
def result():
    return paired_bootstrap(SYSTEMS, REFERENCES, resamples=300)


def test_rows_are_those_of_the_systems(result):
    rows = result["rows"]
    assert [row["variant"] for row in rows] == list(SYSTEMS)
    for row in rows:
        assert row["score"] == pytest.approx(bleu.score(SYSTEMS[row["variant"]], REFERENCES)["bleu_intl"])
        assert abs(row["mean"] - row["score"]) < row["ci"] < 10
    assert result["metric"] == "BLEU" and result["samples"] == 300
    assert (
        "|tok:intl|" in result["signature"] and "bs:300" in result["signature"] and "seed:12345" in result["signature"]
    )


def test_p_values(result):
    p = {row["variant"]: row["p_value"] for row in result["rows"]}
    assert p["baseline"] is None
    assert p["twin"] == 1.0, "equal outputs are no evidence of a difference"
    assert p["worse"] < 0.01 < 0.05 < p["equal"] <= 1


def test_the_record_is_json(result):
    assert json.loads(json.dumps(result)) == result


def test_the_seed_decides(result, monkeypatch):
    assert paired_bootstrap(SYSTEMS, REFERENCES, resamples=300) == result
    monkeypatch.setenv("SACREBLEU_SEED", "7")
    other = paired_bootstrap(SYSTEMS, REFERENCES, resamples=300)
    assert "seed:7" in other["signature"] and other["rows"][0]["mean"] != result["rows"][0]["mean"]
    assert other["rows"][0]["score"] == result["rows"][0]["score"]


def test_one_system_is_no_comparison():
    with pytest.raises(InputError, match="1 systems"):
        paired_bootstrap({"baseline": REFERENCES}, REFERENCES)


def test_missing_lines_are_named():
    with pytest.raises(InputError, match="short has 59 translations for 60 references"):
        paired_bootstrap({"baseline": REFERENCES, "short": REFERENCES[:-1]}, REFERENCES)
