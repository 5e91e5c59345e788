"""Corpus BLEU and chrF through sacreBLEU, on raw text, with the signatures that make them comparable."""

from collections.abc import Sequence
from typing import Any

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from mqa_jax.errors import InputError


def score(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """bleu_13a, bleu_intl, chrf (0 to 100) and the signature of each.

    The paper reports `intl`; `13a` is sacreBLEU's default and scores lower by about 0.8 on newstest2014.

    Raises:
      InputError: not as many hypotheses as references, or none.
    """
    if len(hypotheses) != len(references) or not references:
        raise InputError(
            f"{len(hypotheses)} translations for {len(references)} references; give one line for each, and at least one"
        )
    metrics = {"bleu_13a": BLEU(tokenize="13a"), "bleu_intl": BLEU(tokenize="intl"), "chrf": CHRF()}
    figures: dict[str, Any] = {}
    for name, metric in metrics.items():
        figures[name] = metric.corpus_score(list(hypotheses), [list(references)]).score
        figures[f"signature_{name.removeprefix('bleu_')}"] = str(metric.get_signature())
    return figures
