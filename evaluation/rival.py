"""The rival every report names: a plain random forest, fitted and judged on the same rows."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

MOST_TREES, FEWEST_TREES = 500, 100
TREE_ROWS = 500_000  # trees x rows of one forest: it then takes a few seconds of one core
ROWS_PER_TREE = 5_000  # above, each tree draws that many of the rows
KEYS = ["device_id", "source"]  # what tells a row of an external feature table: a device in a capture


def trees_for(rows: int) -> int:
    """Return how many trees the forest has: 500 up to 1,000 rows, then fewer, never below 100."""
    return max(FEWEST_TREES, min(MOST_TREES, TREE_ROWS // max(rows, 1)))


@dataclass(frozen=True)
class Forest:
    """A random forest as scikit-learn makes it, untuned. Source: Breiman 2001, Machine Learning 45."""

    trees: int
    seed: int

    def name(self, X: np.ndarray, y: np.ndarray, *, asked: np.ndarray) -> np.ndarray:
        """Return the class (m,) it gives to the rows asked (m, f), having learnt X (n, f) with y (n,).

        NaN is a missing value. The same rows and seed give the same names.
        """
        from sklearn.ensemble import RandomForestClassifier

        drawn = ROWS_PER_TREE if len(X) > ROWS_PER_TREE else None
        forest = RandomForestClassifier(self.trees, max_samples=drawn, random_state=self.seed, n_jobs=2).fit(
            X, y
        )
        forest.set_params(
            n_jobs=1
        )  # threads add up the trees' votes in any order: the last bits would differ
        return np.asarray(forest.predict(asked), dtype=object)


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
