"""Logs as they arrive: some rows never, some days late, some by a clock that is wrong. A file is what came on a day."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from evaluation.simulation.province.faults import DAY_S
from evaluation.simulation.province.noise import LogNoise
from evaluation.simulation.province.tables import moments

Late = tuple[tuple[pa.Table, np.ndarray], ...]  # rows on their way, and the day on which each arrives


@dataclass(frozen=True)
class Happened:
    """All that happened on a day, by the time of a column. start_s: of the province."""

    table: pa.Table
    time: str
    start_s: float


def arrived(
    late: Late, happened: Happened, *, day: int, noise: LogNoise, rng: np.random.Generator
) -> tuple[pa.Table, Late]:
    """Return the rows that arrive on a day, in the order of their time, and those that are still on their way then."""
    table, time = happened.table, happened.time
    at_s = _seconds(table, time) - happened.start_s
    kept = rng.random(len(at_s)) >= noise.lost_share
    waits = rng.random(len(at_s)) < noise.late_share
    wait_s = np.where(waits, 3600.0 * rng.uniform(*noise.late_h, len(at_s)), 0.0)
    on = np.maximum(np.floor((at_s + wait_s) / DAY_S), day)
    parts = [*late, (table.filter(pa.array(kept)), on[kept])]
    here = pa.concat_tables([rows.filter(pa.array(on <= day)) for rows, on in parts])
    left = tuple((rows.filter(pa.array(on > day)), on[on > day]) for rows, on in parts if (on > day).any())
    return here.take(pa.array(np.argsort(_seconds(here, time), kind="stable"))), left


def by_wrong_clocks(table: pa.Table, times: tuple[str, ...], skew_s: np.ndarray) -> pa.Table:
    """Return a log as clocks tell its times. skew_s: by how much the clock of each row is ahead."""
    for name in times:
        place = table.schema.get_field_index(name)
        told = moments(_seconds(table, name) + skew_s, 0.0)
        table = table.set_column(place, table.schema.field(place), told)
    return table


def clocks_s(noise: LogNoise, rng: np.random.Generator, count: int) -> np.ndarray:
    """Return by how much each of some clocks is ahead, s: most are right."""
    wrong = rng.random(count) < noise.skewed_share
    return np.asarray(np.where(wrong, rng.normal(0.0, noise.skew_s, count), 0.0))


def _seconds(table: pa.Table, time: str) -> np.ndarray:
    return np.asarray(table[time].cast(pa.int64()).to_numpy() / 1e6)
