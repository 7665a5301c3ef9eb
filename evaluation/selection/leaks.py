"""Columns that know the target because they come after it.

What tells a cause from a consequence in a table without interventions is what two causes do to each other: once the
target is known, a high value of one explains a high target and the other is the lower for it. What comes after the
target shows nothing of this: it knows the causes through the target alone.
Source: Pearl 2009, Causality, section 1.2 (d-separation, explaining away).
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from scipy import stats

from evaluation.selection import boosting
from evaluation.selection.ranks import Scores, normal_scores
from evaluation.selection.screening import Screened
from evaluation.selection.study import Drop, Study

SUSPECTS = 3  # columns that explain most alone are asked whether they beat the rest
SAME = 0.9  # columns correlated beyond are one suspect
STRONG = 0.1  # R squared, or area under the curve above one half, below which nothing looks like the target
FEWEST_CAUSES = 3  # that a consequence goes with
FEWEST_SHOWN = 2  # of these, that show themselves causes: it takes two to explain each other away
SURE_TIED, STILL_TIED = 0.001, 0.05  # p-values, each shared among the causes
APART = 0.1  # p-value from which two columns count as independent
_SLICES = 20  # of equal size, in each of which a column may rise along a continuous target that is known
_FEWEST_OF_SLICE = 15  # rows; of fewer there are fewer slices
_NOTHING = 1e-9


def outdoes_all(
    study: Study, scores: Scores, alone: np.ndarray, columns: Sequence[int], trees: boosting.Trees
) -> list[Drop]:
    """Return the columns that alone explain more than all others together in each fold, those that say the same aside.

    Not one that shows itself a cause, as the strongest driver of a small table does, nor one that is not surely tied to
    the target, as noise beats noise. alone: (p,) log p of each column beside nothing.
    """
    found: list[Drop] = []
    seen = _Seen(study, scores)
    cut = boosting.folds(study, count=boosting.FOLDS, seed=trees.seed)
    for suspect in sorted(columns, key=lambda column: (alone[column], column))[:SUSPECTS]:
        left = [column for column in columns if study.names[column] not in _names(found)]
        same = [column for column in left if abs(scores.rho[suspect, column]) >= SAME]
        rest = [column for column in left if column not in same]
        if suspect not in left or not rest or alone[suspect] > np.log(SURE_TIED):
            continue
        ours, theirs = (boosting.scores(study, part, cut, trees) for part in ([suspect], rest))
        nothing = float(boosting.scores(study, [], cut, trees).mean())
        strong = float(ours.mean()) - nothing > STRONG and bool((ours > theirs).all())
        if strong and not seen.acts(suspect, _apart(scores, suspect, columns)):
            facts = f"alone it scores {ours.mean():.3f}, the other {len(rest)} together {theirs.mean():.3f}"
            found += [Drop(study.names[column], "leak", facts) for column in same]
    return found


def follows_target(study: Study, scores: Scores, screened: Screened, *, among: Sequence[int]) -> list[Drop]:
    """Return the columns that go with the causes of the target only through the target.

    A consequence goes with several causes, and with none once the target is known; a cause is the reverse. That tells
    something where the others are causes, so FEWEST_SHOWN of them must show it; where a target (a kind of device)
    decides all columns, each goes with the others through it alone. Of more than two classes nothing is asked: known
    classes part all that they decide, and have no order in which a cause could explain another away.
    """
    if study.target.kind == "classes":
        return []
    seen = _Seen(study, scores)
    found = []
    for column in among:
        causes = _apart(scores, column, screened.chosen)
        tied = [one for one in causes if seen.p_blind(column, one) < SURE_TIED / len(causes)]
        if (
            len(tied) < FEWEST_CAUSES
            or min(seen.p_known(column, one) for one in tied) * len(tied) <= STILL_TIED
        ):
            continue
        if sum(seen.acts(one, _apart(scores, one, tied)) for one in tied) >= FEWEST_SHOWN:
            names = ", ".join(study.names[one] for one in tied)
            facts = f"goes with {names}, but no longer where {study.target.name} is known: its consequence, not a cause"
            found.append(Drop(study.names[column], "leak", facts))
    return found


def _apart(scores: Scores, column: int, others: Sequence[int]) -> list[int]:
    """Return the others that do not say the same as a column."""
    return [other for other in others if other != column and abs(scores.rho[other, column]) < SAME]


def _names(drops: Sequence[Drop]) -> set[str]:
    return {drop.indicator for drop in drops}


class _Seen:
    """The columns' scores with the target unseen and seen; the rows of a cluster are one witness."""

    def __init__(self, study: Study, scores: Scores) -> None:
        self._z = scores.z
        self._kind = study.target.kind
        whole = self._kind == "continuous"
        self._target = normal_scores(study.target.values) if whole else study.target.values
        self._slices = _slices(study)
        self._clusters = np.unique(study.clusters, return_inverse=True)[1]

    @cached_property
    def _left(self) -> np.ndarray:
        """Return (n, p) what is left of the scores in each slice of the target, along which they may rise inside it."""
        y = _centred(self._target[:, None], self._slices)
        left = _centred(self._z, self._slices)
        if self._kind != "continuous":
            return left
        count = int(self._slices.max()) + 1
        spread = np.bincount(self._slices, weights=y[:, 0] ** 2, minlength=count)
        pulls = np.column_stack(
            [np.bincount(self._slices, weights=part * y[:, 0], minlength=count) for part in left.T]
        )
        slopes = pulls / np.where(spread > _NOTHING, spread, 1.0)[:, None]
        return np.asarray(left - slopes[self._slices] * y)

    @property
    def _taken(self) -> int:
        """Return how many means and slopes the slices took."""
        return (int(self._slices.max()) + 1) * (2 if self._kind == "continuous" else 1)

    def p_blind(self, one: int, other: int) -> float:
        """Return the p-value of the tie of two columns."""
        return self._p(self._tie(self._z[:, one], self._z[:, other]))

    def p_known(self, one: int, other: int) -> float:
        """Return the same once the target is known."""
        return self._p(self._tie(self._left[:, one], self._left[:, other], taken=self._taken))

    def acts(self, column: int, others: Sequence[int]) -> bool:
        """Return whether a column shows itself a cause beside another one, or beside all others together."""
        if self._kind == "classes":
            return self._is_bound(column, others)
        told = [other for other in others if self._goes(other)]
        if not told or not self._goes(column):
            return False
        each = self._left[:, told] * [_rho(self._z[:, other], self._target) for other in told]
        asked = np.column_stack([each, each.sum(axis=1)])
        along = np.sign(_rho(self._z[:, column], self._target)) * self._left[:, column]
        away = max(-self._tie(along, part, taken=self._taken) for part in asked.T)
        return bool(stats.t.sf(away, self._free) < SURE_TIED / asked.shape[1])

    def _is_bound(self, column: int, others: Sequence[int]) -> bool:
        """Return whether a column is independent of another, and bound to it once the class is known.

        Classes have no order, so that it takes this to see that two explain each other away.
        """
        limit = SURE_TIED / max(1, len(others))
        return any(
            self.p_known(column, other) < limit and self.p_blind(column, other) > APART for other in others
        )

    def _goes(self, column: int) -> bool:
        """Return whether a column surely goes with the target."""
        return self._p(self._tie(self._z[:, column], self._target)) < SURE_TIED

    @property
    def _free(self) -> int:
        return max(1, int(self._clusters.max()))

    def _p(self, tie: float) -> float:
        return float(2 * stats.t.sf(abs(tie), self._free))

    def _tie(self, one: np.ndarray, other: np.ndarray, *, taken: int = 1) -> float:
        """Return how many of its errors the covariance of two columns is from none; taken: what was fitted before.

        Source of the error: Liang & Zeger 1986, Biometrika 73.
        """
        told = np.bincount(self._clusters, weights=(one - one.mean()) * (other - other.mean()))
        error = float(np.sqrt((told**2).sum()))
        left = max(0.0, 1 - taken / len(one))
        return float(told.sum() / error * np.sqrt(left)) if error > _NOTHING else 0.0


def _slices(study: Study) -> np.ndarray:
    if study.target.kind != "continuous":
        return np.asarray(study.target.values, dtype="int64")
    ranks = stats.rankdata(study.target.values)
    count = int(np.clip(len(ranks) // _FEWEST_OF_SLICE, 1, _SLICES))
    return np.asarray(np.minimum((ranks - 1) * count // len(ranks), count - 1), dtype="int64")


def _centred(columns: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return columns (n, m) less their mean over the rows of equal code."""
    counts = np.maximum(np.bincount(codes), 1)
    means = [np.bincount(codes, weights=column) / counts for column in columns.T]
    return np.asarray(columns - np.column_stack(means)[codes])


def _rho(one: np.ndarray, other: np.ndarray) -> float:
    a, b = one - one.mean(), other - other.mean()
    spread = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum() / spread) if spread > _NOTHING else 0.0
