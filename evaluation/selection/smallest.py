"""How few of the selected suffice: the score against their number, with the order made anew inside each fold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from evaluation.selection import boosting, groups
from evaluation.selection.expert import Experts
from evaluation.selection.ranks import Scores
from evaluation.selection.screening import Screen
from evaluation.selection.search import search
from evaluation.selection.study import Study

FOLDS = 5
NO_LOSS = 0.01  # of the best score, which is not worth another column to measure, however sure it is
SMALL = 3  # more than one in so many of the columns is no small set, and
WORTH_OF_SMALL = 0.03  # of the best score is given for one that is
RANKED_ROWS = 1000  # whose SHAP values rank the columns
SUSPECTS = 5  # of the strongest of a fold, for each column that the tests missed


@dataclass(frozen=True)
class Ballot:
    """From what a fold selects for itself, how it elects who stands for a group, and how its trees are grown.

    late: how many columns the tests missed and trees found.
    """

    columns: tuple[int, ...]
    likeness: groups.Likeness
    experts: Experts
    trees: boosting.Trees
    late: int = 0


@dataclass(frozen=True)
class Curve:
    """scores: (folds, K + 1), of the best 0 ... K columns as each fold's own rows rank them; whole: (folds,) of all.

    order: all selected columns, the best first, as all rows rank them. enough: how many suffice. within: how many lose
    no more than one standard error or NO_LOSS; more than suffice where these are too many for a small set.
    """

    order: tuple[int, ...]
    scores: np.ndarray
    whole: np.ndarray
    enough: int
    within: int


def curve(study: Study, scores: Scores, ballot: Ballot, selected: Sequence[int]) -> Curve:
    """Return the curve: each fold selects, elects and orders for itself, and is judged on others' rows.

    selected: what tells most alone first.
    """
    trees = ballot.trees
    cut = boosting.folds(study, count=FOLDS, seed=trees.seed)
    told, whole = [], []
    for learn, judge in tqdm(cut, desc="score against number", delay=2, disable=None, leave=False):
        ranked = order(study, _candidates(study, scores, ballot, learn, len(selected)), learn, trees)
        counts = range(len(selected) + 1)
        told.append([_told(study, ranked[:count], (learn, judge), trees) for count in counts])
        whole.append(_told(study, list(ballot.columns), (learn, judge), trees)[0])
    held, skills = np.array(told).transpose(2, 0, 1)
    best_first = tuple(order(study, selected, np.arange(len(study.X)), trees))
    several = skills if study.target.kind == "classes" else None
    suffice = enough(held, columns=len(ballot.columns), skills=several)
    return Curve(best_first, held, np.array(whole), suffice, within(held, several))


def enough(scores: np.ndarray, *, columns: int, skills: np.ndarray | None = None) -> int:
    """Return the smallest number of columns, one at least, that loses no more than one standard error, or NO_LOSS.

    scores: (folds, K + 1). skills: the same of several classes, of which no more may be lost either: 25 types are told
    each from all others long before they are told from each other. Where that is more than one in SMALL of `columns`,
    all that can be used, so many are taken if they lose no more than WORTH_OF_SMALL of the best score.
    """
    needed, few, mean = within(scores, skills), columns // SMALL, scores.mean(axis=0)
    if 0 < few < needed and mean.max() - mean[few] <= WORTH_OF_SMALL * abs(mean.max()):
        return few
    return needed


def within(scores: np.ndarray, skills: np.ndarray | None = None) -> int:
    """Return the smallest number of columns, one at least, that loses no more of either than one error, or NO_LOSS."""
    smallest = max(_suffice(one) for one in (scores, skills) if one is not None)
    return int(max(smallest, min(1, scores.shape[1] - 1)))


def _suffice(scores: np.ndarray) -> int:
    """Return the smallest number whose loss is that of no more than one standard error, or NO_LOSS.

    The loss is that of each fold beside the best number in the same fold, as a hard fold is hard for all numbers.
    Source: Breiman et al. 1984, Classification and Regression Trees, section 3.4.3.
    """
    mean = scores.mean(axis=0)
    best = int(mean.argmax())
    loss = scores[:, [best]] - scores
    error = loss.std(axis=0, ddof=1) / np.sqrt(len(scores))
    allowed = np.maximum(error, NO_LOSS * abs(mean[best]))
    return int(np.flatnonzero(loss.mean(axis=0) <= allowed)[0])


def order(study: Study, preferred: Sequence[int], rows: np.ndarray, trees: boosting.Trees) -> list[int]:
    """Return the columns, the best first: each tells most beside those before it; then those that add nothing.

    preferred: the columns; of those that tell as much as each other the first is taken.
    """
    try:
        searched = search(study.rows(rows), trees)
    except ValueError:  # the groups of these rows are too few to judge on
        return eliminate(study, preferred, rows, trees)
    first = searched.order(preferred)
    return [*first, *eliminate(study, [one for one in preferred if one not in first], rows, trees)]


def eliminate(study: Study, columns: Sequence[int], rows: np.ndarray, trees: boosting.Trees) -> list[int]:
    """Return the columns, the best first: the quarter that moves trees least is taken out, again and again.

    Classes count alike, as they do in the score, be they rare or common: a column is judged by how it moves each class
    on the rows of that class.
    """
    left, gone = list(columns), list[int]()
    while len(left) > 1:
        moved = _moved(study, left, rows, trees)
        weakest = np.argsort(moved, kind="stable")[: -(-len(left) // 4)]
        gone += [left[place] for place in weakest]
        left = [column for column in left if column not in gone]
    return [*left, *gone[::-1]]


def _moved(study: Study, columns: Sequence[int], rows: np.ndarray, trees: boosting.Trees) -> np.ndarray:
    """Return (p,): how much each column moves trees of these rows; of classes, each on its own rows."""
    X, shown = study.X[:, list(columns)], _shown(study, rows)
    own = study.target.values[shown].astype("int64") if study.target.kind == "classes" else 0
    shap = boosting.contributions(
        boosting.fit(study, X, rows, trees.of(columns)), X[shown], threads=trees.threads
    )
    return np.asarray(np.abs(shap[np.arange(len(shown)), :, own]).mean(axis=0))


def _shown(study: Study, rows: np.ndarray) -> np.ndarray:
    """Return about RANKED_ROWS of the rows, evenly over them, and as many of each class as of any where it has them."""
    target = study.target
    if target.kind == "continuous":
        return rows[:: max(1, len(rows) // RANKED_ROWS)]
    parts = [rows[target.values[rows] == code] for code in range(len(target.classes))]
    part = max(1, RANKED_ROWS // len(parts))
    return np.sort(np.concatenate([one[:: max(1, len(one) // part)] for one in parts]))


def _candidates(study: Study, scores: Scores, ballot: Ballot, learn: np.ndarray, fewest: int) -> list[int]:
    """Return what these rows alone select and elect, and what moves their trees most, what tells most alone first.

    Of the latter as many as suspects are asked for, or as fill the candidates up to `fewest`.
    """
    own = scores.rows(learn)
    screen = Screen(study.rows(learn), candidates=ballot.columns, scores=own)
    alike = groups.likeness(own, ballot.likeness)
    _, screened = groups.elect(screen, screen.run(), alike, study.names, ballot.experts)
    moved = _moved(study, ballot.columns, learn, ballot.trees)
    strongest = [ballot.columns[place] for place in np.argsort(-moved, kind="stable")]
    others = [column for column in strongest if column not in screened.columns]
    added = others[: max(SUSPECTS * ballot.late, fewest - len(screened.columns))]
    return sorted([*screened.columns, *added], key=lambda one: screened.alone[one])


def _told(
    study: Study, columns: Sequence[int], fold: boosting.Fold, trees: boosting.Trees
) -> tuple[float, float]:
    """Return score and skill of the judged rows of a fold."""
    if not columns:
        return float(boosting.scores(study, columns, [fold], trees)[0]), 0.0
    (said,) = boosting.answers(study, columns, [fold], trees)
    return boosting.judged(study.target, fold[1], said), boosting.skill(study.target, fold[1], said)
