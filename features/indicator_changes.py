"""What indicators were made from, and what changed since: the dates and deliveries that a build must look at."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from features import counter_tables, lake, membership, topology
from features.days import DAY, start_of
from features.indicators import Indicator, IndicatorSet

_MAKING = 3  # raised when the code makes other rows of the same counters


@dataclass(frozen=True)
class Built:
    """lake/indicators/built.json: what the rows were made from (features/built.py).

    recipe: a hash of all that decides a row but data. created: of the newest rows, ISO 8601. until: the last
    window_end that was asked for, "" for all. sources: the fingerprint of each delivery of counters. dates: those of
    its counters. stays: of each delivery of MEMBERSHIP its fingerprint and first valid_from. pending: days to be
    computed whole whose windows end after `until`.
    """

    recipe: str
    created: str
    until: str
    sources: dict[str, str]
    dates: dict[str, list[str]]
    stays: dict[str, list[str]]
    pending: list[str]


@dataclass(frozen=True)
class Change:
    """What a build must look at.

    counted: dates of counters that are new, other or gone. added: the deliveries that brought new ones. whole: dates
    of which every window of a place is computed anew, not only those that `added` touches. every_device: so for
    devices. moved: dates of which those windows are that end after a moment: a device hung elsewhere from then on.
    beyond: windows that end later were not asked for before, None where all were; pending: days of which those that
    are stored may be of counters that are gone.
    """

    counted: tuple[date, ...]
    added: tuple[str, ...]
    whole: frozenset[date]
    every_device: bool
    moved: Mapping[date, datetime] = field(default_factory=dict)
    beyond: datetime | None = None
    pending: frozenset[date] = frozenset()

    @property
    def dates(self) -> tuple[date, ...]:
        """The dates whose windows of places may change."""
        return tuple(sorted({*self.counted, *self.whole, *self.moved, *self.pending}))

    def and_also(self, other: "Change") -> "Change":
        """Return what both must look at."""
        opened = [one.beyond for one in (self, other) if one.beyond]
        return Change(
            counted=tuple(sorted({*self.counted, *other.counted})),
            added=tuple(dict.fromkeys([*self.added, *other.added])),
            whole=self.whole | other.whole,
            every_device=self.every_device or other.every_device,
            moved=_earliest([*self.moved.items(), *other.moved.items()]),
            beyond=min(opened, default=None),
            pending=self.pending | other.pending,
        )

    def beyond_end(self, until: datetime | None) -> list[str]:
        """Return the days to be computed whole that a build up to `until` does not finish."""
        days = self.whole | self.pending | set(self.moved)
        return sorted(str(day) for day in days if until and day >= until.date() - DAY)


def present(
    workspace: Path,
    settings: IndicatorSet,
    indicators: Sequence[Indicator],
    *,
    until: datetime | None,
    created: datetime,
) -> Built:
    """Return what rows would be made from now."""
    records = lake.deliveries(workspace, counter_tables.KIND)
    held = lake.deliveries(workspace, membership.KIND)
    return Built(
        recipe=_recipe(settings, indicators),
        created=created.isoformat(),
        until=until.astimezone(UTC).isoformat() if until else "",
        sources={source: record.fingerprint for source, record in records.items()},
        dates={source: _dates(record) for source, record in records.items()},
        stays={source: [record.fingerprint, record.first] for source, record in held.items()},
        pending=[],
    )


def since(built: Built | None, now: Built, workspace: Path) -> Change:
    """Return what changed since the rows were built."""
    everything = {day for days in now.dates.values() for day in days}
    if built is None or built.recipe != now.recipe:
        before = {day for days in built.dates.values() for day in days} if built else set()
        told = _as_dates(everything | before)
        return Change(tuple(sorted(told)), (), told, every_device=True)
    sources = [
        one for one in {**built.sources, **now.sources} if built.sources.get(one) != now.sources.get(one)
    ]
    added = tuple(one for one in sources if one not in built.sources)
    other = {
        day
        for one in sources
        if one in built.sources
        for day in [*built.dates.get(one, []), *now.dates.get(one, [])]
    }
    opened = set()
    if built.until and built.until != now.until:
        last = str(date.fromisoformat(built.until[:10]) - DAY)  # its last window may end at midnight
        opened = {day for day in {*everything, *built.pending} if day >= last}
    counted = _as_dates(other | opened | {day for one in added for day in now.dates[one]})
    replaced, moved = _moved(built, now, workspace)
    return Change(
        counted=tuple(sorted(counted)),
        added=added,
        whole=_as_dates(other) | replaced,
        every_device=bool(other),
        moved=moved,
        beyond=datetime.fromisoformat(built.until) if opened else None,
        pending=_as_dates(built.pending) if opened else frozenset(),
    )


def _moved(built: Built, now: Built, workspace: Path) -> tuple[frozenset[date], Mapping[date, datetime]]:
    """Return the days of counters of which a changed membership may change every window of a place, and of those on
    which it only places devices elsewhere the moment from which on it does.

    Of a delivery that is gone nobody can tell what it changed: the days from its first row on are of the former.
    """
    days = _as_dates(day for told in now.dates.values() for day in told)
    gone = [first for source, (mark, first) in built.stays.items() if now.stays.get(source) != [mark, first]]
    opened = frozenset(day for day in days for first in gone if first and str(day) >= first[:10])
    if set(now.stays) <= set(built.stays):
        return opened, {}
    records = lake.deliveries(workspace, membership.KIND)
    files = {source: [workspace / "lake" / file for file in records[source].files] for source in now.stays}
    before = [file for source in built.stays if source in files for file in files[source]]
    after = [file for held in files.values() for file in held]
    moved = _earliest(
        (day, max(first, start))
        for first, last in membership.moved(before, after)
        for day in days
        if first < (start := start_of(day)) + DAY and last > start
    )
    other = topology.changed(before, after, sorted(moved.keys() - opened))
    return opened | other, {day: moment for day, moment in moved.items() if day not in other | opened}


def _earliest(moments: Iterable[tuple[date, datetime]]) -> dict[date, datetime]:
    """Return the earliest moment of each day."""
    found: dict[date, datetime] = {}
    for day, moment in moments:
        found[day] = min(moment, found.get(day, moment))
    return found


def _as_dates(days: Iterable[str]) -> frozenset[date]:
    return frozenset(map(date.fromisoformat, days))


def _recipe(settings: IndicatorSet, indicators: Sequence[Indicator]) -> str:
    """Return a hash of all that decides a row besides counters and membership."""
    made = [(one.id, one.aggregate.model_dump(), one.granularity, one.min_samples) for one in indicators]
    lengths = {scope: window.model_dump() for scope, window in settings.windows.items()}
    told = [_MAKING, made, lengths, settings.min_samples_at_device_scope]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _dates(record: lake.Delivery) -> list[str]:
    folders = {Path(file).parent.name for file in record.files if file.startswith("counters/")}
    return sorted(name.removeprefix("date=") for name in folders)
