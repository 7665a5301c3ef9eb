"""A workspace before a day of cycles, and what is delivered to it before each of them (simulated).

A province is simulated with `history` days before the day that is walked. Each of its rows is known at some moment:
counters and terminal records when they were received, flows, events and moves of devices a minute after they were, one
flow in fifty up to three hours later. The cycle of a window is called GRACE after its end, and finds what was known by
then. What was known when the day began lies in the workspace already, built, with two models learnt from it.
"""

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.parquet as pq

from evaluation import mark_training
from evaluation.simulation.province import province as simulation
from features import indicator_windows, lake, membership, province, store, windows
from features.configuration import find_config
from features.devices import DEVICES
from features.duck import connect
from features.flows import FLOWS
from features.sources import read_content
from features.table import check_table
from serving import cycle
from training import experiment, mark_experiment, run

GRACE = timedelta(minutes=10)  # most counters of the simulation are received within it
QUARTER = timedelta(minutes=15)
LABELS = {"smoke_sensor": "smoke_sensor", "bike_sharing": "bike_lock", "video": "phone"}
_LATE = 'CASE WHEN hash(device_id, "start") % 50 = 0 THEN 60 + hash("start", device_id) % 10800 ELSE 60 END'
_KNOWN = {  # when a row of a table is known
    "counters": "received",
    "terminal": "received",
    "events": '"at" + INTERVAL 1 MINUTE',
    "flows": f'"end" + to_seconds({_LATE})',
    "membership": "valid_from + INTERVAL 1 MINUTE",
}
_ORDER = {
    "counters": "received, scope, scope_id, counter, bin",
    "terminal": "received, device_id, indicator",
    "events": '"at", device_id, process',
    "flows": '"start", "end", device_id, device_port',
    "membership": "valid_from, device_id",
}


@dataclass(frozen=True)
class Day:
    """What is walked. history: days before it. windows: how many quarters of it."""

    devices: int
    history: int
    windows: int
    seed: int


def make(folder: Path, day: Day) -> datetime:
    """Make `folder`/province, /deliveries and /workspace where they are not there yet; return when the day begins."""
    raw, deliveries, workspace = folder / "province", folder / "deliveries", folder / "workspace"
    if not raw.exists():
        own, faults, noise = (
            find_config(f"{name}.yaml") for name in ("province", "fault_catalogue", "noise")
        )
        files = simulation.Files(own, faults, noise)
        days = day.history + 1
        simulation.simulate(raw, files=files, devices=day.devices, days=days, seed=day.seed, workers=1)
    first = pq.read_table(raw / "kqi.parquet", columns=["window_end"])["window_end"].to_pandas().min()
    start = (first - timedelta(microseconds=1)).floor("D").to_pydatetime() + timedelta(days=day.history)
    if not deliveries.exists():
        _split(raw, folder / "splitting", start=start, count=day.windows)
        (folder / "splitting").rename(deliveries)
    if not workspace.exists():
        shutil.rmtree(folder / "preparing", ignore_errors=True)
        _prepare(deliveries / "before", folder / "preparing", start)
        (folder / "preparing").rename(workspace)
    return start


def deliver(folder: Path, end: datetime, workspace: Path) -> None:
    """Bring what is known by the cycle of a window, and was not by that of the one before, into a workspace."""
    loaded = province.load(folder / "deliveries" / f"{end:%dT%H%M}", workspace)
    if loaded.failed:
        raise RuntimeError(f"every simulated table must be read, however: {loaded.text()}")


def _split(raw: Path, out: Path, *, start: datetime, count: int) -> None:
    """Write what each cycle finds anew into a folder of its own, and what was known before the day into `before`."""
    shutil.rmtree(out, ignore_errors=True)
    ends = [start + n * QUARTER for n in range(count + 1)]
    for name, known in _KNOWN.items():
        source = raw / f"{name}.parquet" if name == "membership" else raw / name / "*.parquet"
        with connect(threads=1) as connection:
            rows = f"SELECT *, {known} AS known FROM '{source}'"
            connection.execute(f"CREATE VIEW early AS SELECT * FROM ({rows}) WHERE known <= {_told(start)}")
            connection.execute(
                f"CREATE TEMP TABLE late AS SELECT * FROM ({rows}) WHERE known > {_told(start)}"
            )
            _copy(connection, "SELECT * FROM early", name=name, place=out / "before", end=start)
            for end in ends[1:]:
                mine = f"SELECT * FROM late WHERE known > {_told(end - QUARTER)} AND known <= {_told(end)}"
                _copy(connection, mine, name=name, place=out / f"{end:%dT%H%M}", end=end)


def _told(end: datetime) -> str:
    """Return the SQL of the moment at which the cycle of a window is called."""
    return f"TIMESTAMPTZ '{(end + GRACE).isoformat()}'"


def _copy(connection: duckdb.DuckDBPyConnection, rows: str, *, name: str, place: Path, end: datetime) -> None:
    """Write rows of a table as a province has it. A stay that ends later is told as lasting."""
    file = place / ("" if name == "membership" else name) / f"{name}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    (place / lake.SIMULATED).touch()
    ended = f"REPLACE (CASE WHEN valid_to <= {_told(end)} THEN valid_to END AS valid_to)"
    wanted = f"* EXCLUDE (known) {ended if name == 'membership' else ''}"
    connection.execute(
        f"COPY (SELECT {wanted} FROM ({rows}) ORDER BY {_ORDER[name]}) TO '{file}' (FORMAT parquet, COMPRESSION zstd)"
    )


def _prepare(before: Path, workspace: Path, start: datetime) -> None:
    """Load and build what is known before the day, learn two models of it, and do the cycle that ends with it."""
    flows = pd.read_parquet(before / "flows" / "flows.parquet")
    aside = before.with_name("before-flows")
    (before / "flows").rename(aside)
    loaded = province.load(before, workspace)
    aside.rename(before / "flows")
    if loaded.failed:
        raise RuntimeError(f"every simulated table must be read, however: {loaded.text()}")
    _commit_labelled(flows, workspace, file=before / "flows" / "flows.parquet", start=start)
    windows.build(workspace, window_end=start)
    indicator_windows.build(workspace, window_end=start)
    store.open(workspace).publish(start)
    device = experiment.read(experiment.find(Path("device_type"), workspace), ["window=1h"])
    run.seal(run.fit(device, workspace).directory)
    marks = experiment.find(Path("user_marking"), workspace)
    mark_training.train(mark_experiment.read(marks, [f"at={start.isoformat()}"]), workspace)
    list(cycle.walk(workspace, start))


def _commit_labelled(flows: pd.DataFrame, workspace: Path, *, file: Path, start: datetime) -> None:
    """Bring flows into the lake whose devices are told with a label: a model of devices learns from them.

    A table of flows cannot tell labels; a device map does, of captures.
    """
    source = read_content(file).source
    services = membership.services(workspace, start)
    ids = pd.DataFrame({"device_id": sorted(flows["device_id"].unique()), "source": source})
    labels = ids["device_id"].map(services).map(LABELS)
    devices = ids.assign(label=labels, family=labels).reindex(columns=[column.name for column in DEVICES])
    record = lake.Source(
        source=source, path=str(file), bytes=file.stat().st_size, fingerprint="labelled", flows=len(flows), packets=0,
        unmapped_flows=0, warnings=(), files=(), reader="table",
    )  # fmt: skip
    with lake.writing(workspace):
        lake.commit(
            workspace,
            record,
            check_table(flows.assign(source=source), FLOWS, table="flows"),
            check_table(devices, DEVICES, table="devices"),
        )
