"""COUNTERS as they lie in the lake: sums that can be added up, and the quarantine of rows that break a rule.

Rows never change once they lie there: of a window that is delivered twice the rows that lost are named in
lake/superseded, and `visible_sql` leaves them out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from features import lake
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
    Column("told", "string", "-", "the row itself, as JSON; of a line of a CSV that is no row its text"),
    Column(
        "hint",
        "string",
        "-",
        "which column or counter: what it holds, or the nearest that is known",
        empty=True,
    ),
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


def visible_sql(
    workspace: Path, chosen: Sequence[Path], records: Mapping[str, lake.Delivery] | None = None
) -> str:
    """Return the SQL of the rows that count (COUNTERS and `row`) of some files of the lake, at least one.

    records: of all deliveries, where the caller has read them before.
    """
    told = lake.deliveries(workspace, KIND) if records is None else records
    sources = {file.name.rpartition("-")[0] for file in chosen}
    hiding = (one for one in told.values() if not sources.isdisjoint(one.superseded))
    marks = [
        workspace / "lake" / file for one in hiding for file in one.files if file.startswith("superseded/")
    ]
    return unmarked_sql(chosen, marks)


def unmarked_sql(files: Sequence[Path], marks: Sequence[Path]) -> str:
    """Return the SQL of the rows of files that no mark names as superseded."""
    rows = f"SELECT * FROM read_parquet([{listed(files)}], hive_partitioning = false)"
    if not marks:
        return rows
    named = f"read_parquet([{listed(marks)}], hive_partitioning = false)"
    return f"{rows} AS told ANTI JOIN {named} AS marks USING (source, row, counter)"


def tally(workspace: Path) -> Tally:
    """Return how many rows of all deliveries are used and how many quarantined."""
    records = lake.deliveries(workspace, KIND).values()
    superseded = sum(sum(record.superseded.values()) for record in records)
    used = sum(record.used for record in records) - superseded
    bad = sum(sum(record.quarantined.values()) for record in records) + superseded
    return Tally(sum(record.rows for record in records), used, bad)


def quarantined(workspace: Path) -> pd.DataFrame:
    """Return QUARANTINE of all deliveries."""
    with connect(threads=2) as connection:
        return connection.execute(f"{quarantine_sql(workspace)} ORDER BY ALL").df()


def quarantine_sql(workspace: Path) -> str:
    """Return the SQL of QUARANTINE of all deliveries; one of before `hint` was told has none."""
    empty = ", ".join(
        f"CAST(NULL AS {'BIGINT' if column is ROW else 'VARCHAR'}) AS {column.name}" for column in QUARANTINE
    )
    sql = f"SELECT {empty} WHERE false"
    if found := lake.delivered(workspace, KIND, "quarantine"):
        read = f"read_parquet([{listed(found)}], hive_partitioning = false, union_by_name = true)"
        sql += f" UNION ALL BY NAME SELECT * FROM {read}"
    return f"SELECT * FROM ({sql})"
