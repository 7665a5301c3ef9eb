"""WINDOWS: what is told of a device over a stretch of time, computed from its flows by one function for every road."""

import threading
from functools import cache
from typing import Self

import duckdb
import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, Field, model_validator

from features.feature import KEY, Group
from features.flow_features import FLOW_GROUP, described
from features.flows import FLOWS, FlowSettings
from features.packet_features import PACKET_GROUP, SIZE_GROUP
from features.peer_features import PEER_GROUP, PORT_GROUP
from features.rhythm_features import REPEAT_GROUP, RHYTHM_GROUP
from features.table import Column, arrow_schema, check_table

GROUPS: tuple[Group, ...] = (
    FLOW_GROUP,
    PACKET_GROUP,
    SIZE_GROUP,
    RHYTHM_GROUP,
    REPEAT_GROUP,
    PEER_GROUP,
    PORT_GROUP,
)
FEATURES = tuple(feature for group in GROUPS for feature in group.features)
KEY_COLUMNS = (
    Column("device_id", "string", "-", "the device"),
    Column("source", "string", "-", "the capture a session spans; empty for the other windows", empty=True),
    Column("window_start", "timestamp", "UTC", "first instant; of a session, the start of its first flow"),
    Column("window_end", "timestamp", "UTC", "first instant after; of a session, the end of its last flow"),
)
WINDOWS: tuple[Column, ...] = (*KEY_COLUMNS, *(feature.column for feature in FEATURES))
KEYS = tuple(column.name for column in KEY_COLUMNS)
CREATED = Column("created", "timestamp", "UTC", "when the row became known")

_TIMESTAMP = dt.Timestamp(timezone="UTC", scale=6)
_IBIS = {
    "string": "string",
    "int64": "int64",
    "float64": "float64",
    "bool": "boolean",
    "timestamp": _TIMESTAMP,
    "int32[]": "array<int32>",
    "int64[]": "array<int64>",
}
_local = threading.local()


class Window(BaseModel, frozen=True, extra="forbid"):
    """One window of configs/windows.yaml; without a length it is `session`, which spans one capture."""

    name: str = Field(pattern=r"^[A-Za-z0-9]+$")
    length_s: int | None = Field(None, ge=1)
    every_s: int | None = Field(None, ge=1, description="a window ends this often; null: its length")

    @model_validator(mode="after")
    def _whole_steps(self) -> Self:
        if (self.length_s is None) != (self.name == "session"):
            raise ValueError(f"a window has a length_s unless it is named session, however: {self.name}")
        if self.every_s is not None and (self.length_s is None or self.length_s % self.every_s):
            raise ValueError(
                f"length_s must be a multiple of every_s, however: {self.length_s}, {self.every_s}"
            )
        return self

    @property
    def step_s(self) -> int:
        """How often a window ends, s; 0 for a session."""
        return self.every_s or self.length_s or 0


SESSION = Window(name="session")


class WindowSettings(BaseModel, frozen=True, extra="forbid"):
    """configs/windows.yaml."""

    windows: tuple[Window, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [window.name for window in self.windows]
        if len(set(names)) < len(names):
            raise ValueError(f"window names must be distinct, however: {names}")
        return self

    def check_against(self, flows: FlowSettings) -> None:
        """Refuse flows that may outlast a window: they would reach it only after it has ended."""
        lengths = [window.length_s for window in self.windows if window.length_s]
        if lengths and flows.active_timeout_s > min(lengths):
            raise ValueError(
                f"flows.yaml: active_timeout_s must be at most the shortest window, {min(lengths)} s,"
                f" however: {flows.active_timeout_s} s"
            )


def device_windows(flows: pd.DataFrame, window: Window) -> pd.DataFrame:
    """Return one row under WINDOWS per device and window (per device and source, for a session).

    flows: under FLOWS, in any order; not changed. A flow counts in the windows in which it ends, so that no row knows
    what came after its window_end. The same flows give the same row, alone or among others; sums of real numbers are
    exact to about 1e-12. Rows come ordered by device_id, source, window_end.
    """
    connection = _connection()
    checked = check_table(flows, FLOWS, table="flows")
    connection.register(
        "flows", pa.Table.from_pandas(checked, schema=arrow_schema(FLOWS), preserve_index=False)
    )
    try:
        return check_table(compute(connection, window).to_pandas(), WINDOWS, table="windows")
    finally:
        connection.unregister("flows")


def connect(*, threads: int) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB of its own that knows no time zone but UTC and loads nothing from outside."""
    connection = duckdb.connect(config={"autoinstall_known_extensions": False, "threads": threads})
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET preserve_insertion_order = false")
    return connection


def compute(connection: duckdb.DuckDBPyConnection, window: Window, *, touched: str | None = None) -> pa.Table:
    """Return the windows of the connection's relation `flows`, under the Arrow schema of WINDOWS, ordered.

    touched: a relation (device_id, window_end in us) of the only windows wanted.
    """
    only = f" SEMI JOIN {touched} USING (device_id, window_end)" if touched else ""
    number = f"CAST(dense_rank() OVER (ORDER BY {', '.join(KEYS)}) AS INTEGER) AS {KEY}"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE placed AS SELECT *, {number} FROM ({placing(window)}){only}"
    )
    for name, statement in statements(window):
        connection.execute(f"CREATE OR REPLACE TEMP TABLE group_{name} AS {statement}")
    return connection.execute(_joined()).to_arrow_table().cast(arrow_schema(WINDOWS))


@cache
def placing(window: Window) -> str:
    """Return the SQL that puts each row of `flows` into its windows: their keys, in us, beside the flow."""
    return str(ibis.to_sql(_placed(window), dialect="duckdb"))


def _placed(window: Window) -> ir.Table:
    flows = ibis.table({column.name: _IBIS[column.dtype] for column in FLOWS}, name="flows")
    flows = described(flows.mutate(start_us=_epoch_us(flows.start), end_us=_epoch_us(flows.end)))
    if window.length_s is None:
        capture = ibis.window(group_by=["device_id", "source"])
        return flows.mutate(
            window_start=flows.start_us.min().over(capture), window_end=flows.end_us.max().over(capture)
        )
    step_us, length_us = window.step_s * 1_000_000, window.length_s * 1_000_000
    first_end = (flows.end_us // step_us + 1) * step_us
    later = ibis.range(0, length_us, step_us).unnest() if length_us > step_us else 0
    flows = flows.mutate(window_end=first_end + later, source=ibis.literal(""))
    return flows.mutate(window_start=flows.window_end - length_us)


@ibis.udf.scalar.builtin(signature=((_TIMESTAMP,), dt.int64), name="epoch_us")
def _epoch_us(moment): ...  # type: ignore[no-untyped-def]  # DuckDB's own function, by its name


@cache
def statements(window: Window) -> tuple[tuple[str, str], ...]:
    """Return the SQL of each group, over the table `placed`; compiled once, since a REST call runs it."""
    placed = ibis.table({**_placed(window).schema(), KEY: "int32"}, name="placed")
    made = []
    for group in GROUPS:
        view = group.view(placed)
        features = {feature.column.name: feature.expression(view) for feature in group.features}
        made.append(
            (group.name, str(ibis.to_sql(view.group_by(KEY).aggregate(**features), dialect="duckdb")))
        )
    return tuple(made)


@cache
def _joined() -> str:
    joins = " ".join(f"LEFT JOIN group_{group.name} USING ({KEY})" for group in GROUPS)
    values = {"int64": "COALESCE(CAST({0} AS BIGINT), 0) AS {0}", "float64": "CAST({0} AS DOUBLE) AS {0}"}
    columns = [values[feature.column.dtype].format(f'"{feature.column.name}"') for feature in FEATURES]
    windows = f"(SELECT DISTINCT {KEY}, {', '.join(KEYS)} FROM placed)"
    keys = (
        "device_id, nullif(source, '') AS source,"
        " make_timestamptz(window_start) AS window_start, make_timestamptz(window_end) AS window_end"
    )
    return f"SELECT {keys}, {', '.join(columns)} FROM {windows} {joins} ORDER BY {KEY}"


def _connection() -> duckdb.DuckDBPyConnection:
    """Return this thread's connection: a DuckDB connection is for one thread at a time."""
    if not hasattr(_local, "connection"):
        _local.connection = connect(threads=1)  # a few flows: planning costs most, and threads add to it
    found: duckdb.DuckDBPyConnection = _local.connection
    return found
