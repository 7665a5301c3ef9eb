"""What is known of all devices of a service, and of the places they hang on, at one moment: read in batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from features import membership
from features.duck import connect, files_stay
from features.indicator_sums import indicators_of
from features.indicator_tables import folder, newest_sql, wide_columns
from features.indicators import Indicator
from features.table import arrow_schema

BATCH_ROWS = 65_536


@dataclass(frozen=True)
class Known:
    """What is known of some devices or places. ids: (n,). places: by scope, what each hangs on; (n,), null: nothing.

    values, samples: by indicator id, (n,) float64; NaN is unknown. An id that nobody told is missing.
    ends: of the same ids, (n,) datetime64[us] in UTC, the end of the window that told it; NaT is unknown.
    services: (n,), what MEMBERSHIP says that a device runs, null: nothing; None where all are of the service asked for.
    """

    ids: pa.Array
    places: Mapping[str, pa.Array]
    values: Mapping[str, np.ndarray]
    samples: Mapping[str, np.ndarray]
    ends: Mapping[str, np.ndarray]
    services: pa.Array | None = None


def places(
    workspace: Path, scope: str, indicators: Sequence[Indicator], *, at: datetime, oldest: timedelta
) -> Known:
    """Return the newest known value of each indicator of every place of a scope, none older than `oldest`.

    Of each window the version counts that was created last. Places are ordered by id.
    """
    wanted = indicators_of(scope, indicators)
    newest = ", ".join(
        f'max_by("{one.id}", window_end) FILTER ("{one.id}" IS NOT NULL) AS "{one.id}",'
        f' max_by("{one.id}__samples", window_end) FILTER ("{one.id}" IS NOT NULL) AS "{one.id}__samples",'
        f' max(window_end) FILTER ("{one.id}" IS NOT NULL) AS "{one.id}__end"'
        for one in wanted
    )
    sql = _windows_sql(workspace, scope, wanted, (at - oldest, at))
    if not wanted or not sql:
        return Known(pa.array([], pa.string()), {}, {}, {}, {})
    with files_stay(), connect(threads=2) as connection:
        connection.register("template", arrow_schema(wide_columns(wanted)).empty_table())
        found = connection.execute(
            f"SELECT scope_id, {newest} FROM ({sql}) GROUP BY scope_id ORDER BY scope_id"
        ).to_arrow_table()
    (batch,) = found.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], found.schema)]
    return _known(batch, wanted, (), {one.id: f"{one.id}__end" for one in wanted})


@dataclass(frozen=True)
class Newest:
    """Which windows count: the newest by a moment, if it is not older than `oldest`."""

    at: datetime
    oldest: timedelta


def devices(
    workspace: Path,
    service: str,
    indicators: Sequence[Indicator],
    *,
    newest: Newest,
    scratch: Path | None = None,
) -> Iterator[Known]:
    """Yield what is known of each device of a service, ordered by id: its newest window.

    A device that MEMBERSHIP places in the service at that moment is told, also where nothing is known of it.
    scratch: where DuckDB may put what does not fit in memory.
    """
    at = newest.at
    wanted = indicators_of("device", indicators)
    stays = membership.stays_sql(membership.files(workspace), span=_moment(at))
    with files_stay(), connect(threads=2, scratch=scratch) as connection:
        connection.register("template", arrow_schema(wide_columns(wanted)).empty_table())
        reader = connection.execute(
            f"SELECT device_id, {', '.join(membership.PLACES)}, {_cells(wanted)} FROM ({stays}) AS members"
            f" LEFT JOIN ({_newest_sql(workspace, wanted, (at - newest.oldest, at))}) AS told"
            " ON told.scope_id = members.device_id WHERE service = ? ORDER BY device_id",
            [service],
        ).to_arrow_reader(BATCH_ROWS)
        for batch in reader:
            yield _of_devices(batch, wanted)


def some_devices(
    workspace: Path, ids: Sequence[str], indicators: Sequence[Indicator], *, at: datetime, oldest: timedelta
) -> Known:
    """Return what is known of these devices, in their order, as `devices` does of all of a service.

    One that is not known is told without service, places and values.
    """
    wanted = indicators_of("device", indicators)
    stays = membership.stays_sql(membership.files(workspace), span=_moment(at))
    one_of_them = "IN (SELECT device_id FROM asked)"
    newest = _newest_sql(workspace, wanted, (at - oldest, at), where=f"scope_id {one_of_them}")
    with files_stay(), connect(threads=2) as connection:
        connection.register("template", arrow_schema(wide_columns(wanted)).empty_table())
        connection.register(
            "asked", pa.table({"device_id": pa.array(ids, pa.string()), "row": range(len(ids))})
        )
        found = connection.execute(
            f"SELECT asked.device_id, service, {', '.join(membership.PLACES)}, {_cells(wanted)} FROM asked"
            f" LEFT JOIN (SELECT * FROM ({stays}) WHERE device_id {one_of_them}) AS members USING (device_id)"
            f" LEFT JOIN ({newest}) AS told ON told.scope_id = asked.device_id ORDER BY row"
        ).to_arrow_table()
    (batch,) = found.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], found.schema)]
    return replace(_of_devices(batch, wanted), services=batch.column("service"))


def _moment(at: datetime) -> tuple[datetime, datetime]:
    return at, at + timedelta(microseconds=1)


def _cells(wanted: Sequence[Indicator]) -> str:
    return ", ".join(["window_end", *(f'"{one.id}", "{one.id}__samples"' for one in wanted)])


def _newest_sql(
    workspace: Path, wanted: Sequence[Indicator], span: tuple[datetime, datetime], *, where: str = "true"
) -> str:
    """Return the SQL of the newest window of each device; span, where: as of `_windows_sql`."""
    windows = _windows_sql(workspace, "device", wanted, span, where=where)
    last = "row_number() OVER (PARTITION BY scope_id ORDER BY window_end DESC) = 1"
    if windows:
        return f"SELECT scope_id, {_cells(wanted)} FROM ({windows}) QUALIFY {last}"
    return f"SELECT '' AS scope_id, {_cells(wanted)} FROM template WHERE false"


def _of_devices(batch: pa.RecordBatch, wanted: Sequence[Indicator]) -> Known:
    return _known(batch, wanted, membership.PLACES, {one.id: "window_end" for one in wanted})


def _windows_sql(
    workspace: Path, scope: str, wanted: Sequence[Indicator], span: tuple[datetime, datetime],
    *, where: str = "true",
) -> str:  # fmt: skip
    """Return the SQL of the newest version of each window in the time that matters; "" where there is none.

    span: aware; windows end after the first moment, and not after the last. where: SQL of scope_id that the rows keep.
    """
    since, at = (moment.astimezone(UTC) for moment in span)  # days of the lake are UTC
    days = (f"date={since:%F}", f"date={at:%F}")
    files = sorted(
        file for file in folder(workspace, scope).rglob("*.parquet") if days[0] <= file.parent.name <= days[1]
    )
    if not files:
        return ""
    names = [column.name for column in wide_columns(wanted)]
    within = (
        f"window_end > TIMESTAMPTZ '{since.isoformat()}' AND window_end <= TIMESTAMPTZ '{at.isoformat()}'"
    )
    return newest_sql(files, names, where=f"{within} AND {where}")


def _known(
    batch: pa.RecordBatch, wanted: Sequence[Indicator], scopes: Sequence[str], ends: Mapping[str, str]
) -> Known:
    """Return the columns of a batch by what they tell. ends: by indicator id, the column of its window's end."""

    def numbers(name: str) -> np.ndarray:
        column = batch.column(name)
        told: np.ndarray = column.to_numpy(zero_copy_only=False)
        return told.astype("float64", copy=False)

    told = {name: _instants(batch.column(name)) for name in dict.fromkeys(ends.values())}
    return Known(
        batch.column(0),
        {scope: batch.column(scope) for scope in scopes},
        {one.id: numbers(one.id) for one in wanted},
        {one.id: numbers(f"{one.id}__samples") for one in wanted},
        {one: told[name] for one, name in ends.items()},
    )


def _instants(column: pa.Array) -> np.ndarray:
    told: np.ndarray = column.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False)
    return told.astype("datetime64[us]")
