"""What a selection promises where classes are many or rare: none is lost, and a handful of rows is judged rightly."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from evaluation.selection import boosting, quality, smallest
from evaluation.selection.evidence import Evidence, least_squares
from evaluation.selection.expert import Experts
from evaluation.selection.procedure import Settings, select
from evaluation.selection.rare import few_others, surprise
from evaluation.selection.row_cap import capped
from evaluation.selection.screening import Screen
from evaluation.selection.study import Roles, Study, read_study

FEW = Settings(subsamples=3)


def _faults(rows: int = 6_000, stretch: int = 60) -> pd.DataFrame:
    """A core whose two faults come in runs of five rows; each moves a counter of its own, and both a third."""
    rng = np.random.default_rng(1)
    state = np.zeros(rows, dtype=int)
    for start in range(0, rows, 2 * stretch):
        state[start + 10 : start + 15] = 1 + (start // (2 * stretch)) % 2
    columns = {f"noise{number}": rng.normal(size=rows) for number in range(4)}
    columns |= {"load": 2 * (state > 0), "drops": 3 * (state == 1), "delay": 3 * (state == 2)}
    columns |= {name: rng.normal(size=rows) + columns[name] for name in ("load", "drops", "delay")}
    return pd.DataFrame(columns).assign(
        state=state, stretch=np.arange(rows) // stretch, second=np.arange(rows)
    )


def _study(frame: pd.DataFrame) -> Study:
    return read_study(frame, Roles("state", group="stretch", kind="classes"), table="core")


def test_the_row_cap_keeps_a_rare_class_whole_and_every_stretch_of_time():
    study = read_study(
        _faults(), Roles("state", group="stretch", time="second", kind="classes"), table="core"
    )
    rows = capped(study, rows=2_000, seed=0)
    assert len(rows) == len(set(rows)) == 2_000
    for fault in (1, 2):
        assert np.isin(np.flatnonzero(study.target.values == fault), rows).all()
    tenths = np.histogram(rows, bins=10, range=(0, len(study.X)))[0]
    assert tenths.min() > 150  # of 200 each


def test_the_row_cap_draws_the_same_rows_of_one_seed_and_others_of_another():
    study = _study(_faults())
    one, same, other = (capped(study, rows=1_000, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_of_a_class_in_one_long_and_many_short_groups_the_row_cap_hears_every_group():
    frame = pd.DataFrame({"x": np.arange(4_000.0), "state": np.arange(4_000) % 2})
    frame["stretch"] = np.where(np.arange(4_000) < 3_800, 0, np.arange(4_000))
    study = _study(frame)
    rows = capped(study, rows=1_000, seed=0)
    assert len(np.unique(study.clusters[rows])) == 201


def test_faults_of_one_row_in_fifty_are_explained_within_the_row_cap():
    selection = select(_study(_faults()), replace(FEW, rows=1_500), Experts())
    assert {selection.study.names[column] for column in selection.selected} == {"load", "drops", "delay"}


def _kinds(seed: int) -> pd.DataFrame:
    """Twenty kinds of device with ten captures each; only `size` differs between kinds."""
    rng = np.random.default_rng(seed)
    kind = np.repeat(np.arange(20), 10)
    noise = {f"noise{number}": rng.normal(size=200) for number in range(9)}
    return pd.DataFrame({"size": rng.normal(size=200) + rng.permutation(20)[kind] / 4, **noise, "kind": kind})


def test_what_tells_twenty_kinds_apart_is_found_though_each_has_ten_rows():
    study = read_study(_kinds(0), Roles("kind", kind="classes"), table="kinds")
    assert Screen(study, candidates=range(10)).run().columns == (0,)


def test_noise_tells_twenty_kinds_apart_no_more_often_than_stated():
    chosen = 0
    for seed in range(20):
        study = read_study(_kinds(seed).drop(columns="size"), Roles("kind", kind="classes"), table="kinds")
        chosen += len(Screen(study, candidates=range(9)).run().columns)
    assert chosen <= 3  # one is expected at a rate of 0.05 a table


@pytest.mark.parametrize("grouped", [False, True])
def test_the_evidence_of_a_class_is_what_its_rows_say_summed_by_hand(grouped: bool):
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(60), 5) if grouped else np.arange(300)
    classes = (rng.integers(0, 3, 300)[:, None] == np.arange(3)).astype(float)
    column = rng.normal(size=300) + 0.1 * classes[:, 0]
    left = least_squares(np.ones((300, 1)), classes)
    told = Evidence(clusters).of_functions(column[:, None], left)
    pulls = pd.DataFrame((column - column.mean())[:, None] * left.residual).groupby(clusters).sum().to_numpy()
    count = len(pulls)
    each = (pulls.sum(axis=0) ** 2 / (pulls**2).sum(axis=0)) * (count - 1) / count
    two, total = pulls[:, :2], pulls[:, :2].sum(axis=0)
    both = total @ np.linalg.solve(two.T @ two, total) * (count - 2) / (2 * count)
    p_values = [*stats.f.sf(each, 1, count - 1), stats.f.sf(both, 2, count - 2)]
    assert told == pytest.approx(np.log(min(p_values) * 4), rel=1e-6)


def test_a_model_without_a_column_leaves_over_what_a_new_fit_without_it_does():
    rng = np.random.default_rng(0)
    design, responses = np.column_stack([np.ones(200), rng.normal(size=(200, 6))]), rng.normal(size=(200, 3))
    design[:, 5] = design[:, 4] + 1e-9 * rng.normal(size=200)  # two of it say the same
    short = least_squares(design, responses).without([2, 3], responses)
    anew = least_squares(np.delete(design, [2, 3], axis=1), responses)
    np.testing.assert_allclose(short.residual, anew.residual, atol=1e-5)
    np.testing.assert_allclose(short.beside(design[:, [2, 3]]), anew.beside(design[:, [2, 3]]), atol=1e-5)


def test_columns_of_rare_classes_come_before_those_that_refine_a_common_one():
    frame = _faults()
    study = _study(frame.assign(noise0=frame["noise0"] + 0.3 * (frame["state"] == 0)))
    columns = [study.names.index(name) for name in ("noise0", "noise1", "drops", "delay")]
    ranked = smallest.eliminate(study, columns, np.arange(len(frame)), boosting.Trees(rounds=30))
    assert {study.names[column] for column in ranked[:2]} == {"drops", "delay"}


def test_the_smallest_set_pays_for_no_column_that_adds_less_than_a_hundredth():
    folds = np.array([0.90, 0.92, 0.88])[:, None]
    assert smallest.enough(np.hstack([folds - 0.4, folds - 0.1, folds - 0.005, folds]), columns=12) == 2


def test_a_loss_that_every_fold_shows_counts_though_folds_differ_by_more():
    folds = np.array([0.70, 0.90, 0.80])[:, None]
    assert smallest.enough(np.hstack([folds - 0.3, folds - 0.05, folds]), columns=12) == 2


def test_of_several_classes_the_skill_is_kept_too():
    """With two columns each class is told from all others; with three they are told from each other."""
    folds = np.array([0.98, 0.99, 0.97])[:, None]
    scores, skills = (
        np.hstack([folds - 0.48, folds - 0.1, folds, folds]),
        np.hstack([folds - 0.9, folds - 0.5, folds - 0.2, folds]),
    )
    assert smallest.enough(scores, columns=12) == 2
    assert smallest.enough(scores, columns=12, skills=skills) == 3


def test_a_third_of_the_columns_is_a_small_set_where_it_loses_no_more_than_three_hundredths():
    """Four columns are best, three lose 0.02 of 0.9, two 0.05: of nine columns a third is three."""
    folds = np.array([0.90, 0.92, 0.88])[:, None]
    scores = np.hstack([folds - 0.4, folds - 0.1, folds - 0.05, folds - 0.02, folds])
    assert [smallest.enough(scores, columns=count) for count in (12, 9, 6)] == [4, 3, 4]


def _flagged(flags: np.ndarray) -> dict[str, str]:
    """Return why columns fall of 1,500 devices, 45 of them faulty, whose flag is set as given."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"load": rng.normal(size=1_500), "flag": flags, "state": np.arange(1_500) < 45})
    frame["stretch"] = np.arange(1_500) // 15
    told = quality.inspect(_study(frame))
    return {drop.indicator: drop.reason for drop in told.drops}


def _set(places: np.ndarray) -> np.ndarray:
    return np.isin(np.arange(1_500), places).astype(float)


def test_a_flag_of_a_few_rows_falls_as_constant_unless_they_are_the_faulty_ones():
    assert _flagged(_set(np.arange(0, 1_500, 130))) == {"flag": "constant"}
    assert _flagged(_set(np.array([0, 7, 16, 22, 31, 38]))) == {}


def test_a_flag_that_one_device_sets_often_is_one_witness():
    assert _flagged(_set(np.arange(8))) == {"flag": "constant"}


def test_a_rare_flag_that_decides_a_rare_class_is_selected():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"noise{number}": rng.normal(size=1_500) for number in range(5)})
    frame["state"] = np.arange(1_500) % 50 == 0
    frame["broken"] = np.arange(1_500) % 100 == 0  # half of the faulty, and no other
    selection = select(read_study(frame, Roles("state"), table="sensors"), FEW, Experts())
    assert [selection.study.names[column] for column in selection.selected] == ["broken"]


def test_a_few_rows_surprise_by_chance_no_more_often_than_they_say():
    rng = np.random.default_rng(0)
    states = (rng.integers(0, 40, 2_000) == 0).astype(float)
    residual = least_squares(np.ones((2_000, 1)), states[:, None]).residual
    drawn = [surprise(rng.choice(2_000, 8, replace=False), np.arange(2_000), residual) for _ in range(1_000)]
    for p_value in (0.1, 0.01):
        assert np.mean(np.array(drawn) < np.log(p_value)) <= p_value


def test_rows_of_which_all_are_of_one_class_surprise_by_its_share_to_their_number():
    states = (np.arange(1_000) % 50 == 0).astype(float)
    residual = least_squares(np.ones((1_000, 1)), states[:, None]).residual
    told = surprise(np.arange(0, 300, 50), np.arange(1_000), residual)
    assert told == pytest.approx(6 * np.log(0.02) + np.log(2), abs=0.5)


def test_a_column_that_differs_in_many_rows_or_in_none_is_no_rare_one():
    assert few_others(np.repeat([0.0, 1.0], [900, 100])) is None
    assert few_others(np.full(10, np.nan)) is None
    assert list(few_others(np.r_[np.zeros(990), np.full(5, np.nan), np.arange(1.0, 6.0)])) == [
        995,
        996,
        997,
        998,
        999,
    ]
