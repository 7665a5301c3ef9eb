"""Columns that differ from one value in a few rows only, as the flag of a fault does: what those rows can tell.

The variance of a handful of rows is not known from themselves, so the tests of `evidence.py` cannot be sure of them.
But if such rows had nothing to do with the target, they would be drawn from all: the mean of m draws lies beyond x with
a probability of at most exp(m min over t of log E exp(t (residual - x))). Twelve flagged rows that are all of a class
of one in a hundred are no chance; twelve that are of all classes tell nothing.
Source: Hoeffding 1963, JASA 58 (theorem 1 and, for draws without replacement, section 6).
"""

import numpy as np

FEWEST_OTHERS = 20  # rows that differ from the commonest value, from which the tests of evidence.py hold
MOST_SHARE = 0.02  # of the rows; a column whose rows differ more often is no rare one, however few they are
_BINS = 512  # of the residuals, each counted at its upper edge, so that the bound holds
_SLOPES = np.geomspace(1e-2, 1e2, 80)  # t, for residuals of variance about 1; each gives a bound that holds


def few_others(values: np.ndarray) -> np.ndarray | None:
    """Return the places of the values that differ from the commonest, where they are few; None: they are not.

    values: (n,), NaN where missing; a missing one does not differ.
    """
    there = values[~np.isnan(values)]
    if not len(there):
        return None
    others = np.flatnonzero(~np.isnan(values) & (values != np.median(there)))
    few = len(others) < FEWEST_OTHERS and len(others) < MOST_SHARE * len(there)
    return others if few else None


def surprise(others: np.ndarray, clusters: np.ndarray, residual: np.ndarray) -> float:
    """Return the log p that rows at `others` of residual (n, r) are drawn from all; each cluster is one draw."""
    if not len(others):
        return 0.0
    _, codes = np.unique(clusters[others], return_inverse=True)
    draws = np.bincount(codes)
    told = []
    for response in residual.T:
        mean = float((np.bincount(codes, weights=response[others]) / draws).mean())
        told += [_bound(response, mean), _bound(-response, -mean)]
    return float(min(0.0, len(draws) * min(told) + np.log(len(told))))


def _bound(law: np.ndarray, mean: float) -> float:
    """Return the least, over slopes t, of log E exp(t (law - mean)); at most 0."""
    counts, edges = np.histogram(law, bins=_BINS)
    held = counts > 0
    exponents = _SLOPES[:, None] * (edges[1:][held] - mean)
    largest = exponents.max(axis=1, keepdims=True)
    means = (np.exp(exponents - largest) * counts[held]).sum(axis=1) / len(law)
    return float(min(0.0, (np.log(means) + largest[:, 0]).min()))
