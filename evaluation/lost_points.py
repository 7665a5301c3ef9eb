"""Who owns the points that a service lost: exact parts by indicator, KQI and step, which add up to 100 less the score.

Points are lost in the domain where they add up. With s the service score, S the score of a KQI and W its weight,
-ln(s/100) = sum of W * -ln(S/100); a KQI's part is shared over its indicators as weight * (100 - utility), which sum
to 100 - S. Each part is scaled to points by (100 - s) / -ln(s/100). Where KQI scores are 0 these own all, by their
weights: the limit of the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.scoring import BEST, Scores
from evaluation.scoring_plan import Plan


@dataclass(frozen=True)
class LostPoints:
    """What each indicator that a KQI weighs cost, in points of the service score. pairs: (plan.pairs, n)."""

    plan: Plan
    pairs: np.ndarray

    def total(self) -> np.ndarray:
        """Return the points of all (n,), 100 at most."""
        return _at_most_all(self.pairs.sum(axis=0))

    def by_indicator(self) -> np.ndarray:
        """Return the points by indicator that is weighed (f, n)."""
        return self._summed([(pair.indicator,) for pair in self.plan.pairs], self.plan.weighed)

    def by_kqi(self) -> np.ndarray:
        """Return the points by KQI (k, n)."""
        return self._summed([(pair.kqi,) for pair in self.plan.pairs], len(self.plan.kqi_weights))

    def by_step(self) -> np.ndarray:
        """Return the points by step (s, n): the steps that name an indicator own equal parts of what it cost."""
        return self._summed([pair.steps for pair in self.plan.pairs], len(self.plan.steps))

    def _summed(self, owners: Sequence[tuple[int, ...]], count: int) -> np.ndarray:
        total = np.zeros((count, self.pairs.shape[1]))
        for rows, points in zip(owners, self.pairs, strict=True):
            part = points / len(rows)
            for row in rows:
                total[row] += part
        return _at_most_all(total)


def _at_most_all(points: np.ndarray) -> np.ndarray:
    """Return sums of points without what rounding put above 100."""
    capped: np.ndarray = np.minimum(points, BEST)
    return capped


def lost_points(plan: Plan, told: np.ndarray, scores: Scores) -> LostPoints:
    """Return who owns the points that scores.floor is short of 100, what is unknown among them.

    told: utilities (f, n), NaN where unknown. scores: of the same.
    """
    return _shared(plan, np.nan_to_num(told[: plan.weighed]), scores.kqi)


def known_losses(plan: Plan, told: np.ndarray, scores: Scores) -> LostPoints:
    """Return who owns the points that scores.ceiling is short of 100: by what is known alone, the unknown owns none."""
    most = np.minimum(scores.kqi + BEST * (1.0 - scores.kqi_coverage), BEST)
    return _shared(plan, np.nan_to_num(told[: plan.weighed], nan=BEST), most)


def _shared(plan: Plan, told: np.ndarray, kqi: np.ndarray) -> LostPoints:
    scale = _points_per_utility(plan, kqi)
    short = BEST - told
    parts = np.empty((len(plan.pairs), told.shape[1]))
    for row, pair in zip(parts, plan.pairs, strict=True):
        np.multiply(short[pair.indicator], pair.weight * scale[pair.kqi], out=row)
    return LostPoints(plan, parts)


def _points_per_utility(plan: Plan, kqi: np.ndarray) -> np.ndarray:
    """Return how many points of the service a point of each KQI, lost, costs (k, n)."""
    weights = np.array(plan.kqi_weights)[:, np.newaxis]
    short = BEST - kqi
    with np.errstate(divide="ignore", invalid="ignore"):
        losses = -weights * np.log(kqi / BEST)
        broken = (kqi == 0).any(axis=0)
        losses = np.where(broken, np.where(kqi == 0, weights, 0.0), losses)
        total = losses.sum(axis=0)
        points = np.where(broken, BEST, -BEST * np.expm1(-total))
        each = np.where(short > _TINY, losses / short, weights / BEST) * np.where(
            total > 0, points / total, BEST
        )
    return each


_TINY = 1e-9  # points; there -ln(S / 100) is (100 - S) / 100 to all digits
