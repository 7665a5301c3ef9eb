"""Figures that can be checked by hand, and intervals that keep their promise."""

import numpy as np
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import f1_score

from evaluation import calibration, metrics


def test_wilson_is_scipys_where_rows_are_whole() -> None:
    for right, rows in [(0, 5), (5, 5), (95, 100), (1, 3)]:
        theirs = stats.binomtest(right, rows).proportion_ci(method="wilson")
        ours = metrics.wilson(right / rows, rows)
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_rows_of_their_own_are_worth_what_they_are() -> None:
    scores = np.array([1.0, 0, 1, 1, 0, 1])
    assert metrics.effective_rows(scores, np.arange(6)) == 6


def test_copies_of_a_row_are_worth_one_row() -> None:
    once = np.array([1.0, 0, 1, 1, 0, 1, 1, 0])
    assert metrics.effective_rows(np.repeat(once, 5), np.repeat(np.arange(8), 5)) == pytest.approx(8)


def test_three_devices_without_an_error_are_worth_three_rows() -> None:
    assert metrics.effective_rows(np.ones(90), np.repeat(["a", "b", "c"], 30)) == 3


def test_without_an_error_rows_are_as_alike_as_another_score_of_theirs_says() -> None:
    devices = np.repeat(np.arange(12), 20)
    none, all_the_same = (metrics.effective_rows(np.ones(240), devices, alike=alike) for alike in (0.0, 1.0))
    assert all_the_same == 12
    few = (stats.t.ppf(0.975, 239) / stats.t.ppf(0.975, 11)) ** 2
    assert none == pytest.approx(240 * few)
    assert metrics.effective_rows(np.ones(240), devices, alike=0.2) == pytest.approx(
        240 / (1 + 19 * 0.2) * few
    )


def test_likeness_is_one_of_copies_none_of_rows_that_tell_nothing_and_what_the_rows_were_drawn_with() -> None:
    devices = np.repeat(np.arange(300), 20)
    assert metrics.likeness(np.repeat([1.0, 0.0], 3000), devices) == pytest.approx(1, abs=0.01)
    assert metrics.likeness(np.ones(6000), devices) is None
    assert metrics.likeness(np.array([1.0, 0.0]), np.array(["a", "b"])) is None
    rng = np.random.default_rng(0)
    skill = rng.beta(0.8 * 4, 0.2 * 4, size=300)[:, None]  # correlation 1/5 within a device
    drawn = (rng.random((300, 20)) < skill).astype("float64").ravel()
    assert metrics.likeness(drawn, devices) == pytest.approx(0.2, abs=0.05)


def test_a_family_without_an_error_is_surer_than_its_leaves_and_yet_not_too_sure() -> None:
    rng = np.random.default_rng(0)
    devices, rows, truth = 12, 20, 1 - 0.15 * 0.15
    names, held, perfect = np.repeat(np.arange(devices), rows), 0, 0
    for _ in range(600):
        skill = rng.beta(0.85 * 4, 0.15 * 4, size=devices)[:, None]
        leaf = (rng.random((devices, rows)) < skill).ravel()
        strays = (rng.random((devices, 1)) < 0.15) & np.ones((devices, rows), dtype=bool)  # whole devices
        family = leaf | ~strays.ravel()
        alike = metrics.likeness(leaf.astype("float64"), names)
        told = metrics.proportion(family, names, alike=alike)
        held += told.low <= truth <= told.high
        if family.all():
            perfect += 1
            assert metrics.proportion(leaf, names).low <= told.low < truth
            assert told.low >= metrics.proportion(family, names).low
    assert perfect >= 50
    assert held / 600 >= 0.93


def test_one_device_cannot_tell_how_devices_differ() -> None:
    assert metrics.effective_rows(np.array([1.0, 0, 1]), np.array(["a", "a", "a"])) == 3


def test_clustered_intervals_hold_the_truth_where_naive_ones_do_not() -> None:
    rng = np.random.default_rng(0)
    devices, rows, truth = 12, 20, 0.8
    held = {"naive": 0, "clustered": 0}
    for _ in range(400):
        skill = rng.beta(
            truth * 4, (1 - truth) * 4, size=devices
        )  # devices differ: correlation 1/5 within one
        hits = rng.random((devices, rows)) < skill[:, None]
        names = np.repeat(np.arange(devices), rows)
        for kind, clusters in (("naive", np.arange(devices * rows)), ("clustered", names)):
            interval = metrics.proportion(hits.ravel(), clusters)
            held[kind] += interval.low <= truth <= interval.high
    assert held["clustered"] / 400 >= 0.93
    assert held["naive"] / 400 < 0.80


def test_nothing_judged_is_no_figure() -> None:
    assert np.isnan(metrics.proportion(np.array([], dtype=bool), np.array([])).value)


def test_a_difference_counts_the_rows_that_only_one_names_rightly() -> None:
    ours = np.array([True] * 8 + [False] * 2)
    theirs = np.array([True] * 5 + [False] * 3 + [True] * 1 + [False])
    gap = metrics.paired_difference(ours, theirs, clusters=np.arange(10))
    assert (gap.value, gap.only_ours, gap.only_theirs) == (pytest.approx(0.2), 3, 1)
    middle = (3.5 - 1.5) / 12  # Agresti and Min by hand
    half = 1.959964 * np.sqrt((3.5 + 1.5) / 12 - middle**2) / np.sqrt(12)
    assert (gap.low, gap.high) == pytest.approx((middle - half, middle + half), abs=1e-6)


def test_two_equal_lists_differ_by_nothing_but_not_for_certain() -> None:
    same = np.array([True, False, True])
    gap = metrics.paired_difference(same, same, clusters=np.arange(3))
    assert gap.value == 0
    assert gap.low == pytest.approx(-gap.high) and gap.high > 0.2


TRUTH = np.array(["cam", "cam", "cam", "cam", "plug", "plug", "plug", "hub"], dtype=object)
NAMED = np.array(["cam", "cam", "cam", "plug", "plug", "plug", "cam", "cam"], dtype=object)
ALONE = np.arange(8)


def test_scores_of_each_class_by_hand() -> None:
    rows = metrics.per_class(TRUTH, NAMED, clusters=ALONE, classes=["cam", "plug", "hub", "bulb"]).set_index(
        "class"
    )
    assert rows.loc["cam", ["support", "named", "right"]].tolist() == [4, 5, 3]
    assert rows.loc["cam", ["recall", "precision", "f1"]].tolist() == pytest.approx([3 / 4, 3 / 5, 2 / 3])
    assert rows.loc["hub", ["recall", "f1"]].tolist() == [0, 0]
    assert np.isnan(rows.loc["hub", "precision"]) and np.isnan(rows.loc["bulb", "recall"])


def test_an_f1_of_one_is_as_unsure_as_its_rows_are_few() -> None:
    sure = metrics.f1(np.ones(4, dtype=bool), np.ones(4, dtype=bool), clusters=np.arange(4))
    share = stats.binomtest(4, 4).proportion_ci(method="wilson").low
    assert (sure.value, sure.low, sure.high) == pytest.approx((1, 2 * share / (1 + share), 1))


def test_macro_f1_is_scikit_learns_over_the_classes_that_occur() -> None:
    score = metrics.macro_f1(TRUTH, NAMED, clusters=ALONE, seed=1)
    wanted = f1_score(TRUTH, NAMED, labels=["cam", "hub", "plug"], average="macro")
    assert score.value == pytest.approx(wanted)
    assert score.low < score.value < score.high
    assert score == metrics.macro_f1(TRUTH, NAMED, clusters=ALONE, seed=1)
    assert score != metrics.macro_f1(TRUTH, NAMED, clusters=ALONE, seed=2)


def test_macro_f1_without_an_error_is_as_unsure_as_the_accuracy() -> None:
    score = metrics.macro_f1(TRUTH, TRUTH, clusters=ALONE, seed=0)
    assert score == metrics.proportion(np.ones(8, dtype=bool), ALONE)
    assert score.low < 0.7


def test_resamples_draw_whole_clusters() -> None:
    scores = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    sums = metrics.resampled_clusters(scores, clusters=np.array(["a", "a", "b"]), seed=0)
    assert sums.shape == (metrics.RESAMPLES, 2)
    assert set(map(tuple, sums)) == {(4.0, 0.0), (2.0, 1.0), (0.0, 2.0)}


def test_many_clusters_are_drawn_in_parts_as_at_once() -> None:
    count = 2 * metrics._CELLS // metrics.RESAMPLES
    scores = np.arange(float(count))[:, None]
    rng = np.random.default_rng(3)
    at_once = rng.multinomial(count, np.full(count, 1 / count), size=metrics.RESAMPLES) @ scores
    in_parts = metrics.resampled_clusters(scores, clusters=np.arange(count), seed=3)
    assert in_parts == pytest.approx(at_once)


def test_pairs_join_both_directions_of_a_confusion() -> None:
    counts = metrics.confusion(TRUTH, NAMED, classes=["cam", "plug", "hub"])
    assert counts.tolist() == [[3, 1, 0], [1, 2, 0], [1, 0, 0]]
    pairs = metrics.confused_pairs(counts, classes=["cam", "plug", "hub"])
    assert pairs.to_numpy().tolist() == [["cam", "plug", 1, 1, 2], ["cam", "hub", 0, 1, 1]]


def test_reliability_is_scikit_learns_with_counts() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(200)
    right = rng.random(200) < probability
    curve = calibration.reliability(probability, right, clusters=np.arange(200))
    kept, promised = calibration_curve(right, probability, n_bins=calibration.BINS)
    assert curve["value"].to_numpy() == pytest.approx(kept)
    assert curve["promised"].to_numpy() == pytest.approx(promised)
    assert curve["rows"].sum() == 200


def test_calibration_error_by_hand() -> None:
    probability = np.array([0.9, 0.9, 0.9, 0.9, 0.5, 0.5])
    right = np.array([True, True, True, False, False, False])
    curve = calibration.reliability(probability, right, clusters=np.arange(6))
    assert calibration.expected_calibration_error(curve) == pytest.approx((4 * 0.15 + 2 * 0.5) / 6)


def test_a_probability_of_one_has_a_bin() -> None:
    curve = calibration.reliability(np.array([1.0]), np.array([True]), clusters=np.array([0]))
    assert curve[["bin_low", "bin_high", "rows"]].to_numpy().tolist() == [[0.9, 1.0, 1.0]]


def test_equal_probabilities_are_answered_together() -> None:
    curve = calibration.reject_curve(np.array([0.4, 0.9, 0.7, 0.7]), np.array([False, True, False, True]))
    assert curve["threshold"].tolist() == [0.9, 0.7, 0.4]
    assert curve["answered"].tolist() == [0.25, 0.75, 1.0]
    assert curve["accuracy"].tolist() == pytest.approx([1.0, 2 / 3, 0.5])
