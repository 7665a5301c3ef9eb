"""One small tracking area, alive for a day, for facts about what emerges in a province."""

import numpy as np

from evaluation.simulation.province import pipeline
from evaluation.simulation.province.area import read_recipe
from evaluation.simulation.province.catalogue import ProvinceFaults, TrafficPatterns, read_faults
from evaluation.simulation.province.faults import Happening
from evaluation.simulation.province.pipeline import Day, Walked
from evaluation.simulation.province.settings import ProvinceSettings, read_settings
from evaluation.simulation.province.topology import Area, Plan, build
from features.configuration import find_config

HOUR_S = 3600.0
SENSOR, LOCK, PHONE = 0, 1, 2


def shipped() -> ProvinceFaults:
    """Return the shipped file of faults."""
    return read_faults(find_config("fault_catalogue.yaml"))


def few() -> ProvinceSettings:
    """Return the shipped province with three cells of 80 devices an area, no SIM misused."""
    read = read_settings(find_config("province.yaml"))
    calm = read.traits.model_copy(update={"misuse_share": 0.0})
    return read.model_copy(update={"devices_per_cell": 80, "cells_per_tac": 3, "traits": calm})


def small_area() -> Area:
    """Return an area of 240 devices."""
    return build(Plan(few(), 240, 3, 5, shipped().patterns), 0)


def live(area: Area, *happenings: Happening) -> Day:
    """Return the first day of an area with these faults."""
    day, _ = pipeline.live(area, 0, pipeline.begin(area), list(happenings), processes=read_recipe().processes)
    return day


def changed(patterns: TrafficPatterns, place: str, value: object) -> TrafficPatterns:
    """Return the laws with one of them changed; place: its keys, with dots."""
    key, _, rest = place.partition(".")
    inner = changed(getattr(patterns, key), rest, value) if rest else value  # type: ignore[arg-type]
    return patterns.model_copy(update={key: inner})


def under(area: Area, place: str, value: object) -> Area:
    """Return the area where one law of traffic is another."""
    plan = area.plan
    return build(
        Plan(plan.settings, plan.devices, plan.days, plan.seed, changed(plan.patterns, place, value)), 0
    )


def invented(
    catalogue: ProvinceFaults, actuator: str, effect: str, value: float, *, scope: str = "device",
    location: int = 0, services: tuple[str, ...] = ("smoke_sensor", "bike_sharing"), hours: float = 1000.0,
) -> Happening:  # fmt: skip
    """Return a fault of one cause that no catalogue has, at full strength from before the first day."""
    step = next(f.onset for f in catalogue.faults if f.onset.shape == "step")
    act = {"actuator": actuator, "scope": scope, "effect": effect, "value": value}
    known = catalogue.faults[0].model_dump() | {
        "id": f"f_{actuator}", "granularity": scope, "services": services, "mechanism": (act,), "signature": (),
        "onset": step.model_dump(),
    }  # fmt: skip
    fault = type(catalogue.faults[0]).model_validate(known)
    number = f"F-{actuator}-{location}"
    return Happening(number, fault, scope, location, "x", 1.0, -HOUR_S, (hours - 1) * HOUR_S)


def at_each(
    catalogue: ProvinceFaults, area: Area, service: int, actuator: str, effect: str, value: float
) -> list[Happening]:
    """Return a fault of one cause at each device of a service."""
    names = (("smoke_sensor",), ("bike_sharing",), ("video",))[service]
    return [
        invented(catalogue, actuator, effect, value, location=int(d), services=names)
        for d in np.flatnonzero(area.devices.service == service)
    ]


def ratio(day: Day, counter: str) -> float:
    """Return what all tallies of a day make of a ratio."""
    tallies = [
        day.online,
        day.registered.tally,
        day.ended,
        day.video.tally,
        *(w.moment.tally for w in day.walks),
    ]
    rows = [chunk for tally in tallies for chunk in tally.ratios.get(counter, [])]
    return float(sum(top.sum() for _, top, _ in rows) / sum(bottom.sum() for _, _, bottom in rows))


def of_alarms(walked: Walked) -> np.ndarray:
    return np.asarray(
        walked.moment.own & (walked.moment.attempts.process == "ss_alarm") & ~walked.moment.silent
    )


def of_process(day: Day, process: str) -> np.ndarray:
    return np.flatnonzero(day.first.moment.own & (day.first.moment.attempts.process == process))
