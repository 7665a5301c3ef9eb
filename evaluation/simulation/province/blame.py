"""Whose fault a bad experience is: that of a fault which acts on the step that failed, if it would not have without."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from evaluation.process import Process
from evaluation.simulation.province import counterfactual, steps_core, steps_platform, steps_radio
from evaluation.simulation.province.actuators import BY_NAME
from evaluation.simulation.province.faults import Exposed, Happening, expose
from evaluation.simulation.province.moment import Moment
from evaluation.simulation.province.sessions import Sessions
from evaluation.simulation.province.topology import generator
from evaluation.simulation.province.walk import STEPS, Outcome

Acts = frozenset[str]
WITHIN_S = {
    "ss_alarm": 60.0,
    "bk_unlock": 10.0,
    "bk_lock_settlement": 25.0,
}  # after which a user has waited too long
NOTHING: Acts = frozenset()
SILENT: Acts = frozenset({"sim_absent", "misused", "battery_level"})
_SIGNAL: Acts = frozenset({"attenuation_db", "antenna_loss_db", "cell_outage", "tampered"})
_RADIO: Acts = _SIGNAL | {"noise_power_db", "interference_power_db"}
_UP, _DOWN = frozenset({"offered_load_ul", "capacity"}), frozenset({"offered_load_dl", "capacity"})
_ACCESS: Acts = _RADIO | {"offered_load_nprach", "capacity"}
_NO_SERVICE: Acts = frozenset({"account_inactive", "apn_wrong"})
_TRIP: Acts = frozenset({"backhaul_delay_ms", "session_delay_ms", "sgi_delay_ms"})
_EXCHANGE: Acts = _RADIO | _UP | _DOWN | _TRIP | {
    "server_wrong", "access_outage", "quota_used", "backhaul_loss", "sgi_loss", "battery_level", "mme_load",
    "ack_timeout_s",
}  # fmt: skip
_LOGIN: Acts = _EXCHANGE | {"credentials_wrong", "auth_reject"}
_REPORT: Acts = _EXCHANGE | {"credentials_wrong"}
_RULES: Acts = frozenset({"rule_delay_ms"})
_PUSH: Acts = frozenset({"push_reject", "push_delay_ms"})
_REQUEST: Acts = _RADIO | _NO_SERVICE | {"band_locked", "backhaul_loss", "backhaul_delay_ms", "mme_load"}
_SUBSCRIPTION: Acts = frozenset({"s6a_reject"})
_BEARER: Acts = frozenset({"session_reject", "apn_wrong", "session_delay_ms"})
_CORE: Acts = frozenset({"mme_load", "session_delay_ms", "backhaul_delay_ms"})
_PAGE: Acts = SILENT | _NO_SERVICE | _RADIO | _DOWN | {
    "timer_mismatch", "power_saving_wrong", "paging_loss", "mme_load", "command_delay_ms",
}  # fmt: skip

ACTS: Mapping[Callable[..., object], Acts] = {
    steps_radio.synchronise: _SIGNAL,
    steps_radio.random_access: _ACCESS,
    steps_radio.connect: _RADIO | _UP | _DOWN,
    steps_radio.connect_at_once: _ACCESS | _UP | _DOWN,
    steps_core.attach: _RADIO | _SUBSCRIPTION | {
        "attach_reject", "account_inactive", "band_locked", "backhaul_loss", "backhaul_delay_ms", "mme_load",
        "battery_level",
    },
    steps_core.subscription: _SUBSCRIPTION,
    steps_core.bearer: _BEARER,
    steps_core.subscription_and_bearer: _SUBSCRIPTION | _BEARER,
    steps_core.service_request: _REQUEST,
    steps_core.core_path: _CORE,
    steps_core.notify_downlink: frozenset({"mme_load", "quota_used"}),
    steps_core.page: _PAGE,
    steps_core.change_cell: NOTHING,
    steps_platform.register: _LOGIN,
    steps_platform.observe: _EXCHANGE,
    steps_platform.resolve: _RADIO | {
        "dns_reject", "quota_used", "backhaul_loss", "backhaul_delay_ms", "session_delay_ms",
    },
    steps_platform.log_in: _LOGIN | {"dns_reject"},
    steps_platform.first_status: _REPORT,
    steps_platform.update_or_notify: _REPORT,
    steps_platform.report: _REPORT,
    steps_platform.report_and_push: _REPORT | _RULES | _PUSH,
    steps_platform.accept_command: frozenset(
        {"command_drop", "command_delay_ms", "nat_timeout_s", "access_outage"}
    ),
    steps_platform.deliver: _EXCHANGE,
    steps_platform.actuate: frozenset({"motor_jam"}),
    steps_platform.run_rules: _RULES,
    steps_platform.push: _PUSH,
    steps_platform.rules_and_push: _RULES | _PUSH,
}  # fmt: skip  # the causes that the law of each step asks for
_DATA_PATH: Acts = _REQUEST | _CORE | _REPORT
_LENGTHEN: Acts = _ACCESS | _UP | _DOWN | _TRIP | {
    "mme_load", "backhaul_loss", "sgi_loss", "access_outage", "ack_timeout_s", "dns_reject", "paging_loss",
    "timer_mismatch", "power_saving_wrong", "command_delay_ms", "rule_delay_ms", "push_delay_ms", "band_locked",
}  # fmt: skip  # causes of delay, and of the repetitions that take time
_SLOW_VIDEO: Acts = _SIGNAL | {
    "interference_power_db", "offered_load_dl", "cdn_load", "cache_miss", "origin_delay_ms", "peering_delay_ms",
    "peering_loss", "cpu_load", "power_saving", "vpn", "quota_used",
}  # fmt: skip
VIDEO: tuple[Acts, ...] = (
    _SLOW_VIDEO,
    _SIGNAL | {"interference_power_db", "erab_reject"},
    frozenset({"origin_reject"}),
    _SLOW_VIDEO,
    frozenset({"airplane_mode", "data_switch_off"}),
)  # by the step of vd_start that failed, 0 for none: it plays, but slowly; last, of a phone that sends nothing
_WHOLE = {
    "dB": 30.0,
    "%": 100.0,
    "ms": 5000.0,
    "per day": 24.0,
}  # a move as bad as certain failure; judgement


def acts_of(name: str) -> Acts:
    """Return the causes that act on a step; of one without a law of its own, none does."""
    if name == "data path":
        return _DATA_PATH
    return ACTS[STEPS[name]] if name in STEPS else NOTHING


def delays_of(process: Process) -> Acts:
    """Return the causes that lengthen a process."""
    return _LENGTHEN & frozenset().union(*(acts_of(step.name) for step in process.steps))


@dataclass(frozen=True)
class Wrong:
    """Attempts of a process that went wrong. other: causes beside the steps, and how likely each is the reason."""

    process: Process
    rows: np.ndarray
    other: Mapping[str, np.ndarray] = field(default_factory=dict)


def of_attempts(moment: Moment, outcome: Outcome, wrong: Wrong, *, faults: Sequence[Happening]) -> np.ndarray:
    """Return the place in `faults` of what is to blame for each attempt of a process that went wrong, -1 for none.

    An attempt that no step ended was too slow.
    """
    process, rows = wrong.process, wrong.rows
    kinds = [delays_of(process), SILENT, *(acts_of(step.name) for step in process.steps)]
    failed = outcome.failed_step[rows]
    kind = np.zeros(len(rows), "int64")
    for place, step in enumerate(process.steps):
        kind[failed == step.seq] = place + 2
    never_began = outcome.step_ms[rows].max(axis=1, initial=-1.0) < 0
    kind[moment.silent[rows] & never_began] = 1
    given = np.zeros(len(rows))
    for actuator, why in wrong.other.items():
        kind[why > 0], given[why > 0] = len(kinds), why[why > 0]
        kinds.append(frozenset({actuator}))
    weekday = moment.area.plan.settings.start.weekday()
    found = by_cause(faults, _where(moment, rows), kinds, kind, weekday=weekday)
    within_ms = 1000.0 * WITHIN_S.get(process.id, np.inf)
    asked = counterfactual.of_attempts(moment, process, rows, failed, within_ms)
    return _drawn(found, asked, faults, given)


def of_sessions(video: Sessions, rows: np.ndarray, faults: Sequence[Happening]) -> np.ndarray:
    """Return the place in `faults` of what is to blame for each bad video session, -1 for none."""
    kind = np.where(video.dark[rows], len(VIDEO) - 1, video.failed_step[rows])
    places = {name: values[rows] for name, values in video.places.items()}
    where = Exposed(video.at_s[rows], video.device[rows], np.ones(len(rows), bool), places)
    found = by_cause(faults, where, VIDEO, kind, weekday=video.area.plan.settings.start.weekday())
    return _drawn(found, counterfactual.of_sessions(video, rows), faults, np.zeros(len(rows)))


def _where(moment: Moment, rows: np.ndarray) -> Exposed:
    """Return where attempts found the network."""
    nowhere = np.full(len(rows), -1)
    places = {n: v[rows] for n, v in moment.places.items()} | {"cell": moment.meant_cell[rows]}
    places |= {"cdn_node": nowhere, "program_source": nowhere}
    return Exposed(
        moment.attempts.at_s[rows], moment.attempts.device[rows], np.zeros(len(rows), bool), places
    )


@dataclass(frozen=True)
class Blamable:
    """Of one cause, the place of the fault with the largest effect on each row, and that effect; -1 and 0 for none."""

    place: np.ndarray
    effect: np.ndarray


def by_cause(
    faults: Sequence[Happening], where: Exposed, kinds: Sequence[Acts], kind: np.ndarray, *, weekday: int
) -> dict[str, Blamable]:
    """Return of each cause what may be to blame on each row.

    kinds: sets of causes; kind: which of them counts at each row.
    """
    found: dict[str, Blamable] = {}
    here = set(where.device.tolist())
    wanted = np.array([[name in acts for acts in kinds] for name in BY_NAME])
    row_of = {name: number for number, name in enumerate(BY_NAME)}
    for number, one in enumerate(faults):
        if not here or (one.scope == "device" and one.location not in here):
            continue
        names = {act.actuator for act in one.fault.mechanism if wanted[row_of[act.actuator]].any()}
        pressure = expose([one], where, weekday=weekday) if names else None
        for name in sorted(names):
            if pressure is not None and pressure.touched(name):
                effect = _size(name, pressure.of(name)) * wanted[row_of[name]][kind]
                empty = Blamable(np.full(len(kind), -1), np.zeros(len(kind)))
                held = found.setdefault(one.fault.id, empty)
                larger = effect > held.effect
                held.place[larger], held.effect[larger] = number, effect[larger]
    return {cause: one for cause, one in found.items() if one.effect.any()}


def _drawn(
    found: Mapping[str, Blamable],
    asked: counterfactual.Question,
    faults: Sequence[Happening],
    given: np.ndarray,
) -> np.ndarray:
    """Draw whom to blame: any fault as likely as the failure is due to faults, and each by its share of that.

    Where each of several would do alone, no share is left for any: then it is the one with the largest effect.
    given: how much is due to faults where that is not asked, 0 elsewhere.
    """
    touched = {cause: (one.effect > 0) & (given == 0) for cause, one in found.items()}
    each, due = counterfactual.due(asked, faults, touched)
    total = np.where(given > 0, given, due)
    throw = generator(asked.plan, 16, *asked.stream).random(len(total))
    blamed, share_so_far = np.full(len(total), -1), np.zeros(len(total))
    if not found:
        return blamed
    effect = np.stack([one.effect for one in found.values()])
    share = np.stack([each[cause] for cause in found])
    sole = np.where(effect == effect.max(axis=0), effect, 0.0)
    weight = np.where(share.sum(axis=0) > 0, share, sole)
    weight = total * weight / np.maximum(weight.sum(axis=0), 1e-9)
    for one, part in zip(found.values(), weight, strict=True):
        his = (throw >= share_so_far) & (throw < share_so_far + part)
        blamed[his] = one.place[his]
        share_so_far += part
    return blamed


def _size(name: str, values: np.ndarray) -> np.ndarray:
    """Return how far an actuator is moved towards harm, 1 for as far as certain failure."""
    actuator = BY_NAME[name]
    whole = actuator.neutral if actuator.kind == "value" else _WHOLE.get(actuator.unit, 1.0)
    return np.asarray(np.minimum(actuator.worse_by(values) / whole, 1.0))
