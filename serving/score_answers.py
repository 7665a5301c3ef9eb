"""Scores as a client reads them: brief for a batch, with all that they are made of, or with the reasons."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Literal

import numpy as np

from evaluation.score_table import INSUFFICIENT, SCORED
from evaluation.scoring import BEST
from evaluation.scoring_plan import Measured
from features.indicators import Indicator, TerminalFlag
from features.nearest import SCOPES
from serving.problems import Problem
from serving.score import Assessed
from serving.score_schema import (
    BriefScore,
    ExplainedScore,
    KqiScore,
    Lost,
    LostIndicator,
    LostStep,
    ProcessScore,
    ScoreAnswer,
    ScoreExplanation,
    StepScore,
    Used,
)
from serving.score_views import Evidence, View

_LEAST = 1e-9  # points; below, nothing was lost


@dataclass(frozen=True)
class Origin:
    """Where the evidence of a question is from. view: None of inline values.

    notes: by indicator, why a value that was given does not count. unused: what the service does not name.
    """

    evidence: Evidence
    view: View | None
    at: datetime | None
    by: Literal["question", "membership", "label"] = "question"
    notes: dict[str, str] = field(default_factory=dict)
    unused: Sequence[str] = ()

    @property
    def simulated(self) -> bool:
        """Whether the lake that it was read from holds simulated rows."""
        return self.view is not None and self.view.simulated

    def nothing_known(self, row: int) -> Problem | None:
        """Return the problem of a device that no table knows; a place that it hangs on is enough to be judged by."""
        if self.view is None or not self._strangers[row]:
            return None
        name = self.evidence.devices.ids[row].as_py()
        moment = f"{self.view.at:%Y-%m-%dT%H:%M:%SZ}"
        detail = f"neither MEMBERSHIP nor the indicators know {name!r} at {moment}"
        return Problem("nothing-known", detail, missing=[name])

    def warnings(self, service: str) -> list[str | None]:
        """Return of each row what is odd about scoring it as a service; None where nothing is."""
        devices = self.evidence.devices
        if self.view is None or devices.services is None:
            return [None] * len(devices.ids)
        moment = f"{self.view.at:%Y-%m-%dT%H:%M:%SZ}"
        return [
            f"MEMBERSHIP says that {name!r} runs {other} at {moment}, but it was scored as {service}, as asked"
            if other is not None and other != service
            else None
            for name, other in zip(devices.ids.to_pylist(), devices.services.to_pylist(), strict=True)
        ]

    @cached_property
    def _strangers(self) -> np.ndarray:
        """Whether a device hangs on nothing, and nothing is known of it (n,)."""
        strange = np.ones(len(self.evidence.devices.ids), dtype=bool)
        for hung in self.evidence.devices.places.values():
            strange &= hung.is_null().to_numpy(zero_copy_only=False)
        for one in self.evidence.told:
            strange &= np.isnan(one.value)
        return strange


def briefs(assessed: Assessed, origin: Origin, start: int) -> list[BriefScore]:
    """Return the brief score of each row of a question. start: the first of them in what was assessed."""
    count = len(origin.evidence.devices.ids)
    names = [kqi.id for kqi in assessed.plan.service.kqis]
    kqis = zip(*(_numbers(row[start : start + count]) for row in assessed.kqis), strict=True)
    return [
        BriefScore(**core, kqis=dict(zip(names, row, strict=True)))
        for core, row in zip(_cores(assessed, origin, start), kqis, strict=True)
    ]


def whole(assessed: Assessed, origin: Origin, column: int) -> ScoreAnswer:
    """Return the score of the one row of a question, with all that it is made of."""
    (core,) = _cores(assessed, origin, column)
    return ScoreAnswer(
        **core,
        service_by=origin.by,
        kqis=list(_kqis(assessed, column)),
        processes=list(_processes(assessed, column)),
        lost=Lost(
            total=float(assessed.lost_total[column]),
            by_unknown=float(assessed.lost_to_unknown[column]),
        ),
        indicators=[_used(assessed, origin, row, column) for row in range(len(assessed.plan.indicators))],
        unused=list(origin.unused),
        simulated=origin.simulated,
    )


def explained(assessed: Assessed, origin: Origin, start: int, *, top: int) -> list[ExplainedScore]:
    """Return the score of each row of a question, and the `top` steps that cost most."""
    return [
        ExplainedScore(**core, explanation=explanation(assessed, start + row, top=top))
        for row, core in enumerate(_cores(assessed, origin, start))
    ]


def explanation(assessed: Assessed, column: int, *, top: int) -> ScoreExplanation:
    """Return which steps cost one row its points, and by which indicators."""
    steps = sorted(_lost_steps(assessed, column), key=lambda one: (-one.lost, one.step))
    return ScoreExplanation(
        lost=float(assessed.lost_total[column]),
        steps=steps[:top],
        rest=min(sum(one.lost for one in steps[top:]), BEST),
    )


def _cores(assessed: Assessed, origin: Origin, start: int) -> list[dict[str, Any]]:  # Any: fields of Scored
    ids = origin.evidence.devices.ids.to_pylist()
    rows = slice(start, start + len(ids))
    scores = assessed.judged.scores
    columns: dict[str, Sequence[Any]] = {
        name: _numbers(getattr(scores, name)[rows])
        for name in ("score", "low", "high", "estimate", "coverage")
    }
    columns["status"] = [INSUFFICIENT if one is None else SCORED for one in columns["score"]]
    columns |= {name: column[rows] for name, column in assessed.worst.items()}
    columns["device_id"] = ids
    columns["warning"] = origin.warnings(assessed.plan.service.id)
    same = {
        "service": assessed.plan.service.id,
        "scope": "inline" if origin.view is None else "device",
        "window_end": origin.at,
    }
    return [dict(zip(columns, row, strict=True)) | same for row in zip(*columns.values(), strict=True)]


def _kqis(assessed: Assessed, column: int) -> Iterator[KqiScore]:
    plan, scores = assessed.plan, assessed.judged.scores
    for row, kqi in enumerate(plan.service.kqis):
        yield KqiScore(
            kqi=kqi.id,
            name=kqi.name,
            score=_number(assessed.kqis[row, column]),
            coverage=float(scores.kqi_coverage[row, column]),
            weight=plan.kqi_weights[row],
            target=kqi.target,
            unit=kqi.unit,
            lost=float(assessed.lost_by_kqi[row, column]),
        )


def _processes(assessed: Assessed, column: int) -> Iterator[ProcessScore]:
    for at, process in enumerate(assessed.plan.service.processes):
        steps = [
            StepScore(
                step=step.name,
                score=_number(assessed.steps[row, column]),
                coverage=_number(assessed.step_coverage[row, column]),
                lost=float(assessed.lost_by_step[row, column]),
            )
            for row, step in enumerate(assessed.plan.steps)
            if step.process == at
        ]
        yield ProcessScore(
            process=process.id,
            name=process.name,
            score=_number(assessed.processes[at, column]),
            coverage=_number(assessed.process_coverage[at, column]),
            steps=steps,
        )


def _used(assessed: Assessed, origin: Origin, row: int, column: int) -> Used:
    one, told = assessed.plan.indicators[row], assessed.told[row]
    value = _number(told.value[column])
    scope, scope_id, end = _where(origin, one, int(told.scope[column]) if value is not None else -1)
    age = None if end is None or origin.at is None else (origin.at - end).total_seconds()
    return Used(
        indicator=one.id,
        value=value,
        unit=one.unit,
        utility=_number(assessed.utilities[row, column]),
        scope=scope,
        scope_id=scope_id,
        samples=_number(told.samples[column]) if value is not None else None,
        window_end=end,
        age_s=age,
        lost=float(assessed.lost_by_indicator[row, column]),
        note=origin.notes.get(one.id),
    )


def _where(origin: Origin, one: Measured, scope: int) -> tuple[str | None, str | None, datetime | None]:
    """Return who told the value of the one device of a question, and the end of its window."""
    if origin.view is None or scope < 0:
        return None, None, None
    name, devices = SCOPES[scope], origin.evidence.devices
    if name == "device":
        own = devices.ends.get(one.id)
        return name, devices.ids[0].as_py(), _instant(None if own is None else own[0])
    place = devices.places[name][0].as_py()
    return name, place, _instant(origin.view.end(name, place, one.id))


def _instant(moment: np.datetime64 | None) -> datetime | None:
    if moment is None or np.isnat(moment):
        return None
    told: datetime = moment.astype("datetime64[us]").item()
    return told.replace(tzinfo=UTC)


def _lost_steps(assessed: Assessed, column: int) -> Iterator[LostStep]:
    plan, lost = assessed.plan, assessed.lost
    parts: dict[int, dict[int, float]] = {}
    for pair, points in zip(plan.pairs, lost.pairs[:, column], strict=True):
        for step in pair.steps:
            mine = parts.setdefault(step, {})
            mine[pair.indicator] = mine.get(pair.indicator, 0.0) + float(points) / len(pair.steps)
    for at, mine in parts.items():
        told = sorted(
            (_lost(assessed, row, column, points) for row, points in mine.items() if points > _LEAST),
            key=lambda one: (-one.lost, one.indicator),
        )
        if told:
            process = plan.service.processes[plan.steps[at].process].id
            name = plan.steps[at].name
            yield LostStep(
                step=name,
                process=process,
                name=name.partition(" ")[2],
                lost=min(sum(mine.values()), BEST),
                indicators=told,
            )


def _lost(assessed: Assessed, row: int, column: int, points: float) -> LostIndicator:
    one = assessed.plan.indicators[row]
    low, high = one.healthy_range if isinstance(one, Indicator) else (None, None)
    anchored = None if isinstance(one, TerminalFlag) else one
    return LostIndicator(
        indicator=one.id,
        name=one.name,
        value=_number(assessed.told[row].value[column]),
        unit=one.unit,
        usual_low=low,
        usual_high=high,
        excellent=anchored.excellent if anchored else None,
        unacceptable=anchored.unacceptable if anchored else None,
        lost=min(points, BEST),
    )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _numbers(values: np.ndarray) -> list[float | None]:
    return [None if one != one else one for one in values.tolist()]  # NaN alone is not itself
