"""What radio alone says of an NB-IoT device: its coverage level, and how long it transmits. Fitted on real modems.

Two ways to the level: the law of the simulation (two thresholds of the cell, on NRSRP), here with a penalty for a low
NSINR, since a random access that fails is tried again one level up; and boosted trees that never call a level better
when NRSRP or NSINR falls. Rows of one log count as one row in sum: the longest log has a tenth of all rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

NOW = ("rsrp_dbm", "snr_db")
AT_ACCESS = ("access_rsrp_dbm", "access_snr_db")  # when the modem chose the level that it still reports
_SLOPES = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)  # dB of NRSRP that a dB of NSINR below the knee is worth
_KNEES_DB = (5.0, 10.0, 15.0)
_THRESHOLDS_DBM = np.arange(-140.0, -84.0)
_TREES: dict[str, float | str] = {
    "num_leaves": 7,
    "learning_rate": 0.1,
    "min_child_samples": 50,
    "monotone_constraints_method": "basic",
}
_FAST: dict[str, float | str] = {"num_leaves": 3, "learning_rate": 0.1, "min_child_samples": 50}


@dataclass(frozen=True)
class ThresholdLaw:
    """Level = how many of two thresholds NRSRP + slope * min(NSINR - knee, 0) lies below."""

    ce1_dbm: float
    ce2_dbm: float
    slope: float
    knee_db: float

    def levels(self, table: pd.DataFrame) -> np.ndarray:
        """Return 0, 1 or 2 for each row."""
        power = _penalised(table, self.slope, self.knee_db)
        return (power < self.ce1_dbm).astype("int64") + (power < self.ce2_dbm)


@dataclass(frozen=True)
class MonotoneLevels:
    """Two boosted models over what the law compares: is the level at least 1, is it 2. Less power, no better level.

    pairs: names of NRSRP and NSINR, of the row and perhaps of the last access.
    """

    pairs: tuple[tuple[str, str], ...]
    law: ThresholdLaw
    boosters: tuple[object, object]

    def levels(self, table: pd.DataFrame) -> np.ndarray:
        """Return 0, 1 or 2 for each row."""
        X = _powers(table, self.pairs, self.law)
        above = [np.asarray(booster.predict(X)) > 0.5 for booster in self.boosters]  # type: ignore[attr-defined]
        return above[0].astype("int64") + (above[0] & above[1])


@dataclass(frozen=True)
class TransmitTime:
    """A boosted model of ln(1 + tx_time_ms), which does not fall when NRSRP or NSINR falls."""

    columns: tuple[str, ...]
    booster: object

    def log_ms(self, table: pd.DataFrame) -> np.ndarray:
        """Return ln(1 + ms) of each row: to rank by, not to add up."""
        found = self.booster.predict(table[list(self.columns)].to_numpy())  # type: ignore[attr-defined]
        return np.asarray(found)


def fit_thresholds(table: pd.DataFrame) -> ThresholdLaw:
    """Return the law that is right most often on `table` (rsrp_dbm, snr_db, ecl, file), each log weighing the same."""
    levels, weights = table["ecl"].to_numpy(), log_weights(table)
    best, law = -1.0, ThresholdLaw(-108.0, -118.0, 0.0, _KNEES_DB[0])
    for slope, knee in product(_SLOPES, _KNEES_DB):
        power = _penalised(table, slope, knee)
        below = np.array(
            [[weights[(levels == level) & (power < t)].sum() for t in _THRESHOLDS_DBM] for level in range(3)]
        )
        right = (weights[levels == 0].sum() - below[0] + below[1])[:, None] + (below[2] - below[1])[None, :]
        right[np.triu_indices(len(_THRESHOLDS_DBM), k=1)] = -1.0  # ce2 above ce1
        at = np.unravel_index(right.argmax(), right.shape)
        if right[at] > best:
            best = float(right[at])
            law = ThresholdLaw(float(_THRESHOLDS_DBM[at[0]]), float(_THRESHOLDS_DBM[at[1]]), slope, knee)
    return law


def fit_monotone(
    table: pd.DataFrame, *, pairs: Sequence[tuple[str, str]] = (NOW, AT_ACCESS), seed: int
) -> MonotoneLevels:
    """Return boosted trees for the level, on NRSRP with and without the penalty of the law fitted on `table`."""
    law, levels, weights = fit_thresholds(table), table["ecl"].to_numpy(), log_weights(table)
    X = _powers(table, pairs, law)
    first, second = (
        _boosted(X, levels >= level, weights=weights, seed=seed, rounds=60, objective="binary", **_TREES)
        for level in (1, 2)
    )
    return MonotoneLevels(tuple(pairs), law, (first, second))


def fit_transmit_time(table: pd.DataFrame, *, columns: Sequence[str] = NOW, seed: int) -> TransmitTime:
    """Return boosted trees for tx_time_ms, of which what is longer than a minute counts as a minute."""
    target = np.log1p(table["tx_time_ms"].clip(upper=60_000).to_numpy())
    X, weights = table[list(columns)].to_numpy(), log_weights(table)
    booster = _boosted(X, target, weights=weights, seed=seed, rounds=40, objective="regression", **_FAST)
    return TransmitTime(tuple(columns), booster)


def log_weights(table: pd.DataFrame) -> np.ndarray:
    """Return a weight per row, (n,): the rows of each log sum to the same, the mean weight is 1."""
    weights = 1 / table.groupby("file")["file"].transform("size").to_numpy(dtype="float64")
    return np.asarray(weights / weights.mean())


def _powers(table: pd.DataFrame, pairs: Sequence[tuple[str, str]], law: ThresholdLaw) -> np.ndarray:
    """Return (n, 2 * pairs): NRSRP as it is, and as the law sees it."""
    plain = [table[power].to_numpy() for power, _ in pairs]
    return np.column_stack([*plain, *(_penalised(table, law.slope, law.knee_db, pair) for pair in pairs)])


def _penalised(table: pd.DataFrame, slope: float, knee_db: float, pair: tuple[str, str] = NOW) -> np.ndarray:
    power, snr = (table[name].to_numpy() for name in pair)
    return np.asarray(power + slope * np.minimum(snr - knee_db, 0.0))


def _boosted(
    X: np.ndarray, target: np.ndarray, *, weights: np.ndarray, seed: int, rounds: int, **settings: float | str
) -> object:
    import lightgbm

    params = settings | {
        "monotone_constraints": [-1] * X.shape[1],
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(X, label=np.asarray(target, dtype="float64"), weight=weights, params=params)
    return lightgbm.train(params, data, num_boost_round=rounds)
