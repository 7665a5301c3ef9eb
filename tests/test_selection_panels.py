"""Tables in which the same devices come back at every moment, as those of KQIs do."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evaluation.selection import boosting, contributions, quality
from evaluation.selection.study import Roles, Study, read_study


def panel(groups: int, moments: int, *, dull: int = 0) -> Study:
    """Each group at each moment; x is 0 in the first `dull` moments."""
    rng = np.random.default_rng(0)
    start, day = pd.Timestamp("2026-03-02", tz="UTC"), pd.Timedelta(days=1)
    rows = [(f"g{g}", start + m * day) for m in range(moments) for g in range(groups)]
    frame = pd.DataFrame(rows, columns=["group", "time"])
    frame["x"] = rng.normal(size=len(frame)) * (np.arange(len(frame)) >= dull * groups)
    frame["y"] = frame["x"] + rng.normal(size=len(frame))
    return read_study(frame, Roles("y", "group", "time"), table="panel")


@pytest.mark.parametrize(("groups", "moments"), [(3, 24), (8, 24), (60, 24), (60, 7), (60, 3), (60, 2)])
def test_folds_of_groups_that_live_on_judge_later_rows_of_other_groups(groups: int, moments: int) -> None:
    """Later, and not of the same moment: what happens to a cell that day happens to all of its devices."""
    study = panel(groups, moments)
    assert study.times is not None
    for learn, judge in boosting.folds(study, count=3, seed=0):
        assert len(learn) > 0
        assert len(judge) > 0
        assert study.times[learn].max() < study.times[judge].min()
        assert not set(study.clusters[learn]) & set(study.clusters[judge])


def test_rows_of_one_moment_are_judged_without_any_of_them_learnt() -> None:
    study = replace(panel(60, 5), clusters=np.arange(300))
    assert study.times is not None
    cut = boosting.folds(study, count=3, seed=0)
    assert len(cut) == 3
    for learn, judge in cut:
        assert study.times[learn].max() < study.times[judge].min()


def test_one_moment_tells_no_later_from_earlier_and_groups_are_dealt() -> None:
    study = panel(60, 1)
    assert [len(judge) for _, judge in boosting.folds(study, count=3, seed=0)] == [20, 20, 20]


def test_one_group_cannot_be_judged_apart() -> None:
    with pytest.raises(ValueError, match="this table has 1 of them, too few"):
        boosting.folds(replace(panel(2, 60), clusters=np.zeros(120, dtype="int64")), count=3, seed=0)


@pytest.mark.parametrize("groups", [2, 4])
def test_few_groups_are_judged_apart_in_as_many_folds(groups: int) -> None:
    study = replace(panel(groups, 60), times=None)
    cut = boosting.folds(study, count=5, seed=0)
    assert len(cut) == groups
    for learn, judge in cut:
        assert len(np.unique(study.clusters[judge])) == 1
        assert not set(study.clusters[learn]) & set(study.clusters[judge])


def test_a_column_that_did_not_move_at_first_is_told_as_unstable() -> None:
    found = quality.inspect(panel(40, 24, dull=8))
    assert [drop.indicator for drop in found.drops] == ["x"]
    assert "went from +0.00 to" in found.drops[0].detail


def test_what_a_place_tells_all_of_its_devices_on_a_few_days_is_no_drift() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"group": np.tile(np.arange(300), 4), "time": np.repeat(np.arange(4), 300)})
    frame["of_the_tac"] = rng.normal(size=4)[frame["time"]]  # one value a day, never the same
    frame["own"] = rng.normal(size=len(frame)) + frame["time"]  # moves on, without any effect
    frame["y"] = rng.normal(size=len(frame))
    found = quality.inspect(read_study(frame, Roles("y", "group", "time"), table="panel"))
    assert [drop.indicator for drop in found.drops if drop.reason == "unstable"] == ["own"]


def test_noise_that_a_device_keeps_passes_the_probes_no_more_often_than_they_say() -> None:
    """Forty devices of 15 rows: probes shuffled row by row were weaker than each of these columns."""
    told = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        device = np.repeat(np.arange(40), 15)
        frame = pd.DataFrame({f"c{number}": rng.normal(size=40)[device] for number in range(10)})
        frame["y"] = rng.normal(size=40)[device] + 0.5 * rng.normal(size=600)
        study = read_study(frame.assign(device=device), Roles("y", "device"), table="t")
        draws = contributions.subsamples(study, count=3, seed=0)
        measured = contributions.measure(study, range(10), [], draws=draws, how=boosting.Trees(rounds=20))
        told.append(measured.p_values)
    assert (np.concatenate(told) < 0.01).mean() <= 0.05


def test_probes_of_rows_alone_are_their_values_in_another_order() -> None:
    X = np.random.default_rng(0).normal(size=(50, 3))
    probes = contributions._probes(X, np.arange(50), 6, seed=1)
    values = {tuple(sorted(column)) for column in X.T}
    assert all(tuple(sorted(probe)) in values for probe in probes.T)
