"""What the indicators of a simulated province are, straight from its counters: for checks and pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.dataset as ds

from features import sketch
from features.indicators import Indicator, Mean, Quantile, Ratio

_COLUMNS = ["scope", "scope_id", "window_start", "window_s", "counter", "bin", "numerator", "denominator"]


def counters(folder: Path, *, scope: str, ids: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the counters of one scope, of some of its elements or of all."""
    wanted = pc.field("scope") == scope
    if ids is not None:
        wanted &= pc.field("scope_id").isin(list(ids))
    found: pd.DataFrame = (
        ds.dataset(folder / "counters").to_table(columns=_COLUMNS, filter=wanted).to_pandas()
    )
    return found


def value(rows: pd.DataFrame, indicator: Indicator) -> float:
    """Return an indicator over all rows given; NaN without any, or below its least number of samples."""
    own = rows[rows["counter"] == indicator.counter]
    if own.empty:
        return float("nan")
    aggregate = indicator.aggregate
    if isinstance(aggregate, Quantile):
        return _quantile(own, aggregate.q)
    share = own["numerator"].sum() / own["denominator"].sum()
    if isinstance(aggregate, Ratio):
        return float(aggregate.scale * share)
    if isinstance(aggregate, Mean) and aggregate.average == "milliwatt":
        return float(10 * np.log10(share))
    return float(share)


def _quantile(rows: pd.DataFrame, q: float) -> float:
    bins = rows.groupby("bin")["numerator"].sum().sort_index()
    reached = np.searchsorted(bins.cumsum().to_numpy(), q * bins.sum())
    at = bins.index.to_numpy().astype("int64")[min(int(reached), len(bins) - 1)]
    return float(sketch.values(np.array([at]))[0])
