"""Counters to indicators: `indicator_windows.build` beside DuckDB SQL and pandas written by hand for the same tables.

The rows are made up (benchmarks/counter_lakes.py), the rivals stand in benchmarks/counter_rivals.py. Each method runs
in a process of its own, after a warm-up on a small lake; every column of every table is compared.

    python benchmarks/counters.py [--shape even] [--rows 1000000 10000000] [--pandas-rows 1000000] [--runs 3]
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import counter_lakes
import counter_rivals
import duckdb

from features import indicator_windows

NAMES = {
    "ours": "indicator_windows.build",
    "rolled": "DuckDB SQL by hand, rolled up",
    "direct": "DuckDB SQL by hand, a statement a scope",
    "pandas": "pandas groupby",
}
METHODS: dict[str, Callable[[Path, str], None]] = {
    "ours": lambda workspace, _: print(indicator_windows.build(workspace).text(), file=sys.stderr),
    "rolled": counter_rivals.rolled,
    "direct": counter_rivals.direct,
    "pandas": counter_rivals.by_pandas,
}
OF_SHAPE = {"even": tuple(NAMES), "sparse": ("ours", "rolled")}
WARM_ROWS = 4_000


def run(method: str, workspace: Path, shape: str, runs: int) -> dict[str, float]:
    """Return the median seconds of the runs, of ours also after late rows, and the peak memory of the process in MB."""
    with tempfile.TemporaryDirectory() as folder:
        counter_lakes.make(Path(folder), WARM_ROWS, shape)
        METHODS[method](Path(folder), shape)
    seconds, worked = [], []
    for _ in range(runs):
        if method == "ours":
            shutil.rmtree(workspace / "lake" / "indicators", ignore_errors=True)
        started = time.perf_counter(), time.process_time()
        METHODS[method](workspace, shape)
        seconds.append(time.perf_counter() - started[0])
        worked.append(time.process_time() - started[1])
    told = {"seconds": median(seconds), "cpu_seconds": median(worked), "peak_mb": peak_mb()}
    if method == "ours" and shape == "sparse":
        counter_lakes.add_late(workspace)
        started = time.perf_counter()
        METHODS[method](workspace, shape)
        told["late_seconds"] = time.perf_counter() - started
    return told


def peak_mb() -> float:
    """Return the most memory that this process has held; ru_maxrss would begin with what its parent held."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def in_own_process(method: str, workspace: Path, shape: str, runs: int) -> dict[str, Any]:
    """Return what `run` says, from a fresh process."""
    given = ["--only", method, "--workspace", str(workspace), "--shape", shape, "--runs", str(runs)]
    child = subprocess.run([sys.executable, __file__, *given], capture_output=True, text=True)
    if child.returncode != 0:
        raise RuntimeError(f"{NAMES[method]} must end well, however:\n{child.stderr}")
    return dict(json.loads(child.stdout.splitlines()[-1]))


def differing(workspace: Path, shape: str, rival: str) -> int:
    """Return how many cells of the product's tables differ from those of a rival by more than a part in 1e9.

    A row that one side lacks counts as one; so does a cell of an indicator that has no counters and is not empty.
    """
    wrong = 0
    for scope in counter_rivals.scopes(shape):
        with duckdb.connect(config={"threads": 2, "memory_limit": "2GB"}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            theirs = f"read_parquet('{workspace}/{rival}_{scope}.parquet')"
            own = f"read_parquet('{workspace}/lake/indicators/scope={scope}/*/*.parquet', hive_partitioning = false)"
            if shape == "sparse":  # a late row left two versions of some
                newest = "row_number() OVER (PARTITION BY scope_id, window_end ORDER BY created DESC) = 1"
                own = f"(SELECT * FROM {own} QUALIFY {newest})"
            names = {row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {theirs}").fetchall()}
            columns = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {own}").fetchall()]
            cells = [
                _differs(one, one in names)
                for one in columns
                if one not in ("scope_id", "window_end", "created")
            ]
            sql = f"SELECT sum(CASE WHEN o.scope_id IS NULL OR t.scope_id IS NULL THEN 1 ELSE {' + '.join(cells)} END)"
            both = f"{own} AS o FULL JOIN {theirs} AS t USING (scope_id, window_end)"
            wrong += int(connection.execute(f"{sql} FROM {both}").fetchall()[0][0])
    return wrong


def _differs(name: str, told: bool) -> str:
    if not told:
        return f"(coalesce(o.{name}, 0) <> 0)::INT"
    near = f"abs(o.{name} - t.{name}) <= 1e-9 + 1e-9 * abs(t.{name})"
    return f"(NOT coalesce({near}, o.{name} IS NULL AND t.{name} IS NULL))::INT"


def judge(shape: str, rows: int, runs: int, pandas_rows: int) -> list[str]:
    """Return the lines of the table for one size."""
    methods = [one for one in OF_SHAPE[shape] if one != "pandas" or rows <= pandas_rows]
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        count = counter_lakes.make(workspace, rows, shape)
        results: dict[str, dict[str, Any]] = {}
        for method in methods:
            results[method] = in_own_process(method, workspace, shape, runs)
            if method != "ours":
                results[method]["wrong"] = differing(workspace, shape, method)
    lines = []
    for method, result in results.items():
        first, seconds, worked = results["ours"], result["seconds"], result["cpu_seconds"]
        told = f"{seconds:.2f} s | {1e9 * seconds / count:,.0f} ns | {count / seconds / 1e6:.2f} M"
        told += f" | {seconds / first['seconds']:.2f} | {worked:.2f} s | {worked / first['cpu_seconds']:.2f}"
        wrong = result.get("wrong", "")
        lines.append(
            f"| {shape}, {count:,} | {NAMES[method]} | {told} | {result['peak_mb']:,.0f} MB | {wrong} |"
        )
        if "late_seconds" in result:
            lines.append(
                f"| {shape}, 2 rows late | {NAMES[method]} | {result['late_seconds']:.2f} s | | | | | | | |"
            )
    return lines


def main() -> None:
    """Print the table, or, as a child, the numbers of one method as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=list(OF_SHAPE), default="even")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--pandas-rows", type=int, default=1_000_000, help="pandas runs up to this size")
    parser.add_argument("--runs", type=int, default=3, help="timed runs of each, of which the median is told")
    parser.add_argument("--only", choices=list(NAMES), help=argparse.SUPPRESS)
    parser.add_argument("--workspace", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        print(json.dumps(run(given.only, given.workspace, given.shape, given.runs)))
        return
    print(f"Simulated counters; median of {given.runs} runs, imports and a first small build not counted.\n")
    told = "time | a row | rows/s | ours is faster by | processor time | ours needs less by"
    print(f"| rows | method | {told} | peak memory | cells that differ |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for rows in given.rows:
        print("\n".join(judge(given.shape, rows, given.runs, given.pandas_rows)), flush=True)


if __name__ == "__main__":
    main()
