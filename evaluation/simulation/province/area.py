"""One tracking area through all days: its files, and what it adds to elements that areas share."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from evaluation.process import Process, ServiceModel, read_services
from evaluation.simulation.province import (
    conversations,
    counting,
    events,
    pipeline,
    places,
    quality,
    scratch,
    targets,
    terminal,
)
from evaluation.simulation.province.catalogue import ProvinceFaults
from evaluation.simulation.province.counting import Book
from evaluation.simulation.province.delivery import Happened, Late, arrived, by_wrong_clocks, clocks_s
from evaluation.simulation.province.faults import DAY_S, Happening, cell_name, local_happenings, truth
from evaluation.simulation.province.noise import Noise
from evaluation.simulation.province.tables import CASES, DEVICE_TRUTH, TRUTH
from evaluation.simulation.province.tally import Counted
from evaluation.simulation.province.targets import KqiBook
from evaluation.simulation.province.topology import Area, Plan, build, generator
from features.indicators import Scope, all_indicators
from features.province import TARGETS
from features.table import Column, arrow_schema, check_table

IOT = ("smoke_sensor", "bike_sharing")


@dataclass(frozen=True)
class Job:
    """What a process needs to simulate areas. folder: of the province. scratch: for what is added up later."""

    plan: Plan
    faults: ProvinceFaults
    shared: tuple[Happening, ...]
    noise: Noise
    folder: Path
    scratch: Path


@dataclass(frozen=True)
class Recipe:
    """What is read once in each process."""

    book: Book
    processes: Mapping[str, Process]
    services: tuple[ServiceModel, ...]
    kqis: KqiBook


@dataclass(frozen=True)
class AreaDone:
    """What an area tells of itself."""

    number: int
    attempts: int
    counter_rows: int
    faults: int
    cases: int


@cache
def read_recipe() -> Recipe:
    """Return counters, processes and KQIs as the configuration has them; read once in each process."""
    services = read_services()
    processes = {p.id: p for service in services if service.id in IOT for p in service.processes}
    return Recipe(counting.open_book(all_indicators()), processes, services, targets.open_book(services))


@dataclass(frozen=True)
class Logs:
    """What is on its way to the logs of an area, and the clocks by which they are written, s ahead.

    device_s: of each device, in the event log. probe_s: of each platform node's probe, in flows.
    """

    events: Late
    flows: Late
    device_s: np.ndarray
    probe_s: np.ndarray


def simulate(job: Job, number: int) -> AreaDone:
    """Simulate one area; the same job and number write the same bytes, in any process."""
    area, recipe = build(job.plan, number), read_recipe()
    local = local_happenings(area, job.faults)
    state, cell, logs = pipeline.begin(area), area.home_cell.copy(), _open_logs(job, area)
    moves, attempts, rows, cases = [], 0, 0, []
    for number_of_day in range(job.plan.days):
        acting = _acting([*job.shared, *local], number_of_day)
        day, state = pipeline.live(area, number_of_day, state, acting, processes=recipe.processes)
        ended = {one.number: one for one in day.faults}
        local = [ended.get(one.number, one) for one in local]
        moves.append(events.stays(day, cell))
        told, state.battery = terminal.tell(area, day, state.battery)
        _write_terminal(job, area, day, told)
        logged, logs = _write_logs(job, area, day, recipe, logs)
        attempts += logged
        rows += _write_counters(job, area, recipe.book, day)
        cases.append(_write_quality(job, area, day, recipe, day.faults))
    write_table(job.scratch / f"truth-{number:03d}.parquet", truth(job.plan, local), TRUTH)
    write_table(job.scratch / f"cases-{number:03d}.parquet", pd.concat(cases), CASES)
    write_table(job.scratch / f"device_truth-{number:03d}.parquet", events.device_truth(area), DEVICE_TRUTH)
    pq.write_table(
        events.membership(area, area.home_cell, moves), job.scratch / f"membership-{number:03d}.parquet"
    )
    return AreaDone(number, attempts, rows, len(local), sum(len(some) for some in cases))


def _open_logs(job: Job, area: Area) -> Logs:
    device_s = clocks_s(job.noise.events, events.clock_dice(area), len(area.devices))
    probes = generator(job.plan, 27, area.number)
    return Logs((), (), device_s, clocks_s(job.noise.flows, probes, len(job.plan.names["platform_node"])))


def _write_terminal(job: Job, area: Area, day: pipeline.Day, told: terminal.Told) -> None:
    rng = generator(job.plan, 16, area.number, day.number)
    records = events.terminal_records(area, day.number, told, job.noise.terminal, rng)
    pq.write_table(records, job.folder / "terminal" / _file_of(area, day))


def _write_logs(job: Job, area: Area, day: pipeline.Day, recipe: Recipe, logs: Logs) -> tuple[int, Logs]:
    """Write the events and flows that arrive on a day; return how many attempts that are, and what is on its way."""
    rng, noise = generator(job.plan, 28, area.number, day.number), job.noise
    device, made = events.event_log(area, day, recipe.processes)
    told = by_wrong_clocks(made, ("at",), logs.device_s[device])
    log, late = arrived(
        logs.events, Happened(told, "at", job.plan.start_s), day=day.number, noise=noise.events, rng=rng
    )
    device, made = conversations.flows(area, day)
    told = by_wrong_clocks(made, ("start", "end"), logs.probe_s[area.devices.node[device]])
    flows, late_flows = arrived(
        logs.flows, Happened(told, "start", job.plan.start_s), day=day.number, noise=noise.flows, rng=rng
    )
    pq.write_table(log, job.folder / "events" / _file_of(area, day))
    pq.write_table(flows, job.folder / "flows" / _file_of(area, day))
    return int(log.num_rows), replace(logs, events=late, flows=late_flows)


def _file_of(area: Area, day: pipeline.Day) -> str:
    return f"area={area.number:03d}-day={day.number:03d}.parquet"


def _write_quality(
    job: Job, area: Area, day: pipeline.Day, recipe: Recipe, acting: list[Happening]
) -> pd.DataFrame:
    """Write KQIs of the area's own elements, leave those of shared ones for later; return the complaints."""
    judged = quality.judge(area, day)
    counted = targets.count_kqis(recipe.kqis, area, day.number, judged)
    made = [
        targets.as_values(
            job.plan,
            recipe.kqis,
            some,
            targets.Told(scope, length, _elements(area, scope)[0]),
            day=day.number,
        )
        for (scope, length), some in counted.items()
        if scope in counting.LOCAL
    ]
    write_table(job.scratch / f"kqi-{day.number:03d}-{area.number:03d}.parquet", pd.concat(made), TARGETS)
    shared = {key: some for key, some in counted.items() if key[0] not in counting.LOCAL}
    scratch.leave(job.scratch / f"kqis-{day.number:03d}-{area.number:03d}.npz", shared)
    return quality.complaints(area, day, judged, acting, recipe.services)


def _acting(happenings: list[Happening], day: int) -> list[Happening]:
    return [h for h in happenings if h.onset_s < (day + 1) * DAY_S and h.end_s > day * DAY_S]


def _write_counters(job: Job, area: Area, book: Book, day: pipeline.Day) -> int:
    windows: Mapping[Scope, int] = job.plan.settings.counter_window_s
    counted = counting.count_all(book, places.places_of_tallies(area, day, windows))
    tables, rng = [], generator(job.plan, 17, area.number, day.number)
    for scope in counting.LOCAL:
        if scope in counted:
            names, vendors = _elements(area, scope)
            tables.append(
                counting.as_rows(
                    job.plan,
                    book,
                    counted[scope],
                    counting.Elements(scope, names, vendors),
                    counting.Arrival(day.number, job.noise.counters, rng),
                )
            )
    shared: dict[scratch.Key, Counted] = {(s, 0): c for s, c in counted.items() if s not in counting.LOCAL}
    scratch.leave(job.scratch / f"shared-{day.number:03d}-{area.number:03d}.npz", shared)
    whole = pa.concat_tables(tables)
    pq.write_table(whole, job.folder / "counters" / _file_of(area, day))
    return int(whole.num_rows)


def _elements(area: Area, scope: Scope) -> tuple[np.ndarray, np.ndarray]:
    """Return the names of the elements of a scope that an area has, and the vendor of each."""
    if scope == "device":
        return area.devices.names, np.zeros(len(area.devices), "int64")
    if scope == "cell":
        names = [cell_name(name, lte=lte) for lte in (False, True) for name in area.cells.names]
        return np.array(names), np.tile(area.cells.vendor, 2)
    return np.array(area.plan.names[scope]), np.zeros(len(area.plan.names[scope]), "int64")


def write_table(path: Path, frame: pd.DataFrame, columns: tuple[Column, ...]) -> None:
    """Write a frame that keeps its contract."""
    checked = check_table(frame, columns, table=path.stem)
    pq.write_table(pa.Table.from_pandas(checked, arrow_schema(columns), preserve_index=False), path)
