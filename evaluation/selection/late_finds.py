"""Columns that the tests did not choose and trees do clearly better with: what interplays, or bends too much."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.selection import boosting, groups
from evaluation.selection.search import search
from evaluation.selection.study import Study

CERTAIN = 0.01  # p-value against probes, shared among the columns, of a suspect
COPY = (
    0.9  # likeness from which a column is a chosen one measured twice, and adds only where that has no value
)
MOST_SUSPECTS = 20  # the strongest
MOST_FOUND = 10
CLEAR_GAIN = 3.0  # standard deviations over the draws, which share most of their rows
GAIN_OF_MISSED = 1.0  # the same, of what all columns gain and of what one gains, where something is missed


@dataclass(frozen=True)
class Suspects:
    """columns: candidates, with their p_values against probes and their strength, both in that order.

    alike: (p, p) likeness of all columns of the table.
    """

    columns: Sequence[int]
    p_values: np.ndarray
    strength: np.ndarray
    alike: np.ndarray

    def strongest(self, chosen: Sequence[int]) -> list[int]:
        """Return MOST_SUSPECTS of those stronger than probes and no copies of a chosen one, the strongest first."""
        sure = self.p_values * len(self.columns) < CERTAIN
        order = [self.columns[place] for place in np.argsort(-self.strength, kind="stable") if sure[place]]
        return [column for column in order if self.likest(column, chosen) < COPY][:MOST_SUSPECTS]

    def likest(self, column: int, chosen: Sequence[int]) -> float:
        """Return how like a column is to the likest of the chosen."""
        return float(self.alike[column, list(chosen)].max(initial=0.0))


@dataclass(frozen=True)
class _Draws:
    """The draws of rows of a study, each with its folds."""

    parts: Sequence[Study]
    trees: boosting.Trees

    def skills(self, columns: Sequence[int]) -> np.ndarray:
        """Return (draws,) the mean skill of trees on these columns."""
        told = []
        for part in self.parts:
            cut = boosting.folds(part, count=boosting.FOLDS, seed=self.trees.seed)
            told.append(boosting.skills(part, columns, cut, self.trees).mean())
        return np.array(told)


def find(
    study: Study,
    chosen: Sequence[int],
    suspects: Suspects,
    *,
    draws: Sequence[np.ndarray],
    trees: boosting.Trees,
) -> dict[int, float]:
    """Return the suspects that trees do clearly better with, each beside the chosen and those found before it.

    The one that tells most beside the chosen is asked first. It is found if it is of no chosen one's group and raises
    the skill of trees in each draw of rows by clearly more than the draws differ; or, where something is missed, as
    trees of all columns do better than those of the chosen in each draw, if it raises the skill by more than the draws
    differ. The first that is not found ends the search. Each is given with the share of draws that it helps.
    """
    found, left = dict[int, float](), suspects.strongest(chosen)
    if not left:
        return found
    searched, drawn = search(study, trees), _Draws([study.rows(rows) for rows in draws], trees)
    everything, now = drawn.skills(suspects.columns), drawn.skills(chosen)
    while left and len(found) < MOST_FOUND:
        so_far = [*chosen, *found]
        best, _ = searched.best(so_far, left)
        then = drawn.skills([*so_far, best])
        missed = _clear(everything - now, GAIN_OF_MISSED) and _exceeds(then - now, GAIN_OF_MISSED)
        apart = suspects.likest(best, so_far) < groups.ALIKE
        if not missed and not (apart and _clear(then - now, CLEAR_GAIN)):
            return found
        found[best] = float((then > now).mean())
        left = [column for column in left if suspects.likest(column, [best]) < COPY]
        now = then
    return found


def _clear(gains: np.ndarray, spreads: float) -> bool:
    return bool(gains.min() > 0) and _exceeds(gains, spreads)


def _exceeds(gains: np.ndarray, spreads: float) -> bool:
    return bool(gains.mean() > spreads * gains.std(ddof=1))
