"""What is known of all devices of a service, and of the places they hang on, at one moment: read in batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
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
    """

    ids: pa.Array
    places: Mapping[str, pa.Array]
    values: Mapping[str, np.ndarray]
    samples: Mapping[str, np.ndarray]


def places(
    workspace: Path, scope: str, indicators: Sequence[Indicator], *, at: datetime, oldest: timedelta
) -> Known:
    """Return the newest known value of each indicator of every place of a scope, none older than `oldest`.

    Of each window the version counts that was created last. Places are ordered by id.
    """
    wanted = indicators_of(scope, indicators)
    newest = ", ".join(
        f'max_by("{one.id}", window_end) FILTER ("{one.id}" IS NOT NULL) AS "{one.id}",'
        f' max_by("{one.id}__samples", window_end) FILTER ("{one.id}" IS NOT NULL) AS "{one.id}__samples"'
        for one in wanted
    )
    sql = _windows_sql(workspace, scope, wanted, at, oldest)
    if not wanted or not sql:
        return Known(pa.array([], pa.string()), {}, {}, {})
    with files_stay(), connect(threads=2) as connection:
        connection.register("template", arrow_schema(wide_columns(wanted)).empty_table())
        found = connection.execute(
            f"SELECT scope_id, {newest} FROM ({sql}) GROUP BY scope_id ORDER BY scope_id"
        ).to_arrow_table()
    (batch,) = found.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], found.schema)]
    return _known(batch, wanted, ())


def devices(
    workspace: Path,
    service: str,
    indicators: Sequence[Indicator],
    *,
    at: datetime,
    oldest: timedelta,
    scratch: Path | None = None,
) -> Iterator[Known]:
    """Yield what is known of each device of a service, ordered by id: its newest window, if none older than `oldest`.

    A device that MEMBERSHIP places in the service at that moment is told, also where nothing is known of it.
    scratch: where DuckDB may put what does not fit in memory.
    """
    wanted = indicators_of("device", indicators)
    cells = "".join(f', "{one.id}", "{one.id}__samples"' for one in wanted)
    windows = _windows_sql(workspace, "device", wanted, at, oldest)
    last = "row_number() OVER (PARTITION BY scope_id ORDER BY window_end DESC) = 1"
    newest = f"SELECT scope_id{cells} FROM ({windows}) QUALIFY {last}"
    none = f"SELECT '' AS scope_id{cells} FROM template WHERE false"
    stays = membership.stays_sql(membership.files(workspace), span=(at, at + timedelta(microseconds=1)))
    with files_stay(), connect(threads=2, scratch=scratch) as connection:
        connection.register("template", arrow_schema(wide_columns(wanted)).empty_table())
        reader = connection.execute(
            f"SELECT device_id, {', '.join(membership.PLACES)}{cells}"
            f" FROM ({stays}) AS members LEFT JOIN ({newest if windows else none}) AS told"
            " ON told.scope_id = members.device_id WHERE service = ? ORDER BY device_id",
            [service],
        ).to_arrow_reader(BATCH_ROWS)
        for batch in reader:
            yield _known(batch, wanted, membership.PLACES)


def _windows_sql(
    workspace: Path, scope: str, wanted: Sequence[Indicator], at: datetime, oldest: timedelta
) -> str:
    """Return the SQL of the newest version of each window in the time that matters; "" where there is none."""
    since = at - oldest
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
    return newest_sql(files, names, where=within)


def _known(batch: pa.RecordBatch, wanted: Sequence[Indicator], scopes: Sequence[str]) -> Known:
    def numbers(name: str) -> np.ndarray:
        column = batch.column(name)
        told: np.ndarray = column.to_numpy(zero_copy_only=False)
        return told.astype("float64", copy=False)

    return Known(
        batch.column(0),
        {scope: batch.column(scope) for scope in scopes},
        {one.id: numbers(one.id) for one in wanted},
        {one.id: numbers(f"{one.id}__samples") for one in wanted},
    )
