"""How a window row lies online, simulated: `store.latest`, against Feast with one list or one value per feature.

python benchmarks/online.py [--devices 10000] [--features 150]
"""

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.store import Store
from features.table import Column

SEED = 7
WINDOW = "1h"
TTL = timedelta(hours=2)
REPEATS = {1: 200, 100: 20}  # more of what is quick
Read = Callable[[list[str]], Any]


def window_rows(devices: int, columns: tuple[Column, ...]) -> pd.DataFrame:
    """Return the newest row of each device; every third feature is a whole number."""
    random, now = np.random.default_rng(SEED), pd.Timestamp.now("UTC").floor("us")
    keys = {"device_id": [f"device-{i:06d}" for i in range(devices)], "window_end": now, "created": now}
    values = {
        column.name: random.integers(0, 10**6, devices) if column.dtype == "int64" else random.random(devices)
        for column in columns
    }
    return pd.DataFrame({**keys, **values})


def ours(folder: Path, rows: pd.DataFrame, columns: tuple[Column, ...]) -> Read:
    """Publish the rows from a lake, and return `latest`."""
    lake = folder / "lake" / "windows" / f"window={WINDOW}" / "date=2026-01-01"
    lake.mkdir(parents=True)
    moment = pa.timestamp("us", tz="UTC")
    table = pa.Table.from_pandas(rows.assign(source=None), preserve_index=False)
    for name in ("window_end", "created"):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, table[name].cast(moment))
    pq.write_table(table, lake / "rows.parquet")
    store = Store(folder, columns, {WINDOW: TTL})
    service = store.register("benchmark", WINDOW)
    store.publish()
    return lambda ids: store.latest(ids, service)


def feast(folder: Path, rows: pd.DataFrame, columns: tuple[Column, ...], *, packed: bool) -> Read:
    """Write the rows with Feast alone, as one list or as one value per feature, and return its reading."""
    from feast import (
        Entity,
        FeatureService,
        FeatureStore,
        FeatureView,
        Field,
        FileSource,
        RepoConfig,
        ValueType,
    )
    from feast.types import Array, Float64, Int64, String

    dtypes = {"int64": Int64, "float64": Float64}
    names = [column.name for column in columns]
    fields = [Field(name=column.name, dtype=dtypes[column.dtype]) for column in columns]
    if packed:
        fields = [Field(name="values", dtype=Array(Float64))]
        rows = rows.drop(columns=names).assign(values=list(rows[names].to_numpy(dtype="float64")))
    source = FileSource(path=str(folder), timestamp_field="window_end", created_timestamp_column="created")
    device = Entity(name="device", join_keys=["device_id"], value_type=ValueType.STRING)
    schema = [Field(name="device_id", dtype=String), *fields]
    view = FeatureView(name="hour", entities=[device], schema=schema, source=source, ttl=TTL)
    service = FeatureService(name="benchmark", features=[view])
    store = FeatureStore(
        config=RepoConfig(
            project="benchmark",
            registry=str(folder / "registry.db"),
            online_store={"type": "sqlite", "path": str(folder / "online.db")},
            offline_store={"type": "duckdb"},
            entity_key_serialization_version=3,
        )
    )
    store.apply([device, view, service])
    store.write_to_online_store("hour", rows)
    asked = store.get_feature_service("benchmark")
    return lambda ids: store.get_online_features(features=asked, entity_rows={"device_id": ids}).to_df()


def row_of(name: str, make: Callable[..., Read], rows: pd.DataFrame, columns: tuple[Column, ...]) -> str:
    """Return a row of the table: seconds to write all, size, and median milliseconds to read."""
    random = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        read = make(Path(folder), rows, columns)
        write_s = time.perf_counter() - started
        size_mb = sum(file.stat().st_size for file in Path(folder).rglob("online.db*")) / 2**20
        cells = [f"{write_s:.1f} s", f"{size_mb:.0f} MB"]
        for count in (*REPEATS, len(rows)):
            ids = random.choice(rows["device_id"], count, replace=False).tolist()
            took = [_seconds(read, ids) for _ in range(1 + REPEATS.get(count, 3))][1:]
            cells.append(f"{1000 * median(took):,.1f} ms")
    return f"| {name} | " + " | ".join(cells) + " |"


def _seconds(read: Read, ids: list[str]) -> float:
    started = time.perf_counter()
    answer = read(ids)
    seconds = time.perf_counter() - started
    if len(answer) != len(ids):
        raise RuntimeError(f"every device must be answered, but {len(answer)} of {len(ids)} were")
    return seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=150)
    given = parser.parse_args()
    columns = tuple(
        Column(f"feature_{i}", "int64" if i % 3 == 0 else "float64", "1", empty=i % 3 > 0)
        for i in range(given.features)
    )
    rows = window_rows(given.devices, columns)
    with tempfile.TemporaryDirectory() as folder:
        ours(Path(folder), rows.head(1), columns)  # imports are not counted
    warnings.simplefilter("ignore")
    logging.disable()
    print(f"Simulated: {given.features} features of {given.devices:,} devices; SQLite online.\n")
    print(f"| simulated | write | size | read 1 | read 100 | read {given.devices:,} |")
    print("|---|---|---|---|---|---|")
    print(row_of("store.latest: one value of bytes", ours, rows, columns), flush=True)
    print(row_of("Feast: one list", lambda *of: feast(*of, packed=True), rows, columns), flush=True)
    print(row_of("Feast: one value per feature", lambda *of: feast(*of, packed=False), rows, columns))


if __name__ == "__main__":
    main()
