"""Fit LightGBM: the model for tables, small ones too."""

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from training.artifact import InputFeature
from training.experiment import TreeSettings
from training.weights import Trees


def fit(
    X: np.ndarray,
    codes: np.ndarray,
    *,
    features: Sequence[InputFeature],
    settings: TreeSettings,
    seed: int,
) -> Trees:
    """Return trees that tell the classes 0..k-1 apart; the same input and seed give the same text.

    X: float64 (n, f), NaN where missing. codes: (n,), every class 0..k-1 present, k >= 2.
    """
    import lightgbm

    params = settings.model_dump(exclude={"rounds", "class_weight"}) | {
        "objective": "multiclass",
        "num_class": int(codes.max()) + 1,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,  # else LightGBM times both layouts and may choose another one tomorrow
        "verbosity": -1,
    }
    data = lightgbm.Dataset(
        X,
        label=codes,
        weight=_balanced(codes) if settings.class_weight == "balanced" else None,
        categorical_feature=[i for i, feature in enumerate(features) if feature.categories],
        params=params,
    )
    rounds = settings.rounds
    with tqdm(total=rounds, desc="fit trees", unit="round", delay=2, disable=None, leave=False) as progress:
        after_each = [lambda _: progress.update()]
        grown = lightgbm.train(params, data, num_boost_round=rounds, callbacks=after_each)
    return Trees(grown.model_to_string())


def _balanced(codes: np.ndarray) -> np.ndarray:
    """Return a weight per row, (n,), so that each class weighs the same in sum; the mean weight is 1."""
    counts = np.bincount(codes)
    return np.asarray(len(codes) / (len(counts) * counts[codes]))
