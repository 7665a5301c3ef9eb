"""PLACE_SCORES: the history of the KQI scores of places, one file a window, in WS/scores/service=S/date=D/HHMM.parquet.

A window is scored once, from what was known then: a file that lies there is not made again, so that a monitor called
window by window reads the same as one that is called once. To judge a time anew, remove its files.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from evaluation import place_scores
from evaluation.domain import Domain
from evaluation.monitor_settings import MonitorSettings
from evaluation.place_scores import Asked, PlaceScores
from evaluation.process import ServiceModel
from evaluation.scoring import BEST
from evaluation.scoring_plan import Plan, plan
from features import indicator_tables, membership
from features.days import day_of, file_of, start_of
from features.duck import connect, files_stay, listed
from features.membership import MEMBERSHIP
from features.table import Column, arrow_schema, empty_table
from features.whole_file import parquet_writer

log = logging.getLogger(__name__)
KEYS: tuple[Column, ...] = (
    Column("scope", "string", "-", "the kind of place: cell, tac, fleet, city ..."),
    Column("scope_id", "string", "-", "which one"),
    Column("window_end", "timestamp", "UTC", "the moment that the scores are of"),
    Column("devices", "int64", "1", "devices of the service that hung on it when the day began", low=0),
)


def columns(what: Plan) -> tuple[Column, ...]:
    """Return PLACE_SCORES of a service: keys, a score for each KQI, the utility of each indicator of a step or KQI."""
    kqis = [(one.id, f"score of: {one.name}, over what is known of it") for one in what.service.kqis]
    told = [what.indicators[row] for row in place_scores.told_of(what)]
    utilities = [
        (f"u_{one.id}", f"utility of: {one.name}, of what was told lately, with the benefit of the doubt")
        for one in told
    ]
    numbers = (
        Column(name, "float64", "1", text, low=0.0, high=BEST, empty=True)
        for name, text in (*kqis, *utilities)
    )
    return (*KEYS, *numbers)


def path_of(workspace: Path, service: str, end: datetime) -> Path:
    """Return the file of a service and window."""
    return file_of(workspace / "scores" / f"service={service}", end)


def windows(workspace: Path, *, until: datetime, every_s: int) -> list[datetime]:
    """Return the ends of all windows from the first that any place told until a moment, ascending.

    Raises LookupError where nothing is built.
    """
    newest = min(indicator_tables.newest_end(workspace), until)
    first = _first_day(workspace)
    step = timedelta(seconds=every_s)
    count = int((newest - first) / step)
    return [first + n * step for n in range(1, count + 1)]


def _first_day(workspace: Path) -> datetime:
    root = indicator_tables.root(workspace)
    days = {
        day.name.removeprefix("date=")
        for day in root.glob("scope=*/date=*")
        if day.parent.name != "scope=device"
    }
    if not days:
        raise LookupError(
            f"no indicators of places in the lake of {root}; run iotlens indicators build first"
        )
    return datetime.fromisoformat(min(days)).replace(tzinfo=UTC)


def extend(
    workspace: Path,
    domain: Domain,
    service: ServiceModel,
    ends: Sequence[datetime],
    settings: MonitorSettings,
) -> int:
    """Score the places of a service at each window that is not scored yet; return how many were.

    A file is there whole or not at all.
    """
    what = plan(service, domain.measured)
    missing = [end for end in ends if not path_of(workspace, service.id, end).exists()]
    days: dict[datetime, list[datetime]] = {}
    for end in missing:
        days.setdefault(start_of(day_of(end)), []).append(end)
    rows = _members(workspace, list(days))
    for day, asked in days.items():
        stays = place_scores.members(rows, service.id, day)
        pool, every = timedelta(seconds=settings.pool_s), timedelta(seconds=settings.every_s)
        wanted = Asked(what, asked, stays, settings.min_coverage, pool, every, settings.min_windows)
        scored = list(place_scores.score(workspace, domain, wanted))
        for row, end in enumerate(asked):
            table = _table(what, scored, row, end)
            with parquet_writer(path_of(workspace, service.id, end), table.schema) as writer:
                writer.write_table(table)
        log.info("monitor: %s, %s windows of %s scored", service.id, len(asked), f"{day:%F}")
    return len(missing)


def _members(workspace: Path, days: Sequence[datetime]) -> pd.DataFrame:
    """Return MEMBERSHIP that tells these days: what held then of one, all of several, so that it is read once."""
    if len(days) > 1:
        return membership.rows(workspace)
    return membership.held(workspace, days[0]) if days else empty_table(MEMBERSHIP)


def _table(what: Plan, scored: Sequence[PlaceScores], row: int, end: datetime) -> pa.Table:
    wanted = arrow_schema(columns(what))
    ids = [one for scope in scored for one in scope.ids]
    kqi = np.concatenate([one.kqi[row] for one in scored]).T
    utilities = np.concatenate([one.utilities[row] for one in scored]).T
    cells: list[pa.Array] = [
        pa.array([scope.scope for scope in scored for _ in scope.ids], pa.string()),
        pa.array(ids, pa.string()),
        pa.array([end] * len(ids), pa.timestamp("us", tz="UTC")),
        pa.array(np.concatenate([one.devices for one in scored]), pa.int64()),
        *(pa.array(values, pa.float64(), from_pandas=True) for values in (*kqi, *utilities)),
    ]
    return pa.table(cells, schema=wanted)


def read(workspace: Path, what: Plan, ends: Sequence[datetime]) -> pa.Table:
    """Return PLACE_SCORES of a service at the windows that are scored, by time and place.

    A column that a file lacks, as it was written before places were judged by it, is empty there.
    """
    files = [path for path in (path_of(workspace, what.service.id, end) for end in ends) if path.exists()]
    template = arrow_schema(columns(what)).empty_table()
    if not files:
        return template
    asked = ", ".join(f'"{name}"' for name in template.column_names)
    with files_stay(), connect(threads=1) as connection:
        connection.register("template", template)
        return connection.execute(
            f"SELECT {asked} FROM (SELECT * FROM template UNION ALL BY NAME SELECT * FROM read_parquet("
            f"[{listed(files)}], hive_partitioning = false, union_by_name = true))"
            " ORDER BY window_end, scope, scope_id"
        ).to_arrow_table()
