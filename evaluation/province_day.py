"""Which days of a simulated province are worth a picture: those of the fault that a KQI shows most."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from evaluation import day
from evaluation.day import Panel
from evaluation.faults import find_catalogue, read_catalogue
from evaluation.process import Kqi, read_services
from features import indicator_tables, province
from features.indicators import Indicator, all_indicators

SCOPES = ("cell", "tac", "mme", "platform_node", "app", "fleet")  # of faults that many devices share
SHORTEST, AROUND = pd.Timedelta("2h"), pd.Timedelta("12h")
INDICATORS = 2  # shown below the KQI
LEAST_NOISE = 0.01  # of excellent to unacceptable: what never moves outside a fault is not infinitely clear
LEAST_VALUES = 3  # in a fault and outside it; below, nothing is shown by them


@dataclass(frozen=True)
class Happened:
    """One row of the truth of a province."""

    cause: str
    location_scope: str
    location_id: str
    onset: pd.Timestamp
    end: pd.Timestamp


def draw(directory: Path, workspace: Path) -> str:
    """Return the picture of the fault that some KQI of its own element shows most, and of all others at that element.

    directory: of the simulated province, whose truth names the faults. workspace: it was loaded there with its
    targets, and its indicators are built. Raises LookupError where no KQI shows a fault.
    """
    targets = province.kqi_targets(workspace)
    kqis = {kqi.id: kqi for service in read_services(workspace) for kqi in service.kqis}
    best: tuple[float, Happened, Kqi] | None = None
    for fault in _faults(directory):
        mine = targets[
            (targets["scope"] == fault.location_scope) & (targets["scope_id"] == fault.location_id)
        ]
        for name, rows in mine.groupby("kqi"):
            kqi = kqis[str(name)]
            shift = worse(rows.set_index("window_end")["value"], fault, kqi)
            if shift > (best[0] if best else 0.0):
                best = (shift, fault, kqi)
    if best is None:
        raise LookupError(
            f"no KQI of {directory} shows a shared fault of {SHORTEST}; simulate more days or devices"
        )
    _, fault, kqi = best
    panels = [_kqi_panel(targets, fault, kqi), *_indicator_panels(workspace, fault)]
    catalogue = read_catalogue(find_catalogue(workspace))
    names = {one.id: one.name for one in catalogue.faults}
    named = names[fault.cause]
    here = (fault.location_scope, fault.location_id)
    spans = [
        day.Fault(names[one.cause], one.onset, one.end)
        for one in _faults(directory)
        if (one.location_scope, one.location_id) == here
    ]
    return day.picture(f"{fault.location_id}: {named}", panels, spans, simulated=True)


def worse(values: "pd.Series[float]", fault: Happened, scale: Kqi | Indicator) -> float:
    """Return how much worse values are in a fault than outside it, in standard deviations outside it.

    values: by the end of their window. 0 where too few of them tell; below 0 for the better.
    """
    known = values.dropna()
    ends = cast(pd.DatetimeIndex, known.index)
    during = np.asarray((ends > fault.onset) & (ends <= fault.end))
    if min(during.sum(), (~during).sum()) < LEAST_VALUES:
        return 0.0
    outside = known[~during]
    shift = float(known[during].median() - outside.median())
    whole = scale.unacceptable - scale.excellent
    return float(shift * np.sign(whole) / max(outside.std(), LEAST_NOISE * abs(whole)))


def _faults(directory: Path) -> list[Happened]:
    truth = pd.read_parquet(directory / "truth.parquet")
    shared = truth[truth["location_scope"].isin(SCOPES) & (truth["end"] - truth["onset"] >= SHORTEST)]
    names = ["cause", "location_scope", "location_id", "onset", "end"]
    return [Happened(*row) for row in shared[names].itertuples(index=False, name=None)]


def _kqi_panel(targets: pd.DataFrame, fault: Happened, kqi: Kqi) -> Panel:
    rows = targets[
        (targets["scope"] == fault.location_scope)
        & (targets["scope_id"] == fault.location_id)
        & (targets["kqi"] == kqi.id)
    ]
    return Panel(kqi.name, kqi.unit, _near(rows.set_index("window_end")["value"], fault))


def _indicator_panels(workspace: Path, fault: Happened) -> list[Panel]:
    """Return the indicators of the element that the fault makes worse most."""
    wide = indicator_tables.rows(workspace, fault.location_scope)
    mine = wide[wide["scope_id"] == fault.location_id].set_index("window_end")
    there = [one for one in all_indicators(workspace) if one.id in mine]
    ranked = sorted(there, key=lambda one: -worse(mine[one.id], fault, one))
    return [
        Panel(one.name, one.unit, _near(mine[one.id], fault), one.healthy_range)
        for one in ranked[:INDICATORS]
    ]


def _near(values: "pd.Series[float]", fault: Happened) -> "pd.Series[float]":
    ordered = values.sort_index()
    ends = ordered.index
    return ordered[(ends > fault.onset - AROUND) & (ends <= fault.end + AROUND)]
