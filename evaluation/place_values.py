"""What the places of a scope told of each indicator, as of each of many moments at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from features.duck import connect, files_stay
from features.indicator_sums import indicators_of
from features.indicator_tables import folder, newest_sql, wide_columns
from features.indicators import Indicator
from features.table import arrow_schema


@dataclass(frozen=True)
class PlaceValues:
    """Values of places (p) at moments (t). values: by indicator id, (t, p); NaN is unknown, an id nobody told is missing."""

    ids: tuple[str, ...]
    values: Mapping[str, np.ndarray]


def read(
    workspace: Path,
    scope: str,
    indicators: Sequence[Indicator],
    *,
    ends: Sequence[datetime],
    oldest: timedelta,
) -> PlaceValues:
    """Return of each indicator the newest value that each place of a scope told by each moment, none older than `oldest`.

    ends: ascending. A value is as old as the end of its window; of each window the version counts that was created last.
    """
    wanted = indicators_of(scope, indicators)
    since, until = ends[0] - oldest, ends[-1]
    days = (f"date={since:%F}", f"date={until:%F}")
    files = sorted(f for f in folder(workspace, scope).rglob("*.parquet") if days[0] <= f.parent.name <= days[1])
    if not wanted or not files:
        return PlaceValues((), {})
    within = f"window_end > TIMESTAMPTZ '{since.isoformat()}' AND window_end <= TIMESTAMPTZ '{until.isoformat()}'"
    names = ["scope_id", "window_end", *(one.id for one in wanted)]
    with files_stay(), connect(threads=1) as connection:
        connection.register("template", arrow_schema(wide_columns(wanted)).empty_table())
        rows = connection.execute(
            f"SELECT * FROM ({newest_sql(files, names, where=within)}) ORDER BY window_end, scope_id"
        ).to_arrow_table()
    moments = rows["window_end"].cast("int64").to_numpy()
    ids, places = np.unique(rows["scope_id"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
    told = np.unique(moments)
    line = np.searchsorted(told, moments)
    grid = np.full((len(told), len(ids)), np.nan)
    asked = np.array([round(one.timestamp() * 1e6) for one in ends])
    found = {}
    for one in wanted:
        here = grid.copy()
        here[line, places] = rows[one.id].to_numpy(zero_copy_only=False).astype("float64")
        found[one.id] = as_of(here, told, asked, oldest=oldest)
    return PlaceValues(tuple(ids), found)


def as_of(grid: np.ndarray, told: np.ndarray, asked: np.ndarray, *, oldest: timedelta) -> np.ndarray:
    """Return the newest number of each column of `grid` (m, p) by each asked moment, (t, p); NaN where it is too old.

    told: when each row was told, ascending; asked: ascending; both in microseconds.
    """
    rows = np.arange(len(told))[:, None]
    newest = np.maximum.accumulate(np.where(np.isnan(grid), -1, rows), axis=0)
    upto = np.searchsorted(told, asked, side="right") - 1
    row = np.where(upto[:, None] >= 0, newest[np.maximum(upto, 0)], -1)
    value = np.take_along_axis(grid, np.maximum(row, 0), axis=0)
    age = asked[:, None] - told[np.maximum(row, 0)]
    fresh: np.ndarray = np.where((row >= 0) & (age < oldest / timedelta(microseconds=1)), value, np.nan)
    return fresh
