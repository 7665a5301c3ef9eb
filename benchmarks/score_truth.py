"""KQI scores from indicators beside the KQIs that the event log tells, in a simulated province.

    iotlens simulate province --devices 4000 --days 6 --seed 11 --out PROVINCE
    iotlens province load PROVINCE --workspace WS --targets
    iotlens indicators build --workspace WS
    OMP_NUM_THREADS=1 python benchmarks/score_truth.py WS --windows 12

For each service and KQI: Spearman's rank correlation of the score with the score of the measured value, over all rows
of a scope (95 % by 1,000 resamples of whole places), and the calibration: in fifths of the score, its mean and the mean
of what was measured. `--windows` of the moments that have targets are scored, evenly spread. All of it is simulated.
"""

import argparse
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from evaluation import service_scores
from evaluation.domain import Domain, read_domain
from evaluation.process import Kqi, ServiceModel
from evaluation.scoring_plan import plan
from features import province

RESAMPLES = 1000
FEWEST = 30  # rows


def measured(kqi: Kqi, values: pd.Series) -> pd.Series:
    """Return the score of measured values of a KQI, 0 to 100, between its anchors."""
    best, worst = kqi.excellent, kqi.unacceptable
    if kqi.curve == "log":
        values, best, worst = np.log(values.clip(lower=1e-9)), np.log(best), np.log(worst)
    return (100 * (values - worst) / (best - worst)).clip(0, 100)


def scores(workspace: Path, domain: Domain, service: ServiceModel, moments: list[datetime]) -> pd.DataFrame:
    """Return scope, scope_id, window_end and the score of each KQI at moments."""
    what, parts = plan(service, domain.measured), []
    names = ["scope", "scope_id", "window_end", *(kqi.id for kqi in service.kqis)]
    with tempfile.TemporaryDirectory() as scratch:
        for moment in moments:
            found = service_scores.tables(workspace, domain, what, at=moment, scratch=Path(scratch))
            parts += [table.select(names).to_pandas() for table in found]
    return pd.concat(parts, ignore_index=True)


def correlation(rows: pd.DataFrame, seed: int = 0) -> tuple[float, float, float]:
    """Return Spearman's correlation and its interval, whole places drawn again."""
    groups = [part[["score", "truth"]].to_numpy() for _, part in rows.groupby("scope_id")]
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(RESAMPLES if len(groups) > 1 else 0):
        again = np.concatenate([groups[at] for at in rng.integers(0, len(groups), len(groups))])
        if len(np.unique(again[:, 0])) > 1 and len(np.unique(again[:, 1])) > 1:
            drawn.append(spearmanr(again[:, 0], again[:, 1]).statistic)
    whole = float(spearmanr(rows["score"], rows["truth"]).statistic)
    low, high = np.nanquantile(drawn, [0.025, 0.975]) if drawn else (np.nan, np.nan)
    return whole, float(low), float(high)


def told(rows: pd.DataFrame) -> str:
    """Return the mean of score and truth by fifths of the score."""
    fifths = rows.groupby(pd.qcut(rows["score"].rank(method="first"), 5, labels=False))[
        ["score", "truth"]
    ].mean()
    return " ".join(f"{score:.0f}>{truth:.0f}" for score, truth in fifths.to_numpy())


def lines(workspace: Path, windows: int) -> Iterator[str]:
    """Yield a line for each service, KQI and scope."""
    domain, targets = read_domain(workspace), province.kqi_targets(workspace)
    for service in domain.services:
        mine = targets[(targets["service"] == service.id) & targets["value"].notna()]
        # devices have targets once a day; of the other moments, some
        daily = sorted(mine.loc[mine["scope"] == "device", "window_end"].unique())
        others = sorted(set(mine["window_end"].unique()) - set(daily))
        picked = others[:: max(1, len(others) // windows)] if windows else []
        moments = [pd.Timestamp(one).to_pydatetime() for one in sorted({*daily, *picked})]
        found = scores(workspace, domain, service, moments)
        for kqi in service.kqis:
            true = mine[mine["kqi"] == kqi.id].assign(truth=lambda one, kqi=kqi: measured(kqi, one["value"]))
            joined = found.rename(columns={kqi.id: "score"}).merge(
                true, on=["scope", "scope_id", "window_end"]
            )
            for scope, rows in joined.dropna(subset=["score", "truth"]).groupby("scope", sort=False):
                if len(rows) >= FEWEST and rows["score"].nunique() > 5 and rows["truth"].nunique() > 1:
                    whole, low, high = correlation(rows)
                    yield (
                        f"{service.id:13} {kqi.id:30} {scope:14} {len(rows):7,} {whole:6.2f}"
                        f" ({low:5.2f} to {high:5.2f})  {told(rows)}"
                    )


def main() -> None:
    """Print the table."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("workspace", type=Path)
    asked.add_argument("--windows", type=int, default=12)
    given = asked.parse_args()
    print(
        "service       kqi                            scope             rows   rho (95 %, simulated)  score>measured"
    )
    for line in lines(given.workspace, given.windows):
        print(line, flush=True)


if __name__ == "__main__":
    main()
