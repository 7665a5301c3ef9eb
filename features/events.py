"""EVENTS: the service event log, one row per attempt of a process: when, where, how each step of it went."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa

from features import lake, records
from features.duck import as_frame, connect, files_stay, listed
from features.service_names import known_processes, rules_broken
from features.table import Column, empty_table
from features.table_files import check_tidy

EVENTS: tuple[Column, ...] = (
    Column("device_id", "string", "-", "the device"),
    Column("service", "string", "-", "its service"),
    Column("process", "string", "-", "the process it attempted, by its id in the service file"),
    Column("cell", "string", "-", "the cell that served it"),
    Column("at", "timestamp", "UTC", "when the attempt began"),
    Column("ok", "bool", "-", "whether every step succeeded"),
    Column("failed_step", "int64", "1", "seq of the step that failed; 0 for none", low=0),
    Column("delay_ms", "float64", "ms", "of all steps together, waiting for a repeat included", low=0),
    Column("repeated", "bool", "-", "whether it follows a failed attempt"),
    Column(
        "step_ms", "int32[]", "ms", "of each step of the process in order; -1 where it was not walked", low=-1
    ),
)
KIND = "events"
_KEY = ("device_id", "service", "process", "at")
_THREADS = 2


def load(sources: Sequence[str], workspace: Path) -> records.LoadSummary:
    """Bring files under EVENTS (Parquet or CSV) into the lake; one that lies there changes nothing.

    A file that breaks the contract is refused as a whole and named in the summary; a row of a service or process
    that configs/services do not know is quarantined.
    Raises FileNotFoundError of a source, ValueError of the configuration, TimeoutError where another process writes.
    """
    known = known_processes(workspace)

    def check(frame: pd.DataFrame) -> "pd.Series[str]":
        _check(frame)
        return rules_broken(frame, known)

    return records.load(sources, workspace, records.Contract(KIND, EVENTS, "at", check))


def _check(frame: pd.DataFrame) -> None:
    """Refuse untidy ids, and outcomes that contradict themselves."""
    check_tidy(frame, ("device_id", "service", "process", "cell"), table=KIND)
    steps, failed = frame["step_ms"].str.len().astype("int64"), frame["failed_step"]
    rules = (
        (frame["ok"] != (failed == 0), "ok where failed_step is 0, and only there"),
        (failed > steps, "at most the number of its steps"),
    )
    for wrong, rule in rules:
        if wrong.any():
            row = frame.index[wrong][0]
            fact = f"row {row} has ok {frame['ok'][row]}, failed_step {failed[row]}, {steps[row]} steps"
            raise ValueError(f"events.failed_step must be {rule}, but {fact}")


def files(workspace: Path, *, since: datetime | None = None, until: datetime | None = None) -> list[Path]:
    """Return the Parquet files of the log that may hold events from `since` (inclusive) until `until` (exclusive)."""
    found = lake.deliveries(workspace, KIND).values()
    return [
        file
        for one in found
        if one.used
        and (until is None or datetime.fromisoformat(one.first) < until)
        and (since is None or datetime.fromisoformat(one.last) >= since)
        for file in _files(workspace, one)
    ]


def _files(workspace: Path, delivery: lake.Delivery) -> list[Path]:
    return [workspace / "lake" / file for file in delivery.files if file.startswith(f"{KIND}/")]


def rows(
    workspace: Path,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    processes: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return EVENTS of the lake, by time: of some processes, from `since` until before `until` (aware).

    An attempt is known by device, service, process and moment: told in two deliveries, it is one. Where these
    contradict each other, the failure stands.
    """
    found = files(workspace, since=since, until=until)
    if not found:
        return empty_table(EVENTS)
    wanted = [f"\"at\" >= TIMESTAMPTZ '{since.isoformat()}'"] if since else []
    wanted += [f"\"at\" < TIMESTAMPTZ '{until.isoformat()}'"] if until else []
    wanted += [f"list_contains([{listed(processes)}], process)"] if processes is not None else []
    others = [column.name for column in EVENTS if column.name not in (*_KEY, "ok")]
    once = f"row_number() OVER (PARTITION BY {_quoted(_KEY)} ORDER BY ok, {_quoted(others)}) = 1"
    sql = (
        f"SELECT * FROM read_parquet([{listed(found)}], hive_partitioning = false)"
        f" WHERE {' AND '.join(wanted) or 'true'} QUALIFY {once} ORDER BY {_quoted(_KEY[::-1])}"
    )
    with files_stay(), connect(threads=_THREADS) as connection:
        return as_frame(connection.execute(sql).to_arrow_table(), EVENTS)


def begun(workspace: Path, processes: Sequence[str]) -> datetime | None:
    """Return when the first attempt of some processes began that the log tells of; None where there is none."""
    told = [one for one in lake.deliveries(workspace, KIND).values() if one.used]
    found: datetime | None = None
    with files_stay(), connect(threads=_THREADS) as connection:
        for one in sorted(told, key=lambda one: datetime.fromisoformat(one.first)):
            if found and datetime.fromisoformat(one.first) >= found:
                break
            table = f"read_parquet([{listed(_files(workspace, one))}], hive_partitioning = false)"
            sql = f'SELECT min("at") AS "at" FROM {table} WHERE list_contains([{listed(processes)}], process)'
            (first,) = connection.execute(sql).to_arrow_table()["at"].to_pylist()
            found = min((moment for moment in (found, first) if moment), default=None)
    return found


def last_arrived(
    workspace: Path,
    device_ids: Sequence[str],
    *,
    since: datetime,
    until: datetime,
    processes: Sequence[str],
) -> "pd.Series[pd.Timestamp]":
    """Return by device when its last attempt began that succeeded, from `since` until before `until` (aware).

    A device without one is missing.
    """
    found = files(workspace, since=since, until=until)
    if not found or not len(device_ids):
        none = pd.DatetimeIndex([], dtype="datetime64[us, UTC]")
        return pd.Series(none, pd.Index([], dtype="object", name="device_id"), name="at")
    within = f"\"at\" >= TIMESTAMPTZ '{since.isoformat()}' AND \"at\" < TIMESTAMPTZ '{until.isoformat()}'"
    sql = (
        f"SELECT {_quoted(_KEY)}, bool_and(ok) AS ok FROM read_parquet([{listed(found)}], hive_partitioning = false)"
        f" WHERE {within} AND list_contains([{listed(processes)}], process)"
        f" AND device_id IN (SELECT device_id FROM asked) GROUP BY {_quoted(_KEY)}"
    )
    with files_stay(), connect(threads=_THREADS) as connection:
        connection.register("asked", pa.table({"device_id": pa.array(device_ids, pa.string())}))
        told = connection.execute(
            f'SELECT device_id, max("at") AS "at" FROM ({sql}) WHERE ok GROUP BY device_id ORDER BY device_id'
        ).to_arrow_table()
    arrived: pd.Series[pd.Timestamp] = told.to_pandas().set_index("device_id")["at"]
    return arrived


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)  # at is a word of SQL
