"""Why a label was answered: against Shapley values by enumeration of all coalitions, and as a client asks."""

import asyncio
import itertools
import json
import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient

from evaluation import importance
from serving import explain, keys
from serving.rest import create_app
from serving.schema import Explanation
from serving.settings import Settings
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


# As a client asks


@pytest.fixture(scope="module")
def client(fleet: Any) -> Iterator[TestClient]:
    app = create_app(lambda: Settings(fleet.workspace, fleet.session_run, without_keys=True))
    with TestClient(app, base_url="http://127.0.0.1:3000", raise_server_exceptions=False) as client:
        yield client


def inline(flows: pd.DataFrame) -> list[Any]:
    return list(json.loads(flows.to_json(orient="records", date_format="iso", date_unit="us")))


def test_an_explained_answer_is_the_answer_of_identify_and_its_reasons(
    client: TestClient, fleet: Any
) -> None:
    asked = {"device_ids": ["tracker-3", "smart_meter-0"]}
    answered = client.post("/identify", json=asked).json()["answers"]
    rows = client.post("/explain", json=asked | {"top": 3}).json()["answers"]
    manifest = artifact.read_manifest(fleet.session_run)
    names = [feature.name for feature in manifest.features]
    named = {name: seen.group for name, seen in zip(names, manifest.usual or (), strict=True)}
    for answer, row in zip(answered, rows, strict=True):
        told = row.pop("explanation")
        assert row.pop("problem") is None
        assert row == answer
        assert (told["unit"], told["method"], len(told["groups"])) == ("log odds", "tree paths", 3)
        shown = sum(group["contribution"] for group in told["groups"])
        assert told["base"] + shown + told["rest"] == pytest.approx(told["score"], abs=1e-6)
        for group in told["groups"]:
            names = [one["feature"] for one in group["features"]]
            assert {named[name] for name in names} == {group["group"]}
            assert group["contribution"] == pytest.approx(
                sum(one["contribution"] for one in group["features"])
            )


def test_inline_flows_are_explained_as_the_same_flows_online(client: TestClient, fleet: Any) -> None:
    flows = inline(fleet.flows[fleet.flows["device_id"] == "tracker-7"])
    (by_flows,) = client.post("/explain", json={"flows": flows}).json()["answers"]
    (by_name,) = client.post("/explain", json={"device_ids": ["tracker-7"]}).json()["answers"]
    assert by_flows["explanation"] == by_name["explanation"]
    assert len(by_name["explanation"]["groups"]) == 5


def test_values_are_those_of_the_window_in_the_units_of_the_features(client: TestClient, fleet: Any) -> None:
    (row,) = client.post("/explain", json={"device_ids": ["tracker-7"], "top": 50}).json()["answers"]
    told = {one["feature"]: one for group in row["explanation"]["groups"] for one in group["features"]}
    flows = fleet.flows[fleet.flows["device_id"] == "tracker-7"]
    size = told["up_bytes"]
    assert (size["value"], size["unit"]) == (flows["up_bytes"].sum(), "byte")
    assert size["usual_low"] <= size["value"] <= size["usual_high"]
    strongest = max(told.values(), key=lambda one: abs(one["contribution"]))
    assert abs(strongest["contribution"]) > 0
    assert strongest["usual_low"] <= strongest["usual_high"]


def test_a_device_without_a_window_has_its_own_problem_and_the_others_are_explained(
    client: TestClient,
) -> None:
    answer = client.post("/explain", json={"device_ids": ["nobody", "tracker-3"]})
    assert answer.status_code == 200
    missing, there = answer.json()["answers"]
    assert (missing["status"], missing["problem"]["status"]) == ("missing", 404)
    assert there["explanation"]["groups"]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"device_ids": ["tracker-3"] * 21}, 413),
        ({"device_ids": ["tracker-3"], "top": 0}, 422),
        ({"device_ids": ["tracker-3"], "top": 51}, 422),
        ({"device_ids": ["tracker-3"], "top": True}, 422),
        ({"top": 5}, 422),
        ({"device_ids": ["tracker-3"], "why": 1}, 422),
    ],
)
def test_a_question_has_bounds(client: TestClient, asked: dict[str, Any], status: int) -> None:
    assert client.post("/explain", json=asked).status_code == status


def test_the_sessions_of_one_question_are_few(client: TestClient, fleet: Any) -> None:
    flow = inline(fleet.flows.head(1))[0]
    many = [flow | {"source": f"source-{i}"} for i in range(21)]
    assert client.post("/explain", json={"flows": many[:20]}).status_code == 200
    refused = client.post("/explain", json={"flows": many})
    assert refused.status_code == 422
    assert "at most 20 devices and sources" in refused.json()["detail"]


def test_a_row_for_which_no_time_is_left_says_so_and_keeps_its_answer(fleet: Any) -> None:
    from serving import answering

    loaded = answering.load(fleet.workspace, fleet.session_run)
    answers, X = loaded.read_devices(["nobody", "tracker-3"])
    missing, late = explain.explain(explain.Task(loaded.model, loaded.units, answers, X, 5, limit_s=-1.0))
    assert missing == answers[0]
    assert late.label == "tracker" and late.explanation is None  # type: ignore[union-attr]
    assert late.problem is not None and late.problem.status == 503  # type: ignore[union-attr]


def test_devices_are_identified_while_others_are_explained_and_the_line_is_short(client: TestClient) -> None:
    at_work, go_on = threading.Event(), threading.Event()

    class Slow(tuple[Any, ...]):
        def __iter__(self) -> Iterator[Any]:
            at_work.set()
            go_on.wait()
            return super().__iter__()

    thread: explain.ExplainingThread = client.app.state.explaining  # type: ignore[attr-defined]
    ready = client.app.state.thread.ready()  # type: ignore[attr-defined]
    asked = {"device_ids": ["tracker-3"]}
    with ExitStack() as places:
        for _ in range(explain.MAX_EXPLAINING):
            places.enter_context(thread.place())
        task = explain.Task(ready.model, ready.units, Slow(), np.empty((0, len(ready.units))), 5)
        working = threading.Thread(target=asyncio.run, args=(thread.explain(task),))
        working.start()
        at_work.wait()
        assert client.post("/identify", json=asked).status_code == 200
        refused = client.post("/explain", json=asked)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
        go_on.set()
        working.join()
    assert client.post("/explain", json=asked).status_code == 200


def test_an_explanation_needs_a_key_of_its_own_scope(fleet: Any, tmp_path: Path) -> None:
    app = create_app(lambda: Settings(tmp_path, fleet.session_run, without_keys=False))
    asks, explains = keys.add(tmp_path, "asks"), keys.add(tmp_path, "explains", scopes=["explain"])
    with TestClient(app, base_url="http://127.0.0.1:3000") as client:
        asked: dict[str, Any] = {"device_ids": ["tracker-3"]}
        refused = client.post("/explain", json=asked, headers={"x-api-key": asks})
        assert (refused.status_code, refused.json()["title"]) == (403, "The API key lacks the scope")
        assert client.post("/explain", json=asked, headers={"x-api-key": explains}).status_code == 503
        assert client.post("/identify", json=asked, headers={"x-api-key": explains}).status_code == 403


def test_what_explains_is_loaded_by_the_first_question_and_not_before(fleet: Any) -> None:
    program = """
import sys
from pathlib import Path
from fastapi.testclient import TestClient
from serving.rest import create_app
from serving.settings import Settings
app = create_app(lambda: Settings(Path(sys.argv[1]), Path(sys.argv[2]), without_keys=True))
with TestClient(app, base_url="http://127.0.0.1:3000") as client:
    asked = {"device_ids": ["tracker-3"]}
    assert client.post("/identify", json=asked).status_code == 200
    assert client.post("/identify_batch", json=asked).status_code == 200
    print(*[name for name in sys.modules if name.partition(".")[0] in ("evaluation", "shap")])
    assert client.post("/explain", json=asked).status_code == 200
    print("evaluation.importance" in sys.modules)
"""
    command = [sys.executable, "-c", program, str(fleet.workspace), str(fleet.session_run)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=fleet.workspace)
    assert shown.stdout.splitlines()[-2:] == ["", "True"]
