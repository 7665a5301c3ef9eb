"""Facts about what a simulated province says was so: counts, truth and records follow from what happened."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from evaluation.simulation.province import blame, events, pipeline, quality, terminal
from evaluation.simulation.province.actuators import BY_NAME
from evaluation.simulation.province.area import read_recipe
from evaluation.simulation.province.catalogue import ProvinceFaults, read_faults
from evaluation.simulation.province.faults import Happening
from evaluation.simulation.province.noise import TerminalNoise
from evaluation.simulation.province.pipeline import AreaState, Day
from evaluation.simulation.province.settings import read_settings
from evaluation.simulation.province.topology import Area, Plan, build
from evaluation.simulation.province.walk import STEPS
from features.configuration import find_config

HOUR_S = 3600.0
DAY_S = 86_400.0


@dataclass
class Lived:
    """An area and what happened in it on each day, without the noise of files."""

    area: Area
    days: list[Day]
    told: list[dict[str, dict[int, float]]]
    state: AreaState

    @property
    def day(self) -> Day:
        """The last day."""
        return self.days[-1]


@pytest.fixture(scope="module")
def catalogue() -> ProvinceFaults:
    return read_faults(find_config("fault_catalogue.yaml"))


def area_of(devices: int = 240, **traits: float) -> Area:
    """Return a small area; no SIM is misused unless told."""
    settings = read_settings(find_config("province.yaml"))
    chosen = settings.traits.model_copy(update={"misuse_share": 0.0} | traits)
    settings = settings.model_copy(update={"devices_per_cell": 80, "cells_per_tac": 3, "traits": chosen})
    patterns = read_faults(find_config("fault_catalogue.yaml")).patterns
    return build(Plan(settings, devices, 3, 5, patterns), 0)


def lived(*happenings: Happening, days: int = 1, area: Area | None = None) -> Lived:
    """Let an area live some days with these faults, as simulate does."""
    area = area or area_of()
    state, done = pipeline.begin(area), Lived(area, [], [], pipeline.begin(area))
    for number in range(days):
        acting = [h for h in happenings if h.onset_s < (number + 1) * DAY_S and h.end_s > number * DAY_S]
        day, state = pipeline.live(area, number, state, acting, processes=read_recipe().processes)
        told, state.battery = terminal.tell(area, day, state.battery)
        done.days.append(day)
        done.told.append({n: dict(zip(who.tolist(), v.tolist(), strict=True)) for n, who, v in told})
    done.state = state
    return done


def fault(
    catalogue: ProvinceFaults, fault_id: str, location: int = 0, *, severity: float = 1.0,
    onset_h: float = -1.0, hours: float = 1000.0,
) -> Happening:  # fmt: skip
    """Return a fault that is at full strength at once."""
    found = next(f for f in catalogue.faults if f.id == fault_id)
    if found.onset.shape == "ramp":
        found = found.model_copy(update={"onset": catalogue_step(catalogue)})
    onset = onset_h * HOUR_S
    name = f"F-{fault_id}-{location}"
    return Happening(name, found, found.granularity, location, "x", severity, onset, onset + hours * HOUR_S)


def catalogue_step(catalogue: ProvinceFaults) -> object:
    return next(f.onset for f in catalogue.faults if f.onset.shape == "step")


def on_all(
    catalogue: ProvinceFaults, fault_id: str, area: Area, service: int, **when: float
) -> list[Happening]:
    """Return a fault at each device of a service."""
    return [
        fault(catalogue, fault_id, int(d), **when) for d in np.flatnonzero(area.devices.service == service)
    ]


def of_process(day: Day, process: str) -> np.ndarray:
    """Return the rows of the first attempts of a process that devices of the area made."""
    return np.flatnonzero(day.first.moment.own & (day.first.moment.attempts.process == process))


def test_no_more_heartbeats_are_received_than_attempts_that_the_platform_heard(
    catalogue: ProvinceFaults,
) -> None:
    area = area_of()
    day = lived(*(fault(catalogue, "f_cell_outage", c) for c in range(3)), area=area).day
    size = len(area.devices)
    first, again = day.first, day.again
    received = np.flatnonzero(~np.isnan(day.heartbeat_heard_s))
    assert len(received)
    counted = np.bincount(first.moment.attempts.device[received], minlength=size)
    got = np.zeros(size)
    for walked, wanted in ((first, pipeline.is_heartbeat(first.moment.attempts)), (again, again.moment.own)):
        rows = np.flatnonzero(walked.moment.own & wanted & walked.heard)
        got += np.bincount(walked.moment.attempts.device[rows], minlength=size)
    assert (counted <= got).all()
    late = day.heartbeat_heard_s[received] - first.moment.attempts.at_s[received]
    assert late.max() > 0  # some were saved by a retry
    assert (late < 0.5 * area.devices.heartbeat_s[first.moment.attempts.device[received]]).all()


def test_a_retry_of_something_else_saves_no_heartbeat(catalogue: ProvinceFaults) -> None:
    done = lived(*(fault(catalogue, "f_cell_outage", c) for c in range(3)))
    first, again = done.day.first, done.day.again
    follows = np.flatnonzero(~pipeline.is_heartbeat(first.moment.attempts) & first.moment.own)
    strangers = np.resize(follows, len(again.heard))
    at = pipeline.heard_by_s(done.area, first, again, strangers)
    beats = np.flatnonzero(pipeline.is_heartbeat(first.moment.attempts) & first.moment.own)
    assert np.array_equal(~np.isnan(at[beats]), first.heard[beats])


def test_restarts_of_a_defect_come_while_it_lasts_whenever_that_is(catalogue: ProvinceFaults) -> None:
    area = area_of()
    fleets = np.unique(area.devices.fleet[area.devices.service == 1])
    usual = len(of_process(lived(area=area).day, "bk_lock_online"))
    for onset_h, hours in ((20.0, 2.0), (23.0, 1.0)):
        defect = [
            fault(catalogue, "f_firmware_reconnect", int(f), onset_h=onset_h, hours=hours) for f in fleets
        ]
        day = lived(*defect, area=area).day
        rows = of_process(day, "bk_lock_online")
        at_h = day.first.moment.attempts.at_s[rows] / HOUR_S
        inside = (at_h >= onset_h) & (at_h < onset_h + hours)
        assert (~inside).sum() <= 1.5 * usual + 10
        assert inside.sum() > 0.05 * 24 * hours  # six a day of each lock, four registrations each


def test_a_flag_is_told_as_it_is_when_the_record_is_made_and_a_count_as_the_day_was(
    catalogue: ProvinceFaults,
) -> None:
    area = area_of()
    over = on_all(catalogue, "f_tamper", area, 0, onset_h=6.0, hours=12.0)
    told = lived(*over, area=area).told[0]
    sensors = np.flatnonzero(area.devices.service == 0).tolist()
    assert {told["term_tamper"][d] for d in sensors} == {0.0}
    longer = lived(*on_all(catalogue, "f_tamper", area, 0), area=area).told[0]
    half, whole = (np.mean([t["term_cell_change_rate"][d] for d in sensors]) for t in (told, longer))
    assert half > 5  # on the way it comes through several cells
    assert half == pytest.approx(whole / 2, rel=0.2)


def test_a_weak_battery_is_replaced_when_its_fault_ends(catalogue: ProvinceFaults) -> None:
    area = area_of()
    weak = on_all(catalogue, "f_low_battery", area, 0, hours=30.0)
    told = lived(*weak, days=2, area=area).told
    sensors = np.flatnonzero(area.devices.service == 0)
    first = [told[0]["term_battery_level"][d] for d in sensors.tolist() if d in told[0]["term_battery_level"]]
    second = [
        told[1]["term_battery_level"][d] for d in sensors.tolist() if d in told[1]["term_battery_level"]
    ]
    assert max(first) <= 7.0
    assert np.median(second) > 99.0
    assert min(second) > 50.0  # a siren eats of fresh cells too


def test_an_empty_battery_is_silent() -> None:
    area = area_of()
    area = replace(area, devices=replace(area.devices, battery=np.zeros(len(area.devices))))
    day = lived(area=area).day
    own = day.first.moment.own
    assert day.first.moment.silent[own].all()
    assert not (day.first.outcome.ok & own & (day.first.moment.attempts.process == "ss_heartbeat")).any()


def test_a_sim_that_is_misused_behaves_so_all_along_and_the_truth_names_the_trait(
    catalogue: ProvinceFaults,
) -> None:
    area = area_of(misuse_share=0.3)
    misused = np.flatnonzero(area.devices.misused)
    done = lived(*on_all(catalogue, "f_sim_misuse", area, 1), area=area)
    truth = events.device_truth(area)
    assert np.array_equal(truth["misuse"], area.devices.misused)
    sensors = misused[area.devices.service[misused] == 0]
    silent = np.isin(done.day.first.moment.attempts.device, misused)
    assert len(sensors)
    assert done.day.first.moment.silent[silent].all()
    assert {done.told[0]["term_imei_binding_ok"][d] for d in sensors.tolist()} == {0.0}
    browsed = np.bincount(done.day.browsing.device, minlength=len(area.devices))
    often = {86_400.0: 1.0, 43_200.0: 2.0, 14_400.0: 6.0}
    for d in sensors.tolist():
        told = done.told[0]["term_message_rate_ratio"][d]
        assert told == pytest.approx(browsed[d] / often[area.devices.heartbeat_s[d]])
        assert told > 10


def test_a_clock_is_as_wrong_on_every_day_and_the_record_admits_it() -> None:
    area = area_of()
    noise = TerminalNoise(
        lost_share=0, late_share=0, late_h=(0, 1), skewed_share=0.3, skew_s=3000, measure_error=0
    )
    skew = events.clock_skew_s(area, noise)
    assert (np.abs(skew) > 100).mean() == pytest.approx(0.3, abs=0.1)
    who = np.arange(len(area.devices))
    for day in (0, 1):
        told: terminal.Told = [("term_clock_skew", who, np.zeros(len(who)))]
        table = events.terminal_records(area, day, told, noise, np.random.default_rng(day))
        at_s = table.column(1).cast("int64").to_numpy() / 1e6 - area.plan.start_s
        assert at_s - pipeline.report_moments_s(area, day) == pytest.approx(skew, abs=0.01)
        assert table.column(3).to_numpy() == pytest.approx(np.abs(skew))


def test_only_what_is_measured_has_an_error_however_large_it_is() -> None:
    area = area_of()
    noise = TerminalNoise(
        lost_share=0, late_share=0, late_h=(0, 1), skewed_share=0, skew_s=0, measure_error=0.1
    )
    who = np.arange(len(area.devices))
    told: terminal.Told = [
        (name, who, np.full(len(who), value))
        for name, value in (("term_coap_ack_timeout_s", 6.0), ("term_battery_drain", 0.03))
    ]
    table = events.terminal_records(area, 0, told, noise, np.random.default_rng(0)).to_pandas()
    table.columns = ["device", "at", "indicator", "value", "received"]
    spread = table.groupby("indicator")["value"].agg(["mean", "std"])
    assert spread.loc["term_coap_ack_timeout_s", "std"] == 0
    assert spread.loc["term_battery_drain", "std"] == pytest.approx(0.003, rel=0.3)


def test_membership_names_the_cell_of_every_attempt_of_a_lock(catalogue: ProvinceFaults) -> None:
    area = area_of(400)
    day = lived(*(fault(catalogue, "f_backhaul_loss", c) for c in range(3)), area=area).day
    device, since_s, cell = events.stays(day, area.home_cell.copy())
    wrong, repeated = 0, 0
    for walked in (day.first, day.again):
        attempts = walked.moment.attempts
        for row in np.flatnonzero(attempts.device >= 0):
            if area.devices.service[attempts.device[row]] != 1:
                continue
            before = np.flatnonzero((device == attempts.device[row]) & (since_s <= attempts.at_s[row]))
            named = cell[before[-1]] if len(before) else area.home_cell[attempts.device[row]]
            wrong += int(named != walked.moment.cell[row])
            repeated += int(walked is day.again)
    assert repeated > 10
    assert wrong == 0


def test_what_a_lock_tells_of_its_motor_and_receiver_is_what_happened(catalogue: ProvinceFaults) -> None:
    area = area_of(400)
    locks = np.flatnonzero(area.devices.service == 1)[::2]
    broken = [fault(catalogue, name, int(d)) for name in ("f_gnss_fault", "f_lock_actuator") for d in locks]
    done = lived(*broken, area=area)
    told, first, again = done.told[0], done.day.first, done.day.again
    stuck = first.moment.attempts.device[first.motor == pipeline.FAILED]
    opened = first.moment.attempts.device[first.motor == pipeline.SUCCEEDED]
    assert len(stuck) > 20
    for device, share in told["term_lock_actuator_success"].items():
        tried = (stuck == device).sum() + (opened == device).sum()
        assert share == pytest.approx(100.0 * (opened == device).sum() / tried)
    for device, share in told["term_gnss_fix_success"].items():
        tried, fixed = 0, 0
        for walked in (first, again):
            own = walked.moment.attempts.device == device
            tried += int((own & (walked.fix != pipeline.NOT_TRIED)).sum())
            fixed += int((own & (walked.fix == pipeline.SUCCEEDED)).sum())
        assert share == pytest.approx(100.0 * fixed / tried)
    assert not (first.fresh & (first.fix == pipeline.NOT_TRIED)).any()
    assert first.fresh[first.fix == pipeline.SUCCEEDED].all()


def blamed(day: Day, judged: quality.Judged) -> set[str]:
    """Return the faults that bad rows are put down to."""
    names = [h.fault.id for h in day.faults] + list(day.continuity.earlier) + ["none"]
    return {names[b] for b in judged.blame[judged.bad]}


def test_a_fault_that_cannot_touch_the_failed_step_is_not_blamed(catalogue: ProvinceFaults) -> None:
    area = area_of(400)
    apps = np.unique(area.devices.app[area.devices.service == 1])
    down = [fault(catalogue, "f_app_server_down", int(a), severity=0.9) for a in apps]
    blind = on_all(catalogue, "f_gnss_fault", area, 1, severity=0.95)
    day = lived(*down, *blind, area=area).day
    rows = of_process(day, "bk_unlock")
    unlocks = quality._unlocks(day)
    report = next(s.seq for s in day.processes["bk_unlock"].steps if s.name == "unlock report")
    at_report = day.first.outcome.failed_step[rows] == report
    assert at_report.sum() > 20
    named = unlocks.blame[at_report]
    assert {day.faults[b].fault.id for b in named[named >= 0]} == {"f_app_server_down"}
    assert (named >= 0).mean() > 0.9
    assert "f_gnss_fault" not in blamed(day, unlocks)
    assert {"f_gnss_fault", "f_app_server_down"} <= blamed(day, quality._returns(day))


def test_a_day_is_continuous_when_no_gap_between_heard_heartbeats_is_too_long(
    catalogue: ProvinceFaults,
) -> None:
    area = area_of()
    cut = on_all(catalogue, "f_sim_fault", area, 0, onset_h=0.0, hours=25.0)
    done = lived(*cut, days=3, area=area)
    daily = np.flatnonzero((area.devices.service == 0) & (area.devices.heartbeat_s == DAY_S))
    lost, after, later = (day.continuity for day in done.days)
    assert not lost.ok[daily].any()
    assert {done.days[0].faults[b].fault.id for b in lost.blame[daily]} == {"f_sim_fault"}
    gap_to_next = after.gap_s[daily] > 1.5 * DAY_S
    assert gap_to_next.mean() > 0.9  # the day after is bad too: the gap reaches into it
    names = [h.number for h in done.days[1].faults] + list(after.earlier)
    assert all(names[b].startswith("F-f_sim_fault") for b in after.blame[daily][gap_to_next])
    assert later.ok[daily].mean() > 0.9


def test_a_short_gap_within_a_day_counts_for_a_device_that_reports_often(catalogue: ProvinceFaults) -> None:
    area = area_of(600)
    often = np.flatnonzero((area.devices.service == 0) & (area.devices.heartbeat_s == 14_400.0))
    assert len(often) > 10
    cut = [fault(catalogue, "f_sim_fault", int(d), onset_h=6.0, hours=9.0) for d in often]
    day = lived(*cut, area=area).day
    assert not day.continuity.ok[often].any()  # heard again hours before midnight
    named = day.continuity.blame[often]
    assert [day.faults[b].location for b in named[named >= 0]] == often[named >= 0].tolist()
    assert (named >= 0).mean() > 0.9  # some would have been unheard anyhow
    healthy = lived(area=area).day
    assert healthy.continuity.ok[area.devices.service == 0].mean() > 0.95


def test_every_step_with_a_law_names_the_causes_that_act_on_it() -> None:
    assert set(STEPS.values()) == set(blame.ACTS)
    assert frozenset().union(*blame.ACTS.values(), *blame.VIDEO) <= set(BY_NAME)
    assert blame.acts_of("actuate") == {"motor_jam"}
    assert blame.acts_of("scan and order") == frozenset()  # no law of its own
