"""Perplexity per token and per original word."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mqa_jax.batch import Batch
from mqa_jax.errors import InputError


def perplexity(
    sums: Callable[[Batch], tuple[Any, Any]], batches: Iterable[Batch], texts: Sequence[str], cut: int = 0
) -> dict[str, float | None]:
    """Figures of a `perplexity` record, added up in float64.

    A subword perplexity depends on the vocabulary. Per word it does not: the same total, divided by the
    whitespace-separated words of the original text and one end of sentence a line, as is usual for the
    Billion-Word benchmark. `words` and `sentences` are both given, so that it can be worked out otherwise.

    Args:
      sums: batch -> (sum of negative log-likelihoods, number of tokens), smoothing excluded.
      batches: every line once.
      texts: the same lines as text.
      cut: tokens of the texts that are in no batch, their lines being too long.
    Returns:
      nll_per_token, perplexity_per_token, perplexity_per_word, tokens (ends of sentence among them), words
      (of the text, without ends of sentence), sentences and tokens_cut. perplexity_per_word is None where tokens were
      cut: their words would count, and their likelihoods not.
    Raises:
      InputError: no tokens to score.
    """
    nll, tokens = 0.0, 0
    for batch in batches:
        batch_nll, batch_tokens = sums(batch)
        nll, tokens = nll + float(batch_nll), tokens + int(batch_tokens)
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
