"""Devices that were taken away: out of their walls, and on the way with whoever took them."""

from dataclasses import replace

import numpy as np

from evaluation.simulation.province.attempts import Attempts
from evaluation.simulation.province.daylong import QUARTERS, Daylong
from evaluation.simulation.province.faults import DAY_S
from evaluation.simulation.province.presence import GRID_S
from evaluation.simulation.province.topology import Area, generator

_STOP_S = 3600.0  # from one place to the next; judgement


def taken(area: Area, all_day: Daylong, attempts: Attempts) -> Attempts:
    """Return attempts of a day, those of devices that were taken away where they are by then, behind no wall."""
    away = all_day.at_quarters("tampered") > 0
    if not away.any():
        return attempts
    device = np.maximum(attempts.device, 0)
    rows = np.flatnonzero((attempts.device >= 0) & away[device, _quarter(attempts.at_s)])
    x, y, extra = attempts.x_km.copy(), attempts.y_km.copy(), attempts.extra_db.copy()
    x[rows], y[rows] = _where(area, attempts.device[rows], attempts.at_s[rows])
    extra[rows] = -_wall_db(area, attempts.device[rows])
    return replace(attempts, x_km=x, y_km=y, extra_db=extra)


def cell_changes(area: Area, day: int, all_day: Daylong) -> np.ndarray:
    """Return how often each device changes its cell while it is on the way."""
    away = all_day.at_quarters("tampered") > 0
    device, quarter = np.nonzero(away)
    x, y = _where(area, device, day * DAY_S + (quarter + 0.5) * GRID_S)
    cell = area.nrsrp(device, x, y).argmax(axis=1) if len(device) else device
    moved = (np.diff(cell) != 0) & (np.diff(device) == 0)
    return np.asarray(np.bincount(device[1:], moved, len(away)) if len(device) else np.zeros(len(away)))


def is_away(all_day: Daylong, device: np.ndarray, at_s: np.ndarray) -> np.ndarray:
    """Return which devices are away from where they belong at some moments of a day."""
    return np.asarray(all_day.at_quarters("tampered")[device, _quarter(at_s)] > 0)


def _quarter(at_s: np.ndarray) -> np.ndarray:
    return np.asarray(np.minimum((at_s % DAY_S // GRID_S).astype("int64"), QUARTERS - 1))


def _wall_db(area: Area, device: np.ndarray) -> np.ndarray:
    """Return what walls take at home: all that stands between a device and its cells but its own antenna."""
    own = area.plan.settings.antenna_loss_db
    antenna = np.where(area.devices.service[device] == 0, own.smoke_sensor, own.bike_sharing)
    return np.asarray(area.devices.wall_db[device] - antenna)


def _where(area: Area, device: np.ndarray, at_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y, km: from place to place within the area, hour by hour, straight on."""
    if not len(device):
        return np.zeros(0), np.zeros(0)
    stops = int(area.plan.days * DAY_S / _STOP_S) + 2
    cells, x, y = area.cells, np.empty(len(device)), np.empty(len(device))
    for one in np.unique(device).tolist():
        rows, rng = np.flatnonzero(device == one), generator(area.plan, 23, area.number, one)
        hours = at_s[rows] / _STOP_S
        for out, at in ((x, cells.x_km), (y, cells.y_km)):
            places = rng.uniform(at.min() - area.radius_km, at.max() + area.radius_km, stops)
            out[rows] = np.interp(hours, np.arange(stops), places)
    return x, y
