"""The life of alarms: raised after k odd windows of n, updated where they grow worse, cleared after m calm ones.

An indicator of a place is a witness: it accuses its KQI from its k-th odd window on until its m-th calm one running. An
alarm stands while any witness of its KQI and place accuses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

import numpy as np

from evaluation.alarm_table import CLEARED, OPEN, SEVERITIES, Alarm, Series, Severity, Witness
from evaluation.cause_groups import Nesting, grouped
from evaluation.monitor_settings import MonitorSettings


@dataclass(frozen=True)
class Life:
    """What is remembered from window to window of witnesses (w).

    odd: (n - 1, w), of the last windows, oldest first. calm, unseen: (w,), how many windows running; unseen: without
    evidence. accuses: (w,). standing: open alarms.
    """

    odd: np.ndarray
    calm: np.ndarray
    unseen: np.ndarray
    accuses: np.ndarray
    standing: Mapping[Series, Alarm]


@dataclass(frozen=True)
class Judged:
    """One window, judged. scores, baseline, devices: (s,), of the series. own, siblings, fell: (w,), of the witnesses.

    at: (w,), the row of each witness's series. own, siblings: usual deviations. fell: points below the baseline.
    within, beside: `cause_groups`. may_raise: False while baselines are learnt.
    """

    end: datetime
    series: Sequence[Series]
    scores: np.ndarray
    baseline: np.ndarray
    devices: np.ndarray
    witnesses: Sequence[Witness]
    at: np.ndarray
    own: np.ndarray
    siblings: np.ndarray
    fell: np.ndarray
    within: Nesting
    beside: Nesting
    may_raise: bool


class Event(NamedTuple):
    """What became of an alarm in a window. fell: how far the indicators lie below that accuse, usual deviations."""

    at: datetime
    what: Literal["raised", "updated", "cleared"]
    alarm: Alarm
    fell: Mapping[str, float]


def born(count: int, settings: MonitorSettings) -> Life:
    """Return the life of `count` witnesses before the first window."""
    odd, none = np.zeros((settings.open.of - 1, count), bool), np.zeros(count, "int64")
    return Life(odd, none, none, np.zeros(count, bool), {})


def advance(life: Life, now: Judged, settings: MonitorSettings) -> tuple[Life, tuple[Event, ...]]:
    """Return the life after a window, and what became of alarms in it.

    A window without evidence is neither odd nor calm; who accuses and has had none for too long no longer does.
    """
    with np.errstate(invalid="ignore"):
        with_all = now.siblings > -settings.siblings.below  # what all do is the wider place's to answer for
        odd = (now.own <= -settings.open.below) & ~with_all & now.may_raise
        calm_now = now.own > -settings.close.above
    recent = np.concatenate([life.odd, odd[None]])
    unseen = np.where(np.isnan(now.own), life.unseen + 1, 0)
    calm = np.where(unseen > 0, life.calm, np.where(calm_now, life.calm + 1, 0))
    accuses = life.accuses & (calm < settings.close.windows) & (unseen < settings.close.unseen)
    accuses |= odd & (recent.sum(axis=0) >= settings.open.windows)
    accused: dict[Series, list[int]] = {}
    for row in np.flatnonzero(accuses):
        accused.setdefault(now.series[now.at[row]], []).append(int(row))
    standing, events = _aged(life.standing, now, accused, odd, settings)
    new = [_raised(now, rows, settings) for one, rows in accused.items() if one not in life.standing]
    since = now.end - timedelta(seconds=settings.cause.within_s)
    placed = grouped(new, standing.values(), within=now.within, beside=now.beside, since=since)
    fresh = {one.alarm_id for one in new}
    for one, alarm in placed.items():
        what: Literal["raised", "updated"] = "raised" if one in fresh else "updated"
        events.append(Event(now.end, what, alarm, _fell(now, accused[alarm.series])))
    standing |= {alarm.series: alarm for alarm in placed.values()}
    return Life(recent[1:], calm, unseen, accuses, standing), tuple(events)


def _aged(
    standing: Mapping[Series, Alarm],
    now: Judged,
    accused: Mapping[Series, list[int]],
    odd: np.ndarray,
    settings: MonitorSettings,
) -> tuple[dict[Series, Alarm], list[Event]]:
    """Return the alarms that still stand, and what became of those that stood. accused: rows of who accuses."""
    kept, events = dict(standing), []
    for one, alarm in standing.items():
        if one not in accused:
            gone = replace(alarm, cleared=now.end, status=CLEARED)
            events.append(Event(now.end, "cleared", gone, {}))
            del kept[one]
            continue
        rows = [row for row in accused[one] if odd[row]]
        if rows and alarm.score is not None and np.isnan(_fallen(now, rows)):
            continue  # its KQI is no longer known: that makes it no worse
        if rows and SEVERITIES.index(_severity(now, rows, settings)) > SEVERITIES.index(alarm.severity):
            kept[one] = replace(alarm, updated=now.end, **_told(now, rows, settings))
            events.append(Event(now.end, "updated", kept[one], _fell(now, rows)))
    return kept, events


def _raised(now: Judged, rows: Sequence[int], settings: MonitorSettings) -> Alarm:
    one = now.witnesses[_worst(now, rows)]
    return Alarm(
        alarm_id="/".join((*one.series, f"{now.end:%Y%m%dT%H%MZ}")),
        **one.series._asdict(),
        raised=now.end,
        updated=now.end,
        cleared=None,
        **_told(now, rows, settings),
        worst_step=None,
        worst_indicator=one.indicator,
        parent=None,
        status=OPEN,
        devices=int(now.devices[now.at[rows[0]]]),
    )


def _told(
    now: Judged, rows: Sequence[int], settings: MonitorSettings
) -> dict[str, Any]:  # Any: numbers and one word
    worst, at = _worst(now, rows), now.at[rows[0]]
    return {
        "severity": _severity(now, rows, settings),
        "score": _known(now.scores[at]),
        "baseline": _known(now.baseline[at]),
        "deviation": float(now.own[worst]),
        "siblings": _known(now.siblings[worst]),
    }


def _known(number: float) -> float | None:
    return None if np.isnan(number) else float(number)


def _worst(now: Judged, rows: Sequence[int]) -> int:
    """Return the row of the witness that lies furthest below its baseline."""
    return min(rows, key=lambda row: (np.nan_to_num(now.own[row]), now.witnesses[row].indicator))


def _fell(now: Judged, rows: Sequence[int]) -> dict[str, float]:
    return {now.witnesses[row].indicator: -float(now.own[row]) for row in rows if now.own[row] < 0}


def _severity(now: Judged, rows: Sequence[int], settings: MonitorSettings) -> Severity:
    """Return how badly the KQI fell; where it is not known, what fell of it stands for it."""
    fell = _fallen(now, rows)
    if np.isnan(fell):
        fell = now.fell[_worst(now, rows)]
    if fell >= settings.severity.critical:
        return "critical"
    return "major" if fell >= settings.severity.major else "minor"


def _fallen(now: Judged, rows: Sequence[int]) -> float:
    """Return how far the KQI of witnesses fell, points; NaN where it has no score."""
    at = now.at[rows[0]]
    return float(now.baseline[at] - now.scores[at])
