"""Time and memory of `iotlens indicators select` from ten thousand to a million rows, and what the row cap changes.

    python benchmarks/selection_scale.py [--rows N ...] [--uncapped N] [--threads N]

All data are simulated (benchmarks/planted.py): 55 indicators of devices with ROWS_OF_DEVICE rows each, a share of the
target that is the device's own, and indicators that never change at a device. The whole command runs in a process of
its own: wall time, processor time and the largest resident memory are the operating system's (wait4). The row cap is
held against the same command without it. SHAP is held against LightGBM's bare pred_contrib on the same trees and rows.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from planted import TARGET, TIME, Kind, plant
from scipy import stats

from evaluation.selection import boosting
from evaluation.selection.study import Roles, read_study

INDICATORS, DEVICE = 55, "device_id"
ROWS_OF_DEVICE = 20
OF_DEVICE = 5  # indicators that are constant at a device
OWN = 0.3  # standard deviations of the target that are the device's own
REPEATS = 5  # of each timing of SHAP
COMMAND = "from serving.cli import main; main()"


@dataclass(frozen=True)
class Cost:
    """What one command took, and what it wrote."""

    wall_s: float
    cpu_s: float
    peak_gb: float
    summary: dict[str, object]

    @property
    def importance(self) -> pd.Series:
        """Mean |SHAP| of each judged indicator."""
        told: list[dict[str, float]] = self.summary["importance"]  # type: ignore[assignment]
        return pd.Series({row["indicator"]: row["importance"] for row in told})


def table(rows: int, kind: Kind) -> pd.DataFrame:
    """Return a planted table whose rows belong to devices that differ."""
    frame = plant(seed=0, ratio=0.5, kind="continuous", rows=rows, indicators=INDICATORS).frame
    rng = np.random.default_rng(1)
    device = rng.integers(max(2, rows // ROWS_OF_DEVICE), size=rows)
    frame[TARGET] += OWN * rng.normal(size=device.max() + 1)[device]
    if kind == "binary":
        frame[TARGET] = (frame[TARGET] > frame[TARGET].quantile(0.7)).astype("int64")
    plain = [name for name in frame if name.removeprefix("noise").isdigit()]
    for name in plain[:OF_DEVICE]:
        frame[name] = rng.normal(size=device.max() + 1)[device]
    return frame.assign(**{DEVICE: device})


def cost(path: Path, out: Path, *options: str) -> Cost:
    """Run the command on a table of its own process and return what it took. Raises ValueError where it failed."""
    asked = ["indicators", "select", path, "--target", TARGET, "--group", DEVICE, "--time", TIME, "-o", out]
    began = time.perf_counter()
    child = os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", COMMAND, *map(str, asked), *options],
        os.environ,
        file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
    )
    _, status, used = os.wait4(child, 0)
    wall = time.perf_counter() - began
    if status:
        raise ValueError(f"the command must end well, but left with {os.waitstatus_to_exitcode(status)}")
    summary = json.loads((out / "selection.json").read_text(encoding="utf-8"))
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e9, summary)


def tell(rows: int, told: Cost, what: str) -> None:
    """Print one line of the curve."""
    used: dict[str, object] = told.summary["rows"]  # type: ignore[assignment]
    agreement = (
        "" if used["agreement"] is None else f", agreement with trees of all rows {used['agreement']:.3f}"
    )
    print(
        f"{rows:,} rows, {what}: {told.wall_s:.0f} s, {told.cpu_s:.0f} s of processor time, {told.peak_gb:.2f} GB;"
        f" {used['used']:,} rows screened{agreement}; selected {len(told.summary['selected'])}",  # type: ignore[arg-type]
        flush=True,
    )


def agreement(capped: Cost, whole: Cost) -> str:
    """Return how far the cap changes importance and what is selected."""
    both = pd.concat([capped.importance, whole.importance], axis=1, join="inner")
    chosen, of_all = (set(one.summary["selected"]) for one in (capped, whole))  # type: ignore[call-overload]
    top = both[both.index.isin(chosen | of_all)]
    return (
        f"rank agreement (Spearman of mean |SHAP|) of {len(both)} indicators {_spearman(both):.3f}, of the {len(top)}"
        f" selected by either {_spearman(top):.3f}; selected by both {len(chosen & of_all)}, with the cap only"
        f" {sorted(chosen - of_all)}, without it only {sorted(of_all - chosen)}"
    )


def _spearman(pair: pd.DataFrame) -> float:
    return float(stats.spearmanr(pair.iloc[:, 0], pair.iloc[:, 1])[0])


def shap_ratio(frame: pd.DataFrame) -> float:
    """Return the time of our SHAP values as a ratio to bare pred_contrib, on the folds' rows and trees."""
    study = read_study(frame, Roles(TARGET, group=DEVICE, time=TIME), table="planted")
    ours, bare = 0.0, 0.0
    for learn, judge in boosting.folds(study, count=boosting.FOLDS, seed=0):
        booster = boosting.fit(study, study.X, learn, boosting.Trees(rounds=100))
        X = study.X[judge]
        pairs = [
            (
                _timed(boosting.contributions, booster, X),
                _timed(booster.predict, X, pred_contrib=True, num_threads=1),
            )
            for _ in range(REPEATS)
        ]
        one, other = np.median(pairs, axis=0)
        ours, bare = ours + one, bare + other
    return ours / bare


def _timed(call: Callable[..., object], *arguments: object, **options: object) -> float:
    began = time.process_time()
    call(*arguments, **options)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--kind", choices=["continuous", "binary"], default="continuous")
    parser.add_argument(
        "--uncapped", type=int, default=100_000, help="rows of the table held against no cap; 0: none"
    )
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    print(f"simulated tables of {INDICATORS} indicators, {arguments.kind}; {os.cpu_count()} cores")
    threads = ("--threads", str(arguments.threads))
    with tempfile.TemporaryDirectory() as directory:
        path, out = Path(directory) / "table.parquet", Path(directory) / "selection"
        for rows in arguments.rows:
            table(rows, arguments.kind).to_parquet(path)
            capped = cost(path, out, *threads)
            tell(rows, capped, "row cap")
            if rows == arguments.uncapped:
                whole = cost(path, out, *threads, "--rows", str(rows))
                tell(rows, whole, "no cap")
                print(agreement(capped, whole), flush=True)
    least = min(arguments.rows)
    ratio = shap_ratio(table(least, arguments.kind))
    print(f"SHAP to bare pred_contrib, {least:,} rows: {ratio:.3f}")


if __name__ == "__main__":
    main()
