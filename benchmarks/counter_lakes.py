"""Made-up counters as `iotlens counters ingest` leaves them in a lake, for benchmarks/counters.py.

`even`: cells that count four ratios and one sketch of delays every 15 minutes, 6,500 cells a day and then more days, a
file a day. `sparse`: cells that count each of these in three windows of ten, and twenty devices a cell that count two
ratios and a sketch in one window of ten, a file an hour.
"""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features import lake, sketch
from features.counter_tables import COUNTERS, FOLDER, ROW, STORED, gathered_sql
from features.duck import connect
from features.membership import MEMBERSHIP
from features.table import arrow_schema

SEED = 7
START = pd.Timestamp("2026-01-01T00:00:00Z")
RATIOS = (
    "rrc_setup_succ/rrc_setup_att",
    "npusch_crc_fail/npusch_first_tx",
    "ctx_rel_abnormal/ctx_rel_all",
    "rach_succ_ce0/rach_att_ce0",
)
SKETCH = "rrc_setup_ms"
OF_DEVICES = ("hb_recv/hb_expected", "tcp_succ/tcp_syn")  # no cell counts them: nothing is outranked
LEVEL = "nrsrp_dbm"
BINS, LEVELS = 12, 3  # of a sketch in a window
QUARTERS = 96
EVEN_CELLS, SPARSE_CELLS = 6_500, 1_000  # at most; beyond them come more days
DEVICES_A_CELL = 20
OF_CELL, OF_DEVICE = 0.3, 0.1  # share of windows that count in a sparse lake
_A_CELL = {  # rows a day
    "even": QUARTERS * (len(RATIOS) + BINS),
    "sparse": int(
        QUARTERS * (OF_CELL * (len(RATIOS) + BINS) + DEVICES_A_CELL * OF_DEVICE * (len(OF_DEVICES) + LEVELS))
    ),
}


def make(workspace: Path, rows: int, shape: str) -> int:
    """Write a lake of about so many rows; return their number."""
    cells = min({"even": EVEN_CELLS, "sparse": SPARSE_CELLS}[shape], max(1, rows // _A_CELL[shape]))
    random = np.random.default_rng(SEED)
    written = 0
    with lake.writing(workspace) as scratch:
        _deliver(workspace, scratch, "membership", _members(cells, 1 if shape == "even" else DEVICES_A_CELL))
        for day in range(max(1, round(rows / (cells * _A_CELL[shape])))):
            start = START + pd.Timedelta(days=day)
            tables = [_even(cells, start, random)] if shape == "even" else _sparse(cells, start, random)
            for table in tables:
                _deliver(workspace, scratch, f"{FOLDER}/date={start:%F}", table)
                written += len(table)
    return written


def add_late(workspace: Path) -> None:
    """Deliver one more row of a cell and one of a device, of the first morning."""
    told = [("cell", "cell-00000", RATIOS[0]), ("device", "d0-0", OF_DEVICES[0])]
    frame = pd.DataFrame(told, columns=["scope", "scope_id", "counter"])
    frame = frame.assign(quarter=40, bin=None, numerator=30.0, denominator=40.0)
    with lake.writing(workspace) as scratch:
        _deliver(workspace, scratch, f"{FOLDER}/date={START:%F}", _counters(frame, START, "late"))


def _deliver(workspace: Path, scratch: Path, place: str, table: pa.Table) -> None:
    """Commit one file, as ingest does."""
    kind, rows = place.partition("/")[0], len(table)
    number = len(list((workspace / "lake" / place).glob("*.parquet")))
    source = hashlib.sha256(f"{place} {number}".encode()).hexdigest()[:16]
    made = scratch / "made.parquet"
    stored = table if kind == "membership" else _gathered(table)
    pq.write_table(stored, made, compression="zstd", row_group_size=122_880)  # as DuckDB does
    record = lake.Delivery(source, kind, place, 0, "", source, rows, rows, {}, {}, "", "", ())
    lake.commit_delivery(workspace, record, {place: made})


def _gathered(table: pa.Table) -> pa.Table:
    """Return rows of COUNTERS as they lie in the lake, in its order: a sketch is one row."""
    names = ", ".join(column.name for column in STORED)
    with connect(threads=2) as connection:
        connection.register("told", table)
        rows = gathered_sql("(SELECT *, false AS hidden FROM told)")
        return connection.execute(
            f"SELECT {names} FROM ({rows}) ORDER BY window_start, scope, scope_id, counter, row"
        ).to_arrow_table()


def _members(cells: int, devices: int) -> pa.Table:
    """Return the devices of each cell, which tell where the cell lies."""
    cell = np.repeat(np.arange(cells), devices)
    columns = {
        "device_id": [f"d{i}-{n}" for i, n in zip(cell, np.tile(np.arange(devices), cells), strict=True)],
        "service": "bike_sharing",
        "cell": [f"cell-{i:05d}" for i in cell],
        "tac": [f"tac-{i // 100:03d}" for i in cell],
        "mme": [f"mme-{i // 1000}" for i in cell],
        "platform_node": [f"node-{i % 7}" for i in cell],
        "app": [f"app-{i % 13}" for i in cell],
        "fleet": [f"fleet-{i % 17}" for i in cell],
        "city": [f"city-{i // 500:02d}" for i in cell],
        "province": "p",
        "valid_from": START,
        "valid_to": None,
    }
    return pa.Table.from_pandas(pd.DataFrame(columns), schema=arrow_schema(MEMBERSHIP), preserve_index=False)


def _even(cells: int, day: pd.Timestamp, random: np.random.Generator) -> pa.Table:
    """Return a day of cells in the order in which ingest leaves them: window, scope, counter, bin."""
    count = cells * QUARTERS * (len(RATIOS) + BINS)
    names = [*RATIOS, *[SKETCH] * BINS]
    kinds = np.tile(np.argsort(names, kind="stable"), cells * QUARTERS)
    is_ratio = kinds < len(RATIOS)
    denominator = random.integers(30, 200, count).astype("float64")
    part = np.floor(denominator * random.uniform(0.5, 1.0, count))
    bins = sketch.bins(np.geomspace(80, 4000, BINS))
    which = np.tile(np.repeat(np.arange(cells, dtype="int32"), len(names)), QUARTERS)
    counter = np.minimum(kinds, len(RATIOS)).astype("int32")
    columns = {
        "scope": _always("cell", count),
        "scope_id": _texts(which, [f"cell-{i:05d}" for i in range(cells)]),
        "counter": _texts(counter, [*RATIOS, SKETCH]),
        "quarter": np.repeat(np.arange(QUARTERS), cells * len(names)),
        "bin": pa.array(bins[np.maximum(kinds - len(RATIOS), 0)], mask=is_ratio),
        "numerator": np.where(is_ratio, part, random.integers(1, 20, count)),
        "denominator": pa.array(denominator, mask=~is_ratio),
    }
    return _whole(columns, day, "enb")


def _sparse(cells: int, day: pd.Timestamp, random: np.random.Generator) -> list[pa.Table]:
    """Return a day of cells and devices, a table an hour."""
    names = [f"cell-{i:05d}" for i in range(cells)]
    devices = [f"d{i}-{n}" for i in range(cells) for n in range(DEVICES_A_CELL)]
    delays, levels = sketch.bins(np.geomspace(80, 4000, BINS)), sketch.bins(np.array([-120.0, -105.0, -90.0]))
    ratios = [_sparse_rows("cell", names, one, None, OF_CELL, random) for one in RATIOS]
    ratios += [_sparse_rows("device", devices, one, None, OF_DEVICE, random) for one in OF_DEVICES]
    ratios.append(_sparse_rows("cell", names, SKETCH, delays, OF_CELL, random))
    ratios.append(_sparse_rows("device", devices, LEVEL, levels, OF_DEVICE, random))
    order = ["quarter", "scope", "scope_id", "counter", "bin"]
    whole = pd.concat(ratios, ignore_index=True).sort_values(order, ignore_index=True)
    return [_counters(part, day, "e") for _, part in whole.groupby(whole["quarter"] // 4)]


def _sparse_rows(
    scope: str, ids: list[str], counter: str, bins: np.ndarray | None, share: float, random: np.random.Generator
) -> pd.DataFrame:  # fmt: skip
    quarter, which = np.nonzero(random.random((QUARTERS, len(ids))) < share)
    each = 1 if bins is None else len(bins)
    frame = pd.DataFrame({"quarter": np.repeat(quarter, each), "which": np.repeat(which, each)})
    frame = frame.assign(scope=scope, scope_id=np.array(ids, dtype=object)[frame["which"]], counter=counter)
    most = 200 if scope == "cell" else 4
    if bins is not None:
        tiled = np.tile(bins, len(quarter))
        count = random.integers(1, most, len(frame)).astype("float64")
        return frame.assign(bin=pd.array(tiled, dtype="Int64"), numerator=count, denominator=np.nan)
    denominator = random.integers(1, most, len(frame)).astype("float64")
    part = np.floor(denominator * random.uniform(0.5, 1.0, len(frame)))
    return frame.assign(
        bin=pd.array([None] * len(frame), dtype="Int64"), numerator=part, denominator=denominator
    )


def _counters(frame: pd.DataFrame, day: pd.Timestamp, element: str) -> pa.Table:
    told = pa.Table.from_pandas(frame.drop(columns="which", errors="ignore"), preserve_index=False)
    columns = {name: told[name].combine_chunks() for name in told.column_names}
    return _whole({**columns, "quarter": frame["quarter"].to_numpy()}, day, element)


def _whole(columns: dict[str, pa.Array | np.ndarray], day: pd.Timestamp, element: str) -> pa.Table:
    """Return rows of COUNTERS. columns: what differs, and `quarter`, the number of the window in the day."""
    quarter, moment = np.asarray(columns["quarter"]), int(day.timestamp() * 1e6)
    count, utc = len(quarter), pa.timestamp("us", tz="UTC")
    told = {
        **columns,
        "window_start": pa.array(moment + quarter.astype("int64") * 900_000_000).cast(utc),
        "window_s": np.full(count, 900),
        "element": _always(element, count),
        "vendor": _always("northlight", count),
        "received": pa.array(np.full(count, moment + 86_400_000_000)).cast(utc),
        "source": _always("0" * 16, count),
        "row": np.arange(count),
    }
    schema = arrow_schema((*COUNTERS, ROW))
    return pa.table([pa.array(told[field.name]).cast(field.type) for field in schema], schema=schema)


def _texts(which: np.ndarray, names: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(which, names).cast(pa.string())


def _always(value: str, count: int) -> pa.Array:
    return _texts(np.zeros(count, dtype="int8"), [value])
