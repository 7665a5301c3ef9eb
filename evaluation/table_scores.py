"""Devices of a table of indicator values, scored in batches into one file: no workspace is needed."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as pt

from evaluation import scoring
from evaluation.score_table import ALONE, judge, only_scores, own_rows, schema
from evaluation.scoring_plan import Measured, Plan
from features.indicators import Indicator, Ratio, TerminalFlag
from features.whole_file import parquet_writer

BATCH_ROWS = 65_536
ID = "device_id"


@dataclass(frozen=True)
class _Table:
    """A Parquet file of device_id, a column for each indicator, and <id>__samples where they are known."""

    path: Path
    file: pq.ParquetFile
    told: tuple[str, ...]
    counted: tuple[str, ...]


def score_table(path: Path, what: Plan, *, at: datetime, out: Path, alone: bool = False) -> int:
    """Score each row of a Parquet table into a file under SCORES; return how many rows there were.

    path: device_id, indicators by id; an indicator that has no column is unknown, and an interval knows the errors of
    counting only of those with a column <id>__samples. Other columns are not read. alone: only ALONE, faster.
    Memory does not grow with the table. Raises ValueError that names file, row, column and rule of a value that cannot
    be, and leaves no file then.
    """
    table = _opened(path, what)
    columns = schema(what)
    with parquet_writer(
        out, columns if not alone else pa.schema([columns.field(name) for name in ALONE])
    ) as writer:
        row = 0
        for batch in _batches(table):
            values = [_numbers(batch, one, table, row) for one in what.indicators[: what.weighed]]
            told, ids = scoring.utilities(what, values), batch.column(ID)
            if alone:
                writer.write_table(only_scores(what, ids, at, scoring.score(what, told)))
            else:
                samples = [_samples(batch, one.id, table) for one in what.indicators[: what.weighed]]
                judged = judge(what, told, scoring.doubt(what, values, samples))
                writer.write_table(own_rows(what, "device", ids, at, judged))
            row += len(batch)
    return row


def _batches(table: _Table) -> Iterator[pa.RecordBatch]:
    """Yield the rows, one row group after the other: asked for all at once, Arrow keeps what it has read."""
    columns = [ID, *table.told, *table.counted]
    for group in range(table.file.num_row_groups):
        yield from table.file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns)


def _opened(path: Path, what: Plan) -> _Table:
    file = pq.ParquetFile(path)
    names = file.schema_arrow.names
    ids = what.ids[: what.weighed]
    told = tuple(one for one in ids if one in names)
    if ID not in names or not told:
        lacks = ID if ID not in names else f"every indicator of {what.service.id}: {', '.join(ids)}"
        raise ValueError(f"{path} must have {ID} and indicators by id, but lacks {lacks}")
    counted = tuple(f"{one}__samples" for one in told if f"{one}__samples" in names)
    for name in (*told, *counted):
        kind = file.schema_arrow.field(name).type
        if not (pt.is_floating(kind) or pt.is_integer(kind)):
            raise ValueError(f"{path}: {name} must be numbers, but is {kind}")
    if not pt.is_string(file.schema_arrow.field(ID).type):
        raise ValueError(f"{path}: {ID} must be strings, but is {file.schema_arrow.field(ID).type}")
    return _Table(path, file, told, counted)


def _numbers(batch: pa.RecordBatch, one: Measured, table: _Table, first_row: int) -> np.ndarray:
    """Return the values of an indicator; NaN is unknown. first_row: of the batch in the table."""
    if one.id not in table.told:
        return np.full(len(batch), np.nan)
    found: np.ndarray = batch.column(one.id).to_numpy(zero_copy_only=False).astype("float64", copy=False)
    low, high = possible(one)
    wrong = (found < low) | (found > high)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"{table.path}: {one.id} must be in [{low:g}, {high:g}], but row {first_row + at} has {found[at]:g}"
        )
    return found


def possible(one: Measured) -> tuple[float, float]:
    """Return between which values an indicator can be at all: a share, a delay, a flag; else any finite number."""
    if isinstance(one, TerminalFlag):
        return 0.0, 1.0
    if isinstance(one, Indicator) and one.unit == "%" and isinstance(one.aggregate, Ratio):
        return 0.0, 100.0
    if isinstance(one, Indicator) and one.curve == "log":
        return 0.0, float(np.finfo("float64").max)
    return -float(np.finfo("float64").max), float(np.finfo("float64").max)


def _samples(batch: pa.RecordBatch, name: str, table: _Table) -> np.ndarray:
    if f"{name}__samples" not in table.counted:
        return np.zeros(len(batch))
    found: np.ndarray = batch.column(f"{name}__samples").to_numpy(zero_copy_only=False)
    return found.astype("float64", copy=False)
