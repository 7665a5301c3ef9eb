"""What a fitted model leaves over, and how surely functions of a column explain some of it.

The tests are score tests in a linear model (logistic for two classes; for more, one of each class's 0 and 1), with a
variance that rows of one cluster share and that unequal spread does not deceive. Of several classes three questions
are asked of a column: does it tell some class by its linear function, by all its functions, and does it tell the
classes apart at all. The last one sums what each class shows: with its own variance no class can show more than it has
clusters, and of dozens of classes each has few.
Source: Liang & Zeger 1986, Biometrika 73 (variance).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from evaluation.selection.tails import log_f_tail

_LEFT_OVER = 1e-3  # share of its variance that a column must keep beside the others
_PRODUCT_LEFT_OVER = 1e-2
_STEPS, _CLIP, _CLOSE = 15, 15.0, 1e-3  # of iteratively reweighted least squares
_RIDGE = 1e-6
_SINGULAR = 1e-12  # of the eigenvalues of squares, relative


@dataclass(frozen=True)
class Left:
    """What a fitted model leaves over of r responses: Q (n, q) orthonormal, residuals and weights of its rows."""

    Q: np.ndarray
    residual: np.ndarray  # (n, r), each of variance about 1
    root: np.ndarray  # (n, 1), square root of the weight of a row
    linear: np.ndarray  # (n, r), what the model says on the scale of the link
    R: np.ndarray | None = None  # (q, q) of a linear model: its design is QR
    free: np.ndarray | None = None  # (n, e) orthonormal, in Q but not of the model

    def beside(self, functions: np.ndarray) -> np.ndarray:
        """Return what of functions (n, d) the model does not have already."""
        weighted = functions * self.root
        told = weighted - self.Q @ (self.Q.T @ weighted)
        return np.asarray(told if self.free is None else told + self.free @ (self.free.T @ weighted))

    @property
    def size(self) -> int:
        """Return how many columns the model has."""
        return int(self.Q.shape[1] - (0 if self.free is None else self.free.shape[1]))

    def first(self) -> "Left":
        """Return what is left over of the first response."""
        return replace(self, residual=self.residual[:, :1], linear=self.linear[:, :1])

    def without(self, places: Sequence[int], responses: np.ndarray) -> "Left":
        """Return what a linear model leaves over without some columns of its design, with no new fit of all others."""
        if self.R is None:
            raise ValueError(
                "only a linear model is told without some of its columns; fit a logistic one anew"
            )
        rest = np.delete(self.R, places, axis=1)
        basis, _ = np.linalg.qr(rest, mode="complete")
        free = self.Q @ basis[:, rest.shape[1] :]
        linear = self.linear - free @ (free.T @ self.linear)
        return Left(self.Q, _standard(responses - linear), self.root, linear, free=free)

    @cached_property
    def bends(self) -> np.ndarray:
        """Return (r, n, 2): the square and the cube of what the model says, beside the model."""
        centred = self.linear - self.linear.mean(axis=0)
        both = self.beside(np.column_stack([centred**2, centred**3]))
        return np.stack([both[:, : centred.shape[1]].T, both[:, centred.shape[1] :].T], axis=2)


class Evidence:
    """The tests; rows of one cluster are one witness."""

    def __init__(self, clusters: np.ndarray) -> None:
        order = np.argsort(clusters, kind="stable")
        _, starts = np.unique(clusters[order], return_index=True)
        self._order, self._starts = order, None if len(starts) == len(clusters) else starts

    def of_functions(self, functions: np.ndarray, left: Left) -> float:
        """Return log p of the best of the tests of functions (n, d), the linear one first; 0 without a function."""
        if not functions.shape[1]:
            return 0.0
        beside = left.beside(functions)
        kept = (beside**2).mean(axis=0) > _LEFT_OVER * (left.root**2).mean()
        if not kept[0]:
            return 0.0
        pulls = self._pulls(beside[:, kept], left.residual)
        told = [*_each(pulls[:, :1], left.size)]
        told += [*_each(pulls, left.size)] if functions.shape[1] > 1 else []
        if len(pulls) > 1:  # what the classes say adds up to nothing, so one is told by the others
            told += [*_each(pulls[None, :-1, 0], left.size)]
        return float(min(0.0, min(told) + np.log(len(told))))

    def of_product(self, one: np.ndarray, other: np.ndarray, left: Left) -> float:
        """Return log p of a product beside the model, its own two columns, and the bend that the whole has."""
        beside = left.beside(np.column_stack([one, other, one * other]))
        told = []
        for bends, residual in zip(left.bends, left.residual.T, strict=True):
            stand_on = np.column_stack([beside[:, :2], bends])
            squares = np.linalg.pinv(stand_on.T @ stand_on, rcond=_SINGULAR, hermitian=True)
            product = beside[:, 2] - stand_on @ (squares @ (stand_on.T @ beside[:, 2]))
            if (product**2).mean() <= _PRODUCT_LEFT_OVER * (left.root**2).mean():
                told.append(0.0)
                continue
            told += [*_each(self._pulls(product[:, None], residual[:, None]), left.size)]
        return float(min(0.0, min(told) + np.log(len(told))))

    def _pulls(self, beside: np.ndarray, residual: np.ndarray) -> np.ndarray:
        """Return (r, d, c): what each cluster says for each function and response."""
        if self._starts is None:
            return np.asarray(residual.T[:, None, :] * beside.T[None, :, :])
        sorted_beside, sorted_residual = (
            np.ascontiguousarray(part[self._order].T) for part in (beside, residual)
        )
        pulls = sorted_residual[:, None, :] * sorted_beside[None, :, :]
        return np.asarray(np.add.reduceat(pulls, self._starts, axis=2))


def _each(pulls: np.ndarray, size: int) -> np.ndarray:
    """Return (r,) log p that each response's pulls (r, d, c) are none, d degrees of freedom each.

    size: columns of the fitted model. What it took from the residuals is missing in their variance.
    """
    _, freedom, clusters = pulls.shape
    count = clusters - (size - 1)
    if count <= 2 * freedom:
        return np.zeros(len(pulls))
    total = pulls.sum(axis=2)
    inverse = np.linalg.pinv(pulls @ pulls.transpose(0, 2, 1), rcond=_SINGULAR, hermitian=True)
    statistic = np.einsum("rd,rde,re->r", total, inverse, total)
    statistic *= count / clusters
    return log_f_tail(statistic * (count - freedom) / (count * freedom), freedom, count - freedom)


def least_squares(design: np.ndarray, responses: np.ndarray) -> Left:
    """Fit responses (n, r) by one linear model of design (n, q)."""
    Q, R = np.linalg.qr(design)
    said = Q @ (Q.T @ responses)
    return Left(Q, _standard(responses - said), np.ones((len(design), 1)), said, R)


def logistic(design: np.ndarray, response: np.ndarray) -> Left:
    """Fit a logistic model by iteratively reweighted least squares; a ridge keeps separated classes finite."""
    share = np.clip(response.mean(), 1e-6, 1 - 1e-6)
    weights = np.zeros(design.shape[1])
    weights[0] = np.log(share / (1 - share))
    ridge = _RIDGE * len(response) * np.eye(design.shape[1])
    for _ in range(_STEPS):
        probability, spread = _said(design @ weights)
        step = np.linalg.solve(
            (design * spread[:, None]).T @ design + ridge,
            design.T @ (response - probability) - ridge @ weights,
        )
        weights += step
        if np.abs(design @ step).max() < _CLOSE:
            break
    linear = design @ weights
    probability, spread = _said(linear)
    root = np.sqrt(spread)[:, None]
    Q, _ = np.linalg.qr(design * root)
    return Left(Q, (response - probability)[:, None] / root, root, linear[:, None])


def _standard(residual: np.ndarray) -> np.ndarray:
    return np.asarray(residual / np.maximum(residual.std(axis=0), 1e-12))


def _said(linear: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    probability = 1 / (1 + np.exp(-np.clip(linear, -_CLIP, _CLIP)))
    return probability, np.maximum(probability * (1 - probability), 1e-4)
