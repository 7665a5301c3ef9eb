"""Steps in the core network: attach, service request, data path, paging."""

import numpy as np

from evaluation.simulation.province import queues, radio
from evaluation.simulation.province.actuators import Pressure
from evaluation.simulation.province.moment import Moment, daily_profile
from evaluation.simulation.province.steps_radio import Ended, excess_bler
from evaluation.simulation.province.topology import Area

_MME_USUAL = 30.0  # % at which the constants below were judged
_COMMAND_AFTER_S = 5.0  # of a heartbeat: a command to a sensor waits for it
_VECTORS_ASKED = 0.75  # of attaches, for which the MME has no vectors left and asks the HSS; judgement
_ASLEEP = 0.33  # of devices with other timers than they asked for, asleep when they are called; judgement
_STRANGERS_UPDATE = 0.25  # service requests of others that come with an area update; judgement
_UPDATED, _FETCHED_ANEW = 0.9945, 0.3  # updates that succeed, and those for which the HSS is asked; judgement
_ASK_AGAIN_MS = 3000.0
_ASTRAY_AGAIN = 0.75  # of the second pages, which a wider area gets, when the first was sent astray
_PAGE_AGAIN_MS = 2500.0
_PAGE_HEARD = np.array([0.955, 0.90, 0.80])  # at each coverage level
_ROUND_TRIPS_OF_ATTACH = 4.0
_TAU_SHARE = 0.12  # of the times a riding lock changes its cell, it also leaves its list of areas


def mme_queue(moment: Moment, rows: np.ndarray) -> np.ndarray:
    """Return by how much the MME's queue lengthens its work, against a usual one."""
    return np.asarray(queues.delay_factor(moment.mme_utilisation[rows]) / queues.delay_factor(_MME_USUAL))


def congested(moment: Moment, rows: np.ndarray) -> np.ndarray:
    """Draw which NAS procedures the MME refuses for congestion, and count it."""
    refused = moment.happens(rows, 0.0003 + queues.overload_loss(moment.mme_utilisation[rows]))
    moment.tally.ratio("nas_rej_cong/nas_proc", rows, refused)
    return refused


def _may_register(moment: Moment, rows: np.ndarray) -> np.ndarray:
    out = moment.of("account_inactive", rows) + moment.of("apn_wrong", rows)
    return np.asarray((out == 0) & ~moment.happens(rows, moment.of("band_locked", rows)))


def attach(moment: Moment, rows: np.ndarray) -> Ended:
    """Register with the network; what HSS and gateways refuse is drawn here and told at their own steps."""
    tally, s6a = moment.tally, moment.of("s6a_reject", rows)
    refused = congested(moment, rows)
    transport = moment.of("backhaul_loss", rows)
    allowed = ~moment.happens(rows, moment.of("attach_reject", rows)) & (
        moment.of("account_inactive", rows) == 0
    )
    locked = moment.happens(rows, moment.of("band_locked", rows))
    answered = moment.dice.binomial(2, 0.9996 * (1 - s6a), len(rows))
    tally.ratio("s6a_succ/s6a_req", rows, answered, 2.0)
    secure = moment.happens(rows, 0.9975 * (1 - _VECTORS_ASKED * s6a))
    tally.ratio("auth_succ/auth_att", rows, secure)
    session = moment.happens(rows, 0.9965 * (1 - moment.of("session_reject", rows)))
    session &= moment.of("apn_wrong", rows) == 0
    reached = allowed & ~refused & ~locked & secure & (answered == 2)
    tally.ratio("pdn_succ/pdn_att", rows[reached], session[reached])
    own = moment.happens(
        rows, 0.995 - 0.015 * (moment.level[rows] == 2) - transport - 0.1 * excess_bler(moment, rows)
    )
    own &= ~refused & ~locked & allowed & secure & ~moment.voltage_gone(rows)
    moment.refused_s6a[rows], moment.refused_pdn[rows] = answered < 2, ~session
    done = own & (answered == 2) & session
    tally.ratio("attach_succ/attach_att", rows, done)
    took = queues.skewed(moment.dice, 500.0 + _ROUND_TRIPS_OF_ATTACH * moment.air_ms(rows), 0.25, len(rows))
    took = took + 250.0 * mme_queue(moment, rows) * np.exp(0.3 * moment.dice.standard_normal(len(rows)))
    lost = moment.happens(rows, 6 * transport)  # a lost NAS message waits for its timer
    took = took + 8.0 * moment.of("backhaul_delay_ms", rows) + 6000.0 * lost
    took = took * np.where(moment.of("band_locked", rows) > 0, 5.0, 1.0)
    tally.sample("attach_s", rows[done | locked], took[done | locked] / 1000.0)
    granted(moment, rows[done])
    moment.served[rows[done]] = True
    return own, took


def granted(moment: Moment, rows: np.ndarray) -> None:
    """Count whether the power saving timers are granted as requested."""
    moment.tally.ratio(
        "psm_match/psm_req", rows, ~moment.happens(rows, 0.013 + moment.of("timer_mismatch", rows))
    )


def subscription(moment: Moment, rows: np.ndarray) -> Ended:
    """Fetch the subscription from the HSS."""
    return ~moment.refused_s6a[rows], queues.skewed(moment.dice, 45.0, 0.5, len(rows))


def bearer(moment: Moment, rows: np.ndarray) -> Ended:
    """Create the session at SGW and PGW."""
    took = queues.skewed(moment.dice, 50.0, 0.5, len(rows)) + moment.of("session_delay_ms", rows)
    return ~moment.refused_pdn[rows], took


def subscription_and_bearer(moment: Moment, rows: np.ndarray) -> Ended:
    """Both as one step."""
    (known, first_ms), (open_, more_ms) = subscription(moment, rows), bearer(moment, rows)
    return known & open_, first_ms + more_ms


def service_request(moment: Moment, rows: np.ndarray) -> Ended:
    """Ask the MME for service; a riding lock that left its areas updates them first."""
    refused = congested(moment, rows)
    chance = 0.9935 * (1 - moment.of("backhaul_loss", rows)) * (1 - 0.05 * excess_bler(moment, rows))
    allowed = _may_register(moment, rows) & ~refused
    first = allowed & moment.happens(rows, chance)
    second = allowed & ~first & moment.happens(rows, chance)
    moment.tally.ratio("sr_succ/sr_att", rows, first | second, 1.0 + (allowed & ~first))
    accepted = first | second
    moment.served[rows[accepted]] = True
    comes_along = ~moment.own[rows] & moment.happens(rows, _STRANGERS_UPDATE)
    update_area(moment, rows[comes_along & (moment.of("account_inactive", rows) == 0)])
    took = queues.skewed(moment.dice, 60.0 + 0.25 * moment.air_ms(rows), 0.3, len(rows))
    took = took * mme_queue(moment, rows) + _ASK_AGAIN_MS * second
    took = took + (1.0 - radio.SETUP_IN_RRC) * moment.setup_ms(rows)  # until the network lets the module go
    return accepted, took + moment.of("backhaul_delay_ms", rows)


def update_area(moment: Moment, rows: np.ndarray) -> None:
    """Count tracking area updates of strangers, and those of movement; periodic ones are of `registration`."""
    chance = _chance(
        moment.of("backhaul_loss", rows), moment.of("s6a_reject", rows), moment.mme_utilisation[rows]
    )
    moment.tally.ratio("tau_succ/tau_att", rows, moment.happens(rows, chance))
    granted(moment, rows)


def update_chance(area: Area, pressure: Pressure, at_s: np.ndarray) -> np.ndarray:
    """Return the chance of an area update at some moments, under what faults press there."""
    load = area.plan.settings.base_utilisation.mme * daily_profile(at_s) + pressure.of("mme_load")
    return _chance(pressure.of("backhaul_loss"), pressure.of("s6a_reject"), load)


def _chance(backhaul_loss: np.ndarray, s6a_reject: np.ndarray, mme_utilisation: np.ndarray) -> np.ndarray:
    let_in = 1 - queues.overload_loss(mme_utilisation)
    return np.asarray(let_in * _UPDATED * (1 - backhaul_loss) * (1 - _FETCHED_ANEW * s6a_reject))


def change_cell(moment: Moment, rows: np.ndarray) -> Ended:
    """Select another cell while riding: no handover, so the connection is set up anew."""
    update_area(moment, rows[moment.attempts.riding[rows] & moment.happens(rows, _TAU_SHARE)])
    return np.ones(len(rows), bool), np.where(moment.attempts.riding[rows], 300.0, 0.0)


def core_path(moment: Moment, rows: np.ndarray) -> Ended:
    """Carry a datagram from MME to SGi; what is lost here the application protocol sends again."""
    took = queues.skewed(moment.dice, 38.0 * mme_queue(moment, rows), 0.55, len(rows))
    took = took + moment.of("session_delay_ms", rows) + 0.5 * moment.of("backhaul_delay_ms", rows)
    moment.tally.sample("nas_data_ms", rows, took)
    return np.ones(len(rows), bool), took


def notify_downlink(moment: Moment, rows: np.ndarray) -> Ended:
    """Tell the MME that data waits; for who has used up his package the gateway does not."""
    took = queues.skewed(moment.dice, 25.0, 0.4, len(rows)) * mme_queue(moment, rows)
    return ~moment.cut_off(rows), took


def page(moment: Moment, rows: np.ndarray) -> Ended:
    """Page the device; once more after it did not answer. Asleep is who keeps other timers than the MME thinks."""
    asleep = moment.happens(rows, 0.004 + _ASLEEP * moment.of("timer_mismatch", rows))
    asleep |= moment.happens(rows, moment.of("power_saving_wrong", rows)) | moment.silent[rows]
    asleep |= _sleeps_again(moment, rows)
    gone = moment.searching[rows]
    asleep |= (moment.of("account_inactive", rows) + moment.of("apn_wrong", rows)) > 0
    deaf = 1.0 / (1.0 + np.exp(np.clip((moment.nsinr[rows] + 6.0) / 2.0, -30, 30)))
    lost = 1.0 / (1.0 + np.exp(np.clip((moment.nrsrp[rows] + 126.0) / 2.0, -30, 30)))
    full = queues.overload_loss(moment.dl_utilisation[rows]) + 1.2 * queues.overload_loss(
        moment.mme_utilisation[rows]
    )
    busy = 0.12 * np.maximum(moment.dl_utilisation[rows] - 60.0, 0.0) / 40.0  # the paging channel is shared
    astray = moment.happens(rows, moment.of("paging_loss", rows))
    heard = _PAGE_HEARD[moment.level[rows]] * (1 - 0.6 * deaf) * (1 - 0.7 * lost)
    heard = np.clip(heard * (1 - full) * (1 - busy), 0.0, 1.0) * ~gone
    first = moment.happens(rows, heard) & ~astray
    second = moment.happens(rows, heard) & ~(astray & moment.happens(rows, _ASTRAY_AGAIN))
    ok = ~asleep & (first | second)
    awake = rows[~asleep]
    moment.tally.ratio("paging_succ/paging_att", awake, (first | second)[~asleep], 1.0 + (~first)[~asleep])
    unreachable = moment.happens(rows, 0.012) | ~ok
    moment.tally.ratio("ddn_unreach/ddn_att", rows, unreachable)
    drx_ms = 1000.0 * moment.area.plan.patterns.bike_sharing.timers.drx_s
    took = moment.dice.random(len(rows)) * drx_ms * 0.5 + 12.0 * moment.dl_repetition[rows] * moment.dl_queue(
        rows
    )
    late = np.where(moment.of("power_saving_wrong", rows) > 0, 8000.0, 0.0) * moment.dice.random(len(rows))
    late = late + np.where(moment.of("timer_mismatch", rows) > 0, 1500.0, 0.0) * moment.dice.random(len(rows))
    return ok, took + late + _PAGE_AGAIN_MS * ~first


def _sleeps_again(moment: Moment, rows: np.ndarray) -> np.ndarray:
    """Return which sensors a command comes too late for: T3324 after their heartbeat is over."""
    sensor = moment.attempts.process[rows] == "ss_command"
    waited_s = _COMMAND_AFTER_S + moment.queued_ms[rows] / 1000.0
    return np.asarray(sensor & (waited_s > moment.area.plan.patterns.smoke_sensor.timers.t3324_s))
