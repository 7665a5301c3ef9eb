"""The simulation held against measurements: distances, matching, and what is left out for want of data."""

import gzip
import math
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evaluation.simulation import reality, reality_fit, reality_page
from evaluation.simulation.reality import LEAST, Compared, ecdf, ks_distance
from evaluation.simulation.reality_picture import distributions, picture
from features import sketch

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "reality.py"


def radio(level: int, nrsrp_dbm: float, *, rows: int = LEAST) -> pd.DataFrame:
    return pd.DataFrame({"level": [float(level)] * rows, "nrsrp_dbm": [nrsrp_dbm] * rows})


def test_the_same_values_are_at_distance_0_and_apart_ones_at_1() -> None:
    few = np.arange(10.0)
    assert ks_distance(few, few) == 0.0
    assert ks_distance(few, few + 100) == 1.0
    assert ks_distance(np.append(few, np.nan), few) == 0.0  # what is not known does not count


def test_the_distance_is_the_largest_gap_of_the_two_curves() -> None:
    real, simulated = np.array([1.0] * 6 + [2.0] * 4), np.array([1.0] * 2 + [2.0] * 8)
    assert ks_distance(real, simulated) == pytest.approx(0.4)


def test_below_a_few_values_there_is_no_distance() -> None:
    assert math.isnan(ks_distance(np.arange(LEAST - 1.0), np.arange(100.0)))


def test_a_curve_has_at_most_a_hundred_points_and_ends_at_everything() -> None:
    values, share = ecdf(np.arange(100_000.0))
    assert len(values) == len(share) == 100
    assert (share[0], share[-1]) == (0.0, 1.0)
    assert (values[0], values[-1]) == (0.0, 99_999.0)
    assert (np.diff(values) >= 0).all()
    assert len(ecdf(np.array([np.nan]))[0]) == 0


def test_matching_gives_both_sides_the_same_powers() -> None:
    real = pd.concat([radio(0, -93.0, rows=30), radio(1, -113.0, rows=3), radio(0, -21.0)])
    simulated = pd.concat([radio(0, -92.0), radio(2, -112.0)])
    mine, drawn = reality.matched(real, simulated, seed=1)
    assert len(mine) == len(drawn) == 33  # nobody lives at -21 dBm
    assert sorted(mine["nrsrp_dbm"] // 5) == sorted(drawn["nrsrp_dbm"] // 5)
    assert drawn["level"].value_counts().to_dict() == {0.0: 30, 2.0: 3}


def test_errors_that_cancel_over_all_powers_show_by_power() -> None:
    real = pd.concat([radio(0, -93.0), radio(1, -113.0)])
    simulated = pd.concat([radio(1, -93.0), radio(0, -113.0)])
    assert ks_distance(real["level"].to_numpy(), simulated["level"].to_numpy()) == 0.0
    gaps = reality.level_gaps(real, simulated)
    assert gaps["distance"].tolist() == [1.0, 1.0]
    assert gaps.index.tolist() == [-115.0, -95.0]
    assert "| all, mean by measured | 16 | | | | 1.000 |" in reality_page.level_table(gaps)


def modem_log(**other: list[float]) -> pd.DataFrame:
    columns: dict[str, object] = {
        "file": ["a"] * 3, "row": [0, 1, 2], "vendor": ["zte"] * 3, "accessed": [True, True, False],
        "test": ["release/release64"] * 3, "ecl": [0.0, 1.0, 1.0], "rsrp_dbm": [-90.0, -111.0, -112.0],
        "snr_db": [9.0] * 3, "tx_time_ms": [1500.0, 2500.0, 2600.0], "energy": [100.0, 300.0, 300.0],
        "modem_tx_ms": [1000.0, 1200.0, 1200.0], "tx_blocks": [10.0, 14.0, 14.0], "retransmissions": [0.0] * 3,
    }  # fmt: skip
    return pd.DataFrame(columns | other)


def test_only_rows_that_accessed_count_and_counters_that_run_on_are_differences() -> None:
    events = reality.real_events(modem_log())
    assert events["level"].tolist() == [0.0, 1.0]
    assert events["delay_ms"].tolist() == [1500.0, 2500.0]
    assert events["ms_per_block"].tolist()[1] == 50.0
    assert math.isnan(events["ms_per_block"].iloc[0])  # nothing stands before it


def test_a_counter_that_never_counts_is_no_evidence() -> None:
    assert reality.real_events(modem_log())["sent_again"].isna().all()
    moving = reality.real_events(modem_log(retransmissions=[0.0, 1.0, 1.0]))
    assert moving["sent_again"].tolist()[1] == 0.25


def test_other_tests_and_larger_payloads_have_no_delay_of_a_report() -> None:
    for test in ("release/release512", "echo/echo"):
        assert reality.real_events(modem_log().assign(test=test))["delay_ms"].isna().all()


def test_energy_is_told_as_a_ratio_to_that_at_ce0() -> None:
    levels = np.repeat([0.0, 1.0], LEAST)
    real = pd.DataFrame({"vendor": "zte", "level": levels, "energy": np.where(levels == 1, 30.0, 10.0)})
    ratios = reality.energy_ratios(real, (0.1, 0.2, 1.0))
    assert list(ratios.loc["zte", [0, 1]]) == [1.0, 3.0]
    assert list(ratios.loc["simulated"]) == pytest.approx([1.0, 2.0, 10.0])
    assert "no evidence" in reality_page.energy_table(ratios)  # of CE2


def test_the_level_law_is_monotone_and_fits_itself() -> None:
    law = (-100.0, -118.0, 5.0, 4.0)
    power = np.arange(-130.0, -60.0, 5.0)
    told = reality_fit.shares(power, law)
    assert (np.diff(told, axis=0) >= 0).all()
    assert (told[:, 0] <= told[:, 1]).all()
    measured = pd.DataFrame({"rows": 10, "ce0": told[:, 0], "ce1": told[:, 1]}, index=power)
    assert reality_fit.level_distance(measured, law) == 0.0
    assert reality_fit.level_distance(measured, (-90.0, -118.0, 5.0, 4.0)) > 0.05


def test_leaving_a_vendor_out_names_each_vendor_once() -> None:
    rng = np.random.default_rng(1)
    power, level = np.tile([-70.0, -108.0, -124.0], 90), np.tile([0.0, 1.0, 2.0], 90)
    delay = 1000.0 * rng.lognormal(0, 0.4, 270) * (1 + level)
    one = pd.DataFrame({"nrsrp_dbm": power, "level": level, "delay_ms": delay})
    real = pd.concat([one.assign(vendor=name) for name in ("a", "b", "c")], ignore_index=True)
    lines = reality_fit.leave_one_out(real, one, seed=1).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| a", "| b", "| c"]
    assert reality_fit.leave_one_out(real, one, seed=1).splitlines() == lines


def test_a_missed_report_is_a_whole_interval_off() -> None:
    assert reality.off_beat(np.array([0.0, 10, 20, 30, 50, 60, 70, 80, 90])).max() == pytest.approx(100.0)
    assert len(reality.off_beat(np.array([0.0, 10, 20]))) == 0


def test_a_test_bed_tells_intervals_repeats_and_answers(tmp_path: Path) -> None:
    head = "frame.time_epoch,ip.src,ip.dst,udp.srcport,udp.dstport,udp.length,coap.code,coap.type,coap.mid\n"
    asked = [f"{at},a,b,9,5683,12,69,0,{at}" for at in range(12)]
    answered = [f"{at + 0.25},b,a,5683,9,12,0,2,{at}" for at in range(12)]
    again = ["3.5,a,b,9,5683,12,69,0,3"]
    for name in ("idle", "observe"):
        text = head + "\n".join([*asked, *answered, *again]) + "\n"
        (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))
    told = reality.real_exchanges(tmp_path)
    assert (told.sent_again, told.confirmable) == (2, 24)
    assert told.off_beat.tolist() == [0.0] * 11  # of the idle capture alone
    assert set(told.answered_ms) == {250.0}


def test_a_picture_says_which_curve_is_simulated() -> None:
    one = Compared("Delay", "CE0", "ms", np.geomspace(10, 1000, 50), np.geomspace(100, 9000, 50), log=True)
    svg = picture("Delay", [distributions(one, title="CE0", below="ms")], name="delay")
    assert svg.startswith("<svg ")
    assert ">simulated<" in svg
    assert ">measured<" in svg


def test_without_data_the_benchmark_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys,
        "argv",
        ["reality.py", "--province", str(tmp_path), "--data", str(tmp_path), "--out", str(tmp_path)],
    )
    runpy.run_path(str(BENCHMARK), run_name="__main__")
    told = capsys.readouterr().out
    for name in ("nbiot_robinson", "coap_ironstone"):
        assert f"Left out: {tmp_path / name} is not there; set IOTLENS_DATA" in told
    assert not list(tmp_path.iterdir())


def province(root: Path) -> Path:
    """Three sensors on a day: one reports once, one twice, one fails."""
    at = pd.Timestamp("2026-03-02T10:00:00Z")
    who, steps = ["once", "twice", "twice", "failed"], [200, 70, 300, 130, 40, 500, 90, -1]
    counted = [
        ("nrsrp_dbm", int(sketch.bins(np.array([-112.0]))[0]), 1.0, np.nan),
        ("npusch_repetitions/npusch_tb", None, 16.0, 4.0),
        ("npdsch_repetitions/npdsch_tb", None, 32.0, 4.0),
        ("npusch_crc_fail/npusch_first_tx", None, 1.0, 4.0),
    ]
    names = ["counter", "bin", "numerator", "denominator"]
    tables = {
        "events": pd.DataFrame({"device_id": who, "service": "smoke_sensor", "process": "ss_heartbeat", "at": at,
                                "ok": [True] * 3 + [False], "step_ms": [steps] * 4}),
        "terminal": pd.DataFrame({"device_id": ["once", "twice"], "at": at + pd.Timedelta("14h5min"),
                                  "indicator": "term_ce_level", "value": [1.0, 1.5]}),
        "counters": pd.DataFrame(counted, columns=names).assign(scope="device", scope_id="once",
                                                                window_start=at.floor("4h")),
    }  # fmt: skip
    for name, table in tables.items():
        (root / name).mkdir()
        table.astype({"bin": "Int64"} if name == "counters" else {}).to_parquet(root / name / "a.parquet")
    return root


def test_only_a_day_with_one_report_tells_what_a_report_is_like(tmp_path: Path) -> None:
    reports = reality.simulated_reports(province(tmp_path))
    assert len(reports) == 1
    one = reports.iloc[0]
    assert (one["level"], one["delay_ms"]) == (
        1.0,
        70 + 300 + 130,
    )  # though told past midnight, by its own clock
    assert one["nrsrp_dbm"] == pytest.approx(-112.0, rel=sketch.RELATIVE_ACCURACY)
    assert (one["ul_repetitions"], one["dl_repetitions"], one["sent_again"]) == (4.0, 8.0, 0.25)


def test_a_folder_that_is_no_province_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a simulated province, but has no events/"):
        reality.simulated_reports(tmp_path)
