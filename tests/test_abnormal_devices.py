"""Devices that are silent, chatty, storming with false alarms, at the end of their battery, or elsewhere."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from tiny_lake import MEMBERS

from evaluation import abnormal_devices
from evaluation.abnormal_devices import ABNORMAL_DEVICES, Seen
from evaluation.domain import read_domain
from evaluation.monitor_settings import DeviceRules, read_monitor_settings
from features import events, membership
from features.table import check_table

AT = datetime(2026, 3, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
Attempt = tuple[str, str, float, bool, str]  # device, process, hours before, ok, cell


@pytest.fixture
def rules() -> DeviceRules:
    return read_monitor_settings().devices


def seen(attempts: list[Attempt], *, battery: dict[str, tuple[float, float]] | None = None) -> Seen:
    """Return eight sensors of one cell. battery: the level told now and that of a week ago, %."""
    devices = [f"d{n}" for n in range(8)]
    members = pd.DataFrame({"device_id": devices, "fleet": "f", "cell": "c1", "home": "c1"})
    members["valid_from"] = pd.Timestamp(AT - 30 * 24 * HOUR)
    log = pd.DataFrame(
        [(d, p, c, pd.Timestamp(AT - h * HOUR), ok, False) for d, p, h, ok, c in attempts],
        columns=["device_id", "process", "cell", "at", "ok", "repeated"],
    )
    log["at"] = pd.to_datetime(log["at"], utc=True)
    log = log.astype({"ok": "bool", "repeated": "bool"})
    told, before = (
        pd.DataFrame(
            {
                "term_battery_level": [(battery or {}).get(one, (90.0, 90.5))[which] for one in devices],
                "term_battery_level__at": pd.Timestamp(AT - HOUR - which * 7 * 24 * HOUR),
            },
            index=pd.Index(devices, name="device_id"),
        )
        for which in (0, 1)
    )
    heard = log[log["ok"]].groupby("device_id")["at"].max()
    begun = AT - 20 * 24 * HOUR
    return Seen(read_domain().service("smoke_sensor"), AT, members, log, heard, begun, told, before)


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


def test_a_low_level_and_a_steep_fall_of_a_week_are_a_battery_risk(rules: DeviceRules) -> None:
    told = {"d0": (12.0, 12.1), "d1": (60.0, 88.0), "d2": (60.0, 62.0)}
    found = abnormal_devices.battery(seen(beats(), battery=told), rules)
    assert named(found) == ["d0", "d1"]
    assert set(found["evidence"]) == {
        "it told a level of 12 %",
        "15 days are left at the pace at which its level fell",
    }


def test_one_of_two_battery_rules_is_enough(rules: DeviceRules) -> None:
    assert named(abnormal_devices.battery(seen(beats(), battery={"d4": (60.0, 88.0)}), rules)) == ["d4"]
    assert named(abnormal_devices.battery(seen(beats(), battery={"d4": (5.0, 5.0)}), rules)) == ["d4"]
    assert named(abnormal_devices.battery(seen(beats()), rules)) == []


@pytest.mark.parametrize("week_ago", [40.0, float("nan")])
def test_a_battery_that_was_charged_or_not_told_a_week_ago_has_no_pace(
    rules: DeviceRules, week_ago: float
) -> None:
    assert named(abnormal_devices.battery(seen(beats(), battery={"d4": (60.0, week_ago)}), rules)) == []


def test_a_silent_device_is_told_for_how_many_heartbeats_and_since_when(rules: DeviceRules) -> None:
    found = abnormal_devices.silent(seen([*beats(but=("d3",)), *beats(hours=102.0)]), rules)
    (row,) = found.to_dict("records")
    assert (row["device_id"], row["value"], row["threshold"]) == ("d3", pytest.approx(4.25), 3)
    assert row["since"] == AT - 102 * HOUR
    assert row["evidence"] == "nothing arrived for 4.2 heartbeats"


def test_of_a_device_that_was_never_heard_the_time_is_told_that_it_could_have_been(
    rules: DeviceRules,
) -> None:
    """The log begins 20 days before; d3 came five days before, all others were there earlier."""
    before = seen([])
    before.members.loc[3, "valid_from"] = AT - 5 * 24 * HOUR
    found = abnormal_devices.silent(before, rules).set_index("device_id")
    assert len(found) == 8 and found["since"].isna().all()
    assert found["value"].to_dict() == {f"d{n}": pytest.approx(5 if n == 3 else 20) for n in range(8)}
    assert found["evidence"]["d3"] == "nothing ever arrived in the 5.0 heartbeats since MEMBERSHIP knows it"
    assert found["evidence"]["d4"] == "nothing arrived for 20.0 heartbeats or more, as far back as is looked"


def test_nobody_is_silent_before_the_log_is_as_long_as_the_rule_waits(rules: DeviceRules) -> None:
    assert named(abnormal_devices.silent(replace(seen([]), begun=AT - 71 * HOUR), rules)) == []
    assert len(named(abnormal_devices.silent(replace(seen([]), begun=AT - 72 * HOUR), rules))) == 8


def test_the_last_thing_that_arrived_is_looked_for_in_a_month_of_the_log(tmp_path: Path) -> None:
    """Of the last 3 heartbeats sensor-1 told something; sensor-2 ten days ago, and failed since; sensor-3 never.

    The events of bikes are not delivered: nobody knows whether these are silent.
    """
    (tmp_path / "m.csv").write_text(MEMBERS)
    membership.load([str(tmp_path / "m.csv")], tmp_path)
    attempts = [("sensor-1", 1.0, True), ("sensor-2", 240.0, True), ("sensor-2", 200.0, False)]
    went = {True: "true,0", False: "false,1"}  # ok, failed_step
    log = [
        f"{device},smoke_sensor,ss_heartbeat,c1,{AT - hours * HOUR:%FT%TZ},{went[ok]},9,false,[9]"
        for device, hours, ok in attempts
    ]
    head = "device_id,service,process,cell,at,ok,failed_step,delay_ms,repeated,step_ms"
    (tmp_path / "e.csv").write_text("\n".join([head, *log]) + "\n")
    assert not events.load([str(tmp_path / "e.csv")], tmp_path).failures

    def silent(at: datetime) -> dict[str, tuple[float, object]]:
        found = abnormal_devices.find(tmp_path, read_domain(), read_monitor_settings(), at=at)
        told = found[found["kind"] == "silent"]
        assert set(told["service"]) == {"smoke_sensor"}
        return {row.device_id: (round(row.value, 6), row.since) for row in told.itertuples()}

    assert silent(AT) == {
        "sensor-2": (10, AT - 240 * HOUR),
        "sensor-3": (10, pd.NaT),  # the log is no longer
    }
    later = silent(AT + 25 * 24 * HOUR)
    assert later["sensor-1"] == (pytest.approx(25 + 1 / 24, abs=1e-6), AT - HOUR)
    assert later["sensor-2"] == later["sensor-3"] == (30, pd.NaT)  # at least


def test_a_sensor_served_by_a_strange_cell_is_misplaced_unless_its_cell_is_ill(rules: DeviceRules) -> None:
    away = ("d5", "ss_heartbeat", 3.0, True, "c9")
    assert named(abnormal_devices.misplaced(seen([*beats(but=("d5",)), away]), rules)) == ["d5"]
    all_away = [(f"d{n}", "ss_heartbeat", 3.0, True, "c9") for n in range(8)]
    assert named(abnormal_devices.misplaced(seen(all_away), rules)) == []


def test_a_sensor_that_its_membership_followed_away_is_still_misplaced(rules: DeviceRules) -> None:
    away = seen([*beats(but=("d5",)), ("d5", "ss_heartbeat", 3.0, True, "c9")])
    away.members.loc[away.members["device_id"] == "d5", "cell"] = "c9"
    assert named(abnormal_devices.misplaced(away, rules)) == ["d5"]


def test_the_home_of_a_device_is_the_cell_that_it_hung_on_longest() -> None:
    stays = [("d0", "c1", 30, 5), ("d0", "c9", 5, 3), ("d0", "c8", 3, None), ("d1", "c2", 1, None)]
    rows = pd.DataFrame(
        [
            (device, cell, AT - since * 24 * HOUR, None if until is None else AT - until * 24 * HOUR)
            for device, cell, since, until in stays
        ],
        columns=["device_id", "cell", "valid_from", "valid_to"],
    )
    rows["valid_to"] = pd.to_datetime(rows["valid_to"], utc=True)
    assert abnormal_devices.homes(rows, AT).to_dict() == {"d0": "c1", "d1": "c2"}
    assert abnormal_devices.homes(rows, AT - 10 * 24 * HOUR).to_dict() == {"d0": "c1"}


def test_devices_that_never_told_a_level_have_no_battery_risk(rules: DeviceRules) -> None:
    nothing = seen(beats())
    for told in (nothing.told, nothing.before):
        told["term_battery_level"] = float("nan")
        told["term_battery_level__at"] = float("nan")
    assert named(abnormal_devices.battery(nothing, rules)) == []
