"""BEHAVIOUR: what a device did over the last days and what is known of it at a moment, one row per device.

Of its flows and its membership it is computed here, by one function for frames and for a lake; what terminals,
indicators and windows told stands beside it under their own names. What nobody told is empty, never zero.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa

from features import lake, membership
from features.duck import connect, files_stay, listed
from features.flows import FLOWS
from features.table import Column, arrow_schema

if TYPE_CHECKING:
    import duckdb

LOOK_BACK = timedelta(days=7)  # judgement: marks of place and movement speak of a week
SERVED_BY: tuple[Column, ...] = (
    Column("service", "string", "-", "its service, by membership", empty=True),
    Column("fleet", "string", "-", "its fleet, by membership", empty=True),
)
FROM_MEMBERSHIP: tuple[Column, ...] = (
    Column("cells", "float64", "1", "cells it was in", low=1, empty=True),
    Column("most_cells_a_day", "float64", "1", "cells it was in, of the day with most", low=1, empty=True),
    Column("two_cells_share", "float64", "1", "of the time, in its two usual cells", 0, 1, empty=True),
    Column("moves_per_day", "float64", "per_day", "changes of cell", low=0, empty=True),
    Column("away_from_home", "float64", "1", "1: in another province than mostly", 0, 1, empty=True),
)
FROM_FLOWS: tuple[Column, ...] = (
    Column("flows_seen", "float64", "1", "flows", low=1, empty=True),
    Column("flows_per_day", "float64", "per_day", "flows", low=0, empty=True),
    Column("bytes_per_day", "float64", "byte/day", "of both directions", low=0, empty=True),
    Column("down_up_ratio", "float64", "1", "bytes down over bytes up", low=0, empty=True),
    Column("up_bytes_per_flow", "float64", "byte", "median", low=0, empty=True),
    Column("servers_a_day", "float64", "1", "public peers, of the day with most", low=0, empty=True),
    Column("tcp_flow_share", "float64", "1", "of its flows", 0, 1, empty=True),
    Column("network_started_per_day", "float64", "per_day", "flows that the peer began", low=0, empty=True),
    Column("flow_seconds", "float64", "s", "how long a flow lasts, median", low=0, empty=True),
    Column("active_hours_a_day", "float64", "h", "hours of a day with flows, mean", 0, 24, empty=True),
    Column("night_flow_share", "float64", "1", "of flows, begun before 06:00 UTC", 0, 1, empty=True),
    Column(
        "usual_gap_h", "float64", "h", "between flows, 90th percentile of three or more", low=0, empty=True
    ),
    Column("silent_h", "float64", "h", "since its last flow", low=0, empty=True),
    Column("silence_ratio", "float64", "1", "silent_h over usual_gap_h", low=0, empty=True),
    Column(
        "flows_over_fleet", "float64", "1", "flows_per_day over the median of its fleet", low=0, empty=True
    ),
    Column(
        "bytes_over_fleet", "float64", "1", "bytes_per_day over the median of its fleet", low=0, empty=True
    ),
)
FROM_TERMINAL: tuple[Column, ...] = (
    Column(
        "battery_days_left",
        "float64",
        "day",
        "until a charge of 10 % at the drain of two weeks",
        low=0,
        empty=True,
    ),
)
BEHAVIOUR: tuple[Column, ...] = (
    Column("device_id", "string", "-", "the device"),
    *SERVED_BY,
    Column("observed_days", "float64", "day", "since it was first heard of", low=0, empty=True),
    *FROM_MEMBERSHIP,
    *FROM_FLOWS,
)
OF_THE_LAKE = (
    "observed_days",
    "flows_seen",
)  # how long it was looked at: equal for all devices of a lake, and another one in the next
READS = ("device_id", "start", "end", "initiated_by_device", "protocol", "peer_ip", "up_bytes", "down_bytes")
STAYS = ("device_id", "service", "cell", "fleet", "province", "valid_from", "valid_to")
_LEAST_GAPS = 3  # of a device, to call one usual
_LEAST_DAYS = 1.0  # observed, to tell a rate per day
_LEAST_FLEET = 5  # devices that tell a rate, to have a median
_PRIVATE = (  # peers that are no server: of the local network, and to many
    r"^(10\.|127\.|169\.254\.|192\.168\.|172\.(1[6-9]|2[0-9]|3[01])\.|22[4-9]\.|23[0-9]\.|255\.|0\.|f[cdef]|::)"
)

_FLOWS = f"""
WITH told AS (
    SELECT *, "start"::DATE AS day, extract(hour FROM "start") AS hour, epoch("start") / 3600 AS start_h
    FROM flows WHERE "start" >= $since AND "end" <= $at
), spaced AS (
    SELECT *, start_h - lag(start_h) OVER (PARTITION BY device_id ORDER BY start_h) AS gap_h FROM told
), days AS (
    SELECT device_id, count(DISTINCT peer_ip) FILTER (NOT regexp_matches(lower(peer_ip), $private)) AS servers,
        count(DISTINCT hour) AS hours
    FROM told GROUP BY device_id, day
), daily AS (SELECT device_id, max(servers) AS servers_a_day, avg(hours) AS active_hours_a_day FROM days GROUP BY 1)
SELECT device_id, count(*)::DOUBLE AS flows_seen, sum(up_bytes + down_bytes)::DOUBLE AS bytes,
    CASE WHEN sum(up_bytes) > 0 THEN sum(down_bytes) / sum(up_bytes) END AS down_up_ratio,
    median(up_bytes)::DOUBLE AS up_bytes_per_flow, any_value(servers_a_day)::DOUBLE AS servers_a_day,
    avg((protocol = 6)::INT) AS tcp_flow_share, sum((NOT initiated_by_device)::INT)::DOUBLE AS network_started,
    median(epoch("end") - epoch("start")) AS flow_seconds, any_value(active_hours_a_day) AS active_hours_a_day,
    avg((hour < 6)::INT) AS night_flow_share,
    CASE WHEN count(gap_h) >= {_LEAST_GAPS} THEN quantile_cont(gap_h, 0.9) END AS usual_gap_h,
    (epoch($at) - epoch(max("end"))) / 3600 AS silent_h, epoch(min("start")) AS first_s
FROM spaced LEFT JOIN daily USING (device_id) GROUP BY device_id
"""

_STAYS = """
WITH held AS (
    SELECT device_id, service, cell, fleet, province, valid_from AS begun,
        greatest(valid_from, $since) AS began, least(coalesce(valid_to, $at), $at) AS ended
    FROM stays WHERE valid_from < $at AND (valid_to IS NULL OR valid_to > $since)
), in_cell AS (
    SELECT device_id, cell, sum(epoch(ended) - epoch(began)) AS s,
        row_number() OVER (PARTITION BY device_id ORDER BY sum(epoch(ended) - epoch(began)) DESC, cell) AS place
    FROM held WHERE cell IS NOT NULL GROUP BY device_id, cell
), usual AS (
    SELECT device_id, count(*)::DOUBLE AS cells,
        sum(CASE WHEN place <= 2 THEN s ELSE 0 END) / nullif(sum(s), 0) AS two_cells_share
    FROM in_cell GROUP BY device_id
), by_day AS (
    SELECT device_id, unnest(generate_series(began::DATE, (ended - INTERVAL 1 MICROSECOND)::DATE, INTERVAL 1 DAY))
        AS day, cell
    FROM held WHERE cell IS NOT NULL
), busiest AS (
    SELECT device_id, max(n)::DOUBLE AS most_cells_a_day
    FROM (SELECT device_id, day, count(DISTINCT cell) AS n FROM by_day GROUP BY ALL) GROUP BY device_id
), homes AS (
    SELECT device_id, arg_max(province, s) AS home
    FROM (SELECT device_id, province, sum(epoch(ended) - epoch(began)) AS s FROM held
          WHERE province IS NOT NULL GROUP BY ALL) GROUP BY device_id
)
SELECT device_id, arg_max(service, ended) AS service, arg_max(fleet, ended) AS fleet,
    epoch(min(begun)) AS known_s, any_value(cells) AS cells, any_value(most_cells_a_day) AS most_cells_a_day,
    any_value(two_cells_share) AS two_cells_share,
    CASE WHEN any_value(cells) IS NOT NULL THEN (count(cell) - 1)::DOUBLE END AS moves,
    (arg_max(province, ended) <> any_value(home))::INT::DOUBLE AS away_from_home
FROM held LEFT JOIN usual USING (device_id) LEFT JOIN busiest USING (device_id) LEFT JOIN homes USING (device_id)
GROUP BY device_id
"""


def behaviour(
    flows: pd.DataFrame, stays: pd.DataFrame, *, at: pd.Timestamp, look_back: timedelta = LOOK_BACK
) -> pd.DataFrame:
    """Return BEHAVIOUR at a moment of devices with these flows and stays, by device_id.

    flows: the columns READS of FLOWS. stays: the columns STAYS of MEMBERSHIP. A flow counts once it has ended.
    """
    with connect(threads=1) as connection:
        connection.register("told_flows", _arrow(flows, FLOWS, READS))
        connection.register("told_stays", _arrow(stays, membership.MEMBERSHIP, STAYS))
        connection.execute("CREATE TEMP VIEW flows AS SELECT * FROM told_flows")
        connection.execute("CREATE TEMP VIEW stays AS SELECT * FROM told_stays")
        return _behaviour(connection, at, look_back)


def of_lake(workspace: Path, *, at: pd.Timestamp, look_back: timedelta = LOOK_BACK) -> pd.DataFrame:
    """Return BEHAVIOUR at a moment of all devices that the lake's flows and membership speak of, by device_id."""
    first, last = (at - look_back - timedelta(days=1), at)
    near = [
        file for file in lake.flows(workspace) if f"date={first:%F}" <= file.parent.name <= f"date={last:%F}"
    ]
    with _opened(near, membership.files(workspace), span=(at - look_back, at)) as connection:
        return _behaviour(connection, at, look_back)


@contextmanager
def _opened(
    flows: Sequence[Path], stays: Sequence[Path], *, span: tuple[pd.Timestamp, pd.Timestamp]
) -> Iterator["duckdb.DuckDBPyConnection"]:
    with files_stay(), connect(threads=2) as connection:
        connection.register("no_flows", arrow_schema(FLOWS).empty_table())
        read = f"read_parquet([{listed(flows)}], hive_partitioning = false)" if flows else "no_flows"
        connection.execute(f"CREATE TEMP VIEW flows AS SELECT * FROM {read}")
        held = membership.stays_sql(stays, span=(span[0].to_pydatetime(), span[1].to_pydatetime()))
        connection.execute(f"CREATE TEMP VIEW stays AS {held}")
        yield connection


def _behaviour(
    connection: "duckdb.DuckDBPyConnection", at: pd.Timestamp, look_back: timedelta
) -> pd.DataFrame:
    moment, since = at.to_pydatetime(), (at - look_back).to_pydatetime()
    span = {"at": moment, "since": since}
    told = connection.execute(_FLOWS, {**span, "private": _PRIVATE}).df().set_index("device_id")
    held = connection.execute(_STAYS, span).df().set_index("device_id")
    frame = held.join(told, how="outer").sort_index()
    first_s = frame[["known_s", "first_s"]].min(axis=1).clip(lower=_lake_begins(connection, since))
    frame["observed_days"] = ((at.timestamp() - first_s) / 86_400).clip(lower=0)
    days = frame["observed_days"].where(frame["observed_days"] >= _LEAST_DAYS)
    for name in ("flows_seen", "bytes", "network_started", "moves"):
        frame[name.removesuffix("_seen") + "_per_day"] = frame[name] / days
    frame["silence_ratio"] = frame["silent_h"] / frame["usual_gap_h"].where(frame["usual_gap_h"] > 0)
    for name in ("flows", "bytes"):
        frame[f"{name}_over_fleet"] = _over_median(frame[f"{name}_per_day"], frame["fleet"])
    wanted = [column.name for column in BEHAVIOUR]
    typed = frame.reset_index()[wanted].astype({column.name: "string" for column in BEHAVIOUR[:3]})
    return typed.astype({column.name: "float64" for column in BEHAVIOUR[3:]})


def _lake_begins(connection: "duckdb.DuckDBPyConnection", since: "pd.Timestamp | object") -> float:
    """Return from when on flows are known at all, s since 1970: a rate must not count days before it."""
    ((first,),) = connection.execute(
        'SELECT epoch(min("start")) FROM flows WHERE "start" >= $since', {"since": since}
    ).fetchall()
    return float(first) if first is not None else float(pd.Timestamp(str(since)).timestamp())


def _over_median(rate: "pd.Series[float]", fleet: "pd.Series[str]") -> "pd.Series[float]":
    """Return each rate over the median of its fleet; empty where the fleet is too small to have one."""
    grouped = rate.groupby(fleet)
    usual = grouped.transform("median").where(grouped.transform("count") >= _LEAST_FLEET)
    return rate / usual.where(usual > 0)


def battery_days_left(level: np.ndarray, drain: np.ndarray) -> np.ndarray:
    """Return days until a charge of 10 %, by level (%) and drain (%/day); without drain as many as at 0.01 %/day."""
    return np.asarray(np.maximum(level - 10.0, 0.0) / np.maximum(drain, 0.01))


def _arrow(frame: pd.DataFrame, contract: Sequence[Column], names: Sequence[str]) -> pa.Table:
    columns = [column for column in contract if column.name in names]
    fields = pa.schema([pa.field(column.name, column.arrow) for column in columns])
    return pa.Table.from_pandas(frame[list(fields.names)], schema=fields, preserve_index=False)
