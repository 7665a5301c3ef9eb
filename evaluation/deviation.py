"""How far values lie below their own baseline and their siblings', in usual deviations: pure functions of arrays.

The baseline of a moment is the median of the same time of the week before, else of the day. The usual deviation is
taken from |value - baseline| of an earlier time so that it is the standard deviation of a normal distribution.
Arrays have a row for each window (t) and a column for each series (s): one indicator, or KQI, of one place; NaN is
unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from evaluation.monitor_settings import MonitorSettings


@dataclass(frozen=True)
class Deviations:
    """How far values lie from what is usual; each (t, s).

    off: value - baseline, points. own: off in usual deviations. siblings: the same less the siblings' median;
    NaN where there are too few.
    """

    baseline: np.ndarray
    off: np.ndarray
    own: np.ndarray
    siblings: np.ndarray


def judge(
    values: np.ndarray, earlier: np.ndarray, *, first: int, groups: np.ndarray, settings: MonitorSettings
) -> Deviations:
    """Return the deviations of each window from `first` on.

    values: (first + t, s), with the windows before those that are judged. earlier: (n, s), `off` of the last n of
    these. groups: (s,), numbers: series of one group are siblings. `off` has the type of the values, so that it is
    the same whether it is remembered or not.
    """
    baseline = baselines(values, first, settings)
    off = (values[first:] - baseline).astype(values.dtype)
    usual = usual_deviation(np.concatenate([earlier, off]), len(earlier), settings)
    common = common_move(off, groups, settings.siblings.least)
    return Deviations(baseline, off, off / usual, (off - common) / usual)


def baselines(values: np.ndarray, first: int, settings: MonitorSettings) -> np.ndarray:
    """Return the baseline of each window from `first` on; NaN where too little is known."""
    weekly, enough = _median(lagged(values, first, settings.week_lags), settings.baseline.least)
    if enough.all():
        return weekly
    daily, some = _median(lagged(values, first, settings.day_lags), settings.baseline.least)
    return np.where(enough, weekly, np.where(some, daily, np.nan))


def usual_deviation(off: np.ndarray, first: int, settings: MonitorSettings) -> np.ndarray:
    """Return the usual deviation of each window from `first` on, never below the floor; NaN where none is known.

    The greater of two: by the median of |off|, and by its tail. Ratios of few samples stand still and fall far now
    and then: their median says 0.
    """
    ordered, known = _ordered(np.abs(lagged(off, first, settings.scale_lags)))
    tail = settings.baseline.tail
    usual = np.maximum(
        _at_share(ordered, known, 0.5) / NormalDist().inv_cdf(0.75),
        _at_share(ordered, known, tail) / NormalDist().inv_cdf(0.5 + tail / 2),
    )
    return np.where(known >= settings.baseline.least, np.maximum(usual, settings.baseline.floor), np.nan)


def common_move(off: np.ndarray, groups: np.ndarray, least: int) -> np.ndarray:
    """Return the median `off` of the group of each series, (t, s); NaN where fewer than `least` are known."""
    found = np.full(off.shape, np.nan)
    for group in np.unique(groups):
        mine = np.flatnonzero(groups == group)
        if len(mine) >= least:
            middle, some = _median(off[:, mine].T[:, :, None], least)
            found[:, mine] = np.where(some, middle, np.nan)
    return found


def lagged(rows: np.ndarray, first: int, lags: Sequence[int]) -> np.ndarray:
    """Return the rows so many windows before each one from `first` on, (lags, t, s); NaN before the first of all."""
    count = len(rows) - first
    found = np.full((len(lags), count, rows.shape[1]), np.nan)
    for at, lag in enumerate(lags):
        begin = max(0, lag - first)
        if begin < count:
            found[at, begin:] = rows[first + begin - lag : first + count - lag]
    return found


def _median(values: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the median of what is known along the first axis, and where at least `least` are."""
    ordered, known = _ordered(values)
    return _at_share(ordered, known, 0.5), known >= least


def _ordered(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return values sorted along the first axis, unknown ones last, and how many are known."""
    ordered = np.sort(values, axis=0)
    return ordered, (~np.isnan(ordered)).sum(axis=0)


def _at_share(ordered: np.ndarray, known: np.ndarray, share: float) -> np.ndarray:
    """Return a quantile of what is known, by a straight line between its neighbours; NaN of nothing."""
    place = share * np.maximum(known - 1, 0)
    low = np.floor(place).astype("int64")
    high = np.ceil(place).astype("int64")
    below, above = (np.take_along_axis(ordered, row[None], axis=0)[0] for row in (low, high))
    found: np.ndarray = below + (place - low) * (above - below)
    return found
