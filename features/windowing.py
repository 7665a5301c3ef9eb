"""WINDOWS: what is told of a device over a stretch of time, computed from its flows by one function for every road."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self  # Any: what JSON can tell

import duckdb
import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, Field, model_validator

from features import kept_sql
from features.duck import as_frame, connect
from features.feature import FLOW, KEY, Group
from features.flow_features import FLOW_GROUP, described
from features.flows import FLOWS, FlowSettings
from features.packet_features import FIRST_GROUP, HISTOGRAM_GROUP, PACKET_GROUP, SIZE_GROUP, TYPICAL_GROUP
from features.peer_features import PEER_GROUP, PORT_GROUP
from features.rhythm_features import REPEAT_GROUP, RHYTHM_GROUP
from features.service_features import SERVICE_GROUP
from features.table import Column, arrow_schema, check_table

GROUPS: tuple[Group, ...] = (
    FLOW_GROUP,
    SERVICE_GROUP,
    PEER_GROUP,
    PORT_GROUP,
    RHYTHM_GROUP,
    REPEAT_GROUP,
    PACKET_GROUP,
    HISTOGRAM_GROUP,
    FIRST_GROUP,
    SIZE_GROUP,
    TYPICAL_GROUP,
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
_PART, _VALUE = "part", "value_"  # columns of an aggregate, besides KEY
_AT_ONCE = 24  # features of a statement: DuckDB's time for one grows with the square of their number
_FEW = 1_000  # flows for which optimizing a statement takes longer than it saves
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
        """Refuse the flows of a lake that may outlast a window: they would reach it only after it has ended."""
        lengths = [window.length_s for window in self.windows if window.length_s]
        if lengths and flows.active_timeout_s > min(lengths):
            raise ValueError(
                f"active_timeout_s must be at most the shortest window, {min(lengths)} s, however the sources of"
                f" the lake were read with {flows.active_timeout_s} s; change windows.yaml, or change flows.yaml"
                " and ingest them again"
            )


def device_windows(flows: pd.DataFrame, window: Window) -> pd.DataFrame:
    """Return one row under WINDOWS per device and window (per device and source, for a session).

    flows: under FLOWS, in any order; not changed. A flow counts in the windows in which it ends, so that no row knows
    what came after its window_end. The same flows give the same row, to the bit, alone or among others: whatever is
    summed is summed as whole numbers. Rows come ordered by device_id, source, window_end.
    """
    connection = _connection()
    connection.execute(f"PRAGMA {'disable' if len(flows) < _FEW else 'enable'}_optimizer")
    checked = check_table(flows, FLOWS, table="flows")
    connection.register(
        "flows", pa.Table.from_pandas(checked, schema=arrow_schema(FLOWS), preserve_index=False)
    )
    try:
        return as_frame(compute(connection, window), WINDOWS)
    finally:
        connection.unregister("flows")


def compute(connection: duckdb.DuckDBPyConnection, window: Window, *, touched: str | None = None) -> pa.Table:
    """Return the windows of the connection's relation `flows`, under the Arrow schema of WINDOWS, ordered.

    touched: a relation (device_id, window_end in us) of the only windows wanted.
    """
    only = f" SEMI JOIN {touched} USING (device_id, window_end)" if touched else ""
    keys = ", ".join(KEYS)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE placed AS"
        f" SELECT *, dense_rank() OVER (ORDER BY {keys}) AS {KEY}, row_number() OVER () AS {FLOW}"
        f" FROM ({placing(window)}){only}"
    )
    windows = connection.execute(f"SELECT DISTINCT {KEY}, {keys} FROM placed ORDER BY {KEY}").to_arrow_table()
    columns: dict[str, np.ndarray] = {}
    for step in steps(window):
        if step.view:
            connection.execute(step.view)
        for aggregate in step.aggregates:
            found = connection.execute(aggregate.sql).to_arrow_table()
            columns |= _columns(found, aggregate, windows=len(windows))
    named = {column.name: windows[column.name].cast(column.arrow) for column in KEY_COLUMNS}
    named["source"] = pc.if_else(pc.equal(windows["source"], ""), None, windows["source"])
    named |= {
        feature.column.name: _array(columns[feature.column.name], feature.column) for feature in FEATURES
    }
    return pa.table(named, schema=arrow_schema(WINDOWS))


def _columns(found: pa.Table, aggregate: "Aggregate", *, windows: int) -> dict[str, np.ndarray]:
    """Return the features of an aggregate, each (windows,) in the order of KEY; NaN for a window without the part."""
    parts = list(aggregate.features)
    place = found[KEY].to_numpy() - 1
    column = np.zeros(len(found), dtype="int64")
    if parts != [None]:
        column = pc.index_in(found[_PART], pa.array(parts)).to_numpy()
        wanted = ~np.isnan(column)
        found, place, column = found.filter(pa.array(wanted)), place[wanted], column[wanted].astype("int64")
    made = {}
    for value in found.column_names:
        if value.startswith(_VALUE):
            spread = np.full((len(parts), windows), np.nan)
            spread[column, place] = found[value].to_numpy()
            made[value] = spread
    return {
        name: made[value][at]
        for at, names in enumerate(aggregate.features.values())
        for name, value in names.items()
    }


def _array(values: np.ndarray, column: Column) -> pa.Array:
    if column.empty:
        return pa.array(values, from_pandas=True)  # NaN is empty
    return pa.array(np.where(np.isnan(values), 0, values).astype(column.dtype))


@cache
def placing(window: Window) -> str:
    """Return the SQL that puts each row of `flows` into its windows: their keys, in us, beside the flow."""
    return str(kept_sql.kept("placing", window, make=lambda: _sql(_placed(window))))


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
class Aggregate:
    """SQL that gives some features of a group. features: of each part, the column of the result by feature name."""

    sql: str
    features: dict[str | None, dict[str, str]]


@dataclass(frozen=True)
class Step:
    """SQL of one group. view: makes the table that it aggregates; None where that is no table of its own."""

    view: str | None
    aggregates: tuple[Aggregate, ...]


@cache
def steps(window: Window) -> tuple[Step, ...]:
    """Return the SQL of each group over the table `placed`; compiled once, since a REST call runs it."""
    told = kept_sql.kept("steps", window, make=lambda: [_told(step) for step in _steps(window)])
    return tuple(_as_step(one) for one in told)


def _told(step: Step) -> list[object]:
    """Return a step as JSON can tell it: an object has texts for keys, and None is a part."""
    return [
        step.view,
        [[one.sql, [[part, names] for part, names in one.features.items()]] for one in step.aggregates],
    ]


def _as_step(told: Sequence[Any]) -> Step:
    view, aggregates = told
    return Step(view, tuple(Aggregate(sql, dict(features)) for sql, features in aggregates))


def _steps(window: Window) -> tuple[Step, ...]:
    placed = ibis.table({**_placed(window).schema(), KEY: "int64", FLOW: "int64"}, name="placed")
    starts = {group.of.name for group in GROUPS if group.of}
    views: dict[str, ir.Table] = {}
    made = []
    for group in GROUPS:
        view = rows = group.view(views[group.of.name] if group.of else placed)
        if group.name in starts:  # read more than once: kept
            rows = ibis.table(view.schema(), name=f"seen_{group.name}")
        views[group.name] = rows
        make = None if rows is view else f"CREATE OR REPLACE TEMP TABLE seen_{group.name} AS {_sql(view)}"
        made.append(Step(make, tuple(_aggregates(group, rows))))
    return tuple(made)


def _aggregates(group: Group, rows: ir.Table) -> Iterator[Aggregate]:
    by = {KEY: rows[KEY]} | ({_PART: rows[group.split]} if group.split else {})
    expressions = list(dict.fromkeys(feature.expression for feature in group.features))
    for at in range(0, len(expressions), _AT_ONCE):
        values = {expression: f"{_VALUE}{i}" for i, expression in enumerate(expressions[at : at + _AT_ONCE])}
        features: dict[str | None, dict[str, str]] = {}
        for feature in group.features:
            if feature.expression in values:
                features.setdefault(feature.part, {})[feature.column.name] = values[feature.expression]
        table = rows.group_by(**by).aggregate(**{name: one(rows) for one, name in values.items()})
        yield Aggregate(_sql(table), features)


def _sql(table: ir.Table) -> str:
    return str(ibis.to_sql(table, dialect="duckdb"))


def _connection() -> duckdb.DuckDBPyConnection:
    """Return this thread's connection: a DuckDB connection is for one thread at a time."""
    if not hasattr(_local, "connection"):
        _local.connection = connect(threads=1)  # a few flows: planning costs most, and threads add to it
    found: duckdb.DuckDBPyConnection = _local.connection
    return found
