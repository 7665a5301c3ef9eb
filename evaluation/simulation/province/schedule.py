"""Faults that are placed by hand: where each lies is looked up once, before anything is simulated."""

import difflib
from collections.abc import Sequence

from evaluation.faults import Fault
from evaluation.simulation.province.catalogue import LEAST_H, Planned, ProvinceFaults
from evaluation.simulation.province.faults import LOCAL, happening, names_of, sites_in
from evaluation.simulation.province.mechanisms import services_of
from evaluation.simulation.province.topology import Area, Plan, build

_SHOWN = 3  # ids that are named beside a wrong one


def resolved(plan: Plan, faults: ProvinceFaults) -> ProvinceFaults:
    """Return the file with an id as each location of its schedule.

    Raises ValueError that names the entry when nothing is at a location, or when the fault does nothing within the
    simulated days.
    """
    known, areas = {fault.id: fault for fault in faults.faults}, dict[int, Area]()
    placed = []
    for number, planned in enumerate(faults.schedule):
        fault, entry = known[planned.fault], f"schedule[{number}] ({planned.fault})"
        _check_time(plan, fault, planned, entry)
        name = _located(planned.location, _candidates(plan, fault, planned.location, areas), fault, entry)
        placed.append(planned.model_copy(update={"location": name}))
    return faults.model_copy(update={"schedule": tuple(placed)})


def _check_time(plan: Plan, fault: Fault, planned: Planned, entry: str) -> None:
    until_h = 24 * plan.days
    from_to = f"{planned.onset_h:g} h to {planned.onset_h + planned.duration_h:g} h"
    if planned.onset_h >= until_h:
        raise ValueError(
            f"{entry}: onset_h must be before the end of the simulated days, {until_h} h, but is {planned.onset_h:g};"
            " simulate more days or place it earlier"
        )
    within_h = min(planned.onset_h + planned.duration_h, until_h) - max(planned.onset_h, 0.0)
    if 0 < within_h < LEAST_H * (1 - 1e-9):
        raise ValueError(
            f"{entry}: it must be on for at least one minute of the simulated days, 0 h to {until_h} h, but lasts from"
            f" {from_to}: {3600 * within_h:g} s of them; change onset_h or duration_h"
        )
    one = happening(plan, fault, planned, place=0, name="")
    if not one.acts(plan.days, plan.settings.start.weekday()):
        raise ValueError(
            f"{entry}: it must act within the simulated days, 0 h to {until_h} h, but lasts from {from_to} and has no"
            " burst then; change onset_h or duration_h"
        )


def _candidates(plan: Plan, fault: Fault, location: str | int, areas: dict[int, Area]) -> Sequence[str]:
    """Return the ids that a location may mean: of cells and devices, those of the tracking area that an id tells."""
    if fault.granularity == "tac":
        return plan.names["tac"]
    if fault.granularity not in LOCAL:
        return names_of(plan, fault)
    number = _area_of(plan, fault, location) if isinstance(location, str) else 0
    area = areas[number] if number in areas else areas.setdefault(number, build(plan, number))
    return sites_in(area, fault).names


def _area_of(plan: Plan, fault: Fault, name: str) -> int:
    """Return the tracking area that the number in an id tells; the nearest where there is none such."""
    told = [int(part) for part in name.split("-") if part.isascii() and part.isdigit()]
    number = told[0] if told else 0
    if fault.granularity == "device":  # areas have as many devices each, the first ones one more
        each, more = divmod(plan.devices, plan.tacs)
        first_ones = more * (each + 1)
        number = number // (each + 1) if number < first_ones else more + (number - first_ones) // max(each, 1)
    return min(number, plan.tacs - 1)


def _located(location: str | int, names: Sequence[str], fault: Fault, entry: str) -> str:
    kind = f"{fault.granularity} of {' or '.join(services_of(fault))}"
    where = " in the first tracking area" if fault.granularity in ("cell", "device") else ""
    if not names:
        raise ValueError(
            f"{entry}: location must be a {kind}, but there is none{where}; simulate more devices"
        )
    if isinstance(location, int):
        if 0 <= location < len(names):
            return names[location]
        raise ValueError(
            f"{entry}: location must be the place of a {kind}{where}, 0 ({names[0]}) to {len(names) - 1} ({names[-1]}),"
            f" but is {location}"
        )
    if location in names:
        return location
    near = difflib.get_close_matches(location, names, _SHOWN, cutoff=0.0)
    raise ValueError(
        f"{entry}: location must be the id of a {kind}, but is {location}; near it: {', '.join(near)}"
    )
