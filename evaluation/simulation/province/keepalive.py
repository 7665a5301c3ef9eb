"""Sessions of locks over MQTT: kept by pings, renewed when their token ends; what ends one, and the login after it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.simulation.province import bikes, moment, steps_core, steps_platform, steps_radio
from evaluation.simulation.province.attempts import Attempts, made
from evaluation.simulation.province.bikes import Parked, Trips
from evaluation.simulation.province.faults import DAY_S, Happening
from evaluation.simulation.province.moment import Moment
from evaluation.simulation.province.steps_platform import RENEWED_S
from evaluation.simulation.province.tally import Tally
from evaluation.simulation.province.topology import Area, generator

_SHORTEST_S, _LONGEST_S = 900.0, 14_400.0  # between two pings that are followed
_TCP_TRIES = 3  # of a ping that did not get through the air
_LOGIN_AFTER_S = (60.0, 400.0)


@dataclass(frozen=True)
class Ends:
    """Sessions that ended, one value each. abnormal: without a goodbye. lost: the lock is offline until it logs in."""

    device: np.ndarray
    at_s: np.ndarray
    cell: np.ndarray
    abnormal: np.ndarray
    lost: np.ndarray


def follow(
    area: Area, day: int, faults: list[Happening], *, charge: np.ndarray, where: tuple[Parked, Trips]
) -> tuple[Ends, Attempts]:
    """Return the sessions that end on a day, and the logins of those that were lost.

    where: the bikes stood before the day, and their trips. A lock that fails again and again logs in at the 1st, 2nd,
    4th, 8th ... ping of those.
    """
    rng, every_s = generator(area.plan, 21, area.number, day), _ping_every_s(area)
    locks = np.flatnonzero(
        (area.devices.service == 1) & ~moment.lwm2m_fleet(area, np.arange(len(area.devices)))
    )
    pings = int(DAY_S / every_s)
    device, turn = np.repeat(locks, pings), np.tile(np.arange(pings), len(locks))
    at = day * DAY_S + (turn + rng.random(len(device))) * every_s
    x, y, extra = bikes.where(device, at, *where)
    found = moment.find(
        area, made(device, at, "bk_keep_alive", x, y, extra_db=extra), faults, charge=charge, dice=rng
    )
    kept = _pinged(found, every_s)
    renews = kept & (np.floor((turn + 1) * every_s / RENEWED_S) > np.floor(turn * every_s / RENEWED_S))
    refused = np.zeros(len(device), bool)
    refused[renews] = ~_renewed(found, np.flatnonzero(renews))
    ended = np.flatnonzero(~kept | renews)
    lost = ~kept | refused
    ends = Ends(device[ended], at[ended], found.cell[ended], ~kept[ended], lost[ended])
    again = np.flatnonzero(lost & _is_power_of_two(_run(lost, pings)))
    login_s = at[again] + rng.uniform(*_LOGIN_AFTER_S, len(again))
    again, login_s = again[login_s < (day + 1) * DAY_S], login_s[login_s < (day + 1) * DAY_S]
    login = made(device[again], login_s, "bk_lock_online", x[again], y[again], extra_db=extra[again])
    return _but_of_dead(ends, found, ended), login


def by_failure(again: Moment) -> Ends:
    """Return the sessions that ended because a report failed or a battery broke down: their logins are here."""
    rows = np.flatnonzero(again.own & (again.attempts.process == "bk_lock_online") & ~again.lwm2m)
    yes = np.ones(len(rows), bool)
    return Ends(
        again.attempts.device[rows], again.attempts.at_s[rows], again.cell[rows], yes, np.zeros_like(yes)
    )


def joined_ends(parts: Sequence[Ends]) -> Ends:
    """Return all of them, part after part."""
    return Ends(*(np.concatenate([getattr(p, name) for p in parts]) for name in Ends.__dataclass_fields__))


def counted(ends: Ends) -> Tally:
    """Count the sessions that ended, and those of them without a goodbye."""
    tally = Tally()
    tally.ratio("mqtt_abnormal/mqtt_ended", np.arange(len(ends.device)), ends.abnormal)
    return tally


def _ping_every_s(area: Area) -> float:
    """Return how often a ping is followed, s: a whole number of times a day, near what the lock does."""
    wanted = np.clip(area.plan.patterns.bike_sharing.timers.mqtt_keepalive_s, _SHORTEST_S, _LONGEST_S)
    return float(DAY_S / np.round(DAY_S / wanted))


def _but_of_dead(ends: Ends, found: Moment, rows: np.ndarray) -> Ends:
    """Leave out what a broker cannot count: the second and later ends of a lock that sends nothing."""
    first = np.append(True, ends.device[1:] != ends.device[:-1]) if len(rows) else np.zeros(0, bool)
    kept = first | ~found.silent[rows]
    return Ends(*(getattr(ends, name)[kept] for name in Ends.__dataclass_fields__))


def _pinged(found: Moment, every_s: float) -> np.ndarray:
    """Return which pings are answered: through the air at one of three tries, then through core and platform.

    every_s: between the pings that are followed; a flow that a firewall forgot ends the session as often as it idles.
    """
    left, answered = np.flatnonzero(~found.silent), np.zeros(len(found), bool)
    for _ in range(_TCP_TRIES):
        through = _to_the_core(found, left)
        ok, _ = steps_platform.exchange(found, through)
        answered[through[ok]] = True
        left = np.setdiff1d(left, through)
    idle = every_s / found.area.plan.patterns.bike_sharing.timers.mqtt_keepalive_s
    rows = np.arange(len(found))
    moved = 1.0 - (1.0 - steps_platform.flow_moved(found, rows)) ** max(idle, 1.0)
    return np.asarray(answered & ~found.happens(rows, moved))


def _to_the_core(found: Moment, rows: np.ndarray) -> np.ndarray:
    for step in (
        steps_radio.synchronise, steps_radio.random_access, steps_radio.connect, steps_core.service_request,
    ):  # fmt: skip
        rows = rows[step(found, rows)[0]]
    return rows


def _renewed(found: Moment, rows: np.ndarray) -> np.ndarray:
    """Return which sessions live on with a new token: the platform's name is resolved, and the login accepted."""
    known, _ = steps_platform.resolve(found, rows)
    return np.asarray(known & ~found.stale[rows] & steps_platform.authenticate(found, rows))


def _run(bad: np.ndarray, each: int) -> np.ndarray:
    """Return how many in a row are bad up to each value, of `each` values a lock."""
    rows = np.arange(len(bad))
    good = np.where(bad, -1, rows)
    good = np.maximum(np.maximum.accumulate(good), rows // each * each - 1)
    return np.asarray(rows - good)


def _is_power_of_two(number: np.ndarray) -> np.ndarray:
    return np.asarray((number > 0) & (number & (number - 1) == 0))
