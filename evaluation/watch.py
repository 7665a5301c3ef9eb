"""The monitor over a workspace: scores of windows not scored yet, alarms up to a moment, written as one table."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from evaluation import fallen, monitor, monitor_state, score_history
from evaluation.alarm_table import OPEN, Alarm, Series, Witness
from evaluation.cause_groups import crossing, nesting
from evaluation.domain import Domain
from evaluation.monitor import Windows
from evaluation.monitor_settings import MonitorSettings
from evaluation.monitor_state import Remembered
from evaluation.scoring_plan import Plan, plan
from features import membership
from features.days import day_of, start_of, us_of
from features.one_writer import one_writer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Watched:
    """What one call did. end: of the last window judged. alarms: all up to then, those of before included.

    learnt: nothing is raised before; None where no window was ever judged.
    """

    end: datetime
    windows: int
    alarms: tuple[Alarm, ...]
    learnt: datetime | None

    @property
    def learning_until(self) -> datetime | None:
        """The moment before which nothing is raised, where that is still to come."""
        return self.learnt if self.learnt is not None and self.end < self.learnt else None

    def text(self) -> str:
        """Return one line for a person."""
        standing = sum(one.status == OPEN for one in self.alarms)
        causes = len({one.cause for one in self.alarms})
        return (
            f"monitor: {self.windows:,} windows judged until {self.end:%FT%TZ}; {len(self.alarms):,} alarms of"
            f" {causes:,} causes, {standing:,} open{self._why_none}"
        )

    @property
    def _why_none(self) -> str:
        until = self.learning_until
        return f"; what is usual is still learnt: nothing is raised before {until:%FT%TZ}" if until else ""


def watch(workspace: Path, domain: Domain, settings: MonitorSettings, *, until: datetime) -> Watched:
    """Judge every window that ends by a moment and was not judged yet; return all alarms as they stood then.

    A moment before the last one judged is judged from the first window on, and not remembered.
    Raises LookupError where the workspace holds no indicators of places.
    """
    with one_writer(workspace / "alarms"):
        ends = score_history.windows(workspace, until=until, every_s=settings.every_s)
        for service in domain.services:
            score_history.extend(workspace, domain, service, ends, settings)
        known = monitor_state.load(workspace, settings)
        back = known.end is not None and until < known.end
        if back:
            known = monitor_state.nothing(settings)
        asked = [end for end in ends if known.end is None or end > known.end]
        for _, day in groupby(asked, key=day_of):
            known = _judged(workspace, domain, settings, known, list(day))
        if asked and not back:
            monitor_state.save(workspace, known, settings)
    begun = known.state.begun
    learnt = None if begun is None else begun + timedelta(seconds=settings.learn_s)
    return Watched(known.end or until, len(asked), tuple(known.alarms.values()), learnt)


def _judged(
    workspace: Path, domain: Domain, settings: MonitorSettings, known: Remembered, ends: Sequence[datetime]
) -> Remembered:
    """Return what is known after some windows of one day."""
    windows = read_windows(workspace, domain, ends, share=settings.cause.share)
    state, events = monitor.replay(known.state, windows, settings)
    alarms = dict(known.alarms)
    for event in events:
        one, before = event.alarm, alarms.get(event.alarm.alarm_id)
        if before:
            named = replace(one, worst_step=before.worst_step, worst_indicator=before.worst_indicator)
        else:
            what = plan(domain.service(one.service), domain.measured)
            named = replace(one, worst_step=fallen.step_of(what, one.kqi, event.fell))
        alarms[one.alarm_id] = named
    return Remembered(ends[-1], state, alarms)


def read_windows(workspace: Path, domain: Domain, ends: Sequence[datetime], *, share: float) -> Windows:
    """Return the scored windows of all services of one day, and how places lay when it began. share: `crossing`."""
    parts = [
        _service_windows(what, score_history.read(workspace, what, ends), ends)
        for what in (plan(service, domain.measured) for service in domain.services)
    ]
    count, members = len(ends), _members(workspace, ends[0])
    return Windows(
        tuple(ends),
        tuple(one for part in parts for one in part.series),
        np.concatenate([np.zeros((count, 0)), *(part.scores for part in parts)], axis=1),
        np.concatenate([np.zeros((count, 0), "int64"), *(part.devices for part in parts)], axis=1),
        tuple(one for part in parts for one in part.witnesses),
        np.concatenate([np.zeros((count, 0)), *(part.utilities for part in parts)], axis=1),
        (nesting(members),) * count,
        (crossing(members, share=share),) * count,
    )


@dataclass(frozen=True)
class _Told:
    """What the windows of one service tell, as in Windows. Indicators that no place tells in them are left out."""

    series: list[Series]
    scores: np.ndarray
    devices: np.ndarray
    witnesses: list[Witness]
    utilities: np.ndarray


def _service_windows(what: Plan, rows: pa.Table, ends: Sequence[datetime]) -> _Told:
    moments = np.array([us_of(end) for end in ends])
    line = np.searchsorted(moments, rows["window_end"].cast("int64").to_numpy())
    names = list(zip(rows["scope"].to_pylist(), rows["scope_id"].to_pylist(), strict=True))
    places = sorted(set(names))
    column = {one: at for at, one in enumerate(places)}
    at = np.array([column[one] for one in names], dtype="int64")

    def grid(name: str, absent: float) -> np.ndarray:
        told = np.full((len(ends), len(places)), absent)
        told[line, at] = rows[name].to_numpy(zero_copy_only=False)
        return told

    kqis = [one.id for one in what.service.kqis]
    hung = grid("devices", 0).astype("int64")
    none = np.zeros((len(ends), 0))
    witnesses, utilities = list[Witness](), [none]
    for indicator, kqi in fallen.witnesses_of(what).items():
        if f"u_{indicator}" not in rows.column_names:
            continue  # a terminal tells it of itself, and no place does
        told = grid(f"u_{indicator}", np.nan)
        some = np.flatnonzero(~np.isnan(told).all(axis=0))
        utilities.append(told[:, some])
        witnesses += [Witness(what.service.id, kqi, *places[one], indicator) for one in some]
    return _Told(
        [Series(what.service.id, kqi, *one) for kqi in kqis for one in places],
        np.concatenate([none, *(grid(kqi, np.nan) for kqi in kqis)], axis=1),
        np.concatenate([hung[:, :0], *(hung for _ in kqis)], axis=1),
        witnesses,
        np.concatenate(utilities, axis=1),
    )


def _members(workspace: Path, end: datetime) -> pd.DataFrame:
    """Return MEMBERSHIP as it held when the day of a window began."""
    return membership.held(workspace, start_of(day_of(end)))
