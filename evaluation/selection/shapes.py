"""How the target goes with an indicator: the direction and the shape of its SHAP values."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

Shape = Literal["monotone", "threshold", "bent", "with_others"]
MONOTONE = 0.9  # |rank correlation| of value and contribution from which there is one direction
STEP_SHARE = 0.8  # of the variance that the value explains, from which one step tells it
CARRIED = 0.3  # share of the variance of contributions that the value alone must explain
_BINS = 20
_FEWEST = 30


@dataclass(frozen=True)
class Effect:
    """direction: +1 where the raw score rises with the value, -1 where it falls, 0 where neither.

    shape: a step at `threshold` (in the unit of the indicator), one direction, several, or an effect that the value
    alone does not decide: other indicators do with it.
    """

    direction: int
    shape: Shape
    threshold: float | None = None


def effect(values: np.ndarray, shap: np.ndarray) -> Effect | None:
    """Return the effect of an indicator on the raw score. values, shap: (m,), NaN where missing; None: too few rows."""
    there = ~np.isnan(values)
    if there.sum() < _FEWEST or len(np.unique(values[there])) < 2:
        return None
    x, told = values[there], shap[there]
    rho = stats.spearmanr(x, told)[0] if len(np.unique(told)) > 1 else 0.0
    direction = int(np.sign(rho)) if abs(rho) > 0.5 else 0
    spread = float(told.var())
    carried, step, edge = _explained(x, told)
    if spread == 0 or carried < CARRIED * spread:
        return Effect(direction, "with_others")
    if len(np.unique(x)) > 2 and step >= STEP_SHARE * carried and step > 1.15 * _straight(x, told):
        return Effect(direction, "threshold", edge)
    return Effect(direction, "monotone" if abs(rho) >= MONOTONE else "bent")


def _straight(x: np.ndarray, told: np.ndarray) -> float:
    """Return the variance of contributions that the rank of the value explains in a straight line."""
    return float(np.corrcoef(stats.rankdata(x), told)[0, 1] ** 2 * told.var())


def _explained(x: np.ndarray, told: np.ndarray) -> tuple[float, float, float]:
    """Return the variance of contributions between classes of the value, between both sides of a step, and the step."""
    order = np.argsort(x, kind="stable")
    x, told = x[order], told[order]
    mean = float(told.mean())
    parts = np.array_split(told, min(_BINS, len(told)))
    carried = sum(len(part) * (float(part.mean()) - mean) ** 2 for part in parts) / len(told)
    below = np.arange(1, len(told))
    left = np.cumsum(told)[:-1] / below
    right = (told.sum() - np.cumsum(told)[:-1]) / (len(told) - below)
    between = below * (len(told) - below) / len(told) ** 2 * (left - right) ** 2
    between[x[1:] == x[:-1]] = 0.0
    cut = int(between.argmax())
    return carried, float(between[cut]), float((x[cut] + x[cut + 1]) / 2)
