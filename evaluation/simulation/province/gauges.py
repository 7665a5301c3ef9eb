"""What LTE cells and CDN nodes measure themselves, whoever watches."""

from dataclasses import dataclass

import numpy as np

from evaluation.simulation.province.faults import DAY_S, Exposed, Happening, expose
from evaluation.simulation.province.sessions import utilisation
from evaluation.simulation.province.tally import Tally
from evaluation.simulation.province.topology import Area, generator

_WINDOW_S = 900.0


@dataclass(frozen=True)
class Gauges:
    """What LTE cells and CDN nodes measure themselves; one row per cell or node and quarter of an hour."""

    tally: Tally
    at_s: np.ndarray
    places: dict[str, np.ndarray]


def live(area: Area, day: int, faults: list[Happening]) -> Gauges:
    """Return what LTE cells and CDN nodes measure themselves on a day."""
    rng = generator(area.plan, 10, area.number, day)
    windows, cells, nodes = int(DAY_S / _WINDOW_S), len(area.cells), len(area.plan.names["cdn_node"])
    at_s = day * DAY_S + (np.tile(np.arange(windows), cells + nodes) + 0.5) * _WINDOW_S
    place = np.repeat(np.arange(cells + nodes), windows)
    is_cell, nowhere = place < cells, np.full(len(place), -1)
    size = len(place)
    places = {
        "cell": np.where(is_cell, place, -1), "cdn_node": np.where(is_cell, -1, place - cells),
        "city": np.full(size, area.city), "tac": np.full(size, area.number), "mme": np.full(size, area.mme),
        "province": np.zeros(size, "int64"), "program_source": nowhere, "app": nowhere, "fleet": nowhere,
        "platform_node": nowhere,
    }  # fmt: skip
    at = Exposed(at_s, nowhere, np.ones(len(place), bool), places)
    use = utilisation(area, at, expose(faults, at, weekday=area.plan.settings.start.weekday()))
    tally, noise = Tally(), rng.normal(0, 2.0, len(place))
    for counter, kind, rows in (
        ("prb_used/prb_avail", "lte", np.flatnonzero(is_cell)),
        ("egress/egress_cap", "cdn", np.flatnonzero(~is_cell)),
    ):
        tally.ratio(
            counter, rows, np.clip(use[kind][rows] + noise[rows], 0, 100) * _WINDOW_S, 100.0 * _WINDOW_S
        )
    return Gauges(tally, at_s, places)
