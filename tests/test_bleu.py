"""BLEU and chrF: corpus level, on raw text, with signatures."""

import collections
import math

import pytest
import sacrebleu

from mqa_jax.errors import InputError
from mqa_jax.evaluate.bleu import score

REFERENCES = [
    "the cat sat on the mat and looked at the dog",
    "a small boat lay at the pier all day",
    "nobody had seen the old man since the morning",
]
HYPOTHESES = [
    "the cat sat on a mat and looked at the dog",
    "a small ship lay at the pier",
    "nobody had seen the old man since the morning",
]


def ngrams(line, size):
    words = line.split()
    return collections.Counter(tuple(words[i : i + size]) for i in range(len(words) - size + 1))


def slow_bleu(hypotheses, references):
    """Papineni et al. 2002 written out, for text whose words stand between spaces."""
    log_precision = 0.0
    for size in (1, 2, 3, 4):
        right = made = 0
        for hypothesis, reference in zip(hypotheses, references, strict=True):
            counts = ngrams(hypothesis, size)
            right += sum((counts & ngrams(reference, size)).values())
            made += sum(counts.values())
        log_precision += math.log(right / made) / 4
    length, wanted = (sum(len(line.split()) for line in lines) for lines in (hypotheses, references))
    return 100 * math.exp(log_precision + min(0, 1 - wanted / length))


def test_bleu_matches_the_slow_twin():
    figures = score(HYPOTHESES, REFERENCES)
    assert figures["bleu_13a"] == figures["bleu_intl"] == pytest.approx(slow_bleu(HYPOTHESES, REFERENCES))
    assert 50 < figures["bleu_13a"] < 90 and figures["bleu_13a"] < figures["chrf"] < 100


def test_translations_and_references_are_not_exchanged():
    figures, exchanged = score(HYPOTHESES, REFERENCES), score(REFERENCES, HYPOTHESES)
    wanted = {
        "bleu_13a": sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES]),
        "bleu_intl": sacrebleu.corpus_bleu(HYPOTHESES, [REFERENCES], tokenize="intl"),
        "chrf": sacrebleu.corpus_chrf(HYPOTHESES, [REFERENCES]),
    }
    for name, by_sacrebleu in wanted.items():
        assert figures[name] == pytest.approx(by_sacrebleu.score) and abs(figures[name] - exchanged[name]) > 0.5


def test_a_corpus_is_not_a_mean_of_sentences():
    alone = [score([h], [r])["bleu_13a"] for h, r in zip(HYPOTHESES, REFERENCES, strict=True)]
    assert abs(score(HYPOTHESES, REFERENCES)["bleu_13a"] - sum(alone) / 3) > 0.5


def test_order_matters_and_perfect_is_100():
    perfect = score(REFERENCES, REFERENCES)
    assert [perfect[name] for name in ("bleu_13a", "bleu_intl", "chrf")] == pytest.approx([100] * 3)
    assert score(REFERENCES[::-1], REFERENCES)["bleu_13a"] < 50


def test_intl_splits_the_quotes_that_13a_leaves():
    figures = score(["er sagte “ gestern ” und lachte laut"], ["er sagte “gestern” und lachte laut"])
    assert figures["bleu_intl"] == pytest.approx(100) and figures["bleu_13a"] < 60


def test_signatures_say_tokens_and_version():
    figures = score(HYPOTHESES, REFERENCES)
    for name, tokens in (("13a", "|tok:13a|"), ("intl", "|tok:intl|"), ("chrf", "|nc:6|")):
        assert tokens in figures[f"signature_{name}"]
        assert figures[f"signature_{name}"].endswith(f"|version:{sacrebleu.__version__}")


def test_an_empty_translation_counts():
    figures = score([*HYPOTHESES[:2], ""], REFERENCES)
    assert 0 < figures["bleu_13a"] < score(HYPOTHESES[:2], REFERENCES[:2])["bleu_13a"]


@pytest.mark.parametrize(("hypotheses", "references"), [(2, 3), (3, 2), (0, 0)])
def test_as_many_lines_out_as_in(hypotheses, references):
    with pytest.raises(InputError, match=f"^{hypotheses} translations for {references} references"):
        score(HYPOTHESES[:hypotheses], REFERENCES[:references])
