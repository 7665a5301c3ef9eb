"""The windows of a workspace: built from the flows of its lake, kept version by version, read back.

The rows lie in lake/windows/window=NAME/date=DATE (of window_end), where Feast reads them too. A row whose flows
changed is written again with a new `created`, and its old version stays: what was known when, can be told. A row that
no flow stands behind any more, since its source was read again with another map, was never true: it is taken out.
A window that is now made in another way is computed anew beside its old rows, which stay readable until then.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from features import kept_sql, lake
from features.built import now_after, recall, remember
from features.configuration import find_config, read_config
from features.duck import as_frame, connect, files_stay
from features.flows import FLOWS
from features.table import arrow_schema, empty_table
from features.window_changes import Built, Change, Flows, parquet, since, touch
from features.windowing import (
    CREATED,
    FEATURES,
    GROUPS,
    KEY_COLUMNS,
    KEYS,
    SESSION,
    WINDOWS,
    Window,
    WindowSettings,
    compute,
    device_windows,
    placing,
    steps,
)

__all__ = [
    "FEATURES",
    "GROUPS",
    "SESSION",
    "WINDOWS",
    "Window",
    "WindowSettings",
    "build",
    "device_windows",
    "devices",
    "rows",
]

log = logging.getLogger(__name__)

ON_DISK = (*KEY_COLUMNS, CREATED, *WINDOWS[len(KEY_COLUMNS) :])
BATCH_FLOWS = 200_000  # flows in windows computed at a time: about 1.4 GB with their first packets
_THREADS = 2


@dataclass(frozen=True)
class BuildSummary:
    """What a build did, by window: rows computed, written (new or changed), and taken out."""

    computed: dict[str, int]
    written: dict[str, int]
    removed: dict[str, int]

    def text(self) -> str:
        """Return one line for a person."""
        parts = [
            f"{name} {self.written[name]:,} new or changed of {n:,}" for name, n in self.computed.items()
        ]
        return "windows: " + ", ".join(parts)


@dataclass(frozen=True)
class _Job:
    """One build of one window. change: None to compute every row. until: windows that end later are left; None: none.

    place: where readers look. scratch: a folder that no reader scans.
    """

    window: Window
    change: Change | None
    until: datetime | None
    created: datetime
    flows: Flows
    place: Path
    scratch: Path

    @property
    def folder(self) -> Path:
        """Where rows are written: in place, or beside it where all of them are computed."""
        return self.place if self.change else self.scratch / self.place.name

    @property
    def chosen(self) -> bool:
        """Whether only some windows of the flows at hand are wanted: a session has all flows of its capture."""
        return self.window != SESSION and (self.change is not None or self.until is not None)

    @property
    def idle(self) -> bool:
        """Whether nothing changed: no flow, and no window is asked for that was not before."""
        change = self.change
        return (
            change is not None and not change.sources and change.first_opened(self.window, self.until) is None
        )


def build(workspace: Path, *, window_end: datetime | None = None) -> BuildSummary:
    """Compute the windows that new or replaced sources touch, and write the rows that are new or changed.

    window_end: aware; windows that end later are left to a later build, sessions never. Doing it again writes nothing;
    after an interruption the same call completes it. Raises ValueError where sources were read with different flow
    settings, or with an active timeout longer than the shortest window, or window_end is naive; LookupError where the
    lake holds no source.
    """
    until = _utc(window_end)
    settings = read_config(find_config("windows.yaml", workspace), WindowSettings)
    if not lake.records(workspace):  # before a lake is made where there is none
        raise LookupError(
            f"no source in the lake of {workspace}; run iotlens ingest first, or give another --workspace"
        )
    with lake.writing(workspace) as scratch, kept_sql.remembered(workspace / "lake"):
        records = lake.records(workspace)
        if flow_settings := lake.flow_settings(workspace):
            settings.check_against(flow_settings)
        wanted = {source: record.fingerprint for source, record in records.items()}
        recipes = {window.name: _recipe(window) for window in settings.windows}
        built = recall(_root(workspace), Built)
        former = built.recipes if built else {}
        kept = {name: recipe for name, recipe in recipes.items() if former.get(name) == recipe}
        change, created = None, now_after(built.created if built else None)
        if built:  # remembered, should this build be killed after a swap
            change = since(built, wanted)
            remember(_root(workspace), replace(built, recipes=kept))
        flows = Flows({source: _flow_files(workspace, record) for source, record in records.items()})
        places = [(window, _folder(workspace, window.name)) for window in settings.windows]
        jobs = [
            _Job(one, change if one.name in kept else None, until, created, flows, place, scratch)
            for one, place in places
        ]
        counts = {job.window.name: _build_window(job) for job in jobs}
        _remove_others(workspace, [job.place for job in jobs], scratch)
        asked = until.isoformat() if until else ""
        remember(_root(workspace), Built(recipes, created.isoformat(), asked, wanted, _devices(workspace)))
    computed, written, removed = ({name: each[i] for name, each in counts.items()} for i in range(3))
    return BuildSummary(computed, written, removed)


def _utc(window_end: datetime | None) -> datetime | None:
    if window_end is not None and window_end.tzinfo is None:
        raise ValueError(f"window_end must be an aware datetime, however: {window_end!r}")
    return window_end and window_end.astimezone(UTC)  # days of the lake are told of it


def rows(workspace: Path, window: str) -> pd.DataFrame:
    """Return the newest version of each row of a window, under WINDOWS plus `created`, ordered by the keys.

    Raises OSError where a build takes files away meanwhile; asked again, it answers.
    """
    files = sorted(_folder(workspace, window).rglob("*.parquet"))
    if not files:
        return empty_table(ON_DISK)
    with files_stay(), connect(threads=_THREADS) as connection:
        found = connection.execute(
            f"{_newest(files)} ORDER BY device_id, source, window_end"
        ).to_arrow_table()
    return as_frame(found.cast(arrow_schema(ON_DISK)), ON_DISK)


def devices(workspace: Path, window: str) -> list[str]:
    """Return which devices have a row of a window, sorted. Raises as `rows` does."""
    files = sorted(_folder(workspace, window).rglob("*.parquet"))
    if not files:
        return []
    with files_stay(), connect(threads=_THREADS) as connection:
        told = f"SELECT DISTINCT device_id FROM {parquet(files)} ORDER BY device_id"
        return [device for (device,) in connection.execute(told).fetchall()]


def _newest(files: Iterable[Path], *, where: str = "true") -> str:
    names = ", ".join(f'"{column.name}"' for column in ON_DISK)
    newest = f"row_number() OVER (PARTITION BY {', '.join(KEYS)} ORDER BY created DESC) = 1"
    return f"SELECT {names} FROM {parquet(files)} WHERE {where} QUALIFY {newest}"


def _build_window(job: _Job) -> tuple[int, int, int]:
    """Return the number of rows computed, written, and taken out."""
    if job.idle:
        return 0, 0, 0
    if not job.change:
        log.info("computing every %s window: it is new, or made in another way than before", job.window.name)
    computed = removed = 0
    with connect(threads=_THREADS, scratch=job.scratch) as connection:
        for part in _parts(connection, job):
            table = compute(connection, job.window, touched="touched" if job.chosen else None)
            connection.register("computed", table)
            computed += len(table)
            removed += _take_out(connection, job, part=part)
            _stage(_changed(connection, job), job)
            connection.unregister("computed")
    written = _append(job)
    if not job.change:
        _swap(job)
    return computed, written, removed


def _parts(connection: duckdb.DuckDBPyConnection, job: _Job) -> Iterator[str]:
    """Make `flows`, and `touched` where a device's other windows stay, for one batch of devices after the other.

    Yields the SQL condition that a device_id of the batch fulfils.
    """
    connection.register("nothing", arrow_schema(FLOWS).empty_table())
    if job.change:
        connection.register("replaced", pa.table({"source": pa.array(job.change.replaced, pa.string())}))
        connection.register("former", pa.table({"device_id": pa.array(job.change.devices, pa.string())}))
    if job.chosen:
        read = touch(connection, job.window, job.flows, change=job.change, until=job.until)
    else:
        read = job.flows.of(job.change.sources) if job.change else job.flows.every
    copies = (job.window.length_s or 1) // (job.window.step_s or 1)
    total = connection.execute(f"SELECT count(*) FROM ({read})").fetchall()[0][0]
    batches = max(1, -(-total * copies // BATCH_FLOWS))
    for batch in tqdm(range(batches), desc=f"windows {job.window.name}", delay=2, disable=None):
        part = f"hash(device_id) % {batches} = {batch}"
        connection.execute(f"CREATE OR REPLACE TEMP VIEW flows AS SELECT * FROM ({read}) WHERE {part}")
        yield part


def _changed(connection: duckdb.DuckDBPyConnection, job: _Job) -> pa.Table:
    """Return the rows of `computed` that are not stored yet as they are."""
    told = "SELECT CAST(window_end AS DATE), min(window_end), max(window_end) FROM computed GROUP BY 1"
    dates = connection.execute(told).fetchall()
    files = [file for date, _, _ in dates for file in (job.folder / f"date={date:%F}").glob("*.parquet")]
    if not files:
        return connection.execute("SELECT * FROM computed").to_arrow_table()
    near = " OR ".join(  # Parquet skips by it what cannot be the same
        f"window_end BETWEEN TIMESTAMPTZ '{first.isoformat()}' AND TIMESTAMPTZ '{last.isoformat()}'"
        for _, first, last in dates
    )
    equal = [f'c."{column.name}" IS NOT DISTINCT FROM s."{column.name}"' for column in WINDOWS]
    return connection.execute(
        f"SELECT * FROM computed c WHERE NOT EXISTS"
        f" (SELECT 1 FROM ({_newest(files, where=near)}) s WHERE {' AND '.join(equal)})"
    ).to_arrow_table()


def _take_out(connection: duckdb.DuckDBPyConnection, job: _Job, *, part: str) -> int:
    """Remove the stored rows of this batch of devices that no flow stands behind any more; return how many."""
    if not job.change or not job.change.replaced:
        return 0
    suspect = "device_id IN (FROM former)" if job.chosen else "source IN (FROM replaced)"
    same = " AND ".join(f"c.{key} IS NOT DISTINCT FROM s.{key}" for key in KEYS)
    lost = f"{part} AND {suspect} AND NOT EXISTS (SELECT 1 FROM computed c WHERE {same})"
    gone = 0
    for file in sorted(job.folder.rglob("*.parquet")):
        stored = pq.read_metadata(file).num_rows
        kept = connection.execute(f"SELECT * FROM {parquet([file])} s WHERE NOT ({lost})").to_arrow_table()
        gone += stored - len(kept)
        if not len(kept):
            file.unlink()
        elif len(kept) < stored:
            lake.write_parquet(file, kept.cast(arrow_schema(ON_DISK)))
    return gone


def _stage(table: pa.Table, job: _Job) -> None:
    """Keep the rows of a batch in the scratch folder, by date."""
    created = pa.array([job.created] * len(table), CREATED.arrow)
    stamped = table.append_column(CREATED.name, created).select([column.name for column in ON_DISK])
    dates = pc.strftime(stamped["window_end"], "%Y-%m-%d")
    for date in pc.unique(dates).to_pylist():
        folder = job.scratch / job.window.name / date
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(stamped.filter(pc.equal(dates, date)), folder / f"{uuid4().hex}.parquet")


def _append(job: _Job) -> int:
    """Move the staged rows into the partitions of their dates, one file each, whole or not at all; return how many."""
    written = 0
    for staged in sorted((job.scratch / job.window.name).glob("*")):
        table = pa.concat_tables(pq.read_table(file) for file in sorted(staged.iterdir()))
        order = [(key, "ascending") for key in ("device_id", "source", "window_end")]
        name = f"{job.created:%Y%m%dT%H%M%S}-{uuid4().hex[:8]}.parquet"
        lake.write_parquet(
            job.folder / f"date={staged.name}" / name, table.sort_by(order).cast(arrow_schema(ON_DISK))
        )
        written += len(table)
    return written


def _swap(job: _Job) -> None:
    """Put the folder computed anew in the place of the old one; a kill in between costs the next build another go."""
    if job.place.exists():
        job.place.rename(job.scratch / f"former {job.place.name}")
    if job.folder.exists():
        job.place.parent.mkdir(parents=True, exist_ok=True)
        job.folder.rename(job.place)


def _remove_others(workspace: Path, places: Sequence[Path], scratch: Path) -> None:
    """Take away the windows that windows.yaml no longer has."""
    for folder in _root(workspace).glob("window=*"):
        if folder not in places:
            folder.rename(scratch / f"former {folder.name}")


def _recipe(window: Window) -> str:
    """Return a hash of all that decides the rows of a window: its SQL, and the name and type of each column."""
    told = [repr((column.name, column.dtype, column.empty)) for column in WINDOWS]
    told += [placing(window), *(repr(step) for step in steps(window))]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _flow_files(workspace: Path, record: lake.Source) -> list[Path]:
    return [workspace / "lake" / file for file in record.files if file.startswith("flows/")]


def _root(workspace: Path) -> Path:
    return workspace / "lake" / "windows"


def _folder(workspace: Path, window: str) -> Path:
    return _root(workspace) / f"window={window}"


def _devices(workspace: Path) -> dict[str, list[str]]:
    """Return whom each source speaks of."""
    told = lake.devices(workspace)[["source", "device_id"]].drop_duplicates()
    return {str(source): sorted(ids) for source, ids in told.groupby("source")["device_id"]}
