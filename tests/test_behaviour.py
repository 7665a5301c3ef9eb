"""BEHAVIOUR: what flows and membership tell of a device, worked out by hand."""

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.behaviour import BEHAVIOUR, READS, STAYS, battery_days_left, behaviour
from features.table import check_table

AT = pd.Timestamp("2026-03-06 00:00", tz="UTC")


def hours(before: float) -> pd.Timestamp:
    return AT - timedelta(hours=before)


def flow(device: str, before_h: float, **other: Any) -> dict[str, Any]:
    """A flow of 10 s that began so many hours before the moment."""
    start = hours(before_h)
    usual = {
        "device_id": device, "start": start, "end": start + timedelta(seconds=10), "initiated_by_device": True,
        "protocol": 17, "peer_ip": "203.0.113.1", "up_bytes": 100, "down_bytes": 50,
    }  # fmt: skip
    return usual | other


def stay(device: str, cell: str, since_h: float, until_h: float | None, **other: Any) -> dict[str, Any]:
    usual = {
        "device_id": device, "service": "smoke_sensor", "cell": cell, "fleet": "f", "province": "p",
        "valid_from": hours(since_h), "valid_to": pd.NaT if until_h is None else hours(until_h),
    }  # fmt: skip
    return usual | other


def told(flows: list[dict[str, Any]], stays: list[dict[str, Any]]) -> pd.DataFrame:
    made = behaviour(pd.DataFrame(flows, columns=READS), pd.DataFrame(stays, columns=STAYS), at=AT)
    return check_table(made, BEHAVIOUR, table="behaviour").set_index("device_id")


def test_rates_are_per_day_observed_and_gaps_are_the_usual_ones() -> None:
    found = told([flow("d", before) for before in (96, 72, 48, 24, 12)], []).loc["d"]
    assert found["observed_days"] == pytest.approx(4)
    assert found["flows_per_day"] == pytest.approx(5 / 4)
    assert found["bytes_per_day"] == pytest.approx(5 * 150 / 4)
    assert found["down_up_ratio"] == pytest.approx(0.5)
    assert found["usual_gap_h"] == pytest.approx(24)  # gaps 24, 24, 24, 12
    assert found["silent_h"] == pytest.approx(12 - 10 / 3600)
    assert found["silence_ratio"] == pytest.approx(found["silent_h"] / 24)


def test_two_flows_tell_no_usual_gap_and_less_than_a_day_no_rate() -> None:
    found = told([flow("d", 6), flow("d", 3)], []).loc["d"]
    assert found[["usual_gap_h", "silence_ratio", "flows_per_day", "cells", "moves_per_day"]].isna().all()
    assert found["flows_seen"] == 2


def test_what_ends_after_the_moment_or_began_before_the_look_back_is_not_seen() -> None:
    open_flow = flow("d", 1, end=AT + timedelta(seconds=1))
    found = told([flow("d", 24 * 8), flow("d", 30), open_flow], []).loc["d"]
    assert found["flows_seen"] == 1


def test_a_server_is_a_public_peer_counted_on_the_busiest_day() -> None:
    peers = [flow("d", 2, peer_ip=f"198.51.100.{n}") for n in range(9)]
    local = [
        flow("d", 2, peer_ip=ip) for ip in ("192.168.1.9", "239.255.255.250", "fe80::1", "255.255.255.255")
    ]
    found = told([*peers, *local, flow("d", 30)], []).loc["d"]
    assert found["servers_a_day"] == 9


def test_a_device_in_two_cells_of_three_has_their_share_of_its_time() -> None:
    stays = [stay("d", "a", 100, 40), stay("d", "b", 40, 10), stay("d", "c", 10, None)]
    found = told([], stays).loc["d"]
    assert found["cells"] == 3
    assert found["two_cells_share"] == pytest.approx(0.9)
    assert found["most_cells_a_day"] == 2  # b and c on the last day
    assert found["moves_per_day"] == pytest.approx(2 / found["observed_days"])
    assert np.isnan(found["flows_seen"])  # silent, and still there


def test_who_is_in_another_province_than_mostly_is_away_from_home() -> None:
    stays = [stay("d", "a", 100, 5), stay("d", "b", 5, None, province="q"), stay("e", "a", 100, None)]
    assert told([], stays)["away_from_home"].to_dict() == {"d": 1.0, "e": 0.0}


def test_a_device_is_held_against_the_median_of_a_fleet_that_is_large_enough() -> None:
    ids = [f"d{n}" for n in range(5)]
    stays = [stay(one, "a", 100, None) for one in ids] + [stay("lone", "a", 100, None, fleet="g")]
    flows = [flow(one, 90 - n) for one in (*ids, "lone") for n in range(20 if one == "d0" else 2)]
    found = told(flows, stays)["flows_over_fleet"]
    assert found["d0"] == pytest.approx(10)
    assert np.isnan(found["lone"])


def test_the_order_of_rows_does_not_matter_and_other_devices_change_nothing_but_medians() -> None:
    flows = [flow(one, before) for one in ("a", "b") for before in (50, 30, 20, 10)]
    pd.testing.assert_frame_equal(told(flows, []), told(flows[::-1], []))
    alone = told([one for one in flows if one["device_id"] == "a"], [])
    pd.testing.assert_frame_equal(told(flows, []).loc[["a"]], alone)


def test_a_battery_without_drain_lasts_long_and_an_empty_one_no_day() -> None:
    days = battery_days_left(np.array([70.0, 70.0, 8.0, np.nan]), np.array([0.0, 1.0, 1.0, 1.0]))
    assert days[:3].tolist() == pytest.approx([6000, 60, 0])
    assert np.isnan(days[3])
