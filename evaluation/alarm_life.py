"""The life of alarms: raised after k odd windows of n, updated where they grow worse, cleared after m calm ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

import numpy as np

from evaluation.alarm_table import CLEARED, OPEN, SEVERITIES, Alarm, Series, Severity
from evaluation.cause_groups import Nesting, grouped
from evaluation.monitor_settings import MonitorSettings


@dataclass(frozen=True)
class Life:
    """What is remembered from window to window of series (s).

    odd: (n - 1, s), of the last windows, oldest first. calm: (s,), how many windows running. standing: open alarms.
    """

    odd: np.ndarray
    calm: np.ndarray
    standing: Mapping[Series, Alarm]


@dataclass(frozen=True)
class Judged:
    """One window, judged; arrays are (s,).

    within, beside: `cause_groups`. may_raise: False while baselines are learnt.
    """

    end: datetime
    series: Sequence[Series]
    scores: np.ndarray
    baseline: np.ndarray
    own: np.ndarray
    siblings: np.ndarray
    devices: np.ndarray
    within: Nesting
    beside: Nesting
    may_raise: bool


class Event(NamedTuple):
    """What became of an alarm in a window."""

    at: datetime
    what: Literal["raised", "updated", "cleared"]
    alarm: Alarm


def born(count: int, settings: MonitorSettings) -> Life:
    """Return the life of `count` series before the first window."""
    return Life(np.zeros((settings.open.of - 1, count), bool), np.zeros(count, "int64"), {})


def advance(life: Life, now: Judged, settings: MonitorSettings) -> tuple[Life, tuple[Event, ...]]:
    """Return the life after a window, and what became of alarms in it. A window without evidence changes neither."""
    with np.errstate(invalid="ignore"):
        with_all = now.siblings > -settings.siblings.below  # what all do is the wider place's to answer for
        odd = (now.own <= -settings.open.below) & ~with_all & now.may_raise
        calm_now = now.own > -settings.close.above
    recent = np.concatenate([life.odd, odd[None]])
    calm = np.where(np.isnan(now.own), life.calm, np.where(calm_now, life.calm + 1, 0))
    standing, events = _aged(life.standing, now, calm, odd, settings)
    opens = odd & (recent.sum(axis=0) >= settings.open.windows)
    at_once = [int(at) for at in np.flatnonzero(opens) if now.series[int(at)] not in life.standing]
    new = [_raised(now, at, settings) for at in at_once]
    since = now.end - timedelta(seconds=settings.cause.within_s)
    placed = grouped(new, standing.values(), within=now.within, beside=now.beside, since=since)
    fresh = {one.alarm_id for one in new}
    events += [
        Event(now.end, "raised" if one in fresh else "updated", alarm) for one, alarm in placed.items()
    ]
    standing |= {alarm.series: alarm for alarm in placed.values()}
    return Life(recent[1:], calm, standing), tuple(events)


def _aged(
    standing: Mapping[Series, Alarm],
    now: Judged,
    calm: np.ndarray,
    odd: np.ndarray,
    settings: MonitorSettings,
) -> tuple[dict[Series, Alarm], list[Event]]:
    """Return the alarms that still stand, and what became of those that stood."""
    kept, events = dict(standing), []
    place = {one: at for at, one in enumerate(now.series)} if standing else {}
    for one, alarm in standing.items():
        at = place[one]
        if calm[at] >= settings.close.windows:
            events.append(Event(now.end, "cleared", replace(alarm, cleared=now.end, status=CLEARED)))
            del kept[one]
        elif odd[at] and SEVERITIES.index(_severity(now, at, settings)) > SEVERITIES.index(alarm.severity):
            kept[one] = replace(alarm, updated=now.end, **_told(now, at, settings))
            events.append(Event(now.end, "updated", kept[one]))
    return kept, events


def _raised(now: Judged, at: int, settings: MonitorSettings) -> Alarm:
    one = now.series[at]
    return Alarm(
        alarm_id="/".join((*one, f"{now.end:%Y%m%dT%H%MZ}")),
        **one._asdict(),
        raised=now.end,
        updated=now.end,
        cleared=None,
        **_told(now, at, settings),
        worst_step=None,
        worst_indicator=None,
        parent=None,
        status=OPEN,
        devices=int(now.devices[at]),
    )


def _told(now: Judged, at: int, settings: MonitorSettings) -> dict[str, Any]:  # Any: numbers and one word
    return {
        "severity": _severity(now, at, settings),
        "score": float(now.scores[at]),
        "baseline": float(now.baseline[at]),
        "deviation": float(now.own[at]),
        "siblings": None if np.isnan(now.siblings[at]) else float(now.siblings[at]),
    }


def _severity(now: Judged, at: int, settings: MonitorSettings) -> Severity:
    fell = now.baseline[at] - now.scores[at]
    if fell >= settings.severity.critical:
        return "critical"
    return "major" if fell >= settings.severity.major else "minor"
