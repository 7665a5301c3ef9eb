"""Trees and a network go through one door: SHAP values that are right, and one promise for both."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evaluation.importance import expected_gradients
from evaluation.selection import boosting, contributions, networks, page, record
from evaluation.selection.contributions import How
from evaluation.selection.doors import Place, Request, of_table
from evaluation.selection.expert import Experts, Statement
from evaluation.selection.procedure import Selection, Settings, select
from evaluation.selection.study import Roles, Study, read_study

ROWS = 700
COLUMNS = 4
TARGETS = {"binary": 1, "classes": 3, "continuous": 1}  # how many scores a model gives
BOTH: list[How] = [boosting.Trees(rounds=40), networks.Layers(epochs=16)]
both_models = pytest.mark.parametrize("how", BOTH, ids=["trees", "network"])


@pytest.fixture(scope="module", autouse=True)
def few_rows() -> Iterator[None]:
    """Explain some rows of a fold: shap walks them one by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "EXPLAINED", 90)
        yield


def _study(kind: str, *, holes: bool = False) -> Study:
    """A delay that rises with load, falls with signal, and has a product of load and queue; the fourth is noise."""
    rng = np.random.default_rng(0)
    load, signal, queue, noise = rng.normal(size=(COLUMNS, ROWS))
    delay = 1.5 * load - signal + 0.5 * load * queue + 0.5 * rng.normal(size=ROWS)
    if kind != "continuous":
        cut = [0.0] if kind == "binary" else [-1.0, 1.0]
        delay = np.digitize(delay, cut).astype("float64")
    frame = pd.DataFrame({"load": load, "signal": signal, "queue": queue, "noise": noise, "delay": delay})
    if holes:
        frame.loc[rng.random(ROWS) < 0.2, "signal"] = np.nan
    return read_study(frame, Roles("delay", kind=kind), table="t")  # type: ignore[arg-type]


def shapley(worth: Callable[[tuple[int, ...]], np.ndarray], count: int) -> np.ndarray:
    """Return (n, count, k) Shapley values of a game, worth of a coalition (n, k), by all orders of its players."""
    known = {
        some: worth(some) for size in range(count + 1) for some in itertools.combinations(range(count), size)
    }
    told = np.zeros((known[()].shape[0], count, known[()].shape[1]))
    for order in itertools.permutations(range(count)):
        for place, player in enumerate(order):
            before, after = tuple(sorted(order[:place])), tuple(sorted(order[: place + 1]))
            told[:, player] += known[after] - known[before]
    return told / math.factorial(count)


def _against(score: Callable[[np.ndarray], np.ndarray], X: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Return (n, p, k) Shapley values of a score where a column left out takes the values of background rows."""

    def worth(some: tuple[int, ...]) -> np.ndarray:
        rows = np.repeat(background[None], len(X), axis=0)
        rows[:, :, list(some)] = X[:, None, list(some)]
        said = score(rows.reshape(-1, X.shape[1]))
        return np.asarray(said.reshape(len(X), len(background), -1).mean(axis=1))

    return shapley(worth, X.shape[1])


def _along_trees(text: dict[str, object], X: np.ndarray) -> Callable[[tuple[int, ...]], np.ndarray]:
    """Return the game that trees play: of a column left out both branches count, by the rows learnt from."""
    trees = [tree["tree_structure"] for tree in text["tree_info"]]  # type: ignore[attr-defined]
    scores = int(text["num_tree_per_iteration"])  # type: ignore[call-overload]

    def asked(node: dict, row: np.ndarray, some: tuple[int, ...]) -> float:  # type: ignore[type-arg]
        if "leaf_value" in node:
            return float(node["leaf_value"])
        sides = node["left_child"], node["right_child"]
        if node["split_feature"] in some:
            return asked(sides[0 if row[node["split_feature"]] <= node["threshold"] else 1], row, some)
        counts = [side.get("internal_count", side.get("leaf_count")) for side in sides]
        return sum(count * asked(side, row, some) for count, side in zip(counts, sides, strict=True)) / sum(
            counts
        )

    def worth(some: tuple[int, ...]) -> np.ndarray:
        return np.array(
            [[sum(asked(tree, row, some) for tree in trees[k::scores]) for k in range(scores)] for row in X]
        )

    return worth


@pytest.mark.parametrize(("kind", "scores"), TARGETS.items())
def test_shap_values_of_trees_are_the_shapley_values_of_all_orders(kind: str, scores: int) -> None:
    study = _study(kind)
    booster = boosting.fit(study, study.X, np.arange(ROWS), boosting.Trees(rounds=5))
    X = study.X[:6]
    told = boosting.contributions(booster, X)
    assert told.shape == (6, COLUMNS, scores)
    assert told == pytest.approx(shapley(_along_trees(booster.dump_model(), X), COLUMNS), abs=1e-6)


def _module(score: str) -> "torch.nn.Module":  # type: ignore[name-defined]  # noqa: F821
    import torch

    class Score(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            nearly = 2 * x[:, 0] - x[:, 1] + 0.5 * x[:, 2] + 0.1 * torch.tanh(x[:, 3])
            product = x[:, 0] * x[:, 1] + x[:, 2]
            return {"line": nearly[:, None], "product": product[:, None]}.get(
                score, torch.stack([nearly, product, -x[:, 3]], dim=1)
            )

    return Score()


@pytest.mark.parametrize(("score", "scores"), [("line", 1), ("product", 1), ("three", 3)])
def test_expected_gradients_are_shapley_values_of_a_line_and_a_product(score: str, scores: int) -> None:
    """Within 0.15 of values that spread over more than 10: twice the error that 3,000 draws of a product leave."""
    import torch

    rng = np.random.default_rng(3)
    X, background = 2 * rng.normal(size=(4, COLUMNS)), rng.normal(size=(40, COLUMNS))
    module = _module(score)

    def said(rows: np.ndarray) -> np.ndarray:
        return np.asarray(module(torch.from_numpy(rows)).detach())

    told = expected_gradients(module, X, background=background, samples=3000, seed=0)
    assert told.shape == (4, COLUMNS, scores)
    assert np.ptp(_against(said, X, background)) > 10
    assert told == pytest.approx(_against(said, X, background), abs=0.15)


@pytest.mark.parametrize("holes", [False, True], ids=["whole", "holes"])
@pytest.mark.parametrize(("kind", "scores"), TARGETS.items())
def test_shap_values_of_a_network_are_near_the_shapley_values_of_all_orders(
    kind: str, scores: int, holes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "SAMPLES", 1000)
    study = _study(kind, holes=holes)
    learnt = networks.fit(study, study.X, np.arange(ROWS), networks.Layers(epochs=16))
    X = study.X[:8]
    told = learnt.contributions(X, seed=0)
    rows = np.random.default_rng(0).permutation(ROWS)[: networks.BACKGROUND_ROWS]
    exact = _against(learnt.score, X, study.X[rows])
    assert told.shape == (8, COLUMNS, scores)
    assert np.abs(told - exact).max() < 0.05 * np.ptp(exact)
    total = learnt.score(X) - learnt.score(study.X[rows]).mean(axis=0)
    assert told.sum(axis=1) == pytest.approx(total, abs=0.1 * np.ptp(total))


def test_the_callers_random_numbers_are_left_alone() -> None:
    np.random.seed(7)
    rows = np.zeros((2, COLUMNS))
    expected_gradients(_module("line"), rows, background=rows, samples=3, seed=0)
    after = np.random.random()
    np.random.seed(7)
    assert after == np.random.random()


def _measured(study: Study, how: How) -> contributions.Contributions:
    draws = contributions.subsamples(study, count=2, seed=0)
    return contributions.measure(study, range(COLUMNS), [[0, 2], [1]], draws=draws, how=how)


@both_models
@pytest.mark.parametrize(("kind", "scores"), TARGETS.items())
def test_drivers_pass_the_probes_and_noise_does_not(how: How, kind: str, scores: int) -> None:
    measured = _measured(_study(kind, holes=True), how)
    assert measured.shown.shape[1:] == (COLUMNS, scores)
    assert (measured.p_values[:2] < 0.001).all()
    assert measured.p_values[3] > 0.01
    assert measured.group_strength.shape == (2, 2)


@both_models
def test_the_same_seed_measures_the_same_numbers(how: How) -> None:
    first, again = (_measured(_study("binary", holes=True), how) for _ in range(2))
    assert np.array_equal(first.strength, again.strength)
    assert np.array_equal(first.shown, again.shown)


@both_models
def test_the_unit_of_a_column_does_not_change_what_it_moves(how: How) -> None:
    study = _study("continuous")
    turned = study.X * np.array([1e6, 1.0, 1e-6, 1.0]) + np.array([0.0, 40.0, 0.0, 0.0])
    told = _measured(replace(study, X=turned), how).strength
    assert told == pytest.approx(_measured(study, how).strength, rel=0.15)


@both_models
def test_the_unit_of_the_target_is_that_of_what_columns_move(how: How) -> None:
    study = _study("continuous")
    since_1970 = 1.8e9 + 1000 * study.target.values  # of which a float32 keeps two minutes
    scaled = replace(study, target=replace(study.target, values=since_1970))
    assert _measured(scaled, how).strength == pytest.approx(1000 * _measured(study, how).strength, rel=0.05)


@both_models
def test_a_column_and_a_class_that_the_learnt_rows_lack_do_no_harm(how: How) -> None:
    study = _study("classes")
    late = np.flatnonzero(study.target.values == 2)
    early = np.setdiff1d(np.arange(ROWS), late)
    X = study.X.copy()
    X[early, 3] = np.nan
    explained = networks.explained if isinstance(how, networks.Layers) else boosting.explained
    told, places, _ = explained(study, X, (early[50:], np.concatenate([early[:50], late])), how)  # type: ignore[arg-type]
    assert told.shape == (len(places), COLUMNS, 3)
    assert not told[:, 3].any()


@pytest.fixture(scope="module")
def by_network() -> Selection:
    said = {"indicator": "load", "direction": "rising", "author": "A. Field", "reason": "tests"}
    statement = Statement.model_validate({**said, "date": "2026-11-01"})
    settings = Settings(subsamples=3, model="network")
    return select(_study("continuous"), settings, Experts(statements=(statement,)))


def test_a_network_selects_what_matters_and_every_text_names_it(by_network: Selection) -> None:
    summary = record.summarize(by_network, table="t", meanings={}, simulated=False)
    assert set(summary["selected"]) == {"load", "signal", "queue"}
    assert summary["models"]["importance"] == "network"
    assert summary["models"]["score"] == "trees"
    assert summary["models"]["agreement"] == pytest.approx(1.0)
    assert "torch" in summary["libraries"]
    assert "not the network" in summary["notes"][0]
    for text in (page.to_html(summary), page.to_markdown(summary)):
        assert "a small neural network" in text
        assert "rank agreement on the selected with trees, of one subsample: 1.00" in text


def test_directions_are_told_by_a_network_too(by_network: Selection) -> None:
    names = [by_network.study.names[column] for column in by_network.selected]
    told = dict(zip(names, by_network.effects, strict=True))
    assert told["load"] is not None and told["load"].direction == 1
    assert told["signal"] is not None and told["signal"].direction == -1


def test_a_network_is_held_against_one_of_the_whole_table_where_rows_are_capped() -> None:
    settings = Settings(subsamples=2, model="network", rows=400)
    agreement = select(_study("continuous"), settings, Experts()).agreement
    assert agreement is not None and agreement > 0.7


def test_a_model_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="model must be one of trees, network, but is 'forest'"):
        _ = Request("delay", model="forest").settings


def test_the_same_call_writes_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "EXPLAINED", 20)
    study = _study("classes", holes=True).rows(np.arange(300))
    frame = pd.DataFrame(study.X, columns=list(study.names)).assign(delay=study.target.values)
    frame.to_csv(tmp_path / "cells.csv", index=False)
    written = []
    for name in ("first", "again"):
        request = Request("delay", task="classes", model="network", seed=3)
        of_table(tmp_path / "cells.csv", request, Place(tmp_path, tmp_path / name), experts=None)
        written.append({path.name: path.read_bytes() for path in sorted((tmp_path / name).iterdir())})
    assert set(written[0]) == {"selection.json", "selection.csv", "report.html", "report.md"}
    assert written[0] == written[1]
