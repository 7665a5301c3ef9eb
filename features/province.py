"""A simulated province into a lake: its files as an operator would deliver them, and never its truth."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features import counters, events, flow_tables, lake, membership, records, terminal
from features.duck import as_frame
from features.indicators import all_indicators
from features.table import Column, empty_table

TARGETS: tuple[Column, ...] = (
    Column("service", "string", "-", "id of the service (configs/services)"),
    Column("kqi", "string", "-", "id of the KQI"),
    Column("scope", "string", "-", "device, cell, ..."),
    Column("scope_id", "string", "-", "which one"),
    Column("window_end", "timestamp", "UTC", "first instant after the window"),
    Column(
        "value",
        "float64",
        "-",
        "in the unit of the KQI, from the event log; empty: nothing happened",
        empty=True,
    ),
)
TARGETS_KIND = "targets"
_TABLES = (("membership.parquet", membership.load), ("terminal", terminal.load), ("events", events.load))
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProvinceSummary:
    """What one call of `load` did, by what it loaded."""

    told: tuple[str, ...]
    failed: bool

    def text(self) -> str:
        """Return the summary as a person reads it."""
        return "\n".join(("a simulated province:", *self.told))


def load(directory: Path, workspace: Path, *, targets: bool = False) -> ProvinceSummary:
    """Load all that an operator would have of a directory that `iotlens simulate province` wrote.

    That is membership, terminal records, the event log, counters and flows. targets: also kqi.parquet, which models
    learn from. The truth (truth, cases and device_truth) is never read. Loading again changes nothing.
    Raises FileNotFoundError where the directory is no simulated province, ValueError where the workspace holds
    captures: the flows of a province cannot be compared with theirs.
    """
    needed = [directory / name for name in (lake.SIMULATED, "membership.parquet", "counters")]
    if lacking := [path.name for path in needed if not path.exists()]:
        fact = f"{directory} lacks {', '.join(lacking)}"
        raise FileNotFoundError(
            f"a simulated province has membership and counters, but {fact}; simulate one first"
        )
    all_indicators(workspace)  # a wrong configuration is told before anything has changed
    flow_tables.check_settings(workspace, None)
    loads: list[records.LoadSummary] = []
    for name, load_kind in _TABLES:
        if (directory / name).exists():
            log.info("loading %s", directory / name)
            loads.append(load_kind([str(directory / name)], workspace))
    log.info("loading %s", directory / "counters")
    counted = counters.ingest([str(directory / "counters")], workspace)
    flows = [str(directory / "flows")] if (directory / "flows").is_dir() else []
    if flows:
        log.info("loading %s", flows[0])
    flowed = flow_tables.load(flows, workspace)
    if targets:
        kqi = [str(directory / "kqi.parquet")]
        loads.append(records.load(kqi, workspace, records.Contract(TARGETS_KIND, TARGETS, "window_end")))
    failed = bool(counted.failed or flowed.failures or any(one.failures for one in loads))
    return ProvinceSummary((*(one.text() for one in loads), flowed.text(), counted.text()), failed)


def kqi_targets(workspace: Path) -> pd.DataFrame:
    """Return TARGETS of the lake: the KQIs of simulated provinces that were loaded with their targets."""
    found: Sequence[Path] = lake.delivered(workspace, TARGETS_KIND, TARGETS_KIND)
    if not found:
        return empty_table(TARGETS)
    return as_frame(pa.concat_tables(pq.read_table(file, partitioning=None) for file in found), TARGETS)
