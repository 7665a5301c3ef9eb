"""`iotlens simulate province`: every tracking area by itself, day by day; shared elements are added up at the end."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from evaluation.simulation.province import area as areas
from evaluation.simulation.province import counting, scratch, targets
from evaluation.simulation.province.area import AreaDone, Job
from evaluation.simulation.province.catalogue import ProvinceFaults, read_faults
from evaluation.simulation.province.faults import shared_happenings, truth
from evaluation.simulation.province.noise import read_noise
from evaluation.simulation.province.schedule import resolved
from evaluation.simulation.province.settings import read_settings
from evaluation.simulation.province.tables import TRUTH
from evaluation.simulation.province.tally import Counted, merged
from evaluation.simulation.province.topology import Plan, generator
from evaluation.simulation.whole import check_counts, check_free, made_whole
from features.lake import SIMULATED
from features.province import TARGETS

_FOLDERS = ("counters", "terminal", "events", "flows")
_AT_ONCE = 8  # areas whose counters are in memory together
_ONE_FILE = ("truth", "device_truth", "membership", "cases", "kqi")


@dataclass(frozen=True)
class Simulated:
    """What was written: how many devices, days, attempts in the event log, rows of counters, faults, complaints."""

    devices: int
    days: int
    attempts: int
    counter_rows: int
    faults: int
    cases: int

    def text(self) -> str:
        """Return the summary as a person reads it."""
        return (
            f"{self.devices:,} devices, {self.days:,} days: {self.attempts:,} attempts, {self.counter_rows:,} counter"
            f" rows, {self.faults:,} faults, {self.cases:,} complaints (simulated)"
        )


@dataclass(frozen=True)
class Files:
    """The configuration of a province."""

    settings: Path
    faults: Path
    noise: Path


def simulate(
    out: Path, *, files: Files, devices: int, days: int, seed: int, workers: int | None = None
) -> Simulated:
    """Write a province: counters, terminal records, events, flows, membership and its truth; see docs/simulation.md.

    The same arguments give the same bytes, on any number of cores. `out` appears whole or not at all: work goes on
    in a hidden folder beside it. Raises FileExistsError when `out` holds something, ValueError on a bad argument or
    file.
    """
    check_counts(devices=devices, days=days)
    check_free(out)
    read = read_faults(files.faults)
    plan = Plan(read_settings(files.settings), devices, days, seed, read.patterns)
    faults, noise = _placed(plan, read, files.faults), read_noise(files.noise)
    with made_whole(out) as folder:
        left = folder.parent / "scratch"
        for made in (left, *(folder / name for name in _FOLDERS)):
            made.mkdir()
        job = Job(plan, faults, tuple(shared_happenings(plan, faults)), noise, folder, left)
        return _write(job, workers or os.cpu_count() or 1)


def _placed(plan: Plan, faults: ProvinceFaults, path: Path) -> ProvinceFaults:
    """Return a file of faults with an id as each location; what the province has no place for names the file."""
    try:
        return resolved(plan, faults)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _write(job: Job, workers: int) -> Simulated:
    (job.folder / SIMULATED).touch()
    spawn = multiprocessing.get_context("spawn")  # a fork would copy the caller's threads' locks
    numbers = range(job.plan.tacs)
    if workers == 1 or len(numbers) == 1:
        done = [areas.simulate(job, number) for number in _shown(numbers, "simulate areas")]
        shared = [_write_shared(job, day) for day in range(job.plan.days)]
    else:
        with ProcessPoolExecutor(min(workers, len(numbers)), mp_context=spawn) as pool:
            jobs = [pool.submit(areas.simulate, job, number) for number in numbers]
            done = [one.result() for one in _shown(jobs, "simulate areas")]
            days = [pool.submit(_write_shared, job, day) for day in range(job.plan.days)]
            shared = [one.result() for one in days]
    write_shared_truth(job)
    for name in _ONE_FILE:
        _join(sorted(job.scratch.glob(f"{name}-*.parquet")), job.folder / f"{name}.parquet")
    return _summary(job, done, sum(shared))


def _shown(some: Any, told: str) -> Any:  # Any: of whatever is waited for
    return tqdm(some, desc=told, unit="area", delay=2, disable=None)


def _summary(job: Job, done: list[AreaDone], shared_rows: int) -> Simulated:
    return Simulated(
        job.plan.devices,
        job.plan.days,
        sum(one.attempts for one in done),
        sum(one.counter_rows for one in done) + shared_rows,
        sum(one.faults for one in done) + len(job.shared),
        sum(one.cases for one in done),
    )


def write_shared_truth(job: Job) -> None:
    """Write the faults of shared elements beside those of the areas, before them in order."""
    areas.write_table(job.scratch / "truth-.parquet", truth(job.plan, job.shared), TRUTH)


def _write_shared(job: Job, day: int) -> int:
    """Add up what all areas count at elements they share on a day; return the rows of counters written."""
    recipe, tables = areas.read_recipe(), []
    rng = generator(job.plan, 18, day)
    for (scope, _), counted in _added_up(job, f"shared-{day:03d}").items():
        names = np.array(job.plan.names[scope])
        tables.append(
            counting.as_rows(
                job.plan,
                recipe.book,
                counted,
                counting.Elements(scope, names, np.zeros(len(names), "int64")),
                counting.Arrival(day, job.noise.counters, rng),
            )
        )
    whole = pa.concat_tables(tables)
    pq.write_table(whole, job.folder / "counters" / f"shared-day={day:03d}.parquet")
    made = [
        targets.as_values(
            job.plan,
            recipe.kqis,
            counted,
            targets.Told(scope, length, np.array(job.plan.names[scope])),
            day=day,
        )
        for (scope, length), counted in _added_up(job, f"kqis-{day:03d}").items()
    ]
    areas.write_table(job.scratch / f"kqi-{day:03d}-x.parquet", pd.concat(made), TARGETS)
    return int(whole.num_rows)


def _added_up(job: Job, word: str) -> dict[scratch.Key, Counted]:
    """Return what all areas left under a name, summed."""
    parts: dict[scratch.Key, list[Counted]] = {}
    for file in sorted(job.scratch.glob(f"{word}-*.npz")):
        for key, counted in scratch.take(file).items():
            waiting = parts.setdefault(key, [])
            waiting.append(counted)
            if len(waiting) == _AT_ONCE:
                parts[key] = [merged(waiting)]
        file.unlink()
    return {key: merged(some) for key, some in parts.items()}


def _join(parts: list[Path], out: Path) -> None:
    """Write the rows of all files, in their order, as one file."""
    with pq.ParquetWriter(out, pq.read_schema(parts[0])) as writer:
        for part in parts:
            writer.write_table(pq.read_table(part))
