"""Whether a probability may be trusted: reliability, calibration error, and what refusing to answer buys."""

from dataclasses import asdict

import numpy as np
import pandas as pd

from evaluation.metrics import proportion

BINS = 10  # equal widths on [0, 1], as in the source of the error below


def reliability(
    probability: np.ndarray, right: np.ndarray, *, clusters: np.ndarray, alike: float | None = None
) -> pd.DataFrame:
    """Return a row per bin of the winning probability that holds answers: what was promised, what was kept.

    probability: (n,) of the named class, in [0, 1]. right: (n,) bool. clusters: (n,) a name per row. alike: as of
    `metrics.proportion`, for bins in which every answer is right, or none.
    Columns bin_low, bin_high, rows, promised (mean probability), value, low, high (share right, interval).
    """
    bins = np.minimum((probability * BINS).astype("int64"), BINS - 1)
    rows = []
    for place in np.unique(bins):
        inside = bins == place
        kept = asdict(proportion(right[inside], clusters[inside], alike=alike))
        promised = {"rows": int(inside.sum()), "promised": float(probability[inside].mean())}
        rows.append({"bin_low": place / BINS, "bin_high": (place + 1) / BINS, **promised, **kept})
    return pd.DataFrame(rows)


def expected_calibration_error(curve: pd.DataFrame) -> float:
    """Return the mean distance between promised and kept share, weighted by rows; 0 is perfect, 1 is worst.

    curve: from `reliability`. Source: Naeini et al. 2015, AAAI; Guo et al. 2017, arXiv:1706.04599.
    """
    return float(np.average((curve["promised"] - curve["value"]).abs(), weights=curve["rows"]))


def reject_curve(probability: np.ndarray, right: np.ndarray) -> pd.DataFrame:
    """Return accuracy against the share of rows answered, as the threshold on the probability falls.

    Columns threshold, answered, accuracy: one row per distinct probability, the surest answers first.
    Ties are answered together. Source: El-Yaniv & Wiener 2010, JMLR 11 (risk and coverage).
    """
    order = np.argsort(-probability, kind="stable")
    falling, hits = probability[order], np.cumsum(right[order])
    last = np.flatnonzero(np.diff(falling, append=-np.inf))
    answered, accuracy = (last + 1) / len(falling), hits[last] / (last + 1)
    return pd.DataFrame({"threshold": falling[last], "answered": answered, "accuracy": accuracy})
