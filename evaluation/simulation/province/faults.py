"""Faults that occur: drawn by their rates or placed by hand, and what they do to attempts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evaluation.faults import Burst, DutyBurst, Fault, Ramp
from evaluation.simulation.province.actuators import Pressure
from evaluation.simulation.province.catalogue import Planned, ProvinceFaults, Severity
from evaluation.simulation.province.settings import SERVICES
from evaluation.simulation.province.topology import Area, Plan, generator

DAY_S = 86400.0
_PERIOD_D = {"day": 1.0, "month": 30.0, "year": 365.0}
_EVENTS_PER_DEVICE_DAY = {"trip": 3.0, "session": 8.0, "complaint": 0.01}
_UNIT_S = {"minute": 60.0, "hour": 3600.0, "day": DAY_S}
LOCAL = ("device", "cell", "tac")  # scopes that lie within one tracking area


@dataclass(frozen=True)
class Happening:
    """One fault in one place. onset_s, end_s: seconds since the province began; location: index within its scope."""

    number: str
    fault: Fault
    scope: str
    location: int
    name: str
    severity: float
    onset_s: float
    end_s: float

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


def shared_happenings(plan: Plan, faults: ProvinceFaults) -> list[Happening]:
    """Return the faults of elements that tracking areas share."""
    rng, drawn = generator(plan, 3), []
    for fault in faults.faults:
        if fault.granularity in LOCAL:
            continue
        names = names_of(plan, fault)
        known = plan.names.get(fault.granularity, names)
        places = np.array([known.index(name) for name in names])
        drawn += _drawn(plan, faults, fault, rng=rng, places=places, names=names, schedule=faults.schedule)
    return _numbered(drawn, "F-x")


def local_happenings(area: Area, faults: ProvinceFaults) -> list[Happening]:
    """Return the faults of one tracking area, its cells and its devices."""
    plan, drawn = area.plan, []
    for number, fault in enumerate(faults.faults):
        if fault.granularity not in LOCAL:
            continue
        rng = generator(plan, 4, area.number, number)
        places, names = _places(area, fault)
        schedule = [p for p in faults.schedule if isinstance(p.location, str) or area.number == 0]
        drawn += _drawn(plan, faults, fault, rng=rng, places=places, names=names, schedule=schedule)
    return _numbered(drawn, f"F-{area.number}")


def names_of(plan: Plan, fault: Fault) -> tuple[str, ...]:
    """Return the ids that a fault of a shared element can lie at."""
    names = plan.names[fault.granularity]
    if fault.granularity in ("app", "fleet"):
        return tuple(name for name in names if any(f"-{service}-" in name for service in fault.services))
    return names


def _places(area: Area, fault: Fault) -> tuple[np.ndarray, Sequence[str]]:
    if fault.granularity == "cell":
        names = [cell_name(name, lte=fault.services == ("video",)) for name in area.cells.names]
        return np.arange(len(names)), names
    if fault.granularity == "tac":
        return np.array([area.number]), [area.plan.names["tac"][area.number]]
    services = ["video" if service == "phone" else service for service in fault.services]
    fits = np.isin(area.devices.service, [SERVICES.index(s) for s in services if s in SERVICES])
    places = np.flatnonzero(fits)
    return places, area.devices.names[places].tolist()


def cell_name(name: str, *, lte: bool) -> str:
    """Return the id of a cell, or of the LTE cell on the same mast."""
    return name.replace("cell", "lte") if lte else name


def _drawn(
    plan: Plan,
    faults: ProvinceFaults,
    fault: Fault,
    *,
    rng: np.random.Generator,
    places: np.ndarray,
    names: Sequence[str],
    schedule: Sequence[Planned],
) -> list[Happening]:
    found = [
        Happening("", fault, fault.granularity, int(places[at]), names[at], p.severity, 3600 * p.onset_h,
                  3600 * (p.onset_h + p.duration_h))
        for p in schedule
        if p.fault == fault.id and (at := _placed(p.location, names)) is not None
    ]  # fmt: skip
    if not faults.draw or not len(places):
        return found
    days = fault.duration.median * _UNIT_S[fault.duration.unit] / DAY_S
    count = rng.poisson(faults.rate_factor * _per_element(fault, plan.days, days) * len(places))
    drawn = rng.integers(0, len(places), count)
    lasts = days * np.exp(fault.duration.sigma * rng.standard_normal(count)) * DAY_S
    onset = rng.uniform(-lasts, plan.days * DAY_S)
    severity = _severities(rng, faults.severities.get(fault.id, faults.severity), count)
    return found + [
        Happening("", fault, fault.granularity, int(places[a]), names[a], float(s), float(o), float(o + d))
        for a, s, o, d in zip(drawn, severity, onset, lasts, strict=True)
    ]


def _placed(location: str | int, names: Sequence[str]) -> int | None:
    if isinstance(location, int):
        return location if 0 <= location < len(names) else None
    return names.index(location) if location in names else None


def _per_element(fault: Fault, days: float, lasts_d: float) -> float:
    """Return how many happenings of an element touch the simulated days, already lasting ones with them."""
    unit, _, period = fault.base_rate.per.partition("-")
    if period:
        return fault.base_rate.value * (days + lasts_d) / _PERIOD_D[period]
    if unit in _EVENTS_PER_DEVICE_DAY:
        return fault.base_rate.value * _EVENTS_PER_DEVICE_DAY[unit] * (days + lasts_d)
    return fault.base_rate.value * (days + lasts_d) / lasts_d  # a prevalence: so many have it at any time


def _severities(rng: np.random.Generator, severity: Severity, count: int) -> np.ndarray:
    drawn = rng.beta(severity.a, severity.b, count)
    return np.full(count, severity.value) if severity.value is not None else np.maximum(drawn, 0.01)


def _numbered(drawn: list[Happening], word: str) -> list[Happening]:
    ordered = sorted(drawn, key=lambda h: (h.onset_s, h.fault.id, h.name))
    return [Happening(f"{word}-{n}", *_fields(h)[1:]) for n, h in enumerate(ordered)]


def _fields(h: Happening) -> tuple[str, Fault, str, int, str, float, float, float]:
    return h.number, h.fault, h.scope, h.location, h.name, h.severity, h.onset_s, h.end_s


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


@dataclass(frozen=True)
class Exposure:
    """What faults do to attempts. blame: index of the happening that is strongest for each, -1 for none."""

    pressure: Pressure
    blame: np.ndarray


def expose(happenings: Sequence[Happening], exposed: Exposed, *, weekday: int) -> Exposure:
    """Lay all faults over the attempts, in their order."""
    size = len(exposed.at_s)
    pressure, blame, most = Pressure(size), np.full(size, -1), np.zeros(size)
    order = np.argsort(exposed.device, kind="stable")
    by_device = exposed.device[order]
    for number, happening in enumerate(happenings):
        rows = _rows(happening, exposed, order=order, by_device=by_device)
        strength = happening.strength(exposed.at_s[rows], weekday)
        rows, strength = rows[strength > 0], strength[strength > 0]
        if not len(rows):
            continue
        for act in happening.fault.mechanism:
            pressure.act(act.actuator, rows, strength, effect=act.effect, value=act.value)
        stronger = strength > most[rows]
        blame[rows[stronger]], most[rows[stronger]] = number, strength[stronger]
    return Exposure(pressure, blame)


def _rows(happening: Happening, exposed: Exposed, *, order: np.ndarray, by_device: np.ndarray) -> np.ndarray:
    if happening.scope == "device":
        low, high = np.searchsorted(by_device, [happening.location, happening.location + 1])
        return order[low:high]
    video = happening.fault.services == ("video",)
    if happening.scope in ("app", "fleet", "platform_node"):
        return np.flatnonzero(exposed.places[happening.scope] == happening.location)
    return np.flatnonzero((exposed.places[happening.scope] == happening.location) & (exposed.video == video))
