"""Steps at the platform and the application: exchanges over CoAP or MQTT, logins, commands, rules, pushes."""

import numpy as np

from evaluation.simulation.province import queues
from evaluation.simulation.province.moment import Moment
from evaluation.simulation.province.steps_radio import Ended, excess_bler

_TRANSMISSIONS = 5  # CoAP: the first and four more
_BACK_OFF = 1.5
_FLAPPING = 0.5  # of an outage's share of time, in which single messages are lost beside; judgement
_LASTING_SHARE = 0.6  # of what transport loses, in stretches longer than all repeats; judgement
RENEWED_S = 3600.0  # life of a login token; judgement
_SYNS = 3  # TCP: the first and two more
_FLOW_MOVED = (
    0.1  # forgotten flows that come back under another port, which the broker takes for a stranger; judgement
)
_MISSED = 0.004  # pings of others that are not answered, for whatever reason; judgement
_OLD_ADDRESS = 0.7


def exchange(moment: Moment, rows: np.ndarray, *, messages: float = 1.0) -> Ended:
    """Send a message until it is acknowledged: what the air or the transport loses is sent again after a timeout."""
    tally = moment.tally
    seen = (moment.of("server_wrong", rows) == 0) & ~moment.cut_off(rows)
    outage = moment.of("access_outage", rows)
    down = moment.unanswered[rows] | ~seen | moment.voltage_gone(rows)
    deaf = 1.0 / (1.0 + np.exp(np.clip((moment.nsinr[rows] + 5.0) / 2.0, -30, 30)))
    radio_loss = 0.008 + 0.35 * excess_bler(moment, rows) + 0.15 * deaf + 0.025 * (moment.level[rows] == 2)
    kept = (
        (1 - radio_loss) * (1 - 2 * moment.of("backhaul_loss", rows)) * (1 - 2 * moment.of("sgi_loss", rows))
    )
    down |= moment.happens(rows, _lasting(moment, rows, deaf))
    kept = kept * (1 - _FLAPPING * outage)
    lost = 1.0 - np.clip(kept * (1 - 0.5 * queues.overload_loss(moment.ul_utilisation[rows])), 0.02, 0.998)
    mme = queues.overload_loss(moment.mme_utilisation[rows])
    losses = np.floor(np.log(moment.dice.random(len(rows))) / np.log(np.clip(lost + 0.5 * mme, 0.002, 0.98)))
    losses = np.where(down, float(_TRANSMISSIONS), np.minimum(losses, _TRANSMISSIONS))
    ok = losses < _TRANSMISSIONS
    rtt = round_trip_ms(moment, rows)
    timeout = 1000.0 * moment.of("ack_timeout_s", rows) * np.where(moment.lwm2m[rows], 1.0, 0.5)
    since = rtt + moment.rach_ms[rows]  # the timer runs from when the module was handed the message
    moment.rach_ms[rows] = 0.0  # later messages find the connection open
    needless = np.floor(
        np.log1p(np.maximum(since - timeout, 0.0) * (_BACK_OFF - 1) / timeout) / np.log(_BACK_OFF)
    )
    needless = np.where(ok & (since > timeout), np.clip(needless + 1, 0, _TRANSMISSIONS - 1), 0.0)
    coap = seen & moment.lwm2m[rows]
    again = np.minimum(losses, _TRANSMISSIONS - 1) + needless
    moment.repeats[rows] += again
    tally.ratio("coap_retx/coap_con", rows[coap], again[coap], messages)
    tally.sample("rtt_access_ms", rows[ok], rtt[ok])
    server = queues.skewed(moment.dice, 14.0, 0.5, len(rows)) / (1 - 0.9 * outage) + moment.of(
        "sgi_delay_ms", rows
    )
    tally.sample("rtt_server_ms", rows[seen], server[seen])
    waited = timeout * (_BACK_OFF**losses - 1.0) / (_BACK_OFF - 1.0)
    return ok, waited + rtt + server


def _lasting(moment: Moment, rows: np.ndarray, deaf: np.ndarray) -> np.ndarray:
    """Return the share of losses that last longer than all transmissions: a dead place, a full queue."""
    radio = 0.05 * deaf + 0.08 * excess_bler(moment, rows) + 0.01 * (moment.level[rows] == 2)
    transport = moment.of("backhaul_loss", rows) + moment.of("sgi_loss", rows)
    return np.asarray(radio + _LASTING_SHARE * transport)


def round_trip_ms(moment: Moment, rows: np.ndarray) -> np.ndarray:
    """Return what a message and its answer take between platform and device."""
    air = queues.skewed(moment.dice, 330.0 + moment.air_ms(rows), 0.42, len(rows))
    core = moment.of("backhaul_delay_ms", rows) + moment.of("session_delay_ms", rows)
    return np.asarray(air + core + 20.0 * queues.delay_factor(moment.mme_utilisation[rows]))


def authenticate(moment: Moment, rows: np.ndarray) -> np.ndarray:
    """Draw whose login the platform accepts, and count it."""
    known = moment.of("credentials_wrong", rows) == 0
    accepted = known & moment.happens(
        rows, 0.9968 * (1 - np.where(known, moment.of("auth_reject", rows), 0.0))
    )
    moment.tally.ratio("auth_ok/auth_req", rows, accepted)
    return np.asarray(accepted)


def register(moment: Moment, rows: np.ndarray) -> Ended:
    """Register with LwM2M."""
    ok, took = exchange(moment, rows)
    seen = moment.of("server_wrong", rows) == 0
    reached = rows[seen]
    accepted = np.zeros(len(rows), bool)
    accepted[seen] = authenticate(moment, reached)
    registered = ok & accepted & moment.happens(rows, 0.9985)
    moment.tally.ratio("reg_ok/reg_req", reached, registered[seen])
    moment.waited_ms[rows] = took
    return registered, took


def observe(moment: Moment, rows: np.ndarray) -> Ended:
    """Subscribe to the reports: only then may a device report."""
    ok, took = exchange(moment, rows)
    ok &= moment.happens(rows, 0.9955)
    moment.tally.ratio("obs_ok/obs_req", rows, ok)
    whole = (moment.waited_ms[rows] + took) / 1000.0
    moment.tally.sample("reg_s", rows[ok], whole[ok])
    return ok, took


def resolve(moment: Moment, rows: np.ndarray) -> Ended:
    """Ask for the platform's address, twice; without an answer some locks try the one they knew."""
    each = 0.9982 * (1 - moment.of("dns_reject", rows)) * (1 - 0.5 * moment.of("backhaul_loss", rows))
    each = each * ~moment.cut_off(rows)
    first, second = moment.happens(rows, each), moment.happens(rows, each)
    moment.tally.ratio("dns_succ/dns_query", rows, first + ~first * second, 1.0 + ~first)
    stuck = moment.happens(rows, 0.5 * moment.of("dns_reject", rows))  # the server that failed is asked again
    unanswered = ~(first | second) | stuck
    moment.stale[rows] = unanswered & moment.happens(rows, _OLD_ADDRESS)
    return ~unanswered | moment.stale[rows], 0.6 * round_trip_ms(moment, rows) + 5000.0 * ~first


def log_in(moment: Moment, rows: np.ndarray) -> Ended:
    """Open the session of a lock: MQTT over TCP, or LwM2M."""
    ok, took = np.zeros(len(rows), bool), np.zeros(len(rows))
    coap = moment.lwm2m[rows]
    ok[coap], took[coap] = register(moment, rows[coap])
    ok[~coap], took[~coap] = _open_mqtt(moment, rows[~coap])
    return ok, took


def _open_mqtt(moment: Moment, rows: np.ndarray) -> Ended:
    tally, strangers = moment.tally, rows[~moment.own[rows]]
    tally.ratio(
        "mqtt_abnormal/mqtt_ended", strangers, moment.happens(strangers, _ended_abnormally(moment, strangers))
    )
    opened = _connected(moment, rows)
    there = rows[opened]
    accepted = authenticate(moment, there)
    through, took = exchange(moment, there)
    accepted &= ~(moment.stale[there] & moment.happens(there, 0.9))  # nobody knows it there
    accepted &= through & moment.happens(there, 0.9985)
    tally.ratio("mqtt_conn_ok/mqtt_conn_req", there, accepted)
    ok, whole = opened.copy(), round_trip_ms(moment, rows)
    ok[opened], whole[opened] = accepted, whole[opened] + took
    return ok, whole


def _connected(moment: Moment, rows: np.ndarray) -> np.ndarray:
    """Open TCP: each SYN and its answer must arrive, and the platform be there. Counts every SYN."""
    each = 0.992 * (1 - moment.of("sgi_loss", rows)) ** 2 * (1 - moment.of("backhaul_loss", rows)) ** 2
    each = each * (1 - _FLAPPING * moment.of("access_outage", rows))
    dead = (
        (moment.unanswered & ~moment.hanging)[rows]
        | moment.cut_off(rows)
        | (moment.of("server_wrong", rows) > 0)
    )
    dead |= moment.stale[rows] & moment.happens(rows, 0.2)
    tries = (
        np.floor(np.log(moment.dice.random(len(rows))) / np.log(np.clip(1.0 - each, 1e-9, 1 - 1e-9))) + 1.0
    )
    opened = ~dead & (tries <= _SYNS)
    moment.tally.ratio("tcp_succ/tcp_syn", rows, opened, np.where(opened, tries, float(_SYNS)))
    return np.asarray(opened)


def _ended_abnormally(moment: Moment, rows: np.ndarray) -> np.ndarray:
    """Return the share of others' sessions that end by a ping without an answer, not by the end of their token."""
    keep_alive_s = moment.area.plan.patterns.bike_sharing.timers.mqtt_keepalive_s
    outage, lost = (
        moment.of("access_outage", rows),
        moment.of("sgi_loss", rows) + moment.of("backhaul_loss", rows),
    )
    kept = (1 - _MISSED) * (1 - outage) * (1 - _LASTING_SHARE * lost) * (1 - flow_moved(moment, rows))
    renewed = min(keep_alive_s / RENEWED_S, 1.0)
    return np.asarray((1 - kept) / (1 - kept * (1 - renewed)))


def flow_moved(moment: Moment, rows: np.ndarray) -> np.ndarray:
    """Return the chance that a ping ends its session, for a firewall forgot the flow since the last one."""
    keep_alive_s = moment.area.plan.patterns.bike_sharing.timers.mqtt_keepalive_s
    return np.where(moment.of("nat_timeout_s", rows) < keep_alive_s, _FLOW_MOVED, 0.0)


def first_status(moment: Moment, rows: np.ndarray) -> Ended:
    """Subscribe, then report for the first time."""
    subscribed, first_ms = observe(moment, rows)
    stored, more_ms = report(moment, rows)
    return subscribed & stored, first_ms + more_ms


def report(moment: Moment, rows: np.ndarray) -> Ended:
    """Send a report that the platform is to store: Notify, or PUBLISH."""
    ok, took = exchange(moment, rows)
    seen = (moment.of("server_wrong", rows) == 0) & (moment.of("credentials_wrong", rows) == 0)
    ok &= moment.happens(rows, 0.9975) & seen  # who is not registered is not listened to
    moment.tally.ratio("ntf_ok/ntf_expected", rows[seen], ok[seen])
    return ok, took


def update_or_notify(moment: Moment, rows: np.ndarray) -> Ended:
    """Send a heartbeat: every other one is an Update, which a lapsed registration refuses."""
    updates = moment.happens(rows, 0.5)
    ok, took = np.zeros(len(rows), bool), np.zeros(len(rows))
    ok[~updates], took[~updates] = report(moment, rows[~updates])
    who = rows[updates]
    through, took[updates] = exchange(moment, who)
    lapsed = (moment.of("credentials_wrong", who) > 0) | moment.happens(
        who, np.where(moment.area.usual_lifetime(moment.of("lifetime_ratio", who)) < 1.0, 1.0, 0.003)
    )
    seen = moment.of("server_wrong", who) == 0
    moment.tally.ratio("upd_ok/upd_req", who[seen], (through & ~lapsed)[seen])
    ok[updates] = through & (
        moment.of("credentials_wrong", who) == 0
    )  # after 4.04 a device registers again and its heartbeat arrives
    return ok, took


def accept_command(moment: Moment, rows: np.ndarray) -> Ended:
    """Take the command of an application; a stuck service never sends it, a forgotten flow swallows it."""
    dropped = moment.happens(rows, moment.of("command_drop", rows))
    keep_alive_s = moment.area.plan.patterns.bike_sharing.timers.mqtt_keepalive_s
    idle_s = keep_alive_s * moment.dice.random(len(rows))
    forgotten = ~moment.lwm2m[rows] & (idle_s > moment.of("nat_timeout_s", rows))
    took = queues.skewed(moment.dice, 70.0, 0.4, len(rows))
    queued = moment.of("command_delay_ms", rows) * moment.dice.exponential(0.5, len(rows))
    moment.tally.ratio("ddn_unreach/ddn_att", rows[forgotten], moment.happens(rows[forgotten], 0.3))
    moment.queued_ms[rows] = took + queued
    return ~dropped & ~forgotten & ~moment.unanswered[rows], took + queued


def deliver(moment: Moment, rows: np.ndarray) -> Ended:
    """Hand the command to the device and get its acknowledgement."""
    return exchange(moment, rows)


def actuate(moment: Moment, rows: np.ndarray) -> Ended:
    """Open the lock."""
    opened = moment.happens(rows, 0.9965 * (1 - moment.of("motor_jam", rows)))
    return opened, queues.skewed(moment.dice, 650.0, 0.12, len(rows))


def run_rules(moment: Moment, rows: np.ndarray) -> Ended:
    """Match the rules of the platform."""
    waited = moment.of("rule_delay_ms", rows) * moment.dice.exponential(0.6, len(rows))
    took = queues.skewed(moment.dice, 28.0, 0.6, len(rows)) + waited
    moment.tally.sample("rule_ms", rows, took)
    return np.ones(len(rows), bool), took


def push(moment: Moment, rows: np.ndarray) -> Ended:
    """Push to the application until it answers 200, for at most 60 s."""
    ok = moment.happens(rows, 0.9965 * (1 - moment.of("push_reject", rows)))
    moment.tally.ratio("push_ok/push_all", rows, ok)
    waited = moment.of("push_delay_ms", rows) * moment.dice.exponential(0.6, len(rows))
    took = queues.skewed(moment.dice, 62.0, 0.62, len(rows)) + waited
    moment.tally.sample("push_ms", rows, took)
    return ok, took


def rules_and_push(moment: Moment, rows: np.ndarray) -> Ended:
    """Both as one step."""
    _, first_ms = run_rules(moment, rows)
    ok, more_ms = push(moment, rows)
    return ok, first_ms + more_ms


def report_and_push(moment: Moment, rows: np.ndarray) -> Ended:
    """Report and hand it on: the last step of an unlock."""
    stored, first_ms = report(moment, rows)
    ok, more_ms = rules_and_push(moment, rows[stored])
    done, took = stored.copy(), first_ms.copy()
    done[stored], took[stored] = ok, first_ms[stored] + more_ms
    return done, took
