"""What each sentence of a text adds to a corpus figure, kept beside the record, for tests that draw sentences anew.

A corpus figure is a function of sums over sentences: BLEU of matches and lengths, nats a token of likelihoods and
tokens. So RUN/sentences/NAME.json, which belongs to RUN/records/NAME.json, has a line of numbers for each sentence, and
no text.
"""

import json
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
from sacrebleu.metrics.bleu import BLEU

from mqa_jax import files
from mqa_jax.errors import InputError

ORDERS = 4  # of n-grams
DECIMALS = 4
SMOOTHING = "exp"  # of orders without a match, as `BLEU` itself has it


def write(run: pathlib.Path, name: str, counts_NC: np.ndarray) -> None:
    """Writes the numbers of N sentences, C of each."""
    lines = [json.dumps([_shortest(each) for each in row]) for row in counts_NC]
    files.write(_path(run, name), "[\n" + ",\n".join(lines) + "\n]\n")


def read(run: pathlib.Path, name: str) -> np.ndarray | None:
    """What `write` wrote, float64 [N, C]; None if it is not there.

    Raises:
      InputError: the file is damaged.
    """
    path = _path(run, name)
    if not path.exists():
        return None
    try:
        return np.asarray(json.loads(path.read_text(encoding="utf-8")), np.float64)
    except ValueError as error:
        raise InputError(
            f"{path} is damaged ({error}); delete it and the record of the same name, and evaluate anew"
        ) from error


def bleu_counts(hypotheses: Sequence[str], references: Sequence[str]) -> np.ndarray:
    """For each sentence the matches of n-grams of 1 to 4, the n-grams, and both lengths, in `intl` tokens: [N, 10]."""
    metric = BLEU(tokenize="intl", effective_order=True)
    scores = [metric.sentence_score(*pair) for pair in zip(hypotheses, ([each] for each in references), strict=True)]
    return np.asarray([[*each.counts, *each.totals, each.sys_len, each.ref_len] for each in scores])


def bleu(sums_C: np.ndarray) -> float:
    """Corpus BLEU (0 to 100) of sums of `bleu_counts`, as sacreBLEU makes it."""
    whole = [round(each) for each in sums_C.tolist()]
    matches, found = whole[:ORDERS], whole[ORDERS : 2 * ORDERS]
    return BLEU.compute_bleu(matches, found, *whole[2 * ORDERS :], smooth_method=SMOOTHING).score


def nats(sums_C: np.ndarray) -> float:
    """Negative log-likelihood a token of sums of [likelihood, tokens]."""
    return float(sums_C[0] / sums_C[1])


Figure = Callable[[np.ndarray], float]


def _path(run: pathlib.Path, name: str) -> pathlib.Path:
    return run / "sentences" / f"{name}.json"


def _shortest(number: float) -> float:
    return int(number) if number == int(number) else round(float(number), DECIMALS)
