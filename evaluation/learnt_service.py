"""A service file whose anchors and weights are learnt from measured KQI values: the way from a table to a score."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from evaluation.anchor_fit import Fitted, LearntCurve, fit_anchors
from evaluation.process import ExpertWeight, Kqi, ServiceModel
from features.indicators import Indicator

LEAST_WEIGHT = 0.01  # of 1; an indicator that a KQI weighs less tells next to nothing
_PLACES = 6  # significant digits of anchors; decimals of weights


@dataclass(frozen=True)
class Learnt:
    """A service as learnt. cases: what its KQI was learnt from; ill: how many were beyond the target of the KQI."""

    service: ServiceModel
    kqi: str
    fitted: Fitted
    cases: int
    ill: int

    def text(self) -> str:
        """Return what was learnt, for a person."""
        kqi = next(one for one in self.service.kqis if one.id == self.kqi)
        by_id = {one.id: one for one in self.service.local_indicators}
        lines = [f"{self.kqi}: {self.cases:,} cases, {self.ill:,} beyond the target"]
        for weight in kqi.expert_weights:
            one = by_id[weight.indicator]
            lines.append(
                f"  {weight.weight:.3f}  {one.id}: unacceptable {one.unacceptable:g}, excellent {one.excellent:g}"
                f" {one.unit}, {one.curve}, {len(one.points)} bends"
            )
        return "\n".join(lines)


def learn_service(
    draft: ServiceModel, kqi_id: str, *, cases: pd.DataFrame, measured: pd.Series, only: Sequence[str] = ()
) -> Learnt:
    """Return the draft with the anchors of a KQI's indicators, and their weights, learnt from cases.

    cases: a column for each indicator that the KQI weighs, by id; a case of which one is unknown is left out.
    measured: the KQI of each case; ill is what is beyond its target. only: of these indicators; empty: of all.
    The draft says what its indicators are, which way each is better, its curve, and the steps that own it. Raises
    LookupError for a KQI, a column or an indicator that is not there, ValueError where an indicator is not the
    service's own, or cases are too few.
    """
    kqi = _kqi(draft, kqi_id)
    indicators = _indicators(draft, kqi, only)
    if lacks := [one.id for one in indicators if one.id not in cases]:
        raise LookupError(f"the table must have a column for each indicator of {kqi_id}, but lacks {lacks}")
    values = cases[[one.id for one in indicators]].to_numpy("float64")
    told = measured.to_numpy("float64")
    whole = np.isfinite(values).all(axis=1) & np.isfinite(told)
    ill = told > kqi.target if kqi.direction == "lower_is_better" else told < kqi.target
    indicators, fitted = _weighty(indicators, values[whole], ill[whole])
    return Learnt(
        _rewritten(draft, kqi, indicators, fitted), kqi_id, fitted, int(whole.sum()), int(ill[whole].sum())
    )


def write_service(service: ServiceModel, out: Path) -> None:
    """Write a service as a file of configs/services, whole or not at all."""
    content = service.model_dump(mode="json", by_alias=True, exclude_unset=True)
    unfinished = out.with_name(f".{out.name}.unfinished")
    unfinished.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))
    unfinished.replace(out)


def _kqi(draft: ServiceModel, kqi_id: str) -> Kqi:
    for kqi in draft.kqis:
        if kqi.id == kqi_id:
            return kqi
    raise LookupError(f"{draft.id} has no KQI {kqi_id!r}; it has {', '.join(kqi.id for kqi in draft.kqis)}")


def _indicators(draft: ServiceModel, kqi: Kqi, only: Sequence[str]) -> list[Indicator]:
    """Return what is to be learnt, in the order of the KQI."""
    own = {one.id: one for one in draft.local_indicators}
    weighed = [weight.indicator for weight in kqi.expert_weights]
    if strange := [one for one in only if one not in weighed]:
        raise LookupError(f"{kqi.id} weighs {', '.join(weighed)}, but not {', '.join(strange)}")
    wanted = [one for one in weighed if not only or one in only]
    others = {weight.indicator for other in draft.kqis if other is not kqi for weight in other.expert_weights}
    if shared := [one for one in wanted if one not in own or one in others]:
        raise ValueError(
            f"anchors are learnt for indicators of {draft.id} and {kqi.id} alone, but {', '.join(shared)} belongs to"
            " others too; give it a local indicator"
        )
    return [own[one] for one in wanted]


def _weighty(
    indicators: list[Indicator], values: np.ndarray, ill: np.ndarray
) -> tuple[list[Indicator], Fitted]:
    """Return what was learnt; each indicator that weighs next to nothing falls, and the rest is learnt anew."""
    fitted = fit_anchors(indicators, values, ill)
    kept = [row for row, weight in enumerate(fitted.weights) if weight >= LEAST_WEIGHT]
    if len(kept) == len(indicators):
        return indicators, fitted
    return _weighty([indicators[row] for row in kept], values[:, kept], ill)


def _rewritten(
    draft: ServiceModel, kqi: Kqi, indicators: Sequence[Indicator], fitted: Fitted
) -> ServiceModel:
    learnt = {
        one.id: one.model_copy(update=_scale(curve) | {"anchor_basis": "learnt"})
        for one, curve in zip(indicators, fitted.curves, strict=True)
    }
    weights = tuple(
        ExpertWeight(indicator=one, weight=weight)
        for one, weight in _rounded({one.id: w for one, w in zip(indicators, fitted.weights, strict=True)})
    )
    news = {"expert_weights": weights, "note": f"{kqi.note} {_risk(fitted)}".strip()}
    kqis = tuple(one.model_copy(update=news) if one is kqi else one for one in draft.kqis)
    local = tuple(learnt.get(one.id, one) for one in draft.local_indicators)
    return draft.model_copy(update={"local_indicators": local, "kqis": kqis})


def _risk(fitted: Fitted) -> str:
    return (
        "Anchors and weights are learnt; the risk of missing the target is"
        f" 1 / (1 + exp({-fitted.intercept:.4g} - {fitted.strength:.4g} * (100 - score) / 100))."
    )


def _scale(curve: LearntCurve) -> dict[str, float | tuple[tuple[float, float], ...]]:
    """Return anchors and points as an indicator has them, in few digits; points that these make one are left out."""
    worst, best = _short(curve.unacceptable), _short(curve.excellent)
    points = {_short(value): _short(utility) for value, utility in curve.points}
    inner = tuple((value, told) for value, told in points.items() if value not in (worst, best))
    return {"unacceptable": worst, "excellent": best, "points": inner}


def _short(anchor: float) -> float:
    return float(f"{anchor:.{_PLACES}g}")


def _rounded(weights: dict[str, float]) -> list[tuple[str, float]]:
    """Return weights of 1, the heaviest first; the first takes what rounding leaves."""
    (first, _), *others = sorted(weights.items(), key=lambda pair: -pair[1])
    rest = [(one, round(weight, _PLACES)) for one, weight in others]
    return [(first, round(1.0 - sum(weight for _, weight in rest), _PLACES)), *rest]
