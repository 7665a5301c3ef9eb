"""Logs of real NB-IoT modems become one table: lost letters, slipped rows and unknown values are told apart."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from evaluation.coverage_level import (
    AT_ACCESS,
    NOW,
    fit_monotone,
    fit_thresholds,
    fit_transmit_time,
    log_weights,
)
from evaluation.nbiot import read_logs
from serving.cli import app

UBLOX = (
    "index,idleTime,txTime,totalTime,energy,maxCurrent,Signal power,Total power,TX power,TX time,RX time,Cell ID,"
    "ECL,SNR,EARFCN,PCI,RSRQ,RLC UL BLER,Total TX bytes,Total RTX blocks,"
)
QUECTEL = (
    "index,idleTime,txTime,totalTime,energy,maxCurrent,Signal power,Total power,TX power,TX time,RX time,Cell ID,"
    "ECL,SNR,EARFCN,PCI,RSRQ,OPERATOR MODE,LC UL BLE,otal TX byte,otal RTX block,"
)


def log(root: Path, path: str, *lines: str) -> None:
    file = root / "logs" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    log(
        tmp_path,
        "zte_mtn/lab/ublox1/release/release64/20_slightly_open",
        UBLOX,
        "0,7000,1600,960,403.9,124.0,-1081,-979,230,18180,184045,2672741,1,58,3712,169,-117,0,28552,2,",
        "1,1500,2300,963,430.8,105.0,-1290,-981,230,18180,185316,2672741,1,-69,3712,169,-114,0,28696,2,",
        "2,8016,2461,946,416.1,102.0,-32768,-32768,-32768,0,0,4294967295,255,-32768,4294967295,65535,-32768,0,0,0,",
        "3,45,14,16276,6724,6724,1096,1030,0,50,0,65,6652,58,3712,169,-117,0,28552,2,",
        "4,45,14,16276",
        "5,x,14,16276,6724,6724,1096,1030,0,50,0,65,1,58,3712,169,-117,0,28552,2,",
    )
    log(
        tmp_path,
        "ericsson_mtn/field/quectel/echo/skip/110",
        QUECTEL,
        "0,2420,140,9,0.03,69.0,-495,-426,-260,413,14856,1538426,0,230,3725,66,-109,2,0,595,3,",
    )
    return tmp_path


def test_every_row_of_the_logs_is_in_the_table_or_left_out_by_a_rule(logs: Path) -> None:
    done = read_logs(logs)
    assert dict(done.left_out) == {"cut_row": 1, "not_a_number": 1, "slipped_columns": 1}
    assert len(done.table) + sum(done.left_out.values()) == 7


def test_the_path_tells_vendor_place_module_test_and_attenuation(logs: Path) -> None:
    table = read_logs(logs).table
    first = table[table["vendor"] == "zte"].iloc[0]
    told = [first[name] for name in ("operator", "place", "modem", "test", "attenuation_db", "shield_open")]
    assert told == ["mtn", "lab", "ublox", "release/release64", 20.0, True]


def test_tenths_become_dbm_and_lost_letters_are_found_again(logs: Path) -> None:
    quectel = read_logs(logs).table.query("modem == 'quectel'").iloc[0]
    assert (quectel["rsrp_dbm"], quectel["snr_db"], quectel["tx_power_dbm"]) == (-49.5, 23.0, -26.0)
    assert (quectel["tx_bytes"], quectel["retransmissions"], quectel["tx_time_ms"]) == (595.0, 3.0, 140.0)


def test_a_modem_that_is_not_attached_has_no_level_and_no_power(logs: Path) -> None:
    detached = read_logs(logs).table.query("vendor == 'zte'").iloc[2]
    assert detached[["ecl", "rsrp_dbm", "snr_db", "tx_power_dbm", "cell_id", "pci"]].isna().all()


def test_a_level_is_known_by_the_power_when_the_modem_last_transmitted(logs: Path) -> None:
    rows = read_logs(logs).table.query("vendor == 'zte'")
    assert rows["accessed"].tolist()[:2] == [True, False]
    assert rows["access_rsrp_dbm"].tolist()[:2] == [-108.1, -108.1]


def test_a_folder_without_logs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must hold logs <vendor>_<operator>"):
        read_logs(tmp_path)


def test_the_command_writes_the_table(logs: Path) -> None:
    out = logs / "nbiot.parquet"
    ended = CliRunner().invoke(
        app, ["data", "convert", "nbiot", str(logs), "--out", str(out)], catch_exceptions=False
    )
    assert "4 rows of 2 logs; left out: 1 cut_row, 1 not_a_number, 1 slipped_columns" in ended.stdout
    assert len(pd.read_parquet(out)) == 4


def measured(n: int = 600, seed: int = 3) -> pd.DataFrame:
    """Rows of a cell whose thresholds are -106 and -120 dBm, with NSINR high enough not to matter."""
    rng = np.random.default_rng(seed)
    power = rng.uniform(-130, -90, n)
    level = (power < -106).astype("float64") + (power < -120)
    return pd.DataFrame(
        {
            "file": [f"log{i % 30}" for i in range(n)], "ecl": level, "rsrp_dbm": power, "snr_db": 20.0,
            "access_rsrp_dbm": power, "access_snr_db": 20.0, "tx_time_ms": 200.0 * 4**level,
        }
    )  # fmt: skip


def test_the_law_finds_the_thresholds_of_a_cell() -> None:
    law = fit_thresholds(measured())
    assert abs(law.ce1_dbm + 106) <= 1
    assert abs(law.ce2_dbm + 120) <= 1
    assert (law.levels(measured()) == measured()["ecl"]).mean() > 0.97


@pytest.mark.parametrize("pairs", [(NOW,), (NOW, AT_ACCESS)])
def test_less_power_never_gives_a_better_level_nor_a_shorter_time(pairs: tuple[tuple[str, str], ...]) -> None:
    noisy = measured().assign(ecl=np.random.default_rng(5).permutation(measured()["ecl"]))
    line = measured(40).sort_values("rsrp_dbm", ascending=False, ignore_index=True)
    levels = fit_monotone(noisy, pairs=pairs, seed=1).levels(line)
    assert (np.diff(levels) >= 0).all()
    times = fit_transmit_time(measured(), seed=1).log_ms(line)
    assert (np.diff(times) >= 0).all()


def test_each_log_weighs_the_same() -> None:
    table = pd.DataFrame({"file": ["a"] * 9 + ["b"]})
    weights = log_weights(table)
    assert np.isclose(weights[:9].sum(), weights[9:].sum())
    assert np.isclose(weights.mean(), 1)
