"""All that is known of devices at a moment, side by side: BEHAVIOUR, terminal records, indicators, a window."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features import behaviour, indicator_sums, indicator_tables, lake, terminal
from features.duck import connect, files_stay, listed
from features.indicators import all_indicators, read_terminal
from features.point_in_time import as_of
from features.table import Column, arrow_schema
from features.windowing import FEATURES

WINDOW = "window_"  # begins the name of a feature of a window
TELLS_FOR = timedelta(days=3)  # a terminal record is made each day; two may get lost
INDICATES_FOR = timedelta(days=14)  # the window of a device's indicators looks back 7 days
DRAINS_OVER = timedelta(days=14)  # judgement: long enough for a mean, short enough for a defect to show
_LEVEL, _DRAIN = "term_battery_level", "term_battery_drain"
_NUMBERS = ("int64", "float64", "bool")


def columns(workspace: Path | None = None) -> dict[str, Column]:
    """Return every feature that can be known of a device, by name; one name means one thing.

    Raises ValueError for a name that two sources give.
    """
    indicators = indicator_sums.indicators_of("device", all_indicators(workspace))
    every = [
        *behaviour.BEHAVIOUR[3:],
        *behaviour.FROM_TERMINAL,
        *(Column(one.id, "float64", one.unit, one.name, empty=True) for one in read_terminal(workspace)),
        *(Column(one.id, "float64", one.unit, one.name, empty=True) for one in indicators),
        *(_of_window(feature.column) for feature in FEATURES if feature.column.dtype in _NUMBERS),
    ]
    found = {column.name: column for column in every}
    if len(found) < len(every):
        names = [column.name for column in every]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"one name must mean one feature of a device, but two have {', '.join(twice)}")
    return found


def known(
    workspace: Path, *, at: pd.Timestamp, window: str | None = None, of_window: Collection[str] = ()
) -> pd.DataFrame:
    """Return what is known of each device at a moment, one row each: BEHAVIOUR, then all other features.

    window, of_window: of which window which features (with their prefix) are wanted. NaN is unknown.
    """
    done = behaviour.of_lake(workspace, at=at)
    ids = sorted(set(done["device_id"]) | _told_of(workspace, at))
    frame = pd.DataFrame({"device_id": pd.array(ids, dtype="string")}).merge(
        done, on="device_id", how="left", validate="1:1"
    )
    asked = frame[["device_id"]].assign(event_timestamp=at)
    parts = [_terminal(asked, workspace), _indicators(asked, workspace)]
    if window is not None and of_window:
        parts.append(_window(asked, workspace, window, of_window))
    return pd.concat([frame, *parts], axis=1)


def newest_moment(workspace: Path) -> pd.Timestamp:
    """Return the end of the quarter of an hour in which the lake was last told anything of a device.

    Raises LookupError where it was told nothing.
    """
    ends = [
        pq.read_table(file, columns=["end"], partitioning=None)["end"].to_pandas().max()
        for file in lake.flows(workspace)[-8:]
    ]
    told = lake.deliveries(workspace, terminal.KIND).values()
    ends += [pd.Timestamp(one.last) for one in told if one.used]
    if not ends:
        raise LookupError(
            f"no flow and no terminal record in {workspace}; run iotlens ingest or province load first, "
            "or give iotlens mark the moment by --at"
        )
    return pd.Timestamp(max(ends)).tz_convert("UTC").ceil("15min")


def _of_window(column: Column) -> Column:
    return Column(f"{WINDOW}{column.name}", "float64", column.unit, column.description, empty=True)


def _told_of(workspace: Path, at: pd.Timestamp) -> set[str]:
    """Return the devices that terminal records of the last days speak of."""
    return set(_records(workspace, at, TELLS_FOR, "device_id")["device_id"])


def _records(workspace: Path, at: pd.Timestamp, back: timedelta, wanted: str) -> pd.DataFrame:
    """Return what is wanted (SQL, by what is no aggregate) of the terminal records of some time up to a moment."""
    files = lake.delivered(workspace, terminal.KIND, terminal.KIND)
    if not files:
        return pd.DataFrame({"device_id": [], "drain": []})
    span = {"since": (at - back).to_pydatetime(), "at": at.to_pydatetime()}
    told = f"read_parquet([{listed(files)}], hive_partitioning = false)"
    with files_stay(), connect(threads=2) as connection:
        return connection.execute(
            f'SELECT {wanted} FROM {told} WHERE "at" > $since AND "at" <= $at GROUP BY ALL', span
        ).df()


def _terminal(asked: pd.DataFrame, workspace: Path) -> pd.DataFrame:
    names = [one.id for one in read_terminal(workspace)]
    told = terminal.as_of(asked, workspace)
    values = pd.DataFrame(
        {
            name: told[name].where(asked["event_timestamp"] - told[f"{name}__at"] <= TELLS_FOR)
            for name in names
        }
    )
    level = values[_LEVEL] if _LEVEL in names else pd.Series(float("nan"), asked.index)
    left = behaviour.battery_days_left(level.to_numpy(), _mean_drain(asked, workspace))
    return values.assign(battery_days_left=left)


def _mean_drain(asked: pd.DataFrame, workspace: Path) -> np.ndarray:
    """Return the mean drain that each device told of the last two weeks, %/day: that of one day is luck."""
    if asked.empty:
        return np.empty(0)
    at = asked["event_timestamp"].iloc[0]
    mean = f"device_id, avg(value) FILTER (WHERE indicator = '{_DRAIN}') AS drain"
    told = _records(workspace, at, DRAINS_OVER, mean)
    drain = told.set_index("device_id")["drain"]
    return np.asarray(drain.reindex(asked["device_id"].astype(object)), dtype=np.float64)


def _indicators(asked: pd.DataFrame, workspace: Path) -> pd.DataFrame:
    wanted = indicator_sums.indicators_of("device", all_indicators(workspace))
    names = [one.id for one in wanted]
    at = asked["event_timestamp"].iloc[0] if len(asked) else None
    files = sorted(indicator_tables.folder(workspace, "device").rglob("*.parquet"))
    if at is None or not files:
        return pd.DataFrame(float("nan"), index=asked.index, columns=names)
    near = [f for f in files if f"date={at - INDICATES_FOR:%F}" <= f.parent.name <= f"date={at:%F}"]
    if not near:
        return pd.DataFrame(float("nan"), index=asked.index, columns=names)
    whole = indicator_tables.wide_columns(wanted)
    where = f"window_end <= TIMESTAMPTZ '{at.isoformat()}'"
    with files_stay(), connect(threads=2) as connection:
        connection.register("template", arrow_schema(whole).empty_table())
        newest = indicator_tables.newest_sql(near, ["scope_id", "window_end", *names], where=where)
        last = "row_number() OVER (PARTITION BY scope_id ORDER BY window_end DESC) = 1"
        table = connection.execute(f"SELECT * FROM ({newest}) QUALIFY {last}").to_arrow_table()
    return _beside(asked, table, key="scope_id", names={name: name for name in names})


def _window(asked: pd.DataFrame, workspace: Path, window: str, of_window: Collection[str]) -> pd.DataFrame:
    own = {f"{WINDOW}{feature.column.name}": feature.column for feature in FEATURES}
    picked = [own[name] for name in sorted(of_window)]
    files = sorted((workspace / "lake" / "windows" / f"window={window}").rglob("*.parquet"))
    if not files:
        return pd.DataFrame(float("nan"), index=asked.index, columns=sorted(of_window))
    found = as_of(asked, files, features=picked, ttl=INDICATES_FOR).drop(columns="window_end")
    return found.astype("float64").add_prefix(WINDOW).set_axis(asked.index)


def _beside(asked: pd.DataFrame, table: pa.Table, *, key: str, names: Mapping[str, str]) -> pd.DataFrame:
    found = table.to_pandas().set_index(key)[list(names)]
    placed: pd.DataFrame = found.reindex(asked["device_id"].astype(object)).set_axis(asked.index)
    return placed.astype("float64")
