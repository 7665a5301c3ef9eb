"""WINDOWS: what is told of a device over a stretch of time, computed from its flows by one function for every road."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Self

import duckdb
import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
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
_VIEW = "seen"
_AT_ONCE = (
    24  # features of one statement: DuckDB's time for a statement grows with the square of their number
)
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
    what came after its window_end. The same flows give the same row, to the bit, alone or among others: whatever is
    summed is summed as whole numbers. Rows come ordered by device_id, source, window_end.
    """
    connection = _connection()
    checked = check_table(flows, FLOWS, table="flows")
    connection.register(
        "flows", pa.Table.from_pandas(checked, schema=arrow_schema(FLOWS), preserve_index=False)
    )
    try:
        return as_frame(compute(connection, window), WINDOWS)
    finally:
        connection.unregister("flows")


def as_frame(table: pa.Table, columns: Sequence[Column]) -> pd.DataFrame:
    """Return an Arrow table of ours as a frame with the dtypes of its contract."""
    frame: pd.DataFrame = table.select([column.name for column in columns]).to_pandas()
    return frame.astype({column.name: "string" for column in columns if column.dtype == "string"})


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
    keys = ", ".join(KEYS)
    number = f"CAST(dense_rank() OVER (ORDER BY {keys}) AS INTEGER) AS {KEY}"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE placed AS SELECT *, {number} FROM ({placing(window)}){only}"
    )
    windows = connection.execute(f"SELECT DISTINCT {KEY}, {keys} FROM placed ORDER BY {KEY}").to_arrow_table()
    columns = {name: windows[name] for name in KEYS}
    columns["source"] = pc.if_else(pc.equal(windows["source"], ""), None, windows["source"])
    for step in steps(window):
        if step.view:
            connection.execute(f"CREATE OR REPLACE TEMP TABLE {_VIEW} AS {step.view}")
        for aggregate in step.aggregates:
            columns |= _aligned(connection.execute(aggregate).to_arrow_table(), windows[KEY])
    return pa.table(
        [_filled(columns[column.name], column) for column in WINDOWS], schema=arrow_schema(WINDOWS)
    )


def _aligned(found: pa.Table, keys: pa.ChunkedArray) -> dict[str, pa.ChunkedArray]:
    """Return the columns of a group in the order of the windows; a window it says nothing of is empty there."""
    places = pc.index_in(keys, found[KEY].combine_chunks())
    return {name: found[name].take(places) for name in found.column_names if name != KEY}


def _filled(values: pa.ChunkedArray, column: Column) -> pa.ChunkedArray:
    typed = values.cast(column.arrow)
    return pc.fill_null(typed, 0) if column.dtype == "int64" else typed


@cache
def placing(window: Window) -> str:
    """Return the SQL that puts each row of `flows` into its windows: their keys, in us, beside the flow."""
    return _sql(_placed(window))


def _placed(window: Window) -> ir.Table:
    flows = ibis.table({column.name: _IBIS[column.dtype] for column in FLOWS}, name="flows")
    flows = described(flows.mutate(start_us=_epoch_us(flows.start), end_us=_epoch_us(flows.end)))
    if window.length_s is None:
        capture = ibis.window(group_by=["device_id", "source"])
        return flows.mutate(
            window_start=flows.start_us.min().over(capture), window_end=flows.end_us.max().over(capture)
        )
    step_us, length_us = window.step_s * 1_000_000, window.length_s * 1_000_000
    first_end = flows.end_us - flows.end_us % step_us + step_us  # `//` of Ibis would divide as real numbers
    later = ibis.range(0, length_us, step_us).unnest() if length_us > step_us else 0
    flows = flows.mutate(window_end=first_end + later, source=ibis.literal(""))
    return flows.mutate(window_start=flows.window_end - length_us)


@ibis.udf.scalar.builtin(signature=((_TIMESTAMP,), dt.int64), name="epoch_us")
def _epoch_us(moment): ...  # type: ignore[no-untyped-def]  # DuckDB's own function, by its name


@dataclass(frozen=True)
class Step:
    """SQL of one group. view: what fills the table `seen`; None where `placed` is aggregated. aggregates: by KEY."""

    view: str | None
    aggregates: tuple[str, ...]


@cache
def steps(window: Window) -> tuple[Step, ...]:
    """Return the SQL of each group over the table `placed`; compiled once, since a REST call runs it."""
    placed = ibis.table({**_placed(window).schema(), KEY: "int32"}, name="placed")
    return tuple(_step(group, placed) for group in GROUPS)


def _step(group: Group, placed: ir.Table) -> Step:
    view = group.view(placed)
    rows = placed if view.equals(placed) else ibis.table(view.schema(), name=_VIEW)
    features = [(feature.column.name, feature.expression(rows)) for feature in group.features]
    return Step(
        view=None if rows is placed else _sql(view),
        aggregates=tuple(
            _sql(rows.group_by(KEY).aggregate(**dict(features[at : at + _AT_ONCE])))
            for at in range(0, len(features), _AT_ONCE)
        ),
    )


def _sql(table: ir.Table) -> str:
    return str(ibis.to_sql(table, dialect="duckdb"))


def _connection() -> duckdb.DuckDBPyConnection:
    """Return this thread's connection: a DuckDB connection is for one thread at a time."""
    if not hasattr(_local, "connection"):
        _local.connection = connect(threads=1)  # a few flows: planning costs most, and threads add to it
    found: duckdb.DuckDBPyConnection = _local.connection
    return found
