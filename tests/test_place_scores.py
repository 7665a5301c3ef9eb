"""What a place told as of a moment, pooled over an hour, and its scores with the benefit of the doubt."""

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest

from evaluation import fallen, place_scores, place_values, scoring
from evaluation.domain import read_domain
from evaluation.place_values import PlaceValues, Span, Told
from evaluation.scoring_plan import Plan, plan

MINUTE = 60_000_000
SPAN = Span(timedelta(hours=1), timedelta(hours=6), timedelta(minutes=15))


@pytest.fixture
def smoke() -> Plan:
    domain = read_domain()
    return plan(domain.service("smoke_sensor"), domain.measured)


def test_the_places_that_a_person_drills_down_to_are_judged_where_indicators_know_them() -> None:
    video = read_domain().service("video")
    scopes = ("device", "cell", "city", "province", "program_source", "cdn_node")
    assert set(place_scores.watched(video, scopes)) == {*scopes} - {"device"}
    assert "device_model" in video.drill_down_keys


def told_at(
    minutes: list[float],
    values: list[float],
    samples: list[float],
    asked: list[float],
    pool: Callable[[np.ndarray, np.ndarray], np.ndarray] = place_values.ratio_of,
) -> tuple[np.ndarray, np.ndarray]:
    told = Told(
        np.array(values)[:, None], np.array(samples)[:, None], np.array(minutes, dtype="int64") * MINUTE
    )
    value, count = place_values.as_of(told, np.array(asked, dtype="int64") * MINUTE, span=SPAN, pool=pool)
    return value[:, 0], count[:, 0]


def test_ratios_of_an_hour_are_sums_over_sums() -> None:
    value, samples = told_at([15, 30, 45, 60], [100, 0, 50, 100], [10, 30, 40, 20], [60])
    assert value[0] == pytest.approx(100 * (10 + 0 + 20 + 20) / 100)
    assert samples[0] == 100


def test_of_quantiles_one_window_alone_is_not_an_hour() -> None:
    told = ([15.0, 30, 45, 60], [3.0, 90, 4, 5], [10.0, 1000, 40, 20])
    assert told_at(*told, [60], place_values.middle_of)[0][0] == 4.5
    assert told_at(*told, [45], place_values.middle_of)[0][0] == 4.0


def test_an_hour_without_samples_is_told_by_the_newest_value_for_six_hours() -> None:
    nan = np.nan
    value, samples = told_at([15, 30, 200, 500], [80, 90, nan, nan], [10, 20, 0, 0], [29, 45, 200, 389, 390])
    np.testing.assert_allclose(value, [80, (80 * 10 + 90 * 20) / 30, 90, 90, nan], rtol=1e-12)
    np.testing.assert_array_equal(samples, [10, 30, 20, 20, nan])


def test_what_is_told_later_is_not_known_yet() -> None:
    value, _ = told_at([60], [70], [10], [59, 60])
    assert np.isnan(value[0])
    assert value[1] == 70


def test_moments_asked_together_are_told_as_one_by_one() -> None:
    rng = np.random.default_rng(3)
    minutes = [15.0 * n for n in range(1, 40)]
    values = np.where(rng.random(39) < 0.3, np.nan, rng.uniform(0, 100, 39))
    samples = rng.integers(1, 50, 39).astype("float64")
    together = told_at(minutes, [*values], [*samples], minutes)
    alone = [told_at(minutes, [*values], [*samples], [one]) for one in minutes]
    np.testing.assert_array_equal(together[0], [one[0][0] for one in alone])
    np.testing.assert_array_equal(together[1], [one[1][0] for one in alone])


def test_one_failure_among_twenty_costs_less_than_sixteen(smoke: Plan) -> None:
    push = {"app_push_success_rate": np.array([[95.0, 20.0]])}
    told = PlaceValues(("a", "b"), push, {"app_push_success_rate": np.array([[20.0, 20.0]])}, {})
    found = place_scores.best_utilities(smoke, told, [0, 1], 1)[smoke.ids.index("app_push_success_rate")]
    assert found[0] > 50.0
    assert found[1] == 0.0


def test_more_attempts_of_the_same_ratio_leave_less_doubt(smoke: Plan) -> None:
    values = {"app_push_success_rate": np.full((1, 3), 95.0)}
    samples = {"app_push_success_rate": np.array([[20.0, 200.0, 2e9]])}
    told = PlaceValues(("a", "b", "c"), values, samples, {})
    row = smoke.ids.index("app_push_success_rate")
    found = place_scores.best_utilities(smoke, told, [0, 1, 2], 1)[row]
    assert found[0] > found[1] >= found[2]
    assert found[2] == pytest.approx(scoring.utility(smoke.indicators[row], np.array([95.0]))[0], abs=0.5)


def test_a_kqi_is_scored_over_what_its_place_tells(smoke: Plan) -> None:
    utilities = np.full((smoke.weighed, 2), np.nan)
    utilities[smoke.ids.index("heartbeat_arrival_ratio"), 0] = 40.0  # weight 0.22
    utilities[smoke.ids.index("device_online_ratio"), :] = 90.0  # weight 0.16
    found = place_scores.kqi_estimates(smoke, utilities, 0.25)[2]
    assert found[0] == pytest.approx((0.22 * 40 + 0.16 * 90) / 0.38, abs=1e-9)
    assert np.isnan(found[1])  # 0.16 of the weight is too little


def test_an_indicator_speaks_for_the_kqi_that_weighs_it_most(smoke: Plan) -> None:
    found = fallen.witnesses_of(smoke)
    assert found["nrsrp_median"] == "ss_online_continuity"  # 0.12 there, 0.1 in ss_alarm_delivery_reliability
    assert (
        found["backhaul_rtt_p95"] == "ss_online_continuity"
    )  # none weighs it; a step of its heartbeat names it
    assert set(smoke.ids[: smoke.weighed]) <= set(found)


def test_the_step_that_owns_most_of_what_fell_is_blamed(smoke: Plan) -> None:
    kqi = "ss_alarm_delivery_reliability"
    assert fallen.step_of(smoke, kqi, {}) is None
    assert fallen.step_of(smoke, kqi, {"app_push_success_rate": 9.0}) == "ss_alarm/8 push to fire platform"
    assert fallen.step_of(smoke, kqi, {"app_push_success_rate": 9.0, "rrc_setup_success_rate": 10.0}) == (
        "ss_alarm/3 RRC connection"
    )


def test_a_value_that_one_window_told_is_in_one_window_of_the_hour() -> None:
    nan = np.nan
    values = np.array([90.0, 90, nan, 90, 90])[:, None]
    told = Told(values, np.array([5.0, 0, 5, 5, 5])[:, None], np.array([10, 15, 30, 40, 45]) * MINUTE)
    asked = np.array([15, 30, 45, 60, 75, 120]) * MINUTE
    assert place_values.told_in(told, asked, SPAN)[:, 0].tolist() == [1, 1, 2, 2, 1, 0]
