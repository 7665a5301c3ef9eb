"""What smoke sensors do in a day: heartbeats, alarms, self-tests, registrations."""

from typing import NamedTuple

import numpy as np

from evaluation.simulation.province.attempts import Attempts, joined, made
from evaluation.simulation.province.faults import DAY_S, JUST_AFTER_S, Happening
from evaluation.simulation.province.topology import Area

_JITTER_S = 300.0
_ALIGNED_JITTER_S = 30.0
_SELF_TESTS_PER_DAY = 1 / 30
_REGISTRATIONS_PER_DAY = 0.3 / 30
_WEEKEND_ALARMS = 1.15


def heartbeat_times(area: Area, devices: np.ndarray, day: int) -> tuple[np.ndarray, np.ndarray]:
    """Return device and time of every heartbeat that is due on a day, without jitter."""
    return due_within(area, devices, day * DAY_S, (day + 1) * DAY_S)


def due_within(
    area: Area, devices: np.ndarray, since_s: float, until_s: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return device and time of every periodic report from one moment until before another, whatever the period."""
    period, phase = area.devices.heartbeat_s[devices], area.devices.phase_s[devices]
    first, last = (np.ceil((s - phase) / period).astype("int64") for s in (since_s, until_s))
    each = last - first
    which = np.repeat(devices, each)
    turn = np.arange(len(which)) - np.repeat(np.cumsum(each) - each, each) + np.repeat(first, each)
    return which, area.devices.phase_s[which] + turn * area.devices.heartbeat_s[which]


def live(
    area: Area,
    day: int,
    *,
    rng: np.random.Generator,
    faults: list[Happening],
    weekend: bool,
) -> Attempts:
    """Return the attempts of all smoke sensors of an area on a day."""
    own = np.flatnonzero(area.devices.service == 0)
    which, due = heartbeat_times(area, own, day)
    at = due + rng.uniform(-_JITTER_S, _JITTER_S, len(which))
    at = np.clip(
        _aligned(area, _Beats(which, at), day=day, faults=faults, rng=rng), day * DAY_S, (day + 1) * DAY_S - 1
    )
    tested = rng.random(len(which)) < _SELF_TESTS_PER_DAY * area.devices.heartbeat_s[which] / DAY_S
    alarm = area.plan.patterns.smoke_sensor.alarm
    per_day = (
        (alarm.false_alarm_per_device_month + alarm.fault_or_tamper_per_device_month) / 30
        + alarm.real_fire_per_million_device_days / 1e6
    ) * (_WEEKEND_ALARMS if weekend else 1.0)
    alarms = _random_devices(rng, own, per_day)
    born = _random_devices(rng, own, _REGISTRATIONS_PER_DAY)
    hours = rng.choice(24, len(alarms), p=np.array(alarm.hour_profile) / sum(alarm.hour_profile))
    return joined(
        [
            _still(area, which, at, "ss_heartbeat"),
            _still(area, which[tested], at[tested] + 5.0, "ss_command"),
            _still(area, alarms, day * DAY_S + 3600.0 * (hours + rng.random(len(alarms))), "ss_alarm",
                   event=np.arange(len(alarms))),
            _still(area, born, day * DAY_S + DAY_S * rng.random(len(born)), "ss_onboarding"),
        ]
    )  # fmt: skip


def _still(area: Area, device: np.ndarray, at_s: np.ndarray, process: str, **other: np.ndarray) -> Attempts:
    return made(device, at_s, process, area.devices.x_km[device], area.devices.y_km[device], **other)


def _random_devices(rng: np.random.Generator, devices: np.ndarray, per_day: float) -> np.ndarray:
    return np.repeat(devices, rng.poisson(per_day, len(devices)))


class _Beats(NamedTuple):
    """Heartbeats: of which device, and when."""

    device: np.ndarray
    at_s: np.ndarray


def _aligned(
    area: Area, beats: _Beats, *, day: int, faults: list[Happening], rng: np.random.Generator
) -> np.ndarray:
    """Return the times of heartbeats, of which a storm moves a share to the first seconds of its nearest burst."""
    device, at_s = beats
    moved, weekday = at_s.copy(), area.plan.settings.start.weekday()
    for happening in faults:
        for act in happening.fault.mechanism:
            if act.actuator != "heartbeat_alignment" or happening.scope not in ("cell", "fleet"):
                continue
            at = area.home_cell[device] if happening.scope == "cell" else area.devices.fleet[device]
            lasts = (at_s >= happening.onset_s) & (at_s < happening.end_s)
            burst, strength = _nearest_burst(happening, moved, day, weekday)
            caught = (at == happening.location) & lasts & (rng.random(len(device)) < act.value * strength)
            moved = np.where(caught, burst + np.abs(rng.normal(0, _ALIGNED_JITTER_S, len(device))), moved)
    return moved


def _nearest_burst(
    happening: Happening, at_s: np.ndarray, day: int, weekday: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the start of the burst of a day that is nearest to each moment, and how strong the fault is then.

    Only bursts that come: within the fault, on its weekdays. Without any the strength is 0.
    """
    starts = happening.bursts_s(day * DAY_S, (day + 1) * DAY_S)
    strength = happening.strength(starts + JUST_AFTER_S, weekday)
    starts, strength = starts[strength > 0], strength[strength > 0]
    if not len(starts):
        return at_s, np.zeros(len(at_s))
    nearest = np.abs(at_s[:, None] - starts).argmin(axis=1)
    return starts[nearest], strength[nearest]
