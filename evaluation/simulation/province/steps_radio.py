"""Steps on the air: synchronise, random access, RRC. Each takes attempts and returns how each ends, and its ms."""

import numpy as np

from evaluation.simulation.province import queues, radio
from evaluation.simulation.province.moment import Moment

Ended = tuple[np.ndarray, np.ndarray]

_PROCEDURES = 3  # random access procedures before the NAS layer gives up
_OCCASION_MS = np.array([40.0, 160.0, 640.0])  # between two NPRACH occasions of a level
_RESOLVED = np.array([0.997, 0.970, 0.905])  # Msg3 and Msg4 at an idle cell
_NEXT_LEVEL_MS = 1500.0
_WEAK_DBM, _WEAK_DB = -110.0, -3.0  # weak_coverage_ratio
_BLOCKS = 4  # transport blocks of an attempt, each way
_HEALTHY_BLER = 0.10


def excess_bler(moment: Moment, rows: np.ndarray) -> np.ndarray:
    """Return the share of blocks that fail beyond what link adaptation aims at."""
    return np.asarray(np.maximum(moment.bler[rows] - _HEALTHY_BLER, 0.0))


def synchronise(moment: Moment, rows: np.ndarray) -> Ended:
    """Find the cell: below the maximum coupling loss there is none."""
    found = 1.0 / (1.0 + np.exp(-np.clip((moment.nrsrp[rows] + 138.0) / 1.5, -30, 30)))
    took = queues.skewed(moment.dice, 220.0 + 12.0 * moment.dl_repetition[rows], 0.3, len(rows))
    return moment.happens(rows, found) & ~moment.searching[rows], took


def random_access(moment: Moment, rows: np.ndarray) -> Ended:
    """Send preambles until one is heard and the contention is resolved, at most three procedures."""
    level, load = moment.level[rows], moment.nprach_load[rows]
    heard_each = np.clip(radio.preamble_success(moment.snr_db[rows], level, load), 1e-6, 1 - 1e-9)
    heard = 1.0 - (1.0 - heard_each) ** radio.PREAMBLE_ATTEMPTS
    resolved = np.exp(-0.2 * load / 100.0) * _RESOLVED[level] * (1.0 - 0.5 * excess_bler(moment, rows))
    above = np.minimum(level + 1, 2)
    each_above = np.clip(radio.preamble_success(moment.snr_db[rows], above, load), 1e-6, 1 - 1e-9)
    climbs = 1.0 - (1.0 - each_above) ** radio.PREAMBLE_ATTEMPTS  # ten more tries, with more repetitions
    success = heard * resolved
    failures = np.floor(
        np.log(moment.dice.random(len(rows))) / np.log(np.clip(1.0 - success, 1e-9, 1 - 1e-9))
    )
    ok = failures < _PROCEDURES
    saved = ~ok & moment.happens(rows, climbs * resolved * (level < 2))
    counted = np.minimum(failures, _PROCEDURES - 1) + 1.0
    for each in range(3):
        here = level == each
        moment.tally.ratio(f"rach_succ_ce{each}/rach_att_ce{each}", rows[here], ok[here], counted[here])
    moment.tally.ratio("rach_att_ce2/rach_att_all", rows, counted * (level == 2), counted)
    tries = np.minimum(1.0 + moment.dice.exponential(1.0 / heard_each - 1.0), radio.PREAMBLE_ATTEMPTS)
    took = (tries + 3.0 * np.minimum(failures, _PROCEDURES)) * _OCCASION_MS[level] + _NEXT_LEVEL_MS * saved
    moment.rach_ms[rows] = took
    moment.climb(rows[saved])
    return ok | saved, took


def connect(moment: Moment, rows: np.ndarray) -> Ended:
    """Set up RRC: refused by a full cell, slowed by repetitions and queues."""
    full = queues.overload_loss(np.maximum(moment.ul_utilisation[rows], moment.dl_utilisation[rows]))
    deaf = 1.0 / (1.0 + np.exp(np.clip((moment.nsinr[rows] + 3.0) / 1.5, -30, 30)))
    each = 0.9955 * (1 - full) * (1 - 0.06 * deaf) * (1 - 0.25 * excess_bler(moment, rows))
    each *= 1.0 - np.array([0.0, 0.004, 0.02])[moment.level[rows]]
    first, second = moment.happens(rows, each), moment.happens(rows, each)
    moment.tally.ratio("rrc_setup_succ/rrc_setup_att", rows, first + ~first * second, 1.0 + ~first)
    took = radio.SETUP_IN_RRC * moment.setup_ms(rows)
    took = took + queues.skewed(moment.dice, 110.0 + moment.air_ms(rows), 0.3, len(rows)) * (1.0 + ~first)
    ok = first | second
    _count_radio(moment, rows[ok], moment.rach_ms[rows[ok]] + took[ok])
    return ok, took


def connect_at_once(moment: Moment, rows: np.ndarray) -> Ended:
    """Random access and RRC as one step."""
    heard, first_ms = random_access(moment, rows)
    ok, took = heard.copy(), first_ms.copy()
    set_up, more_ms = connect(moment, rows[heard])
    ok[heard], took[heard] = set_up, first_ms[heard] + more_ms
    return ok, took


def _count_radio(moment: Moment, rows: np.ndarray, setup_ms: np.ndarray) -> None:
    tally, nsinr = moment.tally, moment.nsinr[rows]
    nrsrp = np.clip(moment.nrsrp[rows], *radio.MEASURED_NRSRP_DBM)
    tally.sample("rrc_setup_ms", rows, setup_ms)
    tally.sample("nrsrp_dbm", rows, nrsrp)
    tally.sample("nsinr_db", rows, nsinr)
    tally.ratio("weak_samples/radio_samples", rows, (nrsrp < _WEAK_DBM) | (nsinr < _WEAK_DB))
    tally.ratio("npusch_repetitions/npusch_tb", rows, moment.ul_repetition[rows] * _BLOCKS, _BLOCKS)
    tally.ratio("npdsch_repetitions/npdsch_tb", rows, moment.dl_repetition[rows] * _BLOCKS, _BLOCKS)
    failed = moment.dice.binomial(_BLOCKS, moment.bler[rows])
    tally.ratio("npusch_crc_fail/npusch_first_tx", rows, failed, _BLOCKS)
    tally.ratio(
        "phr_lowest/phr_all", rows, radio.at_full_power(moment.nrsrp[rows], moment.ul_noise_dbm[rows])
    )
    deaf = 1.0 / (1.0 + np.exp(np.clip((nsinr + 3.0) / 1.5, -30, 30)))
    drops = (
        0.0035
        + np.array([0.0, 0.008, 0.02])[moment.level[rows]]
        + 0.12 * deaf
        + 0.08 * excess_bler(moment, rows)
    )
    drops += 0.004 * moment.attempts.riding[rows] + 0.3 * moment.of("backhaul_loss", rows)
    tally.ratio("ctx_rel_abnormal/ctx_rel_all", rows, moment.happens(rows, drops))
