"""Alarms against the truth of a simulated province: which faults were found, how soon, and which alarms were false.

Written down before anything was measured:

- A fault counts where it lies at a place (not at one device) and acts within the judged time, from the end of learning
  to the last window. One that had already begun is not asked for: it is part of what was learnt.
- An alarm tells of a fault where its place is the fault's, contains it, or lies within it, and where it was raised in
  the time that the fault was on, or up to `grace` after its end (a value may be that old).
- A fault is found where an alarm tells of it that was raised after its onset; minutes to detect run from the onset to
  the first of those.
- A cause (the alarms of one group) is false where none of its alarms tells of any fault of a place, those that had
  already begun included. False ones are counted per judged day. Faults of single devices excuse nothing. Beside the
  causes the single alarms that tell of no fault are counted: their number does not depend on how alarms are grouped.
- Alarms per fault: the causes, and the alarms, that tell of a fault, in the mean over those that were found.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from evaluation.alarm_table import Alarm, Place
from evaluation.cause_groups import Nesting, related


@dataclass(frozen=True)
class Span:
    """The judged time: from (exclusive) `begin` to `end`; grace: so long after a fault's end an alarm may be its."""

    begin: datetime
    end: datetime
    grace: timedelta

    @property
    def days(self) -> float:
        """How long it is, days."""
        return (self.end - self.begin) / timedelta(days=1)


@dataclass(frozen=True)
class Found:
    """What became of one province.

    faults: a row for each fault that was asked for: fault_id, cause, scope, found, minutes (NaN: not found), alarms,
    causes, exact (an alarm at the very place). causes: how many groups of alarms; false: how many of them.
    alarms: how many there are; false_alarms: how many of them.
    """

    faults: pd.DataFrame
    causes: int
    false: int
    alarms: int
    false_alarms: int
    days: float


def judge(alarms: Sequence[Alarm], truth: pd.DataFrame, within: Nesting, span: Span) -> Found:
    """Return what alarms told of the truth (truth.parquet) of a province. within: what contains what."""
    raised = [one for one in alarms if span.begin < one.raised <= span.end]
    places = truth[(truth["location_scope"] != "device") & (truth["onset"] < span.end)]
    places = places[places["end"] + span.grace > span.begin]
    told = _told(raised, places, within, span.grace)
    asked = places[(places["onset"] >= span.begin) & (places["end"] > span.begin)]
    rows = [_fault(row, raised, told[row["fault_id"]]) for row in asked.to_dict("records")]
    telling = {at for found in told.values() for at in found}
    true = {raised[at].cause for at in telling}
    causes = {one.cause for one in raised}
    names = [
        "fault_id",
        "cause",
        "scope",
        "hours",
        "severity",
        "found",
        "minutes",
        "alarms",
        "causes",
        "exact",
    ]
    false_alarms = len(raised) - len(telling)
    faults = pd.DataFrame(rows, columns=names)
    return Found(faults, len(causes), len(causes - true), len(raised), false_alarms, span.days)


def _told(
    raised: Sequence[Alarm], places: pd.DataFrame, within: Nesting, grace: timedelta
) -> Mapping[str, list[int]]:
    """Return by fault the rows of the alarms that tell of it."""
    found: dict[str, list[int]] = {}
    for fault in places.to_dict("records"):
        lies = Place(fault["location_scope"], fault["location_id"])
        found[fault["fault_id"]] = [
            at
            for at, one in enumerate(raised)
            if fault["onset"] < one.raised <= fault["end"] + grace
            and related(Place(one.scope, one.scope_id), lies, within)
        ]
    return found


def _fault(
    fault: Mapping[Hashable, object], raised: Sequence[Alarm], told: Sequence[int]
) -> tuple[object, ...]:
    onset, end = pd.Timestamp(str(fault["onset"])), pd.Timestamp(str(fault["end"]))
    first = min((raised[at].raised for at in told), default=None)
    minutes = (pd.Timestamp(first) - onset) / pd.Timedelta(minutes=1) if first else np.nan
    exact = any(
        (raised[at].scope, raised[at].scope_id) == (fault["location_scope"], fault["location_id"])
        for at in told
    )
    return (
        fault["fault_id"],
        fault["cause"],
        fault["location_scope"],
        (end - onset) / pd.Timedelta(hours=1),
        fault["severity"],
        bool(told),
        minutes,
        len(told),
        len({raised[at].cause for at in told}),
        exact,
    )
