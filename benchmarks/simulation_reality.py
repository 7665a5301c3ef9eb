"""Simulated and measured NB-IoT over each other: what the laws of the province say where a real modem was measured.

python benchmarks/simulation_reality.py DIR PICTURE.png, DIR being the logs that docs/nbiot.md tells of. The laws get
NRSRP and NSINR of each logged row; their coverage level and the time of one exchange are held against the logged ones.
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from scipy.stats import ks_2samp

from evaluation import nbiot
from evaluation.simulation.province import queues, radio, topology
from evaluation.simulation.province.settings import ProvinceSettings
from evaluation.svg import OURS, RULE, WRONG
from features.configuration import find_config, read_config

SEED = 1
CE1_DBM, CE2_DBM = -100.0, -118.0  # ce_threshold_dbm of configs/province.yaml
UL_NOISE_DBM = -125.0


def simulated(table: pd.DataFrame) -> pd.DataFrame:
    """Return level and ms of one exchange by the laws, for the radio of each row."""
    rng = np.random.default_rng(SEED)
    power, nsinr = table["rsrp_dbm"].to_numpy(), table["snr_db"].to_numpy()
    level = radio.coverage_level(power, CE1_DBM, CE2_DBM)
    up = radio.ul_repetitions(radio.uplink_snr_db(power, UL_NOISE_DBM), level)
    air = radio.air_time_ms(radio.dl_repetitions(nsinr, level), up)
    took = queues.skewed(rng, 330.0 + air, 0.42, len(table))
    took = took + queues.skewed(rng, 110.0 + air, 0.3, len(table))
    network = rng.choice(radio.NETWORK_SETUP, len(table))
    idle = (
        ~table["test"].str.startswith("echo").to_numpy()
    )  # an echo is sent while connected: nothing is set up
    took = took + idle * queues.skewed(rng, radio.SETUP_MS * network, radio.SETUP_SIGMA, len(table))
    return pd.DataFrame(
        {"level": level, "ms": took, "real_level": table["ecl"], "real_ms": table["tx_time_ms"]}
    )


def walked_level(table: pd.DataFrame) -> np.ndarray:
    """Return the level that the province draws: each log is a module of some maker in a cell of some network."""
    rng = np.random.default_rng(SEED)
    settings = read_config(find_config("province.yaml"), ProvinceSettings)
    log, files = pd.factorize(table["file"])
    vendor = rng.integers(0, len(topology.VENDORS), len(files))
    ce1, ce2 = topology.thresholds(settings.ce_threshold_dbm, vendor, rng.standard_normal(len(files)))
    maker = rng.integers(0, len(radio.MODULE_OFFSET_DB), len(files))
    compared = table["rsrp_dbm"].to_numpy() + radio.MODULE_OFFSET_DB[maker][log]
    compared = compared + rng.normal(0, radio.CHOICE_SD_DB, len(table))
    return radio.coverage_level(compared, ce1[log], ce2[log])


def main() -> None:
    """Print a line for each test and level, and draw the distributions."""
    table = nbiot.read_logs(Path(sys.argv[1])).table
    known = table.dropna(subset=["rsrp_dbm", "snr_db", "ecl"])
    both = simulated(known).assign(
        test=known["test"].str.split("/").str[0].to_numpy(), vendor=known["vendor"].to_numpy()
    )
    right = (both["level"] == both["real_level"]).mean()
    print(f"coverage level by {CE1_DBM:.0f}/{CE2_DBM:.0f} dBm: accuracy {right:.3f} of {len(both):,} rows")
    walked = (walked_level(known) == known["ecl"]).mean()
    print(
        f"coverage level by the law of a province, network, cell and maker drawn for each log: {walked:.3f}"
    )
    timed = both.dropna(subset=["real_ms"]).query("real_ms > 0")
    for (test, level), rows in timed.groupby(["test", "real_level"]):
        apart = ks_2samp(rows["ms"], rows["real_ms"]).statistic
        print(f"{test:8s} level {level:.0f}: {len(rows):5d} rows, median {rows['ms'].median():7.0f} ms simulated,"
              f" {rows['real_ms'].median():7.0f} ms real, Kolmogorov-Smirnov {apart:.2f}")  # fmt: skip
    if len(sys.argv) > 2:
        draw(timed[timed["test"].isin(("echo", "release"))], Path(sys.argv[2]))


def draw(rows: pd.DataFrame, out: Path) -> None:
    """Draw the cumulative distributions of one datagram and its answer, one panel a level."""
    mpl.use("agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import PercentFormatter, StrMethodFormatter

    figure, axes = plt.subplots(1, 3, figsize=(10, 4.2), sharey=True, sharex=True, layout="constrained")
    figure.suptitle(
        "One NB-IoT exchange: simulated beside real modems (nbiot_robinson; tests echo and release)",
        x=0.01, ha="left", size=11, weight="bold",
    )  # fmt: skip
    for level, panel in enumerate(axes):
        here = rows[rows["real_level"] == level]
        for name, told, look in (("ms", "simulated", (OURS, "-")), ("real_ms", "real modems", (WRONG, "--"))):
            seconds = np.sort(here[name].to_numpy()) / 1000.0
            share = np.arange(1, len(seconds) + 1) / max(len(seconds), 1)
            panel.step(seconds, share, where="post", color=look[0], linestyle=look[1], label=told)
        panel.set_title(f"coverage level {level} ({len(here):,} exchanges)", size=10, loc="left")
        panel.set(xscale="log", xlim=(0.2, 30), ylim=(0, 1.02), xlabel="time of an exchange, s (log scale)")
        panel.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        panel.yaxis.set_major_formatter(PercentFormatter(1.0))
        panel.grid(color=RULE, linewidth=0.6)
        panel.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("exchanges that took no longer")
    axes[0].legend(frameon=False, loc="upper left")
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
