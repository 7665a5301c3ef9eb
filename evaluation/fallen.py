"""Which indicator of a KQI fell most below its own baseline, and which step owns what fell."""

from typing import NamedTuple

import numpy as np

from evaluation.scoring_plan import Plan

_LEAST_FALL = 1e-9  # points; below, nothing fell


class Fallen(NamedTuple):
    """The step that owns most of what a KQI lost against its baseline, and the indicator; None where none is known."""

    step: str | None
    indicator: str | None


def fallen(what: Plan, kqi: str, now: np.ndarray, before: np.ndarray) -> Fallen:
    """Return what fell. now: utilities (f,) of what a KQI weighs; before: (n, f), of the moments of its baseline.

    What fell for a KQI is weight times utility; the steps that own an indicator share it evenly, as lost points are.
    """
    row = [one.id for one in what.service.kqis].index(kqi)
    known = ~np.isnan(before)
    usual = np.full(len(now), np.nan)
    some = known.any(axis=0)
    usual[some] = np.nanmedian(before[:, some], axis=0)
    by_indicator, by_step = np.zeros(what.weighed), np.zeros(len(what.steps))
    for pair in what.pairs:
        fell = pair.weight * (usual[pair.indicator] - now[pair.indicator])
        if pair.kqi == row and not np.isnan(fell):
            by_indicator[pair.indicator] += fell
            by_step[list(pair.steps)] += fell / len(pair.steps)
    if by_indicator.max(initial=0.0) < _LEAST_FALL:
        return Fallen(None, None)
    return Fallen(what.steps[int(by_step.argmax())].name, what.ids[int(by_indicator.argmax())])
