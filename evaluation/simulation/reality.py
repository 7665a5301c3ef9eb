"""A simulated province held against measurements: logs of real NB-IoT modems, packets of a CoAP test bed.

Only like is compared with like: on the modems' side what a module did after it accessed the cell, on the simulated side
days on which a sensor reported once, so that its counters and its level are of that one report.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.dataset as ds
from scipy.stats import ks_2samp

from features import sketch

LEVELS = (0, 1, 2)
LEAST = 8  # values on either side; below, no distance is told
BIN_DB = 5.0
_SENT = r"^release/release(\d+)$"  # the test that sends so many bytes and lets the network go
_MOST_BYTES = 128  # of a report
_CAPTURES = ("idle.csv.gz", "observe.csv.gz")  # attack.csv.gz is of another kind
_EXCHANGE_LIFETIME_MS = 247_000  # RFC 7252, 4.8.2
_CONTENT, _CONFIRMABLE, _ACKNOWLEDGED = 69, 0, 2  # CoAP code 2.05 and message types
_SAMPLES = {"nrsrp_dbm": "nrsrp_dbm", "nsinr_db": "nsinr_db"}
ALL = "all vendors"
LEVEL_PLAIN, LEVEL, NSINR = "Level, as it came", "Level at the same NRSRP", "NSINR at the same NRSRP"
DELAY, AIR, AGAIN = "Access and sending", "Air time up, over that at CE0", "Blocks sent again"
BY_LEVEL = {"delay_ms": (DELAY, "ms", True), "air": (AIR, "1", True), "sent_again": (AGAIN, "1", False)}
_RATIOS = {
    "npusch_repetitions/npusch_tb": "ul_repetitions",
    "npdsch_repetitions/npdsch_tb": "dl_repetitions",
    "npusch_crc_fail/npusch_first_tx": "sent_again",
}  # counter -> column


@dataclass(frozen=True)
class Compared:
    """One quantity under one condition, measured and simulated. log: it is shown on a logarithmic scale."""

    quantity: str
    condition: str
    unit: str
    real: np.ndarray
    simulated: np.ndarray
    log: bool = False

    @property
    def distance(self) -> float:
        """The Kolmogorov-Smirnov distance; NaN where either side has too few values."""
        return ks_distance(self.real, self.simulated)


def ks_distance(real: np.ndarray, simulated: np.ndarray) -> float:
    """Return the largest gap between two empirical distributions, 0 to 1; NaN below LEAST known values on a side.

    No p-value: rows of one log, and reports of one device, hang together.
    """
    sides = [side[~np.isnan(side)] for side in (real, simulated)]
    if min(len(side) for side in sides) < LEAST:
        return float("nan")
    return float(ks_2samp(*sides).statistic)


def ecdf(values: np.ndarray, *, points: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Return at most `points` quantiles of the known values, and the share of values up to each."""
    known = np.sort(values[~np.isnan(values)])
    share = np.linspace(0.0, 1.0, min(points, len(known))) if len(known) > 1 else np.ones(len(known))
    return (np.quantile(known, share) if len(known) else known), share


def real_events(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row an access of a real module with level and power known. table: under evaluation.nbiot.NBIOT.

    payload_bytes, delay_ms, energy: of a test that sends and releases, else empty. ms_per_block: time on air up over
    blocks sent since the row before; sent_again: blocks sent again over blocks sent, empty where no module of the
    table ever counted one: then nobody counts them.
    """
    step = table.groupby("file", sort=False)[["row", "modem_tx_ms", "tx_blocks", "retransmissions"]].diff()
    whole = (
        (step["row"] == 1)
        & (step["modem_tx_ms"] > 0)
        & (step["tx_blocks"] > 0)
        & (step["retransmissions"] >= 0)
    )
    counted = whole & bool(table["retransmissions"].max() > 0)
    payload = table["test"].str.extract(_SENT)[0].astype("float64")
    report = payload <= _MOST_BYTES
    events = pd.DataFrame(
        {
            "vendor": table["vendor"],
            "file": table["file"],
            "level": table["ecl"],
            "nrsrp_dbm": table["rsrp_dbm"],
            "nsinr_db": table["snr_db"],
            "delay_ms": table["tx_time_ms"].where(report & (table["tx_time_ms"] > 0)),
            "energy": table["energy"].where(report & (table["energy"] > 0)),
            "ms_per_block": (step["modem_tx_ms"] / step["tx_blocks"]).where(whole & report),
            "sent_again": (step["retransmissions"] / step["tx_blocks"]).where(counted & report),
        }
    )
    return events[table["accessed"] & events["level"].notna() & events["nrsrp_dbm"].notna()].reset_index(
        drop=True
    )


def simulated_reports(province: Path) -> pd.DataFrame:
    """Return one row a device and day on which a smoke sensor reported once, and succeeded at once.

    delay_ms: random access, RRC and the service request that carries the report. Level and radio are those its
    terminal record and its counters tell. Raises ValueError where no such day is found.
    """
    events = _dataset(province, "events").to_table(
        columns=["device_id", "process", "at", "ok", "step_ms"], filter=pc.field("service") == "smoke_sensor"
    )
    log: pd.DataFrame = events.to_pandas()
    log["day"] = log["at"].dt.floor("D")
    alone = ~log.duplicated(["device_id", "day"], keep=False) & log["ok"] & (log["process"] == "ss_heartbeat")
    once = log[alone].set_index(["device_id", "day"])
    if once.empty:
        raise ValueError(
            f"{province} must hold days on which a smoke sensor reports once; simulate more devices"
        )
    steps = np.stack([np.asarray(one)[1:4] for one in once["step_ms"]])
    once = once.assign(delay_ms=steps.sum(axis=1).astype("float64"))[["delay_ms"]]
    found: pd.DataFrame = once.join(_levels(province)).join(_radio(province)).dropna(subset=["level"])
    return found.reset_index(drop=True)


def matched(real: pd.DataFrame, simulated: pd.DataFrame, *, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both with the same NRSRP: for each real row a simulated one of its bin is drawn, with replacement.

    Real rows of bins that hold fewer than LEAST simulated ones are left out: attenuators reach where nobody lives.
    """
    rng = np.random.default_rng(seed)
    bins = simulated["nrsrp_dbm"] // BIN_DB
    kept, drawn = [], []
    for place, rows in real.groupby(real["nrsrp_dbm"] // BIN_DB):
        there = simulated[bins == place]
        if len(there) >= LEAST:
            kept.append(rows)
            drawn.append(there.iloc[rng.integers(0, len(there), len(rows))])
    if not kept:
        return real.iloc[:0], simulated.iloc[:0]
    return pd.concat(kept, ignore_index=True), pd.concat(drawn, ignore_index=True)


def level_shares(table: pd.DataFrame) -> pd.DataFrame:
    """Return by NRSRP bin (its lower edge, dBm) how many rows there are, and the share of each level."""
    edge = (table["nrsrp_dbm"] // BIN_DB * BIN_DB).rename("nrsrp_dbm")
    counts = table.groupby([edge, "level"]).size().unstack(fill_value=0).reindex(columns=LEVELS, fill_value=0)
    rows = counts.sum(axis=1)
    return counts.div(rows, axis=0).assign(rows=rows)


def level_gaps(real: pd.DataFrame, simulated: pd.DataFrame) -> pd.DataFrame:
    """Return by NRSRP bin the shares of each level on both sides, how many rows, and the distance of the levels.

    Only bins with LEAST rows on both sides. The distance is that of Kolmogorov and Smirnov, on the levels.
    """
    sides = {"real": level_shares(real), "simulated": level_shares(simulated)}
    sides = {name: shares[shares["rows"] >= LEAST] for name, shares in sides.items()}
    both = sides["real"].join(sides["simulated"], lsuffix="_real", rsuffix="_simulated", how="inner")
    sums = {
        name: both[[f"{level}_{name}" for level in LEVELS]].to_numpy(dtype="float64").cumsum(axis=1)
        for name in sides
    }
    return both.assign(distance=np.abs(sums["real"] - sums["simulated"]).max(axis=1))


def compare_radio(real: pd.DataFrame, simulated: pd.DataFrame, *, seed: int) -> list[Compared]:
    """Return level and NSINR at the same NRSRP, and delay, air time and blocks sent again at each level."""
    real = real.assign(air=real["ms_per_block"] / _usual(real, "ms_per_block"))
    simulated = simulated.assign(air=simulated["ul_repetitions"] / _usual(simulated, "ul_repetitions"))
    found = list(_at_same_power(real, simulated, seed=seed))
    for column, (quantity, unit, log) in BY_LEVEL.items():
        for vendor, rows in _with_all(real) if column != "sent_again" else [(ALL, real)]:
            for level in LEVELS:
                sides = _pair(rows[rows["level"] == level], simulated[simulated["level"] == level], column)
                found.append(Compared(quantity, f"CE{level}, {vendor}", unit, *sides, log=log))
    return found


def energy_ratios(real: pd.DataFrame, law_mah: tuple[float, float, float]) -> pd.DataFrame:
    """Return the median energy of a report at each level over that at CE0, by vendor, and beside it the law's.

    The unit of the logs is inferred; a ratio has none. law_mah: energy_per_report_mah of the fault catalogue.
    """
    medians = real.groupby(["vendor", "level"])["energy"].agg(["median", "count"])
    middle = medians["median"].where(medians["count"] >= LEAST).unstack().reindex(columns=LEVELS)
    ratios = middle.div(middle[0], axis=0)
    ratios.loc["simulated"] = np.asarray(law_mah) / law_mah[0]
    return ratios


def _at_same_power(real: pd.DataFrame, simulated: pd.DataFrame, *, seed: int) -> Iterator[Compared]:
    yield Compared(LEVEL_PLAIN, ALL, "-", *_pair(real, simulated, "level"))
    for column, quantity, unit in (("level", LEVEL, "-"), ("nsinr_db", NSINR, "dB")):
        for name, rows in _with_all(real):
            sides = matched(rows, simulated, seed=seed)
            yield Compared(quantity, name, unit, *_pair(*sides, column))


def _with_all(real: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(ALL, real), *((str(vendor), rows) for vendor, rows in real.groupby("vendor"))]


def _pair(real: pd.DataFrame, simulated: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    sides = [table[column].dropna().to_numpy(dtype="float64") for table in (real, simulated)]
    return sides[0], sides[1]


def _usual(table: pd.DataFrame, column: str) -> "pd.Series[float]":
    """Return for each row the median of level 0; of its own vendor where there are several."""
    vendor = table["vendor"] if "vendor" in table else pd.Series("", index=table.index)
    return vendor.map(table[table["level"] == 0].groupby(vendor)[column].median())


def _dataset(province: Path, name: str) -> ds.Dataset:
    if not (province / name).is_dir():
        raise ValueError(
            f"{province} must be a simulated province, but has no {name}/; run iotlens simulate province"
        )
    return ds.dataset(province / name)


def _levels(province: Path) -> pd.DataFrame:
    """Return the coverage level of devices and days where all attempts were of one level."""
    told = pc.field("indicator") == "term_ce_level"
    names = ["device_id", "at", "value"]
    table: pd.DataFrame = _dataset(province, "terminal").to_table(columns=names, filter=told).to_pandas()
    # made at 23:24 and later, by the device's own clock, which may be past midnight
    table["day"] = (table["at"] - pd.Timedelta("6h")).dt.floor("D")
    table["level"] = table["value"].round()
    clear = (table["value"] - table["level"]).abs() < 0.1  # what is more is noise
    return table[clear].drop_duplicates(["device_id", "day"]).set_index(["device_id", "day"])[["level"]]


def _radio(province: Path) -> pd.DataFrame:
    wanted = (pc.field("scope") == "device") & pc.field("counter").isin([*_SAMPLES, *_RATIOS])
    columns = ["scope_id", "window_start", "counter", "bin", "numerator", "denominator"]
    rows: pd.DataFrame = _dataset(province, "counters").to_table(columns=columns, filter=wanted).to_pandas()
    rows["day"] = rows["window_start"].dt.floor("D")
    sampled = rows["counter"].isin(list(_SAMPLES))
    value = (rows["numerator"] / rows["denominator"]).to_numpy(dtype="float64", copy=True)
    value[sampled.to_numpy()] = sketch.values(rows.loc[sampled, "bin"].to_numpy(dtype="int64"))
    rows = rows.assign(value=value).drop_duplicates(["scope_id", "day", "counter"])
    wide = rows.pivot(index=["scope_id", "day"], columns="counter", values="value")
    return wide.rename_axis(index=["device_id", "day"]).rename(columns=_SAMPLES | _RATIOS)


@dataclass(frozen=True)
class Exchanges:
    """What a capture or a province tells of CoAP. off_beat: of each interval, its distance from the usual one, %.

    sent_again, confirmable: messages. answered_ms: from a confirmable message to its acknowledgement.
    """

    off_beat: np.ndarray
    sent_again: float
    confirmable: float
    answered_ms: np.ndarray


def real_exchanges(directory: Path) -> Exchanges:
    """Return what the test bed's ordinary captures tell."""
    beats, answers, again, all_ = [], [], 0, 0
    for name in _CAPTURES:
        packets = pd.read_csv(directory / name).rename(columns=str.strip)
        packets = packets[packets["ip.src"] != packets["ip.dst"]]
        ways = ["ip.src", "ip.dst", "udp.srcport", "udp.dstport"]
        asked = packets[packets["coap.type"] == _CONFIRMABLE]
        repeated = asked.duplicated([*ways, "coap.mid", "coap.code"])
        again, all_ = again + int(repeated.sum()), all_ + len(asked)
        first = asked[~repeated]
        notified = first[first["coap.code"] == _CONTENT]
        if (
            name == _CAPTURES[0]
        ):  # in the other, several observers share a host, and no token tells them apart
            for _, rows in notified.groupby(["ip.src", "ip.dst"]):
                beats.append(off_beat(rows["frame.time_epoch"].to_numpy()))
        back = packets[packets["coap.type"] == _ACKNOWLEDGED].drop_duplicates([*ways, "coap.mid"])
        back = back.rename(columns=dict(zip(ways, [ways[1], ways[0], ways[3], ways[2]], strict=True)))
        both = first.merge(back, on=[*ways, "coap.mid"], suffixes=("", "_back"))
        gap = 1000.0 * (both["frame.time_epoch_back"] - both["frame.time_epoch"])
        answers.append(gap[(gap >= 0) & (gap < _EXCHANGE_LIFETIME_MS)].to_numpy())
    return Exchanges(np.concatenate(beats), again, all_ - again, np.concatenate(answers))


def simulated_exchanges(province: Path) -> Exchanges:
    """Return what heartbeats of simulated smoke sensors tell; answered_ms is that of the whole NB-IoT exchange."""
    mine = (pc.field("process") == "ss_heartbeat") & ~pc.field("repeated")
    log = (
        _dataset(province, "events")
        .to_table(columns=["device_id", "at", "ok", "step_ms"], filter=mine)
        .to_pandas()
    )
    seconds = log["at"].astype("int64") / 1e6
    beats = [off_beat(rows.to_numpy()) for _, rows in seconds.groupby(log["device_id"])]
    wanted = (pc.field("scope") == "device") & (pc.field("counter") == "coap_retx/coap_con")
    counted = (
        _dataset(province, "counters")
        .to_table(columns=["numerator", "denominator"], filter=wanted)
        .to_pandas()
    )
    answered = np.stack([np.asarray(one)[5] for one in log.loc[log["ok"], "step_ms"]]).astype("float64")
    return Exchanges(
        np.concatenate(beats),
        float(counted["numerator"].sum()),
        float(counted["denominator"].sum()),
        answered,
    )


def off_beat(at_s: np.ndarray) -> np.ndarray:
    """Return how far each interval lies from the median one, % of it; nothing below LEAST intervals."""
    between = np.diff(np.sort(at_s))
    if len(between) < LEAST:  # the median of a few is one of them, and off by nothing
        return np.array([])
    usual = float(np.median(between))
    return np.asarray(100.0 * np.abs(between - usual) / usual) if usual > 0 else np.array([])
