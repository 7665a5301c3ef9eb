"""What rows outside training set: the temperature of the probabilities, and the thresholds of an answer."""

import numpy as np

from training.artifact import Thresholds
from training.decision import confidences, has_twins
from training.experiment import RejectSettings
from training.weights import tempered

TEMPERATURES = (0.05, 20.0)  # beyond these a model says nothing, or everything
DOUBTED = 0.01  # share of rows whose label may be wrong: a forest gives some true class probability 0


def temperature(proba: np.ndarray, codes: np.ndarray) -> float:
    """Return the temperature under which these probabilities (n, k) explain the true classes (n,) best.

    One row that the model holds impossible does not outweigh all others: each label is doubted a little.
    1.0 without a row. Source: Guo et al. 2017, arXiv:1706.04599.
    """
    from scipy.optimize import minimize_scalar

    if len(proba) == 0:
        return 1.0

    def loss(log_temperature: float) -> float:
        chances = tempered(proba, float(np.exp(log_temperature)))[np.arange(len(codes)), codes]
        return -float(np.log((1 - DOUBTED) * chances + DOUBTED / proba.shape[1]).mean())

    low, high = np.log(TEMPERATURES)
    return float(np.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x))


def thresholds(
    proba: np.ndarray, codes: np.ndarray, *, family_of_class: np.ndarray, settings: RejectSettings, split: str
) -> Thresholds:
    """Return the thresholds that keep what `settings` promises on these rows outside training.

    proba: calibrated, (n, k). codes: (n,) true classes. family_of_class: (k,). split: whose rows these are.
    The leaf threshold is set on answers of a family with several leaves: easy rows would let twins pass.
    """
    best, probability, family_probability = confidences(proba, family_of_class)
    right = best == codes
    unknown = _rejecting(family_probability, settings.false_rejections)
    twins = has_twins(best, family_of_class)
    leaf = _precise(probability[twins], right[twins], settings.leaf_precision)
    sure = twins & (probability >= (np.inf if leaf is None else leaf))
    return Thresholds(
        unknown=unknown,
        leaf=leaf,
        split=split,
        rows=len(proba),
        false_rejections=float((family_probability < unknown).mean()),
        leaf_precision=float(right[sure].mean()) if sure.any() else None,
        leaf_share=float(sure[twins].mean()) if twins.any() else None,
    )


def unset() -> Thresholds:
    """Return the thresholds of a model that no test row has judged: nothing is unknown, no twin is sure."""
    return Thresholds(
        unknown=0.0, leaf=None, split=None, rows=0, false_rejections=0.0, leaf_precision=None, leaf_share=None
    )


def _rejecting(confidence: np.ndarray, share: float) -> float:
    """Return the highest threshold that leaves at most this share of (n,) confidences below it."""
    return float(np.sort(confidence)[int(np.floor(share * len(confidence)))])


def _precise(probability: np.ndarray, right: np.ndarray, precision: float) -> float | None:
    """Return the lowest threshold at or above which this share of rows is right; None where there is none."""
    order = np.argsort(-probability, kind="stable")
    ordered = probability[order]
    kept = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    last_of_ties = np.append(
        ordered[1:] < ordered[:-1], True
    )  # a threshold takes all rows of one probability
    good = np.flatnonzero(last_of_ties & (kept >= precision))
    return float(ordered[good[-1]]) if len(good) else None
