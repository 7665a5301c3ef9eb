"""Anchors and weights of indicators, learnt from cases that went well or ill: an additive model that scoring can read.

    ln(odds of ill) = intercept + strength * sum over indicators of weight * (100 - utility) / 100

The utility of an indicator runs from 0 to 100 between its two anchors, as in scoring. Then 100 - score of the KQI is
the sum itself, so that a lower score is a higher risk and each lost point has one owner. Anchors, weights, strength and
intercept are those of the greatest likelihood, found by L-BFGS from several starts; nothing is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from features.indicators import Indicator

FEWEST = 50  # of well and of ill cases; below, anchors would tell of single cases
_TAIL = 0.01  # anchors are sought between these quantiles: 1 % to 99 %
_STARTS = ((0.0, 1.0), (0.2, 0.5), (0.05, 0.4), (0.5, 0.5))  # foot and width of a ramp, of that range
_FEET, _WIDTHS = (0.0, 1.0), (np.log(0.02), np.log(1.5))  # how far ramps may go, of that range
_STRENGTHS = (-8.0, 5.0)  # ln; from next to nothing to odds that change by e^148
_MOST_STEPS = 300


@dataclass(frozen=True)
class Fitted:
    """What was learnt. anchors: (unacceptable, excellent) of each indicator. weights: of 1."""

    anchors: tuple[tuple[float, float], ...]
    weights: tuple[float, ...]
    intercept: float
    strength: float
    loss: float

    def risk(self, score: np.ndarray) -> np.ndarray:
        """Return the probability of an ill case at scores of the KQI, 0 to 100."""
        odds = np.exp(-self.intercept - self.strength * (100.0 - np.asarray(score)) / 100.0)
        return np.asarray(1.0 / (1.0 + odds))


class _Ramps(NamedTuple):
    """Of each indicator where the risk begins to rise (foot) and over which width, and by how much in all (rise)."""

    foot: np.ndarray
    width: np.ndarray
    rise: np.ndarray
    intercept: float


@dataclass(frozen=True)
class _Axis:
    """An indicator from where the risk is least (0) to where it is most (1), on its own curve."""

    log: bool
    best: float
    worst: float

    def along(self, values: np.ndarray) -> np.ndarray:
        """Return values as places on the axis."""
        with np.errstate(divide="ignore"):
            told = np.log(values) if self.log else values
        lowest, highest = sorted((self.best, self.worst))
        reach = 2.0 * (
            highest - lowest
        )  # no anchor can be further away; the logarithm of 0 comes to lie there
        return np.asarray(
            (np.clip(told, lowest - reach, highest + reach) - self.best) / (self.worst - self.best)
        )

    def value(self, place: float) -> float:
        """Return the value of the indicator at a place on the axis."""
        told = self.best + place * (self.worst - self.best)
        return float(np.exp(told) if self.log else told)


def fit_anchors(indicators: Sequence[Indicator], values: np.ndarray, ill: np.ndarray) -> Fitted:
    """Return the anchors and weights with which utilities tell best which cases went ill.

    values: (n, f), a column for each indicator, all known. ill: (n,) bool. Directions and curves stay as declared: an
    indicator that is better where more cases are ill has weight 0. Raises ValueError where cases are too few, a value
    is not known, or an indicator has the same value in nearly all cases.
    """
    _check(indicators, values, ill)
    axes = [_axis(one, values[:, row]) for row, one in enumerate(indicators)]
    places = np.stack([axis.along(values[:, row]) for row, axis in enumerate(axes)], axis=1)
    ramps, loss = _best(places, ill.astype("float64"))
    total = float(ramps.rise.sum())
    anchors = tuple(
        (axis.value(foot + width), axis.value(foot))
        for axis, foot, width in zip(axes, ramps.foot, ramps.width, strict=True)
    )
    return Fitted(anchors, tuple(float(one) for one in ramps.rise / total), ramps.intercept, total, loss)


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
    told = np.log(values[values > 0]) if log else values
    low, high = np.quantile(told, [_TAIL, 1.0 - _TAIL]) if len(told) else (0.0, 0.0)
    if not high > low:
        raise ValueError(f"{one.id} must differ from case to case, but is the same in nearly all")
    higher = one.direction == "higher_is_better"
    return _Axis(log, *((float(high), float(low)) if higher else (float(low), float(high))))


def _best(places: np.ndarray, ill: np.ndarray) -> tuple[_Ramps, float]:
    from scipy.optimize import minimize

    count = places.shape[1]
    bounds = [_FEET] * count + [_WIDTHS] * count + [_STRENGTHS] * count + [(None, None)]
    found = []
    for foot, width in _STARTS:
        start = np.repeat([foot, np.log(width), 0.0], count)
        found.append(
            minimize(
                _loss,
                np.append(start, -2.0),
                args=(places, ill),
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": _MOST_STEPS},
            )
        )
    best = min(found, key=lambda one: float(one.fun))
    return _ramps(best.x), float(best.fun)


def _ramps(told: np.ndarray) -> _Ramps:
    foot, width, rise = told[:-1].reshape(3, -1)
    return _Ramps(foot, np.exp(width), np.exp(rise), float(told[-1]))


def _loss(told: np.ndarray, places: np.ndarray, ill: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the mean log loss and its slope in foot, ln width and ln rise of each ramp, and in the intercept."""
    ramps = _ramps(told)
    way = (places - ramps.foot) / ramps.width
    lost = np.clip(way, 0.0, 1.0)
    odds = ramps.intercept + lost @ ramps.rise
    loss = float(np.mean(np.logaddexp(0.0, odds) - ill * odds))
    off = (1.0 / (1.0 + np.exp(-odds)) - ill) / len(ill)
    within = off[:, np.newaxis] * ramps.rise * ((way > 0) & (way < 1))
    slopes = [
        -(within / ramps.width).sum(axis=0),
        -(within * way).sum(axis=0),
        (off[:, np.newaxis] * lost).sum(axis=0) * ramps.rise,
    ]
    return loss, np.append(np.concatenate(slopes), off.sum())
