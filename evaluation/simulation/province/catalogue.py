"""A file of faults as the simulation reads it: mechanisms, the laws of traffic, and which faults to draw."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, NonNegativeFloat, PositiveFloat, StrictInt, StrictStr

from evaluation.faults import FaultCatalogue, catalogue_broken, signature_broken
from evaluation.simulation.province.mechanisms import broken
from evaluation.simulation.province.settings import SERVICES
from features.configuration import nearest, packaged_configs, read_config
from features.indicators import all_indicators, read_terminal, refuse

LEAST_SEVERITY = 0.01  # a hundredth of an effect; what is weaker moves nothing that chance does not move more
LEAST_H = 1 / 60  # one minute
LONGEST_H = 100_000.0  # eleven years: longer than a device lives; a time beyond it is a slip


class Severity(BaseModel, frozen=True, extra="forbid", allow_inf_nan=False):
    """Beta(a, b), unless a value fixes it."""

    a: float = Field(4, gt=0)
    b: float = Field(2, gt=0)
    value: float | None = Field(None, ge=LEAST_SEVERITY, le=1)


class Planned(BaseModel, frozen=True, extra="forbid"):
    """One fault that is not drawn: where, when, how strong.

    location: an id, or its place in the order of ids at which the fault can lie; of cells and devices, those of the
    first tracking area. A number is a number: neither a text nor true or false. A fault weaker or shorter than
    the least would stand in the truth and be seen in nothing.
    """

    fault: str
    location: StrictStr | StrictInt = 0
    severity: float = Field(1.0, ge=LEAST_SEVERITY, le=1, strict=True)
    onset_h: float = Field(0.0, ge=-LONGEST_H, le=LONGEST_H, strict=True, allow_inf_nan=False)
    duration_h: float = Field(24.0, ge=LEAST_H, le=LONGEST_H, strict=True, allow_inf_nan=False)


class Prose(BaseModel, frozen=True, extra="ignore"):
    """A part that holds words for people beside the numbers read here."""


class Alarm(Prose):
    """Alarms of a smoke sensor."""

    false_alarm_per_device_month: float
    real_fire_per_million_device_days: float
    fault_or_tamper_per_device_month: float
    hour_profile: tuple[float, ...] = Field(min_length=24, max_length=24)
    repeat_every_s: tuple[float, float]
    repeat_max: int = Field(ge=0)


class Battery(Prose):
    """The battery law of a service; a figure that a service has not is 0."""

    capacity_mah: float
    usable_share: float = 1.0
    sleep_current_ua: float = 0.0
    idle_ma: float = 0.0
    energy_per_report_mah: dict[str, float]
    alarm_sound_ma: float = 0.0
    self_discharge_pct_per_year: float = Field(0.0, ge=0)
    unlock_motor_mah: float = 0.0
    gnss_fix_mah: float = 0.0
    dynamo_mah_per_km: float = 0.0
    solar_mah_per_sunny_day: float = 0.0


class SmokeTimers(Prose):
    """Timers of a sensor, s. lwm2m_lifetime_s: of one that reports once a day; of others in proportion."""

    t3324_s: float = Field(gt=0)
    t3412ext_s: float = Field(gt=0)
    lwm2m_lifetime_s: float = Field(gt=0)


class SmokeTraffic(Prose):
    """What smoke sensors do. heartbeat_period_s: share of the sensors that report with each period, s."""

    heartbeat_period_s: dict[PositiveFloat, NonNegativeFloat] = Field(min_length=1)
    timers: SmokeTimers
    alarm: Alarm
    battery: Battery


class TripsPerDay(Prose):
    """How often a bike is ridden in a day, by the kind of day."""

    weekday: float = Field(ge=0)
    weekend: float = Field(ge=0)


class BikeTimers(Prose):
    """Timers of a lock, s."""

    drx_s: float = Field(gt=0)
    t3412ext_s: float = Field(gt=0)
    lwm2m_lifetime_s: float = Field(gt=0)
    mqtt_keepalive_s: float = Field(gt=0)


class Reports(Prose):
    """How often a lock tells its position, s."""

    parked_period_s: float = Field(gt=0)
    riding_period_s: float = Field(gt=0)


class Trip(Prose):
    """A ride."""

    duration_min_median: float
    duration_sigma: float
    speed_kmh: float


class Shadow(Prose):
    """Where some bikes are parked."""

    share_of_parkings: float
    extra_loss_db_mean: float
    extra_loss_db_sd: float


class BikeTraffic(Prose):
    """What shared bikes do."""

    trips_per_bike_day: TripsPerDay
    hour_profile_weekday: tuple[float, ...] = Field(min_length=24, max_length=24)
    hour_profile_weekend: tuple[float, ...] = Field(min_length=24, max_length=24)
    trip: Trip
    timers: BikeTimers
    reports: Reports
    urban_shadow: Shadow
    battery: Battery


class VideoTraffic(Prose):
    """What people watch."""

    session_hour_profile: tuple[float, ...] = Field(min_length=24, max_length=24)
    session_min_median: float
    session_sigma: float
    segment_s: float = Field(gt=0)
    start_threshold_s: float
    bit_rates_mbps: tuple[float, ...]
    sources: tuple[str, ...] = Field(min_length=1)


class Walls(Prose):
    """Radio facts that are not laws (those stand in radio.py)."""

    penetration_db: dict[str, NonNegativeFloat]


class TrafficPatterns(Prose):
    """The traffic patterns of the three services."""

    smoke_sensor: SmokeTraffic
    bike_sharing: BikeTraffic
    video: VideoTraffic
    radio_physics: Walls


class ProvinceFaults(FaultCatalogue):
    """A file of faults. draw: whether faults occur by their rates. rate_factor: all rates times this."""

    traffic_patterns: TrafficPatterns
    draw: bool = True
    rate_factor: float = Field(1.0, ge=0)
    severity: Severity = Severity()
    severities: dict[str, Severity] = Field(default={})
    schedule: tuple[Planned, ...] = ()

    @property
    def patterns(self) -> TrafficPatterns:
        """The laws of traffic."""
        return self.traffic_patterns


def read_faults(path: Path) -> ProvinceFaults:
    """Return a checked file of faults; what it leaves out is as shipped, but `faults` are its own where it has some.

    Raises ValueError that names file, fault or key, and every rule broken.
    """
    faults = read_config(path, ProvinceFaults, default=packaged_configs() / "fault_catalogue.yaml")
    scopes = {one.id: one.granularity for one in (*all_indicators(), *read_terminal())}
    references = signature_broken(faults, scopes, frozenset(SERVICES))
    refuse({path: [*catalogue_broken(faults), *references, *faults_broken(faults)]})
    return faults


def faults_broken(faults: ProvinceFaults) -> Iterator[str]:
    """Yield each rule that keeps the faults of a file from being simulated: the id or key, the rule, the fact."""
    yield from laws_broken(faults.patterns)
    for fault in faults.faults:
        yield from broken(fault, drawn=faults.draw)
    ids = [fault.id for fault in faults.faults]
    named = [(f"schedule[{n}]", planned.fault) for n, planned in enumerate(faults.schedule)]
    for key, name in [*named, *(("severities", name) for name in faults.severities)]:
        if name not in ids:
            yield f"{key}: must name a fault of the file, but names {name}; {nearest(name, ids)}"


_DIVIDED_BY = ("capacity_mah", "usable_share", "bit_rates_mbps")  # must be above 0


def laws_broken(patterns: TrafficPatterns) -> Iterator[str]:
    """Yield each figure of the laws of traffic that none can have: the key, the rule, the fact."""
    if not sum(patterns.smoke_sensor.heartbeat_period_s.values()):
        yield "traffic_patterns.smoke_sensor.heartbeat_period_s: a share must be above 0, but none is"
    for key, figures in _figures(patterns.model_dump(), "traffic_patterns"):
        least = min(figures)
        if not (least >= 0 and max(figures) < math.inf):
            yield f"{key}: must be finite and at least 0, but is {', '.join(f'{one:g}' for one in figures)}"
        elif key.endswith(_DIVIDED_BY) and least == 0:
            yield f"{key}: must be above 0, but has 0"
        elif "hour_profile" in key and not sum(figures):
            yield f"{key}: an hour must be above 0, but none is"
        elif key.endswith("repeat_every_s") and figures[0] > figures[1]:
            yield f"{key}: must keep low <= high, but is {figures[0]:g}, {figures[1]:g}"


def _figures(part: Any, key: str) -> Iterator[tuple[str, tuple[float, ...]]]:  # Any: of a dumped model
    """Yield the key and the figures of each law, one or several."""
    if isinstance(part, dict):
        for name, value in part.items():
            yield from _figures(value, f"{key}.{name}")
    elif isinstance(part, tuple) and part and not isinstance(part[0], str):
        yield key, part
    elif isinstance(part, int | float):
        yield key, (part,)
