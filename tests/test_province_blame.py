"""Facts about blame in a simulated province: a fault is blamed for what would not have gone wrong without it."""

import numpy as np
import pytest
from test_province_truth import DAY_S, Lived, area_of, lived

from evaluation.faults import FaultMechanism
from evaluation.simulation.province import counterfactual, quality
from evaluation.simulation.province.catalogue import ProvinceFaults, read_faults
from evaluation.simulation.province.faults import Happening
from evaluation.simulation.province.topology import Area
from features.configuration import find_config

IOT, VIDEO = ("smoke_sensor", "bike_sharing"), slice(4, 5)


@pytest.fixture(scope="module")
def catalogue() -> ProvinceFaults:
    return read_faults(find_config("fault_catalogue.yaml"))


@pytest.fixture(scope="module")
def area() -> Area:
    return area_of(2400)


def everywhere(
    catalogue: ProvinceFaults, *acts: tuple[str, str, float], services: tuple[str, ...] = IOT
) -> Happening:
    """Return a fault of the whole province. acts: actuator, effect, value; its id is the first actuator."""
    shape = next(f for f in catalogue.faults if f.onset.shape == "step" and "video" not in f.services)
    mechanism = tuple(FaultMechanism(actuator=a, scope="province", effect=e, value=v) for a, e, v in acts)
    named = {"id": acts[0][0], "granularity": "province", "mechanism": mechanism}
    made = shape.model_copy(update={**named, "services": services})
    return Happening(f"F-{made.id}", made, "province", 0, "all", 1.0, -1.0, 9 * DAY_S)


def counted(done: Lived, which: slice = slice(0, 4)) -> tuple[int, dict[str, int]]:
    """Return how many experiences were bad on all days, of IoT unless told, and how many each fault is blamed for."""
    bad, blamed = 0, dict[str, int]()
    for day in done.days:
        names = [one.number for one in day.faults] + list(day.continuity.earlier) + ["none"]
        for judged in quality.judge(done.area, day)[which]:
            bad += int(judged.bad.sum())
            for place in judged.blame[judged.bad]:
                blamed[names[place]] = blamed.get(names[place], 0) + 1
    return bad, blamed


def test_a_fault_of_hardly_any_effect_takes_hardly_any_blame(catalogue: ProvinceFaults, area: Area) -> None:
    tiny = everywhere(catalogue, ("noise_power_db", "add", 0.01))
    bad, blamed = counted(lived(tiny, days=6, area=area))
    assert bad > 50
    assert blamed.get(tiny.number, 0) <= 0.05 * bad


def test_a_fault_is_blamed_for_as_many_as_there_are_more_with_it(
    catalogue: ProvinceFaults, area: Area
) -> None:
    noise = everywhere(catalogue, ("noise_power_db", "add", 13.0))
    usual, _ = counted(lived(days=6, area=area))
    bad, blamed = counted(lived(noise, days=6, area=area))
    assert bad > 1.5 * usual
    assert blamed[noise.number] == pytest.approx(bad - usual, rel=0.25)


def test_what_helps_takes_no_blame_from_what_harms(catalogue: ProvinceFaults, area: Area) -> None:
    noise = everywhere(catalogue, ("noise_power_db", "add", 13.0))
    upgrade = everywhere(catalogue, ("capacity", "mul", 2.0), ("rule_delay_ms", "add", 0.001))
    _, blamed = counted(lived(noise, upgrade, days=3, area=area))
    assert blamed[noise.number] > 20
    assert blamed.get(upgrade.number, 0) == 0


def test_of_two_faults_that_would_each_do_one_is_blamed(catalogue: ProvinceFaults, area: Area) -> None:
    dead = everywhere(catalogue, ("access_outage", "add", 1.0))
    shut = everywhere(catalogue, ("server_wrong", "set", 1.0))
    bad, blamed = counted(lived(dead, shut, area=area))
    assert bad > 100
    assert sum(n for name, n in blamed.items() if name != "none") > 0.9 * bad


def test_a_video_session_blames_what_made_it_bad(catalogue: ProvinceFaults) -> None:
    area = area_of(2400)
    usual, _ = counted(lived(days=6, area=area), VIDEO)
    tiny = everywhere(catalogue, ("peering_delay_ms", "add", 0.01), services=("video",))
    bad, blamed = counted(lived(tiny, days=6, area=area), VIDEO)
    assert bad > 20
    assert blamed.get(tiny.number, 0) <= 0.05 * bad
    loss = everywhere(catalogue, ("origin_reject", "add", 0.2), services=("video",))
    bad, blamed = counted(lived(loss, days=6, area=area), VIDEO)
    assert blamed[loss.number] == pytest.approx(bad - usual, rel=0.25)


def test_a_chance_of_each_is_told_apart_from_luck() -> None:
    often, seldom = (counterfactual.Chance(np.array([48]), np.array([n])) for n in (40, 10))
    assert often.due_to_more_than(seldom) == pytest.approx([0.75])
    assert seldom.due_to_more_than(often) == pytest.approx([0.0])
    assert often.due_to_more_than(counterfactual.Chance(np.array([48]), np.array([36]))) == pytest.approx(
        [0.0]
    )
