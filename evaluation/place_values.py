"""What the places of a scope told of each indicator, as of each of many moments at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from features.days import MICROSECOND, us_of
from features.duck import connect, files_stay
from features.indicator_sums import indicators_of
from features.indicator_tables import folder, newest_sql, wide_columns
from features.indicators import Indicator, Quantile
from features.table import arrow_schema


@dataclass(frozen=True)
class Span:
    """How far back is looked: what was told within `pool` is pooled; without any, the newest value within `oldest`.

    every: how long a window of the monitor is.
    """

    pool: timedelta
    oldest: timedelta
    every: timedelta


@dataclass(frozen=True)
class Told:
    """What places (p) told of one indicator, window by window (m). at: the windows' ends, ascending, microseconds."""

    values: np.ndarray
    samples: np.ndarray
    at: np.ndarray


@dataclass(frozen=True)
class PlaceValues:
    """Values of places (p) at moments (t). values, samples: by indicator id, (t, p); NaN is unknown.

    windows: by indicator id, (t, p), `told_in`. An id that nobody told is missing.
    """

    ids: tuple[str, ...]
    values: Mapping[str, np.ndarray]
    samples: Mapping[str, np.ndarray]
    windows: Mapping[str, np.ndarray]


def read(
    workspace: Path, scope: str, indicators: Sequence[Indicator], *, ends: Sequence[datetime], span: Span
) -> PlaceValues:
    """Return what each place of a scope told of each indicator by each moment.

    ends: ascending. A value is as old as the end of its window; of each window the version counts that was created
    last. Pooled ratios are sums over sums, pooled means are weighed by samples; of quantiles the median is taken.
    """
    wanted = indicators_of(scope, indicators)
    rows = _rows(workspace, scope, wanted, (ends[0] - max(span.oldest, span.pool), ends[-1]))
    if not len(rows):
        return PlaceValues((), {}, {}, {})
    ids, places = np.unique(rows["scope_id"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)
    told, line = np.unique(rows["window_end"].cast("int64").to_numpy(), return_inverse=True)
    asked = np.array([us_of(one) for one in ends])
    values, samples, windows = {}, {}, {}
    for one in wanted:
        grids = np.full((2, len(told), len(ids)), np.nan)
        for grid, name in zip(grids, (one.id, f"{one.id}__samples"), strict=True):
            grid[line, places] = rows[name].to_numpy(zero_copy_only=False).astype("float64")
        pool = middle_of if isinstance(one.aggregate, Quantile) else ratio_of
        mine = Told(grids[0], grids[1], told)
        values[one.id], samples[one.id] = as_of(mine, asked, span=span, pool=pool)
        windows[one.id] = told_in(mine, asked, span)
    return PlaceValues(tuple(map(str, ids)), values, samples, windows)


def _rows(
    workspace: Path, scope: str, wanted: Sequence[Indicator], within: tuple[datetime, datetime]
) -> pa.Table:
    since, until = within
    days = (f"date={since:%F}", f"date={until:%F}")
    files = sorted(
        f for f in folder(workspace, scope).rglob("*.parquet") if days[0] <= f.parent.name <= days[1]
    )
    if not wanted or not files:
        return pa.table({})
    where = (
        f"window_end > TIMESTAMPTZ '{since.isoformat()}' AND window_end <= TIMESTAMPTZ '{until.isoformat()}'"
    )
    names = [column.name for column in wide_columns(wanted) if column.name != "created"]
    with files_stay(), connect(threads=1) as connection:
        connection.register("template", arrow_schema(wide_columns(wanted)).empty_table())
        return connection.execute(
            f"SELECT * FROM ({newest_sql(files, names, where=where)}) ORDER BY window_end, scope_id"
        ).to_arrow_table()


def as_of(
    told: Told, asked: np.ndarray, *, span: Span, pool: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return values and samples (t, p) of the columns of what was told, by each asked moment.

    asked: ascending, in microseconds. pool: `ratio_of` or `middle_of`. What is pooled is ordered from the newest row to
    the oldest, so that it does not depend on how many moments are asked at once.
    """
    upto = np.searchsorted(told.at, asked, side="right")
    since = np.searchsorted(told.at, asked - span.pool // MICROSECOND, side="right")
    back = np.arange(int((upto - since).max(initial=0)))[:, None]
    rows = np.maximum(upto - 1 - back, 0)
    mine = (upto - 1 - back >= since)[:, :, None] & ~np.isnan(told.values[rows]) & (told.samples[rows] > 0)
    samples = np.where(mine, told.samples[rows], 0.0)
    pooled = pool(np.where(mine, told.values[rows], np.nan), samples)
    newest, age = _newest(told.values, told.at, asked, upto)
    old = np.where(age < span.oldest / MICROSECOND, newest, -1)
    last, count = (
        np.where(old >= 0, np.take_along_axis(of, np.maximum(old, 0), axis=0), np.nan)
        for of in (told.values, told.samples)
    )
    some = samples.sum(axis=0)
    return np.where(some > 0, pooled, last), np.where(some > 0, some, count)


def told_in(told: Told, asked: np.ndarray, span: Span) -> np.ndarray:
    """Return in how many of the windows that `pool` holds each place told a value, by each asked moment (t, p)."""
    some = ~np.isnan(told.values) & (told.samples > 0)
    before = np.concatenate([np.zeros((1, some.shape[1]), "int64"), some.cumsum(axis=0)])
    every = span.every // MICROSECOND
    edges = [
        before[np.searchsorted(told.at, asked - back * every, side="right")]
        for back in range(span.pool // span.every + 1)
    ]
    found: np.ndarray = np.sum([late > early for late, early in pairwise(edges)], axis=0)
    return found


def ratio_of(values: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Return the mean of values (n, t, p) weighed by samples: of ratios, sums over sums."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean: np.ndarray = (np.nan_to_num(values) * samples).sum(axis=0) / samples.sum(axis=0)
    return mean


def middle_of(values: np.ndarray, samples: np.ndarray) -> np.ndarray:  # noqa: ARG001  # as ratio_of
    """Return the median of values (n, t, p): of quantiles, so that one window alone is not an hour."""
    ordered = np.sort(values, axis=0)
    known = (~np.isnan(ordered)).sum(axis=0)
    low, high = (
        np.take_along_axis(ordered, row[None], axis=0)[0] if len(values) else np.full(known.shape, np.nan)
        for row in (np.maximum((known - 1) // 2, 0), np.minimum(known // 2, max(len(values) - 1, 0)))
    )
    return 0.5 * (low + high)


def _newest(
    values: np.ndarray, told: np.ndarray, asked: np.ndarray, upto: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the row of the newest number of each column by each moment (-1: none), and its age in microseconds."""
    rows = np.arange(len(told))[:, None]
    last = np.maximum.accumulate(np.where(np.isnan(values), -1, rows), axis=0)
    newest = np.where(upto[:, None] > 0, last[np.maximum(upto - 1, 0)], -1)
    return newest, asked[:, None] - told[np.maximum(newest, 0)]
