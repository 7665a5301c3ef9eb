"""COUNTERS as they lie in the lake: sums that can be added up, and the quarantine of rows that break a rule.

Rows never change once they lie there: of a window that is delivered twice the rows that lost are named in
lake/superseded, and `visible_sql` leaves them out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from features import counter_conflicts, lake
from features.duck import connect, listed
from features.table import Column

KIND = "counters"
LONGEST_S, SHORTEST_S = 86_400, 60
COUNTERS: tuple[Column, ...] = (
    Column("scope", "string", "-", "what kind of thing was counted: device, cell, tac, ..."),
    Column("scope_id", "string", "-", "which one"),
    Column("window_start", "timestamp", "UTC", "first instant of what was counted"),
    Column("window_s", "int64", "s", "how long; it divides a day", low=SHORTEST_S, high=LONGEST_S),
    Column("counter", "string", "-", "numerator/denominator of a ratio, else the sample's name"),
    Column(
        "bin",
        "int64",
        "1",
        "bin of a quantile's sketch (features/sketch.py); empty for the others",
        empty=True,
    ),
    Column(
        "numerator", "float64", "-", "sum of the numerator or of samples (of milliwatts); samples in the bin"
    ),
    Column(
        "denominator", "float64", "-", "sum of the denominator; samples of a mean; empty for bins", empty=True
    ),
    Column("element", "string", "-", "network element that counted"),
    Column("vendor", "string", "-", "who made it"),
    Column("received", "timestamp", "UTC", "when it was delivered"),
    Column("source", "string", "-", "content id of the file"),
)
ROW = Column("row", "int64", "1", "place in the file, from 0", low=0)
QUARANTINE: tuple[Column, ...] = (
    Column("file", "string", "-", "the file, as it was given"),
    Column("source", "string", "-", "its content id"),
    ROW,
    Column("counter", "string", "-", "the counter, where the row tells one", empty=True),
    Column("rule", "string", "-", "the first rule that it breaks (features/counter_rules.py)"),
    Column("told", "string", "-", "the row itself, as JSON; of a ragged row its text"),
)


@dataclass(frozen=True)
class Tally:
    """All rows that were ever delivered: rows = used + quarantined."""

    rows: int
    used: int
    quarantined: int


def files(workspace: Path) -> list[Path]:
    """Return the Parquet files of all counters in the lake; `visible_sql` says which of their rows count."""
    return lake.delivered(workspace, KIND, "counters")


def visible_sql(workspace: Path, chosen: Sequence[Path]) -> str:
    """Return the SQL of the rows that count (COUNTERS and `row`) of some files of the lake, at least one."""
    return counter_conflicts.visible_sql(chosen, lake.delivered(workspace, KIND, "superseded"))


def tally(workspace: Path) -> Tally:
    """Return how many rows of all deliveries are used and how many quarantined."""
    records = lake.deliveries(workspace, KIND).values()
    superseded = sum(sum(record.superseded.values()) for record in records)
    used = sum(record.used for record in records) - superseded
    bad = sum(sum(record.quarantined.values()) for record in records) + superseded
    return Tally(sum(record.rows for record in records), used, bad)


def quarantined(workspace: Path) -> pd.DataFrame:
    """Return QUARANTINE of all deliveries."""
    found = lake.delivered(workspace, KIND, "quarantine")
    if not found:
        return pd.DataFrame({column.name: pd.Series([], dtype="string") for column in QUARANTINE})
    with connect(threads=2) as connection:
        return connection.execute(
            f"SELECT * FROM read_parquet([{listed(found)}], hive_partitioning = false) ORDER BY ALL"
        ).df()
