"""The rival every report names: a plain random forest, fitted and judged on the same rows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

TREES = 500
ROWS_PER_TREE = 10_000  # above, each tree draws that many of the rows: 500 trees on 100,000 rows take an hour
KEYS = ["device_id", "source"]  # what tells a row of an external feature table: a device in a capture


def forest_proba(
    X: np.ndarray, y: np.ndarray, asked: np.ndarray, *, classes: Sequence[str], seed: int
) -> np.ndarray:
    """Return class probabilities, (m, k) in the order of `classes`, of a forest of 500 trees and no tuning.

    X: float64 (n, f) with labels y (n,); asked: (m, f). NaN is a missing value. A class without a row has 0.
    Source: Breiman 2001, Machine Learning 45; scikit-learn's defaults.
    """
    from sklearn.ensemble import RandomForestClassifier

    drawn = ROWS_PER_TREE if len(X) > ROWS_PER_TREE else None
    forest = RandomForestClassifier(TREES, max_samples=drawn, random_state=seed, n_jobs=2).fit(X, y)
    forest.set_params(n_jobs=1)  # threads add up the trees' votes in any order: the last bits would differ
    proba = np.zeros((len(asked), len(classes)))
    proba[:, [list(classes).index(name) for name in forest.classes_]] = forest.predict_proba(asked)
    return proba


def external_features(path: Path, keys: pd.DataFrame) -> pd.DataFrame:
    """Return the rival's own features for our rows: a row of numbers per row of `keys`, in its order.

    path: Parquet with device_id and source (each pair once) and numeric columns, its features.
    keys: our rows, with device_id and source. Raises FileNotFoundError or ValueError, naming path and rule.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no feature table of the rival at {path}; give a Parquet file or set rival=null"
        )
    table = pd.read_parquet(path)
    lacking = [name for name in KEYS if name not in table.columns]
    texts = [n for n in table.columns.difference(KEYS) if not pd.api.types.is_numeric_dtype(table[n].dtype)]
    if lacking or texts:
        raise ValueError(
            f"{path} must have {KEYS} and numbers only, but lacks {lacking} and has others in {texts}"
        )
    if table.duplicated(KEYS).any():
        first = table.loc[table.duplicated(KEYS), KEYS].iloc[0].to_dict()
        raise ValueError(f"{path} must have each device and source once, but repeats {first}")
    indexed = table.set_index(KEYS)
    asked = pd.MultiIndex.from_frame(keys[KEYS])
    absent = ~asked.isin(indexed.index)
    if absent.any():
        raise ValueError(
            f"{path} must have a row for each of our {len(keys)} rows, but {int(absent.sum())} are absent,"
            f" the first: {dict(zip(KEYS, asked[absent][0], strict=True))}"
        )
    return indexed.loc[asked].reset_index(drop=True)
