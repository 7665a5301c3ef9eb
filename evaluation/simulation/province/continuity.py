"""Gaps between heard heartbeats, from day to day: which device-days have one that is too long, and why."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.simulation.province.faults import DAY_S, Happening
from evaluation.simulation.province.topology import Area

GAP_PERIODS = 1.5  # configs/services/smoke_sensor.yaml, ss_online_continuity
_NO_FAULT = ""


@dataclass(frozen=True)
class Beats:
    """What is remembered of each device. last_s: its last heard heartbeat; missed: number of the fault of one lost
    since, empty for none.
    """

    last_s: np.ndarray
    missed: np.ndarray


@dataclass(frozen=True)
class Continuity:
    """One value a device. gap_s: the longest gap that touches the day. ok: heard, and no gap too long.

    blame: place of a fault in those of the day, and after them in `earlier`: numbers of faults that are over.
    """

    gap_s: np.ndarray
    ok: np.ndarray
    blame: np.ndarray
    earlier: tuple[str, ...]


def begin(area: Area) -> Beats:
    """Return what is remembered before the first day: every device was heard when it was due."""
    at = area.devices
    return Beats(at.phase_s - at.heartbeat_s, np.full(len(at), _NO_FAULT, dtype=object))


@dataclass(frozen=True)
class Due:
    """Heartbeats that were due, one value each. heard_s: NaN where it was not; blame: a place in faults, or -1."""

    device: np.ndarray
    at_s: np.ndarray
    heard_s: np.ndarray
    blame: np.ndarray


def follow(
    area: Area, day: int, beats: Beats, due: Due, faults: Sequence[Happening]
) -> tuple[Continuity, Beats]:
    """Return how continuously devices were heard on a day, and what is remembered after it."""
    device, at_s, heard_s, blame = due.device, due.at_s, due.heard_s, due.blame
    heard = ~np.isnan(heard_s)
    start, last_s = _longest(day, beats, device[heard], heard_s[heard])
    gap = start[1] - start[0]
    ok = (last_s >= day * DAY_S) & (gap <= GAP_PERIODS * area.devices.heartbeat_s)
    numbers = np.array([*(h.number for h in faults), _NO_FAULT], dtype=object)
    lost = np.flatnonzero(~heard & (blame >= 0))
    lost = lost[np.argsort(at_s[lost], kind="stable")]
    who, why = device[lost], numbers[blame[lost]]
    reason = np.where(start[0] < day * DAY_S, beats.missed, _NO_FAULT)
    inside = (at_s[lost] >= start[0][who]) & (at_s[lost] <= start[1][who])
    reason[who[inside]] = why[inside]  # in order: the last one stays
    missed = np.where(last_s >= day * DAY_S, _NO_FAULT, beats.missed)
    since = at_s[lost] > last_s[who]
    missed[who[since]] = why[since]
    earlier = tuple(sorted(set(reason.tolist()) - set(numbers.tolist())))
    place = {number: n for n, number in enumerate([*numbers[:-1], *earlier])}
    named = np.array([place.get(number, -1) for number in reason.tolist()], "int64")
    return Continuity(gap, ok, named, earlier), Beats(last_s, missed)


def _longest(
    day: int, beats: Beats, device: np.ndarray, heard_s: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Return where the longest gap of each device begins and ends, one that is open at midnight too; its last beat."""
    order = np.lexsort((heard_s, device))
    device, heard_s = device[order], heard_s[order]
    last_s = beats.last_s.copy()
    last_s[device] = heard_s  # in order: the last one stays
    fresh = np.ones(len(device), bool)
    fresh[1:] = device[1:] != device[:-1]
    before = np.where(fresh, beats.last_s[device], np.roll(heard_s, 1))
    size = len(last_s)
    who = np.concatenate([device, np.arange(size)])
    begins = np.concatenate([before, last_s])
    ends = np.concatenate([heard_s, np.full(size, (day + 1) * DAY_S)])
    order = np.lexsort((ends - begins, who))
    start, end = np.zeros(size), np.zeros(size)
    start[who[order]], end[who[order]] = begins[order], ends[order]
    return (start, end), last_s
