"""A forest kept as LightGBM text answers exactly as scikit-learn's did, missing values included."""

import numpy as np
import pytest

from training import forest
from training.artifact import InputFeature
from training.experiment import TreeSettings

FEATURES = [InputFeature(name=name, dtype="float64") for name in ("up_ps", "down_ps", "period")]
SETTINGS = TreeSettings(boosting="extra_trees", rounds=20, min_data_in_leaf=1, feature_fraction_bynode=0.5)


def meters(classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    codes = np.arange(90) % classes
    X = (rng.normal(size=(90, 3)) + codes[:, None]).astype(np.float32).astype(np.float64)
    X[rng.random(X.shape) < 0.2] = np.nan
    return X, codes


@pytest.mark.parametrize("classes", [2, 5])
def test_the_text_answers_as_the_forest_it_was_grown_from(classes: int) -> None:
    from sklearn.ensemble import ExtraTreesClassifier

    X, codes = meters(classes)
    asked = np.vstack([X, np.full((1, 3), np.nan)])
    grown = ExtraTreesClassifier(20, max_features=0.5, random_state=11).fit(np.nan_to_num(X, nan=-1.0), codes)
    written = forest.fit(X, codes, features=FEATURES, settings=SETTINGS, seed=11)
    expected = grown.predict_proba(np.nan_to_num(asked, nan=-1.0))
    np.testing.assert_allclose(written.predict_proba(asked), expected, rtol=0, atol=1e-12)


def test_a_forest_says_that_its_trees_are_averaged() -> None:
    X, codes = meters(3)
    assert forest.fit(X, codes, features=FEATURES, settings=SETTINGS, seed=1).averaged


def test_features_that_tell_nothing_give_the_shares_of_the_classes() -> None:
    codes = np.array([0, 0, 0, 1])
    told = forest.fit(np.zeros((4, 3)), codes, features=FEATURES, settings=SETTINGS, seed=1)
    np.testing.assert_allclose(told.predict_proba(np.zeros((1, 3))), [[0.75, 0.25]])


def test_contributions_of_all_trees_add_up_to_the_answer() -> None:
    X, codes = meters(3)
    trees = forest.fit(X, codes, features=FEATURES, settings=SETTINGS, seed=1)
    parts = (
        trees.booster.predict(X, pred_contrib=True).reshape(len(X), 3, len(FEATURES) + 1) / SETTINGS.rounds
    )
    np.testing.assert_allclose(parts.sum(axis=2), trees.predict_proba(X), atol=1e-9)
