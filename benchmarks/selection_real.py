"""Selection on real tables: how much of the full score the smallest set keeps on later or other-vendor rows.

    IOTLENS_DATA=DIR python benchmarks/selection_real.py [--tables youtube itu nbiot]

Each table is cut before anything is selected: youtube by day (the last 30 % of the sessions judge), itu by run (the
last 30 % of each file), nbiot by vendor (each judges once). Trees of the same settings are fitted on the part before,
with all usable columns, with `selected`, with `minimal`, and with what mRMR and mean |SHAP| give at the number of
`minimal`; the score is of the judged part.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from evaluation.nbiot import read_logs
from evaluation.selection import boosting
from evaluation.selection.expert import Experts
from evaluation.selection.procedure import Settings, select
from evaluation.selection.study import Roles, Study, read_study

DATA = Path(os.environ.get("IOTLENS_DATA", "../shared/data"))
LATER = 0.3  # share of the rows that judges
KEPT = 0.97  # of the full score, wanted of the smallest set


@dataclass(frozen=True)
class Table:
    """frame: indicators and roles. judged: (n,) bool, the rows that judge; name says which."""

    name: str
    frame: pd.DataFrame
    roles: Roles
    judged: np.ndarray


def youtube() -> Iterator[Table]:
    """Stalling of a session from what the network side knows; no column of the player."""
    frame = pd.read_csv(DATA / "youtube_qoe_tum2015" / "ifip_networking.dev.csv.gz")
    target = "pl_buffering_boolean"
    frame = frame[[name for name in frame if name == target or not name.startswith("pl_")]]
    order = frame["run_start"].rank(method="first").to_numpy()
    roles = Roles(target, time="run_start", ignored=("run_date", "yt_id", "run_id", "vid_category"))
    yield Table("youtube, later sessions", frame, roles, order > (1 - LATER) * len(frame))


def itu() -> Iterator[Table]:
    """Six states of a 5G core from 33 unnamed numbers; ten minutes of rows hang together."""
    parts, judged = [], []
    for name in ("01_a_test", "01_c_test", "02_b_train"):
        folder = DATA / "itu_5gc_faults"
        values = pd.read_csv(folder / f"{name}_data.txt.gz", sep=r"\s+", header=None)
        labels = pd.to_numeric(
            pd.read_csv(folder / f"{name}_label.txt.gz", sep=r"\s+", header=None)[0], errors="coerce"
        ).dropna()
        rows = min(len(values), len(labels))
        part = values.iloc[:rows].set_axis([f"x{number}" for number in range(values.shape[1])], axis=1)
        part = part.assign(
            state=labels.to_numpy()[:rows].astype(int), stretch=[f"{name}-{row // 60}" for row in range(rows)]
        )
        parts.append(part)
        judged.append(np.arange(rows) >= (1 - LATER) * rows)
    yield Table(
        "itu, later rows",
        pd.concat(parts, ignore_index=True),
        Roles("state", group="stretch"),
        np.concatenate(judged),
    )


def nbiot() -> Iterator[Table]:
    """Coverage level of a modem's row from its radio numbers, each vendor judged by the others."""
    frame = read_logs(DATA / "nbiot_robinson").table
    frame = frame[frame["ecl"].notna()].reset_index(drop=True)
    told = [
        "rsrp_dbm",
        "rssi_dbm",
        "snr_db",
        "rsrq_db",
        "tx_power_dbm",
        "tx_time_ms",
        "energy",
        "max_current_ma",
        "idle_time_ms",
    ]
    for vendor in sorted(frame["vendor"].unique()):
        columns = frame[[*told, "ecl", "file"]]
        yield Table(
            f"nbiot, {vendor} by the others",
            columns,
            Roles("ecl", group="file", kind="classes"),
            (frame["vendor"] == vendor).to_numpy(),
        )


TABLES: dict[str, Callable[[], Iterator[Table]]] = {"youtube": youtube, "itu": itu, "nbiot": nbiot}


def judge(table: Table) -> dict[str, object]:
    """Return the scores on the judged rows."""
    learnt = read_study(table.frame[~table.judged].reset_index(drop=True), table.roles, table=table.name)
    selection = select(learnt, Settings(), Experts())
    whole = read_study(table.frame, table.roles, table=table.name)
    held = table.frame[table.roles.target].notna().to_numpy()
    judged = table.judged[held]
    fold = (np.flatnonzero(~judged), np.flatnonzero(judged))
    names = [learnt.names[column] for column in selection.columns]
    minimal = [learnt.names[column] for column in selection.minimal]
    sets = {
        "all": names,
        "selected": [learnt.names[column] for column in selection.selected],
        "minimal": minimal,
        "mRMR": mrmr(learnt, names, len(minimal)),
        "top SHAP": top_shap(learnt, names, len(minimal)),
    }
    told: dict[str, object] = {"table": table.name, "columns": len(learnt.names)}
    for name, some in sets.items():
        places = [whole.names.index(one) for one in some]
        score = float(boosting.scores(whole, places, [fold], boosting.Trees(rounds=150))[0])
        told |= {name: round(score, 3), f"of {name}": len(some)}
    nothing = 0.0 if whole.target.kind == "continuous" else 0.5
    told["kept"] = round(float(told["minimal"]) / float(told["all"]), 3)  # type: ignore[arg-type]
    told["kept above chance"] = round((float(told["minimal"]) - nothing) / (float(told["all"]) - nothing), 3)  # type: ignore[arg-type]
    return told


def top_shap(study: Study, names: list[str], count: int) -> list[str]:
    """Return the columns with the largest mean |SHAP| of one model."""
    X = study.X[:, [study.names.index(name) for name in names]]
    booster = boosting.fit(study, X, np.arange(len(X)), boosting.Trees(rounds=150))
    strength = np.abs(boosting.contributions(booster, X[:5000])).mean(axis=(0, 2))
    return [names[place] for place in np.argsort(-strength)[:count]]


def mrmr(study: Study, names: list[str], count: int) -> list[str]:
    """Return the most relevant, least redundant columns; none where the package is not installed."""
    try:
        import mrmr as package
    except ImportError:
        return []
    frame = pd.DataFrame(study.X, columns=study.names)[names]
    return list(
        package.mrmr_classif(
            frame.fillna(frame.median()),
            pd.Series(study.target.values),
            K=count,
            show_progress=False,
            n_jobs=1,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    rows = []
    for name in parser.parse_args().tables:
        for table in TABLES[name]():
            rows.append(judge(table))
            print(rows[-1], flush=True)
    print(pd.DataFrame(rows).to_string(index=False))
    print(f"wanted: kept at least {KEPT}, with at most a third of the columns")


if __name__ == "__main__":
    main()
