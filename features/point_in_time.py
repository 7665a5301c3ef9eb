"""Which window row of a device was the newest at a moment, and which is the newest now: DuckDB over the lake's Parquet."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from features.table import Column

# Of one device the later window_end wins, then the later created; the rest only makes equal rows a fixed choice.
_ROWS = """
    SELECT device_id, window_end, created, file_index, file_row_number,
           row_number() OVER (PARTITION BY device_id ORDER BY
               window_end, created, coalesce(source, ''), file_index, file_row_number) AS rank
    FROM read_parquet($files, union_by_name = true, hive_partitioning = false)
"""

# One sort per device instead of an ASOF JOIN: DuckDB 1.5 takes the join for a nested loop when one side is an Arrow
# table (8 s against 0.2 s for 20,000 rows), and an ASOF JOIN alone cannot ask for two moments, end and created.
_AS_OF = """
WITH known AS MATERIALIZED (
    {rows}
    WHERE window_end BETWEEN make_timestamptz($first) AND make_timestamptz($last)
      AND device_id IN (SELECT device_id FROM asked)
), best AS (
    SELECT position, device_id, moment, max(rank) OVER (PARTITION BY device_id ORDER BY moment) AS rank
    FROM (SELECT NULL AS position, device_id, {known_since} AS moment, rank FROM known
          UNION ALL SELECT position, device_id, moment, NULL FROM asked)
), found AS (
    SELECT best.position, known.window_end, known.file_index, known.file_row_number
    FROM best JOIN known USING (device_id, rank)
    WHERE best.position IS NOT NULL AND epoch_us(best.moment) - epoch_us(known.window_end) <= $ttl
)
SELECT found.position, epoch_us(found.window_end) AS window_end, {features}
FROM found JOIN read_parquet($files, union_by_name = true, hive_partitioning = false) AS lake
  USING (file_index, file_row_number)
"""

_NEWEST = """
WITH ranked AS (
    {rows}
    WHERE device_id IN (SELECT device_id FROM read_parquet($fresh, union_by_name = true, hive_partitioning = false))
), last AS (
    SELECT file_index, file_row_number FROM ranked
    QUALIFY rank = max(rank) OVER (PARTITION BY device_id) AND list_contains($fresh_at, file_index)
)
SELECT device_id, epoch_us(window_end) AS window_end, epoch_us(created) AS created, {features}
FROM last JOIN read_parquet($files, union_by_name = true, hive_partitioning = false) AS lake
  USING (file_index, file_row_number)
"""

_PANDAS = {"int64": "Int64", "float64": "float64", "bool": "boolean", "string": "string"}


def as_of(
    entities: pd.DataFrame, files: Sequence[Path], *, features: Sequence[Column], ttl: timedelta, known_only: bool
) -> pd.DataFrame:
    """Return, for each entity row in its order, the window row that was the newest at its event_timestamp.

    entities: device_id (string) and event_timestamp (aware, taken in whole microseconds); any index, not read.
    files: Parquet of one window length; at least one.
    ttl: a row serves while event_timestamp - window_end <= ttl.
    known_only: also demand created <= event_timestamp, so that a late backfill does not leak into the past.
    Returns window_end and the features on a RangeIndex; int64 as Int64, <NA>, NaN and NaT where no row serves.
    Raises ValueError naming what is wrong with the entities.
    """
    asked = _asked(entities)
    if len(asked) == 0:
        return _typed(pd.DataFrame(columns=["window_end", *[c.name for c in features]]), features)
    moments = asked["moment"].cast(pa.int64()).to_numpy()
    ttl_us = ttl // timedelta(microseconds=1)
    query = _AS_OF.format(
        rows=_ROWS,
        known_since="greatest(window_end, created)" if known_only else "window_end",
        features=_names(features),
    )
    span = {"first": int(moments.min()) - ttl_us, "last": int(moments.max()), "ttl": ttl_us}
    with _connection() as duck:
        duck.register("asked", asked)
        found = duck.execute(query, {"files": _paths(files), **span}).to_arrow_table()
    rows = _typed(found.to_pandas(types_mapper=_NULLABLE.get), features)
    return rows.set_index(found["position"].to_numpy()).reindex(pd.RangeIndex(len(entities)))


def newest(
    files: Sequence[Path], fresh: Sequence[Path], *, features: Sequence[Column], batch_rows: int
) -> Iterator[pd.DataFrame]:
    """Yield the newest row of each device of `files`, where it lies in one of the `fresh` among them.

    What a fresh file adds to the past of a device whose newest row lies elsewhere is thereby left out.
    Yields frames of at most about `batch_rows` rows: device_id, window_end, created, then the features.
    """
    paths = _paths(files)
    places = {path: place for place, path in enumerate(paths)}
    parameters = {"files": paths, "fresh": _paths(fresh), "fresh_at": [places[path] for path in _paths(fresh)]}
    query = _NEWEST.format(rows=_ROWS, features=_names(features))
    with _connection() as duck:
        for batch in duck.execute(query, parameters).to_arrow_reader(batch_rows):
            if len(batch):
                yield _typed(batch.to_pandas(types_mapper=_NULLABLE.get), features)


_NULLABLE: Mapping[pa.DataType, Any] = {  # Any: pandas' extension types have no common public name
    pa.int64(): pd.Int64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
    pa.string(): pd.StringDtype(),
}


def _asked(entities: pd.DataFrame) -> pa.Table:
    names = list(entities.columns)
    absent = [name for name in ("device_id", "event_timestamp") if names.count(name) != 1]
    if absent:
        raise ValueError(f"entities must have device_id and event_timestamp once each, but not so {absent}")
    ids, moments = entities["device_id"], entities["event_timestamp"]
    for values in (ids, moments):
        if values.isna().any():
            row = int(np.flatnonzero(values.isna())[0])
            raise ValueError(f"entities.{values.name} must not be empty, but row {row} is")
    if len(ids) and pd.api.types.infer_dtype(ids) != "string":
        raise ValueError(f"entities.device_id must be strings, but is {ids.dtype}; use .astype('string')")
    if not isinstance(moments.dtype, pd.DatetimeTZDtype):
        raise ValueError(
            f"entities.event_timestamp must be aware datetimes, but is {moments.dtype}; use pd.to_datetime(..., utc=True)"
        )
    utc = moments.dt.tz_convert("UTC").astype("datetime64[us, UTC]")
    return pa.table(
        {
            "position": np.arange(len(entities)),
            "device_id": pa.array(ids, pa.string()),
            "moment": pa.array(utc, pa.timestamp("us", tz="UTC")),
        }
    )


def _typed(rows: pd.DataFrame, features: Sequence[Column]) -> pd.DataFrame:
    """Return the rows with times as times and each feature in the pandas dtype that can be empty."""
    times = {name: _times(rows[name]) for name in ("window_end", "created") if name in rows}
    ids = {"device_id": rows["device_id"]} if "device_id" in rows else {}
    return pd.DataFrame(
        {**ids, **times, **{column.name: rows[column.name].astype(_PANDAS[column.dtype]) for column in features}}
    )


def _times(microseconds: pd.Series) -> pd.Series:
    return pd.to_datetime(microseconds.astype("int64"), unit="us", utc=True).astype("datetime64[us, UTC]")


def _names(features: Sequence[Column]) -> str:
    return ", ".join('lake."{}"'.format(column.name.replace('"', '""')) for column in features)


def _paths(files: Sequence[Path]) -> list[str]:
    return [str(file) for file in sorted(files)]


def _connection() -> Any:  # Any: duckdb's connection, imported where it is used
    import duckdb

    return duckdb.connect()
