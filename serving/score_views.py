"""What is known of devices and of the places they hang on, at one moment: read once for each build of the indicators.

A view is held as long as neither the indicators, MEMBERSHIP nor the terminal records change (decision 0016).
"""

import asyncio
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from evaluation import service_scores
from evaluation.domain import Domain
from evaluation.scoring_plan import Plan
from features import indicator_tables, lake, membership, nearest, snapshot
from features.built import FILE
from features.indicators import Indicator
from features.nearest import Told
from features.snapshot import Known, Newest
from serving.problems import Problem

MAX_HELD = 200_000  # devices of one service whose evidence is kept in memory: some 200 MB
MOVES = 10  # rows of MEMBERSHIP for each of them, up to which they are counted at all
MAX_PAST = 8  # views of other moments than the newest; the one asked longest ago is dropped
MAX_READING = 16  # requests in line for what must be read from the lake, before one is turned away

Read = TypeVar("Read")


@dataclass(frozen=True)
class Evidence:
    """What is known of some devices (n). devices: their ids, places and, of their own values, ends of windows.

    told: of each indicator of the plan, in its order.
    """

    devices: Known
    told: Sequence[Told]

    def take(self, rows: np.ndarray) -> "Evidence":
        """Return what is known of some of the devices."""
        picked = pa.array(rows)
        known = self.devices
        return Evidence(
            replace(
                known,
                ids=known.ids.take(picked),
                places={scope: hung.take(picked) for scope, hung in known.places.items()},
                ends={one: ends[rows] for one, ends in known.ends.items()},
                services=None if known.services is None else known.services.take(picked),
            ),
            [Told(*(column[rows] for column in one)) for one in self.told],
        )


@dataclass(frozen=True)
class View:
    """What is known of a service at a moment. around: of each place that tells one of its indicators, by scope.

    rows: by scope, the row of each place in `around`. held: of every device of the service, where they are few
    enough; index: their rows in it.
    """

    plan: Plan
    at: datetime
    simulated: bool
    oldest: timedelta
    around: Mapping[str, Known]
    rows: Mapping[str, Mapping[str, int]]
    held: Evidence | None
    index: Mapping[str, int]

    def of(self, workspace: Path, ids: Sequence[str]) -> Evidence:
        """Return what is known of devices, in their order: what is held, else what the lake has."""
        if self.held is not None and all(one in self.index for one in ids):
            return self.held.take(np.array([self.index[one] for one in ids], dtype="int64"))
        devices = snapshot.some_devices(workspace, ids, measured(self.plan), at=self.at, oldest=self.oldest)
        return _evidence(workspace, self.plan, devices, self.around, Newest(self.at, self.oldest))

    def holds(self, ids: Sequence[str]) -> bool:
        """Return whether the lake need not be asked for these devices."""
        return self.held is not None and all(one in self.index for one in ids)

    def end(self, scope: str, scope_id: str, indicator: str) -> np.datetime64 | None:
        """Return the end of the window in which a place told an indicator."""
        place = self.around.get(scope)
        row = self.rows.get(scope, {}).get(scope_id)
        return None if place is None or row is None else place.ends[indicator][row]


def measured(plan: Plan) -> tuple[Indicator, ...]:
    """Return the indicators of a plan that the network counts; devices tell the others themselves."""
    return tuple(one for one in plan.indicators if isinstance(one, Indicator))


def read_view(workspace: Path, domain: Domain, plan: Plan, at: datetime, *, hold: bool) -> View:
    """Return what is known of a service at a moment. hold: of its devices, too, where they are few enough."""
    ages = service_scores.oldest(plan.service, domain)
    around = nearest.read_places(workspace, measured(plan), at=at, oldest=ages)
    held = _held(workspace, plan, at, ages["device"], around) if hold else None
    return View(
        plan,
        at,
        lake.is_simulated(workspace),
        ages["device"],
        around,
        {scope: _rows(place) for scope, place in around.items()},
        held,
        {} if held is None else _rows(held.devices),
    )


def _rows(known: Known) -> dict[str, int]:
    return {one: row for row, one in enumerate(known.ids.to_pylist())}


def _held(
    workspace: Path, plan: Plan, at: datetime, oldest: timedelta, around: Mapping[str, Known]
) -> Evidence | None:
    """Return what is known of all devices of a service; None where they are more than MAX_HELD."""
    counts = device_counts(workspace, at)
    if counts is None or not 0 < counts.get(plan.service.id, 0) <= MAX_HELD:
        return None
    newest = Newest(at, oldest)
    batches = snapshot.devices(workspace, plan.service.id, measured(plan), newest=newest)
    return _joined([_evidence(workspace, plan, batch, around, newest) for batch in batches])


def device_counts(workspace: Path, at: datetime) -> dict[str, int] | None:
    """Return how many devices each service has; None where MEMBERSHIP is so large that counting would take long."""
    rows = sum(
        pq.read_metadata(file).num_rows for file in membership.files(workspace)
    )  # of the files' footers
    return membership.devices_of_services(workspace, at) if rows <= MOVES * MAX_HELD else None


def _joined(parts: Sequence[Evidence]) -> Evidence:
    known = [one.devices for one in parts]
    first = known[0]
    return Evidence(
        replace(
            first,
            ids=_chained([one.ids for one in known]),
            places={scope: _chained([one.places[scope] for one in known]) for scope in first.places},
            ends=_shared_ends(known),
        ),
        [
            Told(*(np.concatenate(column) for column in zip(*same, strict=True)))
            for same in zip(*(one.told for one in parts), strict=True)
        ],
    )


def _chained(arrays: Sequence[pa.Array]) -> pa.Array:
    return pa.concat_arrays(arrays)


def _shared_ends(known: Sequence[Known]) -> dict[str, np.ndarray]:
    """Return the ends of windows of devices: one array for all indicators, since a device tells one window."""
    names = list(known[0].ends)
    if not names:
        return {}
    whole = np.concatenate([one.ends[names[0]] for one in known])
    return dict.fromkeys(names, whole)


def _evidence(
    workspace: Path, plan: Plan, devices: Known, around: Mapping[str, Known], newest: Newest
) -> Evidence:
    told = service_scores.evidence(workspace, plan.indicators, devices, around, newest)
    return Evidence(replace(devices, values={}, samples={}), told)


@dataclass(frozen=True)
class Stamp:
    """What the lake held when a view was read; another stamp, another view."""

    files: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, workspace: Path) -> "Stamp":
        """Return the stamp of a workspace: three files and folders are asked for their time, none is read."""
        deliveries = workspace / "lake" / "deliveries"
        watched = (
            indicator_tables.root(workspace) / FILE,
            deliveries / membership.KIND,
            deliveries / "terminal",
        )
        return cls(tuple(_told(path) for path in watched))


def _told(path: Path) -> tuple[int, int]:
    try:
        found = os.stat(path)  # noqa: PTH116  # twice as fast as Path.stat, on the road of every question
    except FileNotFoundError:
        return (0, 0)
    return (found.st_mtime_ns, found.st_ino)


class Views:
    """The views of a workspace, and the one thread that reads them; for one event loop."""

    def __init__(self, workspace: Path, domain: Domain, plans: Mapping[str, Plan]) -> None:
        self.workspace, self._domain, self._plans = workspace, domain, plans
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reading")
        self._waiting = 0
        self._stamp = Stamp(())
        self._newest: asyncio.Future[datetime] | None = None
        self._members: asyncio.Future[Mapping[str, str] | None] | None = None
        self._views: OrderedDict[tuple[str, datetime], asyncio.Future[View]] = OrderedDict()

    async def newest(self) -> datetime:
        """Return the end of the newest window. Raises Problem where no indicators are built."""
        self._look()
        if self._newest is None:
            self._newest = self._begin(partial(newest_end, self.workspace))
        try:
            return await asyncio.shield(self._newest)
        except Exception:
            self._newest = None
            raise

    async def view(self, service: str, at: datetime) -> View:
        """Return what is known of a service at a moment; who asks while it is read waits for the same reading."""
        newest = await self.newest()
        key = (service, at)
        if key not in self._views:
            hold = at == newest and "device" in self._plans[service].service.aggregation_keys
            read = partial(read_view, self.workspace, self._domain, self._plans[service], at, hold=hold)
            self._views[key] = self._begin(read)
        self._views.move_to_end(key)
        reading = self._views[key]
        self._drop_the_past(newest)
        try:
            return await asyncio.shield(reading)
        except Exception:
            if self._views.get(key) is reading:
                del self._views[key]
            raise

    def _drop_the_past(self, newest: datetime) -> None:
        """Drop the views asked longest ago, but none of the newest moment, which is dear to read again."""
        past = [key for key in self._views if key[1] != newest]
        for key in past[: max(0, len(past) - MAX_PAST)]:
            del self._views[key]

    async def evidence(self, view: View, ids: Sequence[str]) -> Evidence:
        """Return what is known of devices, from memory or from the lake."""
        if view.holds(ids):
            return view.of(self.workspace, ids)
        return await self._begin(partial(view.of, self.workspace, ids))

    async def services(self, ids: Sequence[str], at: datetime) -> list[str | None]:
        """Return the service that MEMBERSHIP names for each device at a moment; None where it names none."""
        if at == await self.newest():
            if self._members is None:
                self._members = self._begin(partial(held_members, self.workspace, at))
            try:
                members = await asyncio.shield(self._members)
            except Exception:
                self._members = None
                raise
            if members is not None:
                return [members.get(one) for one in ids]
        return await self._begin(partial(services_of, self.workspace, ids, at))

    def __len__(self) -> int:
        """Return how many views are held."""
        return len(self._views)

    def close(self) -> None:
        """Let the reading at hand end, and begin no more."""
        self._thread.shutdown(cancel_futures=True)

    def _look(self) -> None:
        """Forget what was read, where the lake holds something else by now."""
        now = Stamp.of(self.workspace)
        if now != self._stamp:
            self._stamp, self._newest, self._members = now, None, None
            self._views.clear()

    def _begin(self, read: Callable[[], Read]) -> asyncio.Future[Read]:
        if self._waiting >= MAX_READING:
            detail = f"{MAX_READING} requests wait already for what must be read from the lake"
            raise Problem("overloaded", detail, headers={"Retry-After": "1"})
        self._waiting += 1
        begun = asyncio.get_running_loop().run_in_executor(self._thread, partial(_twice, read))
        begun.add_done_callback(self._ended)
        return begun

    def _ended(self, reading: Awaitable[object]) -> None:
        self._waiting -= 1
        if isinstance(reading, asyncio.Future) and not reading.cancelled():
            reading.exception()  # who waits for it is told; nobody may


def _twice(read: Callable[[], Read]) -> Read:
    """Read again where a build took files away meanwhile."""
    try:
        return read()
    except OSError:
        return read()


def newest_end(workspace: Path) -> datetime:
    """Return the end of the newest window. Raises Problem where there is none."""
    try:
        return indicator_tables.newest_end(workspace)
    except LookupError as error:
        rule = "devices are scored by the indicators of the workspace"
        detail = f"{rule}, but none are built; run `iotlens indicators build`, or give their values inline"
        raise Problem("not-ready", detail) from error


def held_members(workspace: Path, at: datetime) -> dict[str, str] | None:
    """Return the service of each device of MEMBERSHIP at a moment; None where it is too large to be held."""
    counts = device_counts(workspace, at)
    if counts is None or sum(counts.values()) > 2 * MAX_HELD:
        return None
    return membership.services(workspace, at)


def services_of(workspace: Path, ids: Sequence[str], at: datetime) -> list[str | None]:
    """Return the service of some devices at a moment, from the lake."""
    asked = pd.DataFrame({"device_id": pd.Series(ids, dtype="string"), "event_timestamp": pd.Timestamp(at)})
    told = membership.as_of(asked, workspace)["service"]
    return [None if pd.isna(one) else str(one) for one in told]
