"""Each attempt walks the steps of its process, as the service file has them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.process import Process, Step
from evaluation.simulation.province import queues, steps_core, steps_platform, steps_radio
from evaluation.simulation.province.moment import Moment
from evaluation.simulation.province.steps_radio import Ended

MAX_STEPS = 12
_P95 = 1.645  # standard deviations
_PLAIN_SIGMA = 0.4
_PLAIN_SUCCESS = 0.9995
_NETWORK_STARTS = ("scan and order", "command accepted")  # first steps that a silent device does not hinder

STEPS: Mapping[str, Callable[[Moment, np.ndarray], Ended]] = {
    "wake up and synchronise": steps_radio.synchronise,
    "random access": steps_radio.random_access,
    "RRC connection": steps_radio.connect,
    "random access and RRC": steps_radio.connect_at_once,
    "attach": steps_core.attach,
    "subscription fetch": steps_core.subscription,
    "default bearer": steps_core.bearer,
    "subscription and bearer": steps_core.subscription_and_bearer,
    "control plane service request with data": steps_core.service_request,
    "control plane service request with alarm": steps_core.service_request,
    "service request": steps_core.service_request,
    "core data path": steps_core.core_path,
    "downlink notification": steps_core.notify_downlink,
    "paging": steps_core.page,
    "paging when inside T3324 or eDRX window": steps_core.page,
    "cell change": steps_core.change_cell,
    "register": steps_platform.register,
    "subscribe": steps_platform.observe,
    "name resolution": steps_platform.resolve,
    "platform login": steps_platform.log_in,
    "subscribe and first status": steps_platform.first_status,
    "update or notify": steps_platform.update_or_notify,
    "alarm notify": steps_platform.report,
    "lock report": steps_platform.report,
    "result": steps_platform.report,
    "unlock report": steps_platform.report_and_push,
    "command accepted": steps_platform.accept_command,
    "deliver": steps_platform.deliver,
    "deliver unlock": steps_platform.deliver,
    "actuate": steps_platform.actuate,
    "rule engine": steps_platform.run_rules,
    "push to fire platform": steps_platform.push,
    "status to application": steps_platform.rules_and_push,
    "position to application": steps_platform.rules_and_push,
    "settlement": steps_platform.rules_and_push,
}
_REPORTS = ("alarm notify", "lock report", "data path", "update or notify")
_OPTIONAL_BUT_WALKED = ("name resolution", "cell change")


def _data_path(moment: Moment, rows: np.ndarray) -> Ended:
    """Service request, core path and report in one step: the position of a bike."""
    accepted, first_ms = steps_core.service_request(moment, rows)
    _, core_ms = steps_core.core_path(moment, rows[accepted])
    stored, more_ms = steps_platform.report(moment, rows[accepted])
    ok, took = accepted.copy(), first_ms.copy()
    ok[accepted], took[accepted] = stored, first_ms[accepted] + core_ms + more_ms
    return ok, took


_WHOLE: Mapping[str, Callable[[Moment, np.ndarray], Ended]] = {**STEPS, "data path": _data_path}


@dataclass
class Outcome:
    """How attempts end. failed_step: seq of the step that failed, 0 for none. took_ms: of all steps together.

    step_ms: (n, MAX_STEPS), by place of the step in its process; -1 where a step was not reached or not walked.
    delivered_ms: from the command's acceptance to the device's acknowledgement; NaN where there is none.
    """

    ok: np.ndarray
    failed_step: np.ndarray
    took_ms: np.ndarray
    step_ms: np.ndarray
    delivered_ms: np.ndarray


def walk(moment: Moment, processes: Mapping[str, Process]) -> Outcome:
    """Walk all attempts through their processes; what elements count is in the moment's tally."""
    size = len(moment)
    outcome = Outcome(
        np.zeros(size, bool), np.zeros(size, "int64"), np.zeros(size),
        np.full((size, MAX_STEPS), -1.0, "float32"), np.full(size, np.nan),
    )  # fmt: skip
    for name, process in processes.items():
        rows = np.flatnonzero(moment.attempts.process == name)
        if len(rows):
            _walk_process(moment, process, rows, outcome)
    return outcome


def _walk_process(moment: Moment, process: Process, rows: np.ndarray, outcome: Outcome) -> None:
    first = process.steps[0]
    if first.name not in _NETWORK_STARTS:
        outcome.failed_step[rows[moment.silent[rows]]] = first.seq
        rows = rows[~moment.silent[rows]]
    everyone = rows
    accepted_ms = np.zeros(len(outcome.ok))
    reported, gaps = not any(step.name in _REPORTS for step in process.steps), []
    for place, step in enumerate(process.steps[:MAX_STEPS]):
        if step.optional and step.name not in _OPTIONAL_BUT_WALKED:
            continue
        ok, took = _one_step(moment, step, rows)
        outcome.step_ms[rows, place] = took
        if not reported and step.name not in _REPORTS:
            gaps.append(rows[~ok])
        reported |= step.name in _REPORTS
        outcome.failed_step[rows[~ok]] = step.seq
        if step.name == "command accepted":
            accepted_ms[rows] = outcome.took_ms[rows]
            asked = rows
        outcome.took_ms[rows] += took
        rows = rows[ok]
        if step.name.startswith("deliver"):
            outcome.delivered_ms[rows] = outcome.took_ms[rows] - accepted_ms[rows]
            _count_commands(moment, asked, outcome.delivered_ms)
    for lost in gaps:  # a gap in the sequence of reports tells that one was lost on the way
        moment.tally.ratio("ntf_ok/ntf_expected", lost, 0.0)
    outcome.ok[rows] = True
    outcome.ok[np.setdiff1d(everyone, rows)] = False


def _one_step(moment: Moment, step: Step, rows: np.ndarray) -> Ended:
    known = _WHOLE.get(step.name)
    ok, took = known(moment, rows) if known else _plain(moment, step, rows)
    if step.timeout_ms is not None:
        late = took > step.timeout_ms
        return ok & ~late, np.where(late, step.timeout_ms, took)
    return ok, took


def _plain(moment: Moment, step: Step, rows: np.ndarray) -> Ended:
    """Walk a step that has no law of its own: its delay keeps its budget in 95 of 100 cases."""
    median = step.budget_ms / np.exp(_P95 * _PLAIN_SIGMA)
    return moment.happens(rows, _PLAIN_SUCCESS), queues.skewed(moment.dice, median, _PLAIN_SIGMA, len(rows))


def _count_commands(moment: Moment, asked: np.ndarray, delivered_ms: np.ndarray) -> None:
    """Count the commands of an application; a delay is known of those that arrive."""
    arrived = ~np.isnan(delivered_ms[asked])
    moment.tally.ratio("cmd_ok/cmd_req", asked, arrived)
    moment.tally.sample("cmd_s", asked[arrived], delivered_ms[asked[arrived]] / 1000.0)
