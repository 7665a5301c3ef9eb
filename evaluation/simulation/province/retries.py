"""What devices do after a failed attempt: repeat it, or register again; alarms and restarts over and over."""

import numpy as np

from evaluation.simulation.province.attempts import Attempts
from evaluation.simulation.province.catalogue import Alarm
from evaluation.simulation.province.faults import DAY_S
from evaluation.simulation.province.moment import Moment
from evaluation.simulation.province.walk import Outcome

_SERVICE_REQUEST = 4  # seq of the step of a heartbeat after whose failure a sensor registers anew
_SESSION_LOST = 0.6  # share of a lock's failed reports after which its session is gone
_RESTARTS_S = (60.0, 180.0)  # from a brown-out to the next try
_MOST_RESTARTS = 5  # on end, before the battery rests until the next report
_AGAIN_AFTER_S = {
    "ss_heartbeat": (600.0, 1800.0),
    "ss_onboarding": (60.0, 600.0),
    "bk_lock_settlement": (8.0, 16.0),
}


def follow_up(moment: Moment, outcome: Outcome, *, alarm: Alarm, turn: int) -> tuple[Attempts, np.ndarray]:
    """Return the attempts that follow from failed ones, on the same day, and the row of the one that each follows.

    turn: how many times attempts were repeated before: all are once, alarms as often as `alarm` says.
    """
    attempts, dice = moment.attempts, moment.dice
    failed = np.flatnonzero(moment.own & ~outcome.ok & (~moment.silent | moment.browned_out))
    again = attempts.take(failed)
    if turn == 0:
        chosen, process, wait_s = _repeated(moment, outcome, failed)
    else:
        chosen, process, wait_s = np.zeros(len(failed), bool), again.process.copy(), np.zeros(len(failed))
    raised = (attempts.process[failed] == "ss_alarm") & (turn < alarm.repeat_max)
    wait_s[raised] = dice.uniform(*alarm.repeat_every_s, int(raised.sum()))
    restarted = moment.browned_out[failed] & ~raised & (turn < _MOST_RESTARTS)
    process[restarted] = np.where(
        attempts.process[failed[restarted]].astype("U2") == "bk", "bk_lock_online", "ss_onboarding"
    )
    wait_s[restarted] = dice.uniform(*_RESTARTS_S, int(restarted.sum()))
    chosen |= raised | restarted
    at = attempts.at_s[failed] + outcome.took_ms[failed] / 1000.0 + wait_s
    chosen &= np.floor(at / DAY_S) == np.floor(attempts.at_s[failed] / DAY_S)
    same = process == attempts.process[failed]
    since = np.where(same, again.since_s + at - attempts.at_s[failed], 0.0)
    repeated = Attempts(
        again.device, at, process, again.x_km, again.y_km, again.extra_db, again.riding, again.event,
        np.ones(len(failed), bool), since,
    )  # fmt: skip
    return repeated.take(chosen), failed[chosen]


def _repeated(
    moment: Moment, outcome: Outcome, failed: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which failed attempts are repeated once, as what, and how long after, s."""
    process, wait_s = moment.attempts.process[failed].copy(), np.zeros(len(failed))
    dice, lost = moment.dice, moment.dice.random(len(failed)) < _SESSION_LOST
    chosen = np.zeros(len(failed), bool)
    for name, after_s in _AGAIN_AFTER_S.items():
        rows = process == name
        wait_s[rows], chosen[rows] = dice.uniform(*after_s, int(rows.sum())), True
    out = (process == "ss_heartbeat") & (outcome.failed_step[failed] == _SERVICE_REQUEST)
    out |= (process == "ss_heartbeat") & (moment.of("credentials_wrong", failed) > 0)
    process[out] = "ss_onboarding"
    report = (process == "bk_ride_position") & lost & ~moment.silent[failed]
    process[report], chosen[report] = "bk_lock_online", True
    wait_s[report] = dice.uniform(60.0, 400.0, int(report.sum()))
    return chosen & ~moment.silent[failed], process, wait_s
