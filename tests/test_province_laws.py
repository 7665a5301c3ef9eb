"""Facts about radio, queues and faults that a simulated province stands on."""

from pathlib import Path

import numpy as np
import pytest

from evaluation.faults import Burst, Fault, catalogue_broken
from evaluation.simulation.province import queues, radio, streaming
from evaluation.simulation.province.actuators import ACTUATORS, BY_NAME, Pressure, combined
from evaluation.simulation.province.catalogue import ProvinceFaults, faults_broken, read_faults
from evaluation.simulation.province.faults import Happening
from evaluation.simulation.province.settings import Thresholds
from evaluation.simulation.province.topology import thresholds
from features.configuration import find_config

ONE = np.ones(1)


@pytest.fixture(scope="module")
def catalogue() -> ProvinceFaults:
    return read_faults(find_config("fault_catalogue.yaml"))


def happening(fault: Fault, severity: float = 1.0) -> Happening:
    return Happening("F-0", fault, fault.granularity, 0, "x", severity, 0.0, 10 * 86_400.0)


def test_a_deeper_basement_has_a_higher_coverage_level_and_more_repetitions() -> None:
    walls_db = np.array([0.0, 15.0, 25.0, 40.0])
    power = radio.nrsrp_dbm(radio.path_loss_db(1.5) + 12.0 + walls_db)
    level = radio.coverage_level(power, -108.0, -118.0)
    assert level.tolist() == sorted(level.tolist())
    assert level[0] == 0
    assert level[-1] == 2
    repetitions = radio.ul_repetitions(radio.uplink_snr_db(power, -125.0), level)
    assert (np.diff(repetitions) >= 0).all()
    assert repetitions[-1] > 4 * repetitions[0]


def test_a_weaker_signal_never_takes_less_air_time() -> None:
    power = np.linspace(-60.0, -140.0, 81)
    level = radio.coverage_level(power, -100.0, -118.0)
    up = radio.ul_repetitions(radio.uplink_snr_db(power, -125.0), level)
    took_ms = radio.air_time_ms(radio.dl_repetitions(power + 120.0, level), up)
    assert (np.diff(took_ms) >= 0).all()


def test_the_first_threshold_of_a_cell_is_above_the_second_however_far_cells_differ() -> None:
    levels = Thresholds(ce1=-100, ce2=-118, vendor_sd=6, sd=4, ce2_share=0.4, least_gap=6)
    wild = np.linspace(-9.0, 9.0, 90)
    ce1, ce2 = thresholds(levels, np.arange(90) % 3, wild)
    assert (ce1 - ce2 >= 6 - 1e-9).all()
    assert np.std(ce1) > np.std(ce2)


def test_repetitions_are_powers_of_two_within_the_standard() -> None:
    snr_db = np.linspace(-60.0, 30.0, 91)
    for found, most in (
        (radio.ul_repetitions(snr_db, np.zeros(91, int)), 128),
        (radio.dl_repetitions(snr_db, np.zeros(91, int)), 2048),
    ):
        assert (np.log2(found) % 1 == 0).all()
        assert (found.min(), found.max()) == (1, most)


def test_two_noises_of_one_power_are_three_db_above_one() -> None:
    rise = combined(BY_NAME["noise_power_db"], np.array([20.0]), ONE, effect="add", value=20.0)
    assert rise[0] == pytest.approx(23.0, abs=0.05)
    weak = combined(BY_NAME["noise_power_db"], np.array([20.0]), ONE, effect="add", value=3.0)
    assert weak[0] == pytest.approx(20.0, abs=0.1)


def test_walls_weaken_interference_too_so_indoors_nsinr_falls_less_than_the_signal() -> None:
    power, interference = np.array([-95.0]), radio.to_milliwatt(np.array([-104.0]))
    outdoors = radio.nsinr_db(power, interference)
    indoors = radio.nsinr_db(power - 28.0, interference * radio.to_milliwatt(-28.0))
    assert 6.0 < (outdoors - indoors)[0] < 10.0  # radio_physics of the catalogue: about 8


def test_uplink_noise_leaves_the_downlink_alone_and_takes_power_headroom() -> None:
    power = np.array([-100.0])
    assert radio.uplink_snr_db(power, -112.0) == radio.uplink_snr_db(power, -125.0) - 13.0
    assert radio.at_full_power(power, -112.0)[0]
    assert not radio.at_full_power(power, -125.0)[0]


def test_preambles_collide_more_the_more_there_are() -> None:
    heard = [
        float(radio.preamble_success(np.array([10.0]), np.array([0]), load)[0]) for load in (5.0, 30.0, 80.0)
    ]
    assert heard == sorted(heard, reverse=True)
    assert heard[-1] == pytest.approx(np.exp(-0.8), abs=0.01)


def test_a_full_queue_delays_and_an_overfull_one_refuses() -> None:
    assert queues.delay_factor(50.0) == pytest.approx(2.0)
    assert queues.delay_factor(96.0) > 10 * queues.delay_factor(10.0)
    assert queues.overload_loss(80.0) == 0.0
    assert queues.overload_loss(125.0) == pytest.approx(0.2, abs=0.03)


def test_a_player_stalls_more_the_smaller_its_reserve() -> None:
    shares = streaming.stall_share(np.array([0.5, 1.0, 2.0, 8.0]), np.full(4, 1.0))
    assert (np.diff(shares) < 0).all()
    assert shares[-1] < 0.01


def test_half_the_severity_moves_an_actuator_half_as_far() -> None:
    half = np.array([0.5])
    assert combined(BY_NAME["attenuation_db"], np.zeros(1), half, effect="add", value=28.0)[0] == 14.0
    assert combined(BY_NAME["capacity"], ONE, half, effect="mul", value=0.25)[0] == 0.5
    assert combined(BY_NAME["battery_level"], np.array([100.0]), half, effect="set", value=10.0)[0] == 55.0


def test_faults_that_overlap_never_refuse_more_than_everybody() -> None:
    pressure = Pressure(1)
    for _ in range(5):
        pressure.act("push_reject", np.array([0]), ONE, effect="add", value=0.6)
    assert pressure.of("push_reject")[0] == pytest.approx(1 - 0.4**5)
    assert pressure.of("dns_reject")[0] == 0.0


def test_a_burst_comes_at_its_hours_on_weekdays_only(catalogue: ProvinceFaults) -> None:
    rush = next(fault for fault in catalogue.faults if fault.id == "f_cell_capacity_rush")
    assert isinstance(rush.onset, Burst)
    assert rush.onset.weekdays
    hours = np.array([3.0, 8.0, 12.0, 18.0, 5 * 24 + 8.0])  # the last one is a Saturday
    assert happening(rush).strength(hours * 3600.0, weekday=0).tolist() == [0, 1, 0, 1, 0]


def test_a_ramp_grows_and_a_weak_fault_never_gets_strong(catalogue: ProvinceFaults) -> None:
    slow = next(fault for fault in catalogue.faults if fault.id == "f_app_server_slow")
    strength = happening(slow, severity=0.6).strength(np.array([0.0, 1800.0, 3600.0, 7200.0]), weekday=0)
    assert strength == pytest.approx([0.0, 0.3, 0.6, 0.6])


def test_every_fault_of_the_catalogue_has_a_mechanism_of_known_actuators(catalogue: ProvinceFaults) -> None:
    assert len(catalogue.faults) >= 56
    used = {act.actuator for fault in catalogue.faults for act in fault.mechanism}
    assert used <= {actuator.name for actuator in ACTUATORS}


def test_an_unknown_actuator_is_told_with_the_nearest(catalogue: ProvinceFaults) -> None:
    content = catalogue.model_dump(by_alias=True)
    content["faults"][0]["mechanism"][0]["actuator"] = "attenuation"
    (told,) = faults_broken(ProvinceFaults.model_validate(content))
    assert told.startswith("f_weak_coverage_basement: actuator must be one of docs/simulation.md")
    assert told.endswith("but is attenuation; the nearest is attenuation_db")


def test_a_mechanism_that_would_act_on_less_than_its_place_is_refused(catalogue: ProvinceFaults) -> None:
    content = catalogue.model_dump(by_alias=True)
    ring = next(fault for fault in content["faults"] if fault["id"] == "f_backhaul_ring")
    ring["mechanism"][0]["scope"] = "cell"
    told = list(catalogue_broken(ProvinceFaults.model_validate(content)))
    assert len(told) == 1
    assert told[0].startswith("f_backhaul_ring: a mechanism acts on all of the fault's tac, but the scope of")


def test_the_list_of_actuators_in_the_docs_is_the_closed_one() -> None:
    page = (Path(__file__).parents[1] / "docs" / "simulation.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `") and line.count("|") == 6]
    assert rows == [
        f"| `{a.name}` | {a.kind} | {a.unit} | {a.neutral:g} | {a.description} |" for a in ACTUATORS
    ]
