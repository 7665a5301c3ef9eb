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
    gauges,
    keepalive,
    moment,
    phone_use,
    presence,
    registration,
    restarts,
    retries,
    sessions,
    smoke,
    wander,
)
from evaluation.simulation.province.actuators import Pressure
from evaluation.simulation.province.attempts import Attempts, joined
from evaluation.simulation.province.bikes import Parked
from evaluation.simulation.province.continuity import Beats, Continuity
from evaluation.simulation.province.daylong import Daylong, expose_at
from evaluation.simulation.province.faults import DAY_S, Happening
from evaluation.simulation.province.gauges import Gauges
from evaluation.simulation.province.keepalive import Ends
from evaluation.simulation.province.moment import Moment
from evaluation.simulation.province.phone_use import Browsing
from evaluation.simulation.province.presence import Known, Presence
from evaluation.simulation.province.registration import Registered
from evaluation.simulation.province.sessions import Sessions
from evaluation.simulation.province.tally import Tally
from evaluation.simulation.province.topology import Area, generator
from evaluation.simulation.province.walk import MAX_STEPS, Outcome, walk

_AFTER_CONTACT = (
    "rule engine", "push to fire platform", "status to application", "position to application", "settlement",
    "confirmation to rider", "actuate", "unlock report",
)  # fmt: skip  # steps after whose start the platform has heard the device
_PATIENCE = 0.5  # of a period: a heartbeat this late still counts
_REPORT_S, _REPORTS_WITHIN_S = (
    23.4 * 3600.0,
    1500.0,
)  # of a day: when records are made, each device at its moment
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
    """All that happened. first, again: attempts, and what followed failed ones; more: what followed those.

    presence, presence_known: of the platform; registered: of the MME; ends, ended: of sessions, and their count.
    facts: faults on devices at the moment of their record, one value a device; all_day: faults on them quarter by
    quarter. replaced: devices that got new cells. reboots: of each device, by a firmware defect. heartbeat_heard_s:
    when each first attempt was heard, NaN for never. faults: as they were on that day, in their order.
    """

    number: int
    first: Walked
    again: Walked
    more: tuple[Walked, ...]
    presence: Presence
    presence_known: Known
    online: Tally
    registered: Registered
    ends: Ends
    ended: Tally
    facts: Pressure
    all_day: Daylong
    replaced: np.ndarray
    reboots: np.ndarray
    browsing: Browsing
    heartbeat_heard_s: np.ndarray
    continuity: Continuity
    video: Sessions
    gauges: Gauges
    faults: list[Happening]
    processes: Mapping[str, Process]

    @property
    def walks(self) -> tuple[Walked, ...]:
        """All walks, in the order in which one follows another."""
        return (self.first, self.again, *self.more)


@dataclass(frozen=True)
class Scene:
    """What all steps of a day ask for. charge: of each device's battery in the morning, %."""

    area: Area
    day: int
    faults: list[Happening]
    all_day: Daylong
    charge: np.ndarray
    processes: Mapping[str, Process]


@dataclass
class AreaState:
    """What an area keeps from day to day. battery: charge, %; weak: whose cells a fault had spoilt at midnight.

    served_s: when the MME last heard each device.
    """

    parked: Parked
    known: Known
    battery: np.ndarray
    weak: np.ndarray
    beats: Beats
    served_s: np.ndarray


def begin(area: Area) -> AreaState:
    """Return the state before the first day."""
    at, known = area.devices, presence.begin(area)
    return AreaState(
        Parked(at.x_km.copy(), at.y_km.copy(), np.zeros(len(at))),
        known,
        at.battery.copy(),
        np.zeros(len(at), bool),
        continuity.begin(area),
        known.last_s.copy(),
    )


def live(
    area: Area, day: int, state: AreaState, faults: list[Happening], *, processes: Mapping[str, Process]
) -> tuple[Day, AreaState]:
    """Return what happened on a day, and the state after it. processes: of the IoT services, by id."""
    weekend = (area.plan.settings.start.weekday() + day) % 7 >= 5
    rng = generator(area.plan, 5, area.number, day)
    trips = bikes.ride(area, day, state.parked, rng=rng, weekend=weekend)
    faults = bikes.left_behind(area, faults, trips)
    all_day = daylong.observe(area, day, faults)
    trips = trips.take(~wander.is_away(all_day, trips.bike, trips.start_s))
    replaced, weak = _new_cells(all_day, state.weak)
    charge = np.where(replaced, _FULL, state.battery)
    where, scene = (state.parked, trips), Scene(area, day, faults, all_day, charge, processes)
    ends, logins = keepalive.follow(area, day, faults, charge=charge, where=where)
    reboots, booted, registers = restarts.follow(area, day, all_day, where=where)
    attempts = joined(
        [
            smoke.live(area, day, rng=rng, faults=faults, weekend=weekend),
            bikes.live(area, day, state.parked, trips, rng=rng),
            logins,
            registers,
            background.live(area, day, rng),
        ]
    )
    walks, follows = _all_walks(scene, wander.taken(area, all_day, attempts))
    first, again = walks[:2]
    heard = _count_heartbeats(area, first, again, follows)
    whole, beats = _continuity(scene, state.beats, first, heard)
    ends = keepalive.joined_ends([ends, booted, *(keepalive.by_failure(w.moment) for w in walks[1:])])
    seen, known = _follow(scene, state.known, walks, ends)
    registered = _registered(scene, state.served_s, walks)
    done = Day(
        day, first, again, walks[2:], seen, known, _count_online(seen, all_day), registered, ends,
        keepalive.counted(ends), expose_at(area, faults, np.arange(len(area.devices)), report_moments_s(area, day)),
        all_day, replaced, reboots, phone_use.browse(area, day, all_day), heard, whole,
        sessions.live(area, day, faults), gauges.live(area, day, faults), faults, processes,
    )  # fmt: skip
    after = bikes.after(state.parked, trips)
    return done, AreaState(after, known, state.battery, weak, beats, registered.last_s)


def _all_walks(scene: Scene, attempts: Attempts) -> tuple[tuple[Walked, ...], np.ndarray]:
    """Walk attempts, and what follows failed ones until nothing does; the first attempt of each of the second walk."""
    area, alarm = scene.area, scene.area.plan.patterns.smoke_sensor.alarm
    walks = [_walked(scene, attempts, generator(area.plan, 6, area.number, scene.day))]
    background.read_gauges(walks[0].moment)
    more, follows = retries.follow_up(walks[0].moment, walks[0].outcome, alarm=alarm, turn=0)
    while len(more) or len(walks) == 1:
        turn = len(walks)
        walks.append(_walked(scene, more, generator(area.plan, 7, area.number, scene.day, turn)))
        more, _ = retries.follow_up(walks[turn].moment, walks[turn].outcome, alarm=alarm, turn=turn)
    return tuple(walks), follows


def _walked(scene: Scene, attempts: Attempts, dice: np.random.Generator) -> Walked:
    found = moment.find(scene.area, attempts, scene.faults, charge=scene.charge, dice=dice)
    outcome = walk(found, scene.processes)
    heard = outcome.ok.copy()
    for name, process in scene.processes.items():
        late = [step.seq for step in process.steps if step.name in _AFTER_CONTACT]
        heard |= (attempts.process == name) & np.isin(outcome.failed_step, late)
    heard &= found.of("server_wrong", np.arange(len(attempts))) == 0
    return Walked(found, outcome, heard, _motor(found, outcome, scene.processes), *_fixes(found, dice))


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


def due_to_receiver(found: Moment, rows: np.ndarray) -> np.ndarray:
    """Return of positions that are old, how likely they would not be if no fault kept the receiver from a fix."""
    old = 1.0 - _FRESH * (1.0 - found.of("gnss_loss", rows))
    return np.asarray((old - (1.0 - _FRESH)) / old)


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


def _continuity(scene: Scene, beats: Beats, first: Walked, heard_s: np.ndarray) -> tuple[Continuity, Beats]:
    """Follow the heartbeats of sensors; a lost one blames what acts on the step where it was lost."""
    attempts, faults = first.moment.attempts, scene.faults
    rows = np.flatnonzero(first.moment.own & (attempts.process == "ss_heartbeat"))
    blamed, lost = np.full(len(rows), -1), np.isnan(heard_s[rows])
    wrong = blame.Wrong(scene.processes["ss_heartbeat"], rows[lost])
    blamed[lost] = blame.of_attempts(first.moment, first.outcome, wrong, faults=faults)
    due = continuity.Due(attempts.device[rows], attempts.at_s[rows], heard_s[rows], blamed)
    return continuity.follow(scene.area, scene.day, beats, due, faults)


def _follow(scene: Scene, known: Known, walks: tuple[Walked, ...], ends: Ends) -> tuple[Presence, Known]:
    """Follow who is online by what the platform hears; a session that is lost is an attempt it does not hear."""
    parts = [(w, np.flatnonzero(w.moment.own & ~w.moment.silent)) for w in walks]
    lost = np.flatnonzero(ends.lost)
    contacts = presence.Contacts(
        device=np.concatenate([*(w.moment.attempts.device[rows] for w, rows in parts), ends.device[lost]]),
        at_s=np.concatenate([*(w.moment.attempts.at_s[rows] for w, rows in parts), ends.at_s[lost]]),
        heard=np.concatenate([*(w.heard[rows] for w, rows in parts), np.zeros(len(lost), bool)]),
        cell=np.concatenate([*(w.moment.cell[rows] for w, rows in parts), ends.cell[lost]]),
    )
    lifetime_ratio = scene.all_day.at_quarters("lifetime_ratio")
    return presence.follow(scene.area, scene.day, known, contacts, lifetime_ratio=lifetime_ratio)


def _count_online(seen: Presence, all_day: Daylong) -> Tally:
    """Count the time that devices are online: registered, and their platform's access there to know it."""
    tally, own = Tally(), seen.device[:: daylong.QUARTERS]
    there = 1.0 - all_day.at_quarters("access_outage")[own].ravel()
    tally.ratio(
        "online_s/activated_s", np.arange(len(seen.device)), seen.online * there * presence.GRID_S,
        presence.GRID_S,
    )  # fmt: skip
    return tally


def _registered(scene: Scene, served_s: np.ndarray, walks: tuple[Walked, ...]) -> Registered:
    parts = [(w.moment.attempts, np.flatnonzero(w.moment.own & w.moment.served)) for w in walks]
    served = registration.Served(
        before_s=served_s,
        device=np.concatenate([attempts.device[rows] for attempts, rows in parts]),
        at_s=np.concatenate([attempts.at_s[rows] for attempts, rows in parts]),
    )
    return registration.follow(scene.area, scene.day, served, scene.faults, scene.all_day)
