"""In how many directions vectors vary: the effective rank (Roy and Vetterli 2007) of a matrix with one in each row.

Rows are centred. Attention cannot tell the mean from nothing: in keys it adds the same to all scores of a query, which
softmax takes out, and in values it adds the same to every output. Left in, a large mean would hide the rest.
"""

from typing import NamedTuple

import numpy as np

from mqa_jax.evaluate.patterns import entropy


class Moments(NamedTuple):
    """Sums over tokens, of vectors of X numbers in each of G heads; those of batches are added up field by field.

    The shapes say what the heads are.
    """

    tokens: float
    sum_GX: np.ndarray
    products_GXGX: np.ndarray

    @classmethod
    def of(cls, x_NGX: np.ndarray) -> "Moments":
        """Those of N tokens, in float64."""
        x_NGX = np.asarray(x_NGX, np.float64)
        flat_NF = x_NGX.reshape(len(x_NGX), -1)
        products_FF = flat_NF.T @ flat_NF
        return cls(float(len(x_NGX)), x_NGX.sum(axis=0), products_FF.reshape(x_NGX.shape[1:] * 2))

    def ranks(self) -> tuple[float, list[float]]:
        """The effective rank of all heads' vectors side by side, and of each head's alone."""
        mean_GX, (G, X) = self.sum_GX / self.tokens, self.sum_GX.shape
        covariance_GXGX = self.products_GXGX / self.tokens - np.multiply.outer(mean_GX, mean_GX)
        heads = [effective_rank(covariance_GXGX[g, :, g]) for g in range(G)]
        return effective_rank(covariance_GXGX.reshape(G * X, G * X)), heads


def effective_rank(covariance_FF: np.ndarray) -> float:
    """exp of the entropy of the eigenvalues, which are the squared singular values, as shares of their sum.

    n for n directions that vary alike, down to 1 for a single one. 0 where nothing varies.
    """
    values_F = np.clip(np.linalg.eigvalsh(covariance_FF), 0, None)  # rounding leaves some below 0
    return float(np.exp(entropy(values_F / values_F.sum()))) if values_F.any() else 0.0
