"""The windows of a workspace: built from the flows of its lake, kept version by version, read back.

The rows lie in lake/windows/window=NAME/date=DATE, where Feast reads them too. A row whose flows changed is written
again with a new `created`, and its old version stays: what was known when, can be told. Rows of flows that are no
longer there (their source was read again with another device map) are taken out.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from features import lake
from features.configuration import find_config, read_config
from features.flows import FlowSettings
from features.table import arrow_schema, check_table
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
    connect,
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
    "rows",
]

log = logging.getLogger(__name__)

ON_DISK = (*KEY_COLUMNS, CREATED, *WINDOWS[len(KEY_COLUMNS) :])
BATCH_FLOWS = 1_000_000  # flows computed at a time: about 2 GB with their first packets
_TOLERANCE = 1e-9  # two sums of the same real numbers differ by less
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
class _Built:
    """lake/windows/built.json: what the rows were made from. sources: fingerprint of each. recipe: hash of the code."""

    recipe: str
    sources: dict[str, str]


@dataclass(frozen=True)
class _Job:
    """One build of one window. sources: the only ones that are new; None to compute every row anew."""

    workspace: Path
    window: Window
    created: datetime
    sources: frozenset[str] | None


def build(workspace: Path) -> BuildSummary:
    """Compute the windows that new or replaced sources touch, and write the rows that are new or changed.

    Doing it again writes nothing; after an interruption the same call completes it. Raises ValueError where the flows'
    active timeout is longer than the shortest window, LookupError where the lake holds no source.
    """
    settings = read_config(find_config("windows.yaml", workspace), WindowSettings)
    settings.check_against(read_config(find_config("flows.yaml", workspace), FlowSettings))
    with lake.writing(workspace):
        wanted = {name: record.fingerprint for name, record in lake.records(workspace).items()}
        if not wanted:
            raise LookupError(f"no source in the lake of {workspace}; run iotlens ingest first")
        fresh = _fresh(workspace, wanted, recipe=_recipe(settings))
        created = datetime.now(UTC)
        counts = {
            window.name: _build_window(_Job(workspace, window, created, fresh)) for window in settings.windows
        }
        _remember(workspace, _Built(_recipe(settings), wanted))
    computed, written, removed = ({name: each[i] for name, each in counts.items()} for i in range(3))
    return BuildSummary(computed, written, removed)


def rows(workspace: Path, window: str) -> pd.DataFrame:
    """Return the newest version of each row of a window, under WINDOWS plus `created`, ordered by the keys."""
    folder = _folder(workspace, window)
    if not any(folder.rglob("*.parquet")):
        return pd.DataFrame({column.name: [] for column in ON_DISK})
    with connect(threads=_THREADS) as connection:
        found = connection.execute(
            f"SELECT * FROM ({_newest(folder)}) ORDER BY device_id, source, window_end"
        ).to_arrow_table()
    return check_table(found.to_pandas(), ON_DISK, table=f"windows/{window}")


def _newest(folder: Path) -> str:
    names = ", ".join(f'"{column.name}"' for column in ON_DISK)
    stored = f"read_parquet('{_quoted(folder)}/*/*.parquet', union_by_name = true, hive_partitioning = false)"
    return (
        f"SELECT {names} FROM {stored}"
        f" QUALIFY row_number() OVER (PARTITION BY {', '.join(KEYS)} ORDER BY created DESC) = 1"
    )


def _fresh(workspace: Path, wanted: dict[str, str], *, recipe: str) -> frozenset[str] | None:
    """Return the sources whose flows are not in any row yet; None where rows may have to go, so all are computed."""
    built = _built(workspace)
    if built is None or built.recipe != recipe:
        log.info(
            "computing every window anew: the features or the windows are other ones, or there are none yet"
        )
        _state(workspace).unlink(missing_ok=True)
        shutil.rmtree(workspace / "lake" / "windows", ignore_errors=True)
        return None
    if any(wanted.get(source) != fingerprint for source, fingerprint in built.sources.items()):
        log.info("computing every window anew: a source was read again with another map or other settings")
        return None
    return frozenset(wanted.keys() - built.sources.keys())


def _build_window(job: _Job) -> tuple[int, int, int]:
    if job.sources is not None and not job.sources:
        return 0, 0, 0
    computed = written = removed = 0
    with connect(threads=_THREADS) as connection:
        for part in _parts(connection, job):
            table = compute(connection, job.window, touched="touched" if _hops(job) else None)
            connection.register("computed", table)
            computed += len(table)
            removed += _take_out(connection, job, part) if job.sources is None else 0
            written += _append(job, _changed(connection, job))
            connection.unregister("computed")
    return computed, written, removed


def _hops(job: _Job) -> bool:
    """Say whether the job wants only some windows of the flows it reads."""
    return job.sources is not None and job.window != SESSION


def _parts(connection: duckdb.DuckDBPyConnection, job: _Job) -> Iterator[str]:
    """Make `flows`, and `touched` where it is needed, for one batch of devices after the other.

    Yields the SQL condition that a device_id of the batch fulfils.
    """
    files = [str(file) for file in lake.flows(job.workspace)]
    if not files:
        return
    read = f"read_parquet({files!r}, hive_partitioning = false)"
    mine = f"source IN ({_listed(job.sources)})" if job.sources is not None else "true"
    if _hops(job):
        connection.execute(f"CREATE TEMP VIEW flows AS SELECT * FROM {read} WHERE {mine}")
        connection.execute(
            f"CREATE TEMP TABLE touched AS SELECT DISTINCT device_id, window_end FROM ({placing(job.window)})"
        )
        mine = "device_id IN (SELECT device_id FROM touched) AND " + _near_touched(connection, job.window)
    total = connection.execute(f"SELECT count(*) FROM {read} WHERE {mine}").fetchall()[0][0]
    batches = -(-total // BATCH_FLOWS)
    for batch in tqdm(range(batches), desc=f"windows {job.window.name}", delay=2, disable=None):
        part = f"hash(device_id) % {batches} = {batch}"
        connection.execute(
            f"CREATE OR REPLACE TEMP VIEW flows AS SELECT * FROM {read} WHERE {mine} AND {part}"
        )
        yield part


def _near_touched(connection: duckdb.DuckDBPyConnection, window: Window) -> str:
    """Return the SQL that keeps the flows which can end in a touched window, by time alone."""
    low, high = connection.execute("SELECT min(window_end), max(window_end) FROM touched").fetchall()[0]
    if low is None:
        return "false"
    return f'epoch_us("end") >= {low - (window.length_s or 0) * 1_000_000} AND epoch_us("end") < {high}'


def _changed(connection: duckdb.DuckDBPyConnection, job: _Job) -> pa.Table:
    """Return the rows of `computed` that are not stored yet as they are."""
    folder = _folder(job.workspace, job.window.name)
    if not any(folder.rglob("*.parquet")):
        return connection.execute("SELECT * FROM computed").to_arrow_table()
    same = " AND ".join(
        [*(f"c.{key} IS NOT DISTINCT FROM s.{key}" for key in KEYS), *map(_same, FEATURES_BY_NAME)]
    )
    return connection.execute(
        f"SELECT * FROM computed c WHERE NOT EXISTS (SELECT 1 FROM ({_newest(folder)}) s WHERE {same})"
    ).to_arrow_table()


FEATURES_BY_NAME = tuple(feature.column.name for feature in FEATURES)


def _same(name: str) -> str:
    a, b = f'c."{name}"', f's."{name}"'
    return f"({a} IS NOT DISTINCT FROM {b} OR abs({a} - {b}) <= {_TOLERANCE} * greatest(abs({a}), abs({b})))"


def _take_out(connection: duckdb.DuckDBPyConnection, job: _Job, part: str) -> int:
    """Remove the stored rows of this batch of devices that no flow stands behind any more; return how many."""
    gone, folder = 0, _folder(job.workspace, job.window.name)
    same = " AND ".join(f"c.{key} IS NOT DISTINCT FROM s.{key}" for key in KEYS)
    lost = f"{part} AND NOT EXISTS (SELECT 1 FROM computed c WHERE {same})"
    for file in sorted(folder.rglob("*.parquet")):
        stored = f"read_parquet('{_quoted(file)}', hive_partitioning = false) s"
        kept = connection.execute(f"SELECT * FROM {stored} WHERE NOT ({lost})").to_arrow_table()
        before = pq.read_metadata(file).num_rows
        gone += before - len(kept)
        if not len(kept):
            file.unlink()
        elif len(kept) < before:
            lake.write_parquet(file, kept.cast(arrow_schema(ON_DISK)))
    return gone


def _append(job: _Job, table: pa.Table) -> int:
    """Write rows into the partitions of their dates, each file whole or not at all."""
    if not len(table):
        return 0
    created = pa.array([job.created] * len(table), CREATED.arrow)
    stamped = table.append_column(CREATED.name, created).select([column.name for column in ON_DISK])
    dates = stamped["window_end"].to_pandas().dt.strftime("%F").to_numpy()
    for date in sorted(set(dates)):
        place = _folder(job.workspace, job.window.name) / f"date={date}"
        name = f"{job.created:%Y%m%dT%H%M%S}-{uuid4().hex[:8]}.parquet"
        lake.write_parquet(place / name, stamped.filter(pa.array(dates == date)).cast(arrow_schema(ON_DISK)))
    return len(table)


def _recipe(settings: WindowSettings) -> str:
    """Return a hash of all that decides the rows: the windows, and each feature's declaration and SQL."""
    told = [settings.model_dump_json(), *(repr(column) for column in WINDOWS)]
    told += [repr(part) for window in settings.windows for part in (placing(window), *steps(window))]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _folder(workspace: Path, window: str) -> Path:
    return workspace / "lake" / "windows" / f"window={window}"


def _state(workspace: Path) -> Path:
    return workspace / "lake" / "windows" / "built.json"


def _built(workspace: Path) -> _Built | None:
    path = _state(workspace)
    return _Built(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _remember(workspace: Path, built: _Built) -> None:
    path = _state(workspace)
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_suffix(".new")
    written.write_text(json.dumps({"recipe": built.recipe, "sources": built.sources}, indent=1) + "\n")
    written.replace(path)


def _listed(names: Sequence[str] | frozenset[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
