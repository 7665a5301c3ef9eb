"""MARKS as they lie in the lake: which marks a device holds since when, and how probable each mark of it is.

lake/marks/date=DATE has MARKS of one moment a file; lake/device_marks/date=DATE the probability of every mark of
every device, one row each, which Feast reads. A moment is written whole or not at all; the marks of one moment
know those of the moment before.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features import lake
from features.built import now_after
from features.duck import as_frame
from features.table import Column, arrow_schema, check_table, empty_table
from features.windowing import CREATED

MARKS: tuple[Column, ...] = (
    Column("device_id", "string", "-", "the device"),
    Column("mark", "string", "-", "id of the mark (configs/user_marks.yaml)"),
    Column("probability", "float64", "1", "that the device has it", low=0, high=1),
    Column("since", "timestamp", "UTC", "from when on it has been held at every moment of marking"),
    Column("evidence", "string", "-", "what tells it: features, their values and usual ranges"),
    Column("expires", "timestamp", "UTC", "until when it is true untold; empty: until cleared", empty=True),
    Column("source", "string", "-", "rule, model, both or expert"),
    Column("version", "string", "-", "of the rules, and of the model that was asked"),
    Column("window_end", "timestamp", "UTC", "the moment of marking: nothing later was looked at"),
)  # fmt: skip
PREFIX = "mark_"  # begins the name of a mark as a feature of a device
KEYS: tuple[Column, ...] = (
    Column("device_id", "string", "-", "the device"),
    Column("source", "string", "-", "of no one capture: always empty", empty=True),
    Column("window_end", "timestamp", "UTC", "the moment of marking"),
    CREATED,
)


def held_folder(workspace: Path) -> Path:
    """Return where MARKS lie."""
    return workspace / "lake" / "marks"


def folder(workspace: Path) -> Path:
    """Return where the probabilities of all marks lie, one row a device: what Feast reads."""
    return workspace / "lake" / "device_marks"


def stored_columns(workspace: Path) -> tuple[Column, ...]:
    """Return the marks as features of a device, as the newest moment of marking has them; empty is unknown.

    () where devices were never marked.
    """
    files = sorted(folder(workspace).rglob("*.parquet"))
    if not files:
        return ()
    names = [name for name in pq.read_schema(files[-1]).names if name.startswith(PREFIX)]
    return tuple(_feature(name) for name in names)


def _feature(name: str) -> Column:
    told = name.removeprefix(PREFIX)
    return Column(name, "float64", "1", f"probability of the mark {told}", low=0, high=1, empty=True)


def moments(workspace: Path) -> list[pd.Timestamp]:
    """Return the moments at which devices were marked, in their order."""
    return sorted(_moment(file) for file in held_folder(workspace).rglob("*.parquet"))


def held(
    workspace: Path,
    *,
    at: pd.Timestamp | None = None,
    before: bool = False,
    device_ids: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return MARKS of the newest moment of marking that is not after `at`; before: that is before it.

    at: None for the newest of all. device_ids: of these devices alone; the rows lie in their order, so that few of them
    are read. An empty table where there is none.
    """
    found = [one for one in moments(workspace) if at is None or one < at or (one == at and not before)]
    if not found:
        return empty_table(MARKS)
    some = None if device_ids is None else [("device_id", "in", list(device_ids))]
    read = pq.read_table(_file(held_folder(workspace), found[-1]), partitioning=None, filters=some)
    return as_frame(read, MARKS)


def write(
    workspace: Path, held_marks: pd.DataFrame, probabilities: pd.DataFrame, *, at: pd.Timestamp
) -> bool:
    """Write the marks of a moment, in place of those of the same moment; return whether anything changed.

    held_marks: under MARKS. probabilities: device_id, then one column a mark under its name as a feature.
    Raises ValueError where they break the contract, TimeoutError where another process writes.
    """
    checked = check_table(held_marks, MARKS, table="marks").sort_values(
        ["device_id", "mark"], ignore_index=True
    )
    names = [name for name in probabilities.columns if name != "device_id"]
    features = tuple(_feature(name) for name in names)
    wide_columns = (*KEYS, *features)
    wide = probabilities.assign(source=None, window_end=at, created=now_after(None)).sort_values("device_id")
    wide = check_table(wide[[column.name for column in wide_columns]], wide_columns, table="device_marks")
    told, every = _arrow(checked, MARKS), _arrow(wide, wide_columns)
    places = (_file(held_folder(workspace), at), _file(folder(workspace), at))
    with lake.writing(workspace):
        if _holds(places[1], every) and _holds(places[0], told):
            return False
        lake.write_parquet(places[1], every)
        lake.write_parquet(places[0], told)  # last: a moment counts as marked once this lies there
    return True


def _holds(place: Path, table: pa.Table) -> bool:
    """Return whether a file has this table, but for when its rows were made."""
    if not place.is_file():
        return False
    there = pq.read_table(place, partitioning=None)
    keep = [name for name in table.column_names if name != CREATED.name]
    return there.column_names == table.column_names and bool(there.select(keep).equals(table.select(keep)))


def _file(place: Path, at: pd.Timestamp) -> Path:
    moment = at.tz_convert("UTC")
    return place / f"date={moment:%Y-%m-%d}" / f"{moment:%Y%m%dT%H%M%S%f}.parquet"


def _moment(file: Path) -> pd.Timestamp:
    return pd.to_datetime(file.stem, format="%Y%m%dT%H%M%S%f", utc=True)


def _arrow(frame: pd.DataFrame, columns: Sequence[Column]) -> pa.Table:
    plain = pa.Table.from_pandas(frame, schema=arrow_schema(columns), preserve_index=False)
    return plain.replace_schema_metadata(None)
