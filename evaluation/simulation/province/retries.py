"""What devices do after a failed attempt: repeat it, or register again."""

import numpy as np

from evaluation.simulation.province.attempts import Attempts
from evaluation.simulation.province.faults import DAY_S
from evaluation.simulation.province.moment import Moment
from evaluation.simulation.province.walk import Outcome

_SERVICE_REQUEST = 4  # seq of the step of a heartbeat after whose failure a sensor registers anew
_SESSION_LOST = 0.6  # share of a lock's failed reports after which its session is gone


def follow_up(
    moment: Moment, outcome: Outcome, *, alarm_every_s: tuple[float, float]
) -> tuple[Attempts, np.ndarray]:
    """Return the attempts that follow from failed ones, on the same day, and the row of the one that each follows."""
    attempts, dice = moment.attempts, moment.dice
    failed = np.flatnonzero(moment.own & ~outcome.ok & ~moment.silent)
    again, process = attempts.take(failed), attempts.process[failed].copy()
    size, lost = len(failed), dice.random(len(failed)) < _SESSION_LOST
    wait = np.zeros(size)
    chosen = np.zeros(size, bool)
    for name, after_s in (
        ("ss_heartbeat", (600.0, 1800.0)),
        ("ss_onboarding", (60.0, 600.0)),
        ("ss_alarm", alarm_every_s),
        ("bk_lock_settlement", (8.0, 16.0)),
    ):
        rows = process == name
        wait[rows], chosen[rows] = dice.uniform(*after_s, int(rows.sum())), True
    out = (process == "ss_heartbeat") & (outcome.failed_step[failed] == _SERVICE_REQUEST)
    out |= (process == "ss_heartbeat") & (moment.of("credentials_wrong", failed) > 0)
    process[out] = "ss_onboarding"
    report = (process == "bk_ride_position") & lost
    process[report], chosen[report] = "bk_lock_online", True
    wait[report] = dice.uniform(60.0, 400.0, int(report.sum()))
    at = attempts.at_s[failed] + outcome.took_ms[failed] / 1000.0 + wait
    chosen &= np.floor(at / DAY_S) == np.floor(attempts.at_s[failed] / DAY_S)
    same = process == attempts.process[failed]
    since = np.where(same, again.since_s + at - attempts.at_s[failed], 0.0)
    repeated = Attempts(
        again.device, at, process, again.x_km, again.y_km, again.extra_db, again.riding, again.event,
        np.ones(size, bool), since,
    )  # fmt: skip
    return repeated.take(chosen), failed[chosen]
