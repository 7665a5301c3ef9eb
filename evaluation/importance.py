"""What a model looks at: SHAP values of rows, and how much each feature moves the answers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from tqdm import tqdm

from evaluation.metrics import interval_ends, resampled_clusters
from training.artifact import Model
from training.weights import Network, Trees

if TYPE_CHECKING:
    import torch

# Exact tree SHAP costs about trees x leaves x depth^2 a row (Lundberg et al. 2020, Nature MI 2, algorithm 2).
TREE_STEPS = 2e9  # about ten seconds of one core
NETWORK_CALLS = 2_000_000  # rows through the network: about ten seconds of one core
FEWEST_ROWS, MOST_ROWS = 50, 1000
FOREST_TREES = 30  # of each class: the trees of a forest are drawn alike, so that some stand for all
FOREST_ROWS = 100  # with these trees of some hundred leaves, about ten seconds of one core
BACKGROUND_ROWS = 50  # typical rows that stand in for a feature left out
ROWS_AT_ONCE = 10  # explained between two steps of the progress shown
SERVED = 3  # how many classes are named beside a feature
ALL_COALITIONS = 10  # features of a network up to which each of their 2^f coalitions is asked
ORDERS = (5, 40)  # else random orders of the features, each walked both ways: at least, and at most
ROW_CALLS = 60_000  # rows through the network to explain one: about a second of one core at 300 features
SUM_TOLERANCE = 1e-6  # of contributions and base against the score, relative above 1

Unit = Literal["raw score", "probability"]
Method = Literal["tree paths", "all coalitions", "sampled orders"]


@dataclass(frozen=True)
class Explanation:
    """SHAP values of sampled rows.

    values: (n, f) for two classes told by one score, or (n, f, k). rows: (n,) positions in the X given.
    unit: of the values, before calibration; a raw score is a logarithm of odds. trees: how many trees of each
    class stand for the whole forest; None where all of the model is explained.
    """

    values: np.ndarray
    rows: np.ndarray
    unit: Unit
    trees: int | None = None


@dataclass(frozen=True)
class Contributions:
    """Why each row has its class: base + values.sum(axis=1) = score.

    values: (n, f). base, score: (n,). unit: as of Explanation; with two classes the raw score is the logarithm of
    the odds of the one against the other, with more that of the class's share before softmax. method: `tree paths`
    (exact; a feature left out takes both branches, weighted as in training), or the network asked with features of
    its background rows, exactly over all coalitions or estimated from sampled orders.
    """

    values: np.ndarray
    base: np.ndarray
    score: np.ndarray
    unit: Unit
    method: Method


def contributions(model: Model, X: np.ndarray, codes: np.ndarray, *, seed: int) -> Contributions:
    """Return what each feature contributed to the score of one class per row, codes (n,), in all of the model.

    X: float64 (n, f) as model.matrix makes it. Raises ArithmeticError where contributions do not sum to the score.
    """
    if isinstance(model.weights, Trees):
        told = _tree_contributions(model.weights, X, codes)
    else:
        told = _network_contributions(model.weights, X, codes, seed=seed)
    off = np.abs(told.base + told.values.sum(axis=1) - told.score) / np.maximum(1.0, np.abs(told.score))
    if len(off) and not off.max() <= SUM_TOLERANCE:
        raise ArithmeticError(
            f"contributions and base must sum to the score within {SUM_TOLERANCE:g}, but are off by {off.max():g}"
        )
    return told


def explain(model: Model, X: np.ndarray, *, seed: int) -> Explanation:
    """Return SHAP values of as many rows as ten seconds or so allow, drawn without replacement.

    X: float64 (n, f) as model.matrix makes it. Trees are explained exactly, a network by permutations.
    Source: Lundberg & Lee 2017, arXiv:1705.07874.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(X))
    if isinstance(model.weights, Trees) and model.weights.averaged:
        rows = np.sort(shuffled[:FOREST_ROWS])
        trees = min(FOREST_TREES, model.weights.booster.current_iteration())
        values = _tree_values(model.weights, X[rows], trees=trees) / trees
        return Explanation(values, rows, _unit(model.weights), trees)
    if isinstance(model.weights, Trees):
        rows = np.sort(shuffled[: _tree_rows(model.weights)])
        return Explanation(_tree_values(model.weights, X[rows]), rows, _unit(model.weights))
    background = X[shuffled[-BACKGROUND_ROWS:]]
    rows = np.sort(shuffled[: _network_rows(X.shape[1], len(background))])
    values = _network_values(model.weights, X[rows], background=background, seed=seed)
    return Explanation(values, rows, "probability")


def expected_gradients(
    model: "torch.nn.Module", inputs: np.ndarray, *, background: np.ndarray, samples: int, seed: int
) -> np.ndarray:
    """Return SHAP values (n, i, k) of the k numbers that a torch model gives, k = 1 too, by shap.GradientExplainer.

    inputs: (n, i), background: (m, i); read as float32, as the model's weights must be. A value is the mean over
    `samples` draws of a background row b and a place on the way from b to the row x, of (x - b) times the gradient
    there: its error falls with their root, and within it the values sum to the score less the background's mean.
    They are Shapley values where the score is a sum of linear terms and products of two, near them elsewhere.
    Source: Erion et al. 2021, Nature Machine Intelligence 3.

    Traps of shap 0.51: one output comes as (n, i, 1), not as (n, i), which its documentation says, and a model must
    give (n, 1), never (n,). With `ranked_outputs` the last axis counts ranks: a column holds one class in this row,
    another in the next. It seeds NumPy's global generator. It leaves the model in eval mode.
    """
    import shap
    import torch

    explainer = shap.GradientExplainer(model, torch.from_numpy(background.astype(np.float32)))
    state = np.random.get_state()  # the caller's, which shap would seed anew
    try:
        told = explainer.shap_values(
            torch.from_numpy(inputs.astype(np.float32)), nsamples=samples, rseed=seed
        )
    finally:
        np.random.set_state(state)
    return np.asarray(told, dtype="float64")


def mean_abs_shap(values: np.ndarray) -> np.ndarray:
    """Return how much each feature moves the model, averaged over rows and classes.

    values: (n, f) for two classes or (n, f, k). Returns (f,), all >= 0; higher matters more.
    Raises ValueError on any other shape. Source: Lundberg & Lee 2017, arXiv:1705.07874.
    """
    return np.asarray(_strength(values).mean(axis=(0, 2)))


def importance(
    values: np.ndarray, *, features: Sequence[str], classes: Sequence[str], clusters: np.ndarray, seed: int
) -> pd.DataFrame:
    """Return a row per feature, the most important first: feature, importance, low, high, serves.

    importance: mean |SHAP| with a 95 % bootstrap interval over clusters (n,). serves: the classes whose score
    it moves most, none where it moves nothing; both classes where one score tells two.
    """
    strength = _strength(values)
    low, high = interval_ends(resampled_means(strength.mean(axis=2), clusters=clusters, seed=seed))
    frame = pd.DataFrame(
        {"feature": list(features), "importance": mean_abs_shap(values), "low": low, "high": high}
    )
    frame["serves"] = [_served(row, classes) for row in strength.mean(axis=0)]
    return frame.sort_values(["importance", "feature"], ascending=[False, True], ignore_index=True)


def resampled_means(scores: np.ndarray, *, clusters: np.ndarray, seed: int) -> np.ndarray:
    """Return (RESAMPLES, f) means of scores (n, f) when whole clusters are drawn again."""
    columns = np.column_stack([scores, np.ones(len(scores))])
    sums = resampled_clusters(columns, clusters=clusters, seed=seed)
    return np.asarray(sums[:, :-1] / sums[:, -1:])


def _strength(values: np.ndarray) -> np.ndarray:
    """Return |values| as (n, f, k), k = 1 where one score tells two classes."""
    if values.ndim not in (2, 3):
        raise ValueError(f"SHAP values must be (n, f) or (n, f, k), not {values.shape}")
    return np.asarray(np.abs(values if values.ndim == 3 else values[:, :, None]))


def _served(strength: np.ndarray, classes: Sequence[str]) -> list[str]:
    if not strength.any():
        return []
    if len(strength) != len(classes):
        return list(classes)
    best = np.argsort(-strength, kind="stable")[:SERVED]
    return [classes[place] for place in best if strength[place] > 0]


def _tree_rows(trees: Trees) -> int:
    nodes = trees.booster.trees_to_dataframe()[["node_depth"]]
    steps = float(np.square(nodes["node_depth"].to_numpy(dtype="float64")).sum())
    return int(np.clip(TREE_STEPS / max(steps, 1.0), FEWEST_ROWS, MOST_ROWS))


def _tree_values(weights: Trees, X: np.ndarray, *, trees: int | None = None) -> np.ndarray:
    """Return (n, f, k) of a multiclass booster, (n, f) of a binary one, equal to shap.TreeExplainer's.

    trees: how many of each class are asked, None for all; their values are summed, also where LightGBM
    averages what it predicts.
    """
    told = [
        weights.booster.predict(rows, pred_contrib=True, num_iteration=trees, num_threads=1)
        for rows in _in_parts(X)
    ]
    flat = np.concatenate(told).astype("float64").reshape(len(X), -1, X.shape[1] + 1)
    parts = flat[:, :, :-1]  # the last of each class is its expectation
    return parts.transpose(0, 2, 1) if parts.shape[1] > 1 else parts[:, 0, :]


def _unit(trees: Trees) -> Unit:
    return "raw score" if trees.scored else "probability"


def _tree_contributions(weights: Trees, X: np.ndarray, codes: np.ndarray) -> Contributions:
    told, score = np.zeros((len(X), X.shape[1] + 1)), np.zeros(len(X))
    for code in np.unique(codes):
        rows = codes == code
        told[rows], score[rows] = _class_told(weights.of_class[code], X[rows])
        if weights.scored and len(weights.of_class) == 2:
            against, less = _class_told(weights.of_class[1 - code], X[rows])
            told[rows], score[rows] = told[rows] - against, score[rows] - less
    return Contributions(told[:, :-1], told[:, -1], score, _unit(weights), "tree paths")


def _class_told(trees: Trees, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, f + 1) contributions with the expectation last, and the score (n,), of the trees of one class."""
    count = trees.booster.num_trees() if trees.averaged else 1
    told = np.asarray(trees.booster.predict(X, pred_contrib=True, num_threads=1), dtype=np.float64)
    score = np.asarray(trees.booster.predict(X, raw_score=True, num_threads=1), dtype=np.float64)
    return told / count, score / count


def _network_contributions(network: Network, X: np.ndarray, codes: np.ndarray, *, seed: int) -> Contributions:
    import shap

    background = network.background
    masker = shap.maskers.Independent(background, max_samples=len(background))
    few = X.shape[1] <= ALL_COALITIONS
    if few:
        told = shap.ExactExplainer(network.predict_proba, masker)(X, silent=True)
    else:
        explainer = shap.PermutationExplainer(network.predict_proba, masker, seed=seed)
        told = explainer(
            X, max_evals=_orders(X.shape[1], len(background)) * (2 * X.shape[1] + 1), silent=True
        )
    each = np.arange(len(X))
    return Contributions(
        told.values[each, :, codes].astype("float64"),
        told.base_values[each, codes].astype("float64"),
        network.predict_proba(X)[each, codes],
        "probability",
        "all coalitions" if few else "sampled orders",
    )


def _orders(features: int, background: int) -> int:
    return int(np.clip(ROW_CALLS // ((2 * features + 1) * background), *ORDERS))


def _network_rows(features: int, background: int) -> int:
    calls = (2 * features + 1) * background
    return int(np.clip(NETWORK_CALLS // calls, FEWEST_ROWS, MOST_ROWS))


def _network_values(network: Network, X: np.ndarray, *, background: np.ndarray, seed: int) -> np.ndarray:
    """Return (n, f, k): one forward and one backward permutation of the features of each row."""
    import shap

    masker = shap.maskers.Independent(background, max_samples=len(background))
    explainer = shap.PermutationExplainer(network.predict_proba, masker, seed=seed)
    told = [explainer(rows, max_evals=2 * X.shape[1] + 1, silent=True).values for rows in _in_parts(X)]
    return np.concatenate(told).astype("float64")


def _in_parts(X: np.ndarray) -> Iterable[np.ndarray]:
    """Give the rows (n, f) some at a time, to show how far the explanation is."""
    parts = np.array_split(X, max(1, len(X) // ROWS_AT_ONCE))
    return tqdm(parts, desc=f"explain, {ROWS_AT_ONCE} rows each", delay=2, disable=None)
