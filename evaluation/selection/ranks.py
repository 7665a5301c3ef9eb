"""Columns as normal scores of their ranks: heavy tails, units and monotone scales do not count."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

STAND_IN = 0.7  # a missing value is told by a column at least so correlated, where that one is there
HERMITE = 3  # functions of a column: its score, and what bends once and twice
_EMPTY_VARIANCE = 1e-9


@dataclass(frozen=True)
class Scores:
    """z: (n, p) normal scores, a missing one replaced by its best relative's, else 0.

    rho: (p, p) correlation of the scores over rows that have both, 1 on the diagonal; 0 where unknown.
    there: (n, p) whether the value was given. distinct: (p,) how many different values a column has, at most 4.
    """

    z: np.ndarray
    rho: np.ndarray
    there: np.ndarray
    distinct: np.ndarray

    def functions(self, column: int) -> np.ndarray:
        """Return (n, 1..HERMITE): what may carry the effect of a column, the linear one first, each of variance 1."""
        z = self.z[:, column]
        bent = [z, z**2 - 1, z**3 - 3 * z][: max(1, int(self.distinct[column]) - 1)]
        stacked = np.column_stack(bent)
        spread = stacked.std(axis=0)
        return np.asarray(stacked[:, spread > _EMPTY_VARIANCE] / spread[spread > _EMPTY_VARIANCE])

    def rows(self, places: np.ndarray) -> "Scores":
        """Return the scores of some rows, ranked among all."""
        return Scores(self.z[places], self.rho, self.there[places], self.distinct)


def normal_scores(values: np.ndarray) -> np.ndarray:
    """Return (n,) normal scores of the ranks of values (n,), 0 where missing; ties share their mean rank.

    Source: Blom 1958, with (rank - 1/2) / n.
    """
    there = ~np.isnan(values)
    scores = np.zeros(len(values))
    if there.any():
        scores[there] = stats.norm.ppf((stats.rankdata(values[there]) - 0.5) / there.sum())
    return scores


def score(X: np.ndarray) -> Scores:
    """Return the scores of X (n, p), NaN where missing."""
    there = ~np.isnan(X)
    z = np.column_stack([normal_scores(column) for column in X.T])
    rho = correlation(z, there)
    distinct = np.array([min(4, len(np.unique(column[~np.isnan(column)]))) for column in X.T])
    return Scores(_stand_in(z, rho, there), rho, there, distinct)


def correlation(z: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Return (p, p) Pearson correlations of z (n, p), each over the rows where both are there: of scores, Spearman's.

    A pair without variance has 0.
    """
    mask = there.astype("float64")
    filled = np.where(there, z, 0.0)
    count = np.maximum(mask.T @ mask, 1.0)
    sums = filled.T @ mask  # of column i over the rows that column j has too
    squares = (filled**2).T @ mask
    covariance = filled.T @ filled / count - sums * sums.T / count**2
    variance = squares / count - (sums / count) ** 2
    spread = np.sqrt(np.maximum(variance * variance.T, 0.0))
    rho = np.divide(covariance, spread, out=np.zeros_like(covariance), where=spread > _EMPTY_VARIANCE)
    np.fill_diagonal(rho, 1.0)
    return np.asarray(np.clip(rho, -1.0, 1.0))


def _stand_in(z: np.ndarray, rho: np.ndarray, there: np.ndarray) -> np.ndarray:
    filled = z.copy()
    for column in np.flatnonzero(~there.all(axis=0)):
        left = ~there[:, column]
        for relative in np.argsort(-np.abs(rho[column]), kind="stable"):
            if abs(rho[column, relative]) < STAND_IN:
                break
            told = left & there[:, relative]
            filled[told, column] = rho[column, relative] * z[told, relative]
            left &= ~told
    return filled
