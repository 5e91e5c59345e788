"""Is a difference more than chance, where each variant was trained with several seeds?

Two things are chance: the seed of a training and the sentences of a test text. A difference of mean scores has the
variance of both:

    V = s² (1/n + 1/n0) + V_sentences

s² is the variance between seeds of one variant, pooled over all variants (one-way analysis of variance, as in Dunnett's
test against a control). V_sentences is the variance of the difference when the sentences are drawn anew, the same for
all runs (bootstrap). The difference over the root of V is compared with Student's t, whose degrees of freedom are
Satterthwaite's. What a seed does to single sentences is in both terms, so V is rather too large than too small. Holm's
correction is over all variants that are tested against the baseline.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from mqa_jax.errors import InputError
from mqa_jax.evaluate.sentences import Figure

SEED = 12345  # of the bootstrap, as sacreBLEU's


def compare(
    counts: Mapping[str, Sequence[np.ndarray]], figure: Figure, resamples: int = 1000, confidence: float = 0.95
) -> list[dict[str, Any]]:
    """Tests each variant against the first.

    Args:
      counts: for each variant the `sentences` of its runs, [N, C] each, of the same N sentences.
      figure: the score of sums over sentences, [C].
    Returns:
      A row for each variant: variant, seeds, mean, sd (between its own seeds; None for one seed), difference, low and
      high (the confidence interval), se_seeds and se_sentences (the two parts of the difference's standard error), df,
      p_value and p_holm. The last eight are None for the baseline, and those that need the spread between seeds where
      no variant has two.
    Raises:
      InputError: fewer than two variants, or runs of other sentences.
    """
    if len(counts) < 2:
        raise InputError(f"{len(counts)} variants to compare; give a baseline and at least one other")
    sizes = {name: {run.shape for run in runs} for name, runs in counts.items()}
    shapes = set().union(*sizes.values())
    if len(shapes) != 1 or not all(sizes.values()):
        raise InputError(f"runs were scored on different sentences ({sizes}); evaluate them anew on one text")
    (N, _), *_ = shapes
    scores = {name: np.asarray([figure(run.sum(0)) for run in runs]) for name, runs in counts.items()}
    drawn = _drawn(counts, figure, N, resamples)
    first = next(iter(counts))
    free = sum(len(each) - 1 for each in scores.values())
    pooled = sum(((each - each.mean()) ** 2).sum() for each in scores.values()) / free if free else None
    rows: list[dict[str, Any]] = []
    for name, own in scores.items():
        difference = own.mean() - scores[first].mean()
        row = {"variant": name, "seeds": len(own), "mean": own.mean(), "sd": own.std(ddof=1) if len(own) > 1 else None}
        row |= dict.fromkeys(("difference", "low", "high", "se_seeds", "se_sentences", "df", "p_value", "p_holm"))
        if name != first:
            of_sentences = float((drawn[name] - drawn[first]).var(ddof=1))
            row |= {"difference": difference, "se_sentences": of_sentences**0.5}
            if pooled is not None:
                of_seeds = pooled * (1 / len(own) + 1 / len(scores[first]))
                row |= _t_test(difference, of_seeds, free, of_sentences, N - 1, confidence)
        rows.append({key: float(value) if isinstance(value, np.floating) else value for key, value in row.items()})
    tested = [row for row in rows if row["p_value"] is not None]
    for row, p in zip(tested, holm([row["p_value"] for row in tested]), strict=True):
        row["p_holm"] = p
    return rows


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction of several p-values, in the order given (Holm 1979)."""
    order, corrected, highest = np.argsort(p_values, kind="stable"), [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def _drawn(counts: Mapping[str, Sequence[np.ndarray]], figure: Figure, N: int, resamples: int) -> dict[str, np.ndarray]:
    """The mean score of each variant on each sample of the sentences, with replacement, the same for all runs."""
    random = np.random.default_rng(SEED)
    weights_RN = random.multinomial(N, np.full(N, 1 / N), size=resamples).astype(np.float64)
    sums = {name: [weights_RN @ run for run in runs] for name, runs in counts.items()}
    return {
        name: np.mean([[figure(sums_C) for sums_C in sums_RC] for sums_RC in runs], axis=0)
        for name, runs in sums.items()
    }


def _t_test(
    difference: float, of_seeds: float, free: int, of_sentences: float, of_rest: int, confidence: float
) -> dict[str, float]:
    """Of a difference whose variance has two independent parts, each estimated with so many degrees of freedom."""
    total = of_seeds + of_sentences
    if total == 0:
        return {
            "low": difference,
            "high": difference,
            "se_seeds": 0.0,
            "df": float(free),
            "p_value": float(not difference),
        }
    df = total**2 / (of_seeds**2 / free + of_sentences**2 / of_rest)
    reach = float(stats.t.ppf((1 + confidence) / 2, df)) * total**0.5
    return {
        "low": difference - reach,
        "high": difference + reach,
        "se_seeds": of_seeds**0.5,
        "df": df,
        "p_value": float(2 * stats.t.sf(abs(difference) / total**0.5, df)),
    }
