"""Facts about what emerges in a simulated province: laws of its file drive it, and each fault acts through a cause."""

from collections.abc import Callable

import numpy as np
import pytest

from evaluation.simulation.province import conversations, events, pipeline, quality, terminal
from evaluation.simulation.province.area import read_recipe
from evaluation.simulation.province.catalogue import ProvinceFaults, TrafficPatterns, read_faults
from evaluation.simulation.province.faults import Happening
from evaluation.simulation.province.pipeline import Day, Walked
from evaluation.simulation.province.settings import ProvinceSettings, read_settings
from evaluation.simulation.province.topology import Area, Plan, build
from features.configuration import find_config

HOUR_S, DAY_S = 3600.0, 86_400.0
SENSOR, LOCK, PHONE = 0, 1, 2


@pytest.fixture(scope="module")
def catalogue() -> ProvinceFaults:
    return read_faults(find_config("fault_catalogue.yaml"))


@pytest.fixture(scope="module")
def settings() -> ProvinceSettings:
    read = read_settings(find_config("province.yaml"))
    calm = read.traits.model_copy(update={"misuse_share": 0.0})
    return read.model_copy(update={"devices_per_cell": 80, "cells_per_tac": 3, "traits": calm})


@pytest.fixture(scope="module")
def area(catalogue: ProvinceFaults, settings: ProvinceSettings) -> Area:
    return build(Plan(settings, 240, 3, 5, catalogue.patterns), 0)


def live(area: Area, *happenings: Happening) -> Day:
    """Return the first day of an area with these faults."""
    day, _ = pipeline.live(area, 0, pipeline.begin(area), list(happenings), processes=read_recipe().processes)
    return day


def changed(patterns: TrafficPatterns, place: str, value: object) -> TrafficPatterns:
    """Return the laws with one of them changed; place: its keys, with dots."""
    key, _, rest = place.partition(".")
    inner = changed(getattr(patterns, key), rest, value) if rest else value  # type: ignore[arg-type]
    return patterns.model_copy(update={key: inner})


def under(area: Area, place: str, value: object) -> Area:
    """Return the area where one law of traffic is another."""
    plan = area.plan
    return build(
        Plan(plan.settings, plan.devices, plan.days, plan.seed, changed(plan.patterns, place, value)), 0
    )


def invented(
    catalogue: ProvinceFaults, actuator: str, effect: str, value: float, *, scope: str = "device",
    location: int = 0, services: tuple[str, ...] = ("smoke_sensor", "bike_sharing"), hours: float = 1000.0,
) -> Happening:  # fmt: skip
    """Return a fault of one cause that no catalogue has, at full strength from before the first day."""
    step = next(f.onset for f in catalogue.faults if f.onset.shape == "step")
    act = {"actuator": actuator, "scope": scope, "effect": effect, "value": value}
    known = catalogue.faults[0].model_dump() | {
        "id": f"f_{actuator}", "granularity": scope, "services": services, "mechanism": (act,), "signature": (),
        "onset": step.model_dump(),
    }  # fmt: skip
    fault = type(catalogue.faults[0]).model_validate(known)
    number = f"F-{actuator}-{location}"
    return Happening(number, fault, scope, location, "x", 1.0, -HOUR_S, (hours - 1) * HOUR_S)


def at_each(
    catalogue: ProvinceFaults, area: Area, service: int, actuator: str, effect: str, value: float
) -> list[Happening]:
    """Return a fault of one cause at each device of a service."""
    names = (("smoke_sensor",), ("bike_sharing",), ("video",))[service]
    return [
        invented(catalogue, actuator, effect, value, location=int(d), services=names)
        for d in np.flatnonzero(area.devices.service == service)
    ]


def ratio(day: Day, counter: str) -> float:
    """Return what all tallies of a day make of a ratio."""
    tallies = [
        day.online,
        day.registered.tally,
        day.ended,
        day.video.tally,
        *(w.moment.tally for w in day.walks),
    ]
    rows = [chunk for tally in tallies for chunk in tally.ratios.get(counter, [])]
    return float(sum(top.sum() for _, top, _ in rows) / sum(bottom.sum() for _, _, bottom in rows))


def of_alarms(walked: Walked) -> np.ndarray:
    return np.asarray(
        walked.moment.own & (walked.moment.attempts.process == "ss_alarm") & ~walked.moment.silent
    )


def of_process(day: Day, process: str) -> np.ndarray:
    return np.flatnonzero(day.first.moment.own & (day.first.moment.attempts.process == process))


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


def test_a_firewall_breaks_sessions_only_when_it_forgets_before_the_next_ping(
    catalogue: ProvinceFaults, area: Area
) -> None:
    forgets = invented(catalogue, "nat_timeout_s", "set", 600.0, scope="province", services=("bike_sharing",))
    abnormal = "mqtt_abnormal/mqtt_ended"
    often = under(area, "bike_sharing.timers.mqtt_keepalive_s", 300.0)
    kept, broken = ratio(live(often, forgets), abnormal), ratio(live(area, forgets), abnormal)
    assert kept == pytest.approx(ratio(live(often), abnormal), abs=0.01)
    assert broken > 3 * kept
    assert ratio(live(area, forgets), "online_s/activated_s") < ratio(live(area), "online_s/activated_s")


def test_a_lock_is_offline_between_the_end_of_its_session_and_the_next_login(
    catalogue: ProvinceFaults, area: Area
) -> None:
    day = live(area, invented(catalogue, "auth_reject", "add", 1.0, scope="province"))
    lost = np.flatnonzero(day.ends.lost)
    assert len(lost) > 50
    seen = day.presence
    for end in lost[:20]:
        mine = (seen.device == day.ends.device[end]) & (seen.at_s > day.ends.at_s[end])
        later = [
            w.moment.attempts.at_s[(w.moment.attempts.device == day.ends.device[end]) & w.heard].tolist()
            for w in day.walks
        ]
        back_s = min([t for some in later for t in some if t > day.ends.at_s[end]], default=np.inf)
        assert not seen.online[mine & (seen.at_s < back_s)].any()


def test_timers_granted_other_than_asked_cost_updates_and_energy_and_detaches(
    catalogue: ProvinceFaults, area: Area
) -> None:
    policy = invented(catalogue, "timer_mismatch", "add", 1.0, scope="province")
    calm, changed_day = live(area), live(area, policy)
    assert changed_day.registered.updates.sum() > 20 * max(calm.registered.updates.sum(), 1)
    detached = "implicit_detach/registered_device_days"
    assert ratio(calm, detached) < 0.015
    assert 0.01 < ratio(changed_day, detached) - ratio(calm, detached) < 0.2
    short = under(area, "smoke_sensor.timers.t3412ext_s", 7200.0)
    assert live(short).registered.updates.sum() > 5 * changed_day.registered.updates.sum() / 20


def test_a_pulse_that_takes_a_weak_battery_down_restarts_the_device_and_is_counted(
    catalogue: ProvinceFaults, area: Area
) -> None:
    day = live(area, *at_each(catalogue, area, SENSOR, "battery_level", "set", 8.0))
    down = sum(
        np.bincount(w.moment.attempts.device[w.moment.browned_out & w.moment.own], minlength=240)
        for w in day.walks
    )
    assert down.sum() > 20
    told = {
        name: dict(zip(who, v, strict=True))
        for name, who, v in terminal.tell(area, day, area.devices.battery)[0]
    }
    assert all(told["term_reboot_count"][d] >= down[d] for d in np.flatnonzero(down))
    registered = day.again.moment.attempts.process[day.again.moment.own]
    assert (registered == "ss_onboarding").sum() > 10


def test_a_device_that_was_taken_away_moves_and_sees_no_smoke(catalogue: ProvinceFaults, area: Area) -> None:
    away = at_each(catalogue, area, SENSOR, "tampered", "set", 1.0)
    day, home = live(area, *away), live(area)
    rows = of_process(day, "ss_heartbeat")
    device = day.first.moment.attempts.device[rows]
    assert (day.first.moment.attempts.x_km[rows] != area.devices.x_km[device]).all()
    assert (
        day.first.moment.level[rows].mean() < home.first.moment.level[of_process(home, "ss_heartbeat")].mean()
    )
    assert (day.first.moment.meant_cell[rows] != area.home_cell[device]).mean() > 0.3
    assert day.first.moment.silent[of_process(day, "ss_alarm")].all()


def test_nobody_rides_a_bike_that_was_taken_away(catalogue: ProvinceFaults, area: Area) -> None:
    day = live(area, *at_each(catalogue, area, LOCK, "tampered", "set", 1.0))
    assert not len(of_process(day, "bk_unlock"))
    assert len(of_process(day, "bk_ride_position"))


def test_a_lock_without_quota_is_served_by_the_network_and_not_heard_by_the_platform(
    catalogue: ProvinceFaults, area: Area
) -> None:
    day = live(area, *at_each(catalogue, area, LOCK, "quota_used", "set", 1.0))
    rows = np.flatnonzero(
        day.first.moment.own & (area.devices.service[day.first.moment.attempts.device] == LOCK)
    )
    assert day.first.moment.served[rows].mean() > 0.5
    assert not day.first.heard[rows].any()
    judged = quality._unlocks(day)
    assert judged.bad.all()
    assert {day.faults[b].fault.id for b in judged.blame} == {"f_quota_used"}


@pytest.mark.parametrize("actuator", ["airplane_mode", "data_switch_off"])
def test_a_phone_without_radio_plays_nothing_and_only_its_user_knows(
    catalogue: ProvinceFaults, area: Area, actuator: str
) -> None:
    day = live(area, *at_each(catalogue, area, PHONE, actuator, "set", 1.0))
    own = np.flatnonzero(day.video.device >= 0)
    assert len(own)
    assert not day.video.ok[own].any()
    counted = np.concatenate([rows for rows, _, _ in day.video.tally.ratios["erab_succ/erab_att"]])
    assert not set(counted) & set(own)
    judged = quality._video(day)
    assert judged.bad.all()
    assert {day.faults[b].fault.id for b in judged.blame} == {f"f_{actuator}"}


def test_a_load_on_a_whole_tracking_area_shows_at_its_lte_cells_and_cdn_nodes(
    catalogue: ProvinceFaults, area: Area
) -> None:
    for counter, actuator in (("prb_used/prb_avail", "offered_load_dl"), ("egress/egress_cap", "cdn_load")):
        loaded = live(area, invented(catalogue, actuator, "add", 30.0, scope="tac", services=("video",)))
        used = [
            sum(top.sum() for _, top, _ in day.gauges.tally.ratios[counter])
            / sum(bottom.sum() for _, _, bottom in day.gauges.tally.ratios[counter])
            for day in (live(area), loaded)
        ]
        assert used[1] - used[0] == pytest.approx(0.3, abs=0.03)


def test_walls_around_a_parked_bike_are_left_behind_when_it_is_ridden_away(
    catalogue: ProvinceFaults, area: Area
) -> None:
    day = live(area, *at_each(catalogue, area, LOCK, "attenuation_db", "add", 40.0))
    attempts = day.first.moment.attempts
    walls = day.first.moment.of("attenuation_db", np.arange(len(attempts)))
    rides = of_process(day, "bk_ride_position")
    assert not walls[rides[attempts.riding[rides]]].any()
    locks = np.flatnonzero(area.devices.service == LOCK)
    ends = {h.location: h.end_s for h in day.faults}
    for lock in locks.tolist():
        trips = attempts.at_s[(attempts.device == lock) & (attempts.process == "bk_unlock")]
        assert ends[lock] == pytest.approx(trips.min() if len(trips) else 999 * HOUR_S, abs=0.1)


def test_a_sensor_keeps_its_walls(catalogue: ProvinceFaults, area: Area) -> None:
    day = live(area, *at_each(catalogue, area, SENSOR, "attenuation_db", "add", 40.0))
    assert {h.end_s for h in day.faults} == {999 * HOUR_S}


@pytest.mark.parametrize("cause", [("sensor_broken", 1.0), ("sim_absent", 1.0)])
def test_an_alarm_that_is_never_sent_is_logged_as_failed(
    catalogue: ProvinceFaults, area: Area, cause: tuple[str, float]
) -> None:
    cooking = under(area, "smoke_sensor.alarm.false_alarm_per_device_month", 30.0)
    day = live(cooking, *at_each(catalogue, cooking, SENSOR, cause[0], "set", cause[1]))
    _, log = events.event_log(cooking, day, day.processes)
    alarms = log.to_pandas().query("process == 'ss_alarm'")
    assert len(alarms) == len(of_process(day, "ss_alarm"))
    assert not alarms["ok"].any()
    assert (alarms["failed_step"] == 1).all()
    assert quality._alarms(day).bad.all()
    heartbeats = log.to_pandas().query("process == 'ss_heartbeat'")
    assert len(heartbeats) == 0 if cause[0] == "sim_absent" else len(heartbeats) > 0


def test_shadow_is_another_elsewhere_and_the_same_at_the_same_place(area: Area) -> None:
    lock = np.flatnonzero(area.devices.service == LOCK)[:1]
    here = area.nrsrp(lock)
    steps_km = np.array([0.0, 0.005, 1.0])
    power = [area.nrsrp(lock, area.devices.x_km[lock] + s, area.devices.y_km[lock]) for s in steps_km]
    assert power[0] == pytest.approx(here)
    assert np.abs(power[1] - here).max() < 3.0
    assert np.abs(power[2] - here).max() > 3.0


def test_two_devices_of_a_province_of_millions_never_share_an_address() -> None:
    numbers = np.unique(
        np.concatenate([np.arange(300_000), 512_000 * np.arange(1, 31), 15_999_999 - np.arange(300_000)])
    )
    addresses = {conversations.address(int(n)) for n in numbers}
    assert len(addresses) == len(numbers)
    assert all(0 <= int(part) <= 255 for address in list(addresses)[:1000] for part in address.split("."))


def test_areas_number_their_devices_on(catalogue: ProvinceFaults, settings: ProvinceSettings) -> None:
    plan = Plan(settings, 1001, 1, 5, catalogue.patterns)
    areas = [build(plan, number) for number in range(plan.tacs)]
    numbered = [area.first + n for area in areas for n in range(len(area.devices))]
    assert numbered == list(range(1001))


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
