"""Indicator values -> utilities -> KQI scores -> the score of a service: pure functions of arrays, 0 worst, 100 best.

The utility of an indicator runs from 0 at `unacceptable` to 100 at `excellent` by its curve, through its points. A KQI
score is the sum of the utilities of its indicators times their weights; the score of the service is the weighted
geometric mean of the KQI scores, so that one broken KQI is not averaged away. Nobody gains by what is not told: in a
score an unknown indicator counts as 0, in the upper end of the interval as 100, and in the estimate as the known ones
of its KQI.

Arrays have a row for each indicator (f), KQI (k), step (s) or process (p) of the plan, and a column for each device or
place (n).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.scoring_plan import Measured, Plan
from features.indicators import Indicator, Ratio, TerminalFlag

BEST = 100.0
ROUNDING = 1e-9  # of a share: sums of weights are off in the last digits
_Z = 1.959963984540054  # 95 % of a normal distribution, both sides


@dataclass(frozen=True)
class Scores:
    """How well a service works. score, low, high, estimate, coverage: (n,). kqi, kqi_coverage: (k, n).

    score: NaN where evidence is insufficient: a KQI of which less than min_coverage of the weight is known.
    floor, ceiling: the score if all that is unknown were at its worst, and at its best.
    low, high: the same, with 95 % of the errors of counting.
    estimate: as if what is unknown were like what is known of the same KQI; NaN where nothing is.
    coverage: the known share of all weight, in [0, 1].
    """

    score: np.ndarray
    floor: np.ndarray
    ceiling: np.ndarray
    low: np.ndarray
    high: np.ndarray
    estimate: np.ndarray
    coverage: np.ndarray
    kqi: np.ndarray
    kqi_coverage: np.ndarray


@dataclass(frozen=True)
class Doubt:
    """How far a utility may lie below and above what was measured, by counting only few; (f, n), 0 where not known."""

    below: np.ndarray
    above: np.ndarray


def utility(one: Measured, values: np.ndarray) -> np.ndarray:
    """Return the utility of each value, 0 to 100, as a new float64 array; NaN is unknown, and so is what is infinite.

    Of an indicator on a logarithmic curve 0 is beyond the anchor next to it, and less than 0 is unknown.
    """
    told = np.array(values, dtype="float64")
    told[~np.isfinite(told)] = np.nan
    if isinstance(one, TerminalFlag):
        told[~np.isnan(told)] = np.where(told[~np.isnan(told)] == one.healthy_value, BEST, 0.0)
        return told
    best, worst = one.excellent, one.unacceptable
    if isinstance(one, Indicator) and one.curve == "log":
        with np.errstate(divide="ignore", invalid="ignore"):
            np.log(told, out=told)
        best, worst = np.log(best), np.log(worst)
    if isinstance(one, Indicator) and one.points:
        return _bent(one, told)
    with np.errstate(over="ignore"):  # far beyond an anchor is clipped
        told -= worst
        told *= BEST / (best - worst)
    clipped: np.ndarray = np.clip(told, 0.0, BEST, out=told)
    return clipped


def _bent(one: Indicator, told: np.ndarray) -> np.ndarray:
    """Return the utility of values, on the logarithm where the curve is, straight from each point to the next."""
    values, utility_at = np.array([(one.unacceptable, 0.0), *one.points, (one.excellent, BEST)]).T
    if one.curve == "log":
        values = np.log(values)
    way = slice(None) if values[0] < values[-1] else slice(None, None, -1)
    return np.asarray(np.interp(told, values[way], utility_at[way]))


def utilities(plan: Plan, values: Sequence[np.ndarray]) -> np.ndarray:
    """Return the utilities (f, n) of values, an array (n,) for each of the first f indicators of the plan."""
    return np.stack([utility(one, told) for one, told in zip(plan.indicators, values, strict=False)])


def doubt(plan: Plan, values: Sequence[np.ndarray], samples: Sequence[np.ndarray]) -> Doubt:
    """Return how far utilities may be off since few were counted: of ratios in %, by Wilson's interval of 95 %.

    samples: as values, what each was made of. Quantiles and means do not tell their spread: 0.
    Source: Wilson 1927, JASA 22.
    """
    count = len(values)
    below, above = np.zeros((2, count, len(values[0]) if count else 0))
    for row, (one, told, n) in enumerate(zip(plan.indicators, values, samples, strict=False)):
        if isinstance(one, Indicator) and isinstance(one.aggregate, Ratio) and one.unit == "%":
            ends = [utility(one, BEST * end) for end in _wilson(np.asarray(told) / BEST, np.asarray(n))]
            here = utility(one, told)
            below[row] = np.nan_to_num(here - np.minimum(*ends)).clip(0.0)
            above[row] = np.nan_to_num(np.maximum(*ends) - here).clip(0.0)
    return Doubt(below, above)


def score(plan: Plan, told: np.ndarray, off: Doubt | None = None) -> Scores:
    """Return the scores of utilities, NaN where unknown; at least those that a KQI weighs, `plan.weighed`, are told.

    off: of the same rows; without it the interval knows of unknown indicators only.
    """
    known = ~np.isnan(told[: plan.weighed])
    found = np.where(known, told[: plan.weighed], 0.0)
    kqi, coverage = np.zeros((2, len(plan.kqi_weights), told.shape[1]))
    for pair in plan.pairs:
        kqi[pair.kqi] += pair.weight * found[pair.indicator]
        coverage[pair.kqi] += pair.weight * known[pair.indicator]
    np.minimum(kqi, BEST, out=kqi)
    np.minimum(coverage, 1.0, out=coverage)
    with np.errstate(invalid="ignore"):
        estimate = _joined(plan, np.minimum(kqi / np.where(coverage > 0, coverage, np.nan), BEST))
    most = np.minimum(kqi + BEST * (1.0 - coverage), BEST)
    floor, ceiling = _joined(plan, kqi), _joined(plan, most)
    below, above = (kqi, most) if off is None else _widened(plan, off, kqi, most)
    return Scores(
        score=np.where(enough(plan, coverage).all(axis=0), floor, np.nan),
        floor=floor,
        ceiling=ceiling,
        low=floor if off is None else _joined(plan, below),
        high=ceiling if off is None else _joined(plan, above),
        estimate=estimate,
        coverage=_weighed(plan, coverage),
        kqi=kqi,
        kqi_coverage=coverage,
    )


def enough(plan: Plan, coverage: np.ndarray) -> np.ndarray:
    """Return whether so much is known of each KQI, or place, that it has a score. coverage: shares of any shape."""
    sufficient: np.ndarray = coverage >= plan.service.service_score.min_coverage - ROUNDING
    return sufficient


def step_scores(plan: Plan, told: np.ndarray) -> np.ndarray:
    """Return how well each step works (s, n): the mean utility of those of its indicators that are known; NaN: none."""
    found = np.full((len(plan.steps), told.shape[1]), np.nan)
    with_some = [row for row, step in enumerate(plan.steps) if step.indicators]
    lengths = [len(plan.steps[row].indicators) for row in with_some]
    if with_some:
        mine = told[[one for row in with_some for one in plan.steps[row].indicators]]
        first = np.cumsum([0, *lengths[:-1]])  # of the indicators of each step
        known = np.add.reduceat(~np.isnan(mine), first, axis=0, dtype="int64")
        total = np.add.reduceat(np.nan_to_num(mine), first, axis=0)
        found[with_some] = np.divide(total, known, out=np.full(total.shape, np.nan), where=known > 0)
    return found


def step_coverage(plan: Plan, told: np.ndarray) -> np.ndarray:
    """Return the known share of the indicators of each step (s, n), in [0, 1]; NaN of a step that names none."""
    known = ~np.isnan(told)
    none = np.full(told.shape[1], np.nan)
    return np.stack(
        [known[list(step.indicators)].mean(axis=0) if step.indicators else none for step in plan.steps]
    )


def process_coverage(plan: Plan, steps: np.ndarray) -> np.ndarray:
    """Return how much is known of each process (p, n): the mean over its steps, without optional ones.

    steps: what is known of each step (s, n). A step that names no indicator does not count; NaN where none does.
    """
    found = np.full((len(plan.service.processes), steps.shape[1]), np.nan)
    for row in range(len(found)):
        mine = [at for at in _chain(plan, row) if plan.steps[at].indicators]
        if mine:
            found[row] = steps[mine].mean(axis=0)
    return found


def process_scores(plan: Plan, steps: np.ndarray, coverage: np.ndarray) -> np.ndarray:
    """Return how well each process works (p, n): the geometric mean of its known steps, without optional ones.

    steps: the score of each step (s, n). coverage: of each process (p, n); NaN where that is not enough.
    """
    found = np.full((len(plan.service.processes), steps.shape[1]), np.nan)
    for row in range(len(found)):
        mine = steps[_chain(plan, row)]
        known = (~np.isnan(mine)).sum(axis=0)
        with np.errstate(divide="ignore"):
            logs = np.where(np.isnan(mine), 0.0, np.log(np.nan_to_num(mine, nan=BEST)))
        np.divide(logs.sum(axis=0), known, out=found[row], where=known > 0)
        np.exp(found[row], out=found[row])
    return np.where(enough(plan, coverage), found, np.nan)


def _chain(plan: Plan, process: int) -> list[int]:
    """Return the rows of the steps that a process cannot do without."""
    return [at for at, step in enumerate(plan.steps) if step.process == process and not step.optional]


def _joined(plan: Plan, kqi: np.ndarray) -> np.ndarray:
    """Return the weighted geometric mean of KQI scores (k, n)."""
    with np.errstate(divide="ignore"):
        logs = np.log(kqi / BEST)
    mean: np.ndarray = np.minimum(BEST * np.exp(_weighed(plan, logs)), BEST)
    return mean


def _weighed(plan: Plan, rows: np.ndarray) -> np.ndarray:
    """Return the weighted sum over KQIs, added in one order whatever the number of columns."""
    total = np.zeros(rows.shape[1])
    for weight, row in zip(plan.kqi_weights, rows, strict=True):
        total += weight * row
    return total


def _widened(plan: Plan, off: Doubt, kqi: np.ndarray, most: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the most that KQI scores (k, n) may be, errors of counting independent of one another."""
    below, above = np.zeros((2, *kqi.shape))
    for pair in plan.pairs:
        below[pair.kqi] += (pair.weight * off.below[pair.indicator]) ** 2
        above[pair.kqi] += (pair.weight * off.above[pair.indicator]) ** 2
    return (kqi - np.sqrt(below)).clip(0.0), np.minimum(most + np.sqrt(above), BEST)


def _wilson(share: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both ends of Wilson's interval of shares; the share itself where n is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1.0 + _Z**2 / n
        middle = (share + _Z**2 / (2 * n)) / scale
        half = _Z / scale * np.sqrt(share * (1 - share) / n + (_Z / (2 * n)) ** 2)
    some = n > 0
    return np.where(some, middle - half, share), np.where(some, middle + half, share)
