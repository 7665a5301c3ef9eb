"""Facts about the laws of traffic: each that is read drives the simulation."""

from collections.abc import Callable

import numpy as np
import pytest
from tiny_province import SENSOR, invented, live, of_alarms, of_process, ratio, shipped, small_area, under

from evaluation.simulation.province import events, quality, terminal
from evaluation.simulation.province.catalogue import ProvinceFaults, laws_broken
from evaluation.simulation.province.pipeline import Day
from evaluation.simulation.province.topology import Area


@pytest.fixture(scope="module")
def catalogue() -> ProvinceFaults:
    return shipped()


@pytest.fixture(scope="module")
def area() -> Area:
    return small_area()


def test_sensors_report_with_the_periods_of_their_file(area: Area) -> None:
    hourly = under(area, "smoke_sensor.heartbeat_period_s", {3600.0: 1.0})
    sensors = (hourly.devices.service == SENSOR).sum()
    assert len(of_process(live(hourly), "ss_heartbeat")) == 24 * sensors
    rare = under(area, "smoke_sensor.heartbeat_period_s", {172_800.0: 1.0})
    assert len(of_process(live(rare), "ss_heartbeat")) == pytest.approx(sensors / 2, rel=0.25)


def test_walls_of_the_file_stand_around_sensors(area: Area) -> None:
    thick = dict.fromkeys(area.plan.patterns.radio_physics.penetration_db, 40.0)
    behind = under(area, "radio_physics.penetration_db", thick)
    sensors = area.devices.service == SENSOR
    antenna = area.plan.settings.antenna_loss_db.smoke_sensor
    assert (behind.devices.wall_db[sensors] == 40.0 + antenna).all()
    level = [d.first.moment.level[of_process(d, "ss_heartbeat")].mean() for d in (live(area), live(behind))]
    assert level[1] > level[0] + 0.5


def test_a_place_without_a_wall_is_refused(area: Area) -> None:
    with pytest.raises(
        ValueError, match="smoke_place_share must name places of penetration_db, window, but names"
    ):
        under(area, "radio_physics.penetration_db", {"window": 8.0})


def test_a_longer_segment_makes_the_first_frame_wait(area: Area) -> None:
    start_s = [np.median(live(under(area, "video.segment_s", s)).video.first_frame_s) for s in (2.0, 20.0)]
    assert start_s[1] > start_s[0] + 1.0


def test_cells_discharge_themselves_as_fast_as_their_file_says(area: Area) -> None:
    drains = []
    for percent in (0.0, 365.0):
        leaky = under(area, "smoke_sensor.battery.self_discharge_pct_per_year", percent)
        told = terminal.tell(leaky, live(leaky), leaky.devices.battery)[0]
        drains.append(
            next(dict(zip(who, v, strict=True)) for name, who, v in told if name == "term_battery_drain")
        )
    for device in drains[0]:
        more = 1.0 if area.devices.service[device] == SENSOR else 0.0
        assert drains[1][device] - drains[0][device] == pytest.approx(more)


def test_an_alarm_is_repeated_until_heard_or_as_often_as_the_file_allows(
    catalogue: ProvinceFaults, area: Area
) -> None:
    cooking = under(area, "smoke_sensor.alarm.false_alarm_per_device_month", 30.0)
    alarm = cooking.plan.patterns.smoke_sensor.alarm
    dead = invented(catalogue, "server_wrong", "set", 1.0, scope="province")
    for most in (0, 3):
        here = under(cooking, "smoke_sensor.alarm", alarm.model_copy(update={"repeat_max": most}))
        day = live(here, dead)
        tries = [of_alarms(w).sum() for w in day.walks]
        assert tries[0] > 30
        assert len([n for n in tries if n > 0.8 * tries[0]]) == most + 1
        assert sum(n > 0 for n in tries) == most + 1
    healthy = live(cooking)
    assert quality._alarms(healthy).bad.mean() < 0.1
    repeated = [of_alarms(w).sum() for w in healthy.walks]
    assert max(repeated[2:], default=0) <= 0.02 * repeated[0]  # but for who cannot be heard where it hangs


def test_a_command_that_comes_after_t3324_finds_a_sensor_asleep(
    catalogue: ProvinceFaults, area: Area
) -> None:
    heard = {}
    for t3324_s in (1.0, 20.0):
        day = live(under(area, "smoke_sensor.timers.t3324_s", t3324_s))
        heard[t3324_s] = day.first.outcome.ok[of_process(day, "ss_command")].mean()
    assert heard[1.0] == 0.0
    assert heard[20.0] > 0.5
    slow = live(area, invented(catalogue, "command_delay_ms", "add", 60_000.0, scope="province"))
    assert slow.first.outcome.ok[of_process(slow, "ss_command")].mean() < heard[20.0]


def paging_ms(day: Day) -> float:
    rows = of_process(day, "bk_unlock")
    place = next(n for n, step in enumerate(day.processes["bk_unlock"].steps) if step.name == "paging")
    took = day.first.outcome.step_ms[rows, place]
    return float(np.median(took[took >= 0]))


@pytest.mark.parametrize(
    ("place", "value", "of", "factor"),
    [
        ("bike_sharing.timers.drx_s", 25.6, paging_ms, 5.0),
        ("bike_sharing.trips_per_bike_day.weekday", 6.0, lambda d: len(of_process(d, "bk_unlock")), 1.6),
        ("bike_sharing.reports.riding_period_s", 20.0, lambda d: len(of_process(d, "bk_ride_position")), 2.0),
        ("bike_sharing.reports.parked_period_s", 3600.0, lambda d: len(of_process(d, "bk_ride_position")), 1.3),
        ("bike_sharing.trip.speed_kmh", 40.0, lambda d: len(events.stays(d, np.zeros(240, int))[0]), 1.2),
        ("video.bit_rates_mbps", (8.0, 16.0), lambda d: d.video.megabit[d.video.ok].mean(), 2.0),
        ("video.session_min_median", 48.0, lambda d: d.video.watch_s[d.video.ok].mean(), 2.0),
        ("video.start_threshold_s", 40.0, lambda d: np.median(d.video.first_frame_s), 1.5),
        ("smoke_sensor.alarm.real_fire_per_million_device_days", 1e6, lambda d: len(of_process(d, "ss_alarm")), 5.0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_law_that_is_larger_moves_what_it_is_of(
    area: Area, place: str, value: object, of: Callable[[Day], float], factor: float
) -> None:
    assert of(live(under(area, place, value))) > factor * max(of(live(area)), 1.0)


def test_a_sensor_is_online_as_long_as_its_lifetime(area: Area) -> None:
    short = under(area, "smoke_sensor.timers.lwm2m_lifetime_s", 43_200.0)
    day = live(short)
    told = next(v for name, _, v in terminal.tell(short, day, short.devices.battery)[0] if "lifetime" in name)
    assert set(told.tolist()) == {0.5}
    online = [
        d.presence.online[area.devices.service[d.presence.device] == SENSOR].mean() for d in (day, live(area))
    ]
    assert online[0] == pytest.approx(0.5, abs=0.1)
    assert online[1] > 0.95
    updates = "upd_ok/upd_req"
    assert ratio(day, updates) < 0.1 < 0.9 < ratio(live(area), updates)  # 4.04: the registration has lapsed


def test_sources_are_those_of_the_file(area: Area) -> None:
    assert under(area, "video.sources", ("news", "opera")).plan.names["program_source"] == ("news", "opera")


def test_shares_of_periods_that_are_all_0_are_refused(area: Area) -> None:
    nobody = {"heartbeat_period_s": {3600.0: 0.0}}
    patterns = area.plan.patterns
    broken = patterns.model_copy(update={"smoke_sensor": patterns.smoke_sensor.model_copy(update=nobody)})
    assert any("heartbeat_period_s: a share must be above 0" in told for told in laws_broken(broken))
