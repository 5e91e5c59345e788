"""Paired bootstrap resampling between systems, through sacreBLEU (Koehn 2004)."""

from collections.abc import Mapping, Sequence
from typing import Any

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest

from mqa_jax.errors import InputError


def paired_bootstrap(
    systems: Mapping[str, Sequence[str]], references: Sequence[str], resamples: int = 1000
) -> dict[str, Any]:
    """BLEU (`intl`, as in the paper) of each system with its bootstrap interval, and p-values against the first.

    The seed is sacreBLEU's, 12345 or what the environment's SACREBLEU_SEED says; the signature holds it.

    Args:
      systems: translations by variant, the baseline first; all of the same lines.
      references: raw text.
    Returns:
      metric, samples (as many as resamples), signature and rows of {variant, score, mean, ci, p_value}: `ci` is half
      the width of the 95% interval around `mean`, and the baseline's p_value is None.
    Raises:
      InputError: fewer than two systems, or one with not as many lines as the references.
    """
    if len(systems) < 2:
        raise InputError(f"{len(systems)} systems to compare; give a baseline and at least one other")
    for name, lines in systems.items():
        if len(lines) != len(references):
            raise InputError(f"{name} has {len(lines)} translations for {len(references)} references; translate anew")
    named: list[tuple[str, Sequence[str]]] = [(name, list(lines)) for name, lines in systems.items()]
    metrics = {"BLEU": BLEU(tokenize="intl")}
    signatures, results = PairedTest(named, metrics, [list(references)], test_type="bs", n_samples=resamples)()
    found: list[Any] = results["BLEU"]  # sacreBLEU's type admits the column of names too
    rows = [
        {"variant": variant, "score": result.score, "mean": result.mean, "ci": result.ci, "p_value": result.p_value}
        for variant, result in zip(systems, found, strict=True)
    ]
    for row, (_, lines) in zip(rows[1:], named[1:], strict=True):
        if lines == named[0][1]:
            row["p_value"] = 1.0  # sacreBLEU counts differences above the real one, and calls equal outputs significant
    return {"metric": "BLEU", "samples": resamples, "signature": str(signatures["BLEU"]), "rows": rows}
