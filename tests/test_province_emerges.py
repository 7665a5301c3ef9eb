"""Facts about what emerges in a simulated province: each fault acts through a cause, and counts follow from state."""

import numpy as np
import pytest
from tiny_province import (
    HOUR_S,
    LOCK,
    PHONE,
    SENSOR,
    at_each,
    few,
    invented,
    live,
    of_process,
    ratio,
    shipped,
    small_area,
    under,
)

from evaluation.simulation.province import conversations, events, quality, terminal
from evaluation.simulation.province.catalogue import ProvinceFaults
from evaluation.simulation.province.topology import Area, Plan, build


@pytest.fixture(scope="module")
def catalogue() -> ProvinceFaults:
    return shipped()


@pytest.fixture(scope="module")
def area() -> Area:
    return small_area()


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


def test_areas_number_their_devices_on(catalogue: ProvinceFaults) -> None:
    plan = Plan(few(), 1001, 1, 5, catalogue.patterns)
    areas = [build(plan, number) for number in range(plan.tacs)]
    numbered = [area.first + n for area in areas for n in range(len(area.devices))]
    assert numbered == list(range(1001))
