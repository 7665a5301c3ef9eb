"""A curve that bends: worked by hand, monotone, refused where its points do not climb, and read back as written."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.domain import read_domain
from evaluation.indicator_sheet import facts
from evaluation.learnt_service import write_service
from evaluation.lost_points import known_losses, lost_points
from evaluation.process import ServiceModel
from evaluation.scoring import score, utilities, utility
from evaluation.scoring_plan import plan
from features.configuration import read_config
from features.indicators import Indicator, rules_broken
from serving.catalogue import indicator_details
from serving.score import load

DRAFT = Path(__file__).parents[1] / "benchmarks" / "youtube_sessions.yaml"
RATE, REDUNDANT = "yt_link_rate", "yt_redundant_share"
BENT: dict[str, dict[str, Any]] = {
    RATE: {"unacceptable": 0.5, "excellent": 8, "points": [[1, 70], [4, 80]]},
    REDUNDANT: {"unacceptable": 40, "excellent": 0, "points": [[20, 10], [10, 10]]},
}


def service(**changes: dict[str, Any]) -> ServiceModel:
    """Return the draft of rate (weight 0.6) and redundant share (0.4) alone, on curves that bend."""
    content = yaml.safe_load(DRAFT.read_text())
    kept = [one for one in content["local_indicators"] if one["id"] in BENT]
    content["local_indicators"] = [one | (BENT | changes)[one["id"]] for one in kept]
    for step in content["processes"][0]["steps"]:
        step["indicators"] = [one for one in step["indicators"] if one in BENT]
    weights = ({"indicator": RATE, "weight": 0.6}, {"indicator": REDUNDANT, "weight": 0.4})
    content["kqis"][0]["expert_weights"] = list(weights)
    return ServiceModel.model_validate(content)


def of(indicator_id: str) -> Indicator:
    return next(one for one in service().local_indicators if one.id == indicator_id)


@pytest.mark.parametrize(
    ("indicator", "value", "wanted"),
    [
        (RATE, 0.0, 0),
        (RATE, 0.5, 0),
        (RATE, math.sqrt(0.5), 35),  # half way, on the logarithm, from 0.5 to 1
        (RATE, 1.0, 70),
        (RATE, 2.0, 75),  # half way from 1 to 4
        (RATE, 4.0 * 2**0.25, 85),  # a quarter of the way from 4 to 8
        (RATE, 100.0, 100),
        (RATE, -1.0, math.nan),
        (RATE, math.inf, math.nan),
        (REDUNDANT, 0.0, 100),
        (REDUNDANT, 4.0, 64),  # 6 of 10 on the way from 10 % to 0 %
        (REDUNDANT, 13.0, 10),
        (REDUNDANT, 35.0, 2.5),
        (REDUNDANT, 90.0, 0),
        (REDUNDANT, math.nan, math.nan),
    ],
)
def test_the_utility_of_a_bent_curve_worked_by_hand(indicator: str, value: float, wanted: float) -> None:
    assert utility(of(indicator), np.array([value])) == pytest.approx([wanted], abs=1e-9, nan_ok=True)


def test_points_on_the_slope_change_nothing() -> None:
    straight = of(REDUNDANT).model_copy(update={"points": ()})
    told = np.linspace(-5, 50, 111)
    for points in (((30.0, 25.0),), ((36.0, 10.0), (10.0, 75.0))):
        on_it = straight.model_copy(update={"points": points})
        assert utility(on_it, told) == pytest.approx(utility(straight, told), abs=1e-9)


def test_a_score_of_bent_curves_worked_by_hand_and_whose_its_lost_points_are() -> None:
    what = plan(service(), service().local_indicators)
    told = utilities(what, [np.array([2.0, 2.0]), np.array([4.0, math.nan])])
    found = score(what, told)
    assert found.floor == pytest.approx([0.6 * 75 + 0.4 * 64, 0.6 * 75], abs=1e-9)
    assert found.ceiling == pytest.approx([70.6, 85], abs=1e-9)
    lost = lost_points(what, told, found).by_indicator()
    assert lost[:, 0] == pytest.approx([0.6 * 25, 0.4 * 36], abs=1e-9)
    assert lost.sum(axis=0) + found.floor == pytest.approx(100, abs=1e-9)
    known = known_losses(what, told, found).by_indicator()
    assert known[:, 1] == pytest.approx([15, 0], abs=1e-9)  # the unknown owns nothing


@st.composite
def curves(draw: st.DrawFn) -> Indicator:
    """Draw an indicator whose curve bends as it likes, in either direction, straight or on the logarithm."""
    count = draw(st.integers(0, 5))
    values = sorted(draw(st.sets(st.integers(1, 60), min_size=count + 2, max_size=count + 2)))
    told = sorted(draw(st.lists(st.floats(0, 100), min_size=count, max_size=count)))
    if higher := draw(st.booleans()):
        worst, *inner, best = values
    else:
        best, *inner, worst = values
        inner.reverse()
    change = {
        "direction": "higher_is_better" if higher else "lower_is_better",
        "curve": draw(st.sampled_from(["linear", "log"])),
        "unacceptable": worst,
        "excellent": best,
        "points": list(zip(inner, told, strict=True)),
    }
    return Indicator.model_validate(of(RATE).model_dump() | change)


@settings(max_examples=100, deadline=None)
@given(curves(), st.lists(st.floats(0, 100), min_size=2, max_size=9))
def test_a_better_value_never_has_a_lower_utility(one: Indicator, values: list[float]) -> None:
    assert not list(rules_broken([one]))
    rising = np.sort(values) if one.direction == "higher_is_better" else np.sort(values)[::-1]
    told = utility(one, rising)
    assert ((told >= 0) & (told <= 100)).all()
    assert (np.diff(told) >= 0).all()
    ends = utility(one, np.array([one.unacceptable, one.excellent, math.nan]))
    assert ends == pytest.approx([0, 100, math.nan], abs=1e-9, nan_ok=True)


@pytest.mark.parametrize(
    ("indicator", "points"),
    [
        (RATE, [[4, 80], [1, 70]]),  # away from excellent
        (RATE, [[1, 70], [4, 60]]),  # nearer to excellent, and worth less
        (RATE, [[1, 70], [1, 80]]),  # a jump
        (RATE, [[0.5, 10]]),  # a second utility of an anchor
        (RATE, [[9, 99]]),  # beyond excellent
        (RATE, [[1, 101]]),
        (RATE, [[1, -1]]),
        (REDUNDANT, [[10, 10], [20, 20]]),
    ],
)
def test_points_that_do_not_climb_from_unacceptable_to_excellent_are_refused(
    indicator: str, points: list[list[float]]
) -> None:
    wrong = Indicator.model_validate(of(indicator).model_dump() | {"points": points})
    (told,) = rules_broken([wrong])
    assert told.startswith(f"{indicator}: points must go from unacceptable to excellent")


def test_a_service_of_bent_curves_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    write_service(service(), tmp_path / DRAFT.name)
    assert read_config(tmp_path / DRAFT.name, ServiceModel) == service()


def test_the_service_tells_the_points_of_an_indicator(tmp_path: Path) -> None:
    services = tmp_path / "configs" / "services"
    services.mkdir(parents=True)
    write_service(service(), services / DRAFT.name)
    told = {one.id: one for one in indicator_details(load(tmp_path), None).indicators}
    assert told[REDUNDANT].points == [(20, 10), (10, 10)]
    assert told["rrc_setup_success_rate"].points == []


def test_the_sheet_of_an_indicator_tells_its_bends_from_excellent_down() -> None:
    assert dict(facts(of(REDUNDANT), read_domain().standard))["anchors"] == (
        "100 from 0, 0 from 40 %, linear between, through 10 at 10, 10 at 20"
    )
