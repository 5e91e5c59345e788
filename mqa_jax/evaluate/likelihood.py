"""The log-probability of each of some given lines."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence

import numpy as np

from mqa_jax.data import pipeline
from mqa_jax.train.step import nll_of_rows
from mqa_jax.train.trained import Trained

TOKENS = 4096  # of a batch, about


@dataclasses.dataclass(frozen=True)
class Scored:
    """What `score` found of lines.

    Attributes:
      log_probabilities: natural logarithms, one a line.
      tokens: how many of each line were scored.
      cut: the numbers of lines of which a part was left out, from 0.
    """

    log_probabilities: np.ndarray
    tokens: np.ndarray
    cut: list[int]


def score(
    run: Trained,
    lines: Sequence[str],
    sources: Sequence[str] | None = None,
    prefix: int | None = None,
    with_eos: bool = False,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Scored:
    """The log-probability of each line behind its first token, which the model is fed and which is not scored.

    A language model's line that is longer than the model's positions goes on in further pieces, each behind a first
    token of its own. What a translation has beyond them is left out.

    Args:
      lines: the texts, or the translations of `sources`.
      prefix: the first token; the vocabulary's BOS, if None.
      with_eos: whether the end of the text is scored too.
      on_progress: called with the number of pieces that are through.
    """
    words, longest = run.vocabulary, run.model.config.positions
    ids = [line + [words.eos] * with_eos for line in words.encode_all(lines)]
    source_ids = None if sources is None else [[*line, words.eos] for line in words.encode_all(sources)]
    pieces = [(n, line[at : at + longest]) for n, line in enumerate(ids) for at in range(0, len(line), longest)]
    cut = []
    if source_ids is not None:
        pieces = [(n, line[:longest]) for n, line in enumerate(ids) if line]
        cut = [
            n
            for n, (line, source) in enumerate(zip(ids, source_ids, strict=True))
            if max(len(line), len(source)) > longest
        ]
    found, counts, done = np.zeros(len(lines)), np.zeros(len(lines), np.int64), 0
    for size, alike in itertools.groupby(sorted(pieces, key=lambda piece: len(piece[1])), _bucket):
        L = min(size, longest)
        rows, left = max(1, TOKENS // L), list(alike)
        while left:
            members, left = left[:rows], left[rows:]
            sides = [{"target": np.array(piece)} for _, piece in members]
            sizes = {"target": L}
            if source_ids is not None:
                for side, (n, _) in zip(sides, members, strict=True):
                    side["source"] = np.array(source_ids[n][:longest])
                sizes["source"] = min(longest, _power(max(len(side["source"]) for side in sides)))
            bos = words.bos if prefix is None else prefix
            batch = pipeline.one_a_row(sides, sizes, bos, rows)
            nll_B = np.asarray(nll_of_rows(run.model, run.parameters, batch))
            for (n, piece), nll in zip(members, nll_B, strict=False):
                found[n] -= nll
                counts[n] += len(piece)
            done += len(members)
            on_progress(done)
    return Scored(found, counts, cut)


def _bucket(piece: tuple[int, list[int]]) -> int:
    return _power(len(piece[1]))


def _power(number: int) -> int:
    """The power of two, at least 16, that is not less."""
    return max(pipeline.SMALLEST_BUCKET, 1 << (number - 1).bit_length())
