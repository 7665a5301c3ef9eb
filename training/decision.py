"""From probabilities to an answer: the one place where thresholds act, for bulk, REST and report alike."""

import numpy as np
import pandas as pd

from training.artifact import Model

TOP = 3  # how many of the best labels an answer shows


def answer(model: Model, proba: np.ndarray) -> pd.DataFrame:
    """Return one answer per row of calibrated probabilities (n, k), on a RangeIndex.

    label: always the best leaf; family: the family of that label; probability: of the label;
    family_probability: sum over the leaves of that family; unknown: family_probability is below
    thresholds.unknown; level: `family`, or `leaf` for what is not unknown and whose family has no other leaf or
    whose probability is at or above thresholds.leaf; top: list of (label, probability), best first, at most three.
    """
    thresholds = model.manifest.thresholds
    best, probability, family_probability = confidences(proba, model.family_codes[1])
    labels = np.array(model.manifest.classes, dtype=object)
    names, of_class = model.family_codes
    sure = np.inf if thresholds.leaf is None else thresholds.leaf
    unknown = family_probability < thresholds.unknown
    leaf = ~unknown & (~has_twins(best, of_class) | (probability >= sure))
    return pd.DataFrame(
        {
            "label": labels[best],
            "family": names.astype(object)[of_class[best]],
            "level": np.where(leaf, "leaf", "family").astype(object),
            "probability": probability,
            "family_probability": family_probability,
            "unknown": unknown,
            "top": _top(labels, proba),
        }
    )


def confidences(proba: np.ndarray, family_of_class: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return per row the best class, its probability, and that of its family: three arrays (n,).

    proba: (n, k). family_of_class: (k,) number of each class's family.
    """
    best = proba.argmax(axis=1)
    same_family = family_of_class[None, :] == family_of_class[best][:, None]
    family_probability = np.minimum((proba * same_family).sum(axis=1), 1.0)
    return best, proba[np.arange(len(proba)), best], family_probability


def has_twins(best: np.ndarray, family_of_class: np.ndarray) -> np.ndarray:
    """Return whether the family of each best class (n,) has other leaves, with which it may be confused: (n,) bool.

    family_of_class: (k,) number of each class's family.
    """
    return np.asarray(np.bincount(family_of_class)[family_of_class[best]] > 1)


def _top(labels: np.ndarray, proba: np.ndarray) -> list[list[tuple[str, float]]]:
    order = np.argsort(-proba, axis=1, kind="stable")[:, :TOP]
    chances = np.take_along_axis(proba, order, axis=1)
    return [list(zip(labels[row], map(float, p), strict=True)) for row, p in zip(order, chances, strict=True)]
