"""What is known of a device and of all that it hangs on, at one moment: the evidence that a fault is judged by."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from features.duck import connect, files_stay
from features.indicator_sums import indicators_of
from features.indicators import Indicator
from features.table import Column

LOOK_BACK = timedelta(days=7)  # older values are no evidence; also the days of history of `delta`
SAME_HOUR = timedelta(minutes=30)  # a window of an earlier day is of the same hour if it ends this near
LEAST_DAYS = 3  # of history; below, delta and sigma are unknown
_DAY = timedelta(days=1)
_MAD_TO_SIGMA = 1.4826  # of a normal distribution (Rousseeuw & Croux 1993)

EVIDENCE: tuple[Column, ...] = (
    Column(
        "scope", "string", "-", "device, or what it hangs on: cell, tac, mme, platform_node, app, fleet ..."
    ),
    Column("scope_id", "string", "-", "which one"),
    Column("indicator", "string", "-", "id of the indicator"),
    Column(
        "value", "float64", "of the indicator", "newest value that has evidence; empty: unknown", empty=True
    ),
    Column("samples", "float64", "1", "what it rests on", low=0, empty=True),
    Column("window_end", "timestamp", "UTC", "end of its window", empty=True),
    Column("age", "float64", "s", "from window_end to the moment asked about", low=0, empty=True),
    Column(
        "delta", "float64", "of the indicator", "value less the median of that hour of 7 days", empty=True
    ),
    Column(
        "sigma", "float64", "of the indicator", "1.4826 times the median deviation of them", low=0, empty=True
    ),
)


def evidence(
    files: Mapping[str, Sequence[Path]],
    places: Mapping[str, str],
    *,
    at: datetime,
    indicators: Sequence[Indicator],
    known_only: bool = False,
) -> pd.DataFrame:
    """Return EVIDENCE: a row for each place and each indicator that can be computed there, unknown ones too.

    files: by scope, Parquet of its wide indicators (scope_id, window_end, created, <id>, <id>__samples).
    places: by scope, the id of the device itself and of what it hung on at that moment.
    Values later than `at` are not looked at; of several versions of a window the one created last counts, with
    known_only of those that were created by `at`. `places` it cannot judge so: MEMBERSHIP does not tell when it came.
    """
    moment = pd.Timestamp(at).tz_convert("UTC")
    parts = []
    for scope, scope_id in places.items():
        mine = indicators_of(scope, indicators)
        cells = [name for one in mine for name in (one.id, f"{one.id}__samples")]
        rows = _rows(files.get(scope, ()), scope_id, moment, moment if known_only else None)
        rows = rows.reindex(columns=["window_end", *cells])  # a column that nobody wrote is empty
        told = [_told(rows, one.id, moment) for one in mine]
        named = {"scope": scope, "scope_id": scope_id, "indicator": [one.id for one in mine]}
        parts.append(pd.DataFrame(told, columns=_MEASURED).assign(**named))
    columns = [column.name for column in EVIDENCE]
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return found[columns]


_MEASURED = ["value", "samples", "window_end", "age", "delta", "sigma"]


def _rows(
    files: Sequence[Path], scope_id: str, at: pd.Timestamp, known_by: pd.Timestamp | None
) -> pd.DataFrame:
    """Return the windows of one place in the time that matters, as they were known by a moment, oldest first."""
    since = at - 2 * LOOK_BACK - SAME_HOUR  # a value may be as old, and its history goes as far back from it
    days = (f"date={since:%F}", f"date={at:%F}")
    near = [str(file) for file in files if days[0] <= file.parent.name <= days[1]]
    if not near:
        return pd.DataFrame(columns=["window_end"])
    query = """
        SELECT * REPLACE (epoch_us(window_end) AS window_end)
        FROM read_parquet($files, union_by_name = true, hive_partitioning = false)
        WHERE scope_id = $scope_id AND window_end > make_timestamptz($since) AND window_end <= make_timestamptz($at)
          AND ($known_by IS NULL OR created <= make_timestamptz($known_by))
        QUALIFY row_number() OVER (PARTITION BY window_end ORDER BY created DESC) = 1
        ORDER BY window_end
    """
    span = {"since": _microseconds(since), "at": _microseconds(at)}
    known = {"known_by": None if known_by is None else _microseconds(known_by)}
    with files_stay(), connect(threads=2) as duck:
        found: pd.DataFrame = (
            duck.execute(query, {"files": near, "scope_id": scope_id, **span, **known})
            .to_arrow_table()
            .to_pandas()
        )
    found["window_end"] = pd.to_datetime(found["window_end"], unit="us", utc=True)
    return found


def _microseconds(moment: pd.Timestamp) -> int:
    return int(moment.value // 1000)  # pandas counts ns


def _told(rows: pd.DataFrame, indicator: str, at: pd.Timestamp) -> tuple[object, ...]:
    """Return _MEASURED of one indicator: its newest known value, beside the same hour of the days before it."""
    known = rows[["window_end", indicator, f"{indicator}__samples"]].dropna(subset=[indicator])
    if known.empty or at - known["window_end"].iloc[-1] > LOOK_BACK:
        return (np.nan, np.nan, pd.NaT, np.nan, np.nan, np.nan)
    end, value, samples = known.iloc[-1]
    before = end - known["window_end"].iloc[:-1]
    days = (before / _DAY).round()
    same_hour = ((before - days * _DAY).abs() <= SAME_HOUR) & days.between(1, LOOK_BACK / _DAY)
    delta = sigma = np.nan
    if days[same_hour].nunique() >= LEAST_DAYS:
        history = known[indicator].iloc[:-1][same_hour].astype("float64")
        usual = history.median()
        delta, sigma = value - usual, _MAD_TO_SIGMA * (history - usual).abs().median()
    return (value, samples, end, (at - end).total_seconds(), delta, sigma)
