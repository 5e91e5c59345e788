"""Paired bootstrap resampling between systems, through sacreBLEU (Koehn 2004)."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from sacrebleu.metrics import BLEU
from sacrebleu.significance import PairedTest


def paired_bootstrap(
    systems: Mapping[str, Sequence[str]], references: Sequence[str], samples: int = 1000, seed: int = 12345
) -> dict[str, Any]:
    """BLEU of each system with its bootstrap interval, and p-values against the first.

    Args:
      systems: translations by variant, the baseline first; all of the same lines.
      references: raw text.
      samples: resamplings.
      seed: of the resampling.
    Returns:
      metric, samples, signature and rows of {variant, score, mean, ci, p_value}; the baseline's p_value is None.
    """
    before = os.environ.get("SACREBLEU_SEED")
    os.environ["SACREBLEU_SEED"] = str(seed)  # sacreBLEU takes it from nowhere else
    try:
        named = [(name, list(lines)) for name, lines in systems.items()]
        test = PairedTest(named, {"BLEU": BLEU()}, [list(references)], test_type="bs", n_samples=samples)
        signatures, results = test()
    finally:
        if before is None:
            del os.environ["SACREBLEU_SEED"]
        else:
            os.environ["SACREBLEU_SEED"] = before
    rows = [
        {"variant": variant, "score": result.score, "mean": result.mean, "ci": result.ci, "p_value": result.p_value}
        for variant, result in zip(systems, results["BLEU"], strict=True)
    ]
    return {"metric": "BLEU", "samples": samples, "signature": str(signatures["BLEU"]), "rows": rows}
