"""Devices of a table of indicator values, scored in batches into one file: no workspace is needed."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pt

from evaluation import scoring
from evaluation.score_table import ALONE, judge, only_scores, own_rows, schema
from evaluation.scoring_plan import Measured, Plan
from features.duck import connect
from features.indicators import TerminalFlag
from features.value_range import rule_broken, value_range
from features.whole_file import parquet_writer

BATCH_ROWS = 65_536
ID = "device_id"
_SUSPECTS = 1000  # rows of equal hashes that are looked at; one is enough but for a pair in 2**64
_ROWS_SHOWN = 5


@dataclass(frozen=True)
class _Table:
    """A Parquet file of device_id, a column for each indicator, and <id>__samples where they are known."""

    path: Path
    file: pq.ParquetFile
    told: tuple[str, ...]
    counted: tuple[str, ...]


@dataclass(frozen=True)
class Way:
    """How rows are scored. least: fewer samples, where told, are no evidence. alone: only ALONE, faster."""

    least: int
    alone: bool = False


def score_table(path: Path, what: Plan, *, at: datetime, out: Path, way: Way) -> int:
    """Score each row of a Parquet table into a file under SCORES; return how many rows there were.

    path: device_id, indicators by id; an indicator that has no column is unknown, and an interval knows the errors of
    counting only of those with a column <id>__samples. Other columns are not read. Memory does not grow with a table
    that is in the order of device_id; else by 16 bytes a row, to see that no device is told twice.
    Raises ValueError that names file, rows, column and rule of a value that cannot be or a device that is told twice,
    and leaves no file then.
    """
    table = _opened(path, what)
    columns = schema(what)
    with parquet_writer(
        out, columns if not way.alone else pa.schema([columns.field(name) for name in ALONE])
    ) as writer:
        row, last, ordered = 0, "", True
        for batch in _batches(table, [ID, *table.told, *table.counted]):
            ids = _ids(batch, table, row)
            ordered = ordered and _ascending(last, ids)
            last = ids[-1].as_py()
            values, samples = _told(batch, what, table, way.least, row)
            told = scoring.utilities(what, values)
            if way.alone:
                writer.write_table(only_scores(what, ids, at, scoring.score(what, told)))
            else:
                judged = judge(what, told, scoring.doubt(what, values, samples))
                writer.write_table(own_rows(what, "device", ids, at, judged))
            row += len(batch)
        if not ordered:
            _refuse_twice(table)
    return row


def unread(path: Path, what: Plan) -> list[str]:
    """Return the columns of a table that are neither an indicator that the service weighs nor its samples."""
    table = _opened(path, what)
    return sorted({*table.file.schema_arrow.names} - {ID, *table.told, *table.counted})


def scored(out: Path) -> int:
    """Return how many rows of a file under SCORES have a score."""
    batches = pq.ParquetFile(out).iter_batches(BATCH_ROWS, columns=["score"])
    return sum(len(batch) - batch.column("score").null_count for batch in batches)


def _batches(table: _Table, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows, one row group after the other: asked for all at once, Arrow keeps what it has read."""
    for group in range(table.file.num_row_groups):
        told = table.file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns)
        yield from (batch for batch in told if len(batch))


def _ascending(last: str, ids: pa.Array) -> bool:
    """Return whether ids go on above the last one, so that none is there twice."""
    return bool(last < ids[0].as_py() and pc.all(pc.less(ids[:-1], ids[1:])).as_py())


def _refuse_twice(table: _Table) -> None:
    """Raise ValueError of a device that several rows tell: all values are of one moment.

    A hash stands for each id, and only rows of equal ones are looked at.
    """
    hashes = _hashes(table)
    ordered = np.sort(hashes)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(twice):
        return
    suspects = hashes[np.flatnonzero(np.isin(hashes, twice))[:_SUSPECTS]]
    for one in dict.fromkeys(suspects.tolist()):
        rows = np.flatnonzero(hashes == one)
        name, count = Counter(ids := _named(table, rows)).most_common(1)[0]
        if count > 1:
            mine = [str(row) for row, named in zip(rows, ids, strict=True) if named == name]
            told = ", ".join(mine[:_ROWS_SHOWN]) + (" ..." if count > _ROWS_SHOWN else "")
            raise ValueError(
                f"{table.path}: each {ID} must have one row, as all values are of one moment, but {count} have"
                f" {name!r}: rows {told}; score each moment by a table of its own"
            )


def _hashes(table: _Table) -> np.ndarray:
    """Return a number for each id (n,), equal for equal ones."""
    found = []
    with connect(threads=1) as connection:
        for batch in _batches(table, [ID]):
            connection.register("ids", pa.table({ID: _ids(batch, table, 0)}))
            found.append(connection.execute(f"SELECT hash({ID}) AS hash FROM ids").fetchnumpy()["hash"])
    return np.concatenate(found)


def _named(table: _Table, rows: np.ndarray) -> list[str]:
    """Return the ids of some rows, which ascend."""
    found: list[str] = []
    first = 0
    for batch in _batches(table, [ID]):
        mine = rows[(rows >= first) & (rows < first + len(batch))] - first
        found += _ids(batch, table, first).take(pa.array(mine)).to_pylist()
        first += len(batch)
    return found


def _opened(path: Path, what: Plan) -> _Table:
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} must be Parquet, however: {error}") from error
    names = file.schema_arrow.names
    ids = what.ids[: what.weighed]
    told = tuple(one for one in ids if one in names)
    if ID not in names or not told:
        lacks = ID if ID not in names else f"every indicator of {what.service.id}: {', '.join(ids)}"
        raise ValueError(f"{path} must have {ID} and indicators by id, but lacks {lacks}")
    counted = tuple(f"{one}__samples" for one in told if f"{one}__samples" in names)
    for name in (ID, *told, *counted):
        if names.count(name) > 1:
            raise ValueError(f"{path} must have each column once, but has {name} {names.count(name)} times")
        kind = file.schema_arrow.field(name).type
        if name == ID and not _is_text(kind):
            raise ValueError(f"{path}: {ID} must be strings, but is {kind}")
        if name != ID and not (pt.is_floating(kind) or pt.is_integer(kind)):
            raise ValueError(f"{path}: {name} must be numbers, but is {kind}")
    return _Table(path, file, told, counted)


def _is_text(kind: pa.DataType) -> bool:
    plain = kind.value_type if pt.is_dictionary(kind) else kind  # as pandas writes a category
    return bool(pt.is_string(plain) or pt.is_large_string(plain) or pt.is_string_view(plain))


def _ids(batch: pa.RecordBatch, table: _Table, first_row: int) -> pa.Array:
    """Return the ids of devices. first_row: of the batch in the table."""
    ids = batch.column(ID)
    if ids.null_count:
        row = first_row + ids.is_null().to_pylist().index(True)
        raise ValueError(f"{table.path}: {ID} must be told of each row, but row {row} has none")
    return ids if pt.is_string(ids.type) else ids.cast(pa.string())


def _told(
    batch: pa.RecordBatch, what: Plan, table: _Table, least: int, first_row: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return values and samples of each weighed indicator; a value made of fewer than `least` is no evidence, NaN."""
    values, samples = [], []
    for one in what.indicators[: what.weighed]:
        found, counted = _numbers(batch, one, table, first_row), _samples(batch, one.id, table, first_row)
        values.append(found if counted is None else np.where(counted < least, np.nan, found))
        samples.append(np.zeros(len(batch)) if counted is None else counted)
    return values, samples


def _numbers(batch: pa.RecordBatch, one: Measured, table: _Table, first_row: int) -> np.ndarray:
    """Return the values of an indicator; NaN is unknown."""
    if one.id not in table.told:
        return np.full(len(batch), np.nan)
    found = _column(batch, one.id)
    low, high = value_range(one)
    wrong = (found < low) | (found > high) | np.isinf(found)
    if isinstance(one, TerminalFlag):
        wrong |= (found > low) & (found < high)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        rule = rule_broken(one, float(found[at]))
        raise ValueError(f"{table.path}: {one.id} {rule}, but row {first_row + at} has {found[at]:g}")
    return found


def _samples(batch: pa.RecordBatch, name: str, table: _Table, first_row: int) -> np.ndarray | None:
    """Return what each value was made of, NaN where that is not told; None where it is told of none."""
    if (column := f"{name}__samples") not in table.counted:
        return None
    found = _column(batch, column)
    wrong = (found < 0) | np.isinf(found)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        rule = "must be a finite number, at least 0"
        raise ValueError(f"{table.path}: {column} {rule}, but row {first_row + at} has {found[at]:g}")
    return found


def _column(batch: pa.RecordBatch, name: str) -> np.ndarray:
    found: np.ndarray = batch.column(name).to_numpy(zero_copy_only=False)
    return found.astype("float64", copy=False)
