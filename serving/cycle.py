"""The cycle of a workspace: every 15 minutes all that is new becomes windows, answers, marks, scores and alarms.

Each step is done for one window's end, and puts its table in the place of what it wrote for the same end before, as a
whole: a cycle that was killed is walked again and gives the same tables. Its report is written last.
"""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from evaluation import mark_door, service_of_label, service_scores, watch_tables
from evaluation.domain import Domain, read_domain
from features import counter_tables, indicator_tables, indicator_windows, lake, store, windows
from features.days import file_of
from features.one_writer import one_writer
from features.whole_file import sweep
from serving import cycle_report, identify_all
from serving.cycle_report import Counts, Report

log = logging.getLogger(__name__)
EVERY = timedelta(minutes=15)
MOST = 7 * 96  # windows that one call catches up: a week


@dataclass(frozen=True)
class Window:
    """What a step works on: one window of a workspace."""

    workspace: Path
    domain: Domain
    end: datetime

    def table(self, kind: str) -> Path:
        """Return where a table of the window lies: WORKSPACE/KIND/date=DATE/HHMM.parquet."""
        return file_of(self.workspace / kind, self.end)

    def sweep(self) -> None:
        """Remove what a killed cycle of the day was writing; of tables that only a cycle writes."""
        services = [f"scored/{service.id}" for service in self.domain.services]
        for kind in ("identified", "abnormal", cycle_report.FOLDER, *services):
            sweep(self.table(kind).parent)


def walk(workspace: Path, until: datetime) -> Iterator[Report]:
    """Do every window that is due up to a window's end, oldest first, and yield the report of each.

    Raises ValueError for a moment that ends no window, FileNotFoundError where there is no lake, TimeoutError where
    another cycle is at work.
    """
    if not (workspace / "lake").is_dir():
        raise FileNotFoundError(f"no lake in {workspace}; ingest captures or counters first")
    with one_writer(workspace / cycle_report.FOLDER):
        ends = cycle_report.pending(workspace, until, every=EVERY, most=MOST)
        domain = read_domain(workspace)
        for end in tqdm(ends, desc="windows", delay=2, disable=None if len(ends) > 1 else True):
            yield _done(Window(workspace, domain, end))


def _done(window: Window) -> Report:
    window.sweep()
    told: dict[str, Counts] = {}
    for name, work in _STEPS.items():
        log.info("cycle: %s, %s", f"{window.end:%FT%TZ}", name)  # the last one names the step that killed it
        began = time.monotonic()
        counts = work(window)
        told[name] = {**counts, "seconds": round(time.monotonic() - began, 3)}
    report = Report(window.end, told, _ages(window), lake.is_simulated(window.workspace))
    report.write(window.workspace)
    return report


def _windows(window: Window) -> Counts:
    """Bring the windows of flows that have ended by this one up to date, late rows too, and write them online."""
    if not lake.records(window.workspace):
        return {"skipped": "no flows"}
    built = windows.build(window.workspace, window_end=window.end)
    online = store.open(window.workspace).publish(window.end)
    return {"changed": sum(built.written.values()), "online": online}


def _indicators(window: Window) -> Counts:
    """Bring the indicators up to date, late counters too, of windows that end by this one."""
    if not lake.deliveries(window.workspace, counter_tables.KIND):
        return {"skipped": "no counters"}
    built = indicator_windows.build(window.workspace, window_end=window.end)
    return {"computed": sum(built.computed.values()), "changed": sum(built.written.values())}


def _identify(window: Window) -> Counts:
    run = identify_all.servable_run(window.workspace)
    if run is None or not lake.records(window.workspace):
        return {"skipped": "no flows" if run else "no run that reads windows of the store"}
    services = service_of_label.read_service_of_label(
        [one.id for one in window.domain.services], window.workspace
    )
    out = window.table("identified")
    return {
        "devices": identify_all.identify_all(window.workspace, run, at=window.end, services=services, out=out)
    }


def _mark(window: Window) -> Counts:
    marking = mark_door.open_marking(window.workspace)
    done = mark_door.mark_lake(window.workspace, marking, at=pd.Timestamp(window.end))
    return {
        "devices": len(done.probabilities),
        "marks": len(done.held),
        "online": store.open(window.workspace).publish_marks(),
    }


def _score(window: Window) -> Counts:
    if not indicator_tables.root(window.workspace).is_dir():
        return {"skipped": "no indicators"}
    scored: dict[str, int | float | str] = {}
    for service in window.domain.services:
        out = window.table(f"scored/{service.id}")
        done = service_scores.write(window.workspace, window.domain, service, at=window.end, out=out)
        scored[service.id] = sum(done.rows.values())
    return scored


def _alarms(window: Window) -> Counts:
    if not indicator_tables.root(window.workspace).is_dir():
        return {"skipped": "no indicators"}
    done = watch_tables.write(
        window.workspace,
        until=window.end,
        out=watch_tables.alarms_path(window.workspace),
        devices_out=watch_tables.devices_path(window.workspace, window.end),
    )
    learning = done.watched.learning_until
    return {
        "alarms": len(done.watched.alarms),
        "abnormal devices": sum(done.kinds.values()),
        **({"none raised before": f"{learning:%FT%TZ}"} if learning else {}),
    }


_STEPS: dict[str, Callable[[Window], Counts]] = {
    "windows": _windows,
    "indicators": _indicators,
    "identify": _identify,
    "mark": _mark,
    "score": _score,
    "alarms": _alarms,
}


def _ages(window: Window) -> dict[str, float]:
    """Return how old the newest window of each scope of indicators is at the window's end, s."""
    newest = indicator_tables.newest_ends(window.workspace, until=window.end)
    return {scope: (window.end - end).total_seconds() for scope, end in newest.items()}
