"""Rows of indicators into the lake: those that are new or differ from what lies there, version by version."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from features import indicator_sums, lake
from features.days import DAY
from features.indicator_plan import Plan
from features.indicator_tables import folder, newest_sql, wide_columns
from features.table import arrow_schema
from features.windowing import CREATED

Span = tuple[datetime, datetime]  # windows end after the first, up to the last


@dataclass(frozen=True)
class Part:
    """What is compared with the lake: windows of spans. stored: the SQL condition of the scope_ids that are in it."""

    spans: Sequence[Span]
    stored: str = "true"


@dataclass(frozen=True)
class Counted:
    """What a scope counted. codes: of its counters; length_s: of its windows; at_least: samples of a value."""

    codes: frozenset[int]
    length_s: int
    at_least: int | None = None


def write(
    connection: duckdb.DuckDBPyConnection, plan: Plan, scope: str, part: Part, *, computed: str
) -> tuple[int, int]:
    """Write the computed rows that are not stored as they are; return how many were computed, and written.

    computed: what `cells_sql` gives; "" for none. All windows of the part are in it: what is stored in the part and is
    not computed any more is written as empty, no evidence.
    """
    spans = part.spans
    place = folder(plan.workspace, scope)
    if not computed and not place.exists():
        return 0, 0
    schema = arrow_schema(wide_columns(indicator_sums.indicators_of(scope, plan.indicators)))
    within = _within(spans, plan.until)
    none = "SELECT '' AS scope_id, now() AS window_end WHERE false"
    made = f"SELECT * FROM ({computed or none}) WHERE {within}"
    days = sorted({a.date() + DAY * n for a, b in spans for n in range((b.date() - a.date()).days + 1)})
    files = [file for day in days for file in sorted((place / f"date={day}").glob("*.parquet"))]
    earlier = [file for file in files if not file.name.startswith(_stamp(plan.created))]
    if not earlier:
        new = connection.execute(f"{made} {_ORDER}").to_arrow_table()
        _append(_whole(new, schema, plan.created), place, plan.created)
        return len(new), len(new)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE computed AS {made}")
    ((count,),) = connection.execute("SELECT count(*) FROM computed").fetchall()
    changed = _changed(connection, schema, earlier, f"{within} AND {part.stored}")
    _append(_whole(changed, schema, plan.created), place, plan.created)
    return count, len(changed)


def _within(spans: Sequence[Span], until: datetime | None) -> str:
    """Return the SQL condition of windows that end in one of some spans, and not after `until`."""
    ends = [(first, min(until, last) if until else last) for first, last in spans]
    told = " OR ".join(
        f"window_end > TIMESTAMPTZ '{first.isoformat()}' AND window_end <= TIMESTAMPTZ '{last.isoformat()}'"
        for first, last in ends
    )
    return f"({told})"


_DATE = "epoch_us(window_end) // 86400000000"
_ORDER = f"ORDER BY {_DATE}, scope_id, window_end"  # rows of one file of the lake lie together


def _changed(
    connection: duckdb.DuckDBPyConnection, schema: pa.Schema, files: Sequence[Path], where: str
) -> pa.Table:
    """Return the rows of `computed` that are not stored so, and as empty the stored ones that are not computed.

    files: that rows may be stored in, at least one. where: SQL of the stored rows that are looked at.
    """
    names = [name for name in schema.names if name not in ("scope_id", "window_end", "created")]
    made = set(connection.table("computed").columns)
    cells = ", ".join(
        f'"{name}"' if name in made else f'{_ABSENT[_is_samples(name)]} AS "{name}"' for name in names
    )
    empties = ", ".join(f'{_ABSENT[_is_samples(name)]} AS "{name}"' for name in names)
    known = " OR ".join(f'"{name}" <> 0' for name in names if _is_samples(name))
    connection.register("template", schema.empty_table())
    newest = newest_sql(files, schema.names, where=where)
    changed = connection.execute(
        f"WITH stored AS MATERIALIZED (SELECT * EXCLUDE (created) FROM ({newest}))"
        f" SELECT * FROM (SELECT scope_id, window_end, {cells} FROM computed EXCEPT SELECT * FROM stored"
        f" UNION ALL SELECT scope_id, window_end, {empties} FROM stored"
        f" ANTI JOIN computed USING (scope_id, window_end) WHERE {known or 'false'}) {_ORDER}"
    ).to_arrow_table()
    connection.unregister("template")
    return changed


_ABSENT = {False: "CAST(NULL AS DOUBLE)", True: "CAST(0 AS DOUBLE)"}  # no evidence, of no samples


def _is_samples(name: str) -> bool:
    return name.endswith("__samples")


def _whole(rows: pa.Table, schema: pa.Schema, created: datetime) -> pa.Table:
    """Return rows with all columns of a schema; what nothing was counted for is no evidence, of no samples."""
    absent = {
        True: pa.repeat(pa.scalar(0.0), len(rows)),
        False: pa.nulls(len(rows), pa.float64()),
    }
    columns = [
        rows[field.name].cast(field.type)
        if field.name in rows.column_names
        else absent[_is_samples(field.name)]
        for field in schema
        if field.name != "created"
    ]
    at = schema.get_field_index("created")
    columns.insert(at, pa.repeat(pa.scalar(created, CREATED.arrow), len(rows)))
    return pa.table(columns, schema=schema)


def cells_sql(plan: Plan, scope: str, counted: Counted, *, ids: str) -> str:
    """Return the SQL of scope_id, window_end and the cells of the indicators that a scope counted; "" where of none.

    It reads the relation `effective`, whose scope_id is a number of the relation `ids`.
    """
    wanted = indicator_sums.indicators_of(scope, plan.indicators)
    made = tuple(one for one in wanted if plan.codes[one.counter] in counted.codes)
    if not made:
        return ""
    sql = indicator_sums.values_sql(made, tuple(plan.codes.items()), counted.length_s, counted.at_least)
    return (
        "SELECT names.scope_id, make_timestamptz(end_s * 1000000) AS window_end, found.* EXCLUDE (scope_id, end_s)"
        f" FROM ({sql}) AS found JOIN {ids} AS names ON names.id = found.scope_id"
    )


def _stamp(created: datetime) -> str:
    """Return how the names of the files of one build begin; no two builds have one `created`."""
    return f"{created:%Y%m%dT%H%M%S%f}"


def _append(table: pa.Table, place: Path, created: datetime) -> None:
    """Write rows, in the order of `_ORDER`, into the partitions of their dates, one file each, whole or not at all."""
    dates = table["window_end"].cast(pa.date32()).combine_chunks()
    names = table.column_names
    values = {name.removesuffix("__samples") for name in names if _is_samples(name)}
    first = 0
    for run in pc.run_end_encode(dates).run_ends.to_pylist():
        path = place / f"date={dates[first]}" / f"{_stamp(created)}-{uuid4().hex[:8]}.parquet"
        lake.write_parquet(path, table.slice(first, run - first), varied=values)
        first = run
