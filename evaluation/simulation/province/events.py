"""The service event log, MEMBERSHIP and terminal records of an area's day."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from evaluation.process import Process
from evaluation.simulation.province.faults import DAY_S
from evaluation.simulation.province.noise import TerminalNoise
from evaluation.simulation.province.pipeline import Day, Walked, report_moments_s
from evaluation.simulation.province.settings import SERVICES
from evaluation.simulation.province.tables import moments, names_at
from evaluation.simulation.province.terminal import MEASURED, PERCENT, Told
from evaluation.simulation.province.topology import Area, generator
from evaluation.simulation.province.walk import MAX_STEPS
from features.events import EVENTS
from features.membership import MEMBERSHIP
from features.table import arrow_schema
from features.terminal import TERMINAL


def event_log(area: Area, day: Day, processes: Mapping[str, Process]) -> tuple[np.ndarray, pa.Table]:
    """Return EVENTS of all devices of an area in the order of time, and the index of the device of each.

    A silent device logs nothing of its own; an alarm that it did not raise is known all the same, and so is an order.
    """
    table = pa.concat_tables([_events(area, walked, processes) for walked in day.walks])
    device = np.concatenate([walked.moment.attempts.device[logged(walked)] for walked in day.walks])
    order = np.argsort(table["at"].cast(pa.int64()).to_numpy(), kind="stable")
    return device[order], table.take(pa.array(order))


def logged(walked: Walked) -> np.ndarray:
    """Return the attempts that leave a trace in the log."""
    reached = walked.outcome.step_ms.max(axis=1, initial=-1.0) >= 0
    return np.flatnonzero(walked.moment.own & (reached | (walked.moment.attempts.process == "ss_alarm")))


def _events(area: Area, walked: Walked, processes: Mapping[str, Process]) -> pa.Table:
    rows = logged(walked)
    attempts, outcome = walked.moment.attempts, walked.outcome
    names, kind = np.unique(attempts.process[rows], return_inverse=True)
    lengths = np.array([min(len(processes[name].steps), MAX_STEPS) for name in names] or [0])[kind]
    steps = outcome.step_ms[rows].round().astype("int32")
    inside = np.arange(MAX_STEPS) < lengths[:, None]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype("int32")
    device = attempts.device[rows]
    columns = [
        names_at(area.devices.names, device),
        names_at(np.array(SERVICES), area.devices.service[device]),
        names_at(names, kind),
        names_at(np.array(area.cells.names), walked.moment.cell[rows]),
        moments(attempts.at_s[rows], area.plan.start_s),
        pa.array(outcome.ok[rows]),
        pa.array(outcome.failed_step[rows]),
        pa.array(outcome.took_ms[rows] + 1000.0 * attempts.since_s[rows]),
        pa.array(attempts.retry[rows]),
        pa.ListArray.from_arrays(pa.array(offsets), pa.array(steps[inside])),
    ]
    return pa.Table.from_arrays(columns, schema=arrow_schema(EVENTS))


def stays(day: Day, last_cell: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return device, moment and cell of every change of cell on a day: of locks, and of what was taken away.

    last_cell: of each device, before the day; changed to what it is after it.
    """
    walked = [walk.moment for walk in day.walks]
    rows = [np.flatnonzero(m.own) for m in walked]
    device = np.concatenate([m.attempts.device[own] for m, own in zip(walked, rows, strict=True)])
    at = np.concatenate([m.attempts.at_s[own] for m, own in zip(walked, rows, strict=True)])
    cell = np.concatenate([m.meant_cell[own] for m, own in zip(walked, rows, strict=True)])
    order = np.lexsort((at, device))
    device, at, cell = device[order], at[order], cell[order]
    before = np.empty_like(cell)
    if len(cell):
        fresh = np.ones(len(cell), bool)
        fresh[1:] = device[1:] != device[:-1]
        before[1:] = cell[:-1]
        before[fresh] = last_cell[device[fresh]]
        last_cell[device] = cell
    changed = np.flatnonzero(cell != before)
    return device[changed], at[changed], cell[changed]


def membership(
    area: Area, first_cell: np.ndarray, moves: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> pa.Table:
    """Return MEMBERSHIP of an area: where each device began, and every move; a move ends the stay before."""
    size = len(area.devices)
    device = np.concatenate([np.arange(size), *(move[0] for move in moves)])
    since = np.concatenate([np.full(size, -DAY_S), *(move[1] for move in moves)])
    cell = np.concatenate([first_cell, *(move[2] for move in moves)])
    order = np.lexsort((since, device))
    device, since, cell = device[order], since[order], cell[order]
    until = np.append(since[1:], 0.0)
    lasts = np.append(device[1:] != device[:-1], True)
    names, at, service = area.plan.names, area.devices, area.devices.service[device]
    cells = np.array(area.cells.names + tuple(name.replace("cell", "lte") for name in area.cells.names))
    here = np.where(service == 2, cell + len(area.cells), cell)
    one = np.zeros(len(device), "int64")
    columns = [
        names_at(at.names, device),
        names_at(np.array(SERVICES), service),
        names_at(cells, here),
        names_at(np.array(names["tac"]), one + area.number),
        names_at(np.array(names["mme"]), one + area.mme),
        _known(names_at(np.array(names["platform_node"]), at.node[device]), service < 2),
        names_at(np.array(names["app"]), at.app[device]),
        names_at(np.array(names["fleet"]), at.fleet[device]),
        names_at(np.array(names["city"]), one + area.city),
        names_at(np.array(names["province"]), one),
        moments(since, area.plan.start_s),
        moments(until, area.plan.start_s, absent=lasts),
    ]
    return pa.Table.from_arrays(columns, schema=arrow_schema(MEMBERSHIP))


def _known(names: pa.Array, where: np.ndarray) -> pa.Array:
    return pc.if_else(pa.array(where), names, pa.scalar(None, pa.string()))


def device_truth(area: Area) -> pd.DataFrame:
    """Return the latent traits of the devices of an area; what faults did to them stands in the truth of faults."""
    at, service = area.devices, area.devices.service
    return pd.DataFrame(
        {
            "device_id": at.names,
            "service": np.array(SERVICES)[service],
            "mobility": np.array(["static", "nomadic", "mobile"])[service],
            "place": at.place,
            "power": np.array(["battery", "rechargeable", "phone"])[service],
            "reachability": np.where(service == 0, "sleepy", "always_on"),
            "volume": np.where(at.heavy, "heavy", "light"),
            "misuse": at.misused,
        }
    )


def clock_dice(area: Area) -> np.random.Generator:
    """Return the dice of the devices' clocks: the same devices' are wrong wherever they write a time."""
    return generator(area.plan, 19, area.number)


def clock_skew_s(area: Area, noise: TerminalNoise) -> np.ndarray:
    """Return by how much the clock of each device is wrong, s, on all days of a run."""
    rng, size = clock_dice(area), len(area.devices)
    wrong = rng.random(size) < noise.skewed_share
    return np.asarray(np.where(wrong, rng.normal(0, noise.skew_s, size), area.devices.skew_s))


def terminal_records(
    area: Area, day: int, told: Told, noise: TerminalNoise, rng: np.random.Generator
) -> pa.Table:
    """Return TERMINAL as it arrives: some devices' records never, some late, some by a wrong clock."""
    size = len(area.devices)
    wrong = clock_skew_s(area, noise)
    wait = 30.0 + rng.exponential(120.0, size)
    late = rng.random(size) < noise.late_share
    wait = np.where(late, 3600.0 * rng.uniform(*noise.late_h, size), wait)
    arrives = rng.random(size) >= noise.lost_share
    names = sorted({name for name, _, _ in told})
    kind = np.concatenate([np.full(len(who), names.index(name)) for name, who, _ in told])
    device = np.concatenate([who for _, who, _ in told])
    value = np.concatenate([values for _, _, values in told])
    clock = np.array([name == "term_clock_skew" for name in names])[kind]
    value = np.where(clock, np.abs(wrong[device]), value)
    measured = np.array([name in MEASURED for name in names])[kind]
    value = np.where(measured, value * (1 + noise.measure_error * rng.standard_normal(len(value))), value)
    percent = np.array([name in PERCENT for name in names])[kind]
    value = np.where(percent, np.clip(value, 0, 100), value)
    kept = np.flatnonzero(arrives[device])
    order = kept[np.lexsort((kind[kept], device[kept]))]
    at = report_moments_s(area, day)[device]
    columns = [
        names_at(area.devices.names, device[order]),
        moments((at + wrong[device])[order], area.plan.start_s),
        names_at(np.array(names), kind[order]),
        pa.array(value[order]),
        moments((at + wait[device])[order], area.plan.start_s),
    ]
    return pa.Table.from_arrays(columns, schema=arrow_schema(TERMINAL))
