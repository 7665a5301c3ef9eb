"""Curves and weights of indicators, learnt from cases that went well or ill: an additive model that scoring can read.

    ln(odds of ill) = intercept + strength * sum over indicators of weight * (100 - utility) / 100

The utility of an indicator falls from 100 to 0 between its two anchors, as in scoring, and bends at points between
them: a monotone generalized additive model. Then 100 - score of the KQI is the sum itself, so that a lower score is a
higher risk and each lost point has one owner. The knots lie at quantiles of the cases; how far the risk rises from
each to the next is that of the greatest likelihood, none below 0 and all held a little towards 0. There is one best
answer, found by Newton's steps, each a least squares without negative parts; nothing is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from features.indicators import Indicator

FEWEST = 50  # of well and of ill cases; below, anchors would tell of single cases
_TAIL = 0.01  # anchors lie between these quantiles: 1 % to 99 %
_KNOTS = 12  # of an indicator, its anchors among them; chosen with _HELD on days that taught nothing (docs/video.md)
_NEXT = 1e-6  # of the range; a knot that near to the last is the same
_HELD = 1.0  # of the squared rises, beside the log likelihood of all cases: decides where cases do not
_MOST_STEPS = 100
_DONE = 1e-9  # of a mean log loss; less is no progress
_LEAST_STEP = 1e-6
_LEAST_SHARE = 1e-6  # of the variance at even odds: keeps the curvature above 0 where all is certain
_FLAT = 1e-9  # of all rises; less is none


@dataclass(frozen=True)
class LearntCurve:
    """Utility 0 and 100 of an indicator, and the bends between: (value, utility), from unacceptable to excellent."""

    unacceptable: float
    excellent: float
    points: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Fitted:
    """What was learnt. curves: of each indicator. weights: of 1. loss: mean log loss of the cases."""

    curves: tuple[LearntCurve, ...]
    weights: tuple[float, ...]
    intercept: float
    strength: float
    loss: float

    def risk(self, score: np.ndarray) -> np.ndarray:
        """Return the probability of an ill case at scores of the KQI, 0 to 100."""
        odds = np.exp(-self.intercept - self.strength * (100.0 - np.asarray(score)) / 100.0)
        return np.asarray(1.0 / (1.0 + odds))


@dataclass(frozen=True)
class _Axis:
    """An indicator on its own curve, turned so that more is worse. knots: from best to worst, at least two."""

    log: bool
    sign: float
    knots: np.ndarray

    def ramps(self, values: np.ndarray) -> np.ndarray:
        """Return how much of the way from each knot to the next has gone, (n, knots - 1) in [0, 1]."""
        with np.errstate(divide="ignore"):
            told = self.sign * (np.log(values) if self.log else values)
        told = np.clip(told, self.knots[0], self.knots[-1])[:, np.newaxis]
        return np.asarray(np.clip((told - self.knots[:-1]) / np.diff(self.knots), 0.0, 1.0))

    def curve(self, rises: np.ndarray) -> LearntCurve:
        """Return the curve along which the risk rises so from knot to knot; flat ends lie beyond the anchors."""
        values = np.exp(self.sign * self.knots) if self.log else self.sign * self.knots
        rising = np.flatnonzero(rises)
        if not len(rising):
            return LearntCurve(float(values[-1]), float(values[0]))
        first, last = rising[0], rising[-1] + 1
        told = 100.0 * (1.0 - np.append(0.0, np.cumsum(rises)) / rises.sum())
        bends = [at for at in range(last - 1, first, -1) if rises[at - 1] or rises[at]]
        points = tuple((float(values[at]), float(told[at])) for at in bends)
        return LearntCurve(float(values[last]), float(values[first]), points)


def fit_anchors(indicators: Sequence[Indicator], values: np.ndarray, ill: np.ndarray) -> Fitted:
    """Return the curves and weights with which utilities tell best which cases went ill.

    values: (n, f), a column for each indicator, all known. ill: (n,) bool. Directions stay as declared, and whether a
    curve is told by the logarithm: an indicator that is better where more cases are ill has weight 0. Raises ValueError
    where cases are too few, a value is not known, an indicator has the same value in nearly all cases, or none tells
    ill cases in its direction.
    """
    _check(indicators, values, ill)
    axes = [_axis(one, values[:, row]) for row, one in enumerate(indicators)]
    ramps = np.hstack([axis.ramps(values[:, row]) for row, axis in enumerate(axes)])
    rises, intercept, loss = _greatest_likelihood(ramps, ill.astype("float64"))
    ends = np.cumsum([len(axis.knots) - 1 for axis in axes])[:-1]
    by_indicator = np.split(rises, ends)
    total = float(rises.sum())
    if total <= 0:
        raise ValueError(
            "an indicator must be worse, in its direction, where more cases went ill, but none of"
            f" {', '.join(one.id for one in indicators)} is"
        )
    curves = tuple(axis.curve(mine) for axis, mine in zip(axes, by_indicator, strict=True))
    weights = tuple(float(mine.sum()) / total for mine in by_indicator)
    return Fitted(curves, weights, intercept, total, loss)


def _check(indicators: Sequence[Indicator], values: np.ndarray, ill: np.ndarray) -> None:
    if min(int(ill.sum()), int((~ill).sum())) < FEWEST:
        raise ValueError(
            f"anchors are learnt from at least {FEWEST} cases that went well and as many that went ill, but there are"
            f" {int((~ill).sum())} and {int(ill.sum())}"
        )
    for row, one in enumerate(indicators):
        if not np.isfinite(values[:, row]).all():
            raise ValueError(f"{one.id} must be known of each case that anchors are learnt from, but is not")
        if one.curve == "log" and (values[:, row] < 0).any():
            raise ValueError(f"{one.id} must not be below 0 on a logarithmic curve, but is")


def _axis(one: Indicator, values: np.ndarray) -> _Axis:
    log = one.curve == "log"
    sign = -1.0 if one.direction == "higher_is_better" else 1.0
    told = sign * (np.log(values[values > 0]) if log else values)  # 0 lies beyond every logarithm
    shares = np.linspace(_TAIL, 1.0 - _TAIL, _KNOTS)
    knots = np.unique(np.quantile(told, shares)) if len(told) else np.zeros(1)
    knots = knots[np.append(True, np.diff(knots) > _NEXT * np.ptp(knots))]
    if len(knots) < 2:
        raise ValueError(f"{one.id} must differ from case to case, but is the same in nearly all")
    return _Axis(log, sign, knots)


def _greatest_likelihood(ramps: np.ndarray, ill: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return the rise of each ramp, at least 0, the intercept, and the mean log loss."""
    X = np.column_stack([ramps, np.ones(len(ill))])
    held = np.append(np.full(ramps.shape[1], _HELD), 0.0)
    told = np.append(np.zeros(ramps.shape[1]), np.log(ill.mean() / (1.0 - ill.mean())))

    def cost(at: np.ndarray) -> float:
        odds = X @ at
        return float(np.sum(np.logaddexp(0.0, odds) - ill * odds) + np.sum(held * at**2) / 2.0)

    here = cost(told)
    for _ in range(_MOST_STEPS):
        way, length = _newton(X, ill, held, at=told) - told, 1.0
        while (there := cost(told + length * way)) > here and length > _LEAST_STEP:
            length /= 2.0
        if here - there < _DONE * len(ill):
            break
        told, here = told + length * way, there
    odds = X @ told
    rises = np.where(told[:-1] > _FLAT * told[:-1].sum(), told[:-1], 0.0)
    return rises, float(told[-1]), float(np.mean(np.logaddexp(0.0, odds) - ill * odds))


def _newton(X: np.ndarray, ill: np.ndarray, held: np.ndarray, *, at: np.ndarray) -> np.ndarray:
    """Return the least of the parabola that the cost is like near a place, no rise below 0; the intercept is free."""
    from scipy.optimize import nnls

    risk = 1.0 / (1.0 + np.exp(-np.clip(X @ at, -500.0, 500.0)))
    bend = (X.T * np.maximum(risk * (1.0 - risk), _LEAST_SHARE)) @ X + np.diag(held)
    slope = X.T @ (risk - ill) + held * at
    root = np.linalg.cholesky(bend)
    both = np.column_stack([root.T, -root[-1]])  # the intercept as the difference of two that are not below 0
    found, _ = nnls(both, np.linalg.solve(root, bend @ at - slope), maxiter=100 * both.shape[1])
    return np.append(found[:-2], found[-2] - found[-1])
