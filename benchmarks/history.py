"""Point-in-time joins over one simulated lake: `store.history`, Feast's two embedded stores, pandas.merge_asof.

Each runs in a process of its own, is warmed up once and then timed; the answers are compared row by row.

    python benchmarks/history.py [--devices 2000] [--windows 100] [--features 20] [--entities 20000] [--runs 3]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.table import Column

SEED = 7
START = pd.Timestamp("2026-01-01", tz="UTC")
TTL = timedelta(hours=2)
WINDOWS_A_DAY = 24
LATE = 0.1  # share of the windows that a backfill wrote again, a day later
TWICE = 0.01  # share of the questions asked twice, with two labels
NAMES = {
    "history": "store.history",
    "merge_asof": "pandas.merge_asof",
    "duckdb": "Feast, duckdb store",
    "file": "Feast, file store (dask)",
}
Join = Callable[[pd.DataFrame], pd.DataFrame]


@dataclass(frozen=True)
class Size:
    """How much is simulated: devices x windows rows of `features` columns, and the questions asked of them."""

    devices: int
    windows: int
    features: int
    entities: int

    @property
    def columns(self) -> tuple[Column, ...]:
        """Half of the features are whole numbers, half may be empty."""
        return tuple(
            Column(f"count_{i}", "int64", "1") if i % 2 else Column(f"share_{i}", "float64", "1", empty=True)
            for i in range(self.features)
        )


def lake_folder(workspace: Path) -> Path:
    """Return where the windows of one hour lie in a workspace."""
    return workspace / "lake" / "windows" / "window=1h"


def make_lake(workspace: Path, size: Size) -> None:
    """Write one file per day, and one of late rows beside every third."""
    random = np.random.default_rng(SEED)
    for day, first in enumerate(range(0, size.windows, WINDOWS_A_DAY)):
        hours = np.arange(first, min(first + WINDOWS_A_DAY, size.windows)) + 1
        folder = lake_folder(workspace) / f"date={START + pd.Timedelta(days=day):%F}"
        folder.mkdir(parents=True)
        rows = window_rows(hours, size, random)
        pq.write_table(rows, folder / "first.parquet")
        if day % 3 == 0:
            late = window_rows(hours, size, random, late=True).filter(random.random(len(rows)) < LATE)
            pq.write_table(late, folder / "late.parquet")


def window_rows(
    hours: np.ndarray, size: Size, random: np.random.Generator, *, late: bool = False
) -> pa.Table:
    """Return a row for each device and hour."""
    count = len(hours) * size.devices
    ends = START + pd.to_timedelta(np.repeat(hours, size.devices), unit="h")
    moment = pa.timestamp("us", tz="UTC")
    columns: dict[str, Any] = {
        "device_id": np.tile([f"device-{i:06d}" for i in range(size.devices)], len(hours)),
        "source": pa.nulls(count, pa.string()),
        "window_start": pa.array(ends - pd.Timedelta(hours=1), moment),
        "window_end": pa.array(ends, moment),
        "created": pa.array(ends + pd.Timedelta(minutes=1440 if late else 1), moment),
    }
    for column in size.columns:
        whole = column.dtype == "int64"
        columns[column.name] = random.integers(0, 10**6, count) if whole else random.random(count)
    return pa.table(columns)


def make_entities(size: Size) -> pd.DataFrame:
    """Return questions in no order: some of unknown devices, some before the first row, some asked twice."""
    random = np.random.default_rng(SEED + 1)
    names = np.array(
        [f"device-{i:06d}" for i in random.integers(0, round(size.devices * 1.01), size.entities)]
    )
    seconds = random.integers(-3600, (size.windows + 6) * 3600, size.entities)
    asked = np.arange(size.entities)
    asked[1:] -= random.random(size.entities - 1) < TWICE  # what the row before asked
    moments = START + pd.to_timedelta(seconds[asked], unit="s")
    entities = pd.DataFrame(
        {"device_id": names[asked], "event_timestamp": moments, "label": range(size.entities)}
    )
    return entities.astype({"event_timestamp": "datetime64[us, UTC]"})


def ours(workspace: Path, size: Size) -> Join:
    """Return the join of the product."""
    from features.store import Store

    store = Store(workspace, size.columns, {"1h": TTL})
    service = store.register("benchmark", "1h")
    return lambda entities: store.history(entities, service)


def merge_asof(workspace: Path, size: Size) -> Join:
    """Return the join one writes by hand: everything into memory, sorted, newest version of each window."""
    names = [column.name for column in size.columns]

    def join(entities: pd.DataFrame) -> pd.DataFrame:
        columns = ["device_id", "window_end", "created", *names]
        rows = pq.read_table(lake_folder(workspace), columns=columns, partitioning=None).to_pandas()
        rows = rows.sort_values(["window_end", "created"]).drop_duplicates(
            ["device_id", "window_end"], keep="last"
        )
        moments = {"left_on": "event_timestamp", "right_on": "window_end", "by": "device_id"}
        asked = entities.sort_values("event_timestamp")
        return pd.merge_asof(asked, rows, tolerance=pd.Timedelta(TTL), **moments).sort_values("label")

    return join


def feast_store(workspace: Path, size: Size, *, offline: str) -> Join:
    """Return the join of Feast's own `get_historical_features`, over one of its embedded offline stores."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.data_format import ParquetFormat
    from feast.types import Float64, Int64, String

    store = FeatureStore(
        config=RepoConfig(
            project="benchmark",
            registry=str(workspace / f"{offline}.registry"),
            online_store={"type": "sqlite", "path": str(workspace / f"{offline}.db")},
            offline_store={"type": offline},
            entity_key_serialization_version=3,
        )
    )
    device = Entity(name="device", join_keys=["device_id"], value_type=ValueType.STRING)
    dtypes = {"int64": Int64, "float64": Float64}
    fields = [Field(name=column.name, dtype=dtypes[column.dtype]) for column in size.columns]
    source = FileSource(
        path=str(lake_folder(workspace)),
        file_format=ParquetFormat(),
        timestamp_field="window_end",
        created_timestamp_column="created",
    )
    key = Field(name="device_id", dtype=String)
    view = FeatureView(name="hour", entities=[device], ttl=TTL, schema=[key, *fields], source=source)
    store.apply([device, view])
    asked = [f"hour:{column.name}" for column in size.columns]
    return lambda entities: store.get_historical_features(entity_df=entities, features=asked).to_df()


def run(method: str, workspace: Path, size: Size, runs: int) -> dict[str, Any]:
    """Return seconds and CPU seconds of each run, and this process's peak memory; write the answer down."""
    makers = {"history": ours, "merge_asof": merge_asof}
    make = makers.get(method) or (lambda *of: feast_store(*of, offline=method))
    join, entities = make(workspace, size), make_entities(size)
    join(entities.head(100).copy())
    seconds, cpu_seconds = [], []
    for _ in range(runs):
        asked = entities.copy()
        started, cpu_started = time.perf_counter(), time.process_time()
        answer = join(asked)
        seconds.append(time.perf_counter() - started)
        cpu_seconds.append(time.process_time() - cpu_started)
    answer.to_parquet(workspace / f"{method}.parquet")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": median(seconds), "cpu_seconds": median(cpu_seconds), "peak_mb": peak_mb}


def in_own_process(method: str, workspace: Path, arguments: list[str]) -> dict[str, Any]:
    """Return what `run` says, from a fresh process."""
    command = [sys.executable, __file__, *arguments, "--only", method, "--workspace", str(workspace)]
    child = subprocess.run(command, capture_output=True, text=True)
    if child.returncode != 0:
        raise RuntimeError(f"{NAMES[method]} must end well, however:\n{child.stderr}")
    return dict(json.loads(child.stdout.splitlines()[-1]))  # ibis and dask warn about duckdb and each other


@dataclass(frozen=True)
class Difference:
    """How the answer of a method differs from store.history, in rows.

    unanswered: lost, without a window to answer them. twice: lost, of two questions that differ in label only.
    otherwise: answered with other values.
    """

    unanswered: int
    twice: int
    otherwise: int


def difference(workspace: Path, method: str, size: Size) -> Difference:
    """Compare two answers row by row; values must be equal to the bit."""
    names = [column.name for column in size.columns]
    ours, theirs = (
        pd.read_parquet(workspace / f"{name}.parquet").set_index("label") for name in ("history", method)
    )
    lost = ours.loc[ours.index.difference(theirs.index)]
    unanswered = int(lost["window_end"].isna().sum())
    kept = ours.loc[theirs.index, names].astype("float64")
    same = np.isclose(kept, theirs[names].astype("float64"), equal_nan=True, rtol=0, atol=0).all(axis=1)
    return Difference(unanswered, len(lost) - unanswered, int((~same).sum()))


def table(results: dict[str, dict[str, Any]], differences: dict[str, Difference]) -> str:
    """Return the results as Markdown; ratios against store.history."""
    lines = [
        "| simulated | time | ratio | CPU | ratio | peak memory | ratio | lost: unanswered | lost: asked twice"
        " | other values |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    base = results["history"]
    for method, result in results.items():
        units = {"seconds": "{:.2f} s", "cpu_seconds": "{:.2f} s", "peak_mb": "{:,.0f} MB"}
        cells = [f"{unit.format(result[key])} | {result[key] / base[key]:.1f}" for key, unit in units.items()]
        differs = differences[method]
        cells += [f"{count:,}" for count in (differs.unanswered, differs.twice, differs.otherwise)]
        lines.append(f"| {NAMES[method]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, or, as a child, the numbers of one method as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("devices", 2000), ("windows", 100), ("features", 20), ("entities", 20_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--runs", type=int, default=3, help="timed runs of each, of which the median is told")
    parser.add_argument("--only", choices=list(NAMES), help=argparse.SUPPRESS)
    parser.add_argument("--workspace", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    size = Size(given.devices, given.windows, given.features, given.entities)
    if given.only:
        print(json.dumps(run(given.only, given.workspace, size, given.runs)))
        return
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        make_lake(workspace, size)
        results = {name: in_own_process(name, workspace, sys.argv[1:]) for name in NAMES}
        differences = {name: difference(workspace, name, size) for name in NAMES}
    rows = size.devices * size.windows
    print(
        f"Simulated: {rows:,} window rows of {size.devices:,} devices with {size.features} features,", end=" "
    )
    print(f"{size.entities:,} questions; median of {given.runs} runs, imports not counted.\n")
    print(table(results, differences))


if __name__ == "__main__":
    main()
