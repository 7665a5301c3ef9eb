"""Leave one vendor out: constants of the simulated radio fitted on two vendors' logs, judged on the third.

    python benchmarks/simulation_fit.py --province PROVINCE [--data DATA]

Fitted are the first threshold, the second, the makers' offset and the spread of the level's law, and the median and the
spread of the set-up time. The province gives the other parts of a delay. Figures are of the development vendors.
"""

import argparse
import os
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from evaluation.nbiot import read_logs
from evaluation.simulation import reality
from evaluation.simulation.province import radio

SEED = 7
_CE1_DBM, _CE2_DBM = np.arange(-112.0, -91.0, 2.0), np.arange(-124.0, -111.0, 2.0)
_OFFSETS_DB, _SPREADS_DB = np.arange(0.0, 13.0, 2.5), np.arange(2.0, 15.0, 2.0)
_SETUP_MS, _SIGMAS = np.arange(400.0, 2200.0, 100.0), np.arange(0.2, 0.81, 0.1)
_CE2_SPREAD = 0.5  # of the spread of the first threshold, as the province's cells have it
_LOWEST_DBM, _HIGHEST_DBM = -130.0, -60.0  # where somebody lives, and a module hears


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    default = Path(os.environ.get("IOTLENS_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--province", type=Path, required=True, help="a simulated province")
    found.add_argument("--data", type=Path, default=default, help="holds nbiot_robinson")
    return found.parse_args()


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


def without_setup(province: Path) -> pd.DataFrame:
    """Return level and ms of reports less their median set-up time, at most 1,000 a level, with a normal draw each."""
    rng = np.random.default_rng(SEED)
    told = reality.simulated_reports(province)
    some = told.groupby("level").sample(frac=1.0, random_state=SEED).groupby("level").head(1000)
    fastest = some.groupby("level")["delay_ms"].transform("median") - radio.SETUP_MS
    spread = np.exp(
        0.3 * rng.standard_normal(len(some))
    )  # of the radio steps: 0.3 in steps_radio and steps_core
    return some.assign(rest_ms=fastest * spread, draw=rng.standard_normal(len(some)))


def main() -> None:
    """Print a table: the vendor left out, what the others say, and the distances on it."""
    chosen = arguments()
    real = reality.real_events(read_logs(chosen.data / "nbiot_robinson").table)
    rest = without_setup(chosen.province)
    laws = [law for law in product(_CE1_DBM, _CE2_DBM, _OFFSETS_DB, _SPREADS_DB) if law[0] > law[1]]
    setups = list(product(_SETUP_MS, _SIGMAS))
    logs = {str(vendor): rows for vendor, rows in real.groupby("vendor")}
    levels = {v: np.array([level_distance(m, law) for law in laws])
              for v, m in ((v, measured_levels(rows)) for v, rows in logs.items())}  # fmt: skip
    delays = {v: np.array([delay_distances(rows, rest, one) for one in setups]) for v, rows in logs.items()}
    print(
        "| left out | ce1 / ce2, offset, spread | level | set-up, sigma | CE0 | CE1 | CE2 |\n"
        + "|---" * 7
        + "|"
    )
    for vendor in logs:
        others = [name for name in logs if name != vendor]
        best = int(np.mean([levels[name] for name in others], axis=0).argmin())
        set_up = int(np.mean([np.nanmean(delays[name], axis=1) for name in others], axis=0).argmin())
        law, (median, sigma) = laws[best], setups[set_up]
        apart = " | ".join(f"{one:.3f}" for one in delays[vendor][set_up])
        print(f"| {vendor} | {law[0]:.0f} / {law[1]:.0f} dBm, {law[2]:.1f}, {law[3]:.0f} dB |"
              f" {levels[vendor][best]:.3f} | {median:,.0f} ms, {sigma:.1f} | {apart} |")  # fmt: skip


if __name__ == "__main__":
    main()
