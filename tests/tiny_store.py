"""A lake of a few windows of bikes, written by hand, and what the tests of the feature store ask of it."""

import itertools
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from features.store import Store
from features.table import Column, arrow_schema

FEATURES = (
    Column("flows", "int64", "1"),
    Column("up_share", "float64", "1", empty=True),
    Column("up_bytes", "int64", "byte"),
    Column("period_s", "float64", "s", empty=True),
    Column("encrypted", "bool", "-"),
)
NAMES = [column.name for column in FEATURES]
KEYS = (
    Column("device_id", "string", "-"),
    Column("source", "string", "-", empty=True),
    Column("window_start", "timestamp", "UTC"),
    Column("window_end", "timestamp", "UTC"),
    Column("created", "timestamp", "UTC"),
)
TTL = {"session": timedelta(days=365), "15min": timedelta(minutes=30)}
START = pd.Timestamp("2026-03-29 01:00", tz="UTC")  # the hour that Europe's clocks skip
number = itertools.count()


def at(minute: float) -> pd.Timestamp:
    return START + pd.Timedelta(minutes=minute)


def row(device_id: str, end: float, *, known: float | None = None, flows: int = 1) -> dict[str, object]:
    """One window row; every feature tells `flows`."""
    values = dict(zip(NAMES, [flows, flows / 8, flows * 2**40, float(flows), flows % 2 == 0], strict=True))
    times = {
        "window_start": at(end - 15),
        "window_end": at(end),
        "created": at(end if known is None else known),
    }
    return {"device_id": device_id, "source": None, **times, **values}


def add(store: Store, *rows: dict[str, object], window: str = "15min") -> Path:
    """Write rows into the lake, in a file of their own."""
    folder = store.workspace / "lake" / "windows" / f"window={window}" / "date=2026-03-29"
    folder.mkdir(parents=True, exist_ok=True)
    schema = arrow_schema([*KEYS, *store.features])
    table = pa.Table.from_pandas(pd.DataFrame(rows), schema=schema, preserve_index=False)
    file = folder / f"{next(number):06d}.parquet"
    pq.write_table(table, file)
    return file


def asked(*rows: tuple[str, float]) -> pd.DataFrame:
    times = pd.Series([at(minute) for _, minute in rows], dtype="datetime64[us, UTC]")
    return pd.DataFrame({"device_id": [device for device, _ in rows], "event_timestamp": times})


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(one.reset_index(drop=True), other.reset_index(drop=True))


minutes = st.integers(0, 40)
devices = st.sampled_from(["bike-1", "bike-2", "lock-1"])
floats = st.floats(width=64) | st.none()
values = st.tuples(st.integers(-(2**53), 2**53), floats, st.integers(0, 2**53), floats, st.booleans())
windows = st.lists(
    st.tuples(devices, minutes, minutes, values), min_size=1, max_size=12, unique_by=lambda made: made[:3]
)


def window_rows(
    made: list[tuple[str, int, int, tuple[object, ...]]], prefix: str = ""
) -> list[dict[str, object]]:
    return [
        row(prefix + device, end, known=known) | dict(zip(NAMES, of, strict=True))
        for device, end, known, of in made
    ]
