"""Which rows of a large table are worked on: every class and as many clusters as the cap has room for."""

import numpy as np

from evaluation.selection.study import Study

FOR_CLASSES = 0.5  # share of the cap that classes get in equal parts; the rest is drawn from all rows


def capped(study: Study, *, rows: int, seed: int) -> np.ndarray:
    """Return the sorted places of all rows, or of `rows` of them drawn at random without replacement.

    A class with fewer rows than its equal part of half the cap is kept whole; of a commoner one the part is dealt
    cluster by cluster, so that as many clusters as can be witness it. What is left is drawn from all rows, so that each
    cluster and each stretch of time keeps its share of it.
    """
    if len(study.X) <= rows:
        return np.arange(len(study.X))
    rng = np.random.default_rng(seed)
    taken = np.zeros(len(study.X), dtype=bool)
    target = study.target
    for code in range(len(target.classes)):
        of_class = np.flatnonzero(target.values == code)
        part = int(FOR_CLASSES * rows) // len(target.classes)
        taken[of_class[_dealt(study.clusters[of_class], rng)[:part]]] = True
    left = np.flatnonzero(~taken)
    taken[rng.choice(left, rows - int(taken.sum()), replace=False)] = True
    return np.flatnonzero(taken)


def _dealt(clusters: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the places of clusters (n,) in random order, one of each cluster before a second of any."""
    order = rng.permutation(len(clusters))
    by_cluster = np.argsort(clusters[order], kind="stable")
    told = clusters[order][by_cluster]
    starts = np.flatnonzero(np.r_[True, told[1:] != told[:-1]][: len(told)])
    turns = np.empty(len(clusters), dtype="int64")
    turns[by_cluster] = np.arange(len(told)) - np.repeat(starts, np.diff(np.r_[starts, len(told)]))
    return np.asarray(order[np.argsort(turns, kind="stable")])
