"""Where and when faults of a file lie in a province, and whom they reach."""

from typing import Any

import numpy as np
import pytest
import yaml
from test_province_input import new, shipped

from evaluation.faults import Fault
from evaluation.simulation.province import smoke
from evaluation.simulation.province.actuators import (
    BY_NAME,
)
from evaluation.simulation.province.catalogue import ProvinceFaults, read_faults
from evaluation.simulation.province.daylong import expose_at
from evaluation.simulation.province.faults import (
    Exposed,
    expose,
    local_happenings,
    shared_happenings,
    spans_d,
    truth,
)
from evaluation.simulation.province.schedule import resolved
from evaluation.simulation.province.settings import SERVICES, ProvinceSettings
from evaluation.simulation.province.topology import Area, Plan, build
from features.configuration import find_config


@pytest.fixture(scope="module")
def plan() -> Plan:
    """Two tracking areas of four cells, two days from a Monday on."""
    content = yaml.safe_load(find_config("province.yaml").read_text())
    settings = ProvinceSettings.model_validate(content | {"devices_per_cell": 40, "cells_per_tac": 4})
    patterns = read_faults(find_config("fault_catalogue.yaml")).patterns
    return Plan(settings, devices=300, days=2, seed=5, patterns=patterns)


@pytest.fixture(scope="module")
def area(plan: Plan) -> Area:
    return build(plan, 1)


def scheduled(entry: dict[str, Any], *plans: dict[str, Any], **other: Any) -> ProvinceFaults:
    """Return a file of one fault that happens as planned, and not by its rate."""
    placed = [{"fault": entry["id"], **one} for one in plans]
    content = {**shipped(), "faults": [entry], "draw": False, "schedule": placed}
    return ProvinceFaults.model_validate(content | other)


NOISE = ("noise_power_db", "add", 6.0)
DELAY = ("backhaul_delay_ms", "add", 80.0)
DEAF = ("interference_power_db", "add", 6.0)


@pytest.mark.parametrize(
    ("at", "location", "rule"),
    [
        ("cell", "cell-009-99", r"schedule\[1\] \(f_new\): location must be the id of a cell of smoke_sensor, but is"
                                r" cell-009-99; near it: cell-001-0"),
        ("cell", 4, r"0 \(cell-000-00\) to 3 \(cell-000-03\), but is 4"),
        ("cell", -1, "but is -1"),
        ("cell", "lte-001-00", "near it: cell-001-00"),
        ("tac", 2, r"the place of a tac of smoke_sensor, 0 \(tac-000\) to 1 \(tac-001\), but is 2"),
        ("mme", "mme-7", "near it: mme-000"),
        ("device", "dev-0009999", "location must be the id of a device of smoke_sensor, but is dev-0009999; near it"),
        ("device", 150, "in the first tracking area, 0 "),
        ("fleet", "fleet-video-0", "near it: fleet-smoke_sensor-0"),
    ],
)  # fmt: skip
def test_a_scheduled_fault_that_lies_nowhere_is_refused(
    plan: Plan, at: str, location: str | int, rule: str
) -> None:
    act = ("attenuation_db", "add", 9.0)
    with pytest.raises(ValueError, match=rule):
        resolved(plan, scheduled(new(act, at=at), {"location": 0}, {"location": location}))


def test_every_location_is_found_again_in_its_area(plan: Plan, area: Area) -> None:
    tac = resolved(plan, scheduled(new(DELAY, at="tac"), {"location": 1}))
    assert [h.name for h in local_happenings(area, tac)] == ["tac-001"]
    assert local_happenings(build(plan, 0), tac) == []
    sensors = area.devices.names[area.devices.service == 0]
    some = scheduled(new(NOISE, at="device"), *({"location": str(name)} for name in sensors[[0, 7, -1]]))
    found = local_happenings(area, resolved(plan, some))
    assert sorted(h.name for h in found) == sorted(sensors[[0, 7, -1]])
    lte = scheduled(new(DEAF, services=("video",)), {"location": "lte-001-02"})
    assert [h.location for h in local_happenings(area, resolved(plan, lte))] == [2]


@pytest.mark.parametrize(
    ("when", "rule"),
    [
        (
            {"onset_h": 48},
            r"schedule\[0\] \(f_new\): onset_h must be before the end of the simulated days, 48 h",
        ),
        ({"onset_h": -30}, r"must act within the simulated days, 0 h to 48 h, but lasts from -30 h to -6 h"),
        ({"onset_h": 8, "duration_h": 2}, "has no burst then"),
    ],
)
def test_a_scheduled_fault_that_never_acts_is_refused(plan: Plan, when: dict[str, float], rule: str) -> None:
    onset = {"shape": "burst", "at_hours": [6], "duration_min": 10}
    with pytest.raises(ValueError, match=rule):
        resolved(plan, scheduled(new(NOISE, onset=onset), when))


def test_a_drawn_fault_that_never_acts_is_not_in_the_truth(plan: Plan, area: Area) -> None:
    entry = new(
        NOISE,
        onset={"shape": "burst", "at_hours": [6], "duration_min": 60},
        duration={"dist": "lognormal", "median": 1, "unit": "hour", "sigma": 0.5},
        base_rate={"value": 600, "per": "cell-month"},
    )
    found = local_happenings(area, scheduled(entry, draw=True))
    told = truth(plan, found)
    assert len(told) == len(found) > 3
    hours = [(h.onset_s / 3600, h.end_s / 3600) for h in found]
    assert all(any(on < six + 1 and off > six for six in (6, 30)) for on, off in hours)


def touched(area: Area, entry: dict[str, Any], **planned: Any) -> np.ndarray:
    """Return which devices of an area feel a fault at its first noon."""
    faults = resolved(area.plan, scheduled(entry, planned))
    happenings = [*shared_happenings(area.plan, faults), *local_happenings(area, faults)]
    everyone = np.arange(len(area.devices))
    pressure, name = (
        expose_at(area, happenings, everyone, np.full(len(everyone), 43_200.0)),
        entry["mechanism"][0],
    )
    return np.asarray(pressure.of(name["actuator"]) != BY_NAME[name["actuator"]].neutral)


def test_a_fault_of_one_service_leaves_the_devices_of_others_alone(area: Area) -> None:
    hit = touched(area, new(NOISE), location="cell-001-01")
    here = area.home_cell == 1
    assert (hit == (here & (area.devices.service == SERVICES.index("smoke_sensor")))).all()
    assert hit.any()


def test_a_fault_of_a_sensor_and_of_video_reaches_both_and_no_lock(area: Area) -> None:
    hit = touched(area, new(DEAF, at="province", services=("smoke_sensor", "video")))
    assert (hit == (area.devices.service != SERVICES.index("bike_sharing"))).all()
    assert touched(
        area, new(DEAF, at="tac", services=("smoke_sensor", "bike_sharing", "video")), location=1
    ).all()


def test_strangers_feel_a_fault_of_their_network_whatever_its_service(area: Area) -> None:
    faults = resolved(area.plan, scheduled(new(NOISE), {"location": "cell-001-01"}))
    places = {"cell": np.array([1, 1, 2]), "app": np.array([0, 4, 0])}
    for video, felt in ((False, [True, True, False]), (True, [False] * 3)):
        at = Exposed(np.full(3, 3600.0), np.full(3, -1), np.full(3, video), places)
        pressure = expose(local_happenings(area, faults), at, weekday=0)
        assert (pressure.of("noise_power_db") > 0).tolist() == felt


def beats(area: Area, day: int = 0, **planned: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return heartbeats of a day before and after a storm at 06:00, 10:00 and 18:00 in all fleets of sensors, h."""
    onset = planned.pop("onset", {"shape": "burst", "at_hours": [6, 10, 18], "duration_min": 20})
    entry = new(("heartbeat_alignment", "add", 1.0), at="fleet", onset=onset)
    faults = resolved(area.plan, scheduled(entry, *({"location": n, **planned} for n in range(4))))
    found: list[np.ndarray] = []
    for some in ([], shared_happenings(area.plan, faults)):
        attempts = smoke.live(area, day, rng=np.random.default_rng(1), faults=some, weekend=False)
        found.append(attempts.at_s[attempts.process == "ss_heartbeat"] / 3600 - 24 * day)
    return found[0], found[1]


def test_a_storm_moves_heartbeats_only_to_bursts_within_it(area: Area) -> None:
    before, after = beats(area, onset_h=8, duration_h=4)
    moved = after[~np.isin(after, before)]
    assert len(moved) > 5
    assert ((moved > 10) & (moved < 10.1)).all()
    assert not np.isin(before[(before > 8.1) & (before < 11.9)], after).any()


def test_a_storm_keeps_to_its_period_and_its_weekdays(area: Area) -> None:
    often = {"shape": "burst", "at_hours": [1], "duration_min": 20, "period_h": 8}
    before, after = beats(area, onset=often, onset_h=0, duration_h=24)
    moved = after[~np.isin(after, before)]
    assert set(np.floor(moved)) == {1, 9, 17}
    weekly = {"shape": "burst", "at_hours": [30], "duration_min": 20, "period_h": 168}
    before, after = beats(area, onset=weekly, onset_h=0, duration_h=48)
    assert (before == after).all()
    before, after = beats(area, 1, onset=weekly, onset_h=0, duration_h=48)
    assert not np.isin(before, after).any()


@pytest.mark.parametrize("per", ["cell", "cell-month"])
def test_as_many_faults_are_on_at_any_time_however_long_is_simulated(per: str) -> None:
    entry = new(
        NOISE,
        duration={"dist": "lognormal", "median": 3, "unit": "day", "sigma": 1.0},
        base_rate={"value": 0.02 if per == "cell" else 0.1, "per": per},
    )
    mean_d = 3 * np.exp(0.5)
    wanted = 100_000 * (0.02 if per == "cell" else 0.1 / 30 * mean_d)
    for days in (1, 30):
        onset, lasts = spans_d(
            Fault.model_validate(entry), days, elements=100_000, rng=np.random.default_rng(days)
        )
        for at in (0.0, 0.5 * days, days - 0.01):
            on = ((onset <= at) & (onset + lasts > at)).sum()
            assert on == pytest.approx(wanted, abs=4 * np.sqrt(wanted)), (days, at)
        assert ((onset < days) & (onset + lasts > 0)).all()
