"""What devices, their subscription and the network tell of each device at the end of a day: TERMINAL records."""

from collections.abc import Mapping

import numpy as np

from evaluation.simulation.province import payload, wander
from evaluation.simulation.province.actuators import Pressure
from evaluation.simulation.province.catalogue import Battery
from evaluation.simulation.province.faults import DAY_S
from evaluation.simulation.province.pipeline import NOT_TRIED, SUCCEEDED, Day
from evaluation.simulation.province.radio import LEAST_UL
from evaluation.simulation.province.topology import Area

_LEVELS = ("ce0", "ce1", "ce2")
_KM_PER_TRIP = 1.4
_SUN = 0.5  # of days
_FLAG_LIVES = {
    "term_account_active": ("account_inactive", 1), "term_sim_ok": ("sim_absent", 1),
    "term_apn_correct": ("apn_wrong", 1), "term_band_lock_ok": ("band_locked", 1),
    "term_psm_config_match": ("power_saving_wrong", 1), "term_server_address_ok": ("server_wrong", 1),
    "term_imei_binding_ok": ("misused", 1), "term_firmware_current": ("firmware_loop", 1),
    "term_sensor_fault": ("sensor_broken", 0), "term_tamper": ("tampered", 0),
}  # fmt: skip  # indicator -> the actuator that changes it, and its healthy value
_PHONE_FLAGS = {
    "term_account_active": ("account_inactive", 1), "term_airplane_mode": ("airplane_mode", 0),
    "term_data_switch_on": ("data_switch_off", 1), "term_vpn_on": ("vpn", 0),
    "term_power_saving": ("power_saving", 0),
}  # fmt: skip
_COUNTS = (
    "count", "heard", "level", "unlocks", "alarms", *_LEVELS, "strain", "fixes", "fixed", "driven", "opened", "bytes",
    "repeats", "browned_out",
)  # fmt: skip
_STRANGE_RESTARTS, _OVERLAPS = 0.02, 0.3  # a day, of a device that nothing ails; judgement
_DAYS_A_YEAR = 365.0
PERCENT = (
    "term_battery_level", "term_gnss_fix_success", "term_lock_actuator_success", "term_quota_remaining",
    "term_cpu_load",
)  # fmt: skip
MEASURED = ("term_battery_level", "term_battery_drain", "term_clock_skew", "term_cpu_load")
# read by a sensor or against another clock; flags, settings and counts are told as they are
Told = list[tuple[str, np.ndarray, np.ndarray]]


def tell(area: Area, day: Day, battery: np.ndarray) -> tuple[Told, np.ndarray]:
    """Return (indicator, device, value) of the end of a day, and the charge of each device after it.

    A flag is told as it is when the record is made; what is counted, as it was all day long.
    What a device tells of itself it tells only on a day on which it was heard; what subscription and network know,
    always.
    """
    rng = np.random.default_rng([area.plan.seed, 13, area.number, day.number])
    pressure, service = day.facts, area.devices.service
    activity = _activity(area, day)
    before = np.where(day.replaced, 100.0, battery)
    charge, drain = _battery(area, before, activity, day, rng)
    level = np.minimum(charge, pressure.of("battery_level"))
    iot, phones = np.flatnonzero(service < 2), np.flatnonzero(service == 2)
    heard = iot[activity["heard"][iot] > 0]
    told = [
        *_flags(pressure, iot, _FLAG_LIVES), *_flags(pressure, phones, _PHONE_FLAGS),
        ("term_battery_level", heard, level[heard]),
        ("term_battery_drain", heard, drain[heard]),
        ("term_ce_level", heard, activity["ce_level"][heard]),
        ("term_clock_skew", heard, np.abs(area.devices.skew_s[heard])),
        ("term_coap_ack_timeout_s", heard, pressure.of("ack_timeout_s", heard)),
        *_of_receivers(area, pressure, activity, heard),
        *_of_network(area, day, activity, iot, rng),
        ("term_quota_remaining", np.arange(len(service)), _quota(pressure, rng)),
        *_cpu(day, phones),
    ]  # fmt: skip
    return told, charge


def _of_receivers(area: Area, pressure: Pressure, activity: dict[str, np.ndarray], heard: np.ndarray) -> Told:
    """Return what only locks tell, of motor and position, and only sensors, of their lifetime."""
    service = area.devices.service[heard]
    locks, sensors = heard[service == 1], heard[service == 0]
    return [
        ("term_gnss_fix_success", *_share(activity["fixed"], activity["fixes"], locks)),
        ("term_lock_actuator_success", *_share(activity["opened"], activity["driven"], locks)),
        (
            "term_lifetime_heartbeat_ratio",
            sensors,
            area.usual_lifetime(pressure.of("lifetime_ratio", sensors)),
        ),
    ]


def _of_network(
    area: Area, day: Day, activity: dict[str, np.ndarray], iot: np.ndarray, rng: np.random.Generator
) -> Told:
    """Return what network and platform count of each device, whether it tells or not."""
    age = ((day.number + 1) * DAY_S - day.presence_known.last_s) / area.devices.heartbeat_s
    size = len(area.devices)
    reboots = day.reboots + activity["browned_out"] + rng.poisson(_STRANGE_RESTARTS, size)
    overlap = rng.poisson(_OVERLAPS, size)  # an idle device changes cells of overlap too
    cells = activity["cells"] + overlap + wander.cell_changes(area, day.number, day.all_day)
    messages = activity["count"] + np.bincount(day.browsing.device, minlength=size)
    return [
        ("term_reboot_count", iot, reboots[iot].astype("float64")),
        ("term_last_seen_age", iot, np.maximum(age[iot], 0.0)),
        ("term_cell_change_rate", iot, cells[iot]),
        ("term_message_rate_ratio", iot, _over_usual(area, messages, activity["count"])[iot]),
        ("term_traffic_ratio", iot, _traffic(area, day, activity, rng)[iot]),
    ]


def _quota(pressure: Pressure, rng: np.random.Generator) -> np.ndarray:
    """Return what is left of each package, %."""
    left = np.clip(rng.normal(60, 15, pressure.size), 5, 100)
    return np.where(pressure.of("quota_used") > 0, 0.0, left)


def _flags(pressure: Pressure, who: np.ndarray, flags: Mapping[str, tuple[str, int]]) -> Told:
    """Return flags as they are at the moment of the record."""
    return [
        (name, who, np.where(pressure.of(actuator, who) > 0, 1.0 - healthy, float(healthy)))
        for name, (actuator, healthy) in flags.items()
    ]


def _activity(area: Area, day: Day) -> dict[str, np.ndarray]:
    """Return counts of each device on a day: attempts, alarms, unlocks, positions, mean CE level, report energy."""
    size = len(area.devices)
    found = {name: np.zeros(size) for name in _COUNTS}
    cells = np.zeros(size)
    for walked in day.walks:
        moment = walked.moment
        rows = np.flatnonzero(moment.own & (walked.outcome.step_ms.max(axis=1, initial=-1.0) >= 0))
        device, level = moment.attempts.device[rows], moment.level[rows]
        found["count"] += np.bincount(device, minlength=size)
        found["heard"] += np.bincount(device, walked.heard[rows], size)
        found["level"] += np.bincount(device, level, size)
        for name, wanted in (("unlocks", "bk_unlock"), ("alarms", "ss_alarm")):
            found[name] += np.bincount(device, moment.attempts.process[rows] == wanted, size)
        for tries, good, how in (("fixes", "fixed", walked.fix), ("driven", "opened", walked.motor)):
            found[tries] += np.bincount(device, how[rows] != NOT_TRIED, size)
            found[good] += np.bincount(device, how[rows] == SUCCEEDED, size)
        for number, name in enumerate(_LEVELS):
            found[name] += np.bincount(device, level == number, size)
        carried = payload.sizes(moment.attempts.process[rows])[:, :2].sum(axis=1)
        found["bytes"] += np.bincount(device, carried, size)
        found["repeats"] += np.bincount(device, moment.repeats[rows], size)
        down = moment.attempts.device[moment.browned_out & moment.own]
        found["browned_out"] += np.bincount(down, minlength=size)
        strain = moment.ul_repetition[rows] / LEAST_UL[level]
        found["strain"] += np.bincount(device, strain, size)
        order = np.lexsort((moment.attempts.at_s[rows], device))
        moved = np.append(False, (np.diff(moment.cell[rows][order]) != 0) & (np.diff(device[order]) == 0))
        cells += np.bincount(device[order], moved, size)
    found["cells"] = cells
    found["ce_level"] = found["level"] / np.maximum(found["count"], 1)
    return found


def _battery(
    area: Area, before: np.ndarray, activity: dict[str, np.ndarray], day: Day, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return charge (%) and drain (%/day) by the battery laws of the fault catalogue."""
    sensor, lock = area.devices.service == 0, area.devices.service == 1
    small, large = (p.battery for p in (area.plan.patterns.smoke_sensor, area.plan.patterns.bike_sharing))
    sensor_mah = (
        0.024 * small.sleep_current_ua + _reports_mah(small, activity) + _updates_mah(small, activity, day)
    )
    sensor_mah = sensor_mah + activity["alarms"] * 60.0 * small.alarm_sound_ma / 3600.0
    fixes, trips = activity["count"], activity["unlocks"]
    lock_mah = 24 * large.idle_ma + _reports_mah(large, activity) + _updates_mah(large, activity, day)
    lock_mah = lock_mah + trips * large.unlock_motor_mah + fixes * large.gnss_fix_mah
    charge = trips * _KM_PER_TRIP * large.dynamo_mah_per_km + large.solar_mah_per_sunny_day * (
        rng.random(len(before)) < _SUN
    )
    used = np.where(sensor, sensor_mah, lock_mah - charge)
    whole = np.where(sensor, small.capacity_mah * small.usable_share, large.capacity_mah)
    leaks = (
        np.where(sensor, small.self_discharge_pct_per_year, large.self_discharge_pct_per_year) / _DAYS_A_YEAR
    )
    drain = np.where(sensor | lock, 100.0 * used / whole + leaks, 0.0)
    return np.clip(before - drain, 0.0, 100.0), np.maximum(drain, 0.0)


def _updates_mah(battery: Battery, activity: dict[str, np.ndarray], day: Day) -> np.ndarray:
    """Return the energy of periodic updates of the area, each at the level at which the device reported that day."""
    each = np.array([battery.energy_per_report_mah[name] for name in _LEVELS])
    at = np.clip(np.round(activity["ce_level"]), 0, len(_LEVELS) - 1).astype("int64")
    return np.asarray(day.registered.updates * each[at])


def _reports_mah(battery: Battery, activity: dict[str, np.ndarray]) -> np.ndarray:
    """Return the energy of all reports: that of their level, more with more repetitions and messages sent again."""
    count = np.maximum(activity["count"], 1)
    strain, again = activity["strain"] / count, activity["repeats"] / count
    return np.asarray(
        (0.6 + 0.4 * np.maximum(strain, 1))
        * (1.0 + again)
        * sum(activity[name] * battery.energy_per_report_mah[name] for name in _LEVELS)
    )


def _share(succeeded: np.ndarray, tried: np.ndarray, devices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which of some devices tried at all, and the share of their tries that succeeded, %."""
    who = devices[tried[devices] > 0]
    return who, np.asarray(100.0 * succeeded[who] / tried[who])


def _over_usual(area: Area, values: np.ndarray, usual_of: np.ndarray) -> np.ndarray:
    """Return values over the median, of devices of the same service and period, of what is usual there."""
    usual = np.ones(len(values))
    for service in (0, 1):
        for period in np.unique(area.devices.heartbeat_s):
            rows = (area.devices.service == service) & (area.devices.heartbeat_s == period)
            usual[rows] = max(np.median(usual_of[rows]), 1.0) if rows.any() else 1.0
    return np.asarray(values / usual)


def _traffic(area: Area, day: Day, activity: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Return bytes over the median: of a phone that browses, of a heavy user, or as messages go."""
    appetite = np.where(area.devices.heavy, rng.uniform(3, 8, len(area.devices)), 1.0)
    made = day.browsing
    browsed = np.bincount(made.device, made.up_bytes + made.down_bytes, len(area.devices))
    return _over_usual(area, activity["bytes"] * appetite + browsed, activity["bytes"])


def _cpu(day: Day, phones: np.ndarray) -> Told:
    video = day.video
    own = np.flatnonzero(video.device >= 0)
    if not len(own):
        return []
    count = np.bincount(video.device[own])
    load = np.bincount(video.device[own], video.cpu_load[own]) / np.maximum(count, 1)
    seen = phones[(phones < len(count))]
    seen = seen[count[seen] > 0]
    return [("term_cpu_load", seen, load[seen])]
