"""Devices scored a second, from a wide Parquet table to a file of scores, beside NumPy in the same run.

    OMP_NUM_THREADS=1 python benchmarks/score.py --rows 10000 100000 1000000

`numpy` is the rival: a plain script that reads the same batches, makes the utilities of all 55 indicators, the KQI
scores and their geometric mean, and writes device_id and score. `bare` is that arithmetic alone, on a batch in memory.
`alone` is `iotlens score --table FILE --alone`, `whole` without --alone: intervals, lost points, the worst step.
The values are simulated: drawn between the anchors, 3 % unknown. Each is run in turn, `--runs` times; the best counts.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.domain import Domain, read_domain
from evaluation.process import ServiceModel
from evaluation.scoring_plan import plan
from evaluation.table_scores import BATCH_ROWS, Way, score_table

AT = datetime(2026, 3, 1, tzinfo=UTC)
SERVICE = "smoke_sensor"
UNKNOWN = 0.03


def table(domain: Domain, rows: int, path: Path) -> None:
    """Write device_id, 55 indicators and what each was made of."""
    rng, writer = np.random.default_rng(0), None
    for first in range(0, rows, 100_000):
        count = min(100_000, rows - first)
        cells = {"device_id": pa.array([f"dev-{n:08d}" for n in range(first, first + count)])}
        for one in domain.standard.indicators:
            low, high = sorted((one.excellent, one.unacceptable))
            cells[one.id] = pa.array(
                np.round(rng.uniform(low, high, count), 3), mask=rng.random(count) < UNKNOWN
            )
            cells[f"{one.id}__samples"] = pa.array(rng.integers(3, 200, count).astype("float64"))
        batch = pa.table(cells)
        writer = writer or pq.ParquetWriter(path, batch.schema, compression="zstd")
        writer.write_table(batch)
    assert writer is not None
    writer.close()


def bare(domain: Domain, service: ServiceModel, cells: dict[str, np.ndarray]) -> np.ndarray:
    """Return the scores as a plain script makes them: every utility, then KQIs, then their geometric mean."""
    utilities = {}
    for one in domain.standard.indicators:
        value, best, worst = cells[one.id], one.excellent, one.unacceptable
        if one.curve == "log":
            value, best, worst = np.log(value), np.log(best), np.log(worst)
        utilities[one.id] = np.nan_to_num(np.clip(100 * (value - worst) / (best - worst), 0, 100))
    total = np.zeros(len(value))
    for kqi in service.kqis:
        score = sum(weight.weight * utilities[weight.indicator] for weight in kqi.expert_weights)
        total += service.service_score.weights[kqi.id] * np.log(np.maximum(score, 1e-12) / 100)
    return 100 * np.exp(total)


def rival(domain: Domain, service: ServiceModel, path: Path, out: Path) -> None:
    """Read, compute and write as a plain script does."""
    names, writer = [one.id for one in domain.standard.indicators], None
    for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=["device_id", *names]):
        cells = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in names}
        told = pa.table({"device_id": batch.column("device_id"), "score": bare(domain, service, cells)})
        writer = writer or pq.ParquetWriter(out, told.schema, compression="zstd")
        writer.write_table(told)
    assert writer is not None
    writer.close()


def equal(first: Path, second: Path) -> None:
    """Refuse scores that differ; where evidence is insufficient the rival has one all the same."""
    ours, theirs = pq.read_table(first, columns=["score"]), pq.read_table(second, columns=["score"])
    told, wanted = ours["score"].to_numpy(), theirs["score"].to_numpy()
    known = ~np.isnan(told)
    if not known.mean() > 0.5 or np.abs(told[known] - wanted[known]).max() > 1e-6:
        raise ArithmeticError("the scores must equal those of plain NumPy, but differ")


def per_second(rows: int, work: Callable[[], object]) -> tuple[float, float]:
    """Return rows a second, by the clock and by the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return rows / (time.perf_counter() - wall), rows / (time.process_time() - processor)


def measured(domain: Domain, rows: int, runs: int, folder: Path) -> list[str]:
    """Return a line for each way, fastest run of each, as devices a second and as a ratio to the rival."""
    service, path = domain.service(SERVICE), folder / f"{rows}.parquet"
    table(domain, rows, path)
    what = plan(service, domain.measured)
    first = next(pq.ParquetFile(path).iter_batches(BATCH_ROWS))
    cells = {
        one.id: first.column(one.id).to_numpy(zero_copy_only=False) for one in domain.standard.indicators
    }
    ours, theirs = folder / "ours.parquet", folder / "theirs.parquet"
    ways: dict[str, tuple[int, Callable[[], object]]] = {
        "bare": (len(first), lambda: bare(domain, service, cells)),
        "numpy": (rows, lambda: rival(domain, service, path, theirs)),
        "alone": (rows, lambda: score_table(path, what, at=AT, out=ours, way=Way(3, alone=True))),
        "whole": (rows, lambda: score_table(path, what, at=AT, out=ours, way=Way(3))),
    }
    best = dict.fromkeys(ways, (0.0, 0.0))
    for _ in range(runs):
        for way, (count, work) in ways.items():
            best[way] = tuple(map(max, best[way], per_second(count, work)))  # type: ignore[assignment]
            if way == "alone":
                equal(ours, theirs)
    path.unlink()
    return [
        f"{rows:>11,} {way:6} {wall:>12,.0f}/s {wall / best['numpy'][0]:>6.2f} {cpu:>12,.0f}/s of processor"
        f" {cpu / best['numpy'][1]:>6.2f}"
        for way, (wall, cpu) in best.items()
    ]


def peak_mb(rows: int) -> float:
    """Return the most memory that scoring a table of so many rows took, MB: in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.parquet"
        table(read_domain(), rows, path)
        command = [
            str(Path(sys.executable).with_name("iotlens")),
            "score",
            "--service",
            SERVICE,
            "--table",
            str(path),
        ]
        command += ["--at", f"{AT:%FT%T}", "--out", str(Path(folder) / "o.parquet")]
        told = subprocess.run(
            [sys.executable, "-c", _PEAK, *command], check=True, capture_output=True, text=True
        ).stdout
    return float(told.split()[-1])


_PEAK = (
    "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3)"
)


def main() -> None:
    """Print the table."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    asked.add_argument("--runs", type=int, default=3)
    given, domain = asked.parse_args(), read_domain()
    print("       rows way     by the clock   ratio  (simulated values)")
    with tempfile.TemporaryDirectory() as folder:
        for rows in given.rows:
            print("\n".join(measured(domain, rows, given.runs, Path(folder))), flush=True)
    for rows in given.rows:
        print(f"{rows:>11,} peak memory of `iotlens score --table`: {peak_mb(rows):,.0f} MB", flush=True)


if __name__ == "__main__":
    main()
