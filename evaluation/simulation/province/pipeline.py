"""One day of one tracking area: attempts, what becomes of them, and what everybody counts."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.process import Process
from evaluation.simulation.province import (
    background,
    bikes,
    blame,
    continuity,
    daylong,
    moment,
    presence,
    retries,
    sessions,
    smoke,
)
from evaluation.simulation.province.attempts import Attempts, joined, made
from evaluation.simulation.province.bikes import Parked
from evaluation.simulation.province.catalogue import TrafficPatterns
from evaluation.simulation.province.continuity import Beats, Continuity
from evaluation.simulation.province.daylong import QUARTERS, Daylong, expose_at
from evaluation.simulation.province.faults import DAY_S, Exposed, Exposure, Happening, expose
from evaluation.simulation.province.moment import Moment
from evaluation.simulation.province.presence import Known, Presence
from evaluation.simulation.province.sessions import Gauges, Sessions
from evaluation.simulation.province.tally import Place, Tally
from evaluation.simulation.province.topology import Area, generator
from evaluation.simulation.province.walk import MAX_STEPS, Outcome, walk
from features.indicators import Scope

_AFTER_CONTACT = (
    "rule engine", "push to fire platform", "status to application", "position to application", "settlement",
    "confirmation to rider", "actuate", "unlock report",
)  # fmt: skip  # steps after whose start the platform has heard the device
_PATIENCE = 0.5  # of a period: a heartbeat this late still counts
_DETACHED = 0.005  # implicit detaches a device-day that nobody explains
_REPORT_S, _REPORTS_WITHIN_S = (
    23.4 * 3600.0,
    1500.0,
)  # of a day: when records are made, each device at its moment
_LOW, _LOW_RESTARTS = 15.0, 3.0  # % of charge below which a device restarts, so often a day
_FULL = 100.0


NOT_TRIED, FAILED, SUCCEEDED = -1, 0, 1
_FIX, _FRESH = 0.93, 0.985  # share of reports with a fix of their own, and with one that is not old
_REPORTS_POSITION = ("bk_ride_position", "bk_lock_settlement")


@dataclass(frozen=True)
class Walked:
    """Attempts of one kind of walk, the state they found, and how they ended.

    heard: whether the platform heard. motor, fix: NOT_TRIED, FAILED or SUCCEEDED, of the lock's motor and its receiver.
    fresh: whether the position told is not old.
    """

    moment: Moment
    outcome: Outcome
    heard: np.ndarray
    motor: np.ndarray
    fix: np.ndarray
    fresh: np.ndarray


@dataclass(frozen=True)
class Day:
    """All that happened. first, again: attempts, and what followed failed ones. facts: faults on devices at
    the moment of their record, one value a device; all_day: faults on them quarter by quarter. replaced: devices that
    got new cells. heartbeat_heard_s: when
    each first attempt was heard, NaN for never. extra: counters that are of no attempt.
    """

    number: int
    first: Walked
    again: Walked
    presence: Presence
    presence_known: Known
    facts: Exposure
    all_day: Daylong
    replaced: np.ndarray
    heartbeat_heard_s: np.ndarray
    continuity: Continuity
    online: Tally
    detached: Tally
    video: Sessions
    gauges: Gauges
    faults: list[Happening]
    processes: Mapping[str, Process]


@dataclass
class AreaState:
    """What an area keeps from day to day. battery: charge, %; weak: whose cells a fault had spoilt at midnight."""

    parked: Parked
    known: Known
    battery: np.ndarray
    weak: np.ndarray
    beats: Beats


def begin(area: Area) -> AreaState:
    """Return the state before the first day."""
    at = area.devices
    return AreaState(
        Parked(at.x_km.copy(), at.y_km.copy(), np.zeros(len(at))),
        presence.begin(area),
        at.battery.copy(),
        np.zeros(len(at), bool),
        continuity.begin(area),
    )


def live(
    area: Area,
    day: int,
    state: AreaState,
    faults: list[Happening],
    *,
    patterns: TrafficPatterns,
    processes: Mapping[str, Process],
) -> tuple[Day, AreaState]:
    """Return what happened on a day, and the state after it. processes: of the IoT services, by id."""
    rng = generator(area.plan, 5, area.number, day)
    weekend = (area.plan.settings.start.weekday() + day) % 7 >= 5
    facts = expose_at(area, faults, np.arange(len(area.devices)), report_moments_s(area, day))
    all_day = daylong.observe(area, day, faults)
    replaced, weak = _new_cells(all_day, state.weak)
    charge = np.where(replaced, _FULL, state.battery)
    trips = bikes.ride(area, day, state.parked, rng=rng, traffic=patterns.bike_sharing, weekend=weekend)
    attempts = joined(
        [
            smoke.live(area, day, rng=rng, traffic=patterns.smoke_sensor, faults=faults, weekend=weekend),
            bikes.live(area, day, state.parked, trips, rng=rng, traffic=patterns.bike_sharing),
            _restarts(area, day, all_day, charge, state.parked, rng),
            background.live(area, day, rng),
        ]
    )
    first = _walked(area, attempts, faults, charge, generator(area.plan, 6, area.number, day), processes)
    background.read_gauges(first.moment)
    more, follows = retries.follow_up(
        first.moment, first.outcome, alarm_every_s=patterns.smoke_sensor.alarm.repeat_every_s
    )
    again = _walked(area, more, faults, charge, generator(area.plan, 7, area.number, day), processes)
    heard = _count_heartbeats(area, first, again, follows)
    whole, beats = _continuity(area, day, state.beats, first, heard, faults, processes)
    seen, known = _follow(area, day, state.known, first, again, all_day)
    online, detached = _count_online(area, seen, faults, rng), _count_detached(area, day, known, all_day, rng)
    video = sessions.live(area, day, faults, traffic=patterns.video)
    gauges = sessions.gauges(area, day, faults)
    done = Day(
        day, first, again, seen, known, facts, all_day, replaced, heard, whole, online, detached, video, gauges,
        faults, processes,
    )  # fmt: skip
    return done, AreaState(bikes.after(state.parked, trips), known, state.battery, weak, beats)


def _walked(
    area: Area,
    attempts: Attempts,
    faults: list[Happening],
    charge: np.ndarray,
    dice: np.random.Generator,
    processes: Mapping[str, Process],
) -> Walked:
    found = moment.find(area, attempts, faults, charge=charge, dice=dice)
    outcome = walk(found, processes)
    heard = outcome.ok.copy()
    for name, process in processes.items():
        late = [step.seq for step in process.steps if step.name in _AFTER_CONTACT]
        heard |= (attempts.process == name) & np.isin(outcome.failed_step, late)
    heard &= found.of("server_wrong", np.arange(len(attempts))) == 0
    return Walked(found, outcome, heard, _motor(found, outcome, processes), *_fixes(found, dice))


def _motor(found: Moment, outcome: Outcome, processes: Mapping[str, Process]) -> np.ndarray:
    """Return what the motor of a lock did at each attempt."""
    moved = np.full(len(found), NOT_TRIED)
    for name, process in processes.items():
        rows = np.flatnonzero(found.attempts.process == name)
        for place, step in enumerate(process.steps[:MAX_STEPS]):
            if step.name == "actuate":
                tried = rows[outcome.step_ms[rows, place] >= 0]
                moved[tried] = np.where(outcome.failed_step[tried] == step.seq, FAILED, SUCCEEDED)
    return moved


def _fixes(found: Moment, dice: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return of each attempt that tells a position whether it has a fix, and whether the position is fresh.

    Both by one throw: a position is fresh with a fix of its own, and mostly when the last one is not old.
    """
    fix, fresh = np.full(len(found), NOT_TRIED), np.zeros(len(found), bool)
    rows = np.flatnonzero(found.own & ~found.silent & np.isin(found.attempts.process, _REPORTS_POSITION))
    throw, seen = dice.random(len(rows)), 1.0 - found.of("gnss_loss", rows)
    fix[rows] = np.where(throw < _FIX * seen, SUCCEEDED, FAILED)
    fresh[rows] = throw < _FRESH * seen
    return fix, fresh


def report_moments_s(area: Area, day: int) -> np.ndarray:
    """Return when the record of each device is made on a day, s since the province began."""
    return np.asarray(day * DAY_S + _REPORT_S + area.devices.phase_s % _REPORTS_WITHIN_S)


def _new_cells(all_day: Daylong, weak: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which devices get new cells on a day, for a fault of theirs ends, and whose are spoilt at its end."""
    on = all_day.quarters("battery_level") < _FULL
    replaced, after = weak.copy(), np.zeros_like(weak)
    before = np.column_stack([weak[all_day.devices], on])
    replaced[all_day.devices] = (before[:, :-1] & ~before[:, 1:]).any(axis=1)
    after[all_day.devices] = before[:, -1]
    return replaced, after


def restart_rate(all_day: Daylong, charge: np.ndarray) -> np.ndarray:
    """Return restarts a day of each device in each quarter: a firmware defect, a battery that is low but not empty."""
    level = np.minimum(all_day.at_quarters("battery_level"), charge[:, None])
    low = (level < _LOW) & (level > 0)
    return np.asarray(all_day.at_quarters("firmware_loop") + _LOW_RESTARTS * low)


def _restarts(
    area: Area, day: int, all_day: Daylong, charge: np.ndarray, parked: Parked, rng: np.random.Generator
) -> Attempts:
    """Return the registrations of devices that restart over and over, each while it has a reason to."""
    often = restart_rate(all_day, charge) / QUARTERS
    parts = []
    for service, process, each in ((0, "ss_onboarding", 1.0), (1, "bk_lock_online", 4.0)):
        own, quarter = np.nonzero((area.devices.service == service)[:, None] & (often > 0))
        count = rng.poisson(each * often[own, quarter])
        which, quarter = np.repeat(own, count), np.repeat(quarter, count)
        at = day * DAY_S + (quarter + rng.random(len(which))) * presence.GRID_S
        at = np.minimum(at, (day + 1) * DAY_S - 1.0)
        parts.append(
            made(which, at, process, parked.x_km[which], parked.y_km[which], extra_db=parked.extra_db[which])
        )
    return joined(parts)


def is_heartbeat(attempts: Attempts) -> np.ndarray:
    """Return which attempts are the periodic report that a platform expects."""
    parked = (attempts.process == "bk_ride_position") & ~attempts.riding
    return np.asarray((attempts.process == "ss_heartbeat") | parked)


def heard_by_s(area: Area, first: Walked, again: Walked, follows: np.ndarray) -> np.ndarray:
    """Return when each first attempt that is a heartbeat was heard, s, itself or by the retry that follows it.

    follows: the first attempt of each retry. NaN where none was heard in time, and where an attempt is no heartbeat.
    """
    attempts = first.moment.attempts
    beat = first.moment.own & is_heartbeat(attempts)
    at = np.where(beat & first.heard, attempts.at_s, np.nan)
    ended = again.moment.attempts.at_s + again.outcome.took_ms / 1000.0
    late = ended - attempts.at_s[follows]
    patience = _PATIENCE * area.devices.heartbeat_s[attempts.device[follows]]
    saved = again.heard & beat[follows] & ~first.heard[follows] & (late < patience)
    at[follows[saved]] = again.moment.attempts.at_s[saved]
    return at


def _count_heartbeats(area: Area, first: Walked, again: Walked, follows: np.ndarray) -> np.ndarray:
    """Count heartbeats expected and received; return when each was heard, NaN where it was not."""
    at = heard_by_s(area, first, again, follows)
    rows = np.flatnonzero(first.moment.own & is_heartbeat(first.moment.attempts))
    first.moment.tally.ratio("hb_recv/hb_expected", rows, ~np.isnan(at[rows]))
    return at


def _continuity(
    area: Area, day: int, beats: Beats, first: Walked, heard_s: np.ndarray, faults: list[Happening],
    processes: Mapping[str, Process],
) -> tuple[Continuity, Beats]:  # fmt: skip
    """Follow the heartbeats of sensors; a lost one blames what acts on the step where it was lost."""
    attempts = first.moment.attempts
    rows = np.flatnonzero(first.moment.own & (attempts.process == "ss_heartbeat"))
    blamed, lost = np.full(len(rows), -1), np.isnan(heard_s[rows])
    blamed[lost] = blame.of_attempts(
        first.moment, first.outcome, processes["ss_heartbeat"], rows[lost], faults=faults, other={}
    )
    return continuity.follow(
        area, day, beats, device=attempts.device[rows], at_s=attempts.at_s[rows], heard_s=heard_s[rows],
        blame=blamed, faults=faults,
    )  # fmt: skip


def _follow(
    area: Area, day: int, known: Known, first: Walked, again: Walked, all_day: Daylong
) -> tuple[Presence, Known]:
    parts = [(w, np.flatnonzero(w.moment.own & ~w.moment.silent)) for w in (first, again)]
    return presence.follow(
        area, day, known,
        device=np.concatenate([w.moment.attempts.device[rows] for w, rows in parts]),
        at_s=np.concatenate([w.moment.attempts.at_s[rows] for w, rows in parts]),
        heard=np.concatenate([w.heard[rows] for w, rows in parts]),
        cell=np.concatenate([w.moment.cell[rows] for w, rows in parts]),
        lifetime_ratio=all_day.at_quarters("lifetime_ratio"),
    )  # fmt: skip


def _count_online(area: Area, seen: Presence, faults: list[Happening], rng: np.random.Generator) -> Tally:
    tally = Tally()
    online = seen.online & _reachable(area, seen, faults, rng)
    tally.ratio(
        "online_s/activated_s", np.arange(len(seen.device)), online * presence.GRID_S, presence.GRID_S
    )
    return tally


def _reachable(area: Area, seen: Presence, faults: list[Happening], rng: np.random.Generator) -> np.ndarray:
    """Return who keeps the session while the platform's access, its name or the way back fails."""
    at = area.devices
    places = {
        "cell": seen.cell, "tac": np.full(len(seen.device), area.number), "mme": np.full(len(seen.device), area.mme),
        "platform_node": at.node[seen.device], "app": at.app[seen.device], "fleet": at.fleet[seen.device],
    }  # fmt: skip
    wanted = ("access_outage", "nat_timeout_s", "dns_reject", "cell_outage", "auth_reject", "firmware_loop")
    acting = [
        f for f in faults
        if f.scope in places and any(m.actuator in wanted for m in f.fault.mechanism) and f.fault.services != ("video",)
    ]  # fmt: skip
    nowhere = np.zeros(len(seen.device), bool)
    pressure = expose(
        acting, Exposed(seen.at_s, seen.device, nowhere, places), weekday=area.plan.settings.start.weekday()
    ).pressure
    lock = at.service[seen.device] == 1
    lost = (
        0.75 * pressure.of("access_outage")
        + 0.45 * pressure.of("cell_outage")
        + 0.25 * pressure.of("auth_reject")
    )
    lost = lost + lock * (0.3 * pressure.of("dns_reject") + 0.15 * (pressure.of("nat_timeout_s") < 900.0))
    lost = lost + 0.012 * pressure.of("firmware_loop")
    return np.asarray(rng.random(len(seen.device)) >= lost)


def _count_detached(area: Area, day: int, known: Known, all_day: Daylong, rng: np.random.Generator) -> Tally:
    """Count registered device-days, and whom the MME gives up: silent beyond its timers, or timers set otherwise."""
    tally, own = Tally(), np.flatnonzero(area.devices.service < 2)
    end = (day + 1) * DAY_S
    silent = end - known.last_s[own] > 1.25 * np.maximum(area.devices.heartbeat_s[own], DAY_S) + 0.5 * DAY_S
    just = silent & (
        end - known.last_s[own] < 1.25 * np.maximum(area.devices.heartbeat_s[own], DAY_S) + 1.5 * DAY_S
    )
    chance = _DETACHED + 0.06 * all_day.mean("timer_mismatch")[own]
    gone = just | (rng.random(len(own)) < chance)
    tally.ratio("implicit_detach/registered_device_days", np.arange(len(own)), gone)
    return tally


def places_of_tallies(area: Area, day: Day, windows: Mapping[Scope, int]) -> list[tuple[Tally, list[Place]]]:
    """Return each tally of a day with the places its rows count at."""
    rows = []
    for walked in (day.first, day.again):
        found = walked.moment
        since = found.attempts.at_s - day.number * DAY_S
        rows.append((found.tally, _places(area, found.places, since, windows)))
        rows.append((found.gauges, _places(area, found.places | {"cell": found.meant_cell}, since, windows)))
    own = np.flatnonzero(area.devices.service < 2)
    rng = generator(area.plan, 8, area.number, day.number)
    moments = ((day.online, day.presence.device, day.presence.at_s - day.number * DAY_S, day.presence.cell),
               (day.detached, own, rng.random(len(own)) * DAY_S, day.presence.cell[:0]))  # fmt: skip
    for tally, device, since, cell in moments:
        size, at = len(device), area.devices
        places = {
            "device": device, "tac": np.full(size, area.number), "mme": np.full(size, area.mme),
            "platform_node": at.node[device], "app": at.app[device], "fleet": at.fleet[device],
            "cell": cell if len(cell) else area.home_cell[device],
        }  # fmt: skip
        rows.append((tally, _places(area, places, since, windows)))
    for watched in (day.video, day.gauges):
        lte = np.where(watched.places["cell"] >= 0, watched.places["cell"] + len(area.cells), -1)
        since = watched.at_s - day.number * DAY_S
        rows.append((watched.tally, _places(area, watched.places | {"cell": lte}, since, windows)))
    return rows


def _places(
    area: Area, element: Mapping[str, np.ndarray], since_s: np.ndarray, windows: Mapping[Scope, int]
) -> list[Place]:
    elements = sizes(area)
    return [
        Place(
            scope,
            element[scope],
            elements[scope],
            np.clip(since_s, 0, DAY_S - 1).astype("int64") // seconds,
            int(DAY_S // seconds),
        )
        for scope, seconds in windows.items()
        if scope in element
    ]


def sizes(area: Area) -> dict[str, int]:
    """Return how many elements each scope has; cells are those of NB-IoT, then those of LTE."""
    shared = {name: len(ids) for name, ids in area.plan.names.items()}
    return {"device": len(area.devices), "cell": 2 * len(area.cells), **shared}
