"""The values of every scope and window, built from the counters of the lake, kept version by version.

A row whose counters changed is written again with a new `created`, and its old version stays: what was known when,
can be told.
"""

import logging
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from features import counter_tables, indicator_devices, indicator_places, indicator_sums, kept_sql, lake
from features.built import now_after, recall, remember
from features.days import DAY_S
from features.indicator_changes import Built, present, since
from features.indicator_plan import Plan
from features.indicator_tables import root
from features.indicators import IndicatorSet, all_indicators, read_indicators

log = logging.getLogger(__name__)
_BEGUN = "begun.json"  # what a build makes rows from that is not done yet


@dataclass(frozen=True)
class BuildSummary:
    """What a build did, by scope: rows computed, and written since they are new or changed."""

    computed: dict[str, int]
    written: dict[str, int]

    def text(self) -> str:
        """Return one line for a person."""
        parts = [
            f"{scope} {self.written[scope]:,} new or changed of {n:,}" for scope, n in self.computed.items()
        ]
        return "indicators: " + (", ".join(parts) or "nothing new")


def build(workspace: Path, *, window_end: datetime | None = None) -> BuildSummary:
    """Compute the windows whose counters, membership or definition changed, and write the rows that are new or changed.

    window_end: aware; windows that end later are left to a later build. Doing it again writes nothing; after an
    interruption the same call completes it. Raises LookupError where the lake holds no counters, ValueError for
    windows that no day is a multiple of.
    """
    if window_end is not None and window_end.tzinfo is None:
        raise ValueError(f"window_end must be an aware datetime, however: {window_end!r}")
    if not lake.deliveries(workspace, counter_tables.KIND):  # before a lake is made where there is none
        raise LookupError(
            f"no counters in the lake of {workspace}; run iotlens counters ingest or province load first, or give"
            " another --workspace"
        )
    settings, indicators = read_indicators(workspace), all_indicators(workspace)
    _check(settings)
    with lake.writing(workspace) as scratch, kept_sql.remembered(workspace / "lake"):
        built, killed = recall(root(workspace), Built), recall(root(workspace), Built, file=_BEGUN)
        created = now_after(max((one.created for one in (built, killed) if one), default=None))
        now = present(workspace, settings, indicators, until=window_end, created=created)
        change = since(built, now, workspace)
        if killed:  # rows made from what was there then may lie in the lake
            change = change.and_also(since(killed, now, workspace))
        remember(root(workspace), now, file=_BEGUN)
        summary = _compute(Plan(workspace, scratch, settings, indicators, created, window_end, change))
        remember(root(workspace), replace(now, pending=change.beyond_end(window_end)))
        (root(workspace) / _BEGUN).unlink()
    return summary


def _check(settings: IndicatorSet) -> None:
    if lacking := sorted(indicator_sums.PARENT.keys() - settings.windows.keys()):
        raise ValueError(f"windows must have every place that counters are summed into, but lack {lacking}")
    for scope, window in settings.windows.items():
        if scope != "device" and DAY_S % window.length_s:
            raise ValueError(f"windows.{scope}.length_s must divide a day, but is {window.length_s}")


def _compute(plan: Plan) -> BuildSummary:
    computed: Counter[str] = Counter()
    written: Counter[str] = Counter()
    if days := plan.change.dates:
        log.info("indicators: places, of %d days, %s to %s", len(days), days[0], days[-1])
    with plan.open() as connection:
        for scope, counts in indicator_places.build(connection, plan):
            computed[scope] += counts[0]
            written[scope] += counts[1]
        log.info("indicators: devices, after %s windows of places", f"{computed.total():,}")
        for counts in indicator_devices.build(connection, plan):
            computed["device"] += counts[0]
            written["device"] += counts[1]
    return BuildSummary({scope: n for scope, n in computed.items() if n}, dict(written))
