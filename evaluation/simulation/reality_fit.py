"""Leave one vendor out: constants of the simulated radio fitted on two vendors' logs, judged on the third.

Fitted are the two thresholds, the makers' offset and the spread of the level's law, and median and spread of the
set-up time; a province gives the other parts of a delay. It checks the constants in radio.py, and does not make them.
"""

from itertools import product

import numpy as np
import pandas as pd
from scipy.stats import norm

from evaluation.simulation import reality
from evaluation.simulation.province import radio

_CE1_DBM, _CE2_DBM = np.arange(-112.0, -91.0, 2.0), np.arange(-124.0, -111.0, 2.0)
_OFFSETS_DB, _SPREADS_DB = np.arange(0.0, 13.0, 2.5), np.arange(2.0, 15.0, 2.0)
_SETUP_MS, _SIGMAS = np.arange(400.0, 2200.0, 100.0), np.arange(0.2, 0.81, 0.1)
_STEP_SIGMA = 0.3  # of the steps on the air: steps_radio and steps_core
_CE2_SPREAD = 0.5  # of the spread of the first threshold, as the province's cells have it
_LOWEST_DBM, _HIGHEST_DBM = -130.0, -60.0  # where somebody lives, and a module hears


def shares(power_dbm: np.ndarray, law: tuple[float, float, float, float]) -> np.ndarray:
    """Return the chance of level 0, and of at most level 1, by the law, (n, 2). law: ce1, ce2, offset, spread."""
    ce1, ce2, offset, spread = law
    above = [
        np.mean([norm.cdf((power_dbm + by - at) / sd) for by in (-offset, offset)], axis=0)
        for at, sd in ((ce1, spread), (ce2, _CE2_SPREAD * spread))
    ]
    return np.column_stack([np.minimum(*above), np.maximum(*above)])


def measured_levels(real: pd.DataFrame) -> pd.DataFrame:
    """Return by the middle of 5 dB of NRSRP the rows, and the share of level 0 (`ce0`) and of 0 and 1 (`ce1`)."""
    told = reality.level_shares(real)
    told = told[(told["rows"] >= reality.LEAST) & (told.index >= _LOWEST_DBM) & (told.index < _HIGHEST_DBM)]
    return pd.DataFrame({"rows": told["rows"], "ce0": told[0], "ce1": told[0] + told[1]}).set_index(
        told.index + reality.BIN_DB / 2
    )


def level_distance(measured: pd.DataFrame, law: tuple[float, float, float, float]) -> float:
    """Return the distance of levels within 5 dB of NRSRP, the mean by measured rows."""
    apart = np.abs(measured[["ce0", "ce1"]].to_numpy() - shares(measured.index.to_numpy(), law)).max(axis=1)
    return float(np.average(apart, weights=measured["rows"]))


def delay_distances(real: pd.DataFrame, rest: pd.DataFrame, setup: tuple[float, float]) -> list[float]:
    """Return the distance of access and sending at each level. rest: without set-up time. setup: ms, sigma."""
    median, sigma = setup
    longer = median * np.exp(sigma * rest["draw"])
    return [
        reality.ks_distance(
            real.loc[real["level"] == level, "delay_ms"].to_numpy(),
            (rest["rest_ms"] + longer)[rest["level"] == level].to_numpy(),
        )
        for level in reality.LEVELS
    ]


def without_setup(simulated: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """Return level and ms of reports less the median set-up time, at most 1,000 a level, with a normal draw each."""
    rng = np.random.default_rng(seed)
    mixed = simulated.sample(frac=1.0, random_state=seed)
    some = mixed.groupby("level").head(1000)
    usual = some.groupby("level")["delay_ms"].transform("median") - radio.SETUP_MS
    spread = np.exp(_STEP_SIGMA * rng.standard_normal(len(some)))
    return some.assign(rest_ms=usual * spread, draw=rng.standard_normal(len(some)))


def leave_one_out(real: pd.DataFrame, simulated: pd.DataFrame, *, seed: int) -> str:
    """Return a Markdown table: the vendor left out, what is fitted to the others, and the distances on it."""
    rest, setups = without_setup(simulated, seed=seed), list(product(_SETUP_MS, _SIGMAS))
    laws = [law for law in product(_CE1_DBM, _CE2_DBM, _OFFSETS_DB, _SPREADS_DB) if law[0] > law[1]]
    logs = {str(vendor): rows for vendor, rows in real.groupby("vendor")}
    levels, delays = {}, {}
    for name, rows in logs.items():
        measured = measured_levels(rows)
        levels[name] = np.array([level_distance(measured, law) for law in laws])
        delays[name] = np.array([delay_distances(rows, rest, one) for one in setups])
    lines = [
        "| left out | fitted: CE1 / CE2, makers, spread | level | fitted: set-up, sigma | CE0 | CE1 | CE2 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in logs:
        others = [other for other in logs if other != name]
        best = int(np.mean([levels[other] for other in others], axis=0).argmin())
        longer = int(np.mean([np.nanmean(delays[other], axis=1) for other in others], axis=0).argmin())
        (ce1, ce2, offset, spread), (median, sigma) = laws[best], setups[longer]
        apart = " | ".join(f"{one:.3f}" for one in delays[name][longer])
        law = f"{ce1:.0f} / {ce2:.0f} dBm, +-{offset:.1f} dB, {spread:.0f} dB"
        lines.append(
            f"| {name} | {law} | {levels[name][best]:.3f} | {median:,.0f} ms, {sigma:.1f} | {apart} |"
        )
    return "\n".join(lines) + "\n"
