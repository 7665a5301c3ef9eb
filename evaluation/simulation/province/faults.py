"""Faults that occur: drawn by their rates or placed by hand, and what they do to attempts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from evaluation.faults import Burst, DutyBurst, Fault, Ramp
from evaluation.simulation.province.actuators import Pressure
from evaluation.simulation.province.catalogue import Planned, ProvinceFaults, Severity
from evaluation.simulation.province.mechanisms import EVENTS_PER_DEVICE_DAY, services_of
from evaluation.simulation.province.settings import SERVICES
from evaluation.simulation.province.topology import Area, Plan, generator

DAY_S = 86400.0
_PERIOD_D = {"day": 1.0, "month": 30.0, "year": 365.0}
_UNIT_S = {"minute": 60.0, "hour": 3600.0, "day": DAY_S}
LOCAL = ("device", "cell", "tac")  # scopes that lie within one tracking area
JUST_AFTER_S = 1e-3  # a burst that starts has started


@dataclass(frozen=True)
class Happening:
    """One fault in one place. onset_s, end_s: seconds since the province began; location: index within its scope.

    apps: indices of the applications of its services, by which it finds their devices; none: of all devices.
    """

    number: str
    fault: Fault
    scope: str
    location: int
    name: str
    severity: float
    onset_s: float
    end_s: float
    apps: tuple[int, ...] = ()

    def strength(self, at_s: np.ndarray, weekday: int) -> np.ndarray:
        """Return severity times onset at some moments: 0 before, after, and between bursts. weekday: of the start."""
        lasts = (at_s >= self.onset_s) & (at_s < self.end_s)
        return np.asarray(self.severity * np.where(lasts, self._shape(at_s, weekday), 0.0))

    def _shape(self, at_s: np.ndarray, weekday: int) -> np.ndarray:
        onset = self.fault.onset
        if isinstance(onset, Ramp):
            return np.asarray(np.clip((at_s - self.onset_s) / (3600.0 * onset.hours), 0.0, 1.0))
        if isinstance(onset, DutyBurst):
            phase = (at_s / 3600.0 - onset.start_hour) % onset.period_h
            return np.asarray((phase < onset.duty * onset.period_h).astype("float64"))
        if isinstance(onset, Burst):
            hours = at_s / 3600.0
            on = np.zeros(len(at_s), bool)
            for hour in onset.at_hours:
                on |= (hours - hour) % onset.period_h < onset.duration_min / 60.0
            if onset.weekdays:
                on &= (weekday + np.floor(at_s / DAY_S)) % 7 < 5
            return on.astype("float64")
        return np.ones(len(at_s))

    def bursts_s(self, first_s: float, last_s: float) -> np.ndarray:
        """Return when its bursts start from one moment until before another, s; of other onsets none do."""
        onset = self.fault.onset
        if not isinstance(onset, Burst | DutyBurst):
            return np.zeros(0)
        found = []
        for hour in onset.at_hours if isinstance(onset, Burst) else (onset.start_hour,):
            low, high = ((s / 3600.0 - hour) / onset.period_h for s in (first_s, last_s))
            found.append(3600.0 * (hour + onset.period_h * np.arange(np.ceil(low), np.ceil(high))))
        return np.unique(np.concatenate(found))

    def acts(self, days: int, weekday: int) -> bool:
        """Tell whether it does anything within the simulated days. weekday: of the start."""
        first, last = max(self.onset_s, 0.0), min(self.end_s, days * DAY_S)
        if first >= last or not isinstance(self.fault.onset, Burst | DutyBurst):
            return first < last
        midnights = np.arange(
            np.ceil(first / DAY_S) * DAY_S, last, DAY_S
        )  # a Saturday's burst may end on a Monday
        at = np.concatenate([[first], midnights, self.bursts_s(first, last) + JUST_AFTER_S])
        return bool((self.strength(at, weekday) > 0).any())


@dataclass(frozen=True)
class Sites:
    """Where a fault can lie: index within the scope, and id, of each."""

    places: np.ndarray
    names: Sequence[str]


def shared_happenings(plan: Plan, faults: ProvinceFaults) -> list[Happening]:
    """Return the faults of elements that tracking areas share. faults: with all locations resolved."""
    rng, found = generator(plan, 3), []
    for fault in faults.faults:
        if fault.granularity not in LOCAL:
            names = names_of(plan, fault)
            known = plan.names[fault.granularity]
            sites = Sites(np.array([known.index(name) for name in names], "int64"), names)
            found += _scheduled(plan, faults, fault, sites) + _drawn(plan, faults, fault, sites, rng=rng)
    return _numbered(found, "F-x")


def local_happenings(area: Area, faults: ProvinceFaults) -> list[Happening]:
    """Return the faults of one tracking area, its cells and its devices. faults: with all locations resolved."""
    plan, found = area.plan, []
    for number, fault in enumerate(faults.faults):
        if fault.granularity in LOCAL:
            sites, rng = sites_in(area, fault), generator(plan, 4, area.number, number)
            found += _scheduled(plan, faults, fault, sites) + _drawn(plan, faults, fault, sites, rng=rng)
    return _numbered(found, f"F-{area.number}")


def names_of(plan: Plan, fault: Fault) -> tuple[str, ...]:
    """Return the ids that a fault of a shared element can lie at."""
    names = plan.names[fault.granularity]
    if fault.granularity in ("app", "fleet"):
        return tuple(name for name in names if any(f"-{service}-" in name for service in services_of(fault)))
    return names


def sites_in(area: Area, fault: Fault) -> Sites:
    """Return where a fault of a tracking area, its cells or its devices can lie in one."""
    if fault.granularity == "cell":
        lte = services_of(fault) == ("video",)
        return Sites(np.arange(len(area.cells)), [cell_name(name, lte=lte) for name in area.cells.names])
    if fault.granularity == "tac":
        return Sites(np.array([area.number]), [area.plan.names["tac"][area.number]])
    fits = np.isin(area.devices.service, [SERVICES.index(s) for s in services_of(fault) if s in SERVICES])
    places = np.flatnonzero(fits)
    return Sites(places, area.devices.names[places].tolist())


def cell_name(name: str, *, lte: bool) -> str:
    """Return the id of a cell, or of the LTE cell on the same mast."""
    return name.replace("cell", "lte") if lte else name


def happening(plan: Plan, fault: Fault, planned: Planned, *, place: int, name: str) -> Happening:
    """Return a scheduled fault as it happens at a place."""
    onset_s = 3600.0 * planned.onset_h
    end_s, apps = onset_s + 3600.0 * planned.duration_h, _apps(plan, fault)
    return Happening("", fault, fault.granularity, place, name, planned.severity, onset_s, end_s, apps)


def _scheduled(plan: Plan, faults: ProvinceFaults, fault: Fault, sites: Sites) -> list[Happening]:
    mine = [planned for planned in faults.schedule if planned.fault == fault.id]
    at = {name: int(place) for name, place in zip(sites.names, sites.places, strict=True)} if mine else {}
    return [
        happening(plan, fault, planned, place=at[name], name=name)
        for planned in mine
        if (name := str(planned.location)) in at
    ]


def _apps(plan: Plan, fault: Fault) -> tuple[int, ...]:
    words = [f"-{service}-" for service in services_of(fault)]
    return tuple(n for n, name in enumerate(plan.names["app"]) if any(word in name for word in words))


def _drawn(
    plan: Plan, faults: ProvinceFaults, fault: Fault, sites: Sites, *, rng: np.random.Generator
) -> list[Happening]:
    if not faults.draw or not len(sites.places):
        return []
    onset, lasts = spans_d(fault, plan.days, elements=faults.rate_factor * len(sites.places), rng=rng)
    where = rng.integers(0, len(sites.places), len(onset))
    severity = _severities(rng, faults.severities.get(fault.id, faults.severity), len(onset))
    apps, weekday = _apps(plan, fault), plan.settings.start.weekday()
    found = [
        Happening("", fault, fault.granularity, int(sites.places[a]), sites.names[a], float(s), DAY_S * float(o),
                  DAY_S * float(o + d), apps)
        for a, s, o, d in zip(where, severity, onset, lasts, strict=True)
    ]  # fmt: skip
    return [one for one in found if one.acts(plan.days, weekday)]


def spans_d(
    fault: Fault, days: float, *, elements: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return onset and duration, days, of the faults that touch the simulated days, as if they had always come.

    Those that begin within the days are Poisson; so are those already on at the start, as many as are on at any time.
    An element is likelier found within a long fault than a short one, so their durations are weighted by length: a
    lognormal whose median is exp(sigma^2) times that of all. They have lasted for an even share of it.
    """
    median, sigma = fault.duration.median * _UNIT_S[fault.duration.unit] / DAY_S, fault.duration.sigma
    mean = median * np.exp(sigma**2 / 2)
    rate = elements * _per_day(fault, mean)
    on, begun = rng.poisson(rate * mean), rng.poisson(rate * days)
    long = median * np.exp(sigma**2 + sigma * rng.standard_normal(on))
    usual = median * np.exp(sigma * rng.standard_normal(begun))
    onset = np.concatenate([-long * rng.random(on), days * rng.random(begun)])
    return onset, np.concatenate([long, usual])


def _per_day(fault: Fault, mean_d: float) -> float:
    """Return how many begin at an element each day. mean_d: how long one lasts."""
    unit, _, period = fault.base_rate.per.partition("-")
    if period:
        return fault.base_rate.value / _PERIOD_D[period]
    if unit in EVENTS_PER_DEVICE_DAY:
        return fault.base_rate.value * EVENTS_PER_DEVICE_DAY[unit]
    return fault.base_rate.value / mean_d  # a prevalence: so many have it at any time


def _severities(rng: np.random.Generator, severity: Severity, count: int) -> np.ndarray:
    drawn = rng.beta(severity.a, severity.b, count)
    return np.full(count, severity.value) if severity.value is not None else np.maximum(drawn, 0.01)


def _numbered(found: list[Happening], word: str) -> list[Happening]:
    ordered = sorted(found, key=lambda h: (h.onset_s, h.fault.id, h.name))
    return [replace(h, number=f"{word}-{n}") for n, h in enumerate(ordered)]


def truth(plan: Plan, happenings: Iterable[Happening]) -> pd.DataFrame:
    """Return truth.parquet: what was broken, where, how much, from when to when."""
    rows = [
        (h.number, h.fault.id, h.fault.fault_domain, h.scope, h.name, h.severity, h.onset_s, h.end_s)
        for h in happenings
        if h.end_s > 0
    ]
    names = ["fault_id", "cause", "fault_domain", "location_scope", "location_id", "severity", "onset", "end"]
    frame = pd.DataFrame(rows, columns=names)
    for name in ("onset", "end"):
        frame[name] = pd.to_datetime(
            (frame[name].astype("float64") + plan.start_s) * 1e6, unit="us", utc=True
        )
    return frame


@dataclass(frozen=True)
class Exposed:
    """Where attempts are, so that faults find them: one value an attempt; -1 where it has none."""

    at_s: np.ndarray
    device: np.ndarray
    video: np.ndarray
    places: dict[str, np.ndarray]


def expose(happenings: Sequence[Happening], exposed: Exposed, *, weekday: int) -> Pressure:
    """Return what all faults, laid one over another, do to each attempt."""
    size = len(exposed.at_s)
    pressure = Pressure(size)
    order = np.argsort(exposed.device, kind="stable")
    by_device = exposed.device[order]
    for happening in happenings:
        rows = _rows(happening, exposed, order=order, by_device=by_device)
        strength = happening.strength(exposed.at_s[rows], weekday)
        rows, strength = rows[strength > 0], strength[strength > 0]
        if not len(rows):
            continue
        for act in happening.fault.mechanism:
            pressure.act(act.actuator, rows, strength, effect=act.effect, value=act.value)
    return pressure


def _rows(happening: Happening, exposed: Exposed, *, order: np.ndarray, by_device: np.ndarray) -> np.ndarray:
    if happening.scope == "device":
        low, high = np.searchsorted(by_device, [happening.location, happening.location + 1])
        return order[low:high]
    rows = np.flatnonzero(exposed.places[happening.scope] == happening.location)
    return np.asarray(rows[_served(happening, exposed, rows)])


def _served(happening: Happening, exposed: Exposed, rows: np.ndarray) -> np.ndarray:
    """Return which rows are of the services of a fault; without a device, any of the same network is."""
    services, video = services_of(happening.fault), exposed.video[rows]
    network = np.where(video, "video" in services, any(service != "video" for service in services))
    if not happening.apps or "app" not in exposed.places:
        return np.asarray(network)
    strangers = exposed.device[rows] < 0
    return np.asarray(network & (strangers | np.isin(exposed.places["app"][rows], happening.apps)))
