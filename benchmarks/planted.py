"""Tables whose truth is known: drivers with copies, pairs, a threshold, a drift, a leak, and noise of all kinds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

ROWS, COLUMNS = 5_000, 60
COEFFICIENTS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
GROUPS = len(COEFFICIENTS) + 3  # two pairs and a threshold
PAIR, STEP, DRIFT = 0.7, 1.2, 0.8  # sizes of these effects
HOLDS = 0.6  # of the time, after which the drifting column's effect stops and its mean moves
TARGET, TIME = "target", "time"

Kind = Literal["binary", "continuous"]


@dataclass(frozen=True)
class Planted:
    """frame: indicators, TARGET and TIME. group_of: what a column that matters belongs to, 0 .. GROUPS - 1."""

    frame: pd.DataFrame
    group_of: dict[str, int]
    pairs: tuple[frozenset[str], ...]

    @property
    def indicators(self) -> list[str]:
        """Names of all but target and time."""
        return [name for name in self.frame if name not in (TARGET, TIME)]


def plant(*, seed: int, ratio: float, kind: Kind, rows: int = ROWS, indicators: int = COLUMNS) -> Planted:
    """Return a table. ratio: variance of the signal to that of the noise; binary: the top 30 %."""
    rng = np.random.default_rng(seed)
    columns: dict[str, np.ndarray] = {}
    group_of: dict[str, int] = {}
    signal = _drivers(rng, rows, columns, group_of)
    pairs = []
    for number in range(2):
        names = [f"pair{number}_{side}" for side in "ab"]
        one, other = rng.normal(size=(2, rows))
        columns |= dict(zip(names, (one, other), strict=True))
        group_of |= dict.fromkeys(names, len(COEFFICIENTS) + number)
        pairs.append(frozenset(names))
        signal += PAIR * one * other
    columns["threshold"] = rng.normal(size=rows)
    group_of["threshold"] = GROUPS - 1
    signal += STEP * (columns["threshold"] > 0.5)
    early = np.arange(rows) < HOLDS * rows
    columns["drifting"] = rng.normal(size=rows) + np.where(early, 0.0, 1.5)
    signal += np.where(early, DRIFT * columns["drifting"], 0.0)
    truth = signal + rng.normal(size=rows) * signal.std() / np.sqrt(ratio)
    target = (truth - truth.mean()) / truth.std()
    if kind == "binary":
        target = (truth > np.quantile(truth, 0.7)).astype("float64")
    columns["leaking"] = 0.6 * (target - target.mean()) / target.std() + rng.normal(size=rows)
    _noise(rng, rows, columns, indicators)
    frame = pd.DataFrame(columns)
    for name in rng.choice(list(columns), 12, replace=False):
        frame.loc[rng.random(rows) < 0.1, name] = np.nan
    frame = frame[list(rng.permutation(frame.columns))].assign(**{TARGET: target, TIME: np.arange(rows)})
    return Planted(frame, group_of, tuple(pairs))


@dataclass(frozen=True)
class Marks:
    """f1: over groups, each counted once; redundant: second copies; false: leak, drift, noise; found: groups."""

    f1: float
    redundant: int
    false: int
    found: frozenset[int]


def mark(planted: Planted, selected: Sequence[str]) -> Marks:
    """Return how well a selection tells the groups; both columns of a pair are one group and not redundant."""
    true = [name for name in selected if name in planted.group_of]
    found = frozenset(planted.group_of[name] for name in true)
    redundant = len(true) - len(found) - sum(pair <= set(true) for pair in planted.pairs)
    false = len(selected) - len(true)
    precision, recall = len(found) / max(1, len(found) + false), len(found) / GROUPS
    return Marks(2 * precision * recall / max(1e-12, precision + recall), redundant, false, found)


def stability(selections: Sequence[Sequence[str]], columns: Sequence[str]) -> float:
    """Return how far selections agree beyond chance, 1 where all are the same.

    Source: Nogueira, Sechidis & Brown 2018, JMLR 18(174), equation 4.
    """
    chosen = np.array([[name in some for name in columns] for some in selections], dtype="float64")
    draws, total = chosen.shape
    share = chosen.mean(axis=0)
    size = chosen.sum() / draws
    variance = float((draws / (draws - 1) * share * (1 - share)).mean())
    return 1 - variance / (size / total * (1 - size / total))


def _drivers(
    rng: np.random.Generator, rows: int, columns: dict[str, np.ndarray], group_of: dict[str, int]
) -> np.ndarray:
    """Add the drivers, two copies of four of them and the reverse of one; return what they add to the target."""
    copied = rng.permutation(len(COEFFICIENTS))[:5]
    signal = np.zeros(rows)
    for number, coefficient in enumerate(COEFFICIENTS):
        name = f"driver{number}"
        values = rng.normal(size=rows)
        signal += coefficient * values * rng.choice([-1, 1])
        columns[name], group_of[name] = values, number
        for copy in range(2 if number in copied[:4] else 0):
            rho = rng.uniform(0.9, 0.99)
            columns[f"{name}_copy{copy}"] = rho * values + np.sqrt(1 - rho**2) * rng.normal(size=rows)
            group_of[f"{name}_copy{copy}"] = number
        if number == copied[4]:
            columns[f"{name}_reversed"], group_of[f"{name}_reversed"] = -values, number
    return signal


def _noise(rng: np.random.Generator, rows: int, columns: dict[str, np.ndarray], indicators: int) -> None:
    """Fill the table to `indicators` with heavy tails, three blocks of correlated columns, and plain noise."""
    columns["noise_t2"] = rng.standard_t(2, rows)
    columns["noise_lognormal"] = rng.lognormal(0, 1.5, rows)
    columns["noise_cauchy"] = rng.standard_cauchy(rows)
    columns["noise_pareto"] = rng.pareto(1.2, rows)
    for block in range(3):
        shared = rng.normal(size=rows)
        for member in range(5):
            own = rng.normal(size=rows)
            columns[f"noise_block{block}_{member}"] = 0.85 * shared + np.sqrt(1 - 0.85**2) * own
    while len(columns) < indicators:
        columns[f"noise{len(columns)}"] = rng.normal(size=rows)
