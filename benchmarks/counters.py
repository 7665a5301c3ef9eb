"""Counters to indicators: `indicator_windows.build` beside DuckDB SQL and pandas written by hand for the same tables.

The rows are made up: cells that count four ratios and one sketch of delays every 15 minutes, 6,500 cells a day and then
more days. Each method makes the wide tables of cell, TAC, city and province, in a process of its own, after a
warm-up on a small lake; the answers are compared.

    python benchmarks/counters.py [--rows 1000000 10000000] [--pandas-rows 1000000] [--runs 3]
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features import indicator_windows, lake, sketch
from features.counter_tables import COUNTERS, KIND, ROW
from features.indicators import read_indicators
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
BINS = 12  # of a sketch in a window
QUARTERS = 96
ROWS_A_CELL = QUARTERS * (len(RATIOS) + BINS)  # and day
CELLS = 6_500  # at most; beyond them come more days
UP = ("cell", "tac", "city", "province")
LENGTHS = {"cell": 900, "tac": 900, "city": 900, "province": 900}
IDS = {
    "rrc_setup_success_rate": RATIOS[0],
    "ul_bler": RATIOS[1],
    "rrc_drop_rate": RATIOS[2],
    "rach_success_rate_ce0": RATIOS[3],
}
P95 = "rrc_setup_delay_p95"
NAMES = {"ours": "indicator_windows.build", "hand": "DuckDB SQL by hand", "pandas": "pandas groupby"}


def cells_of(rows: int) -> tuple[int, int]:
    """Return how many cells and days give about so many rows."""
    cells = min(CELLS, max(1, rows // ROWS_A_CELL))
    return cells, max(1, round(rows / (cells * ROWS_A_CELL)))


def make_lake(workspace: Path, rows: int) -> int:
    """Write a lake as `counters ingest` leaves it, one delivery a day; return the number of rows."""
    cells, days = cells_of(rows)
    random = np.random.default_rng(SEED)
    written = 0
    with lake.writing(workspace) as scratch:
        deliver(workspace, scratch, "membership", "membership", membership_rows(cells))
        for day in range(days):
            table = day_rows(cells, START + pd.Timedelta(days=day), random)
            place = f"counters/date={START + pd.Timedelta(days=day):%F}"
            deliver(workspace, scratch, KIND, place, table)
            written += len(table)
    return written


def deliver(workspace: Path, scratch: Path, kind: str, place: str, table: pa.Table) -> None:
    """Commit one file, as ingest does."""
    source = hashlib.sha256(f"{kind} {place}".encode()).hexdigest()[:16]
    pq.write_table(
        table, scratch / "made.parquet", compression="zstd", row_group_size=122_880
    )  # as DuckDB does
    record = lake.Delivery(source, kind, place, 0, "", source, len(table), len(table), {}, {}, "", "", ())
    lake.commit_delivery(workspace, record, {place: scratch / "made.parquet"})


def membership_rows(cells: int) -> pa.Table:
    """Return one device in each cell, which tells where the cell lies."""
    number = np.arange(cells)
    columns = {
        "device_id": [f"d{i}" for i in number],
        "service": ["bike_sharing"] * cells,
        "cell": [f"cell-{i:05d}" for i in number],
        "tac": [f"tac-{i // 100:03d}" for i in number],
        "mme": [f"mme-{i // 1000}" for i in number],
        "platform_node": ["n"] * cells,
        "app": ["a"] * cells,
        "fleet": ["f"] * cells,
        "city": [f"city-{i // 500:02d}" for i in number],
        "province": ["p"] * cells,
        "valid_from": [START] * cells,
        "valid_to": [None] * cells,
    }
    return pa.Table.from_pandas(pd.DataFrame(columns), schema=arrow_schema(MEMBERSHIP), preserve_index=False)


def day_rows(cells: int, day: pd.Timestamp, random: np.random.Generator) -> pa.Table:
    """Return a day of counters in the order in which ingest leaves them: window, cell, counter, bin."""
    per_window = cells * (len(RATIOS) + BINS)
    count = per_window * QUARTERS
    names = [*RATIOS, *[SKETCH] * BINS]
    kinds = np.tile(np.argsort(names, kind="stable"), cells * QUARTERS)
    is_ratio = kinds < len(RATIOS)
    denominator = random.integers(30, 200, count).astype("float64")
    part = np.floor(denominator * random.uniform(0.5, 1.0, count))
    bins = sketch.bins(np.geomspace(80, 4000, BINS))
    which = np.tile(np.repeat(np.arange(cells, dtype="int32"), len(names)), QUARTERS)
    cell = pa.DictionaryArray.from_arrays(which, [f"cell-{i:05d}" for i in range(cells)])
    counter = pa.DictionaryArray.from_arrays(
        np.minimum(kinds, len(RATIOS)).astype("int32"), [*RATIOS, SKETCH]
    )
    quarter = np.repeat(np.arange(QUARTERS), per_window)
    moment = int(day.timestamp() * 1e6)
    start = pa.array(moment + quarter.astype("int64") * 900_000_000).cast(pa.timestamp("us", tz="UTC"))

    def always(value: str) -> pa.Array:
        return pa.DictionaryArray.from_arrays(np.zeros(count, dtype="int8"), [value]).cast(pa.string())

    columns = {
        "scope": always("cell"),
        "scope_id": cell.cast(pa.string()),
        "window_start": start,
        "window_s": np.full(count, 900),
        "counter": counter.cast(pa.string()),
        "bin": pa.array(bins[np.maximum(kinds - len(RATIOS), 0)], mask=is_ratio),
        "numerator": np.where(is_ratio, part, random.integers(1, 20, count)),
        "denominator": pa.array(denominator, mask=~is_ratio),
        "element": always("enb"),
        "vendor": always("northlight"),
        "received": pa.array(np.full(count, moment + 86_400_000_000)).cast(pa.timestamp("us", tz="UTC")),
        "source": always("0" * 16),
        "row": np.arange(count),
    }
    schema = arrow_schema((*COUNTERS, ROW))
    return pa.table(
        [
            pa.array(columns[field.name])
            if isinstance(columns[field.name], np.ndarray)
            else columns[field.name]
            for field in schema
        ],
        schema=schema,
    )


def ours(workspace: Path) -> None:
    """Build as the product does."""
    indicator_windows.build(workspace)


def hand(workspace: Path) -> None:
    """Build with the SQL that one writes for just this: one statement a scope, straight from the counters."""
    connection = duckdb.connect(
        config={"threads": 2, "memory_limit": "3GB", "temp_directory": str(workspace / "spill")}
    )
    connection.execute("SET TimeZone = 'UTC'")
    rows = f"read_parquet('{workspace}/lake/counters/*/*.parquet', hive_partitioning = false)"
    members = f"read_parquet('{workspace}/lake/membership/*.parquet')"
    for scope in UP:
        length = LENGTHS[scope]
        least = {one.id: one.min_samples for one in read_indicators().indicators}
        cells = ", ".join(
            f"max(CASE WHEN counter = '{counter}' AND d >= {least[one]} THEN 100 * n / d END) AS {one},"
            f" max(CASE WHEN counter = '{counter}' THEN d END) AS {one}__samples"
            for one, counter in IDS.items()
        )
        value = f"pow(2, (first_bin - 100000) / {sketch._PER_OCTAVE!r}) * {2 / (1 + sketch._GAMMA)!r}"
        connection.execute(f"""
            COPY (
                WITH sums AS (
                    SELECT {"scope_id" if scope == "cell" else f"m.{scope}"} AS id,
                           ceil((epoch(window_start) + window_s) / {length})::BIGINT * {length} AS end_s,
                           counter, bin, sum(numerator) AS n, sum(denominator) AS d
                    FROM {rows} c {"" if scope == "cell" else f"JOIN {members} m ON m.cell = c.scope_id"}
                    GROUP BY ALL
                ), placed AS (
                    SELECT id, end_s, bin, sum(n) OVER (PARTITION BY id, end_s ORDER BY bin) AS up_to,
                           sum(n) OVER (PARTITION BY id, end_s) AS samples
                    FROM sums WHERE counter = '{SKETCH}'
                ), delays AS (
                    SELECT id, end_s, min(bin) FILTER (up_to > 0.95 * (samples - 1)) AS first_bin,
                           max(samples) AS samples
                    FROM placed GROUP BY ALL
                ), ratios AS (SELECT id, end_s, {cells} FROM sums GROUP BY ALL)
                SELECT id AS scope_id, to_timestamp(end_s) AS window_end, ratios.* EXCLUDE (id, end_s),
                       CASE WHEN samples >= {least[P95]} THEN {value} END AS {P95}, samples AS {P95}__samples
                FROM ratios JOIN delays USING (id, end_s) ORDER BY scope_id, window_end
            ) TO '{workspace}/hand_{scope}.parquet' (FORMAT parquet, COMPRESSION zstd)""")


def by_pandas(workspace: Path) -> None:
    """Build with groupby, as one does in a notebook."""
    members = pd.read_parquet(workspace / "lake" / "membership").set_index("cell")
    rows = pd.concat(
        pq.read_table(file, columns=[c.name for c in COUNTERS[:8]], partitioning=None).to_pandas()
        for file in sorted((workspace / "lake" / "counters").glob("*/*.parquet"))
    )
    end = rows["window_start"] + pd.to_timedelta(rows["window_s"], unit="s")
    for scope in UP:
        place = rows["scope_id"] if scope == "cell" else rows["scope_id"].map(members[scope])
        keyed = rows.assign(scope_id=place, window_end=end.dt.ceil(f"{LENGTHS[scope]}s"))
        keys = ["scope_id", "window_end", "counter"]
        plain = keyed[keyed["bin"].isna()].groupby(keys)[["numerator", "denominator"]].sum()
        ratio = (100 * plain["numerator"] / plain["denominator"]).unstack("counter")
        samples = plain["denominator"].unstack("counter").add_suffix("__samples")
        bins = (
            keyed[keyed["bin"].notna()].groupby([*keys, "bin"])["numerator"].sum().rename("n").reset_index()
        )
        up_to = bins.groupby(keys)["n"].cumsum()
        total = bins.groupby(keys)["n"].transform("sum")
        first = bins[up_to > 0.95 * (total - 1)].groupby(["scope_id", "window_end"])["bin"].min()
        delay = pd.Series(sketch.values(first.to_numpy()), index=first.index, name=P95)
        pd.concat([ratio, samples, delay], axis=1).reset_index().to_parquet(
            workspace / f"pandas_{scope}.parquet"
        )


METHODS: dict[str, Callable[[Path], None]] = {"ours": ours, "hand": hand, "pandas": by_pandas}


def run(method: str, workspace: Path, runs: int) -> dict[str, float]:
    """Return the median seconds of the runs, and this process's peak memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        make_lake(Path(folder), ROWS_A_CELL * 2)
        METHODS[method](Path(folder))
    seconds = []
    for _ in range(runs):
        if method == "ours":
            shutil.rmtree(workspace / "lake" / "indicators", ignore_errors=True)
        started = time.perf_counter()
        METHODS[method](workspace)
        seconds.append(time.perf_counter() - started)
    return {"seconds": median(seconds), "peak_mb": peak_mb()}


def peak_mb() -> float:
    """Return the most memory that this process has held; ru_maxrss would begin with what its parent held."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def in_own_process(method: str, workspace: Path, runs: int) -> dict[str, Any]:
    """Return what `run` says, from a fresh process."""
    command = [sys.executable, __file__, "--only", method, "--workspace", str(workspace), "--runs", str(runs)]
    child = subprocess.run(command, capture_output=True, text=True)
    if child.returncode != 0:
        raise RuntimeError(f"{NAMES[method]} must end well, however:\n{child.stderr}")
    return dict(json.loads(child.stdout.splitlines()[-1]))


def differing(workspace: Path) -> int:
    """Return how many values of the product differ from those of the SQL by more than a part in 1e9."""
    wrong = 0
    for scope in UP:
        theirs = pd.read_parquet(workspace / f"hand_{scope}.parquet").sort_values(["scope_id", "window_end"])
        files = sorted((workspace / "lake" / "indicators" / f"scope={scope}").rglob("*.parquet"))
        names = [*IDS, *(f"{one}__samples" for one in IDS), P95, f"{P95}__samples"]
        own = pd.concat(
            pq.read_table(f, columns=["scope_id", "window_end", *names], partitioning=None).to_pandas()
            for f in files
        )
        own = own.sort_values(["scope_id", "window_end"])
        if len(own) != len(theirs):
            return max(len(own), len(theirs))
        pair = own[names].to_numpy(dtype="float64"), theirs[names].to_numpy(dtype="float64")
        wrong += int((~np.isclose(*pair, rtol=1e-9, atol=0, equal_nan=True)).sum())
    return wrong


def judge(rows: int, runs: int, methods: Sequence[str]) -> list[str]:
    """Return the lines of the table for one size."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        count = make_lake(workspace, rows)
        results = {method: in_own_process(method, workspace, runs) for method in methods}
        wrong = differing(workspace) if "hand" in methods else 0
    lines = []
    for method, result in results.items():
        speed = count / result["seconds"]
        ratio = results["ours"]["seconds"] / result["seconds"]
        told = f"{result['seconds']:.2f} s | {1e9 * result['seconds'] / count:,.0f} ns | {speed / 1e6:.2f} M"
        lines.append(
            f"| {count:,} | {NAMES[method]} | {told} | {1 / ratio:.2f} | {result['peak_mb']:,.0f} MB | {wrong} |"
        )
    return lines


def main() -> None:
    """Print the table, or, as a child, the numbers of one method as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--pandas-rows", type=int, default=1_000_000, help="pandas runs up to this size")
    parser.add_argument("--runs", type=int, default=3, help="timed runs of each, of which the median is told")
    parser.add_argument("--only", choices=list(NAMES), help=argparse.SUPPRESS)
    parser.add_argument("--workspace", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        print(json.dumps(run(given.only, given.workspace, given.runs)))
        return
    print(f"Simulated counters; median of {given.runs} runs, imports and a first small build not counted.\n")
    print("| rows | method | time | a row | rows/s | ours is faster by | peak memory | values that differ |")
    print("|---|---|---|---|---|---|---|---|")
    for rows in given.rows:
        methods = [m for m in NAMES if m != "pandas" or rows <= given.pandas_rows]
        print("\n".join(judge(rows, given.runs, methods)), flush=True)


if __name__ == "__main__":
    main()
