"""A small torch network under the same cross-validation as the trees: what each column moves in it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from evaluation.importance import expected_gradients
from evaluation.selection import boosting
from evaluation.selection.ranks import normal_scores
from evaluation.selection.study import Study
from training import network
from training.experiment import NetworkSettings
from training.weights import softmax

if TYPE_CHECKING:
    import torch

EPOCHS = (4, 8, 16, 32)  # tried; what is best on judged rows is taken
MOST_STEPS = 8000  # of a descent: a larger table is passed fewer times, once at least
EXPLAINED = 400  # rows of a fold, of several classes fewer: shap walks row by row, and anew for each class
SAMPLES = 50  # gradients for each row and class
BACKGROUND_ROWS = 500
SETTINGS = NetworkSettings(hidden=(64,), batch_size=128, learning_rate=2e-3, dropout=0.3, weight_decay=1.0)


@dataclass(frozen=True)
class Layers:
    """How a network is learnt."""

    epochs: int = max(EPOCHS)
    seed: int = 0


@dataclass(frozen=True)
class Inputs:
    """What a network sees of rows: normal scores, so that units and heavy tails do not count, as in the screening.

    knots: of each column its known values, ascending, and their normal scores. gaps: (g,) columns that missed some.
    """

    knots: tuple[tuple[np.ndarray, np.ndarray], ...]
    gaps: np.ndarray

    def of(self, X: np.ndarray) -> np.ndarray:
        """Return (n, p + g): scores among the rows learnt from, 0 where missing, and marks of what is missing."""
        missing = np.isnan(X)
        scores = [np.interp(column, *known) for column, known in zip(X.T, self.knots, strict=True)]
        return np.column_stack([np.where(missing, 0.0, np.column_stack(scores)), missing[:, self.gaps]])


@dataclass(frozen=True)
class Learnt:
    """A network that gives a raw score (n, k), k = 1 but for more than two classes.

    The score is the log odds of two classes; of more the logits less their mean, which no probability knows; of a
    continuous target how many `spread`s it is above `center`. background: (b, p + g) inputs learnt from.
    """

    module: "torch.nn.Sequential"
    inputs: Inputs
    background: np.ndarray
    center: float = 0.0
    spread: float = 1.0

    def score(self, X: np.ndarray) -> np.ndarray:
        """Return the raw score (n, k) of rows, of a continuous target in the unit of its label."""
        import torch

        with network.reproducible(seed=0), torch.no_grad():
            told = self.module(torch.from_numpy(self.inputs.of(X)).float()).numpy()
        return np.asarray(told * self.spread + self.center, dtype="float64")

    def contributions(self, X: np.ndarray, *, seed: int) -> np.ndarray:
        """Return SHAP values (n, p, k) of the raw score; what a missing mark does counts for its column."""
        with network.reproducible(seed):
            told = expected_gradients(
                self.module, self.inputs.of(X), background=self.background, samples=SAMPLES, seed=seed
            )
        values = told[:, : X.shape[1]]
        values[:, self.inputs.gaps] += told[:, X.shape[1] :]
        return values * self.spread


def fit(study: Study, X: np.ndarray, places: np.ndarray, layers: Layers) -> Learnt:
    """Return a network learnt from the rows at `places` of X (n, p), NaN where missing."""
    number = study.target.kind == "continuous"
    label = boosting.label(study.target)[places]
    center, spread = (float(label.mean()), float(label.std()) or 1.0) if number else (0.0, 1.0)
    rows = X[places]
    missing = np.isnan(rows)
    gaps = np.flatnonzero(missing.any(axis=0) & ~missing.all(axis=0))  # of a constant mark nothing is learnt
    inputs = Inputs(tuple(_knots(column) for column in rows.T), gaps)
    seen = inputs.of(rows)
    epochs = min(layers.epochs, max(1, MOST_STEPS * SETTINGS.batch_size // len(rows)))
    module = network.learn(
        seen,
        (label - center) / spread,
        outputs=1 if number else len(study.target.classes),
        settings=SETTINGS.model_copy(update={"epochs": epochs}),
        seed=layers.seed,
    )
    some = np.random.default_rng(layers.seed).permutation(len(seen))[:BACKGROUND_ROWS]
    return Learnt(_identified(module), inputs, seen[some], center, spread)


def epochs(study: Study, X: np.ndarray, cut: Sequence[boosting.Fold], layers: Layers) -> int:
    """Return which of EPOCHS gives the best mean score on judged rows."""
    told = []
    for count in EPOCHS:
        tried = replace(layers, epochs=count)
        fitted = [(fit(study, X, learn, tried), judge) for learn, judge in cut]
        told.append(np.mean([_judged(study, one.score(X[judge]), judge) for one, judge in fitted]))
    return EPOCHS[int(np.argmax(told))]


def explained(
    study: Study, X: np.ndarray, fold: boosting.Fold, layers: Layers
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return SHAP values (m, p, k) of some judged rows of X, the places of these, and the score of all judged rows."""
    learn, judge = fold
    learnt = fit(study, X, learn, layers)
    raw = learnt.score(X[judge])
    most = -(-EXPLAINED // raw.shape[1])
    some = np.sort(np.random.default_rng(layers.seed).permutation(judge)[:most])
    told = learnt.contributions(X[some], seed=layers.seed) * boosting.unit(study.target)
    return told, some, _judged(study, raw, judge)


def _judged(study: Study, raw: np.ndarray, judge: np.ndarray) -> float:
    said = raw[:, 0] if raw.shape[1] == 1 else softmax(raw)
    return boosting.judged(study.target, judge, said)


def _knots(column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of a column that are there, each once, ascending, and their normal scores."""
    there = column[~np.isnan(column)]
    if not len(there):
        return np.zeros(1), np.zeros(1)
    values, first = np.unique(there, return_index=True)
    return values, normal_scores(there)[first]


def _identified(module: "torch.nn.Sequential") -> "torch.nn.Sequential":
    """Return the layers with a last one that gives log odds of two classes, of more the logits less their mean.

    Two logits and any number added to both say the same: contributions to that number would be of nothing.
    """
    import torch

    last = module[-1]
    if not isinstance(last, torch.nn.Linear) or last.out_features == 1:
        return module
    weight, bias = last.weight.detach(), last.bias.detach()
    if last.out_features == 2:
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    told = torch.nn.Linear(last.in_features, len(weight))
    with torch.no_grad():
        told.weight.copy_(weight - weight.mean(dim=0) if len(weight) > 1 else weight)
        told.bias.copy_(bias - bias.mean() if len(bias) > 1 else bias)
    return torch.nn.Sequential(*list(module)[:-1], told).eval()
