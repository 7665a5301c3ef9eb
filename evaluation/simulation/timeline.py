"""What each reporting type does, and when: profiles turned into events of single devices.

Hours are hours of a UTC day, times are seconds since the start of the simulation.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal

import numpy as np

from evaluation.simulation.fleet import DAY_S, Device
from evaluation.simulation.profiles import Periodic

HOUR_S = 3600.0


@dataclass(frozen=True)
class Event:
    """A report (device first), a command (platform first), the smallest sign of life, or the loss of power."""

    at: float
    act: Literal["report", "command", "beat", "off"]
    up: int = 0
    down: int = 0


def timeline(device: Device, rng: np.random.Generator, *, days: int) -> list[Event]:
    """Return the events of a device in time order, from the day it was put into service.

    A device without power is silent; one that keeps a session gives a sign of life when the power is back.
    Raises LookupError for a type that no behaviour is written for.
    """
    if device.profile.id not in _TYPES:
        raise LookupError(
            f"no behaviour is written for type {device.profile.id!r}; known are {sorted(_TYPES)}"
        )
    events = list(_TYPES[device.profile.id](_Diary(device, rng, days)))
    joins = device.beat.joins_s
    if joins is not None:
        first = Event(joins, "report", device.up.draw(rng), device.down.draw(rng))
        events = [first, *(event for event in events if event.at > joins)]
    cuts = [cut for cut in power_cuts(rng, days=days) if cut[0] > (joins or 0.0)]
    events = [event for event in events if not any(start < event.at < end for start, end in cuts)]
    events += [Event(start, "off") for start, _ in cuts]
    events += [Event(end, "beat") for _, end in cuts if device.beat.lasting]
    return sorted((event for event in events if event.at < days * DAY_S), key=attrgetter("at"))


def power_cuts(rng: np.random.Generator, *, days: int) -> Iterator[tuple[float, float]]:
    """Yield (start, end) of the spells a device is off: hours, about every twentieth day, never the first."""
    for day in range(1, days):
        if rng.random() < 0.05:
            start = (day + rng.random()) * DAY_S
            yield start, start + rng.uniform(2, 10) * HOUR_S


def spells(device: Device, rng: np.random.Generator, *, days: int) -> list[tuple[float, float]]:
    """Return (start, end) of the device's spells of activity in service, by the hours of its profile."""
    activity = device.profile.activity
    weights = np.ones(24) if device.beat.flat else np.asarray(activity.hour_weight)
    found = []
    for day in range(days):
        for hour in rng.choice(24, rng.poisson(activity.per_day), p=weights / weights.sum()):
            start = day * DAY_S + (hour + rng.random()) * HOUR_S
            found.append((start, start + float(rng.uniform(*activity.duration_s))))
    return sorted(spell for spell in found if spell[0] >= (device.beat.joins_s or 0.0))


@dataclass(frozen=True)
class _Diary:
    """A device, its random numbers and the days to fill; the verbs all types share."""

    device: Device
    rng: np.random.Generator
    days: int

    def report(self, at: float, factor: float = 1.0) -> Event:
        up = max(1, round(self.device.up.draw(self.rng) * factor))
        return Event(at, "report", up, self.device.down.draw(self.rng))

    def command(self, at: float, factor: float = 1.0) -> Event:
        up = max(1, round(self.device.up.draw(self.rng) * factor))
        return Event(at, "command", up, self.device.down.draw(self.rng))

    def spells(self) -> list[tuple[float, float]]:
        return spells(self.device, self.rng, days=self.days)

    def beats(self) -> Iterator[float]:
        """The regular beat: a phase of the device, a period, a jitter."""
        beat, rule = self.device.beat, self.device.profile.flow_period_s
        jitter = getattr(rule, "jitter_s", 0.0)
        for number in range(int(self.days * DAY_S / beat.period_s) + 1):
            yield abs(number * beat.period_s + beat.phase_s + float(self.rng.uniform(-jitter, jitter)))

    def inside(self, start: float, end: float) -> Iterator[float]:
        """The fast beat inside a spell."""
        at = start
        while at < end:
            yield at
            at += self.device.beat.active_s * float(self.rng.uniform(0.9, 1.1))


def _smoke_sensor(diary: _Diary) -> Iterator[Event]:
    """Heartbeats, some of them bare registration updates; alarms repeat a small notice every 10-30 s."""
    bare = 0.6 if diary.device.beat.polled else 0.1
    for at in diary.beats():
        if diary.rng.random() < bare:
            yield Event(at, "beat")
        else:
            yield diary.report(at)
    for start, end in diary.spells():
        at = start
        while at < end:
            yield Event(at, "report", int(diary.rng.integers(30, 45)), 8)
            at += float(diary.rng.uniform(10, 30))


def _water_meter(diary: _Diary) -> Iterator[Event]:
    """One report in the night window; a failed night is made up by day; some makers split it in three."""
    rule, beat = diary.device.profile.flow_period_s, diary.device.beat
    if not isinstance(rule, Periodic) or rule.window_h is None:
        raise ValueError(
            f"{diary.device.profile.id}.flow_period_s must be periodic with a window_h, but is {rule}"
        )
    low, high = (hour * HOUR_S for hour in rule.window_h)
    own = low + beat.phase_s / beat.period_s * (high - low)
    parts = 3 if diary.device.firmware.report == "post" and diary.device.maker else 1
    for day in range(diary.days):
        at = float(np.clip(diary.rng.normal(own, rule.jitter_s / 6), low, high))
        if diary.rng.random() < 0.06:
            at = float(diary.rng.uniform(0, DAY_S))
        for part in range(parts):
            yield diary.report(day * DAY_S + at + part * diary.rng.uniform(3, 9), 1 / parts)
        if diary.rng.random() < 0.08:
            yield diary.command(day * DAY_S + at + 12, 0.3)
    for start, _ in diary.spells():
        yield diary.report(start)


def _bike_lock(diary: _Diary) -> Iterator[Event]:
    """Parked, a report every few hours; a ride is unlocked by the platform or over Bluetooth, then told."""
    for at in diary.beats():
        yield diary.report(at)
    for start, end in diary.spells():
        if diary.rng.random() < 0.85:
            yield diary.command(start)
        else:
            yield diary.report(start)
        for at in diary.inside(start + diary.device.beat.active_s, end):
            yield diary.report(at)
        yield diary.report(end + 2, 1.2)


def _asset_tracker(diary: _Diary) -> Iterator[Event]:
    """Still, a report each hour or so; moving, one every 10-60 s; a command is rare."""
    for at in diary.beats():
        yield diary.report(at)
    for start, end in diary.spells():
        if diary.rng.random() < 0.1:
            yield diary.command(start)
        for at in diary.inside(start + 1, end):
            yield diary.report(at)


def _vehicle_tbox(diary: _Diary) -> Iterator[Event]:
    """Parked, a sign each hour or so; on a trip a record every 10-30 s, sometimes a command before it."""
    for at in diary.beats():
        yield diary.report(at, 0.5)
    for start, end in diary.spells():
        if diary.rng.random() < 0.15:
            yield diary.command(start - diary.rng.uniform(30, 300))
        yield diary.report(start, 1.5)
        for at in diary.inside(start + 2, end):
            yield diary.report(at)
        yield diary.report(end + 1, 1.2)


def _electric_meter(diary: _Diary) -> Iterator[Event]:
    """Readings on the clock grid, the platform asking first where it polls; a freeze after midnight."""
    asks = diary.device.service.kind.stack == "private"
    for at in diary.beats():
        yield diary.command(at) if asks else diary.report(at)
    for day in range(diary.days):
        at = day * DAY_S + diary.device.beat.phase_s + diary.rng.uniform(5, 240)
        for part in range(int(diary.rng.integers(2, 5))):
            yield diary.command(at + 4 * part, 1.6) if asks else diary.report(at + 4 * part, 1.6)
    for start, _ in diary.spells():
        yield diary.command(start)


def _street_light(diary: _Diary) -> Iterator[Event]:
    """Reports or polls on a beat; at dusk and dawn the platform switches the whole street within minutes."""
    for at in diary.beats():
        yield diary.command(at) if diary.device.beat.polled else diary.report(at)
    for day in range(diary.days):
        for hour in diary.device.site.switching_h:
            at = day * DAY_S + hour * HOUR_S + diary.rng.uniform(0, 300)
            yield diary.command(at, 0.8)
            yield diary.report(at + diary.rng.uniform(5, 60))
    for start, _ in diary.spells():
        yield diary.command(start)


def _pos_terminal(diary: _Diary) -> Iterator[Event]:
    """A payment each; the day is settled after closing."""
    for start, _ in diary.spells():
        yield diary.report(start)
    for day in range(diary.days):
        yield diary.report(day * DAY_S + diary.rng.uniform(21.5, 22.5) * HOUR_S, 1.5)


_TYPES: dict[str, Callable[[_Diary], Iterator[Event]]] = {
    "smoke_sensor": _smoke_sensor,
    "water_meter": _water_meter,
    "bike_lock": _bike_lock,
    "asset_tracker": _asset_tracker,
    "vehicle_tbox": _vehicle_tbox,
    "electric_meter": _electric_meter,
    "street_light": _street_light,
    "pos_terminal": _pos_terminal,
}
