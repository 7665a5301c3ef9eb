"""What windows were made from, what changed since, and which windows a build must look at."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path

import duckdb

from features.days import DAY, EPOCH, MICROSECOND, us_of
from features.duck import listed
from features.windowing import Window, placing


@dataclass(frozen=True)
class Built:
    """lake/windows/built.json: what the rows were made from (features/built.py).

    recipes: of each window, a hash of all that decides a row. created: of the newest rows, ISO 8601. until: the last
    window_end that was asked for, "" for all. sources: the fingerprint of each. devices: whom each spoke of.
    """

    recipes: dict[str, str]
    created: str
    until: str
    sources: dict[str, str]
    devices: dict[str, list[str]]


@dataclass(frozen=True)
class Change:
    """What the rows do not know yet.

    sources: new ones and replaced ones. replaced: those read again with another map or other settings, or gone.
    devices: whom the replaced ones spoke of before. beyond: windows that end later were not asked for before; None
    where all were.
    """

    sources: list[str]
    replaced: list[str]
    devices: list[str]
    beyond: datetime | None

    def first_opened(self, window: Window, until: datetime | None) -> datetime | None:
        """Return the first end of a window that was not asked for before and is now; None where there is none."""
        if self.beyond is None or not window.step_s:
            return None
        step = timedelta(seconds=window.step_s)
        first = EPOCH + ((self.beyond - EPOCH) // step + 1) * step
        return first if until is None or first <= until else None


def since(built: Built, wanted: Mapping[str, str]) -> Change:
    """Return what the rows do not know yet. wanted: the fingerprint of each source of the lake."""
    replaced = sorted(source for source, known in built.sources.items() if wanted.get(source) != known)
    devices = sorted({device for source in replaced for device in built.devices.get(source, [])})
    beyond = datetime.fromisoformat(built.until) if built.until else None
    return Change(sorted(wanted.keys() - built.sources.keys()) + replaced, replaced, devices, beyond)


@dataclass(frozen=True)
class Flows:
    """Where the flows of a lake lie. files: of each source."""

    files: Mapping[str, Sequence[Path]]

    @property
    def every(self) -> str:
        """The SQL of all flows."""
        return self.of(self.files)

    def of(self, sources: Iterable[str]) -> str:
        """Return the SQL of the flows of some sources."""
        return rows(file for source in sources for file in self.files.get(source, []))

    def ended(self, start: datetime, end: datetime | None) -> str:
        """Return the SQL of all flows that ended from one moment on and before another; None: ever after."""
        # A flow lies under its start, less than a day before its end.
        days = (f"date={start - DAY:%F}", f"date={end:%F}" if end else "date=~")
        every = chain.from_iterable(self.files.values())
        near = rows(file for file in every if days[0] <= file.parent.name <= days[1])
        before = f" AND \"end\" < TIMESTAMPTZ '{end.isoformat()}'" if end else ""
        return f"{near} WHERE \"end\" >= TIMESTAMPTZ '{start.isoformat()}'{before}"


def rows(files: Iterable[Path]) -> str:
    """Return the SQL of the flows of files; of the relation `nothing` where there is no file."""
    found = sorted(files)
    return f"SELECT * FROM {parquet(found) if found else 'nothing'}"


def parquet(files: Iterable[Path]) -> str:
    """Return the SQL of a relation of Parquet files of one table, which may have grown columns."""
    return f"read_parquet([{listed(files)}], union_by_name = true, hive_partitioning = false)"


def touch(
    connection: duckdb.DuckDBPyConnection,
    window: Window,
    flows: Flows,
    *,
    change: Change | None,
    until: datetime | None,
) -> str:
    """Make the table `touched` (device_id, window_end in us) of the windows that a build must look at.

    They are those of changed flows, all of the devices of which replaced sources spoke before, and all that end
    between what was asked for before and `until`; without a change, all there are. None ends after `until`. Returns
    the SQL of all flows that can matter to these windows. The connection has the relations `nothing`, and `former` of
    a change's devices.
    """
    read = flows.of(change.sources) if change else flows.every
    if change and change.devices:
        read = f"{read} UNION ALL {flows.every} SEMI JOIN former USING (device_id)"
    ends = f"window_end <= {us_of(until)}" if until else "true"
    places = f"SELECT DISTINCT device_id, window_end FROM ({placing(window)}) WHERE {ends}"
    connection.execute(f"CREATE OR REPLACE TEMP VIEW flows AS {read}")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE touched AS {places}")
    length = timedelta(seconds=window.length_s or 0)
    if first := change.first_opened(window, until) if change else None:
        connection.execute(f"CREATE OR REPLACE TEMP VIEW flows AS {flows.ended(first - length, until)}")
        connection.execute(f"INSERT INTO touched {places} AND window_end >= {us_of(first)}")
    told = connection.execute("SELECT min(window_end), max(window_end) FROM touched").fetchall()[0]
    if told[0] is None:
        return rows([])
    low, high = (EPOCH + int(end) * MICROSECOND for end in told)
    return f"{flows.ended(low - length, high)} AND device_id IN (SELECT device_id FROM touched)"
