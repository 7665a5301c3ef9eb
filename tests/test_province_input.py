"""What a file of a simulated province may ask for: whatever would crash, or do nothing, is refused when read."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from test_province import changed, small

from evaluation.faults import Fault
from evaluation.simulation.province.actuators import (
    ACTUATORS,
    ALL,
    BIKE,
    BY_NAME,
    EFFECTS,
    IOT,
    SMOKE,
    VIDEO,
    Actuator,
    Pressure,
    combined,
)
from evaluation.simulation.province.catalogue import ProvinceFaults, read_faults
from evaluation.simulation.province.mechanisms import broken
from evaluation.simulation.province.settings import read_settings
from features.configuration import find_config

ONE = np.ones(1)
_WORDS = {IOT: "sensors, locks", SMOKE: "sensors", BIKE: "locks", VIDEO: "video", ALL: "all"}


@pytest.fixture(scope="module")
def catalogue() -> ProvinceFaults:
    return read_faults(find_config("fault_catalogue.yaml"))


def shipped() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(find_config("fault_catalogue.yaml").read_text())
    return content


def entries() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = shipped()["faults"]
    return found


def new(
    *acts: tuple[str, str, float],
    at: str = "cell",
    services: tuple[str, ...] = ("smoke_sensor",),
    **other: Any,
) -> dict[str, Any]:
    """Return a fault nobody thought of. acts: actuator, effect, value."""
    mechanism = [{"actuator": a, "scope": at, "effect": e, "value": v} for a, e, v in acts]
    word = {"platform_node": "node", "program_source": "source", "cdn_node": "node"}.get(at, at)
    return {
        **entries()[0], "id": "f_new", "granularity": at, "services": list(services), "signature": [],
        "mechanism": mechanism, "base_rate": {"value": 0.01, "per": f"{word}-month"}, **other,
    }  # fmt: skip


def told(entry: dict[str, Any]) -> str:
    """Return the rules that a fault breaks."""
    return "\n".join(broken(Fault.model_validate(entry)))


def test_a_cell_that_loses_every_packet_and_one_of_little_capacity_can_be_simulated(tmp_path: Path) -> None:
    acts = [("backhaul_loss", "add", 1.0), ("capacity", "mul", 0.01), ("offered_load_nprach", "add", 900.0)]
    twice = [{"fault": "f_new", "location": 0}] * 4
    out = small(tmp_path, "lost", devices=60, faults=[*entries(), new(*acts)], schedule=twice)
    assert len(pq.read_table(out / "truth.parquet")) == 4


@pytest.mark.parametrize(
    ("act", "rule"),
    [
        (("capacity", "mul", 0.0), "capacity must be 0.01 to 100"),
        (("noise_power_db", "add", -6.0), "noise_power_db must be 0 to 60 dB"),
        (("ack_timeout_s", "set", -2.0), "ack_timeout_s must be 0.1 to 600 s"),
        (("ack_timeout_s", "add", -6.0), "but add -6 makes it 0"),
        (("rule_delay_ms", "add", -4000.0), "rule_delay_ms must be 0 to 600000 ms"),
        (("s6a_reject", "add", -0.5), "s6a_reject must be 0 to 1"),
        (("s6a_reject", "add", 1.5), "s6a_reject must be 0 to 1"),
        (("s6a_reject", "add", 0.0), "add 0 is without effect"),
        (("sim_absent", "set", 0.0), "set 0 is without effect"),
        (("sim_absent", "set", 7.0), "sim_absent must be 1, but set 7"),
        (("sim_absent", "add", 1.0), "effect of sim_absent must be set, but is add"),
    ],
)
def test_a_value_that_nothing_can_have_is_refused(act: tuple[str, str, float], rule: str) -> None:
    found = told(new(act))
    assert found.startswith("f_new: ")
    assert rule in found


@pytest.mark.parametrize(
    ("act", "harm"),
    [
        (("capacity", "mul", 2.0), "capacity below 1"),
        (("nat_timeout_s", "set", 9000.0), "nat_timeout_s below 7200"),
        (("lifetime_ratio", "add", 1.0), "lifetime_ratio below 1.5"),
    ],
)
def test_a_mechanism_that_only_helps_is_no_fault(act: tuple[str, str, float], harm: str) -> None:
    both = ("smoke_sensor", "bike_sharing")
    found = told(new(act, at="province", services=both))
    assert f"f_new: a mechanism must do harm, but {act[1]} {act[2]:g} of {act[0]} only helps" in found
    assert f"harm is {harm}" in found
    assert "must do harm" not in told(new(act, ("rule_delay_ms", "add", 9.0), at="province", services=both))
    for timeout_s in (1.0, 60.0):  # too short repeats needlessly, too long waits
        assert told(new(("ack_timeout_s", "set", timeout_s))) == ""


def limits() -> list[str]:
    """Return the rows of docs/simulation.md that tell what an actuator may be given; alike ones share a row."""
    alike: dict[str, list[Actuator]] = {}
    for one in ACTUATORS:
        scopes = f" at a {' or '.join(one.scopes)}" if one.scopes else ""
        row = f"{' or '.join(EFFECTS[one.kind])} | {one.limits} | {_WORDS[one.services]}{scopes}"
        alike.setdefault(row, []).append(one)
    return [f"| {', '.join(f'`{one.name}`' for one in some)} | {row} |" for row, some in alike.items()]


def test_the_docs_tell_what_an_actuator_may_be_given() -> None:
    page = (Path(__file__).parents[1] / "docs" / "simulation.md").read_text()
    assert [line for line in page.splitlines() if line.startswith("| `") and line.count("|") == 5][
        -len(limits()) :
    ] == limits()


def test_a_refused_value_is_told_with_its_file(tmp_path: Path) -> None:
    bad = changed("fault_catalogue.yaml", tmp_path / "bad.yaml", faults=[new(("s6a_reject", "add", -0.5))])
    with pytest.raises(ValueError, match=r"bad\.yaml: .*f_new: s6a_reject must be 0 to 1"):
        read_faults(bad)


def test_several_faults_at_one_place_never_leave_the_range_of_a_cause() -> None:
    pressure = Pressure(1)
    for _ in range(3):
        pressure.act("ack_timeout_s", np.array([0]), ONE, effect="add", value=-4.0)
        pressure.act("noise_power_db", np.array([0]), ONE, effect="add", value=6.0)
    assert pressure.of("ack_timeout_s")[0] == pytest.approx(0.1)
    assert pressure.of("noise_power_db")[0] == pytest.approx(10 * np.log10(3 * 10**0.6 - 2))
    noise = BY_NAME["noise_power_db"]
    assert np.isfinite(combined(noise, np.array([-6.0]), ONE, effect="add", value=-6.0)).all()


LTE_DEAF = ("antenna_loss_db", "cell_outage", "noise_power_db", "backhaul_loss", "dns_reject", "session_reject",
            "offered_load_ul")  # fmt: skip
IOT_DEAF = ("cdn_load", "vpn", "cpu_load", "airplane_mode", "data_switch_off", "power_saving")


@pytest.mark.parametrize("name", [*LTE_DEAF, "capacity"])
def test_what_an_lte_cell_does_not_feel_is_refused_with_what_does(name: str) -> None:
    act = (name, "mul", 0.5) if name == "capacity" else (name, "add", 1.0)
    found = told(new(act, services=("video",)))
    acts_on = (
        "it acts on smoke_sensor and bike_sharing" if name != "dns_reject" else "it acts on bike_sharing"
    )
    assert f"{name} must act on video at a cell, but moves nothing there; {acts_on}, and docs" in found


@pytest.mark.parametrize("name", IOT_DEAF)
def test_what_only_a_phone_feels_is_refused_for_a_sensor(name: str) -> None:
    act = (name, "set" if BY_NAME[name].kind == "flag" else "add", 1.0)
    assert f"{name} must act on smoke_sensor at a device" in told(new(act, at="device"))


def test_heartbeats_align_in_cells_and_fleets_and_at_bursts_only() -> None:
    act = ("heartbeat_alignment", "add", 0.9)
    burst = {"shape": "burst", "at_hours": [6], "duration_min": 10}
    assert "must act on smoke_sensor at a tac" in told(new(act, at="tac", onset=burst))
    assert "onset must be a burst, but is step" in told(new(act))
    assert told(new(act, onset=burst)) == ""
    assert told(new(act, at="fleet", onset=burst)) == ""


def test_a_mechanism_that_leaves_out_a_service_is_refused() -> None:
    found = told(new(("cpu_load", "add", 50.0), at="province", services=("smoke_sensor", "video")))
    assert "moves nothing of smoke_sensor; leave that service out" in found


def test_every_fault_of_the_catalogue_can_be_simulated(catalogue: ProvinceFaults) -> None:
    assert len(catalogue.faults) >= 56
    assert [rule for fault in catalogue.faults for rule in broken(fault)] == []


@pytest.mark.parametrize("per", ["banana", "cell", "session", "trip-month", "banana-year"])
def test_a_rate_that_counts_something_else_is_refused(per: str) -> None:
    entry = new(("s6a_reject", "add", 0.5), at="mme", base_rate={"value": 0.1, "per": per})
    assert (
        f"base_rate.per must count what the fault lies at, a mme: mme[-day|-month|-year], but is {per}"
        in told(entry)
    )


def test_a_rate_that_is_not_used_need_only_be_one() -> None:
    entry = Fault.model_validate(
        new(("s6a_reject", "add", 0.5), at="mme", base_rate={"value": 0.1, "per": "cell"})
    )
    assert list(broken(entry, drawn=False)) == []
    banana = entry.model_copy(update={"base_rate": entry.base_rate.model_copy(update={"per": "banana"})})
    assert len(list(broken(banana, drawn=False))) == 1


@pytest.mark.parametrize("window_s", [50_000, 30])
def test_a_window_of_counters_divides_the_day_and_is_one_that_is_loaded(
    tmp_path: Path, window_s: int
) -> None:
    windows = yaml.safe_load(find_config("province.yaml").read_text())["counter_window_s"]
    bad = changed("province.yaml", tmp_path / "bad.yaml", counter_window_s={**windows, "cell": window_s})
    with pytest.raises(
        ValueError, match=rf"window of cell must divide the 86,400 s .* at least 60 s, but is {window_s} s"
    ):
        read_settings(bad)


def test_a_province_begins_at_midnight_of_utc(tmp_path: Path) -> None:
    noon = changed("province.yaml", tmp_path / "noon.yaml", start="2026-03-02T12:00:00+00:00")
    with pytest.raises(ValueError, match="start must be a midnight of UTC"):
        read_settings(noon)
    west = changed("province.yaml", tmp_path / "west.yaml", start="2026-03-01T20:00:00-04:00")
    assert read_settings(west).start.isoformat() == "2026-03-02T00:00:00+00:00"
    assert read_settings(west).start.weekday() == 0
