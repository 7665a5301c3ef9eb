"""Where what was counted on a day belongs: the element of each scope, and the window."""

from collections.abc import Mapping

import numpy as np

from evaluation.simulation.province.daylong import places_of
from evaluation.simulation.province.faults import DAY_S
from evaluation.simulation.province.pipeline import Day
from evaluation.simulation.province.tally import Place, Tally
from evaluation.simulation.province.topology import Area
from features.indicators import Scope

Placed = list[tuple[Tally, list[Place]]]


def places_of_tallies(area: Area, day: Day, windows: Mapping[Scope, int]) -> Placed:
    """Return each tally of a day with the places its rows count at."""
    found = [*_of_walks(area, day, windows), *_of_devices(area, day, windows)]
    for watched in (day.video, day.gauges):
        lte = np.where(watched.places["cell"] >= 0, watched.places["cell"] + len(area.cells), -1)
        found.append(
            (watched.tally, _places(area, day, watched.places | {"cell": lte}, watched.at_s, windows))
        )
    return found


def _of_walks(area: Area, day: Day, windows: Mapping[Scope, int]) -> Placed:
    found = []
    for walked in day.walks:
        moment, at_s = walked.moment, walked.moment.attempts.at_s
        found.append((moment.tally, _places(area, day, moment.places, at_s, windows)))
        meant = moment.places | {"cell": moment.meant_cell}
        found.append((moment.gauges, _places(area, day, meant, at_s, windows)))
    return found


def _of_devices(area: Area, day: Day, windows: Mapping[Scope, int]) -> Placed:
    """Return what is counted of devices beside their attempts: presence, registration, sessions."""
    seen, known, ends = day.presence, day.registered, day.ends
    at_home = area.home_cell[known.device]
    rows = (
        (day.online, seen.device, seen.at_s, seen.cell),
        (known.tally, known.device, known.at_s, at_home),
        (day.ended, ends.device, ends.at_s, ends.cell),
    )
    found, home = [], places_of(area)
    for tally, device, at_s, cell in rows:
        places = {n: v[device] for n, v in home.items() if n in _COUNTED} | {"cell": cell}
        found.append((tally, _places(area, day, places, at_s, windows)))
    return found


_COUNTED = ("device", "tac", "mme", "platform_node", "app", "fleet")  # scopes that count devices


def _places(
    area: Area, day: Day, element: Mapping[str, np.ndarray], at_s: np.ndarray, windows: Mapping[Scope, int]
) -> list[Place]:
    elements, since_s = sizes(area), np.clip(at_s - day.number * DAY_S, 0, DAY_S - 1).astype("int64")
    return [
        Place(scope, element[scope], elements[scope], since_s // seconds, int(DAY_S // seconds))
        for scope, seconds in windows.items()
        if scope in element
    ]


def sizes(area: Area) -> dict[str, int]:
    """Return how many elements each scope has; cells are those of NB-IoT, then those of LTE."""
    shared = {name: len(ids) for name, ids in area.plan.names.items()}
    return {"device": len(area.devices), "cell": 2 * len(area.cells), **shared}
