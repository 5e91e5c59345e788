"""How heads look at what they see: how spread out each one is, and how much they differ. In nats, in float64."""

import itertools
from typing import NamedTuple

import numpy as np


class Patterns(NamedTuple):
    """Sums over queries; those of several batches are added up field by field.

    Attributes:
      queries, several: how many there are, and how many of them see more than one token.
      entropy_H: of each head's distribution.
      uniform: entropy of the distribution that is even over what the query sees.
      share_H: of the first in the second, of the queries that see more than one token.
      divergence: see `divergence`.
    """

    queries: float
    several: float
    entropy_H: np.ndarray
    uniform: float
    share_H: np.ndarray
    divergence: float

    @classmethod
    def of(cls, p_NHM: np.ndarray, visible_N: np.ndarray) -> "Patterns":
        """Those of N queries; `visible_N`: how many tokens each may look at."""
        entropy_NH, uniform_N, several_N = entropy(p_NHM), np.log(visible_N), visible_N > 1
        return cls(
            queries=float(len(p_NHM)),
            several=float(several_N.sum()),
            entropy_H=entropy_NH.sum(axis=0),
            uniform=float(uniform_N.sum()),
            share_H=(entropy_NH[several_N] / uniform_N[several_N, None]).sum(axis=0),
            divergence=float(divergence(p_NHM).sum()),
        )


def entropy(p: np.ndarray) -> np.ndarray:
    """-sum of p log p over the last axis."""
    return -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)


def divergence(p_NHM: np.ndarray) -> np.ndarray:
    """[N], the mean Jensen-Shannon divergence of all pairs of heads: 0 where all look alike, log 2 where no two look
    at one token. 0 for one head."""
    own_NH, pairs = entropy(p_NHM), list(itertools.combinations(range(p_NHM.shape[1]), 2))
    sums_N = np.zeros(len(p_NHM))
    for one, other in pairs:
        mixed_NM = (p_NHM[:, one] + p_NHM[:, other]) / 2
        sums_N += entropy(mixed_NM) - (own_NH[:, one] + own_NH[:, other]) / 2
    return sums_N / max(1, len(pairs))
