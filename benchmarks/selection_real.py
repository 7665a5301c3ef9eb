"""Selection on real tables: how much of the full score the smallest set keeps on later or other-vendor rows.

    IOTLENS_DATA=DIR IOTLENS_SENTINEL=WORKSPACE python benchmarks/selection_real.py [--tables youtube ...] [--rows N]

Each table is cut before anything is selected (`real_tables.py`). Trees of the same settings are fitted on the part to
select on, with all usable columns, with `selected`, with `minimal`, and with what the rivals take first, as many as
`minimal` has: the largest mean |SHAP|, the largest gain of LightGBM, the most often stronger than every shuffled column
(as Boruta counts), and mRMR where it is installed. All scores are of the judged rows: the area under the ROC curve (of
several classes the mean over them), and the macro F1 of the named class.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from real_tables import TABLES, Table
from sklearn.metrics import f1_score

from evaluation.selection import boosting
from evaluation.selection.expert import Experts
from evaluation.selection.procedure import Selection, Settings, select
from evaluation.selection.study import FEWEST_OF_CLASS, Study, read_study

KEPT = 0.97  # of the full score, wanted of the smallest set
ROUNDS = 150
SHADOWED = 10  # models against shuffled columns
TREES = boosting.Trees(rounds=ROUNDS)


@dataclass(frozen=True)
class Job:
    """What a rival gets: the learnt rows of the usable columns, with NaN, and how many columns to name."""

    study: Study
    X: np.ndarray
    count: int

    def strongest(self, strength: np.ndarray) -> list[int]:
        """Return the places of the strongest columns."""
        return [int(place) for place in np.argsort(-strength, kind="stable")[: self.count]]


def top_shap(job: Job) -> list[int]:
    """The largest mean |SHAP| of one model."""
    booster = boosting.fit(job.study, job.X, np.arange(len(job.X)), TREES)
    rows = np.random.default_rng(0).permutation(len(job.X))[:2000]
    return job.strongest(np.abs(boosting.contributions(booster, job.X[rows])).mean(axis=(0, 2)))


def gain(job: Job) -> list[int]:
    """The largest gain of one model's splits."""
    booster = boosting.fit(job.study, job.X, np.arange(len(job.X)), TREES)
    return job.strongest(booster.feature_importance("gain"))


def boruta(job: Job) -> list[int]:
    """The most often of more gain than every shuffled column; of equal ones the largest mean gain."""
    rng = np.random.default_rng(0)
    width = job.X.shape[1]
    hits, total = np.zeros(width), np.zeros(width)
    for seed in range(SHADOWED):
        shadows = np.column_stack([rng.permutation(column) for column in job.X.T])
        both = np.column_stack([job.X, shadows])
        grown = boosting.Trees(rounds=ROUNDS // 3, seed=seed)
        told = boosting.fit(job.study, both, np.arange(len(both)), grown).feature_importance("gain")
        hits += told[:width] > told[width:].max()
        total += told[:width] / max(told.sum(), 1e-12)
    return job.strongest(hits + total / SHADOWED)


def mrmr(job: Job) -> list[int]:
    """The most relevant, least redundant columns."""
    import mrmr as package

    frame = pd.DataFrame(job.X)
    told = package.mrmr_classif(
        frame.fillna(frame.median()),
        pd.Series(job.study.target.values),
        K=job.count,
        show_progress=False,
        n_jobs=1,
    )
    return [int(place) for place in told]


RIVALS: dict[str, Callable[[Job], list[int]]] = {
    "top SHAP": top_shap,
    "gain": gain,
    "Boruta": boruta,
    "mRMR": mrmr,
}


def judge(table: Table, cap: int) -> list[dict[str, object]]:
    """Return a row for each way to choose columns: how many, and the scores on the judged rows.

    cap: at most so many rows are screened and explained.
    """
    table = _told_classes(table)
    learnt = read_study(table.frame[~table.judged].reset_index(drop=True), table.roles, table=table.name)
    began = time.process_time()
    selection = select(learnt, Settings(rows=cap), Experts())
    spent = time.process_time() - began
    rows = []
    for way, columns in _ways(learnt, selection).items():
        area, named = _scores(table, [learnt.names[column] for column in columns])
        rows.append({"table": table.name, "way": way, "columns": len(columns), "area": area, "F1": named})
    whole = rows[0]
    for row in rows:
        row["area kept"] = row["area"] / whole["area"]  # type: ignore[operator]
        row["F1 kept"] = row["F1"] / whole["F1"]  # type: ignore[operator]
    minimal = ", ".join(learnt.names[column] for column in selection.minimal)
    flagged = [drop.indicator for drop in selection.dropped if drop.reason in ("leak", "unstable")]
    print(f"{table.name}: {len(learnt.X)} rows, {len(learnt.names)} columns, {spent:.0f} s of processor time")
    print(f"  minimal: {minimal}; flagged: {flagged}", flush=True)
    return rows


def _told_classes(table: Table) -> Table:
    """Return the table without rows that lack a target, or are of a class too rare to be learnt on the learnt rows."""
    target = table.frame[table.roles.target]
    counts = target[~table.judged].value_counts()
    held = target.isin(counts.index[counts >= FEWEST_OF_CLASS]).to_numpy()
    return replace(table, frame=table.frame[held].reset_index(drop=True), judged=table.judged[held])


def _ways(learnt: Study, selection: Selection) -> dict[str, list[int]]:
    usable = list(selection.columns)
    ways = {"all": usable, "selected": list(selection.selected), "minimal": list(selection.minimal)}
    job = Job(learnt, learnt.X[:, usable], len(selection.minimal))
    for name, rival in RIVALS.items():
        try:
            ways[name] = [usable[place] for place in rival(job)]
        except ImportError as error:
            print(f"left out: {error}")
    return ways


def _scores(table: Table, names: list[str]) -> tuple[float, float]:
    """Return area and macro F1 on the judged rows of trees that learnt from the others."""
    whole = read_study(table.frame, table.roles, table=table.name)
    learn, judged = np.flatnonzero(~table.judged), np.flatnonzero(table.judged)
    X = whole.X[:, [whole.names.index(name) for name in names]]
    said = boosting.fit(whole, X, learn, TREES).predict(X[judged], num_threads=1)
    named = said.argmax(axis=1) if said.ndim == 2 else said > 0.5
    truth = whole.target.values[judged]
    area = boosting.judged(whole.target, judged, said)
    return area, float(f1_score(truth, named, average="macro", labels=np.unique(truth)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--rows", type=int, default=Settings().rows, help="cap of rows (%(default)s)")
    arguments = parser.parse_args()
    for name in arguments.tables:
        for table in TABLES[name]():
            print(
                pd.DataFrame(judge(table, arguments.rows))
                .drop(columns="table")
                .round(3)
                .to_string(index=False),
                flush=True,
            )
    print(f"wanted: minimal keeps at least {KEPT}, with at most a third of the columns")


if __name__ == "__main__":
    main()
