"""The indicators of devices: each looks back over its own last events, some devices at a time."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
from tqdm import tqdm

from features import indicator_rows, indicator_sums, sketch
from features.days import DAY, start_of
from features.duck import listed
from features.indicator_plan import Plan
from features.indicator_tables import folder

_ROWS = 4_000_000  # of COUNTERS at a time


def build(connection: duckdb.DuckDBPyConnection, plan: Plan) -> Iterator[tuple[int, int]]:
    """Compute the windows of devices that changed counters matter to; yield how many rows were computed and written."""
    window = plan.windows.get("device")
    if window is None or not plan.change.counted:
        return
    since = _open_touched(connection, plan)
    if since is None:
        return
    back = timedelta(seconds=window.length_s)
    span = (since, start_of(plan.change.counted[-1]) + back + DAY)
    days = [day for day in plan.files if (since - back - DAY).date() <= day <= span[1].date()]
    files = [file for day in days for file in plan.files[day]]
    if not files:
        return
    for part, rows in _parts(connection, plan, files):
        yield _compute(connection, plan, rows, span, part)


def _parts(
    connection: duckdb.DuckDBPyConnection, plan: Plan, files: Sequence[Path]
) -> Iterator[tuple[str, str]]:
    """Make `devices` (scope_id, id) of those touched; yield some at a time, as an SQL condition, and their rows.

    The files are read once, whatever the number of parts: the rows that matter are put aside, each part on its own.
    """
    aside, step = plan.scratch / "devices", indicator_sums.DEVICE_STEP_S
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE devices AS SELECT scope_id, (row_number() OVER ())::INTEGER AS id"
        " FROM (SELECT DISTINCT scope_id FROM touched)"
    )
    told = connection.execute(f"SELECT sum(num_rows) FROM parquet_file_metadata([{listed(files)}])")
    parts = max(1, -(-int(told.fetchall()[0][0]) // _ROWS))
    connection.execute(
        f"COPY (SELECT id % {parts} AS part, id AS device, (end_s + {step - 1}) // {step} * {step} AS tick,"
        f" counter, sketch, n, d FROM ({plan.rows_sql(files)}) JOIN devices USING (scope_id) WHERE scope = 'device')"
        f" TO {listed([aside])} (FORMAT parquet, PARTITION_BY (part), COMPRESSION lz4)"
    )
    for first, last in tqdm(_spans(aside, parts), desc="indicators of devices", delay=2, disable=None):
        held = [file for part in range(first, last) for file in aside.glob(f"part={part}/*.parquet")]
        rows = f"read_parquet([{listed(held)}], hive_partitioning = false)" if held else _NONE
        yield (
            f"scope_id IN (SELECT scope_id FROM devices WHERE id % {parts} >= {first} AND id % {parts} < {last})",
            f"SELECT device, tick, counter, sketch, n, d FROM {rows}",
        )


_NONE = (
    "(SELECT 0::INTEGER AS device, 0::BIGINT AS tick, 0::SMALLINT AS counter, NULL::BIGINT[] AS sketch,"
    " 0::DOUBLE AS n, 0::DOUBLE AS d WHERE false)"
)


def _spans(aside: Path, parts: int) -> list[tuple[int, int]]:
    """Return from where to where the parts that lie aside are computed together: so many that their rows are few."""
    spans, first, rows = [], 0, 0
    for part in range(parts):
        held = sum(pq.read_metadata(file).num_rows for file in aside.glob(f"part={part}/*.parquet"))
        if part > first and rows + held > _ROWS:
            spans.append((first, part))
            first, rows = part, 0
        rows += held
    return [*spans, (first, parts)]


def _compute(
    connection: duckdb.DuckDBPyConnection, plan: Plan, rows: str, span: indicator_rows.Span, part: str
) -> tuple[int, int]:
    """Compute the windows of some devices. rows: SQL of theirs. part: the SQL condition that they fulfil."""
    window = plan.windows["device"]
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE ticked AS SELECT device, tick, counter, {sketch.LISTED_SQL} AS sketch,"
        f" sum(n) AS n, sum(d) AS d FROM ({rows}) GROUP BY device, tick, counter"
    )
    counted = frozenset(
        code for (code,) in connection.execute("SELECT DISTINCT counter FROM ticked").fetchall()
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE asked AS SELECT {int(span[0].timestamp())}::BIGINT AS since_s"
    )
    recent = indicator_sums.recent_sql(window)
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW effective AS SELECT * RENAME (end_s AS tick) FROM ({recent})"
    )
    least = plan.settings.min_samples_at_device_scope
    sql = indicator_rows.cells_sql(plan, "device", indicator_rows.Counted(counted, 1, least), ids="devices")
    return indicator_rows.write(connection, plan, "device", indicator_rows.Part([span], part), computed=sql)


def _open_touched(connection: duckdb.DuckDBPyConnection, plan: Plan) -> datetime | None:
    """Make `touched`, the devices whose windows may have changed; return the time after which these end, if any do."""
    change, step = plan.change, indicator_sums.DEVICE_STEP_S
    first = start_of(change.counted[0])
    everyone = [file for day in change.counted for file in plan.files.get(day, [])]
    if change.every_device:
        stored = sorted(folder(plan.workspace, "device").rglob("*.parquet"))
        told = [
            f"SELECT DISTINCT scope_id FROM read_parquet([{listed(files)}], union_by_name = true) {where}"
            for files, where in ((everyone, "WHERE scope = 'device'"), (stored, ""))
            if files
        ]
        union = " UNION ".join(told) or "SELECT CAST(NULL AS VARCHAR) AS scope_id WHERE false"
        connection.execute(f"CREATE OR REPLACE TEMP TABLE touched AS {union}")
        ((count,),) = connection.execute("SELECT count(*) FROM touched").fetchall()
        return first if count else None
    end = f"(epoch_us(window_start) // 1000000 + window_s + {step - 1}) // {step} * {step}"
    read = "SELECT scope_id, {end} AS end_s FROM read_parquet([{files}], hive_partitioning = false)"
    added = [file for day in change.counted for file in plan.added.get(day, [])]
    told = [read.format(end=end, files=listed(added)) + " WHERE scope = 'device'"] if added else []
    if change.beyond and everyone:
        later = f" WHERE scope = 'device' AND {end} > {change.beyond.timestamp()}"
        told.append(read.format(end=end, files=listed(everyone)) + later)
    stored = sorted(folder(plan.workspace, "device").rglob("*.parquet")) if change.pending else []
    if change.beyond and stored:
        held = f"read_parquet([{listed(stored)}], union_by_name = true, hive_partitioning = false)"
        moment = "epoch(window_end)::BIGINT"
        told.append(
            f"SELECT scope_id, {moment} AS end_s FROM {held} WHERE {moment} > {change.beyond.timestamp()}"
        )
    if not told:
        return None
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE touched AS"
        f" SELECT scope_id, min(end_s) AS end_s FROM ({' UNION ALL '.join(told)}) GROUP BY scope_id"
    )
    ((earliest,),) = connection.execute("SELECT min(end_s) FROM touched").fetchall()
    return None if earliest is None else datetime.fromtimestamp(earliest - step, UTC)
