"""KQIs from the event log of a day, and who complains about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evaluation.process import ServiceModel
from evaluation.simulation.province import blame, pipeline
from evaluation.simulation.province.faults import DAY_S, Happening
from evaluation.simulation.province.pipeline import Day
from evaluation.simulation.province.settings import SERVICES, ProvinceSettings
from evaluation.simulation.province.tally import Tally
from evaluation.simulation.province.topology import Area

_ALARM_WITHIN_S, _UNLOCK_WITHIN_S, _RETURN_WITHIN_S = (
    blame.WITHIN_S[process] for process in ("ss_alarm", "bk_unlock", "bk_lock_settlement")
)


@dataclass(frozen=True)
class Judged:
    """KQI counters of a day: rows are of one value each. bad: rows whose user may complain; counter: what was bad.

    blame: index into the happenings of the day and those earlier ones that its continuity names, -1 for none.
    """

    tally: Tally
    device: np.ndarray
    at_s: np.ndarray
    places: Mapping[str, np.ndarray]
    bad: np.ndarray
    counter: np.ndarray
    blame: np.ndarray


def judge(area: Area, day: Day) -> list[Judged]:
    """Return what the KQIs of all services count on a day."""
    return [
        _alarms(day),
        _continuity(area, day),
        _unlocks(day),
        _returns(day),
        _video(day),
    ]


def _of(
    day: Day, rows: np.ndarray, tally: Tally, bad: np.ndarray, counter: str, **other: np.ndarray
) -> Judged:
    """Return what is judged of some first attempts of one process; the tally's rows are places in `rows`.

    other: causes beside those of its steps, and how likely each is the reason at each row.
    """
    moment, outcome = day.first.moment, day.first.outcome
    places = {name: values[rows] for name, values in moment.places.items()}
    blamed, wrong = np.full(len(rows), -1), np.flatnonzero(bad)
    if len(wrong):
        process = day.processes[str(moment.attempts.process[rows[wrong[0]]])]
        causes = {name: why[wrong] for name, why in other.items()}
        lost = blame.Wrong(process, rows[wrong], causes)
        blamed[wrong] = blame.of_attempts(moment, outcome, lost, faults=day.faults)
    return Judged(
        tally, moment.attempts.device[rows], moment.attempts.at_s[rows], places, bad,
        np.full(len(rows), counter), blamed,
    )  # fmt: skip


def _repeated(day: Day, process: str, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return of each first attempt whether one of its repetitions succeeded, and s since it began to wait."""
    keys, waits = [np.zeros(0, "int64")], [np.zeros(0)]
    for walked in day.walks[1:]:
        made, outcome = walked.moment.attempts, walked.outcome
        good = np.flatnonzero(walked.moment.own & (made.process == process) & outcome.ok)
        keys.append(made.device[good] * 100_000 + made.event[good])
        waits.append(made.since_s[good] + outcome.took_ms[good] / 1000.0)
    key, waited = np.concatenate(keys), np.concatenate(waits)
    order = np.argsort(key, kind="stable")
    key, waited = key[order], waited[order]
    own = day.first.moment.attempts
    wanted = own.device[first] * 100_000 + own.event[first]
    at = np.minimum(np.searchsorted(key, wanted), max(len(key) - 1, 0))
    found = (key[at] == wanted) if len(key) else np.zeros(len(first), bool)
    return found, np.where(found, waited[at] if len(key) else 0.0, np.nan)


def _attempted(day: Day, process: str) -> np.ndarray:
    return np.flatnonzero(day.first.moment.own & (day.first.moment.attempts.process == process))


def _ended(day: Day, process: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the first attempts of a process, which succeeded in the end, and after how many s."""
    rows = _attempted(day, process)
    outcome = day.first.outcome
    saved, waited = _repeated(day, process, rows)
    took = np.where(outcome.ok[rows], outcome.took_ms[rows] / 1000.0, np.nan_to_num(waited))
    return rows, outcome.ok[rows] | saved, took


def _alarms(day: Day) -> Judged:
    rows, ok, took = _ended(day, "ss_alarm")
    blind = day.first.moment.of("sensor_broken", rows) > 0
    away = day.first.moment.of("tampered", rows) > 0
    tally, at = Tally(), np.arange(len(rows))
    tally.ratio("alarm_ok_60s/alarm_raised", at, ok & (took <= _ALARM_WITHIN_S))
    tally.sample("alarm_latency_s", at[ok], took[ok])
    bad = ~ok | (took > _ALARM_WITHIN_S)
    return _of(
        day, rows, tally, bad, "alarm_ok_60s/alarm_raised", sensor_broken=1.0 * blind, tampered=1.0 * away
    )


def _continuity(area: Area, day: Day) -> Judged:
    own = np.flatnonzero(area.devices.service == 0)
    end, tally = (day.number + 1) * DAY_S, Tally()
    ok = day.continuity.ok[own]
    tally.ratio("device_days_ok/device_days", np.arange(len(own)), ok)
    at = area.devices
    places = {
        "device": own, "cell": area.home_cell[own], "tac": np.full(len(own), area.number),
        "mme": np.full(len(own), area.mme), "platform_node": at.node[own], "app": at.app[own],
        "fleet": at.fleet[own], "city": np.full(len(own), area.city), "province": np.zeros(len(own), "int64"),
    }  # fmt: skip
    counter = np.full(len(own), "device_days_ok/device_days")
    return Judged(tally, own, np.full(len(own), end - 60.0), places, ~ok, counter, day.continuity.blame[own])


def _unlocks(day: Day) -> Judged:
    rows = _attempted(day, "bk_unlock")
    outcome, tally, at = day.first.outcome, Tally(), np.arange(len(rows))
    took = outcome.took_ms[rows] / 1000.0
    ok = outcome.ok[rows] & (took <= _UNLOCK_WITHIN_S)
    tally.ratio("unlock_ok_10s/unlock_orders", at, ok)
    opened = outcome.ok[rows]
    tally.sample("unlock_delay_s", at[opened], took[opened])
    return _of(day, rows, tally, ~ok, "unlock_ok_10s/unlock_orders")


def _returns(day: Day) -> Judged:
    rows, ok, took = _ended(day, "bk_lock_settlement")
    fresh, in_time = day.first.fresh[rows], ok & (took <= _RETURN_WITHIN_S)
    good, tally = in_time & fresh, Tally()
    tally.ratio("return_ok/trips_ended", np.arange(len(rows)), good)
    stale = np.where(in_time & ~fresh, pipeline.due_to_receiver(day.first.moment, rows), 0.0)
    return _of(day, rows, tally, ~good, "return_ok/trips_ended", gnss_loss=stale)


def _video(day: Day) -> Judged:
    video, tally = day.video, Tally()
    rows = np.flatnonzero(video.device >= 0)
    ok = video.ok[rows]
    at = np.flatnonzero(ok)
    tally.sample("init_buffer_s", at, video.first_frame_s[rows][at])
    tally.ratio("stall_s/watch_s", at, video.stall_s[rows][at], video.watch_s[rows][at])
    tally.sample("quality_score", at, video.quality[rows][at])
    stalls, slow = video.stalls[rows], video.slow[rows]
    blamed, bad = np.full(len(rows), -1), np.flatnonzero(slow | stalls)
    blamed[bad] = blame.of_sessions(video, rows[bad], day.faults)
    counter = np.where(slow, "init_buffer_s", "stall_s/watch_s")
    places = {name: values[rows] for name, values in video.places.items()}
    return Judged(
        tally,
        video.device[rows],
        video.at_s[rows],
        places,
        slow | stalls,
        counter,
        blamed,
    )


def complaints(
    area: Area,
    day: Day,
    judged: Sequence[Judged],
    happenings: Sequence[Happening],
    services: Sequence[ServiceModel],
) -> pd.DataFrame:
    """Return the cases of a day: of those with a bad experience some complain, once a day; a few do without any."""
    settings: ProvinceSettings = area.plan.settings
    rng = np.random.default_rng([area.plan.seed, 12, area.number, day.number])
    share, names = (
        settings.complaint_share,
        [*(h.number for h in happenings), *day.continuity.earlier, "none"],
    )
    kqi_of = {(s.id, k.aggregate.counter): k.id for s in services for k in s.kqis}
    rows: list[tuple[int, float, str, int]] = []
    for one in judged:
        chance = share.silent_day if "device_days_ok/device_days" in one.tally.ratios else share.failed
        who = np.flatnonzero(one.bad & (rng.random(len(one.bad)) < chance))
        late = rng.exponential(1800.0, len(who))
        rows += zip(one.device[who].tolist(), (one.at_s[who] + late).tolist(), one.counter[who].tolist(),
                    one.blame[who].tolist(), strict=True)  # fmt: skip
    idle = np.flatnonzero(rng.random(len(area.devices)) < share.groundless_per_device_day)
    first = {s.id: s.kqis[0].aggregate.counter for s in services}
    rows += [(int(d), day.number * DAY_S + float(rng.random()) * DAY_S, first[SERVICES[area.devices.service[d]]], -1)
             for d in idle]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["device", "at_s", "counter", "blame"]).sort_values(
        "at_s", kind="stable"
    )
    frame = frame.drop_duplicates("device").reset_index(drop=True)
    service = np.array(SERVICES)[area.devices.service[frame["device"].to_numpy("int64")]]
    return pd.DataFrame(
        {
            "case_id": [f"C-{area.number}-{day.number}-{n}" for n in range(len(frame))],
            "device_id": area.devices.names[frame["device"].to_numpy("int64")],
            "service": service,
            "at": pd.to_datetime(
                (frame["at_s"].astype("float64") + area.plan.start_s) * 1e6, unit="us", utc=True
            ),
            "kqi": [kqi_of[key] for key in zip(service, frame["counter"], strict=True)],
            "fault_id": [names[b] for b in frame["blame"].astype("int64")],
        }
    )
