"""Selection of indicators on tables whose truth is known, beside what others use: F1 over groups, stability, CPU time.

    python benchmarks/selection.py [--seeds N] [--rival-seeds N] [--stability] [--rivals leshy grootcv ...]

All data are simulated (benchmarks/planted.py). The rivals need `pip install -c constraints.txt -e .[rivals]` in an
environment of their own; one that is not installed is named and left out. Each is given the same table with missing
values filled by the median where it takes none, and nothing of the time column, which only iotlens can use.
"""

import argparse
import itertools
import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from planted import COLUMNS, TARGET, TIME, Kind, Planted, mark, plant, stability

from evaluation.selection.expert import Experts
from evaluation.selection.procedure import Settings, select
from evaluation.selection.study import Roles, read_study

RATIOS = (0.1, 0.5, 2.0)
KINDS: tuple[Kind, ...] = ("continuous", "binary")
KEPT = 10  # columns, of rivals that must be told how many
SUBSAMPLES, SHARE = 10, 0.8

Answers = dict[str, list[str]]


@dataclass(frozen=True)
class Told:
    """What one method said of one table. reasons: why it left a column out, of those that say so."""

    method: str
    columns: list[str]
    cpu_s: float
    reasons: dict[str, str]


@dataclass(frozen=True)
class Job:
    """A table without its time: X (n, 60) with NaN, y (n,)."""

    X: pd.DataFrame
    y: np.ndarray
    kind: Kind
    seed: int

    @property
    def filled(self) -> pd.DataFrame:
        """X with medians where nothing is."""
        return self.X.fillna(self.X.median())

    def trees(self, **settings: object) -> object:
        """Return LightGBM for the target, as the rivals take it."""
        import lightgbm

        model = lightgbm.LGBMRegressor if self.kind == "continuous" else lightgbm.LGBMClassifier
        return model(random_state=self.seed, n_jobs=1, verbose=-1, **settings)


def iotlens(frame: pd.DataFrame, seed: int) -> list[Told]:
    """Return both answers of iotlens."""
    began = time.process_time()
    study = read_study(frame, Roles(TARGET, time=TIME), table="planted")
    selection = select(study, Settings(seed=seed), Experts())
    spent = time.process_time() - began
    reasons = {drop.indicator: drop.reason for drop in selection.dropped}
    both = {"iotlens selected": selection.selected, "iotlens minimal": selection.minimal}
    return [
        Told(name, [study.names[column] for column in chosen], spent, reasons)
        for name, chosen in both.items()
    ]


def leshy(job: Job) -> Answers:
    """Boruta on SHAP importances."""
    from arfs.feature_selection.allrelevant import Leshy

    chosen = Leshy(job.trees(), n_estimators=100, importance="fastshap", max_iter=20, random_state=job.seed)
    chosen.fit(job.filled, pd.Series(job.y))
    return {"Leshy": list(chosen.get_feature_names_out())}


def grootcv(job: Job) -> Answers:
    """Cross-validated SHAP against shuffled columns."""
    from arfs.feature_selection.allrelevant import GrootCV

    chosen = GrootCV(
        objective="rmse" if job.kind == "continuous" else "binary", n_folds=5, n_iter=5, silent=True, n_jobs=1
    )
    chosen.fit(job.filled, pd.Series(job.y))
    return {"GrootCV": list(chosen.get_feature_names_out())}


def feature_engine(job: Job) -> Answers:
    """One of each correlated cluster, then what beats random columns."""
    from feature_engine.selection import ProbeFeatureSelection, SmartCorrelatedSelection

    apart = SmartCorrelatedSelection(
        method="spearman",
        threshold=0.8,
        selection_method="model_performance",
        estimator=job.trees(n_estimators=50),
        scoring="r2" if job.kind == "continuous" else "roc_auc",
    ).fit_transform(job.filled, pd.Series(job.y))
    probed = ProbeFeatureSelection(
        job.trees(n_estimators=100),
        n_probes=5,
        scoring="r2" if job.kind == "continuous" else "roc_auc",
        random_state=job.seed,
    )
    return {"feature-engine": list(probed.fit_transform(apart, pd.Series(job.y)))}


def mrmr(job: Job) -> Answers:
    """Most relevant, least redundant: KEPT columns."""
    import mrmr as package

    rank = package.mrmr_regression if job.kind == "continuous" else package.mrmr_classif
    return {"mRMR": rank(job.filled, pd.Series(job.y), K=KEPT, show_progress=False, n_jobs=1)}


def boost_rfe(job: Job) -> Answers:
    """Recursive elimination by SHAP importances on held-out rows."""
    from shaphypetune import BoostRFE

    cut = int(0.75 * len(job.X))
    chosen = BoostRFE(
        job.trees(n_estimators=100),
        min_features_to_select=1,
        step=3,
        importance_type="shap_importances",
        train_importance=False,
        verbose=0,
    )
    filled = job.filled
    chosen.fit(filled[:cut], job.y[:cut], eval_set=[(filled[cut:], job.y[cut:])])
    return {"BoostRFE": list(filled.columns[chosen.support_])}


def top_shap(job: Job) -> Answers:
    """The KEPT columns with the largest mean |SHAP| of one model."""
    booster = job.trees(n_estimators=100).fit(job.X, job.y).booster_  # type: ignore[attr-defined]
    told = np.abs(booster.predict(job.X, pred_contrib=True, num_threads=1))[:, :-1].mean(axis=0)
    return {f"top {KEPT} SHAP": list(job.X.columns[np.argsort(-told)[:KEPT]])}


RIVALS: dict[str, Callable[[Job], Answers]] = {
    "leshy": leshy,
    "grootcv": grootcv,
    "feature-engine": feature_engine,
    "mrmr": mrmr,
    "boost-rfe": boost_rfe,
    "top-shap": top_shap,
}


def answers(
    planted: Planted, frame: pd.DataFrame, kind: Kind, seed: int, rivals: Sequence[str]
) -> list[Told]:
    """Return what each method says of one table."""
    told = iotlens(frame, seed)
    job = Job(frame[planted.indicators], frame[TARGET].to_numpy(), kind, seed)
    for name in rivals:
        began = time.process_time()
        try:
            given = RIVALS[name](job)
        except ImportError as error:
            print(f"left out: {error}")
            continue
        spent = time.process_time() - began
        told += [Told(method, columns, spent, {}) for method, columns in given.items()]
    return told


def row(planted: Planted, told: Told) -> dict[str, object]:
    """Return the marks of one answer; a leak is flagged, and a drift named, by the reason for which it fell."""
    marks = mark(planted, told.columns)
    return {
        "method": told.method,
        "F1": marks.f1,
        "groups": len(marks.found),
        "redundant": marks.redundant,
        "false": marks.false,
        "leak kept": "leaking" in told.columns,
        "leak flagged": told.reasons.get("leaking") == "leak",
        "drift kept": "drifting" in told.columns,
        "drift named": told.reasons.get("drifting") == "unstable",
        "pairs found": sum(group in marks.found for group in (8, 9)),
        "CPU s": told.cpu_s,
    }


def truth(
    cells: Sequence[tuple[Kind, float]], seeds: int, rival_seeds: int, rivals: Sequence[str]
) -> pd.DataFrame:
    """Print the marks of each cell and return a row per method, cell and seed; rivals on the first seeds only."""
    rows: list[dict[str, object]] = []
    for kind, ratio in cells:
        for seed in range(seeds):
            planted = plant(seed=seed, ratio=ratio, kind=kind)
            beside = rivals if seed < rival_seeds else ()
            for told in answers(planted, planted.frame, kind, seed, beside):
                rows.append({"target": kind, "ratio": ratio, "seed": seed} | row(planted, told))
                print(" ".join(f"{key}={_short(value)}" for key, value in rows[-1].items()), flush=True)
    return pd.DataFrame(rows)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def ratios(table: pd.DataFrame) -> pd.Series:
    """Return the CPU time of each method as a ratio to GrootCV's on the same tables: the median over tables."""
    spent = table.pivot(index=["target", "ratio", "seed"], columns="method", values="CPU s")
    if "GrootCV" not in spent:
        return pd.Series(np.nan, index=spent.columns)
    return spent.div(spent["GrootCV"], axis=0).median()


def tell(table: pd.DataFrame) -> None:
    """Print the mean and the spread of F1 in each cell, and the means over all cells."""
    cells = table.groupby(["method", "target", "ratio"])["F1"]
    for name, part in (("mean", cells.mean()), ("least", cells.min()), ("most", cells.max())):
        print(
            f"\n{name} F1 over groups (simulated)\n" + part.unstack(["target", "ratio"]).round(2).to_string()
        )
    numbers = table.drop(columns=["target", "ratio", "seed"])
    means = numbers.groupby("method").mean().assign(**{"CPU to GrootCV": ratios(table)})
    print("\nmeans (simulated)\n" + means.round(2).sort_values("F1", ascending=False).to_string())
    most = numbers.groupby("method")[["redundant", "false", "CPU s"]].max()
    print("\nmost of one table (simulated)\n" + most.round(1).to_string())


def stable(kinds: Sequence[Kind], rivals: Sequence[str]) -> pd.DataFrame:
    """Return the stability of each method over subsamples without replacement, at a ratio of one half."""
    rows = []
    for kind in kinds:
        planted = plant(seed=0, ratio=0.5, kind=kind)
        rng = np.random.default_rng(0)
        found: dict[str, list[list[str]]] = {}
        for draw in range(SUBSAMPLES):
            places = np.sort(rng.choice(len(planted.frame), int(SHARE * len(planted.frame)), replace=False))
            frame = planted.frame.iloc[places].reset_index(drop=True)
            for told in answers(planted, frame, kind, draw, rivals):
                found.setdefault(told.method, []).append(told.columns)
        rows += [
            {"method": method, "target": kind, "stability": stability(some, planted.indicators)}
            for method, some in found.items()
        ]
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", nargs="*", default=KINDS, choices=KINDS)
    parser.add_argument("--ratios", nargs="*", type=float, default=RATIOS, help="of signal to noise")
    parser.add_argument("--seeds", type=int, default=1, help="tables of each kind and ratio; 0: none")
    parser.add_argument("--rival-seeds", type=int, default=1, help="of these, how many the rivals are given")
    parser.add_argument("--stability", action="store_true", help="also over ten subsamples")
    parser.add_argument("--rivals", nargs="*", default=list(RIVALS), choices=list(RIVALS))
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")  # the rivals' own
    print(f"simulated tables of {COLUMNS} columns; {os.cpu_count()} cores, one thread each")
    if arguments.seeds:
        cells = list(itertools.product(arguments.targets, arguments.ratios))
        tell(truth(cells, arguments.seeds, arguments.rival_seeds, arguments.rivals))
    if arguments.stability:
        told = stable(arguments.targets, arguments.rivals).pivot(
            index="method", columns="target", values="stability"
        )
        print("\nstability (simulated)\n" + told.round(3).to_string())


if __name__ == "__main__":
    main()
