"""What a fitted model promises, whichever kind it is."""

import json
from collections.abc import Callable

import numpy as np
import numpy.testing as npt
import pytest

from training import forest, network, trees
from training.artifact import InputFeature
from training.experiment import NetworkSettings, TreeSettings
from training.weights import Network, Trees, Weights, network_inputs, softmax, tempered

FEATURES = (
    InputFeature(name="up_bytes", dtype="int64"),
    InputFeature(name="piat_ms", dtype="float64"),
    InputFeature(name="noise", dtype="float64"),
    InputFeature(name="protocol", dtype="string", categories=("coap", "mqtt", "tls")),
)
Fit = Callable[..., Weights]


def grow(
    X: np.ndarray, codes: np.ndarray, *, features: tuple[InputFeature, ...] = FEATURES, seed: int = 1
) -> Trees:
    settings = TreeSettings(rounds=30, min_data_in_leaf=3, bagging_fraction=0.8, bagging_freq=1)
    return trees.fit(X, codes, features=features, settings=settings, seed=seed)


def descend(
    X: np.ndarray, codes: np.ndarray, *, features: tuple[InputFeature, ...] = FEATURES, seed: int = 1
) -> Network:
    settings = NetworkSettings(hidden=(32,), epochs=30, batch_size=16, learning_rate=5e-3)
    return network.fit(X, codes, features=features, settings=settings, seed=seed)


def plant(
    X: np.ndarray, codes: np.ndarray, *, features: tuple[InputFeature, ...] = FEATURES, seed: int = 1
) -> Trees:
    settings = TreeSettings(
        boosting="extra_trees", rounds=40, min_data_in_leaf=1, feature_fraction_bynode=0.5
    )
    return forest.fit(X, codes, features=features, settings=settings, seed=seed)


KINDS = [grow, plant, descend]
every = pytest.mark.parametrize("fit", KINDS)


@pytest.fixture(scope="module", params=KINDS)
def fitted(request: pytest.FixtureRequest) -> Weights:
    weights: Weights = request.param(*devices(seed=1))
    return weights


def devices(seed: int, rows: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Rows of three types: bytes tell 0 from 1 and 2, the protocol tells 1 from 2; some gaps are missing."""
    rng = np.random.default_rng(seed)
    codes = np.arange(rows) % 3
    X = np.column_stack(
        [
            np.where(codes == 0, 1e2, 1e5) * rng.lognormal(0, 0.3, rows),
            rng.exponential(10, rows),
            rng.normal(size=rows),
            np.where(codes == 2, 2.0, rng.integers(0, 2, rows)),
        ]
    )
    X[rng.random(rows) < 0.1, 1] = np.nan
    return X, codes


def test_a_model_tells_unseen_rows_of_three_types_apart(fitted: Weights) -> None:
    X, codes = devices(seed=2)
    assert (fitted.predict_proba(X).argmax(axis=1) == codes).mean() >= 0.95


def test_probabilities_of_a_row_sum_to_one(fitted: Weights) -> None:
    proba = fitted.predict_proba(devices(seed=2)[0])
    assert proba.shape == (120, 3) and proba.dtype == np.float64
    assert proba.min() >= 0
    npt.assert_allclose(proba.sum(axis=1), 1.0, atol=1e-12)


@every
def test_two_classes_have_two_columns(fit: Fit) -> None:
    X, codes = devices(seed=1)
    assert fit(X[codes < 2], codes[codes < 2]).predict_proba(X).shape == (120, 2)


@every
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(fit: Fit) -> None:
    X, codes = devices(seed=1, rows=30)
    first, again, other = (fit(X, codes, seed=seed).to_bytes() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_weights_read_back_answer_identically(fitted: Weights) -> None:
    X = devices(seed=2)[0]
    npt.assert_array_equal(
        type(fitted).from_bytes(fitted.to_bytes()).predict_proba(X), fitted.predict_proba(X)
    )


def test_one_row_is_answered_as_in_a_batch(fitted: Weights) -> None:
    X = devices(seed=2)[0]
    one_by_one = np.vstack([fitted.predict_proba(X[[i]]) for i in range(len(X))])
    npt.assert_allclose(one_by_one, fitted.predict_proba(X), rtol=0, atol=1e-12)


def test_a_row_of_nothing_but_missing_values_has_an_answer(fitted: Weights) -> None:
    proba = fitted.predict_proba(np.full((1, 4), np.nan))
    assert np.isfinite(proba).all()


@every
def test_empty_and_constant_columns_do_no_harm(fit: Fit) -> None:
    X, codes = devices(seed=1)
    X[:, 1], X[:, 2] = np.nan, 7.0
    seen = X.copy()
    seen[:, 1], seen[:, 2] = 1e9, -1e9  # what was never seen says nothing
    weights = fit(X, codes)
    assert (weights.predict_proba(X).argmax(axis=1) == codes).mean() >= 0.95
    assert np.isfinite(weights.predict_proba(seen)).all()


@every
def test_rows_that_differ_in_nothing_are_answered_by_the_share_of_classes(fit: Fit) -> None:
    codes = np.array([0] * 90 + [1] * 30)
    npt.assert_allclose(
        fit(np.ones((120, 4)), codes).predict_proba(np.ones((1, 4))), [[0.75, 0.25]], atol=0.05
    )


@every
def test_fitting_does_not_change_its_input(fit: Fit) -> None:
    X, codes = devices(seed=1, rows=30)
    kept = X.copy(), codes.copy()
    fit(X, codes)
    npt.assert_array_equal(X, kept[0])
    npt.assert_array_equal(codes, kept[1])


def test_a_category_is_not_a_quantity_to_the_trees() -> None:
    rng = np.random.default_rng(0)
    X = rng.integers(0, 12, (240, 1)).astype(float)
    odd = X[:, 0].astype(int) % 2
    features = (
        InputFeature(name="port_name", dtype="string", categories=tuple(f"{i:02}" for i in range(12))),
    )
    settings = TreeSettings(
        rounds=1, learning_rate=1.0, num_leaves=2, min_data_in_leaf=1
    )  # one question only
    grown = trees.fit(X, odd, features=features, settings=settings, seed=0)
    assert (grown.predict_proba(X).argmax(axis=1) == odd).all()


def test_balanced_classes_lend_a_rare_one_weight() -> None:
    rng = np.random.default_rng(0)
    codes = np.array([0] * 190 + [1] * 10)
    X = np.column_stack([rng.normal(codes, 1.0)])
    features = FEATURES[1:2]
    chances = {}
    for weight in ("none", "balanced"):
        settings = TreeSettings(rounds=20, class_weight=weight)
        grown = trees.fit(X, codes, features=features, settings=settings, seed=0)
        chances[weight] = grown.predict_proba(X)[codes == 1, 1].mean()
    assert chances["balanced"] > 2 * chances["none"]


def test_a_forest_without_drawn_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="needs bagging_freq > 0 and bagging_fraction < 1"):
        TreeSettings(boosting="rf")


def test_the_numpy_network_answers_as_torch_does() -> None:
    import torch

    fitted = descend(*devices(seed=1, rows=30))
    X = devices(seed=2)[0]
    inputs = network_inputs(X, fitted.arrays)
    stack = network.layers([inputs.shape[1], 32, 3], dropout=0.2).eval()
    linear = [layer for layer in stack if isinstance(layer, torch.nn.Linear)]
    for i, layer in enumerate(linear):
        layer.weight.data = torch.from_numpy(fitted.arrays[f"weight_{i}"])
        layer.bias.data = torch.from_numpy(fitted.arrays[f"bias_{i}"])
    with torch.no_grad():
        expected = softmax(stack(torch.from_numpy(inputs).float()).numpy())
    npt.assert_allclose(fitted.predict_proba(X), expected, atol=1e-5)  # torch sums in float32


def test_training_a_network_leaves_torch_as_it_was() -> None:
    import torch

    torch.manual_seed(5)
    threads, expected = torch.get_num_threads(), torch.rand(1, generator=torch.Generator().manual_seed(5))
    descend(*devices(seed=1, rows=12))
    assert torch.get_num_threads() == threads
    assert torch.rand(1) == expected


def test_a_temperature_of_one_changes_nothing_and_others_keep_the_order() -> None:
    proba = np.array([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5]])
    npt.assert_allclose(tempered(proba, 1.0), proba, atol=1e-12)
    npt.assert_allclose(tempered(proba, 2.0).sum(axis=1), 1.0)
    assert proba[0].max() > tempered(proba, 2.0)[0].max() > 1 / 3
    assert tempered(proba, 0.5)[0].max() > proba[0].max()


def test_a_network_is_kept_in_arrays_that_name_their_shapes() -> None:
    content = descend(*devices(seed=1, rows=12)).to_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["weight_0"]["shape"] == [32, 9]  # 3 numbers, a missing mark each, 3 categories
