"""Who is online when: the platform's view of registrations and sessions, from contacts."""

from dataclasses import dataclass

import numpy as np

from evaluation.simulation.province.faults import DAY_S
from evaluation.simulation.province.topology import Area

GRID_S = 900.0


@dataclass
class Known:
    """What is remembered of each device of an area from day to day. last_s: its last contact; online: then."""

    last_s: np.ndarray
    online: np.ndarray
    cell: np.ndarray


@dataclass(frozen=True)
class Presence:
    """One value per device and quarter of an hour: device, moment, whether online, and the cell it was last in."""

    device: np.ndarray
    at_s: np.ndarray
    online: np.ndarray
    cell: np.ndarray


def begin(area: Area) -> Known:
    """Return what is known before the first day: every device was heard when it was due."""
    at = area.devices
    return Known(at.phase_s - at.heartbeat_s, np.ones(len(at), bool), area.home_cell.copy())


@dataclass(frozen=True)
class Contacts:
    """Attempts of devices on a day, one value each."""

    device: np.ndarray
    at_s: np.ndarray
    heard: np.ndarray
    cell: np.ndarray


def follow(
    area: Area, day: int, known: Known, contacts: Contacts, *, lifetime_ratio: np.ndarray
) -> tuple[Presence, Known]:
    """Return who was online on a day, and what is known after it.

    lifetime_ratio: of each device and quarter of an hour.
    """
    order = np.lexsort((contacts.at_s, contacts.device))
    device, at_s = contacts.device[order], contacts.at_s[order]
    heard, cell = contacts.heard[order], contacts.cell[order]
    own = np.flatnonzero(area.devices.service < 2)
    steps = int(DAY_S / GRID_S)
    who = np.repeat(own, steps)
    grid = day * DAY_S + (np.tile(np.arange(steps), len(own)) + 0.5) * GRID_S
    start = day * DAY_S
    last = np.searchsorted(device * 2 * DAY_S + (at_s - start), who * 2 * DAY_S + (grid - start), "right") - 1
    today = (last >= 0) & (device[np.maximum(last, 0)] == who) if len(device) else np.zeros(len(who), bool)
    last = np.maximum(last, 0)
    contact = _last_contact(device, at_s, heard, known)
    since = np.where(today, contact[last], known.last_s[who]) if len(device) else known.last_s[who]
    lock = area.devices.service[who] == 1
    session = np.where(today, heard[last], known.online[who]) if len(device) else known.online[who]
    timers = area.plan.patterns.bike_sharing.timers
    lifetime = np.where(
        lock,
        timers.lwm2m_lifetime_s,
        area.devices.heartbeat_s[who] * area.usual_lifetime(lifetime_ratio[own].ravel()),
    )
    online = (grid - since < lifetime) & (session | ~lock)
    at_cell = np.where(today, cell[last], known.cell[who]) if len(device) else known.cell[who]
    return Presence(who, grid, online, at_cell), _remember(known, device, contact, heard, cell)


def _last_contact(device: np.ndarray, at_s: np.ndarray, heard: np.ndarray, known: Known) -> np.ndarray:
    """Return the last contact at or before each attempt, of attempts in the order of device and time."""
    if not len(device):
        return at_s
    row = np.where(heard, np.arange(len(device)), -1)
    row = np.maximum.accumulate(row)
    same = (row >= 0) & (device[np.maximum(row, 0)] == device)
    return np.where(same, at_s[np.maximum(row, 0)], known.last_s[device])


def _remember(
    known: Known, device: np.ndarray, contact: np.ndarray, heard: np.ndarray, cell: np.ndarray
) -> Known:
    last_s, online, at_cell = known.last_s.copy(), known.online.copy(), known.cell.copy()
    last_s[device], online[device], at_cell[device] = contact, heard, cell  # in order: the last attempt stays
    return Known(last_s, online, at_cell)
