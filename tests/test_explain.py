"""Why a label was answered: held against Shapley values by enumeration of all coalitions."""

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evaluation import importance
from serving import explain
from serving.schema import Explanation
from training import artifact, run
from training.artifact import Model
from training.experiment import Experiment
from training.weights import Network, Trees

UNITS = ["ms", "-", "-", "byte"]  # features are in the order of their names
BOOSTED = {"rounds": 6, "min_data_in_leaf": 3}
BAGGED = {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.7}
KINDS: dict[str, dict[str, Any]] = {
    "boosted": {"trees": BOOSTED},
    "bagged": {"trees": BOOSTED | BAGGED},
    "forest": {"trees": {"boosting": "extra_trees", "rounds": 6, "min_data_in_leaf": 3}},
    "network": {"model": "network", "network": {"hidden": [8], "epochs": 30}},
}


def rows(classes: int) -> pd.DataFrame:
    """90 rows of a number, a number that lacks some, a boolean and a text; all four say something of the class."""
    rng = np.random.default_rng(classes)
    kind = np.arange(90) % classes
    lag = rng.exponential(5, 90) + 4 * (kind == 1)
    return pd.DataFrame(
        {
            "up_bytes": np.where(kind == 0, 100, 160) + rng.integers(0, 90, 90),
            "lag_ms": np.where(rng.random(90) < 0.2, np.nan, lag),
            "secure": rng.random(90) < 0.3 + 0.4 * (kind == 0),
            "protocol": np.where(rng.random(90) < 0.6, np.array(["coap", "mqtt", "http"])[kind], "coap"),
            "label": np.array(["lamp", "lock", "plug"])[kind],
        }
    )


@pytest.fixture(scope="module", params=[f"{kind}-{classes}" for kind in KINDS for classes in (2, 3)])
def fitted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> run.Fitted:
    kind, classes = request.param.split("-")
    workspace = tmp_path_factory.mktemp("ws")
    rows(int(classes)).to_csv(workspace / "rows.csv", index=False)
    told = {"name": "tiny", "table": workspace / "rows.csv", "split": {"folds": 2}, **KINDS[kind]}
    return run.fit(Experiment.model_validate(told), workspace)


# The oracle: every coalition, asked one by one


def shapley(worth: Callable[[frozenset[int]], float], count: int) -> list[float]:
    """Shapley's own sum: what each player adds to a coalition, over all coalitions of the others."""
    values = []
    for player in range(count):
        others = [other for other in range(count) if other != player]
        total = 0.0
        for size in range(count):
            weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            for some in itertools.combinations(others, size):
                total += weight * (worth(frozenset({*some, player})) - worth(frozenset(some)))
        values.append(total)
    return values


def walked(node: dict[str, Any], x: np.ndarray, known: frozenset[int]) -> float:
    """The leaf that x reaches; a split on what is not known takes both ways, weighted by the rows of training."""
    if "leaf_value" in node:
        return float(node["leaf_value"])
    left, right = node["left_child"], node["right_child"]
    if node["split_feature"] in known:
        return walked(left if goes_left(node, x[node["split_feature"]]) else right, x, known)
    counts = [child.get("internal_count", child.get("leaf_count")) for child in (left, right)]
    ways = [walked(child, x, known) for child in (left, right)]
    return float(np.average(ways, weights=counts))


def goes_left(node: dict[str, Any], value: float) -> bool:
    if node["decision_type"] == "==":
        return not np.isnan(value) and str(int(value)) in node["threshold"].split("||")
    if np.isnan(value):
        return bool(node["default_left"]) if node["missing_type"] == "NaN" else node["threshold"] >= 0.0
    return bool(value <= node["threshold"])


def worth_of(model: Model, x: np.ndarray, code: int) -> Callable[[frozenset[int]], float]:
    """What the score of a class is where only some features are known."""
    weights = model.weights
    if isinstance(weights, Network):
        return lambda known: float(
            np.mean(
                [
                    weights.predict_proba(np.where([i in known for i in range(4)], x, other)[None, :])[
                        0, code
                    ]
                    for other in weights.background
                ]
            )
        )
    classes = len(model.manifest.classes)
    roots = [tree["tree_structure"] for tree in weights.booster.dump_model()["tree_info"]]
    count = len(roots) // classes if weights.averaged else 1

    def of_class(known: frozenset[int], one: int) -> float:
        return sum(walked(root, x, known) for root in roots[one::classes]) / count

    if classes == 2 and "objective=" in weights.text:
        return lambda known: of_class(known, code) - of_class(known, 1 - code)
    return lambda known: of_class(known, code)


def contributions(told: Explanation) -> dict[str, float]:
    return {one.feature: one.contribution for group in told.groups for one in group.features}


def test_contributions_are_the_shapley_values_of_all_coalitions(fitted: run.Fitted) -> None:
    model, X = fitted.model, fitted.dataset.X
    names = [feature.name for feature in model.manifest.features]
    lacking = int(np.flatnonzero(np.isnan(X).any(axis=1))[0])
    for row in (0, 1, 2, lacking):
        label = model.manifest.classes[int(model.predict_proba(X[[row]]).argmax())]
        worth = worth_of(model, X[row], model.manifest.classes.index(label))
        told = explain.explanation(model, X[row], label, units=UNITS, top=50)
        expected = dict(zip(names, shapley(worth, 4), strict=True))
        assert contributions(told) == pytest.approx(expected, abs=1e-6)
        assert told.base == pytest.approx(worth(frozenset()), abs=1e-6)
        assert told.score == pytest.approx(worth(frozenset(range(4))), abs=1e-6)
        assert any(abs(value) > 1e-3 for value in expected.values())


def test_the_score_is_what_the_model_answers_with(fitted: run.Fitted) -> None:
    model, x = fitted.model, fitted.dataset.X[0]
    proba = model.weights.predict_proba(x[None, :])[0]
    scores = {
        label: explain.explanation(model, x, label, units=UNITS, top=1) for label in model.manifest.classes
    }
    told = np.array([one.score for one in scores.values()])
    if scores[model.manifest.classes[0]].unit == "probability":
        assert told == pytest.approx(proba, abs=1e-9)
    elif len(proba) == 2:
        assert told == pytest.approx(np.log(proba / (1 - proba)), abs=1e-9)
    else:
        assert told - told[0] == pytest.approx(np.log(proba / proba[0]), abs=1e-9)


def test_what_is_not_told_is_the_rest(fitted: run.Fitted) -> None:
    told = explain.explanation(
        fitted.model, fitted.dataset.X[3], fitted.model.manifest.classes[1], units=UNITS, top=2
    )
    assert len(told.groups) == 2
    shown = sum(group.contribution for group in told.groups)
    assert told.base + shown + told.rest == pytest.approx(told.score, abs=1e-6)
    assert abs(told.groups[0].contribution) >= abs(told.groups[1].contribution)


def test_each_value_is_told_in_its_unit_beside_its_usual_range(fitted: run.Fitted) -> None:
    frame, X = rows(len(fitted.model.manifest.classes)), fitted.dataset.X
    told = explain.explanation(fitted.model, X[0], "lamp", units=UNITS, top=50)
    features = {one.feature: one for group in told.groups for one in group.features}
    low, high = frame["up_bytes"].quantile([0.05, 0.95])
    size = features["up_bytes"]
    assert (size.value, size.unit) == (frame["up_bytes"].iloc[0], "byte")
    assert (size.usual_low, size.usual_high) == pytest.approx((low, high))
    text = features["protocol"]
    assert (text.value, text.usual_low, text.usual_high) == (frame["protocol"].iloc[0], None, None)
    assert features["secure"].value is bool(frame["secure"].iloc[0])


def test_an_old_artifact_is_explained_without_ranges_and_groups(fitted: run.Fitted, tmp_path: Path) -> None:
    artifact.save(fitted.model, tmp_path)
    manifest = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    del manifest["usual"]
    (tmp_path / "model.json").write_text(json.dumps(manifest), encoding="utf-8")
    old = artifact.load(tmp_path)
    told = explain.explanation(old, fitted.dataset.X[0], "lamp", units=UNITS, top=50)
    assert {(one.usual_low, one.usual_high) for group in told.groups for one in group.features} == {
        (None, None)
    }
    assert len(told.groups) == 4
    if isinstance(old.weights, Network):
        weights = {name: array for name, array in old.weights.arrays.items() if name != "background"}
        older = Model(old.manifest, Network(weights))
        center = dict(zip(["lag_ms", "secure", "up_bytes"], weights["center"], strict=True))
        typical = Network(weights).background[0]
        assert typical[3] == pytest.approx(np.expm1(center["up_bytes"])) and np.isnan(typical[1])
        again = explain.explanation(older, fitted.dataset.X[0], "lamp", units=UNITS, top=50)
        expected = shapley(worth_of(older, fitted.dataset.X[0], 0), 4)
        assert sorted(contributions(again).values()) == pytest.approx(sorted(expected), abs=1e-6)


def test_a_binary_booster_of_one_score_and_a_multiclass_one_have_shapley_values() -> None:
    """importance.explain shows a whole report: (n, f) where one score tells two classes, (n, f, k) else."""
    import lightgbm

    rng = np.random.default_rng(3)
    X = rng.normal(size=(120, 4))
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] + X[:, 2] > 1)
    shapes = {"binary": (y > 0, {}), "multiclass": (y, {"num_class": 3})}
    for objective, (target, more) in shapes.items():
        params = {"objective": objective, "verbosity": -1, "min_data_in_leaf": 4, "num_threads": 1} | more
        grown = lightgbm.train(params, lightgbm.Dataset(X, label=target, params=params), num_boost_round=4)
        values = importance._tree_values(Trees(grown.model_to_string()), X[:3])
        assert values.shape == ((3, 4) if objective == "binary" else (3, 4, 3))
        roots = [tree["tree_structure"] for tree in grown.dump_model()["tree_info"]]
        each = 1 if objective == "binary" else 3
        for row, code in itertools.product(range(3), range(each)):

            def worth(known: frozenset[int], x: np.ndarray = X[row], first: int = code) -> float:
                return sum(walked(root, x, known) for root in roots[first::each])  # noqa: B023

            told = values[row] if objective == "binary" else values[row, :, code]
            assert told == pytest.approx(shapley(worth, 4), abs=1e-9)


def test_sampled_orders_come_near_to_all_coalitions(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    weights = {"weight_0": rng.normal(size=(6, 16)), "bias_0": rng.normal(size=6)}
    weights |= {"weight_1": rng.normal(size=(3, 6)), "bias_1": np.zeros(3)}
    scale = {"categories": np.zeros(8, dtype=np.int64), "center": np.zeros(8), "scale": np.ones(8)}
    network = Network(weights | scale | {"background": rng.normal(size=(20, 8))})
    model = Model(None, network)  # type: ignore[arg-type]  # as below
    X, codes = rng.normal(size=(20, 8)), np.arange(20) % 3
    exact = importance.contributions(model, X, codes, seed=0)
    monkeypatch.setattr(importance, "ALL_COALITIONS", 0)
    sampled = importance.contributions(model, X, codes, seed=0)
    assert (exact.method, sampled.method) == ("all coalitions", "sampled orders")
    assert np.abs(sampled.values - exact.values).mean() < 0.1 * np.abs(exact.values).mean()


def test_a_network_of_many_features_is_sampled_and_still_sums_to_its_score() -> None:
    rng = np.random.default_rng(0)
    count = importance.ALL_COALITIONS + 2
    arrays = {
        "categories": np.zeros(count, dtype=np.int64),
        "center": np.zeros(count),
        "scale": np.ones(count),
        "weight_0": rng.normal(size=(3, 2 * count)),
        "bias_0": np.zeros(3),
        "background": rng.normal(size=(5, count)),
    }
    X, codes = rng.normal(size=(4, count)), np.array([0, 1, 2, 0])
    model = Model(None, Network(arrays))  # type: ignore[arg-type]  # what explains asks the weights alone
    told = importance.contributions(model, X, codes, seed=0)
    again = importance.contributions(model, X, codes, seed=0)
    assert told.method == "sampled orders"
    assert np.array_equal(told.values, again.values)
    assert told.base + told.values.sum(axis=1) == pytest.approx(told.score, abs=1e-9)
