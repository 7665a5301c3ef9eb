"""What the MME knows of devices: periodic updates when nothing else was heard of them, and whom it gives up."""

from dataclasses import dataclass

import numpy as np

from evaluation.simulation.province.daylong import Daylong, expose_at
from evaluation.simulation.province.faults import DAY_S, Happening
from evaluation.simulation.province.steps_core import update_chance
from evaluation.simulation.province.tally import Tally
from evaluation.simulation.province.topology import Area, generator

DEFAULT_T3412_S = 3240.0  # 54 min, 3GPP TS 24.301
_GRACE_S = 240.0  # of the mobile reachable timer, 3GPP TS 24.301
_AT_LEAST_S = 60.0  # a contact just before the timer runs out saves the update
_STUBBORN_EVERY = (
    20  # one module in so many keeps the timers that it asked for, whatever it is granted; judgement
)
_TRIES = 2  # of an update, before the MME gives the device up
_UNREGISTERED = ("sim_absent", "misused", "account_inactive", "apn_wrong")  # by which a device cannot update


@dataclass(frozen=True)
class Registered:
    """What the MME saw on a day. updates: periodic ones of each device. tally: rows are those of device, at_s."""

    tally: Tally
    device: np.ndarray
    at_s: np.ndarray
    updates: np.ndarray
    last_s: np.ndarray


@dataclass(frozen=True)
class Served:
    """before_s: when each device was last served before a day. device, at_s: who was served when on it."""

    before_s: np.ndarray
    device: np.ndarray
    at_s: np.ndarray


def follow(area: Area, day: int, served: Served, faults: list[Happening], all_day: Daylong) -> Registered:
    """Return the periodic updates of a day and whom the MME gives up."""
    last_s, device, at_s = served.before_s, served.device, served.at_s
    rng, size = generator(area.plan, 22, area.number, day), len(area.devices)
    own = np.flatnonzero(area.devices.service < 2)
    asked_s = _asked_s(area)
    granted = rng.random(size) >= all_day.mean("timer_mismatch")
    mme_s = np.where(granted, asked_s, np.minimum(DEFAULT_T3412_S, asked_s))
    timer_s = np.where(np.arange(size) % _STUBBORN_EVERY == 0, asked_s, mme_s)
    able = np.max([all_day.share(name) for name in _UNREGISTERED], axis=0) < 0.5
    start, end, who = _gaps(day, last_s, own, device, at_s)
    who_updates, due_s = _due(day, start, end, np.where(able, timer_s, np.inf)[who], who)
    pressure = expose_at(area, faults, who_updates, due_s)
    chance = update_chance(area, pressure, due_s)
    ok = rng.random(len(due_s)) < chance
    failed = ~ok & (rng.random(len(due_s)) >= chance)
    gone = np.zeros(size, bool)
    gone[who_updates[failed]] = True
    silent_s = np.minimum(end - start, np.where(able, timer_s, np.inf)[who])
    given_up_s = start + mme_s[who] + _GRACE_S
    missed = (silent_s > mme_s[who] + _GRACE_S) & (given_up_s >= day * DAY_S) & (given_up_s < end)
    gone[who[missed]] = True
    tally, updates = Tally(), np.arange(len(due_s))
    tally.ratio("tau_succ/tau_att", updates, ok)
    tally.ratio("implicit_detach/registered_device_days", len(due_s) + np.arange(len(own)), gone[own])
    last = last_s.copy()
    np.maximum.at(last, device, at_s)
    np.maximum.at(last, who_updates[~failed], due_s[~failed])
    at = np.concatenate([due_s, day * DAY_S + rng.random(len(own)) * DAY_S])
    return Registered(
        tally, np.concatenate([who_updates, own]), at, np.bincount(who_updates, minlength=size), last
    )


def _asked_s(area: Area) -> np.ndarray:
    """Return the periodic update timer that each device asks for, s."""
    patterns = area.plan.patterns
    sensor, lock = patterns.smoke_sensor.timers.t3412ext_s, patterns.bike_sharing.timers.t3412ext_s
    return np.where(area.devices.service == 0, sensor, lock)


def _gaps(
    day: int, last_s: np.ndarray, own: np.ndarray, device: np.ndarray, at_s: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return begin, end and device of each stretch in which a device was not served, that touches the day."""
    who = np.concatenate([own, device, own])
    at = np.concatenate([last_s[own], at_s, np.full(len(own), (day + 1) * DAY_S)])
    order = np.lexsort((at, who))
    who, at = who[order], at[order]
    same = who[1:] == who[:-1]
    return at[:-1][same], at[1:][same], who[1:][same]


def _due(
    day: int, start: np.ndarray, end: np.ndarray, timer_s: np.ndarray, who: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return device and moment of the updates that fall due on a day: one each time the timer ran out in a gap."""
    all_of_it = np.floor(np.maximum(end - start - _AT_LEAST_S, 0.0) / timer_s).astype("int64")
    before = np.floor(np.maximum(day * DAY_S - start, 0.0) / timer_s).astype("int64")
    each = np.maximum(all_of_it - before, 0)
    gap = np.repeat(np.arange(len(each)), each)
    turn = np.arange(len(gap)) - np.repeat(np.cumsum(each) - each, each) + before[gap] + 1
    return who[gap], start[gap] + turn * timer_s[gap]
