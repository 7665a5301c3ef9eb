"""Coverage level and transmit time from radio on real NB-IoT modems, judged on a vendor that was not learnt from.

Every vendor is left out once; its rows are answered by models fitted on the others. Rivals in the same run: LightGBM
with its defaults and a tree of depth 3, on NRSRP and NSINR of the row (LightGBM also with those of the last access).
With --judge the models learn from all of --data and answer the logs of another folder. Intervals cover 95 % and treat
the rows of a log as one cluster.

    python benchmarks/nbiot.py [--data DATA/nbiot_robinson] [--judge DIR]
"""

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.tree import DecisionTreeClassifier

from evaluation import coverage_level, metrics
from evaluation.coverage_level import AT_ACCESS, NOW
from evaluation.nbiot import read_logs

SEED = 7
Levels = Callable[[pd.DataFrame], np.ndarray]
Fold = tuple[str, pd.DataFrame, pd.DataFrame]


def rival_forest(*columns: str) -> Callable[[pd.DataFrame], Levels]:
    """LightGBM as it comes, on some columns."""

    def fit(train: pd.DataFrame) -> Levels:
        model = lightgbm.LGBMClassifier(verbose=-1, n_jobs=1, random_state=SEED)
        model.fit(train[list(columns)].to_numpy(), train["ecl"].astype(int))
        return lambda table: np.asarray(model.predict(table[list(columns)].to_numpy()))

    return fit


def rival_tree(train: pd.DataFrame) -> Levels:
    """A tree that a person can read."""
    model = DecisionTreeClassifier(max_depth=3, random_state=SEED)
    model.fit(train[list(NOW)].to_numpy(), train["ecl"].astype(int))
    return lambda table: np.asarray(model.predict(table[list(NOW)].to_numpy()))


def ours(*pairs: tuple[str, str]) -> Callable[[pd.DataFrame], Levels]:
    """Monotone trees on some pairs of NRSRP and NSINR."""
    return lambda train: coverage_level.fit_monotone(train, pairs=pairs, seed=SEED).levels


MODELS: dict[str, Callable[[pd.DataFrame], Levels]] = {
    "rival: LightGBM": rival_forest(*NOW),
    "rival: LightGBM, row and last access": rival_forest(*NOW, *AT_ACCESS),
    "rival: tree of depth 3": rival_tree,
    "threshold law with NSINR penalty": lambda train: coverage_level.fit_thresholds(train).levels,
    "monotone trees, the row alone": ours(NOW),
    "monotone trees, row and last access": ours(NOW, AT_ACCESS),
}

COMPARED = (
    ("threshold law with NSINR penalty", "rival: LightGBM"),
    ("monotone trees, the row alone", "rival: LightGBM"),
    ("monotone trees, row and last access", "rival: LightGBM"),
)


def folds(table: pd.DataFrame, other: pd.DataFrame | None) -> Iterator[Fold]:
    """Yield (vendor, train, test); a vendor is never on both sides."""
    if other is not None:
        both = set(table["vendor"]) & set(other["vendor"])
        if both:
            raise ValueError(
                f"--judge must hold other vendors than --data, but both hold {', '.join(sorted(both))}"
            )
        yield "+".join(sorted(set(other["vendor"]))), table, other
        return
    for vendor in sorted(set(table["vendor"])):
        left = table["vendor"] == vendor
        yield vendor, table[~left].reset_index(drop=True), table[left].reset_index(drop=True)


def shown(vendors: np.ndarray) -> list[str]:
    """Return the parts to judge: all together where there are several vendors, and each."""
    each = list(dict.fromkeys(vendors))
    return each if len(each) == 1 else ["all", *each]


def told(name: str, truth: np.ndarray, named: np.ndarray, files: np.ndarray) -> str:
    """Return accuracy and macro F1 with their intervals."""
    hits = metrics.proportion(truth == named, files)
    score = metrics.macro_f1(truth, named, clusters=files, seed=SEED)
    return (
        f"{name:38s} accuracy {hits.value:.3f} ({hits.low:.3f} to {hits.high:.3f})"
        f"  macro F1 {score.value:.3f} ({score.low:.3f} to {score.high:.3f})"
    )


def judge_levels(table: pd.DataFrame, other: pd.DataFrame | None) -> None:
    """Print every model on every left-out vendor, and all of them pooled."""
    parts = list(folds(table, other))
    tests = pd.concat([test for *_, test in parts], ignore_index=True)
    truth, files = tests["ecl"].to_numpy(dtype="int64"), tests["file"].to_numpy(dtype=object)
    vendors = np.repeat([vendor for vendor, *_ in parts], [len(test) for *_, test in parts])
    answers = {
        name: np.concatenate([fit(train)(test) for _, train, test in parts]).astype("int64")
        for name, fit in MODELS.items()
    }
    for part in shown(vendors):
        rows = np.full(len(tests), True) if part == "all" else vendors == part
        print(f"\ncoverage level, left out: {part} ({rows.sum():,} rows of {len(set(files[rows])):,} logs)")
        for name, named in answers.items():
            print("  " + told(name, truth[rows], named[rows], files[rows]))
        for name, rival in COMPARED:
            right = [(answers[one] == truth)[rows] for one in (name, rival)]
            gap = metrics.paired_difference(*right, clusters=files[rows])
            print(
                f"  {name} minus {rival.split(': ')[1]}: {gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
            )
    print(f"\nlaw fitted on all of --data: {coverage_level.fit_thresholds(table)}")


def judge_transmit_time(table: pd.DataFrame, other: pd.DataFrame | None) -> None:
    """Print the rank correlation of the transmit time with what NRSRP and NSINR say of it."""
    parts = list(folds(table, other))
    tests = pd.concat([test for *_, test in parts], ignore_index=True)
    guess = np.concatenate(
        [coverage_level.fit_transmit_time(train, seed=SEED).log_ms(test) for _, train, test in parts]
    )
    sent, files = tests["tx_time_ms"].to_numpy(), tests["file"].to_numpy(dtype=object)
    vendors = np.repeat([vendor for vendor, *_ in parts], [len(test) for *_, test in parts])
    print("\ntransmit time from NRSRP and NSINR, Spearman (beside it -NRSRP alone)")
    for part in shown(vendors):
        rows = np.full(len(tests), True) if part == "all" else vendors == part
        low, high = spearman_interval(guess[rows], sent[rows], files[rows])
        alone = spearmanr(-tests["rsrp_dbm"].to_numpy()[rows], sent[rows])[0]
        print(
            f"  {part:10s} {spearmanr(guess[rows], sent[rows])[0]:.3f} ({low:.3f} to {high:.3f})  {alone:.3f}"
        )


def spearman_interval(guess: np.ndarray, truth: np.ndarray, files: np.ndarray) -> tuple[float, float]:
    """Return a percentile interval over logs drawn again."""
    rng, rows_of = (
        np.random.default_rng(SEED),
        [np.flatnonzero(files == name) for name in dict.fromkeys(files)],
    )
    drawn = []
    for _ in range(300):
        rows = np.concatenate([rows_of[i] for i in rng.integers(0, len(rows_of), len(rows_of))])
        drawn.append(spearmanr(guess[rows], truth[rows])[0])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    """Read the logs and judge."""
    default = Path(os.environ.get("IOTLENS_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--data", type=Path, default=default / "nbiot_robinson")
    arguments.add_argument("--judge", type=Path, help="logs of other vendors, to be answered only")
    chosen = arguments.parse_args()
    known = ["ecl", *NOW, *AT_ACCESS]
    read = read_logs(chosen.data)
    print(read.text())
    table = read.table.dropna(subset=known).reset_index(drop=True)
    other = None
    if chosen.judge:
        other = read_logs(chosen.judge).table.dropna(subset=known).reset_index(drop=True)
    judge_levels(table, other)
    judge_transmit_time(table, other)


if __name__ == "__main__":
    main()
