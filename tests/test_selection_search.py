"""The forward search of few columns, and the columns that the tests missed."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from evaluation.selection import boosting, contributions, late_finds, smallest
from evaluation.selection.search import search
from evaluation.selection.study import Roles, Study, Target, read_study

ROWS = 600
TREES = boosting.Trees(rounds=40)
LIKE = 0.8


def _columns() -> pd.DataFrame:
    """Two drivers correlated at LIKE, a copy of the first, and noise; the delay is the sum of the drivers."""
    rng = np.random.default_rng(0)
    load, noise = rng.normal(size=(2, ROWS))
    frame = pd.DataFrame({"load": load, "queue": LIKE * load + (1 - LIKE**2) ** 0.5 * rng.normal(size=ROWS)})
    frame = frame.assign(load_copy=load + 0.1 * rng.normal(size=ROWS), noise=noise)
    return frame.assign(delay=frame["load"] + frame["queue"] + 0.3 * rng.normal(size=ROWS))


def _study(frame: pd.DataFrame) -> Study:
    return read_study(frame, Roles("delay"), table="t")


def _found(study: Study, chosen: list[int], *, p_values: np.ndarray) -> dict[int, float]:
    alike = np.abs(np.corrcoef(study.X.T))
    suspects = late_finds.Suspects(range(len(study.names)), p_values, np.array([4.0, 3.0, 2.0, 1.0]), alike)
    draws = contributions.subsamples(study, count=4, seed=0)
    return late_finds.find(study, chosen, suspects, draws=draws, trees=TREES)


def test_what_trees_need_is_found_late_though_it_goes_with_a_chosen_column_and_a_copy_is_not():
    assert _found(_study(_columns()), [0], p_values=np.zeros(4)) == {1: 1.0}


def test_what_is_no_stronger_than_probes_is_not_found_late():
    assert _found(_study(_columns()), [0], p_values=np.full(4, 0.5)) == {}


def test_nothing_is_found_late_where_the_chosen_tell_all():
    assert _found(_study(_columns()), [0, 1], p_values=np.zeros(4)) == {}


def test_each_column_of_the_order_tells_most_beside_those_before_it():
    frame = _columns()
    study = _study(frame[["noise", "load_copy", "queue", "load", "delay"]])
    first, second, *_ = search(study, TREES).order(range(4))
    assert {study.names[first], study.names[second]} == {"load", "queue"}


def test_a_search_ends_once_columns_raise_nothing_and_the_rest_follows_as_trees_rank_it():
    frame = _columns()
    frame = frame.assign(
        **{f"noise{place}": np.random.default_rng(place).normal(size=ROWS) for place in range(6)}
    )
    study = _study(frame)
    searched = search(study, TREES).order(range(len(study.names)))
    assert len(searched) < len(study.names)
    whole = smallest.order(study, range(len(study.names)), np.arange(ROWS), TREES)
    assert whole[: len(searched)] == searched
    assert sorted(whole) == list(range(len(study.names)))


def test_rows_of_one_group_cannot_be_searched_and_are_ranked_by_what_moves_trees():
    study = replace(_study(_columns()), clusters=np.zeros(ROWS, dtype="int64"))
    ranked = smallest.order(study, range(4), np.arange(ROWS), TREES)
    assert study.names[ranked[-1]] == "noise"


def test_among_groups_the_preferred_of_two_that_tell_the_same_is_taken():
    frame = _columns().assign(twin=lambda told: told["load"], device=np.arange(ROWS) // 20)
    study = read_study(frame, Roles("delay", group="device"), table="t")
    load, twin = study.names.index("load"), study.names.index("twin")
    for pool in ([load, twin], [twin, load]):
        assert search(study, TREES).best([], pool)[0] == pool[0]


def test_the_skill_of_classes_is_that_of_alike_frequent_ones():
    """Of four rows three are of class 0; whoever says just that knows nothing."""
    target = Target("state", "binary", np.array([0.0, 0.0, 0.0, 1.0]))
    everyone = np.arange(4)
    assert boosting.skill(target, everyone, np.full(4, 0.25)) == pytest.approx(0.0, abs=1e-9)
    assert boosting.skill(target, everyone, target.values) == pytest.approx(1.0)
    # odds of 1:1 beside the frequencies of 3:1 are 3:1 of classes alike: of class 0 the share is 1/4, of class 1 3/4
    halves = -(np.log(1 / 4) + np.log(3 / 4)) / 2
    assert boosting.skill(target, everyone, np.full(4, 0.5)) == pytest.approx(1 - halves / np.log(2))
    shares = np.column_stack([np.full(4, 0.5), np.full(4, 0.5)])
    assert boosting.skill(target, everyone, shares) == pytest.approx(1 - halves / np.log(2))


def test_the_skill_of_a_number_is_r_squared():
    target = Target("delay", "continuous", np.array([0.0, 1.0, 2.0, 3.0]))
    assert boosting.skill(target, np.arange(4), np.zeros(4)) == pytest.approx(
        boosting.judged(target, np.arange(4), np.zeros(4))
    )
