"""The values of every scope and window, built from the counters of the lake, kept version by version.

A row whose counters changed is written again with a new `created`, and its old version stays: what was known when,
can be told.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from features import counter_tables, indicator_sums, lake, membership
from features.built import now_after, recall, remember
from features.duck import connect, listed
from features.indicator_changes import Built, Change, present, since
from features.indicator_tables import folder, newest_sql, root, wide_columns
from features.indicators import Indicator, IndicatorSet, ScopeWindow, all_indicators, read_indicators
from features.table import arrow_schema
from features.windowing import CREATED

_DAY = timedelta(days=1)
_DEVICE_ROWS = 4_000_000  # rows of COUNTERS in the windows of devices computed at a time
_SLICE_ROWS = 2_000_000  # rows of a day that windows are computed of at a time
_MEMORY = "2GB"
_Span = tuple[datetime, datetime]  # windows end after the first, up to the last


@dataclass(frozen=True)
class BuildSummary:
    """What a build did, by scope: rows computed, and written since they are new or changed."""

    computed: dict[str, int]
    written: dict[str, int]

    def text(self) -> str:
        """Return one line for a person."""
        parts = [
            f"{scope} {self.written[scope]:,} new or changed of {n:,}" for scope, n in self.computed.items()
        ]
        return "indicators: " + (", ".join(parts) or "nothing new")


@dataclass(frozen=True)
class _Plan:
    """One build. until: no window ends later."""

    workspace: Path
    scratch: Path
    settings: IndicatorSet
    indicators: tuple[Indicator, ...]
    created: datetime
    until: datetime | None
    change: Change

    @property
    def windows(self) -> Mapping[str, ScopeWindow]:
        """The window of each scope."""
        return {str(scope): window for scope, window in self.settings.windows.items()}


def build(workspace: Path, *, window_end: datetime | None = None) -> BuildSummary:
    """Compute the windows whose counters, membership or definition changed, and write the rows that are new or changed.

    window_end: aware; windows that end later are left to a later build. Doing it again writes nothing; after an
    interruption the same call completes it. Raises LookupError where the lake holds no counters, ValueError for
    windows that no day is a multiple of.
    """
    if window_end is not None and window_end.tzinfo is None:
        raise ValueError(f"window_end must be an aware datetime, however: {window_end!r}")
    settings, indicators = read_indicators(workspace), all_indicators(workspace)
    _check(settings)
    with lake.writing(workspace) as scratch:
        built = recall(root(workspace), Built)
        created = now_after(built.created if built else None)
        now = present(workspace, settings, indicators, until=window_end, created=created)
        plan = _Plan(workspace, scratch, settings, indicators, created, window_end, since(built, now))
        computed, written = _compute(plan)
        remember(root(workspace), now)
    return BuildSummary(computed, written)


def _check(settings: IndicatorSet) -> None:
    for scope, window in settings.windows.items():
        if scope != "device" and 86_400 % window.length_s:
            raise ValueError(f"windows.{scope}.length_s must divide a day, but is {window.length_s}")


def _compute(plan: _Plan) -> tuple[dict[str, int], dict[str, int]]:
    computed: dict[str, int] = {}
    written: dict[str, int] = {}

    def add(scope: str, counts: tuple[int, int]) -> None:
        computed[scope] = computed.get(scope, 0) + counts[0]
        written[scope] = written.get(scope, 0) + counts[1]

    with connect(threads=2, scratch=plan.scratch) as connection:
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        codes = indicator_sums.codes_of(plan.indicators)
        connection.register("codes", pa.table({"counter": list(codes), "code": list(codes.values())}))
        _open_membership(connection, plan)
        for day in tqdm(plan.change.dates, desc="indicators", delay=2, disable=None):
            present = _open_day(connection, plan, day)
            for scope in plan.windows:
                for span in _slices(connection, plan, scope, day):
                    add(scope, _one_scope(connection, plan, scope, present, span))
        for counts in _devices(connection, plan):
            add("device", counts)
    return {scope: n for scope, n in computed.items() if n}, written


def _open_membership(connection: duckdb.DuckDBPyConnection, plan: _Plan) -> None:
    """Make `stays`: MEMBERSHIP as it holds, its times in microseconds."""
    found = membership.files(plan.workspace)
    columns = ", ".join(f"CAST(NULL AS VARCHAR) AS {name}" for name in ("device_id", *membership.PLACES))
    nobody = f"SELECT {columns}, now() AS valid_from, now() AS valid_to WHERE false"
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE stays AS SELECT * REPLACE (epoch_us(valid_from) AS valid_from,"
        f" epoch_us(valid_to) AS valid_to) FROM ({membership.stays_sql(found) if found else nobody})"
    )


def _rows_sql(plan: _Plan, days: Iterable[date]) -> str:
    """Return the SQL of the rows of counters of some days: scope, scope_id, end_s, counter, bin, n, d."""
    folders = {f"date={day}" for day in days}
    files = [file for file in counter_tables.files(plan.workspace) if file.parent.name in folders]
    end = "epoch(window_start)::BIGINT + window_s AS end_s"
    columns = f"scope, scope_id, {end}, code AS counter, bin, numerator AS n, denominator AS d"
    if not files:
        texts = "'' AS scope, '' AS scope_id, 0::BIGINT AS end_s, 0::BIGINT AS counter, 0::BIGINT AS bin"
        return f"SELECT {texts}, 0.0::DOUBLE AS n, 0.0::DOUBLE AS d WHERE false"
    return f"SELECT {columns} FROM ({counter_tables.visible_sql(plan.workspace, files)}) JOIN codes USING (counter)"


def _open_day(connection: duckdb.DuckDBPyConnection, plan: _Plan, day: date) -> dict[str, frozenset[int]]:
    """Make `ticked`, the rows of a day that no device counted, and `placed`, the others; return the codes by scope."""
    tick = indicator_sums.tick_s(plan.windows)
    scopes = [scope for scope in plan.windows if scope != "device"]
    connection.execute(f"CREATE OR REPLACE TEMP VIEW counted AS {_rows_sql(plan, [day])}")
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE ticked AS SELECT scope, scope_id, counter, bin, n, d,"
        f" (end_s + {tick - 1}) // {tick} * {tick} AS tick FROM counted WHERE scope <> 'device'"
    )
    held = [scope for scope in scopes if scope in membership.PLACES]
    placed = indicator_sums.place_sql(tuple(held), tick)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE placed AS {placed}")
    _open_topology(connection, day)
    told = connection.execute(
        "SELECT scope, list(DISTINCT counter) FROM ticked GROUP BY scope"
        " UNION ALL SELECT 'device', list(DISTINCT counter) FROM placed HAVING count(*) > 0"
    ).fetchall()
    return {str(scope): frozenset(found) for scope, found in told}


def _open_topology(connection: duckdb.DuckDBPyConnection, day: date) -> None:
    """Make `cells`, `tacs` and `cities`: what each of them lay in that day, as its newest device tells."""
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    for table, scope, above in (
        ("cells", "cell", ("tac", "mme", "city", "province")),
        ("tacs", "tac", ("mme",)),
        ("cities", "city", ("province",)),
    ):
        told = ", ".join(f"arg_max({name}, (valid_from, {name})) AS {name}" for name in above)
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT {scope} AS id, {told} FROM stays"
            f" WHERE {scope} IS NOT NULL AND valid_from < {(start + 86_400) * 1_000_000}"
            f" AND valid_to > {start * 1_000_000} GROUP BY {scope}"
        )


_ABOVE = {  # the table that tells where a scope lies, and what it tells
    "cell": ("cells", ("tac", "mme", "city", "province")),
    "tac": ("tacs", ("mme",)),
    "city": ("cities", ("province",)),
}


def _leaf_sql(scope: str, present: Iterable[str]) -> str:
    """Return the SQL of the rows that feed a scope, with the id of each place on the way that it counts in."""
    chain = indicator_sums.chain_of(scope)
    places = [one for one in chain if one != "device"]
    parts = []
    for below in [one for one in chain if one in present]:
        table, above = _ABOVE.get(below, ("", ()))
        ids = {below: "scope_id", **({one: f"{table}.{one}" for one in above} if below != scope else {})}
        if below == "device":
            ids = {one: one for one in places}
        told = ", ".join(f"{ids.get(one, 'CAST(NULL AS VARCHAR)')} AS {one}" for one in places)
        rows = "placed" if below == "device" else "ticked"
        where = "" if below == "device" else f" WHERE scope = '{below}'"
        join = f" JOIN {table} ON {table}.id = scope_id" if below not in ("device", scope) else ""
        parts.append(f"SELECT '{below}' AS scope, tick, counter, bin, n, d, {told} FROM {rows}{join}{where}")
    return " UNION ALL ".join(parts)


def _one_scope(
    connection: duckdb.DuckDBPyConnection,
    plan: _Plan,
    scope: str,
    present: Mapping[str, frozenset[int]],
    span: _Span,
) -> tuple[int, int]:
    """Compute a scope's windows of a day; return the number of rows computed, and written."""
    wanted = indicator_sums.indicators_of(scope, plan.indicators)
    feeding = [one for one in (scope, *indicator_sums.BELOW.get(scope, ())) if one in present]
    if not wanted:
        return 0, 0
    if not feeding:
        return _write(connection, plan, scope, wanted, span=span, computed="")
    connection.execute(
        f"CREATE OR REPLACE TEMP VIEW leaf AS SELECT * FROM ({_leaf_sql(scope, feeding)}){_within(span)}"
    )
    windows, codes = tuple(plan.windows.items()), indicator_sums.codes_of(plan.indicators)
    counted = frozenset[int]().union(*(present[one] for one in feeding))
    made = tuple(one for one in wanted if codes[one.counter] in counted)
    if not made:
        return _write(connection, plan, scope, wanted, span=span, computed="")
    mattering = frozenset(codes[one.counter] for one in made)
    sums = indicator_sums.target_sql(scope, mattering, windows, frozenset(feeding))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE sums AS {sums}")  # read three times
    sql = indicator_sums.values_sql(made, tuple(codes.items()))
    rows = f"SELECT *{_absent(one for one in wanted if one not in made)} FROM ({sql})"
    return _write(connection, plan, scope, wanted, span=span, computed=rows)


def _slices(connection: duckdb.DuckDBPyConnection, plan: _Plan, scope: str, day: date) -> Iterable[_Span]:
    """Yield the parts of a day that a scope's windows are computed in: few rows at a time need little memory."""
    if scope == "device":
        return
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    rows = sum(
        connection.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0] for name in ("ticked", "placed")
    )
    parts = [n for n in (1, 2, 3, 4, 6, 8, 12, 24) if 86_400 // n % plan.windows[scope].length_s == 0]
    count = next((n for n in parts if rows <= n * _SLICE_ROWS), parts[-1])
    for number in range(count):
        yield start + _DAY / count * number, start + _DAY / count * (number + 1)


def _within(span: _Span) -> str:
    first, last = (int(moment.timestamp()) for moment in span)
    return f" WHERE tick > {first} AND tick <= {last}"


def _absent(indicators: Iterable[Indicator]) -> str:
    """Return the SQL of the cells of indicators that nothing was counted for: no evidence, of no samples."""
    return "".join(f", CAST(NULL AS DOUBLE) AS {one.id}, 0.0 AS {one.id}__samples" for one in indicators)


def _devices(connection: duckdb.DuckDBPyConnection, plan: _Plan) -> Iterable[tuple[int, int]]:
    """Compute the windows of devices that changed counters can matter to, batch by batch; yield the counts."""
    window = plan.windows.get("device")
    wanted = indicator_sums.indicators_of("device", plan.indicators)
    if window is None or not plan.change.dates or not wanted:
        return
    back = timedelta(seconds=window.length_s)
    first, last = plan.change.dates[0], plan.change.dates[-1] + back
    days = [first - back + _DAY * n for n in range((last - first + back).days + 1)]
    rows = f"SELECT * FROM ({_rows_sql(plan, days)}) WHERE scope = 'device'"
    total = connection.execute(f"SELECT count(*) FROM ({rows})").fetchall()[0][0]
    connection.execute(f"CREATE OR REPLACE TEMP TABLE touched AS {_touched(plan)}")
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    batches = max(1, -(-total // _DEVICE_ROWS))
    step, least = indicator_sums.DEVICE_STEP_S, plan.settings.min_samples_at_device_scope
    codes = indicator_sums.codes_of(plan.indicators)
    for batch in tqdm(range(batches), desc="indicators of devices", delay=2, disable=None):
        part = f"hash(scope_id) % {batches} = {batch} AND scope_id IN (SELECT scope_id FROM touched)"
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE ticked AS"
            f" SELECT scope_id AS device, (end_s + {step - 1}) // {step} * {step} AS tick, counter, bin,"
            f" sum(n) AS n, sum(d) AS d FROM ({rows}) WHERE {part} GROUP BY ALL"
        )
        counted = {code for (code,) in connection.execute("SELECT DISTINCT counter FROM ticked").fetchall()}
        made = tuple(one for one in wanted if codes[one.counter] in counted)
        if not made:
            continue
        connection.execute(f"CREATE OR REPLACE TEMP TABLE sums AS {indicator_sums.recent_sql(window)}")
        sql = indicator_sums.values_sql(made, tuple(codes.items()), least)
        sql = f"SELECT *{_absent(one for one in wanted if one not in made)} FROM ({sql})"
        end = datetime(last.year, last.month, last.day, tzinfo=UTC) + _DAY
        yield _write(connection, plan, "device", wanted, span=(start, end), computed=sql, only=part)


def _touched(plan: _Plan) -> str:
    """Return the SQL of the devices whose windows may have changed."""
    records = lake.deliveries(plan.workspace, counter_tables.KIND)
    changed = [source for source in plan.change.sources if source in records]
    replaced = len(changed) < len(plan.change.sources) or any(
        records[source].superseded for source in changed
    )
    everyone = f"SELECT DISTINCT scope_id FROM ({_rows_sql(plan, plan.change.dates)}) WHERE scope = 'device'"
    files = [
        plan.workspace / "lake" / file
        for source in changed
        for file in records[source].files
        if file.startswith("counters/")
    ]
    if plan.change.everything or replaced or not files or plan.until:
        stored = sorted(folder(plan.workspace, "device").rglob("*.parquet"))
        before = f" UNION SELECT scope_id FROM read_parquet([{listed(stored)}], union_by_name = true)"
        return everyone + (before if stored else "")
    read = f"read_parquet([{listed(files)}], hive_partitioning = false)"
    return f"SELECT DISTINCT scope_id FROM {read} WHERE scope = 'device'"


def _write(
    connection: duckdb.DuckDBPyConnection,
    plan: _Plan,
    scope: str,
    wanted: Sequence[Indicator],
    *,
    span: tuple[datetime, datetime],
    computed: str,
    only: str = "true",
) -> tuple[int, int]:
    """Write the computed rows that are not stored as they are; return how many were computed, and written.

    span: the windows computed end after its first and up to its last. computed: SQL of them; "" for none.
    only: the SQL condition of the scope_ids computed. What is stored in the span and is not computed any more is
    written as empty: no evidence.
    """
    place = folder(plan.workspace, scope)
    if not computed and not place.exists():
        return 0, 0
    columns = wide_columns(wanted)
    names = [column.name for column in columns if column.name not in ("scope_id", "window_end", "created")]
    schema = arrow_schema(columns)
    until = min(plan.until, span[1]) if plan.until else span[1]
    within = f"window_end > TIMESTAMPTZ '{span[0].isoformat()}' AND window_end <= TIMESTAMPTZ '{until.isoformat()}'"
    listed_names = ", ".join(f'"{name}"' for name in names)
    none = f"SELECT scope_id, window_end, {listed_names} FROM template"
    connection.register("template", schema.empty_table())
    made = (
        f"SELECT scope_id, to_timestamp(end_s) AS window_end, {listed_names} FROM ({computed})"
        if computed
        else none
    )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE computed AS SELECT * FROM ({made}) WHERE {within}")
    count = connection.execute("SELECT count(*) FROM computed").fetchall()[0][0]
    days = [span[0].date() + _DAY * n for n in range((span[1].date() - span[0].date()).days + 1)]
    files = [file for day in days for file in sorted((place / f"date={day}").glob("*.parquet"))]
    stored = f"SELECT * EXCLUDE (created) FROM ({newest_sql(files, columns)}) WHERE {within} AND {only}"
    empties = ", ".join(
        f'0.0 AS "{name}"' if name.endswith("__samples") else f'NULL AS "{name}"' for name in names
    )
    known = " OR ".join(f'"{name}" <> 0' for name in names if name.endswith("__samples"))
    changed = connection.execute(
        f"SELECT scope_id, window_end, {listed_names} FROM computed EXCEPT ({stored})"
        f" UNION ALL SELECT scope_id, window_end, {empties} FROM ({stored}) AS s"
        f" ANTI JOIN computed USING (scope_id, window_end) WHERE {known or 'false'}"
        if files
        else f"SELECT scope_id, window_end, {listed_names} FROM computed"
    ).to_arrow_table()
    connection.unregister("template")
    stamped = changed.append_column("created", pa.array([plan.created] * len(changed), CREATED.arrow))
    _append(stamped.select(schema.names).cast(schema), place, plan.created)
    return count, len(changed)


def _append(table: pa.Table, place: Path, created: datetime) -> None:
    """Write rows into the partitions of their dates, one file each, whole or not at all."""
    dates = pc.strftime(table["window_end"], "%Y-%m-%d")
    for day in pc.unique(dates).to_pylist():
        name = f"{created:%Y%m%dT%H%M%S}-{uuid4().hex[:8]}.parquet"
        rows = table.filter(pc.equal(dates, day)).sort_by(
            [("scope_id", "ascending"), ("window_end", "ascending")]
        )
        lake.write_parquet(place / f"date={day}" / name, rows)
