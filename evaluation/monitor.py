"""Every scope, every window: scores against their own baseline and their siblings, alarms raised, updated, cleared.

`step` takes one window and `replay` many at once; a replay of windows is equal to as many steps. Both are pure: what
is remembered lies in `State`, and nothing is read or written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from evaluation import alarm_life, deviation
from evaluation.alarm_life import Event, Judged, Life
from evaluation.alarm_table import Series
from evaluation.cause_groups import Nesting
from evaluation.monitor_settings import MonitorSettings


@dataclass(frozen=True)
class Windows:
    """Windows (t) of series (s), one after another without a gap.

    scores: (t, s), NaN where a KQI was not judged. devices: (t, s). within: of each window, what contains what; beside:
    what shares devices with what (`cause_groups`).
    """

    ends: tuple[datetime, ...]
    series: tuple[Series, ...]
    scores: np.ndarray
    devices: np.ndarray
    within: tuple[Nesting, ...]
    beside: tuple[Nesting, ...]


@dataclass(frozen=True)
class State:
    """What is remembered. begun: end of the first window of all. scores, off: (m, s), of the last m windows."""

    begun: datetime | None
    series: tuple[Series, ...]
    scores: np.ndarray
    off: np.ndarray
    life: Life


def nothing_known(settings: MonitorSettings) -> State:
    """Return the state before the first window."""
    none = np.zeros((0, 0))
    return State(None, (), none, none, alarm_life.born(0, settings))


def step(state: State, window: Windows, settings: MonitorSettings) -> tuple[State, tuple[Event, ...]]:
    """Return the state after one window, and what became of alarms in it. Raises ValueError for more than one."""
    if len(window.ends) != 1:
        raise ValueError(f"a step takes one window, not {len(window.ends)}; replay takes many")
    return replay(state, window, settings)


def replay(state: State, windows: Windows, settings: MonitorSettings) -> tuple[State, tuple[Event, ...]]:
    """Return the state after many windows, and what became of alarms in them, in order."""
    if not windows.ends:
        return state, ()
    before, now = _aligned(state, windows, settings)
    begun = before.begun or now.ends[0]
    scores = np.concatenate([before.scores, now.scores])
    found = deviation.judge(scores, before.off, groups=_siblings(now.series), settings=settings)
    life = before.life
    events: list[Event] = []
    for row, end in enumerate(now.ends):
        judged = Judged(
            end,
            now.series,
            now.scores[row],
            found.baseline[row],
            found.own[row],
            found.siblings[row],
            now.devices[row],
            now.within[row],
            now.beside[row],
            may_raise=end - begun >= timedelta(seconds=settings.learn_s),
        )
        life, told = alarm_life.advance(life, judged, settings)
        events += told
    off = np.concatenate([before.off, found.off])
    kept = settings.memory
    return State(begun, now.series, scores[-kept:], off[-kept:], life), tuple(events)


def _siblings(series: Sequence[Series]) -> np.ndarray:
    """Return a number for each series, equal for one KQI of all places of a scope."""
    numbers: dict[tuple[str, str, str], int] = {}
    return np.array([numbers.setdefault(one[:3], len(numbers)) for one in series], dtype="int64")


def _aligned(state: State, windows: Windows, settings: MonitorSettings) -> tuple[State, Windows]:
    """Return both with the same series: the known ones first, then new ones; what one of them lacks is unknown."""
    known = set(state.series)
    series = (*state.series, *(one for one in windows.series if one not in known))
    given = {one: at for at, one in enumerate(windows.series)}
    mine = np.array([given.get(one, -1) for one in series], dtype="int64")
    new = len(series) - len(state.series)
    scores = _taken(windows.scores, mine, np.nan)
    devices = _taken(windows.devices, mine, 0)
    life = state.life
    grown = alarm_life.born(new, settings)
    before = replace(
        state,
        series=series,
        scores=_widened(state.scores, new, np.nan),
        off=_widened(state.off, new, np.nan),
        life=Life(
            np.concatenate([life.odd, grown.odd], axis=1),
            np.concatenate([life.calm, grown.calm]),
            life.standing,
        ),
    )
    return before, replace(windows, series=series, scores=scores, devices=devices)


def _taken(rows: np.ndarray, columns: np.ndarray, absent: float) -> np.ndarray:
    beside = np.full((len(rows), 1), absent, dtype=rows.dtype)
    taken: np.ndarray = np.concatenate([rows, beside], axis=1)[:, columns]  # -1 takes the last
    return taken


def _widened(rows: np.ndarray, more: int, absent: float) -> np.ndarray:
    return np.concatenate([rows, np.full((len(rows), more), absent)], axis=1)
