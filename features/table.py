"""The promise a table keeps: its columns, their units and ranges. Feast fields, REST schema and docs read it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

Dtype = Literal["string", "int64", "float64", "bool", "timestamp", "int32[]", "int64[]"]

_ARROW: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "int32[]": pa.list_(pa.int32()),
    "int64[]": pa.list_(pa.int64()),
}
_PANDAS: dict[str, str] = {
    "string": "string",
    "int64": "int64",
    "float64": "float64",
    "bool": "bool",
    "timestamp": "datetime64[us, UTC]",
    "int32[]": "object",
    "int64[]": "object",
}


@dataclass(frozen=True)
class Column:
    """One column of a contract.

    unit: SI or IPFIX unit, "1" for ratios and counts without one, "-" for names.
    low, high: inclusive range of every value (of every element, for a list).
    empty: whether a value may be missing; an int64 or bool column never is.
    given_by: the kinds of source that fill it, "all" where every reader does.
    """

    name: str
    dtype: Dtype
    unit: str
    description: str = ""
    low: float | None = None
    high: float | None = None
    empty: bool = False
    given_by: str = "all"

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type of the column, as it lies in the lake."""
        return _ARROW[self.dtype]


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """Return the Arrow schema of a contract, in its order."""
    return pa.schema([pa.field(column.name, column.arrow, nullable=column.empty) for column in columns])


def empty_table(columns: Sequence[Column]) -> pd.DataFrame:
    """Return a frame of no rows that keeps the contract."""
    return pd.DataFrame({column.name: pd.Series([], dtype=_PANDAS[column.dtype]) for column in columns})


def check_table(
    frame: pd.DataFrame, columns: Sequence[Column], *, table: str, first_row: int = 0
) -> pd.DataFrame:
    """Return the frame in the contract's column order and dtypes, or say which promise it breaks.

    frame: any row order and index; not changed. The result has a fresh RangeIndex, which begins at first_row: the
    place of the frame in a table of which it is a part.
    Raises ValueError naming table, column, row (position, from 0) and rule; columns beyond the contract are an error.
    """
    wanted, given = [column.name for column in columns], list(frame.columns)
    missing, extra = [n for n in wanted if n not in given], [n for n in given if n not in wanted]
    if missing or extra:
        raise ValueError(
            f"{table} must have exactly its declared columns, but lacks {missing} and adds {extra}"
        )
    rows = frame.set_axis(pd.RangeIndex(first_row, first_row + len(frame)))
    return pd.DataFrame(
        {column.name: _checked(rows[column.name], column, table) for column in columns}, copy=False
    )


def _checked(values: pd.Series, column: Column, table: str) -> pd.Series:
    absent = values.isna().to_numpy()
    if not column.empty and absent.any():
        raise ValueError(
            f"{table}.{column.name} must not be empty, but row {values.index[_first(absent)]} is"
        )
    typed = _typed(values, column, table)
    if column.dtype.endswith("[]"):
        lists = [np.asarray(v, dtype="float64") for v in typed[~absent]]
        rows = values.index[~absent].repeat([len(v) for v in lists])
        _check_range(np.concatenate(lists) if lists else np.array([]), rows, column=column, table=table)
    elif column.low is not None or column.high is not None:
        _check_range(typed.to_numpy()[~absent], values.index[~absent], column=column, table=table)
    return typed


def _typed(values: pd.Series, column: Column, table: str) -> pd.Series:
    dtype: Any = _PANDAS[column.dtype]  # Any: pandas' stubs want a literal
    if column.dtype == "int64" and pd.api.types.is_float_dtype(values.dtype):
        fractional = values.ne(values.round())
        if fractional.any():
            row = values.index[_first(fractional.to_numpy())]
            raise ValueError(f"{table}.{column.name} must be whole, but row {row} has {values[row]}")
    try:
        if column.dtype == "timestamp":
            aware = isinstance(values.dtype, pd.DatetimeTZDtype)  # then to_datetime would look at each value
            return (values if aware else pd.to_datetime(values, utc=True)).astype(dtype)
        return values if values.dtype == dtype else values.astype(dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{table}.{column.name} must be {column.dtype}, however: {error}") from error


def _check_range(values: np.ndarray, rows: "pd.Index[int]", *, column: Column, table: str) -> None:
    low = -np.inf if column.low is None else column.low
    high = np.inf if column.high is None else column.high
    outside = ~((values >= low) & (values <= high))  # so that NaN is outside
    if outside.any():
        at = _first(outside)
        raise ValueError(
            f"{table}.{column.name} must be in [{low:g}, {high:g}], but row {rows[at]} has {values[at]}"
        )


def _first(mask: np.ndarray) -> int:
    return int(np.flatnonzero(mask)[0])
