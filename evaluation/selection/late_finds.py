"""Columns that the tests did not choose and trees do clearly better with: what interplays, or bends too much."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.selection import boosting
from evaluation.selection.search import search
from evaluation.selection.study import Study

CERTAIN = 0.01  # p-value against probes, shared among the columns, from which a column need not be missed
MOST_SUSPECTS = 20  # the strongest
MOST_FOUND = 10
CLEAR_GAIN = 3.0  # standard deviations over the draws, which share most of their rows
GAIN_OF_MISSED = (
    1.0  # the same, where trees of all columns show that something is missed; also of what they show
)


@dataclass(frozen=True)
class Suspects:
    """columns: candidates, with their p_values against probes and their strength, both in that order."""

    columns: Sequence[int]
    p_values: np.ndarray
    strength: np.ndarray

    def strongest(self, chosen: Sequence[int]) -> list[int]:
        """Return MOST_SUSPECTS of those not chosen, the strongest first."""
        order = [self.columns[place] for place in np.argsort(-self.strength, kind="stable")]
        return [column for column in order if column not in chosen][:MOST_SUSPECTS]

    def sure(self, column: int) -> bool:
        """Return whether a column is stronger than probes."""
        return bool(self.p_values[list(self.columns).index(column)] * len(self.columns) < CERTAIN)


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

    The one that tells most beside the chosen is asked first. It is found if it is stronger than probes and raises the
    skill of trees in each draw of rows by clearly more than the draws differ; or, where something is missed, as trees of
    all columns do better than those of the chosen in each draw, if it raises the skill by more than the draws differ.
    The first that is not found ends the search. Each is given with the share of draws in which it raises the skill.
    """
    found, left = dict[int, float](), suspects.strongest(chosen)
    if not left:
        return found
    searched, drawn = search(study, trees), _Draws([study.rows(rows) for rows in draws], trees)
    everything, now = drawn.skills(suspects.columns), drawn.skills(chosen)
    while left and len(found) < MOST_FOUND:
        best, _ = searched.best([*chosen, *found], left)
        then = drawn.skills([*chosen, *found, best])
        missed = _clear(everything - now, GAIN_OF_MISSED) and _exceeds(then - now, GAIN_OF_MISSED)
        if not missed and not (suspects.sure(best) and _clear(then - now, CLEAR_GAIN)):
            return found
        found[best] = float((then > now).mean())
        left.remove(best)
        now = then
    return found


def _clear(gains: np.ndarray, spreads: float) -> bool:
    return bool(gains.min() > 0) and _exceeds(gains, spreads)


def _exceeds(gains: np.ndarray, spreads: float) -> bool:
    return bool(gains.mean() > spreads * gains.std(ddof=1))
