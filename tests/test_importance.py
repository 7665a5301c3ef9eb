"""SHAP values add up to what the model says, and importance ranks features over all classes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evaluation import importance
from training import run
from training.experiment import Experiment
from training.weights import Network, Trees


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 rows of three classes: `up_bytes` sets camera apart, `peers` hub, and the rest says nothing."""
    rng = np.random.default_rng(0)
    label = np.repeat(["camera", "hub", "plug"], 20)
    columns = {
        "up_bytes": np.where(label == "camera", 900.0, 100.0) + rng.normal(0, 20, 60),
        "noise": rng.normal(0, 1, 60),
        "constant": np.ones(60),
        "peers": np.where(label == "hub", 9.0, 2.0) + rng.normal(0, 0.5, 60),
    }
    path = tmp_path_factory.mktemp("table") / "rows.csv"
    pd.DataFrame({**columns, "label": label}).to_csv(path, index=False)
    return path


def _fitted(table: Path, kind: str, *, boosting: str = "gbdt") -> run.Fitted:
    experiment = Experiment.model_validate(
        {
            "name": "tiny",
            "table": table,
            "model": kind,
            "trees": {"boosting": boosting, "rounds": 8, "min_data_in_leaf": 2},
            "network": {"hidden": [8], "epochs": 60},
            "split": {"folds": 2},
        }
    )
    return run.fit(experiment, table.parent)


@pytest.fixture(scope="module")
def trees(table: Path) -> run.Fitted:
    return _fitted(table, "trees")


@pytest.fixture(scope="module")
def forest(table: Path) -> run.Fitted:
    return _fitted(table, "trees", boosting="extra_trees")


@pytest.fixture(scope="module")
def network(table: Path) -> run.Fitted:
    return _fitted(table, "network")


def _ranked(fitted: run.Fitted) -> pd.DataFrame:
    explained = importance.explain(fitted.model, fitted.dataset.X, seed=0)
    manifest = fitted.model.manifest
    names = [feature.name for feature in manifest.features]
    return importance.importance(
        explained.values, features=names, classes=manifest.classes, clusters=explained.rows, seed=0
    )


def test_tree_values_and_their_expectation_are_the_raw_score(trees: run.Fitted) -> None:
    import shap

    weights, X = trees.model.weights, trees.dataset.X
    assert isinstance(weights, Trees)
    explained = importance.explain(trees.model, X, seed=0)
    explainer = shap.TreeExplainer(weights.booster)
    assert explained.values == pytest.approx(explainer.shap_values(X[explained.rows]), abs=1e-9)
    raw = weights.booster.predict(X[explained.rows], raw_score=True)
    assert explained.values.sum(axis=1) + explainer.expected_value == pytest.approx(raw, abs=1e-6)


def test_a_forest_is_explained_in_averaged_probabilities(forest: run.Fitted) -> None:
    explained = importance.explain(forest.model, forest.dataset.X, seed=0)
    assert (explained.unit, explained.trees) == ("probability", 8)
    expected = forest.model.weights.predict_proba(forest.dataset.X) - explained.values.sum(axis=1)
    assert np.ptp(expected, axis=0) == pytest.approx(np.zeros(3), abs=1e-9)  # one and the same for every row
    assert expected[0].sum() == pytest.approx(1)


def test_network_values_and_their_expectation_are_the_probability(network: run.Fitted) -> None:
    weights, X = network.model.weights, network.dataset.X
    assert isinstance(weights, Network)
    explained = importance.explain(network.model, X, seed=0)
    assert explained.unit == "probability" and explained.values.shape == (60, 4, 3)
    proba = weights.predict_proba(X[explained.rows])
    expected = proba - explained.values.sum(axis=1)
    assert np.ptp(expected, axis=0) == pytest.approx(np.zeros(3), abs=1e-6)  # one and the same for every row


@pytest.mark.parametrize("kind", ["trees", "forest", "network"])
def test_what_sets_classes_apart_leads_and_a_constant_is_nothing(
    kind: str, request: pytest.FixtureRequest
) -> None:
    ranked = _ranked(request.getfixturevalue(kind))
    assert set(ranked["feature"].head(2)) == {"up_bytes", "peers"}
    told = ranked.set_index("feature")
    assert told.loc["constant", "importance"] == pytest.approx(0, abs=1e-9)
    assert "camera" in told.loc["up_bytes", "serves"][:2] and "hub" not in told.loc["up_bytes", "serves"][:2]
    assert "hub" in told.loc["peers", "serves"][:2] and "camera" not in told.loc["peers", "serves"][:2]
    inside = ranked[ranked["importance"] > 1e-9]
    assert (inside["low"] <= inside["importance"]).all() and (inside["importance"] <= inside["high"]).all()


def test_a_sample_is_the_same_for_the_same_seed(network: run.Fitted) -> None:
    first = importance.explain(network.model, network.dataset.X, seed=4)
    again = importance.explain(network.model, network.dataset.X, seed=4)
    assert np.array_equal(first.values, again.values) and np.array_equal(first.rows, again.rows)


def test_many_rows_are_sampled_not_explained_all(trees: run.Fitted) -> None:
    many = np.tile(trees.dataset.X, (40, 1))
    explained = importance.explain(trees.model, many, seed=0)
    assert len(explained.rows) == importance.MOST_ROWS == len(set(explained.rows))


def test_importance_takes_all_classes_not_one() -> None:
    values = np.zeros((2, 2, 3))
    values[:, 0, 1] = 0.5  # alone, class 1 would put feature 0 first
    values[:, 1, 0], values[:, 1, 2] = 0.9, -0.9
    assert importance.mean_abs_shap(values) == pytest.approx([0.5 / 3, 1.8 / 3])


def test_one_score_tells_two_classes() -> None:
    values = np.array([[0.2, -0.4], [-0.2, 0.0]])
    assert importance.mean_abs_shap(values) == pytest.approx([0.2, 0.2])
    ranked = importance.importance(
        values, features=["a", "b"], classes=["no", "yes"], clusters=np.arange(2), seed=0
    )
    assert ranked["serves"].tolist() == [["no", "yes"], ["no", "yes"]]


def test_a_binary_booster_is_explained_in_two_dimensions() -> None:
    import lightgbm

    rng = np.random.default_rng(0)
    X = rng.random((50, 2))
    params = {"objective": "binary", "verbosity": -1, "min_data_in_leaf": 2, "num_threads": 1}
    booster = lightgbm.train(
        params, lightgbm.Dataset(X, label=X[:, 0] > 0.5, params=params), num_boost_round=3
    )
    values = importance._tree_values(Trees(booster.model_to_string()), X)
    assert values.shape == (50, 2)
    assert importance.mean_abs_shap(values)[0] > importance.mean_abs_shap(values)[1]


def test_values_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(n, f\) or \(n, f, k\), not \(3,\)"):
        importance.mean_abs_shap(np.zeros(3))
