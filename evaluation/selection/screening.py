"""Which columns explain a target beyond the others: conditional tests, forward, over pairs, and backward.

A column stands for itself if it explains what the chosen ones leave over. The test is a score test of the column's
functions in a linear model of the chosen ones (`evidence.py`). The share of false ones among the chosen is held below
a stated rate.
Source: Benjamini & Hochberg 1995, JRSS B 57 (rate).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from evaluation.selection.evidence import Evidence, Left, least_squares, logistic
from evaluation.selection.ranks import Scores, normal_scores, score
from evaluation.selection.rare import few_others, surprise
from evaluation.selection.study import Study

RATE = 0.05  # the share of false columns, and of false pairs, that is accepted
MOST_PAIRS = 20
PAIR_CANDIDATES = 40  # of the largest products, how many are tested with all that they stand on
ONE_THING = 0.7  # columns correlated beyond are no pair: their product is the square of what they share

Pair = tuple[int, int]


@dataclass(frozen=True)
class Screened:
    """chosen: columns in the order in which they entered. pairs: columns whose product matters.

    log_p: (p,) natural logarithm of each column's p-value beside all others that were chosen; a column of a pair has
    the pair's. alone: (p,) the same beside nothing.
    """

    chosen: tuple[int, ...]
    pairs: tuple[Pair, ...]
    log_p: np.ndarray
    alone: np.ndarray

    @property
    def columns(self) -> tuple[int, ...]:
        """Every column that matters, by itself or in a pair."""
        return tuple(dict.fromkeys([*self.chosen, *(column for pair in self.pairs for column in pair)]))


class Screen:
    """The conditional tests on one study; columns outside `candidates` are never chosen."""

    def __init__(self, study: Study, *, candidates: Sequence[int], scores: Scores | None = None) -> None:
        self.scores = score(study.X) if scores is None else scores
        self.candidates = list(candidates)
        self._functions = cache(self.scores.functions)  # each is asked for in every step
        target = study.target
        self._kind = target.kind
        whole = target.kind == "continuous"
        self._responses = normal_scores(target.values)[:, None] if whole else target.responses
        self._evidence = Evidence(study.clusters)
        self._clusters = study.clusters
        self._rare = cache(lambda column: few_others(study.X[:, column]))

    def run(self, *, rate: float = RATE) -> Screened:
        """Return the columns and pairs that matter."""
        nothing = self._left([], [])
        alone = np.zeros(self.scores.z.shape[1])
        for column in self.candidates:
            alone[column] = self.log_p(nothing, column)
        chosen = self._forward([], [], rate)
        pairs = self._pairs(chosen, rate)
        while True:
            chosen = self._backward(self._forward(chosen, pairs, rate), pairs, rate)
            kept = self._products_kept(chosen, pairs, rate)
            if len(kept) == len(pairs):
                return self.judged(Screened(tuple(chosen), tuple(pairs), alone, alone))
            pairs = kept

    def judged(self, screened: Screened) -> Screened:
        """Return the same choice with the p-value of each column beside it, told anew."""
        chosen, pairs = screened.chosen, screened.pairs
        everything = self._left(chosen, pairs)
        told = np.zeros(self.scores.z.shape[1])
        for column in self.candidates:
            told[column] = self.log_p(self._without(everything, chosen, pairs, column), column)
        for pair in pairs:
            product = self.product_beside(chosen, [one for one in pairs if one != pair], pair)
            for column in pair:
                told[column] = min(told[column], product)
        return replace(screened, log_p=told)

    def log_p(self, left: Left, column: int) -> float:
        """Return the logarithm of the p-value of a column beside a fitted model."""
        others = self._rare(column)
        if others is not None:
            return surprise(others, self._clusters, left.residual)
        return self._evidence.of_functions(self._functions(column), left)

    def pull(self, chosen: Sequence[int], pairs: Sequence[Pair], column: int) -> tuple[int, float]:
        """Return the sign of the linear effect of a column beside others, and its log p; of classes, the first's."""
        left = self._left([one for one in chosen if one != column], pairs).first()
        linear = self._functions(column)[:, :1]
        rises = float((left.beside(linear)[:, 0] * left.residual[:, 0]).sum())
        return int(np.sign(rises)), self._evidence.of_functions(linear, left)

    def beside(self, chosen: Sequence[int], pairs: Sequence[Pair], column: int) -> float:
        """Return the logarithm of the p-value of a column beside chosen ones and pairs."""
        return self.log_p(self._left(chosen, pairs), column)

    def product_beside(self, chosen: Sequence[int], pairs: Sequence[Pair], pair: Pair) -> float:
        """Return the logarithm of the p-value of a product beside chosen columns and pairs."""
        return self._product(self._left(chosen, pairs), pair)

    def _forward(self, chosen: list[int], pairs: Sequence[Pair], rate: float) -> list[int]:
        chosen = list(chosen)
        while left := [column for column in self.candidates if column not in chosen]:
            model = self._left(chosen, pairs)
            told = [self.log_p(model, column) for column in left]
            best = int(np.argmin(told))
            if told[best] > np.log(rate * (len(chosen) + 1) / len(self.candidates)):
                break
            chosen.append(left[best])
        return chosen

    def _backward(self, chosen: list[int], pairs: Sequence[Pair], rate: float) -> list[int]:
        chosen = list(chosen)
        while chosen:
            everything = self._left(chosen, pairs)
            told = [self.log_p(self._without(everything, chosen, pairs, one), one) for one in chosen]
            worst = int(np.argmax(told))
            if told[worst] <= np.log(rate * len(chosen) / len(self.candidates)):
                break
            chosen.pop(worst)
        return chosen

    def _pairs(self, chosen: Sequence[int], rate: float) -> list[Pair]:
        found: list[Pair] = []
        while len(found) < MOST_PAIRS:
            told = self._products(self._left(chosen, found), set(found))
            if not told or min(told)[0] > self._limit(len(found) + 1, rate):
                break
            found.append(min(told)[1])
        return found

    def _products_kept(self, chosen: Sequence[int], pairs: list[Pair], rate: float) -> list[Pair]:
        """Return the pairs without the weakest, where columns chosen since explain what its product did."""
        told = [self.product_beside(chosen, [one for one in pairs if one != pair], pair) for pair in pairs]
        if not told or max(told) <= self._limit(len(pairs), rate):
            return pairs
        return [pair for place, pair in enumerate(pairs) if place != int(np.argmax(told))]

    def _limit(self, found: int, rate: float) -> float:
        """Return the log p that the last of so many pairs must reach."""
        return float(np.log(rate * found / max(1.0, len(self.candidates) * (len(self.candidates) - 1) / 2)))

    def _products(self, left: Left, known: set[Pair]) -> list[tuple[float, Pair]]:
        """Return (log p, pair) of the products that look largest."""
        columns = np.array(self.candidates)
        z = self.scores.z[:, columns]
        largest = np.zeros((len(columns), len(columns)))
        for residual in left.residual.T:
            pull = residual * left.root[:, 0]
            spread = (z**2 * (pull**2)[:, None]).T @ z**2
            largest = np.maximum(largest, (z.T @ (z * pull[:, None])) ** 2 / np.maximum(spread, 1e-12))
        apart = np.abs(self.scores.rho[np.ix_(columns, columns)]) < ONE_THING
        one, other = np.nonzero(np.triu(apart, 1))
        order = np.argsort(-largest[one, other], kind="stable")
        ranked = [
            (int(columns[one[place]]), int(columns[other[place]]))
            for place in order[: PAIR_CANDIDATES + len(known)]
        ]
        return [(self._product(left, pair), pair) for pair in ranked if pair not in known]

    def _product(self, left: Left, pair: Pair) -> float:
        one, other = (self.scores.z[:, column] for column in pair)
        return self._evidence.of_product(one, other, left)

    def _left(self, chosen: Sequence[int], pairs: Sequence[Pair]) -> Left:
        design = self._design(chosen, pairs)
        if self._kind == "binary":
            return logistic(design, self._responses[:, 0])
        return least_squares(design, self._responses)

    def _without(self, everything: Left, chosen: Sequence[int], pairs: Sequence[Pair], column: int) -> Left:
        """Return what the model of `everything` leaves over without a column, itself where the column is not in it."""
        if column not in chosen:
            return everything
        others = [one for one in chosen if one != column]
        if everything.R is None or any(column in pair for pair in pairs):
            return self._left(others, pairs)
        start = 1 + sum(self._functions(one).shape[1] for one in chosen[: chosen.index(column)])
        width = self._functions(column).shape[1]
        return everything.without(range(start, start + width), self._responses)

    def _design(self, chosen: Sequence[int], pairs: Sequence[Pair]) -> np.ndarray:
        z = self.scores.z
        parts = [np.ones((len(z), 1)), *(self._functions(column) for column in chosen)]
        single = dict.fromkeys(column for pair in pairs for column in pair if column not in set(chosen))
        parts += [z[:, [column]] for column in single]
        parts += [(z[:, one] * z[:, other])[:, None] for one, other in pairs]
        return np.column_stack(parts)
