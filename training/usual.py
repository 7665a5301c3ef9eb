"""What is usual of each feature, and which features move together: kept with a model, to explain its answers."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from training.artifact import InputFeature, Usual

LOW, HIGH = 0.05, 0.95  # quantiles of the usual range
ALIKE = 0.9  # |Spearman's rho| of any two features of one group
ROWS = 20_000  # evenly taken from all: rho is then known within 0.01


def usual(X: np.ndarray, features: Sequence[InputFeature]) -> tuple[Usual, ...]:
    """Return for each column of X (n, f) its usual range and its group, in the order of the features.

    A group is named by the member that is most like the others.
    """
    taken = X[np.unique(np.linspace(0, len(X) - 1, min(len(X), ROWS)).astype(int))]
    texts = np.array([bool(feature.categories) for feature in features])
    group = groups(np.where(texts, np.nan, taken))
    ranges = pd.DataFrame(np.where(texts, np.nan, X)).quantile([LOW, HIGH]).to_numpy()
    return tuple(
        Usual(low=_number(low), high=_number(high), group=features[place].name)
        for low, high, place in zip(*ranges, group, strict=True)
    )


def groups(X: np.ndarray) -> np.ndarray:
    """Return (f,) for each column of X (n, f) the column that names its group; a constant one is alone.

    Groups are cut from complete linkage, so that all pairs in one have |rho| >= ALIKE. A missing value takes the
    mean rank: columns that miss the same rows are as alike as they are where both are there.
    """
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    ranks = pd.DataFrame(X).rank()
    centred = (ranks - ranks.mean()).fillna(0.0).to_numpy()
    length = np.sqrt((centred**2).sum(axis=0))
    alike = np.abs(centred.T @ centred) / np.where(length > 0, length, np.inf)[:, None]
    alike = np.clip(alike / np.where(length > 0, length, np.inf)[None, :], 0, 1)
    np.fill_diagonal(alike, 1.0)
    named = np.arange(len(alike))
    if len(alike) < 2:
        return named
    tree = hierarchy.linkage(squareform(1 - (alike + alike.T) / 2, checks=False), method="complete")
    clusters = hierarchy.fcluster(tree, t=1 - ALIKE + 1e-12, criterion="distance")
    for cluster in np.unique(clusters):
        members = np.flatnonzero(clusters == cluster)
        named[members] = members[alike[np.ix_(members, members)].sum(axis=1).round(9).argmax()]
    return named


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
