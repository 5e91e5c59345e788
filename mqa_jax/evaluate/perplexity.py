"""Perplexity per token and per original word."""

import math
from collections.abc import Sequence

import numpy as np

from mqa_jax.errors import InputError


def perplexity(nll_N: np.ndarray, tokens_N: np.ndarray, texts: Sequence[str], cut: int = 0) -> dict[str, float | None]:
    """Figures of a `perplexity` record, added up in float64.

    A subword perplexity depends on the vocabulary. Per word it does not: the same total, divided by the
    whitespace-separated words of the original text and one end of sentence a line, as is usual for the
    Billion-Word benchmark. `words` and `sentences` are both given, so that it can be worked out otherwise.

    Args:
      nll_N: the negative log-likelihood of each row of the text, smoothing excluded.
      tokens_N: the number of tokens of each.
      texts: the same lines as text.
      cut: tokens of the texts that are in no row, their lines being too long.
    Returns:
      nll_per_token, perplexity_per_token, perplexity_per_word, tokens (ends of sentence among them), words
      (of the text, without ends of sentence), sentences and tokens_cut. perplexity_per_word is None where tokens were
      cut: their words would count, and their likelihoods not.
    Raises:
      InputError: no tokens to score.
    """
    nll, tokens = float(nll_N.sum(dtype=np.float64)), int(tokens_N.sum(dtype=np.int64))
    if not tokens:
        raise InputError("no tokens to score; give the split at least one line")
    words = sum(len(text.split()) for text in texts)
    return {
        "nll_per_token": nll / tokens,
        "perplexity_per_token": _exp(nll / tokens),
        "perplexity_per_word": None if cut else _exp(nll / (words + len(texts))),
        "tokens": tokens,
        "words": words,
        "sentences": len(texts),
        "tokens_cut": cut,
    }


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
