"""Which days of a simulated province are worth a picture: those of the fault that a KQI shows most."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from evaluation import day
from evaluation.day import Page, Panel
from evaluation.faults import find_catalogue, read_catalogue
from evaluation.process import Kqi, read_services
from features import indicator_tables, province
from features.configuration import nearest
from features.indicators import Indicator, all_indicators

SCOPES = ("cell", "tac", "mme", "platform_node", "app", "fleet")  # of faults that many devices share
HOUR = pd.Timedelta("1h")
SHORTEST, AROUND = 2 * HOUR, 12 * HOUR
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


@dataclass(frozen=True)
class _Shown:
    """A fault and the KQI that shows it. shift: how much, as `worse` tells."""

    shift: float
    fault: Happened
    kqi: Kqi


def draw(directory: Path, workspace: Path, *, cause: str | None = None) -> Page:
    """Return the page of the fault that some KQI of its own element shows most, and of all others at that element.

    directory: of the simulated province, whose truth names the faults. workspace: it was loaded there with its
    targets, and its indicators are built. cause: of the faults with that id alone. Raises LookupError where no KQI
    shows a fault.
    """
    faults, targets = _faults(directory), province.kqi_targets(workspace)
    if targets.empty:
        raise LookupError(f"no KQI in {workspace}; iotlens province load {directory} --targets brings them")
    names = {one.id: one.name for one in read_catalogue(find_catalogue(workspace)).faults}
    if cause is not None and cause not in (known := {*names, *(one.cause for one in faults)}):
        raise LookupError(
            f"no fault {cause!r} in the catalogue or in {directory}; {nearest(cause, sorted(known))}"
        )
    shown = _most(targets, [one for one in faults if cause in (None, one.cause)], workspace)
    if shown is None:
        causes = sorted({one.cause for one in faults})
        raise LookupError(
            f"no KQI shows a {cause or 'shared'} fault of {directory} that lasts {SHORTEST / HOUR:g} h; simulate more"
            f" days or devices. Shared ones that last: {', '.join(causes) or 'none'}"
        )
    fault = shown.fault
    panels = (_kqi_panel(targets, fault, shown.kqi), *_indicator_panels(workspace, fault))
    here = tuple(
        day.Fault(names.get(one.cause, one.cause), one.onset, one.end)
        for one in faults
        if (one.location_scope, one.location_id) == (fault.location_scope, fault.location_id)
    )
    heading = f"{names.get(fault.cause, fault.cause)} at {fault.location_id}"
    return Page(heading, _told(fault, panels, shown.kqi), panels, here)


def _most(targets: pd.DataFrame, faults: Iterable[Happened], workspace: Path) -> _Shown | None:
    """Return the fault that some KQI of its own element shows most, None where none does."""
    kqis = {kqi.id: kqi for service in read_services(workspace) for kqi in service.kqis}
    best: _Shown | None = None
    for fault in faults:
        here = (targets["scope"] == fault.location_scope) & (targets["scope_id"] == fault.location_id)
        for name, rows in targets[here].groupby("kqi"):
            shift = worse(rows.set_index("window_end")["value"], fault, kqis[str(name)])
            if shift > (best.shift if best else 0.0):
                best = _Shown(shift, fault, kqis[str(name)])
    return best


def _told(fault: Happened, panels: Sequence[Panel], shown: Kqi) -> tuple[str, ...]:
    """Return what is seen, in words: the KQI first, what speaks against it, then the indicators."""
    kqi, *others = (_moved(panel, fault) for panel in panels)
    lasts = f"{fault.onset:%-d %B %H:%M} to {fault.end:%-d %B %H:%M} UTC"
    below = "No indicator moved."
    if others:
        below = f"The indicators there that moved most: {'; '.join(others)}."
    first = f"What customers saw while the fault lasted ({lasts}), in the median of its windows: {kqi}."
    against = worse_outside(panels[0].values, fault, shown)
    return (first, *([against] if against else []), below)


def worse_outside(values: "pd.Series[float]", fault: Happened, kqi: Kqi) -> str:
    """Return a sentence on the worst window outside a fault where that is worse than any in it; "" where none is."""
    known = values.dropna()
    ends = cast(pd.DatetimeIndex, known.index)
    during = np.asarray((ends > fault.onset) & (ends <= fault.end))
    badness = known * np.sign(kqi.unacceptable - kqi.excellent)
    if during.all() or not during.any() or badness[~during].max() <= badness[during].max():
        return ""
    at = badness[~during].idxmax()
    return (
        f"Outside the fault one window was worse than any in it: {known[at]:.4g} {kqi.unit} in the one that ended at"
        f" {at:%-d %B %H:%M}. A window of few attempts says little by itself."
    )


def _moved(panel: Panel, fault: Happened) -> str:
    ends = cast(pd.DatetimeIndex, panel.values.index)
    during = np.asarray((ends > fault.onset) & (ends <= fault.end))
    before, after = (_middle(panel.values[rows].dropna(), panel.unit) for rows in (~during, during))
    return f"{panel.title} {after} instead of {before}"


def _middle(values: "pd.Series[float]", unit: str) -> str:
    if values.empty:
        return "unknown"
    return (
        f"{values.median():.4g} {unit} ({values.min():.4g} to {values.max():.4g}, windows: {len(values):,})"
    )


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
