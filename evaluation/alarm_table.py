"""ALARMS: what is wrong with a KQI of a place, since when, how badly, in which step, and of which cause it is one."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal, NamedTuple

import pandas as pd

from features.table import Column, check_table, empty_table

Severity = Literal["minor", "major", "critical"]
SEVERITIES: tuple[Severity, ...] = ("minor", "major", "critical")
OPEN, CLEARED = "open", "cleared"

ALARMS: tuple[Column, ...] = (
    Column("alarm_id", "string", "-", "service/kqi/scope/scope_id/when it was raised: it never changes"),
    Column("service", "string", "-", "id of the service"),
    Column("kqi", "string", "-", "id of the KQI"),
    Column("scope", "string", "-", "the kind of place: cell, tac, app ..."),
    Column("scope_id", "string", "-", "which one"),
    Column("raised", "timestamp", "UTC", "end of the window that raised it"),
    Column("updated", "timestamp", "UTC", "end of the window in which it last grew worse, or changed its cause"),
    Column("cleared", "timestamp", "UTC", "end of the window that cleared it; empty while it is open", empty=True),
    Column("severity", "string", "-", "the worst that it was: minor, major or critical"),
    Column("score", "float64", "1", "KQI score when raised, or when it last got a worse severity; empty: too little of"
        " the KQI is known there", low=0, high=100, empty=True),
    Column("baseline", "float64", "1", "what it usually is then; empty: not known", low=0, high=100, empty=True),
    Column("deviation", "float64", "1", "utility of what fell most, less its baseline in usual deviations, then"),
    Column("siblings", "float64", "1", "the same less what its siblings did; empty: too few of them", empty=True),
    Column("worst_step", "string", "-", "step that owns most of what fell: process/number name", empty=True),
    Column("worst_indicator", "string", "-", "indicator that fell most from its own baseline when raised", empty=True),
    Column("parent", "string", "-", "alarm that stands for its cause; empty: it does so itself", empty=True),
    Column("status", "string", "-", f"{OPEN} or {CLEARED}"),
    Column("devices", "int64", "1", "devices of the service that hung on the place", low=0),
)  # fmt: skip


class Place(NamedTuple):
    """A kind of place, and which one."""

    scope: str
    scope_id: str


class Series(NamedTuple):
    """One KQI of one place."""

    service: str
    kqi: str
    scope: str
    scope_id: str

    @property
    def place(self) -> Place:
        """Where it is."""
        return Place(self.scope, self.scope_id)


class Witness(NamedTuple):
    """One indicator of one place, and the KQI that it speaks for."""

    service: str
    kqi: str
    scope: str
    scope_id: str
    indicator: str

    @property
    def series(self) -> Series:
        """What an alarm that it raises speaks of."""
        return Series(*self[:4])


@dataclass(frozen=True)
class Alarm:
    """One row of ALARMS."""

    alarm_id: str
    service: str
    kqi: str
    scope: str
    scope_id: str
    raised: datetime
    updated: datetime
    cleared: datetime | None
    severity: Severity
    score: float | None
    baseline: float | None
    deviation: float
    siblings: float | None
    worst_step: str | None
    worst_indicator: str | None
    parent: str | None
    status: str
    devices: int

    @property
    def series(self) -> Series:
        """What it speaks of."""
        return Series(self.service, self.kqi, self.scope, self.scope_id)

    @property
    def cause(self) -> str:
        """The id of the alarm that stands for its cause."""
        return self.parent or self.alarm_id


def as_table(alarms: Iterable[Alarm]) -> pd.DataFrame:
    """Return alarms under ALARMS, by when they were raised and id."""
    rows = sorted(alarms, key=lambda one: (one.raised, one.alarm_id))
    if not rows:
        return empty_table(ALARMS)
    frame = pd.DataFrame([asdict(one) for one in rows])
    numbers = ["score", "baseline", "siblings"]
    frame[numbers] = frame[numbers].astype("float64")
    frame["cleared"] = pd.to_datetime(frame["cleared"], utc=True)
    return check_table(frame, ALARMS, table="alarms")


def from_table(frame: pd.DataFrame) -> tuple[Alarm, ...]:
    """Return the alarms of a table under ALARMS, in its order."""

    def plain(value: object) -> object:
        if isinstance(value, pd.Timestamp):
            return value.to_pydatetime()
        return value

    may_lack = ("score", "baseline", "siblings", "worst_step", "worst_indicator", "parent", "cleared")
    found = []
    for row in frame.to_dict("records"):
        told = {str(k): None if k in may_lack and pd.isna(v) else plain(v) for k, v in row.items()}
        found.append(Alarm(**told))  # type: ignore[arg-type]  # the table keeps its contract
    return tuple(found)
