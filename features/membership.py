"""MEMBERSHIP: which cell, TAC, MME, platform node, app, fleet, city and province a device hung on, and since when.

A later row of a device ends the earlier one, if that did not end before. Of two rows with one valid_from the one that
tells when it ended stands.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from features import lake, records
from features.duck import as_frame, connect, files_stay, listed
from features.service_names import known_processes, rules_broken
from features.table import Column, empty_table

PLACES = ("cell", "tac", "mme", "platform_node", "app", "fleet", "city", "province")
MEMBERSHIP: tuple[Column, ...] = (
    Column("device_id", "string", "-", "the device"),
    Column("service", "string", "-", "id of the service it runs (configs/services)"),
    *(Column(place, "string", "-", f"its {place}; empty where it has none", empty=True) for place in PLACES),
    Column("valid_from", "timestamp", "UTC", "first instant of this row"),
    Column("valid_to", "timestamp", "UTC", "first instant after it; empty while it lasts", empty=True),
)
KIND = "membership"


def load(sources: Sequence[str], workspace: Path) -> records.LoadSummary:
    """Bring files under MEMBERSHIP (Parquet or CSV) into the lake; one that lies there changes nothing.

    A file that breaks the contract is refused as a whole and named in the summary; a row of a service that
    configs/services do not know is quarantined.
    Raises FileNotFoundError of a source, ValueError of the configuration, TimeoutError where another process writes.
    """
    known = known_processes(workspace)

    def check(frame: pd.DataFrame) -> "pd.Series[str]":
        _check(frame)
        return rules_broken(frame, known)

    return records.load(sources, workspace, records.Contract(KIND, MEMBERSHIP, "valid_from", check))


def _check(frame: pd.DataFrame) -> None:
    """Refuse rows that end before they begin."""
    wrong = (frame["valid_to"] <= frame["valid_from"]).to_numpy()
    if wrong.any():
        row = frame.index[wrong][0]
        fact = f"{frame['valid_from'][row]} and {frame['valid_to'][row]}"
        raise ValueError(f"membership.valid_to must be after valid_from, but row {row} has {fact}")


def files(workspace: Path) -> list[Path]:
    """Return the Parquet files of the membership in the lake."""
    return lake.delivered(workspace, KIND, KIND)


_LASTING = "TIMESTAMPTZ '9999-12-31 00:00:00+00'"


def stays_sql(paths: Sequence[Path], *, span: tuple[datetime, datetime] | None = None) -> str:
    """Return the SQL of MEMBERSHIP as it holds: of one device no two rows at a time, valid_to never empty.

    span: only of what holds at some time from the first moment on and before the second.
    """
    names = ", ".join(column.name for column in MEMBERSHIP[:-2])
    if not paths:
        texts = ", ".join(f"CAST(NULL AS VARCHAR) AS {column.name}" for column in MEMBERSHIP[:-2])
        return f"SELECT {texts}, now() AS valid_from, now() AS valid_to WHERE false"
    begun = f"WHERE valid_from < TIMESTAMPTZ '{span[1].isoformat()}'" if span else ""
    lasting = f"WHERE valid_to > TIMESTAMPTZ '{span[0].isoformat()}'" if span else ""
    return f"""
        SELECT * FROM (
            SELECT {names}, valid_from, least(
                coalesce(valid_to, {_LASTING}),
                lead(valid_from, 1, {_LASTING}) OVER (PARTITION BY device_id ORDER BY valid_from)
            ) AS valid_to
            FROM (
                SELECT * FROM read_parquet([{listed(paths)}], hive_partitioning = false) {begun}
                QUALIFY row_number() OVER (
                    PARTITION BY device_id, valid_from ORDER BY valid_to NULLS LAST, {names}
                ) = 1
            )
        ) {lasting}"""


def moved(before: Sequence[Path], after: Sequence[Path]) -> list[tuple[datetime, datetime]]:
    """Return spans in which files place a device elsewhere than those before: after the first moment, up to the second.

    One span stands for all that begin and end on the same days: the earliest beginning and the latest end.
    """
    held = f"device_id, {', '.join(PLACES)}, valid_from"
    with connect(threads=2) as connection:
        for name, paths in (("earlier", before), ("later", after)):
            connection.execute(
                f"CREATE TEMP TABLE {name} AS SELECT {held}, valid_to FROM ({stays_sql(paths)})"
            )
        found = connection.execute(
            # What begins alike in both differs between its two ends, anything else from its beginning on.
            "SELECT min(first), max(last) FROM ("
            " SELECT CASE WHEN count(*) = 2 THEN min(valid_to) ELSE valid_from END AS first, max(valid_to) AS last"
            " FROM ((SELECT * FROM earlier EXCEPT SELECT * FROM later) UNION ALL"
            f" (SELECT * FROM later EXCEPT SELECT * FROM earlier)) GROUP BY {held})"
            " GROUP BY first::DATE, (last - INTERVAL 1 MICROSECOND)::DATE"
        ).fetchall()
    return [(first.astimezone(UTC), last.astimezone(UTC)) for first, last in found]


def rows(workspace: Path) -> pd.DataFrame:
    """Return MEMBERSHIP as it holds, by device and time; valid_to is empty for what lasts."""
    found = files(workspace)
    if not found:
        return empty_table(MEMBERSHIP)
    with files_stay(), connect(threads=2) as connection:
        lasting = f"nullif(valid_to, {_LASTING}) AS valid_to"
        sql = f"SELECT * REPLACE ({lasting}) FROM ({stays_sql(found)}) ORDER BY device_id, valid_from"
        return as_frame(connection.execute(sql).to_arrow_table(), MEMBERSHIP)


def held(workspace: Path, at: datetime) -> pd.DataFrame:
    """Return MEMBERSHIP as it holds at a moment, by device; valid_to is empty for what lasts."""
    found = files(workspace)
    if not found:
        return empty_table(MEMBERSHIP)
    with files_stay(), connect(threads=2) as connection:
        stays = stays_sql(found, span=(at, at + timedelta(microseconds=1)))
        sql = f"SELECT * REPLACE (nullif(valid_to, {_LASTING}) AS valid_to) FROM ({stays}) ORDER BY device_id"
        return as_frame(connection.execute(sql).to_arrow_table(), MEMBERSHIP)


def places(workspace: Path, device_id: str, at: datetime) -> dict[str, str]:
    """Return scope -> id of all that a device hung on at a moment, itself included; without what it has none of.

    Raises LookupError for a device that is in no row then.
    """
    asked = pd.DataFrame({"device_id": [device_id], "event_timestamp": [pd.Timestamp(at)]})
    found = as_of(asked, workspace).iloc[0]
    if pd.isna(found["service"]):
        raise LookupError(f"no membership of device {device_id!r} at {at:%F %T%z}; load one that covers it")
    return {
        "device": device_id,
        **{place: str(found[place]) for place in PLACES if not pd.isna(found[place])},
    }


def services(workspace: Path, at: datetime) -> dict[str, str]:
    """Return the service of each device that is in a row at a moment."""
    return dict(_asked(workspace, "SELECT device_id, service FROM stays", at))


def devices_of_services(workspace: Path, at: datetime) -> dict[str, int]:
    """Return how many devices each service has at a moment."""
    return dict(_asked(workspace, "SELECT service, count(*) FROM stays GROUP BY service", at))


def _asked(workspace: Path, sql: str, at: datetime) -> list[tuple[Any, Any]]:  # Any: as DuckDB gives it
    """Return the rows of a query of `stays`, MEMBERSHIP as it holds at a moment."""
    stays = stays_sql(files(workspace), span=(at, at + timedelta(microseconds=1)))
    with files_stay(), connect(threads=2) as connection:
        return connection.execute(f"WITH stays AS ({stays}) {sql}").fetchall()


def as_of(entities: pd.DataFrame, workspace: Path) -> pd.DataFrame:
    """Return the entities with service and places of the device at event_timestamp; <NA> where none is known.

    entities: device_id, event_timestamp (aware), any other columns. Every row, order and index stay.
    """
    added = [column.name for column in MEMBERSHIP[1:-2]]
    if taken := [name for name in added if name in entities]:
        raise ValueError(f"entities must leave the names of what is added free, but have {taken}")
    found = files(workspace)
    if not found:
        return entities.assign(**{name: pd.Series(pd.NA, entities.index, dtype="string") for name in added})
    asked = entities[["device_id", "event_timestamp"]].assign(place=np.arange(len(entities)))
    with files_stay(), connect(threads=2) as connection:
        joined = _joined(connection, asked, stays_sql(found), added)
    known = joined.set_index("place").reindex(pd.RangeIndex(len(entities))).astype("string")
    return pd.concat([entities, known.set_axis(entities.index)], axis=1)


def _joined(
    connection: duckdb.DuckDBPyConnection, asked: pd.DataFrame, stays: str, added: Sequence[str]
) -> pd.DataFrame:
    connection.register("asked", asked)
    one_device = " WHERE device_id IN (SELECT device_id FROM asked)"
    return connection.execute(
        f"SELECT place, {', '.join(added)} FROM asked JOIN (SELECT * FROM ({stays}){one_device}) stays"
        " USING (device_id) WHERE event_timestamp >= valid_from AND event_timestamp < valid_to"
    ).df()
