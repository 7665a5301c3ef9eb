"""Files of a table, Parquet or CSV, a batch of rows at a time: a file of any size costs the memory of one batch.

In a CSV an empty field is empty, a time is ISO 8601 with Z, a bool true or false, a list a JSON array. A column of
texts in a Parquet file is read in the same way where the contract wants something else.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from features.table import Column, arrow_schema

SUFFIXES = (".parquet", ".csv", ".csv.gz")
BATCH_ROWS = 50_000  # of FLOWS about 100 MB with their first packets
_CSV_BLOCK_BYTES = 8 << 20
_UTC = r"(?:Z|[+-]00:?00)$"
_BOOLS = {"true": True, "false": False, "1": True, "0": False}


def is_table(name: str) -> bool:
    """Tell whether a file is a table, by the end of its name."""
    return name.lower().endswith(SUFFIXES)


def batches(path: Path, columns: Sequence[Column], *, table: str) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield (place of its first row in the file, rows) for `check_table`, at least once; a file without rows has none.

    columns: how to read a text where the contract wants something else. Raises ValueError: what is wrong with the
    file, or table, column, row and rule of a value that cannot be read.
    """
    first = 0
    for batch in _stored(path):
        if repeated := sorted({name for name in batch.column_names if batch.column_names.count(name) > 1}):
            raise ValueError(f"{table} must have each column once, but has several of {repeated}")
        yield first, _readable(batch, columns, table, first)
        first += len(batch)


def _stored(path: Path) -> Iterator[pa.Table]:
    reader = _csv if path.name.lower().endswith((".csv", ".csv.gz")) else _parquet
    try:
        yield from reader(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"cannot be read as a table: {error}") from error


def _parquet(path: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        if not file.metadata.num_rows:
            yield file.schema_arrow.empty_table()
        for batch in file.iter_batches(batch_size=BATCH_ROWS, use_threads=False):
            yield pa.Table.from_batches([batch])


def _csv(path: Path) -> Iterator[pa.Table]:
    with path.open("rb") as file:
        whole: Any = pa.CompressedInputStream(file, "gzip") if path.name.lower().endswith(".gz") else file
        names = pacsv.open_csv(whole, pacsv.ReadOptions(use_threads=False)).schema.names
    reader = pacsv.open_csv(
        str(path),
        pacsv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK_BYTES),
        convert_options=pacsv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
        ),
    )
    yield reader.schema.empty_table()
    for batch in reader:
        yield pa.Table.from_batches([batch])


def _readable(batch: pa.Table, columns: Sequence[Column], table: str, first: int) -> pd.DataFrame:
    """Return a batch as a frame whose values are of the kinds that the contract wants."""
    wanted = {column.name: column for column in columns}
    frame: pd.DataFrame = batch.to_pandas(types_mapper={pa.string(): pd.StringDtype()}.get)
    frame = frame.set_axis(pd.RangeIndex(first, first + len(frame)))
    for field in batch.schema:
        if column := wanted.get(field.name):
            if _is_text(field.type) and column.dtype != "string":
                frame[field.name] = _parsed(frame[field.name], column, f"{table}.{field.name}")
            else:
                _check_kind(field.type, column, f"{table}.{field.name}")
    return frame


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _check_kind(kind: pa.DataType, column: Column, name: str) -> None:
    """Refuse what pandas would take for something else: a time that is not told to be UTC, a number for a bool."""
    if pa.types.is_null(kind):
        return
    if column.dtype == "timestamp" and not (pa.types.is_timestamp(kind) and kind.tz):
        raise ValueError(f"{name} must be UTC and say so, but is {kind}")
    if column.dtype == "bool" and not pa.types.is_boolean(kind):
        raise ValueError(f"{name} must be bool, but is {kind}")


def _parsed(texts: "pd.Series[str]", column: Column, name: str) -> "pd.Series[Any]":
    """Return texts as what the column wants; raises ValueError with the first row that cannot be read so."""
    given = texts.notna()
    found: pd.Series[Any]
    match column.dtype:
        case "timestamp":
            naive = given & ~texts.fillna("Z").str.contains(_UTC)
            _refuse(naive, texts, f"{name} must be UTC, with Z")
            found = pd.to_datetime(texts, utc=True, format="ISO8601", errors="coerce")
            rule = "an ISO 8601 time"
        case "bool":
            found, rule = texts.str.lower().map(_BOOLS).astype("boolean"), "true or false"
        case "int64" | "float64":
            found, rule = pd.to_numeric(texts, errors="coerce"), "a number"
        case _:
            found, rule = texts.map(_array, na_action="ignore").astype("object"), "a JSON array"
    _refuse(given & found.isna(), texts, f"{name} must be {rule}")
    return found


def _array(text: str) -> "np.ndarray | None":
    try:
        told = json.loads(text)
    except json.JSONDecodeError:
        return None
    return np.asarray(told) if isinstance(told, list) and all(type(one) is int for one in told) else None


def _refuse(wrong: "pd.Series[bool]", texts: "pd.Series[str]", rule: str) -> None:
    if wrong.any():
        row = texts.index[wrong][0]
        raise ValueError(f"{rule}, but row {row} has {texts[row]!r}")


def check_finite(frame: pd.DataFrame, columns: Sequence[Column], *, table: str) -> None:
    """Raise ValueError with the first row that has an infinite number. frame: under the contract."""
    for column in columns:
        if column.dtype == "float64" and np.isinf(frame[column.name].to_numpy()).any():
            row = frame.index[np.isinf(frame[column.name].to_numpy())][0]
            raise ValueError(
                f"{table}.{column.name} must be finite, but row {row} has {frame[column.name][row]}"
            )


def check_tidy(frame: pd.DataFrame, names: Sequence[str], *, table: str) -> None:
    """Raise ValueError with the first id that is blank, has space around it or a control character."""
    for name in names:
        untidy = ~frame[name].fillna("-").str.fullmatch(
            r"[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?"
        )
        if untidy.any():
            row = frame.index[untidy][0]
            fact = f"row {row} has {frame[name][row]!r}"
            raise ValueError(f"{table}.{name} must be a name without space around it, but {fact}")


def write_batch(writer: pq.ParquetWriter, frame: pd.DataFrame, columns: Sequence[Column]) -> None:
    """Add rows under a contract to a Parquet file of its schema."""
    table = pa.Table.from_pandas(frame, schema=arrow_schema(columns), preserve_index=False)
    writer.write_table(table.replace_schema_metadata(None))
