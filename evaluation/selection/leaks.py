"""Columns that know the target because they come after it."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from evaluation.selection import boosting
from evaluation.selection.ranks import Scores
from evaluation.selection.screening import Screened
from evaluation.selection.study import Drop, Study

SUSPECTS = 3  # columns that explain most alone are asked whether they beat the rest
SAME = 0.9  # columns correlated beyond are one suspect
STRONG = 0.1  # R squared, or area under the curve above one half, below which nothing looks like the target
SURELY = 0.05  # p-value below which a column beats the rest in the folds, and not by their chance
FEWEST_CAUSES = 3
SURE_TIED, STILL_TIED = 0.001, 0.05  # p-values, each shared among the causes
APART = 0.1  # p-value from which two columns count as independent
_SLICES = 20  # of equal size, in which a continuous target counts as known


def outdoes_all(
    study: Study, scores: Scores, alone: np.ndarray, columns: Sequence[int], trees: boosting.Trees
) -> list[Drop]:
    """Return the columns that alone explain more than all others together, those that say the same set aside.

    Not one that shows itself a cause, as the strongest driver of a small table does.
    """
    found: list[Drop] = []
    known = _slices(study)
    cut = boosting.folds(study, count=boosting.FOLDS, seed=trees.seed)
    for suspect in sorted(columns, key=lambda column: (alone[column], column))[:SUSPECTS]:
        left = [column for column in columns if study.names[column] not in _names(found)]
        same = [column for column in left if abs(scores.rho[suspect, column]) >= SAME]
        rest = [column for column in left if column not in same]
        if suspect not in left or not rest:
            continue
        ours, theirs = (boosting.scores(study, part, cut, trees) for part in ([suspect], rest))
        nothing = float(boosting.scores(study, [], cut, trees).mean())
        strong = float(ours.mean()) - nothing > STRONG and surely_more(ours, theirs)
        if strong and not _acts(study, scores, suspect, rest, known):
            facts = f"alone it scores {ours.mean():.3f}, the other {len(rest)} together {theirs.mean():.3f}"
            found += [Drop(study.names[column], "leak", facts) for column in same]
    return found


def follows_target(study: Study, scores: Scores, screened: Screened, *, among: Sequence[int]) -> list[Drop]:
    """Return the columns that go with the causes of the target only through the target.

    A cause is independent of other causes, and bound to them once the target is known. A consequence is the
    reverse: it goes with several causes, and with none once the target is known. Needs FEWEST_CAUSES.
    Source: Pearl 2009, Causality, section 1.2 (d-separation).
    """
    known = _slices(study)
    found = []
    for column in among:
        causes = [
            cause for cause in screened.chosen if cause != column and abs(scores.rho[cause, column]) < SAME
        ]
        if len(causes) < FEWEST_CAUSES:
            continue
        blind = np.array([_tie(scores.z[:, column], scores.z[:, cause], None) for cause in causes])
        tied = np.flatnonzero(blind < SURE_TIED / len(causes))
        if len(tied) < FEWEST_CAUSES:
            continue
        seeing = [_tie(scores.z[:, column], scores.z[:, causes[place]], known) for place in tied]
        if min(seeing) * len(seeing) > STILL_TIED:
            names = ", ".join(study.names[causes[place]] for place in tied)
            facts = f"goes with {names}, but no longer where {study.target.name} is known: its consequence, not a cause"
            found.append(Drop(study.names[column], "leak", facts))
    return found


def _acts(study: Study, scores: Scores, suspect: int, others: Sequence[int], known: np.ndarray) -> bool:
    """Return whether some column, independent of the suspect, is bound to it once the target is known.

    Two causes of one thing are so; what comes after the target never is.
    """
    for other in others:
        one, two = scores.z[:, suspect], scores.z[:, other]
        bound = _tie_of_clusters(one, two, known, study.clusters)
        apart = _tie_of_clusters(one, two, None, study.clusters)
        if bound < SURE_TIED / len(others) and apart > APART:
            return True
    return False


def surely_more(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Return whether the first scores are larger than the second, fold by fold, by more than the chance of folds."""
    if np.ptp(ours - theirs) == 0:
        return bool(ours[0] > theirs[0])
    return bool(stats.ttest_rel(ours, theirs, alternative="greater").pvalue < SURELY)


def _names(drops: Sequence[Drop]) -> set[str]:
    return {drop.indicator for drop in drops}


def _slices(study: Study) -> np.ndarray:
    if study.target.kind != "continuous":
        return np.asarray(study.target.values, dtype="int64")
    ranks = stats.rankdata(study.target.values)
    return np.asarray(np.minimum((ranks - 1) * _SLICES // len(ranks), _SLICES - 1), dtype="int64")


def _tie(one: np.ndarray, other: np.ndarray, known: np.ndarray | None) -> float:
    """Return the p-value of the correlation of two columns, within each value of `known` where that is given."""
    a, b, slices = _within(one, other, known)
    spread = float(np.sqrt((a**2).sum() * (b**2).sum()))
    if spread == 0:
        return 1.0
    rho = float(np.clip((a * b).sum() / spread, -0.999999, 0.999999))
    return float(2 * stats.norm.sf(abs(np.arctanh(rho)) * np.sqrt(max(len(a) - slices - 2, 1))))


def _tie_of_clusters(
    one: np.ndarray, other: np.ndarray, known: np.ndarray | None, clusters: np.ndarray
) -> float:
    """Return the same where the rows of a cluster may say the same: each cluster's part of the covariance is a witness.

    Source: Liang & Zeger 1986, Biometrika 73 (the variance from the clusters' sums); by
    Student's t, as they may be few.
    """
    a, b, _ = _within(one, other, known)
    parts = np.bincount(np.unique(clusters, return_inverse=True)[1], weights=a * b)
    if len(parts) < 2 or np.ptp(parts) == 0:
        return 1.0
    return float(stats.ttest_1samp(parts, 0.0).pvalue)


def _within(
    one: np.ndarray, other: np.ndarray, known: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return two columns less their means within each value of `known`, and how many values there are."""
    pair = np.column_stack([one, other])
    slices = 1 if known is None else int(known.max()) + 1
    codes = np.zeros(len(pair), dtype="int64") if known is None else known
    counts = np.maximum(np.bincount(codes, minlength=slices), 1)
    means = np.column_stack(
        [np.bincount(codes, weights=column, minlength=slices) / counts for column in pair.T]
    )
    a, b = (pair - means[codes]).T
    return a, b, slices
