"""What a SIM does that sits in a phone or a router instead of its device: it browses, over LTE."""

from dataclasses import dataclass

import numpy as np

from evaluation.simulation.province.daylong import QUARTERS, Daylong
from evaluation.simulation.province.faults import DAY_S
from evaluation.simulation.province.presence import GRID_S
from evaluation.simulation.province.topology import Area, generator

_FLOWS_PER_DAY = 150.0  # of a phone; judgement
_UP_BYTES, _DOWN_BYTES = 6_000.0, 90_000.0  # medians of one flow
_SPREAD = 1.0  # of their logarithm


@dataclass(frozen=True)
class Browsing:
    """One value a flow."""

    device: np.ndarray
    at_s: np.ndarray
    lasts_ms: np.ndarray
    up_bytes: np.ndarray
    down_bytes: np.ndarray


def browse(area: Area, day: int, all_day: Daylong) -> Browsing:
    """Return what misused SIMs browse on a day, each while it is misused."""
    rng = generator(area.plan, 24, area.number, day)
    device, quarter = np.nonzero(all_day.at_quarters("misused") > 0)
    each = rng.poisson(_FLOWS_PER_DAY / QUARTERS, len(device))
    device, quarter = np.repeat(device, each), np.repeat(quarter, each)
    size = len(device)
    spread = rng.lognormal(0, _SPREAD, size)
    return Browsing(
        device,
        day * DAY_S + (quarter + rng.random(size)) * GRID_S,
        rng.lognormal(np.log(8_000.0), _SPREAD, size),
        np.round(_UP_BYTES * spread),
        np.round(_DOWN_BYTES * spread),
    )
