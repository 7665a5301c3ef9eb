"""SHAP values of rows that a model did not learn from, over many subsamples, beside probes: values dealt anew."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats
from tqdm import tqdm

from evaluation.selection import boosting, networks
from evaluation.selection.study import Study

SUBSAMPLES = 10
SHARE = 0.8  # of the clusters, drawn without replacement: a row drawn twice would confirm itself
FEWEST_PROBES = 10
SHOWN_ROWS = 1500  # kept for the pictures and the shapes

Model = Literal["trees", "network"]
How = boosting.Trees | networks.Layers  # how the model is learnt that is asked


@dataclass(frozen=True)
class Contributions:
    """What a model made of the columns, over s subsamples; p columns, g groups.

    strength: (s, p) mean |SHAP| of each column in the units of the raw score (log odds; of a continuous target its
    own). group_strength: (s, g) the same of each group's SHAP values, summed with their sign. probes: (s, q).
    shown_rows: (m,) rows of the study, shown: (m, p, k) their SHAP values. score: (s,) of the folds.
    """

    strength: np.ndarray
    group_strength: np.ndarray
    probes: np.ndarray
    shown_rows: np.ndarray
    shown: np.ndarray
    score: np.ndarray

    @property
    def p_values(self) -> np.ndarray:
        """Return (p,): how often a probe would have so much strength, by a gamma law fitted to all probes."""
        return against_probes(self.strength.mean(axis=0), self.probes.ravel())


def against_probes(strength: np.ndarray, probes: np.ndarray) -> np.ndarray:
    """Return the share of a gamma law with the probes' mean and variance that lies above each strength."""
    mean, variance = float(probes.mean()), float(probes.var())
    if mean <= 0 or variance <= 0:
        return np.where(strength > mean, 0.0, 1.0)
    return np.asarray(stats.gamma.sf(strength, mean**2 / variance, scale=variance / mean))


def subsamples(study: Study, *, count: int, seed: int) -> list[np.ndarray]:
    """Return the rows of `count` draws of SHARE of the clusters, sorted."""
    clusters, codes = np.unique(study.clusters, return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(count):
        taken = np.zeros(len(clusters), dtype=bool)
        taken[rng.choice(len(clusters), max(2, int(SHARE * len(clusters))), replace=False)] = True
        drawn.append(np.flatnonzero(taken[codes]))
    return drawn


def measure(
    study: Study,
    columns: Sequence[int],
    groups: Sequence[Sequence[int]],
    *,
    draws: Sequence[np.ndarray],
    how: How,
) -> Contributions:
    """Return the contributions of `columns` of X over draws of its rows. groups: places in `columns`."""
    columns = list(columns)
    probes = max(FEWEST_PROBES, len(columns) // 5)
    strength, group_strength, probe_strength, scores = [], [], [], []
    shown_rows, shown = [], []
    for number, rows in enumerate(
        tqdm(draws, desc="SHAP over subsamples", delay=2, disable=None, leave=False)
    ):
        seed = how.seed + number
        part = study.rows(rows)
        X = np.column_stack([part.X[:, columns], _probes(part.X[:, columns], part.clusters, probes, seed)])
        told, judged, score = _out_of_fold(part, X, replace(_of(how, columns, free=probes), seed=seed))
        strength.append(np.abs(told[:, : len(columns)]).mean(axis=(0, 2)))
        probe_strength.append(np.abs(told[:, len(columns) :]).mean(axis=(0, 2)))
        group_strength.append([np.abs(told[:, list(group)].sum(axis=1)).mean() for group in groups])
        scores.append(score)
        few = np.random.default_rng(seed).permutation(len(judged))[: -(-SHOWN_ROWS // len(draws))]
        shown_rows.append(rows[judged[few]])
        shown.append(told[few, : len(columns)])
    return Contributions(
        np.array(strength),
        np.array(group_strength).reshape(len(draws), len(groups)),
        np.array(probe_strength),
        np.concatenate(shown_rows),
        np.concatenate(shown),
        np.array(scores),
    )


def of_whole(study: Study, sample: Study, columns: Sequence[int], *, how: How) -> np.ndarray:
    """Return (p,) the strength of `columns` in a model of all rows of a study, on the rows of a sample of it."""
    X, shown = study.X[:, list(columns)], sample.X[:, list(columns)]
    asked, everything = _of(how, columns, free=0), np.arange(len(X))
    if isinstance(asked, networks.Layers):
        shown = shown[np.random.default_rng(how.seed).permutation(len(shown))[:SHOWN_ROWS]]
        told = networks.fit(study, X, everything, asked).contributions(shown, seed=how.seed)
    else:
        told = boosting.contributions(boosting.fit(study, X, everything, asked), shown, threads=asked.threads)
    return np.asarray(np.abs(told).mean(axis=(0, 2)))


def _probes(X: np.ndarray, clusters: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return (n, count) columns of X drawn at random, in each of which clusters have each other's rows.

    Rows shuffled one by one would be weaker than any column that is the same for all rows of a device. A cluster that
    gets fewer rows than it has repeats them.
    """
    rng = np.random.default_rng([seed, 1])
    order = np.argsort(clusters, kind="stable")
    rows = np.split(order, np.flatnonzero(np.diff(clusters[order])) + 1)
    probes = np.empty((len(X), count))
    for place, column in enumerate(rng.integers(X.shape[1], size=count)):
        given = [
            np.resize(rows[other], len(own))
            for own, other in zip(rows, rng.permutation(len(rows)), strict=True)
        ]
        probes[order, place] = X[np.concatenate(given), column]
    return probes


def _of(how: How, columns: Sequence[int], *, free: int) -> How:
    """Return how to learn these columns and `free` others, which no expert binds to a direction."""
    if isinstance(how, networks.Layers) or not how.monotone:
        return how
    return replace(how, monotone=(*(how.monotone[column] for column in columns), *[0] * free))


def _out_of_fold(part: Study, X: np.ndarray, how: How) -> tuple[np.ndarray, np.ndarray, float]:
    """Return SHAP values (m, p + q, k) of judged rows, these rows, and the mean score of the folds."""
    told, places, scores = [], [], []
    for fold in boosting.folds(part, count=boosting.FOLDS, seed=how.seed):
        shap, judged, score = _explained(part, X, fold, how)
        told.append(shap)
        places.append(judged)
        scores.append(score)
    return np.concatenate(told), np.concatenate(places), float(np.mean(scores))


def _explained(
    part: Study, X: np.ndarray, fold: boosting.Fold, how: How
) -> tuple[np.ndarray, np.ndarray, float]:
    if isinstance(how, networks.Layers):
        return networks.explained(part, X, fold, how)
    return boosting.explained(part, X, fold, how)
