"""Logs of real NB-IoT modems under controlled attenuation (Robinson 2019) as one table.

The logs are CSV text: `<vendor>_<operator>/<place>/<modem>/<test>/.../<attenuation>`, one row per measured event.
Quectel's names lost their first and last letter, some rows slipped by some columns, and a modem that does not know a
value writes the end of an integer. Each row that is left out is left out by a named rule.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from features.table import Column, check_table
from features.whole_file import check_suffix, write_frame

_MEASURED: Mapping[str, Column] = {  # of the log, by its own name
    "idleTime": Column("idle_time_ms", "float64", "ms", "without transmission", low=0, empty=True),
    "txTime": Column("tx_time_ms", "float64", "ms", "from the order to its end: the latency", low=0, empty=True),
    "totalTime": Column("total_time_ms", "float64", "ms", "as logged", low=0, empty=True),
    "energy": Column("energy", "float64", "-", "of the event, in the unit of the log", low=0, empty=True),
    "maxCurrent": Column("max_current_ma", "float64", "mA", "unit inferred", low=0, high=1000, empty=True),
    "Signal power": Column("rsrp_dbm", "float64", "dBm", "NRSRP", low=-156, high=0, empty=True),
    "Total power": Column("rssi_dbm", "float64", "dBm", "all power received", low=-156, high=0, empty=True),
    "TX power": Column("tx_power_dbm", "float64", "dBm", "uplink power", low=-70, high=30, empty=True),
    "TX time": Column("modem_tx_ms", "float64", "ms", "time on air up, cumulative", low=0, empty=True),
    "RX time": Column("rx_time_ms", "float64", "ms", "time of the receiver, cumulative", low=0, empty=True),
    "Cell ID": Column("cell_id", "float64", "-", "E-UTRAN cell identity", low=0, empty=True),
    "ECL": Column("ecl", "float64", "-", "coverage enhancement level; empty: not attached", low=0, high=2, empty=True),
    "SNR": Column("snr_db", "float64", "dB", "NSINR", low=-30, high=50, empty=True),
    "EARFCN": Column("earfcn", "float64", "-", "carrier", low=0, empty=True),
    "PCI": Column("pci", "float64", "-", "physical cell identity", low=0, high=503, empty=True),
    "RSRQ": Column("rsrq_db", "float64", "dB", "NRSRQ", low=-40, high=20, empty=True),
    "Total TX bytes": Column("tx_bytes", "float64", "byte", "up, cumulative", low=0, empty=True),
    "Total RX bytes": Column("rx_bytes", "float64", "byte", "down, cumulative", low=0, empty=True),
    "Total TX blocks": Column("tx_blocks", "float64", "1", "up, cumulative", low=0, empty=True),
    "Total RX blocks": Column("rx_blocks", "float64", "1", "down, cumulative", low=0, empty=True),
    "Total RTX blocks": Column("retransmissions", "float64", "1", "blocks sent again, cumulative", low=0, empty=True),
}  # fmt: skip
_TENTHS = ("rsrp_dbm", "rssi_dbm", "tx_power_dbm", "snr_db", "rsrq_db")
_NOT_KNOWN = (-32768.0, 65535.0, 4294967295.0)  # the ends of 16 and 32 bit
_MOST = {"Signal power": 0, "Total power": 0, "EARFCN": 65_534}  # of a row that did not slip
_LEVELS, _NOT_ATTACHED = (0.0, 1.0, 2.0), 255.0

NBIOT: tuple[Column, ...] = (
    Column("file", "string", "-", "the log; rows of one log hang together"),
    Column("row", "int64", "1", "place in the log, from 0", low=0),
    Column("vendor", "string", "-", "of the network"),
    Column("operator", "string", "-", "of the network"),
    Column("place", "string", "-", "where it was measured"),
    Column("modem", "string", "-", "the module"),
    Column("test", "string", "-", "what the module was told to do"),
    Column("attenuation_db", "float64", "dB", "in the antenna's way, by the log's name", low=0, empty=True),
    Column("shield_open", "bool", "-", "the shielding box stood slightly open"),
    *_MEASURED.values(),
    Column("accessed", "bool", "-", "the module transmitted since the row before; true of a first row"),
    Column("access_rsrp_dbm", "float64", "dBm", "NRSRP of the last row that accessed", -156, 0, empty=True),
    Column("access_snr_db", "float64", "dB", "NSINR of the last row that accessed", -30, 50, empty=True),
)


@dataclass(frozen=True)
class Converted:
    """The table, and how many rows were left out by which rule. rows + left out = the rows of all logs."""

    table: pd.DataFrame
    left_out: Mapping[str, int]

    def text(self) -> str:
        """Return it in a sentence."""
        told = ", ".join(f"{count:,} {rule}" for rule, count in sorted(self.left_out.items())) or "none"
        return f"{len(self.table):,} rows of {self.table['file'].nunique():,} logs; left out: {told}"


def read_logs(directory: Path) -> Converted:
    """Return the logs under `directory` (or its folder `logs`) as one table under NBIOT.

    Rules that leave a row out: `cut_row` (it ends before RSRQ), `not_a_number`, `slipped_columns` (a level that is
    none, a power above 0 dBm, a carrier that cannot be). A value that the modem did not know, or
    that is out of its range, is empty.
    Raises ValueError where there is no log.
    """
    root = directory / "logs" if (directory / "logs").is_dir() else directory
    paths = sorted(
        path for path in root.rglob("*") if path.is_file() and len(path.relative_to(root).parts) > 4
    )
    if not paths:
        raise ValueError(
            f"{directory}: must hold logs <vendor>_<operator>/<place>/<modem>/<test>/..., but has none"
        )
    left_out: Counter[str] = Counter()
    shown = tqdm(paths, desc="read logs", unit="log", delay=2, disable=None, leave=False)
    rows = [row for path in shown for row in _rows(path, root, left_out)]
    names = [column.name for column in NBIOT if not column.name.startswith("access")]
    table = _with_access(pd.DataFrame(rows, columns=names))
    return Converted(check_table(table, NBIOT, table="nbiot"), dict(left_out))


def convert(directory: Path, out: Path) -> Converted:
    """Write the logs as one Parquet file, whole or not at all, and return them."""
    check_suffix(out)
    done = read_logs(directory)
    write_frame(out, done.table, NBIOT)
    return done


def _rows(path: Path, root: Path, left_out: Counter[str]) -> Iterator[dict[str, object]]:
    head, *lines = path.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
    names = [_name(name) for name in head.rstrip(",").split(",")]
    told = _path_facts(path.relative_to(root))
    for place, line in enumerate(lines):
        cells = dict(zip(names, line.rstrip(",").split(","), strict=False))
        if "RSRQ" not in cells:
            left_out["cut_row"] += 1
            continue
        try:
            found = {name: float(cells[name]) for name in _MEASURED if cells.get(name)}
        except ValueError:
            left_out["not_a_number"] += 1
            continue
        if _slipped(found):
            left_out["slipped_columns"] += 1
            continue
        yield {**told, "row": place, **_values(found)}


def _name(written: str) -> str:
    """Return the full name of a column whose first and last letter may be lost."""
    short = written.strip()
    return next((name for name in _MEASURED if short in (name, name[1:-1])), short)


def _path_facts(path: Path) -> dict[str, object]:
    network, place, modem, *test, last = path.parts
    vendor, _, operator = network.partition("_")
    attenuation = re.fullmatch(r"s?(\d+)(_slightly_open)?", last)
    return {
        "file": path.as_posix(),
        "vendor": vendor,
        "operator": operator,
        "place": place,
        "modem": modem.rstrip("0123456789"),
        "test": "/".join(test),
        "attenuation_db": float(attenuation[1]) if attenuation else None,
        "shield_open": "slightly_open" in last,
    }


def _slipped(found: Mapping[str, float]) -> bool:
    beyond = any(
        found.get(name, 0.0) > most for name, most in _MOST.items() if found.get(name) not in _NOT_KNOWN
    )
    return beyond or found.get("ECL") not in (*_LEVELS, _NOT_ATTACHED)


def _values(found: Mapping[str, float]) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, column in _MEASURED.items():
        value = found.get(name)
        if value is None or value in _NOT_KNOWN or (name == "ECL" and value == _NOT_ATTACHED):
            continue
        value = value / 10 if column.name in _TENTHS else value
        low = column.low if column.low is not None else value
        high = column.high if column.high is not None else value
        if low <= value <= high:
            values[column.name] = value
    return values


def _with_access(table: pd.DataFrame) -> pd.DataFrame:
    """Add what was measured when the module last transmitted: it chose its level then, and keeps it till it sends."""
    before = table.groupby("file", sort=False)["modem_tx_ms"].shift()
    accessed = table["modem_tx_ms"].ne(before)
    by_log = table["file"]
    kept = {
        f"access_{name}": table[name].where(accessed).groupby(by_log, sort=False).ffill().fillna(table[name])
        for name in ("rsrp_dbm", "snr_db")
    }
    return table.assign(accessed=accessed, **kept)
