"""Devices that are silent, chatty, storming with false alarms, at the end of their battery, or elsewhere."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from evaluation import abnormal_devices
from evaluation.abnormal_devices import ABNORMAL_DEVICES, Seen
from evaluation.domain import read_domain
from evaluation.monitor_settings import DeviceRules, read_monitor_settings
from features.table import check_table

AT = datetime(2026, 3, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
Attempt = tuple[str, str, float, bool, str]  # device, process, hours before, ok, cell


@pytest.fixture
def rules() -> DeviceRules:
    return read_monitor_settings().devices


def seen(attempts: list[Attempt], *, battery: dict[str, tuple[float, float]] | None = None) -> Seen:
    devices = [f"d{n}" for n in range(8)]
    members = pd.DataFrame({"device_id": devices, "fleet": "f", "cell": "c1", "home": "c1"})
    members["valid_from"] = pd.Timestamp(AT - 30 * 24 * HOUR)
    log = pd.DataFrame(
        [(d, p, c, pd.Timestamp(AT - h * HOUR), ok, False) for d, p, h, ok, c in attempts],
        columns=["device_id", "process", "cell", "at", "ok", "repeated"],
    )
    log["at"] = pd.to_datetime(log["at"], utc=True)
    log = log.astype({"ok": "bool", "repeated": "bool"})
    told = pd.DataFrame(index=pd.Index(devices, name="device_id"))
    told["term_battery_level"] = [(battery or {}).get(one, (90.0, 0.08))[0] for one in devices]
    told["term_battery_drain"] = [(battery or {}).get(one, (90.0, 0.08))[1] for one in devices]
    told["term_battery_level__at"] = pd.Timestamp(AT - HOUR)
    return Seen(read_domain().service("smoke_sensor"), AT, members, log, told)


def beats(hours: float = 5.0, but: tuple[str, ...] = ()) -> list[Attempt]:
    return [(f"d{n}", "ss_heartbeat", hours, True, "c1") for n in range(8) if f"d{n}" not in but]


def named(found: pd.DataFrame) -> list[str]:
    return [] if found.empty else sorted(check_table(found, ABNORMAL_DEVICES, table="abnormal")["device_id"])


def test_a_device_that_tries_and_is_never_heard_is_silent(rules: DeviceRules) -> None:
    found = abnormal_devices.silent(
        seen([*beats(but=("d3",)), ("d3", "ss_heartbeat", 2.0, False, "c1")]), rules
    )
    assert named(found) == ["d3"]


def test_a_device_that_missed_one_heartbeat_is_not_silent(rules: DeviceRules) -> None:
    assert named(abnormal_devices.silent(seen(beats(hours=40.0)), rules)) == []


def test_a_device_that_tries_far_more_often_than_its_fleet_is_chatty(rules: DeviceRules) -> None:
    storm = [("d2", "ss_heartbeat", 0.5 * n, True, "c1") for n in range(1, 41)]
    assert named(abnormal_devices.chatty(seen([*beats(), *storm]), rules)) == ["d2"]


def test_a_fleet_that_is_busy_as_a_whole_is_not_chatty(rules: DeviceRules) -> None:
    busy = [(f"d{d}", "ss_heartbeat", 0.5 * n, True, "c1") for d in range(8) for n in range(1, 41)]
    assert named(abnormal_devices.chatty(seen(busy), rules)) == []


def test_alarms_of_one_sensor_alone_are_false_and_those_of_many_are_a_fire(rules: DeviceRules) -> None:
    alarms = [("d1", "ss_alarm", float(n), True, "c1") for n in range(1, 5)]
    assert named(abnormal_devices.false_alarms(seen([*beats(), *alarms]), rules)) == ["d1"]
    fire = [(f"d{n}", "ss_alarm", 1.0, True, "c1") for n in range(2, 5)]
    assert named(abnormal_devices.false_alarms(seen([*beats(), *alarms, *fire]), rules)) == []


def test_a_low_level_and_a_steep_drain_are_a_battery_risk(rules: DeviceRules) -> None:
    told = {"d0": (12.0, 0.08), "d1": (60.0, 4.0), "d2": (60.0, 0.3)}
    found = abnormal_devices.battery(seen(beats(), battery=told), rules)
    assert named(found) == ["d0", "d1"]
    assert set(found["evidence"]) == {"it told a level of 12 %", "15 days are left at the drain that it told"}


def test_one_of_two_battery_rules_is_enough(rules: DeviceRules) -> None:
    assert named(abnormal_devices.battery(seen(beats(), battery={"d4": (60.0, 4.0)}), rules)) == ["d4"]
    assert named(abnormal_devices.battery(seen(beats(), battery={"d4": (5.0, 0.0)}), rules)) == ["d4"]
    assert named(abnormal_devices.battery(seen(beats()), rules)) == []


def test_a_device_that_was_never_heard_has_no_since(rules: DeviceRules) -> None:
    found = abnormal_devices.silent(seen([]), rules)
    assert len(found) == 8
    assert found["since"].isna().all()


def test_a_sensor_served_by_a_strange_cell_is_misplaced_unless_its_cell_is_ill(rules: DeviceRules) -> None:
    away = ("d5", "ss_heartbeat", 3.0, True, "c9")
    assert named(abnormal_devices.misplaced(seen([*beats(but=("d5",)), away]), rules)) == ["d5"]
    all_away = [(f"d{n}", "ss_heartbeat", 3.0, True, "c9") for n in range(8)]
    assert named(abnormal_devices.misplaced(seen(all_away), rules)) == []
