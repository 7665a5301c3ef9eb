"""Gradient boosted trees under cross-validation: what a set of columns can tell, and what each one moves in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from evaluation.selection.study import Study, Target

if TYPE_CHECKING:
    from lightgbm import Booster

FOLDS = 3
MOST_ROUNDS = 300
LIVE_ON = 0.5  # share of the earlier rows that must be of clusters not judged, or else clusters are dealt
PATIENCE = 20  # rounds without a better score
TAIL_SPREADS = 10.0  # a continuous target is learnt within so many interquartile ranges of its median
EXPLAINED = 40_000  # rows times classes of a fold whose SHAP values are asked
FEWEST_EXPLAINED = 200  # rows
_LEAVES = 15
_LEAST_SHARE = 1e-6  # that a wrong answer gives the true class, so that one row cannot outweigh all others

Fold = tuple[np.ndarray, np.ndarray]  # places to learn from, places to judge on
Judge = Callable[[Target, np.ndarray, np.ndarray], float]  # of a target at places, and what was said of them


@dataclass(frozen=True)
class Trees:
    """How trees are grown. monotone: -1, 0 or 1 for each column. bins: how many values of a column they tell apart."""

    rounds: int = MOST_ROUNDS
    seed: int = 0
    monotone: tuple[int, ...] = ()
    threads: int = 1
    learning_rate: float = 0.1
    bins: int = 255

    def of(self, columns: Sequence[int]) -> "Trees":
        """Return how trees of these columns alone are grown."""
        if not self.monotone:
            return self
        return replace(self, monotone=tuple(self.monotone[column] for column in columns))


def folds(study: Study, *, count: int, seed: int) -> list[Fold]:
    """Return folds that never share a cluster; with times, each is judged on rows later than those it learns from.

    Without times, clusters are dealt at random. With times the rows are cut into count + 1 stretches, and fold k
    learns from all before stretch k and judges on it; rows of one moment are never parted. Where most clusters live on
    from stretch to stretch, as devices do, or where moments are too few for as many stretches, fold k judges on the
    clusters dealt to it and learns from the others. Fewer clusters than `count` give as many folds. Raises ValueError
    where the clusters are too few.
    """
    clusters, codes = np.unique(study.clusters, return_inverse=True)
    if len(clusters) < 2:
        raise ValueError(_too_few(1))
    count = min(count, len(clusters))
    place = (np.random.default_rng(seed).permutation(len(clusters)) % count)[codes]
    if study.times is None or study.times.min() == study.times.max():
        return [(np.flatnonzero(place != k), np.flatnonzero(place == k)) for k in range(count)]
    cut = []
    stretches = _stretches(study.times, count)
    repeated = len({since for since, _ in stretches}) < count
    for k, (since, until) in enumerate(stretches):
        judged = np.flatnonzero((study.times >= since) & (study.times < until))
        before = np.flatnonzero(study.times < since)
        apart = before[~np.isin(study.clusters[before], study.clusters[judged])]
        if repeated or len(apart) < LIVE_ON * len(before):
            judged, apart = judged[place[judged] == k], before[place[before] != k]
        if not len(apart) or not len(judged):
            raise ValueError(_too_few(len(clusters)))
        cut.append((apart, judged))
    return cut


def _stretches(times: np.ndarray, count: int) -> list[tuple[float, float]]:
    """Return the first moment of each of the last `count` of count + 1 stretches of as many rows, and where it ends.

    A stretch begins with the moment in which its first row lies, but after the first of all; a moment of many rows
    begins several.
    """
    ordered = np.sort(times)
    moments = np.unique(ordered)
    starts = [len(part) for part in np.array_split(ordered, count + 1)]
    firsts = [max(ordered[start], moments[1]) for start in np.cumsum(starts)[:-1]]
    later = [min((one for one in firsts if one > first), default=np.inf) for first in firsts]
    return [(float(first), float(end)) for first, end in zip(firsts, later, strict=True)]


def _too_few(clusters: int) -> str:
    return (
        "a selection is judged on groups that it did not learn from, but this table has"
        f" {clusters} of them, too few; give it more, or no group"
    )


def fit(study: Study, X: np.ndarray, places: np.ndarray, trees: Trees) -> "Booster":
    """Return trees learnt from the rows at `places` of X (n, p)."""
    import lightgbm

    target = study.target
    data = lightgbm.Dataset(X[places], label=label(target)[places], params={"verbose": -1})
    return lightgbm.train(_settings(target, trees, len(places)), data, num_boost_round=trees.rounds)


def rounds(study: Study, X: np.ndarray, cut: Sequence[Fold], trees: Trees) -> int:
    """Return how many rounds suffice: the median over folds of where the judged loss stops falling."""
    import lightgbm

    labels, told = label(study.target), []
    for learn, judge in cut:
        settings = _settings(study.target, trees, len(learn))
        data = lightgbm.Dataset(X[learn], label=labels[learn], params={"verbose": -1})
        held = lightgbm.Dataset(X[judge], label=labels[judge], reference=data)
        stop = lightgbm.early_stopping(PATIENCE, verbose=False)
        booster = lightgbm.train(settings, data, MOST_ROUNDS, valid_sets=[held], callbacks=[stop])
        told.append(booster.best_iteration)
    return max(10, int(np.median(told)))


def scores(study: Study, columns: Sequence[int], cut: Sequence[Fold], trees: Trees) -> np.ndarray:
    """Return the score of each fold for trees on these columns of X; without a column, that of knowing nothing."""
    if not len(columns):
        return np.full(len(cut), 0.0 if study.target.kind == "continuous" else 0.5)
    return _by_fold(judged, study, columns, cut, trees)


def skills(study: Study, columns: Sequence[int], cut: Sequence[Fold], trees: Trees) -> np.ndarray:
    """Return the skill of each fold for trees on these columns of X; without a column 0."""
    return _by_fold(skill, study, columns, cut, trees) if len(columns) else np.zeros(len(cut))


def _by_fold(
    judge: Judge, study: Study, columns: Sequence[int], cut: Sequence[Fold], trees: Trees
) -> np.ndarray:
    told = answers(study, columns, cut, trees)
    return np.array([judge(study.target, places, said) for (_, places), said in zip(cut, told, strict=True)])


def answers(study: Study, columns: Sequence[int], cut: Sequence[Fold], trees: Trees) -> list[np.ndarray]:
    """Return what trees on these columns of X say of the judged rows of each fold."""
    X, grown = study.X[:, list(columns)], trees.of(columns)
    return [
        np.asarray(fit(study, X, learn, grown).predict(X[judge], num_threads=trees.threads))
        for learn, judge in cut
    ]


def judged(target: Target, places: np.ndarray, said: np.ndarray) -> float:
    """Return R squared of a continuous target, the area under the ROC curve of two classes, of more its mean over them.

    A class absent from the judged rows does not count.
    """
    from sklearn.metrics import r2_score, roc_auc_score

    truth = label(target)[places]
    if target.kind == "continuous":
        return float(r2_score(truth, said))
    columns = said[:, None] if said.ndim == 1 else said
    areas = []
    for code in range(columns.shape[1]):
        one = truth == (code if columns.shape[1] > 1 else 1)
        if one.any() and not one.all():
            areas.append(roc_auc_score(one, columns[:, code]))
    return float(np.mean(areas)) if areas else 0.5


def skill(target: Target, places: np.ndarray, said: np.ndarray) -> float:
    """Return how much of what is unknown is told: 1 all, 0 as much as without any column, below 0 less.

    Of a continuous target R squared. Of k classes 1 - mean loss / ln k, where the loss is the negative logarithm of
    the share that the true class is given, and classes count alike, in the answers as in the mean. Unlike the area
    under the ROC curve it still rises where each class is told from all others together.
    """
    if target.kind == "continuous":
        return judged(target, places, said)
    shares = said if said.ndim == 2 else np.column_stack([1 - said, said])
    count = shares.shape[1]
    alike = shares / np.maximum(np.bincount(target.values.astype("int64"), minlength=count), 1)
    truth = target.values[places].astype("int64")
    given = alike[np.arange(len(truth)), truth] / alike.sum(axis=1)
    loss = -np.log(np.maximum(given, _LEAST_SHARE))
    return float(1 - np.mean([loss[truth == code].mean() for code in np.unique(truth)]) / np.log(count))


def explained(study: Study, X: np.ndarray, fold: Fold, trees: Trees) -> tuple[np.ndarray, np.ndarray, float]:
    """Return SHAP values (m, p, k) of judged rows of X, the places of these, and the score of all judged rows.

    Each class has trees of its own: of eight or more some rows drawn at random stand for all of a large table.
    """
    learn, judge = fold
    booster = fit(study, X, learn, trees)
    said = np.asarray(booster.predict(X[judge], num_threads=trees.threads))
    boosted = len(study.target.classes) if study.target.kind == "classes" else 1
    most = max(FEWEST_EXPLAINED, EXPLAINED // boosted)
    some = judge
    if len(judge) > most:
        some = np.sort(np.random.default_rng(trees.seed).permutation(judge)[:most])
    told = contributions(booster, X[some], threads=trees.threads) * unit(study.target)
    return told, some, judged(study.target, judge, said)


def contributions(booster: "Booster", X: np.ndarray, *, threads: int = 1) -> np.ndarray:
    """Return SHAP values (n, p, k) of the raw score, k = 1 but for more than two classes.

    Source: Lundberg et al. 2020, Nature Machine Intelligence 2, as LightGBM computes them.
    """
    told = np.asarray(booster.predict(X, pred_contrib=True, num_threads=threads))
    return told.reshape(len(X), -1, X.shape[1] + 1)[:, :, :-1].transpose(0, 2, 1)


def label(target: Target) -> np.ndarray:
    """Return what is learnt: codes, or a continuous target within TAIL_SPREADS of its middle, at most 1 from it.

    LightGBM keeps a label as a float32: a time since 1970 would lose its seconds, a large unit its numbers.
    """
    if target.kind != "continuous":
        return target.values
    middle, reach = _middle(target)
    return np.clip(target.values - middle, -reach, reach) / reach


def unit(target: Target) -> float:
    """Return how much of the target one unit of the label is."""
    return 1.0 if target.kind != "continuous" else _middle(target)[1]


def _middle(target: Target) -> tuple[float, float]:
    low, middle, high = np.quantile(target.values, [0.25, 0.5, 0.75])
    farthest = float(np.abs(target.values - middle).max()) or 1.0
    return float(middle), min(farthest, TAIL_SPREADS * float(high - low)) or farthest


def _settings(target: Target, trees: Trees, rows: int) -> dict[str, object]:
    settings: dict[str, object] = {
        "objective": {"binary": "binary", "classes": "multiclass", "continuous": "regression"}[target.kind],
        "learning_rate": trees.learning_rate,
        "max_bin": trees.bins,
        "num_leaves": _LEAVES,
        "min_data_in_leaf": max(5, min(50, rows // 50)),
        "feature_fraction_bynode": 0.5,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "seed": trees.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": trees.threads,
        "verbose": -1,
    }
    if target.kind == "classes":
        settings["num_class"] = len(target.classes)
    if any(trees.monotone):
        settings["monotone_constraints"] = list(trees.monotone)
    return settings
