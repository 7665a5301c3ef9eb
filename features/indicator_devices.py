"""The indicators of devices: each looks back over its own last events, some devices at a time."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import duckdb
from tqdm import tqdm

from features import indicator_rows, indicator_sums
from features.duck import listed
from features.indicator_plan import DAY, Plan, start_of
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
    rows = f"SELECT * FROM ({plan.rows_sql(files)}) WHERE scope = 'device'"
    total = connection.execute(
        f"SELECT count(*) FROM read_parquet([{listed(files)}], hive_partitioning = false)"
        " WHERE scope = 'device' AND scope_id IN (SELECT scope_id FROM touched)"
    ).fetchall()[0][0]
    batches = max(1, -(-total // _ROWS))
    for batch in tqdm(range(batches), desc="indicators of devices", delay=2, disable=None):
        part = f"hash(scope_id) % {batches} = {batch} AND scope_id IN (SELECT scope_id FROM touched)"
        yield _compute(connection, plan, f"SELECT * FROM ({rows}) WHERE {part}", span, part)


def _compute(
    connection: duckdb.DuckDBPyConnection, plan: Plan, rows: str, span: indicator_rows.Span, part: str
) -> tuple[int, int]:
    """Compute the windows of some devices. rows: SQL of theirs. part: the SQL condition that they fulfil."""
    step, window = indicator_sums.DEVICE_STEP_S, plan.windows["device"]
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE devices AS SELECT scope_id, (row_number() OVER ())::INTEGER AS id"
        f" FROM (SELECT DISTINCT scope_id FROM ({rows}))"
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE ticked AS SELECT id AS device, (end_s + {step - 1}) // {step} * {step} AS tick,"
        f" counter, bin, sum(n) AS n, sum(d) AS d FROM ({rows}) JOIN devices USING (scope_id) GROUP BY ALL"
    )
    counted = frozenset(
        code for (code,) in connection.execute("SELECT DISTINCT counter FROM ticked").fetchall()
    )
    recent = indicator_sums.recent_sql(window, int(span[0].timestamp()))
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE recent AS SELECT * RENAME (end_s AS tick) FROM ({recent})"
    )
    connection.execute("CREATE OR REPLACE TEMP VIEW effective AS SELECT * FROM recent")
    least = plan.settings.min_samples_at_device_scope
    sql = indicator_rows.cells_sql(plan, "device", counted, 1, ids="devices", at_least=least)
    return indicator_rows.write(connection, plan, "device", span=span, computed=sql, stored=part)


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
        return first
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
