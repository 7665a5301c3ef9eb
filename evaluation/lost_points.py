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
    """What each indicator that a KQI weighs cost, in points of the service score. pairs: (plan.pairs, n).

    known: (plan.weighed, n), False where points are lost since the indicator is not known.
    """

    plan: Plan
    pairs: np.ndarray
    known: np.ndarray

    def by_indicator(self, *, known_only: bool = False) -> np.ndarray:
        """Return the points by indicator that is weighed (f, n)."""
        return self._summed([(pair.indicator,) for pair in self.plan.pairs], self.plan.weighed, known_only)

    def by_kqi(self, *, known_only: bool = False) -> np.ndarray:
        """Return the points by KQI (k, n)."""
        return self._summed([(pair.kqi,) for pair in self.plan.pairs], len(self.plan.kqi_weights), known_only)

    def by_step(self, *, known_only: bool = False) -> np.ndarray:
        """Return the points by step (s, n): the steps that name an indicator own equal parts of what it cost."""
        return self._summed([pair.steps for pair in self.plan.pairs], len(self.plan.steps), known_only)

    def _summed(self, owners: Sequence[tuple[int, ...]], count: int, known_only: bool) -> np.ndarray:
        total = np.zeros((count, self.pairs.shape[1]))
        for pair, rows, points in zip(self.plan.pairs, owners, self.pairs, strict=True):
            part = points * (self.known[pair.indicator] / len(rows)) if known_only else points / len(rows)
            for row in rows:
                total[row] += part
        return total


def lost_points(plan: Plan, told: np.ndarray, scores: Scores) -> LostPoints:
    """Return who owns the points that are missing to 100 in scores.floor. told: utilities (f, n), NaN where unknown."""
    scale = _points_per_utility(plan, scores.kqi)
    known = ~np.isnan(told[: plan.weighed])
    short = np.where(known, BEST - told[: plan.weighed], BEST)
    parts = np.empty((len(plan.pairs), told.shape[1]))
    for row, pair in zip(parts, plan.pairs, strict=True):
        np.multiply(short[pair.indicator], pair.weight * scale[pair.kqi], out=row)
    return LostPoints(plan, parts, known)


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
