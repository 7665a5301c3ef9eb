"""How far a score lies below the same time of weeks before, and below its siblings."""

import numpy as np
import pytest

from evaluation import deviation
from evaluation.monitor_settings import MonitorSettings, read_monitor_settings

WEEK, DAY = 672, 96  # windows


@pytest.fixture
def settings() -> MonitorSettings:
    return read_monitor_settings()


def judged(
    scores: np.ndarray, settings: MonitorSettings, groups: np.ndarray | None = None
) -> deviation.Deviations:
    alone = np.arange(scores.shape[1]) if groups is None else groups
    return deviation.judge(scores, np.zeros((0, scores.shape[1])), first=0, groups=alone, settings=settings)


def test_a_rush_hour_of_every_week_is_no_deviation(settings: MonitorSettings) -> None:
    hour = np.arange(3 * WEEK) % WEEK // 4
    scores = np.where(hour == 33, 40.0, 90.0)[:, None]
    found = judged(scores, settings)
    rush = np.flatnonzero((hour == 33) & (np.arange(3 * WEEK) >= WEEK))
    assert len(rush) == 8
    assert (found.baseline[rush, 0] == 40.0).all()
    assert (found.off[rush, 0] == 0.0).all()


def test_the_baseline_is_the_median_of_the_same_time_of_the_week_and_around_it(
    settings: MonitorSettings,
) -> None:
    rng = np.random.default_rng(1)
    scores = rng.uniform(0, 100, (3 * WEEK, 1))
    at = 2 * WEEK + 50
    around = np.concatenate([scores[at - n * WEEK - 2 : at - n * WEEK + 3, 0] for n in (1, 2)])
    assert judged(scores, settings).baseline[at, 0] == pytest.approx(np.median(around), abs=1e-12)


def test_where_no_week_is_known_the_days_before_stand_in(settings: MonitorSettings) -> None:
    scores = np.full((4 * DAY, 1), 80.0)
    found = judged(scores, settings)
    assert np.isnan(found.baseline[0, 0])
    assert found.baseline[-1, 0] == 80.0


def test_a_steady_score_is_held_against_the_floor(settings: MonitorSettings) -> None:
    scores = np.full((2 * WEEK, 1), 90.0)
    scores[-1] = 60.0
    found = judged(scores, settings)
    assert found.own[-1, 0] == pytest.approx(-30.0 / settings.baseline.floor)


def test_scores_that_now_and_then_fall_far_have_a_wide_usual_deviation(settings: MonitorSettings) -> None:
    off = np.zeros((2 * WEEK, 1))
    assert deviation.usual_deviation(off, len(off) - 1, settings)[0, 0] == settings.baseline.floor
    off[
        len(off) - 1 - np.array(settings.scale_lags)[::5]
    ] = -40.0  # one moment in five: the median is still 0
    usual = deviation.usual_deviation(off, len(off) - 1, settings)
    assert usual[0, 0] == pytest.approx(40 / 1.6448536, abs=1e-5)


def test_what_all_siblings_do_is_not_held_against_one(settings: MonitorSettings) -> None:
    rng = np.random.default_rng(2)
    scores = 80 + rng.normal(0, 3, (2 * WEEK, 6))
    scores[-1] -= 40
    scores[-1, 0] -= 40
    found = judged(scores, settings, np.zeros(6, "int64"))
    assert (found.own[-1] < -4).all()
    assert found.siblings[-1, 0] < -4
    assert (np.abs(found.siblings[-1, 1:]) < 4).all()


def test_fewer_places_than_the_least_have_no_siblings(settings: MonitorSettings) -> None:
    found = judged(np.full((2 * WEEK, 3), 80.0), settings, np.zeros(3, "int64"))
    assert np.isnan(found.siblings).all()


def test_what_is_unknown_deviates_from_nothing(settings: MonitorSettings) -> None:
    scores = np.full((2 * WEEK, 2), 80.0)
    scores[-1, 0] = np.nan
    found = judged(scores, settings)
    assert np.isnan(found.own[-1, 0])
    assert found.own[-1, 1] == 0.0
