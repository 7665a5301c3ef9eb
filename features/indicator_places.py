"""The indicators of places: cells, TACs, MMEs, platform nodes, apps, fleets, cities, the province ...

Scopes that are summed into one another are computed together, from the counters of a few windows at a time.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
from tqdm import tqdm

from features import indicator_rows, indicator_sums, membership, topology
from features.days import DAY_S, start_of
from features.duck import listed
from features.indicator_plan import Plan, kind_of, number_ids

_PART_ROWS = 6_000_000  # of COUNTERS at a time, where windows are short enough
_FEW_ROWS = 100_000  # to plan a query of so few takes longer than to run it
_DEAR = "common_subexpressions"  # half of the planning of fifty indicators, by DuckDB 1.5
_SUMS = "tick, counter, sketch, n, d"


@dataclass(frozen=True)
class _Part:
    """Scopes that are computed together, each after its parent, from the counters of some spans of a day.

    Spans that do not touch each other are computed together: each query costs more to plan than few rows to read.
    """

    day: date
    scopes: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]  # windows end after the first, up to the last, in seconds since 1970
    rows: int  # of counters
    longest_s: int  # no row of a counter is longer
    feeding: frozenset[str]  # scopes that counted something that day, of those that they are computed from


@dataclass(frozen=True)
class _Fed:
    """Where the rows of a part lie: `ticked` of places, `placed` of devices; codes of the counters by scope."""

    counters: Mapping[str, frozenset[int]]

    def of(self, scope: str) -> frozenset[int]:
        """The counters of a scope itself."""
        return self.counters.get(scope, frozenset())


def build(connection: duckdb.DuckDBPyConnection, plan: Plan) -> Iterator[tuple[str, tuple[int, int]]]:
    """Compute the windows of places that a change touches; yield scope, and how many rows were computed and written."""
    for day in tqdm(plan.change.dates, desc="indicators", delay=2, disable=None):
        _open_topology(connection, day)
        files = plan.files.get(day, [])
        _number(connection, files)
        told = f"SELECT * FROM read_parquet([{listed(files)}], hive_partitioning = false)" if files else ""
        counted = _counted(connection, told)
        touched = [] if day in plan.change.whole else _counted(connection, plan.touched_sql(day))
        for group in indicator_sums.groups(plan.windows):
            for part in _parts(plan, day, group, counted=counted, touched=touched):
                yield from _compute(connection, plan, part)


def _open_topology(connection: duckdb.DuckDBPyConnection, day: date) -> None:
    """Make `cells`, `tacs` and `cities`: what each of them lay in that day, as its newest device tells."""
    for scope, table in topology.TABLES.items():
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {table} AS {topology.above_sql(scope, 'stays', day)}"
        )


def _number(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> None:
    """Give the places of some files of counters their numbers."""
    if files:
        read = f"read_parquet([{listed(files)}], hive_partitioning = false)"
        number_ids(connection, f"SELECT scope, scope_id FROM {read} WHERE scope <> 'device'")


def _feeding(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes whose counters some scopes are computed from."""
    below = ["device"] if any(indicator_sums.PARENT.get(scope) == "device" for scope in scopes) else []
    return (*scopes, *below)


@dataclass(frozen=True)
class _Counted:
    """How many rows a scope counted in windows that begin and last alike, in seconds (since 1970)."""

    start: int
    length_s: int
    scope: str
    rows: int


def _counted(connection: duckdb.DuckDBPyConnection, rows_sql: str) -> list[_Counted]:
    """Return what scopes counted when, of SQL of rows; of "" nothing."""
    if not rows_sql:
        return []
    found = connection.execute(
        f"SELECT epoch_us(window_start) // 1000000, window_s, scope, count(*) FROM ({rows_sql})"
        " GROUP BY window_start, window_s, scope"
    ).fetchall()
    return [_Counted(*row) for row in found]


def _parts(
    plan: Plan,
    day: date,
    group: tuple[tuple[str, ...], int],
    *,
    counted: Sequence[_Counted],
    touched: Sequence[_Counted],
) -> Iterator[_Part]:
    """Yield the parts of a day that are computed one after another: few rows at a time need little memory.

    group: the scopes that are computed together, and the window of all of them.
    """
    scopes, length_s = group
    feeding = _feeding(scopes)
    fed = [one for one in counted if one.scope in feeding]
    of_scopes, longest_s = frozenset(one.scope for one in fed), max((one.length_s for one in fed), default=0)
    counts = _by_end(fed, length_s)
    of_touched = _by_end((one for one in touched if one.scope in feeding), length_s)
    for spans, rows in _spans(
        _ends(plan, day, length_s, counts=counts, touched=of_touched), length_s, counts
    ):
        yield _Part(day, scopes, spans, rows, longest_s, of_scopes)


def _ends(
    plan: Plan, day: date, length_s: int, *, counts: Mapping[int, int], touched: Mapping[int, int]
) -> Sequence[int]:
    """Return the ends of the windows of a day that are computed, ascending.

    counts, touched: by end, how many rows of counters feed a window, and how many of those that a delivery touched.
    """
    start, change = int(start_of(day).timestamp()), plan.change
    every = range(start + length_s, start + DAY_S + 1, length_s)
    if day in change.whole:
        return every
    beyond = change.beyond.timestamp() if change.beyond else math.inf
    moved = change.moved[day].timestamp() if day in change.moved else math.inf
    later = every if day in change.pending else counts
    return sorted({*touched, *(e for e in later if e > beyond), *(e for e in every if e > moved)})


def _spans(
    ends: Iterable[int], length_s: int, counts: Mapping[int, int]
) -> Iterator[tuple[tuple[tuple[int, int], ...], int]]:
    """Yield the spans that windows lie in and their rows, so many at a time that these are few. counts: rows by end."""
    spans: list[tuple[int, int]] = []
    rows = 0
    for end in ends:
        more = counts.get(end, 0)
        if spans and rows + more > _PART_ROWS:
            yield tuple(spans), rows
            spans, rows = [], 0
        if spans and spans[-1][1] == end - length_s:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((end - length_s, end))
        rows += more
    if spans:
        yield tuple(spans), rows


def _by_end(counted: Iterable[_Counted], length_s: int) -> Mapping[int, int]:
    """Return how many rows feed each window of a length, by its end."""
    counts: Counter[int] = Counter()
    for one in counted:
        counts[-(-(one.start + one.length_s) // length_s) * length_s] += one.rows
    return counts


def _compute(
    connection: duckdb.DuckDBPyConnection, plan: Plan, part: _Part
) -> Iterator[tuple[str, tuple[int, int]]]:
    """Compute the windows of a part, scope by scope."""
    connection.execute(f"SET disabled_optimizers = '{_DEAR if part.rows < _FEW_ROWS else ''}'")
    fed = _open(connection, plan, part)
    counters: dict[str, frozenset[int]] = {"device": fed.of("device")}
    for scope in part.scopes:
        parent = indicator_sums.PARENT.get(scope, "")
        counters[scope] = fed.of(scope) | counters.get(parent, frozenset())
        sql = ""
        if counters[scope]:
            below = ("placed" if parent == "device" else f"above_{parent}") if counters.get(parent) else None
            _open_effective(connection, plan, scope, own=bool(fed.of(scope)), below=below)
            counted = indicator_rows.Counted(counters[scope], plan.windows[scope].length_s)
            sql = indicator_rows.cells_sql(plan, scope, counted, ids="ids")
        spans = [(datetime.fromtimestamp(a, UTC), datetime.fromtimestamp(b, UTC)) for a, b in part.spans]
        whole = indicator_rows.Part(spans)
        yield scope, indicator_rows.write(connection, plan, scope, whole, computed=sql)


def _open(connection: duckdb.DuckDBPyConnection, plan: Plan, part: _Part) -> _Fed:
    """Make `ticked`, the rows that the places of a part counted, and `placed`, those of devices in them."""
    files = plan.files.get(part.day, [])
    if not part.feeding:
        return _Fed({})
    tick = indicator_sums.tick_s(plan.windows)
    first, last = part.spans[0][0], part.spans[-1][1]
    starts = f"make_timestamptz({first - part.longest_s}000000) AND make_timestamptz({last}000000)"
    inside = " OR ".join(f"end_s > {a} AND end_s <= {b}" for a, b in part.spans)
    within = f"({inside}) AND window_start BETWEEN {starts}"  # Parquet skips by the latter
    rows = f"SELECT * FROM ({plan.rows_sql(files)}) WHERE {within}"
    counters = {}
    if part.feeding.intersection(part.scopes):
        own = f"SELECT * FROM ({rows}) WHERE scope IN ({listed(part.scopes)})"
        connection.execute(
            "CREATE OR REPLACE TEMP TABLE ticked AS SELECT kind, id, counter, sketch, n, d,"
            f" (end_s + {tick - 1}) // {tick} * {tick} AS tick FROM ({own}) JOIN ids USING (scope, scope_id)"
        )
        told = connection.execute("SELECT kind, list(DISTINCT counter) FROM ticked GROUP BY kind").fetchall()
        found = {kind: frozenset(codes) for kind, codes in told}
        counters = {scope: found.get(kind_of(scope), frozenset[int]()) for scope in part.scopes}
    held = tuple(scope for scope in part.scopes if scope in membership.PLACES)
    if "device" in part.feeding:
        connection.execute(
            "CREATE OR REPLACE TEMP VIEW counted AS"
            f" SELECT scope_id AS device, end_s, counter, sketch, n, d FROM ({rows}) WHERE scope = 'device'"
        )
        connection.execute(f"CREATE OR REPLACE TEMP TABLE placed AS {indicator_sums.placed_sql(held, tick)}")
        ((codes,),) = connection.execute("SELECT list(DISTINCT counter) FROM placed").fetchall()
        counters["device"] = frozenset(codes or ())
    return _Fed(counters)


def _open_effective(
    connection: duckdb.DuckDBPyConnection, plan: Plan, scope: str, *, own: bool, below: str | None
) -> None:
    """Make `effective`, the rows that count in a scope, and of a scope that is summed further `above_<scope>`.

    own: whether the scope counted something itself. below: the relation of what its parent is summed into.
    """
    further, length_s = indicator_sums.above(scope), plan.windows[scope].length_s
    if own:
        connection.execute(
            "CREATE OR REPLACE TEMP VIEW own AS"
            f" SELECT id, tick, counter, sketch, n, d FROM ticked WHERE kind = {kind_of(scope)}"
        )
    if own and below:
        outranked = indicator_sums.outranked_sql(scope, below, (scope, *further), length_s)
        connection.execute(f"CREATE OR REPLACE TEMP TABLE rest AS SELECT * FROM ({outranked})")
        below = "rest"
    if further:
        places = ", ".join(further)
        parts = [f"SELECT {places}, {_SUMS} FROM own JOIN {topology.TABLES[scope]} USING (id)"] if own else []
        parts += [f"SELECT {places}, {_SUMS} FROM {below}"] if below else []
        connection.execute(f"CREATE OR REPLACE TEMP VIEW effective AS {' UNION ALL '.join(parts)}")
        lifted = indicator_sums.lifted_sql(further)
        connection.execute(f"CREATE OR REPLACE TEMP TABLE above_{scope} AS {lifted}")
    parts = [f"SELECT id AS scope_id, {_SUMS} FROM own"] if own else []
    parts += [f"SELECT {scope} AS scope_id, {_SUMS} FROM {below} WHERE {scope} IS NOT NULL"] if below else []
    connection.execute(f"CREATE OR REPLACE TEMP VIEW effective AS {' UNION ALL '.join(parts)}")
