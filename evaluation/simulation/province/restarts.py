"""Devices that a firmware defect restarts over and over, each time with a registration."""

import numpy as np

from evaluation.simulation.province import bikes, moment
from evaluation.simulation.province.attempts import Attempts, joined, made
from evaluation.simulation.province.bikes import Parked, Trips
from evaluation.simulation.province.daylong import QUARTERS, Daylong
from evaluation.simulation.province.faults import DAY_S
from evaluation.simulation.province.keepalive import Ends
from evaluation.simulation.province.presence import GRID_S
from evaluation.simulation.province.topology import Area, generator

_TRIES = {0: ("ss_onboarding", 1), 1: ("bk_lock_online", 4)}  # of registration after a restart, by service
_BOOT_S, _NEXT_S = 30.0, 60.0


def follow(
    area: Area, day: int, all_day: Daylong, *, where: tuple[Parked, Trips]
) -> tuple[np.ndarray, Ends, Attempts]:
    """Return how often each device restarts on a day, the sessions that end so, and the registrations that follow."""
    rng = generator(area.plan, 25, area.number, day)
    often = all_day.at_quarters("firmware_loop") / QUARTERS * (area.devices.service < 2)[:, None]
    device, quarter = np.nonzero(often > 0)
    each = rng.poisson(often[device, quarter])
    device, quarter = np.repeat(device, each), np.repeat(quarter, each)
    at = day * DAY_S + (quarter + rng.random(len(device))) * GRID_S
    parts = [_registers(device[own], at[own], service, where) for service, own in _by_service(area, device)]
    x, y, _ = bikes.where(device, at, *where)
    cell = area.nrsrp(device, x, y).argmax(axis=1) if len(device) else device
    broker = (area.devices.service[device] == 1) & ~moment.lwm2m_fleet(area, device)
    ends = Ends(
        device[broker], at[broker], cell[broker], *(np.ones(int(broker.sum()), bool) for _ in range(2))
    )
    return np.bincount(device, minlength=len(area.devices)), ends, joined(parts)


def _by_service(area: Area, device: np.ndarray) -> list[tuple[int, np.ndarray]]:
    return [(service, np.flatnonzero(area.devices.service[device] == service)) for service in _TRIES]


def _registers(device: np.ndarray, at_s: np.ndarray, service: int, where: tuple[Parked, Trips]) -> Attempts:
    """Return the registrations after restarts at some moments, those of the same day."""
    process, tries = _TRIES[service]
    which, turn = np.repeat(np.arange(len(device)), tries), np.tile(np.arange(tries), len(device))
    at = at_s[which] + _BOOT_S + _NEXT_S * turn
    same_day = np.floor(at / DAY_S) == np.floor(at_s[which] / DAY_S)
    which, at = which[same_day], at[same_day]
    x, y, extra = bikes.where(device[which], at, *where)
    return made(device[which], at, process, x, y, extra_db=extra)
