"""Which few columns tell most together: a forward search by the skill of small trees on rows held out from them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from evaluation.selection import boosting
from evaluation.selection.row_cap import capped
from evaluation.selection.study import Study

FOLDS = 3
ROWS = 4000  # that are searched on
ROUNDS, LEARNING_RATE, BINS = (
    12,
    0.3,
    63,
)  # of 40 rounds at 0.1 and 255 a sixth of the time, and as good an order
IDLE = 2  # columns one after another that raise the skill of no set before them; the others then are not searched


@dataclass(frozen=True)
class Search:
    """Some rows, cut into folds, and how trees are grown on them."""

    study: Study
    cut: Sequence[boosting.Fold]
    trees: boosting.Trees

    def skills(self, columns: Sequence[int]) -> np.ndarray:
        """Return the skill of each fold for trees on these columns."""
        return boosting.skills(self.study, columns, self.cut, self.trees)

    def best(self, chosen: Sequence[int], pool: Sequence[int]) -> tuple[int, float]:
        """Return the column of the pool that tells most beside the chosen, and the mean skill with it.

        Where rows hang together in groups, the first of the pool is taken of the columns that are not worse than the
        best by more than the standard error over the folds: what the groups at hand prefer does not hold in others.
        """
        skills = np.array([self.skills([*chosen, column]) for column in pool])
        behind = skills[int(skills.mean(axis=1).argmax())] - skills
        grouped = len(self.cut) > 1 and len(np.unique(self.study.clusters)) < len(self.study.X)
        error = behind.std(axis=1, ddof=1) / np.sqrt(len(self.cut)) if grouped else np.zeros(len(pool))
        first = int(np.flatnonzero(behind.mean(axis=1) <= error)[0])
        return pool[first], float(skills[first].mean())

    def order(self, pool: Sequence[int]) -> list[int]:
        """Return columns of the pool, each the best beside those before it, until IDLE of them raised nothing."""
        chosen, left = list[int](), list(pool)
        highest, idle = 0.0, 0
        while left and idle < IDLE:
            column, skill = self.best(chosen, left)
            chosen.append(column)
            left.remove(column)
            highest, idle = max(highest, skill), 0 if skill > highest else idle + 1
        return chosen


def search(study: Study, trees: boosting.Trees) -> Search:
    """Return a search on the rows of a study, on ROWS of them at most.

    trees: their seed, directions and threads. Raises ValueError where the groups are too few to judge on.
    """
    part = study.rows(capped(study, rows=ROWS, seed=trees.seed))
    small = replace(trees, rounds=ROUNDS, learning_rate=LEARNING_RATE, bins=BINS)
    return Search(part, boosting.folds(part, count=FOLDS, seed=trees.seed), small)
