"""One tracking area through all days: its files, and what it adds to elements that areas share."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.process import Process, read_services
from evaluation.simulation.province import counting, events, pipeline
from evaluation.simulation.province.catalogue import ProvinceFaults, TrafficPatterns
from evaluation.simulation.province.counting import Book
from evaluation.simulation.province.faults import DAY_S, Happening, local_happenings, truth
from evaluation.simulation.province.tables import DEVICE_TRUTH, TRUTH
from evaluation.simulation.province.tally import Counted
from evaluation.simulation.province.topology import Area, Plan, build
from features.indicators import Scope, all_indicators
from features.table import Column, arrow_schema, check_table

IOT = ("smoke_sensor", "bike_sharing")


@dataclass(frozen=True)
class Job:
    """What a process needs to simulate areas. folder: of the province. scratch: for what is added up later."""

    plan: Plan
    faults: ProvinceFaults
    shared: tuple[Happening, ...]
    folder: Path
    scratch: Path


@dataclass(frozen=True)
class Recipe:
    """What is read once in each process."""

    book: Book
    processes: Mapping[str, Process]
    patterns: TrafficPatterns


@dataclass(frozen=True)
class AreaDone:
    """What an area tells of itself."""

    number: int
    attempts: int
    counter_rows: int
    faults: int
    cases: int


def read_recipe(faults: ProvinceFaults) -> Recipe:
    """Return counters, processes and traffic as the configuration has them."""
    services = {service.id: service for service in read_services()}
    processes = {p.id: p for name in IOT for p in services[name].processes}
    return Recipe(counting.open_book(all_indicators()), processes, faults.patterns)


def simulate(job: Job, number: int) -> AreaDone:
    """Simulate one area; the same job and number write the same bytes, in any process."""
    area, recipe = build(job.plan, number), read_recipe(job.faults)
    local = local_happenings(area, job.faults)
    all_faults = [*job.shared, *local]
    state, moves, attempts, rows = pipeline.begin(area), [], 0, 0
    cell = area.home_cell.copy()
    misused = np.zeros(len(area.devices), bool)
    for number_of_day in range(job.plan.days):
        acting = _acting(all_faults, number_of_day)
        day, state = pipeline.live(
            area, number_of_day, state, acting, patterns=recipe.patterns, processes=recipe.processes
        )
        moves.append(events.stays(area, day, cell))
        misused |= day.facts.pressure.of("misused") > 0
        log = events.event_log(area, day, recipe.processes)
        _write(job.folder / "events", f"area={number:03d}-day={number_of_day:03d}.parquet", log)
        attempts += log.num_rows
        rows += _write_counters(job, area, recipe.book, day)
    write_table(job.scratch / f"truth-{number:03d}.parquet", truth(job.plan, local), TRUTH)
    write_table(job.scratch / f"device_truth-{number:03d}.parquet", events.device_truth(area, misused), DEVICE_TRUTH)
    pq.write_table(events.membership(area, area.home_cell, moves), job.scratch / f"membership-{number:03d}.parquet")
    return AreaDone(number, attempts, rows, len(local), 0)


def _acting(happenings: list[Happening], day: int) -> list[Happening]:
    return [h for h in happenings if h.onset_s < (day + 1) * DAY_S and h.end_s > day * DAY_S]


def _write_counters(job: Job, area: Area, book: Book, day: pipeline.Day) -> int:
    windows: Mapping[Scope, int] = job.plan.settings.counter_window_s
    counted = counting.count_all(book, pipeline.places_of_tallies(area, day, windows))
    tables = []
    for scope in counting.LOCAL:
        if scope in counted:
            names, vendors = _elements(area, scope)
            tables.append(
                counting.as_rows(job.plan, book, scope, counted[scope], names=names, vendors=vendors, day=day.number)
            )
    shared: dict[Scope, Counted] = {s: c for s, c in counted.items() if s not in counting.LOCAL}
    (job.scratch / f"shared-{day.number:03d}-{area.number:03d}.pickle").write_bytes(pickle.dumps(shared))
    whole = pa.concat_tables(tables)
    _write(job.folder / "counters", f"area={area.number:03d}-day={day.number:03d}.parquet", whole)
    return whole.num_rows


def _elements(area: Area, scope: Scope) -> tuple[np.ndarray, np.ndarray]:
    """Return the names of the elements of a scope that an area has, and the vendor of each."""
    if scope == "device":
        return area.devices.names, np.zeros(len(area.devices), "int64")
    if scope == "cell":
        return np.array(area.cells.names), area.cells.vendor
    return np.array(area.plan.names[scope]), np.zeros(len(area.plan.names[scope]), "int64")


def _write(folder: Path, name: str, table: pa.Table) -> None:
    pq.write_table(table, folder / name)


def write_table(path: Path, frame: pd.DataFrame, columns: tuple[Column, ...]) -> None:
    """Write a frame that keeps its contract."""
    checked = check_table(frame, columns, table=path.stem)
    pq.write_table(pa.Table.from_pandas(checked, arrow_schema(columns), preserve_index=False), path)
