"""Other devices of the operator: their attempts share the elements, and at them the elements' own gauges are read."""

import numpy as np

from evaluation.simulation.province.attempts import NOBODY, Attempts, joined, made
from evaluation.simulation.province.faults import DAY_S
from evaluation.simulation.province.moment import Moment
from evaluation.simulation.province.topology import Area

WINDOW_S = 900.0
_PROCESS = {
    "report": "ss_heartbeat",
    "login": "ss_onboarding",
    "command": "bk_unlock",
    "mqtt": "bk_lock_online",
}
_INDOOR_SHARE, _WALL_DB, _WALL_SD_DB = 0.3, 14.0, 7.0
_OPPORTUNITIES = 2000  # of NPRACH in the stretch a gauge stands for
_MOST_OFFERED = 10.0  # of the opportunities: beyond it all are taken, however many more ask
_PACKETS = 400  # GTP-U packets in it
_PROBE_EVERY_S = 10.0


def live(area: Area, day: int, rng: np.random.Generator) -> Attempts:
    """Return the attempts of others, as many in each cell and 15 minutes."""
    settings = area.plan.settings.background
    each, windows = settings.attempts_per_cell_window, int(DAY_S / WINDOW_S)
    size = each * windows * len(area.cells)
    cell = np.repeat(np.arange(len(area.cells)), each * windows)
    slot = np.tile(np.repeat(np.arange(windows), each), len(area.cells))
    part = np.tile(np.arange(each), windows * len(area.cells))
    at = day * DAY_S + WINDOW_S * (slot + (part + rng.random(size)) / each)
    away, turn = area.radius_km * np.sqrt(rng.random(size)), rng.uniform(0, 2 * np.pi, size)
    x, y = area.cells.x_km[cell] + away * np.cos(turn), area.cells.y_km[cell] + away * np.sin(turn)
    wall = np.maximum(rng.normal(_WALL_DB, _WALL_SD_DB, size), 3.0) * (rng.random(size) < _INDOOR_SHARE)
    share = {name: getattr(settings.share, name) for name in _PROCESS}
    kind = rng.choice(len(share), size, p=np.array(list(share.values())) / sum(share.values()))
    return joined(
        [
            made(
                np.full(rows.size, NOBODY),
                at[rows],
                _PROCESS[name],
                x[rows],
                y[rows],
                extra_db=wall[rows] + 4.0,
            )
            for number, name in enumerate(share)
            if (rows := np.flatnonzero(kind == number)).size
        ]
    )


def read_gauges(moment: Moment) -> None:
    """Count what elements measure without any attempt: utilisation, noise, availability, loss; where others are."""
    rows, tally, dice = np.flatnonzero(~moment.own), moment.gauges, moment.dice
    each = moment.area.plan.settings.background.attempts_per_cell_window
    span_s = WINDOW_S / each
    for counter, values in (
        ("npusch_used/npusch_avail", moment.ul_utilisation[rows]),
        ("npdl_used/npdl_avail", moment.dl_utilisation[rows]),
    ):
        tally.ratio(
            counter, rows, np.clip(values + dice.normal(0, 3, len(rows)), 0, 100) * span_s, 100.0 * span_s
        )
    offered = _OPPORTUNITIES * np.clip(moment.nprach_load[rows] / 100.0, 0.0, _MOST_OFFERED)
    detected = np.minimum(dice.poisson(offered), _OPPORTUNITIES)
    tally.ratio("preambles_detected/nprach_opportunities", rows, detected, float(_OPPORTUNITIES))
    tally.sample("ul_in_dbm_15k", rows, moment.ul_noise_dbm[rows] + dice.normal(0, 0.8, len(rows)))
    seconds = _shares_of_a_window(moment, rows)
    tally.ratio("cell_available_s/window_s", rows, seconds * (1 - moment.of("cell_outage", rows)), seconds)
    lost = dice.binomial(_PACKETS, np.clip(0.00018 + moment.of("backhaul_loss", rows), 0.0, 1.0))
    tally.ratio("gtpu_lost/gtpu_expected", rows, lost, float(_PACKETS))
    echo = 6.0 * np.exp(0.38 * dice.standard_normal(len(rows)))
    queue = moment.of("backhaul_delay_ms", rows) * (0.5 + 0.5 * dice.random(len(rows)))
    tally.sample("backhaul_rtt_ms", rows, echo + queue)
    probes = max(1, round(span_s / _PROBE_EVERY_S))
    good = dice.binomial(probes, 0.99998 * (1 - moment.of("access_outage", rows)))
    tally.ratio("probe_ok/probe_all", rows, good, float(probes))


def _shares_of_a_window(moment: Moment, rows: np.ndarray) -> np.ndarray:
    """Return the seconds that each reading stands for, so that those of one cell and window are the whole window."""
    slot = (moment.attempts.at_s[rows] // WINDOW_S).astype("int64")
    window = slot * len(moment.area.cells) + moment.meant_cell[rows]
    _, place, readings = np.unique(window, return_inverse=True, return_counts=True)
    return np.asarray(WINDOW_S / readings[place])
