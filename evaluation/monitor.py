"""Every indicator of every place, every window: against its own baseline and its siblings, alarms raised and cleared.

`step` takes one window and `replay` many at once; a replay of windows is equal to as many steps. Both are pure: what
is remembered lies in `State`, and nothing is read or written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

import numpy as np

from evaluation import alarm_life, deviation
from evaluation.alarm_life import Event, Judged, Life
from evaluation.alarm_table import Series, Witness
from evaluation.cause_groups import Nesting
from evaluation.monitor_settings import MonitorSettings

_One = TypeVar("_One")


@dataclass(frozen=True)
class Windows:
    """Windows (t), one after another without a gap, of series (s) and their witnesses (w).

    scores: (t, s), of KQIs, NaN where one has none. devices: (t, s). utilities: (t, w), NaN without evidence; each
    witness speaks for one of the series. within: of each window, what contains what; beside: what shares devices
    with what (`cause_groups`).
    """

    ends: tuple[datetime, ...]
    series: tuple[Series, ...]
    scores: np.ndarray
    devices: np.ndarray
    witnesses: tuple[Witness, ...]
    utilities: np.ndarray
    within: tuple[Nesting, ...]
    beside: tuple[Nesting, ...]


@dataclass(frozen=True)
class State:
    """What is remembered. begun: end of the first window of all. scores, utilities: of the last windows, as in Windows;
    off: of utilities, of the windows that tell the usual deviation.
    """

    begun: datetime | None
    series: tuple[Series, ...]
    scores: np.ndarray
    witnesses: tuple[Witness, ...]
    utilities: np.ndarray
    off: np.ndarray
    life: Life


def nothing_known(settings: MonitorSettings) -> State:
    """Return the state before the first window."""
    none = np.zeros((0, 0), "float32")
    return State(None, (), none, (), none, none, alarm_life.born(0, settings))


def step(state: State, window: Windows, settings: MonitorSettings) -> tuple[State, tuple[Event, ...]]:
    """Return the state after one window, and what became of alarms in it. Raises ValueError for more than one."""
    if len(window.ends) != 1:
        raise ValueError(f"a step takes one window, not {len(window.ends)}; replay takes many")
    return replay(state, window, settings)


def replay(state: State, windows: Windows, settings: MonitorSettings) -> tuple[State, tuple[Event, ...]]:
    """Return the state after many windows, and what became of alarms in them, in order.

    Raises LookupError for a witness that speaks for no series.
    """
    if not windows.ends:
        return state, ()
    before, now = _aligned(state, windows, settings)
    begun, known = before.begun or now.ends[0], len(before.scores)
    scores = np.concatenate([before.scores, now.scores])
    utilities = np.concatenate([before.utilities, now.utilities])
    baseline = deviation.baselines(scores, known, settings)
    alike = _siblings(now.witnesses)
    found = deviation.judge(utilities, before.off, first=known, groups=alike, settings=settings)
    life, events, at = before.life, list[Event](), rows_of(now)
    for row, end in enumerate(now.ends):
        judged = Judged(
            end,
            now.series,
            now.scores[row],
            baseline[row],
            now.devices[row],
            now.witnesses,
            at,
            found.own[row],
            found.siblings[row],
            -found.off[row],
            now.within[row],
            now.beside[row],
            may_raise=end - begun >= timedelta(seconds=settings.learn_s),
        )
        life, told = alarm_life.advance(life, judged, settings)
        events += told
    kept, off = settings.memory, np.concatenate([before.off, found.off])[-max(settings.scale_lags) :]
    after = State(begun, now.series, scores[-kept:], now.witnesses, utilities[-kept:], off, life)
    return after, tuple(events)


def rows_of(windows: Windows) -> np.ndarray:
    """Return the row of the series of each witness. Raises LookupError where one has none."""
    row = {one: at for at, one in enumerate(windows.series)}
    if strange := [one for one in windows.witnesses if one.series not in row]:
        raise LookupError(f"a witness must speak for a series that is told, but {strange[0]} does not")
    return np.array([row[one.series] for one in windows.witnesses], dtype="int64")


def _siblings(witnesses: Sequence[Witness]) -> np.ndarray:
    """Return a number for each witness, equal for one indicator of a service at all places of a scope."""
    numbers: dict[tuple[str, str, str], int] = {}
    return np.array(
        [numbers.setdefault((one.service, one.indicator, one.scope), len(numbers)) for one in witnesses],
        dtype="int64",
    )


def _aligned(state: State, windows: Windows, settings: MonitorSettings) -> tuple[State, Windows]:
    """Return both of the same series and witnesses: the known ones first, then new ones; what one lacks is unknown."""
    series, mine = _joined(state.series, windows.series)
    witnesses, told = _joined(state.witnesses, windows.witnesses)
    new, more = len(series) - len(state.series), len(witnesses) - len(state.witnesses)
    life, grown = state.life, alarm_life.born(more, settings)
    before = replace(
        state,
        series=series,
        scores=_widened(state.scores, new),
        witnesses=witnesses,
        utilities=_widened(state.utilities, more),
        off=_widened(state.off, more),
        life=Life(
            np.concatenate([life.odd, grown.odd], axis=1),
            np.concatenate([life.calm, grown.calm]),
            np.concatenate([life.unseen, grown.unseen]),
            np.concatenate([life.accuses, grown.accuses]),
            life.standing,
        ),
    )
    now = replace(
        windows,
        series=series,
        scores=_taken(windows.scores, mine, np.nan).astype("float32"),
        devices=_taken(windows.devices, mine, 0),
        witnesses=witnesses,
        utilities=_taken(windows.utilities, told, np.nan).astype("float32"),
    )
    return before, now


def _joined(known: tuple[_One, ...], given: tuple[_One, ...]) -> tuple[tuple[_One, ...], np.ndarray]:
    """Return the known and then what is new of the given, and the row of each in the given; -1: it is not there."""
    seen, row = set(known), {one: at for at, one in enumerate(given)}
    every = (*known, *(one for one in given if one not in seen))
    return every, np.array([row.get(one, -1) for one in every], dtype="int64")


def _taken(rows: np.ndarray, columns: np.ndarray, absent: float) -> np.ndarray:
    beside = np.full((len(rows), 1), absent, dtype=rows.dtype)
    taken: np.ndarray = np.concatenate([rows, beside], axis=1)[:, columns]  # -1 takes the last
    return taken


def _widened(rows: np.ndarray, more: int) -> np.ndarray:
    return np.concatenate([rows, np.full((len(rows), more), np.nan, rows.dtype)], axis=1)
