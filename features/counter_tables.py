"""COUNTERS as they lie in the lake: sums that can be added up, and the quarantine of rows that break a rule.

Rows never change once they lie there: of a window that is delivered twice the rows that lost are named in
lake/superseded, and `visible_sql` leaves them out.

What is delivered has a row for each bin of a sketch (COUNTERS); in the lake a sketch is one row (STORED), so that a
build reads and sums a fraction of the rows. Lakes of before have a row for each bin: their folder tells, and they are
read as sketches of one bin each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from features import lake, sketch
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
_OF_BIN = ("bin", "numerator", "denominator")
_NAMES = ", ".join(column.name for column in COUNTERS if column.name not in _OF_BIN)
STORED: tuple[Column, ...] = (
    *(column for column in COUNTERS if column.name != "bin"),
    ROW,  # the first of its rows
    Column("sketch", "int64[]", "-", "bins of a quantile, packed (features/sketch.py)", empty=True),
    Column("rows", "int64[]", "1", "place of each of these bins in the file", empty=True),
)
FOLDER = (
    "counters/sketches"  # of the lake, by date; in counters/ itself lie files of before, a row for each bin
)
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
        "what the columns hold that the rule looks at, or the nearest counter or column that is known",
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


def visible_sql(workspace: Path, chosen: Sequence[Path]) -> str:
    """Return the SQL of the rows that count (COUNTERS and `row`) of some files of the lake, at least one."""
    return long_sql(counted_sql(workspace, chosen, lake.deliveries(workspace, KIND)))


def counted_sql(workspace: Path, chosen: Sequence[Path], told: Mapping[str, lake.Delivery]) -> str:
    """Return the SQL of the rows that count (STORED) of some files of the lake, at least one.

    told: the commit records of all deliveries.
    """
    sources = {file.name.rpartition("-")[0] for file in chosen}
    hiding = (one for one in told.values() if not sources.isdisjoint(one.superseded))
    marks = [
        workspace / "lake" / file for one in hiding for file in one.files if file.startswith("superseded/")
    ]
    return unmarked_sql(chosen, marks)


def unmarked_sql(files: Sequence[Path], marks: Sequence[Path]) -> str:
    """Return the SQL of the rows (STORED) of files that no mark names as superseded: a sketch falls whole."""
    if not marks:
        return stored_sql(files)
    named = f"read_parquet([{listed(marks)}], hive_partitioning = false)"
    return (
        f"SELECT * FROM ({stored_sql(files)}) AS told ANTI JOIN {named} AS marks USING (source, row, counter)"
    )


def stored_sql(files: Sequence[Path]) -> str:
    """Return the SQL of the rows (STORED) of files of either form, at least one."""
    ours = [file for file in files if file.parent.parent.name == Path(FOLDER).name]
    before = [file for file in files if file.parent.parent.name != Path(FOLDER).name]
    parts = [f"SELECT * FROM read_parquet([{listed(ours)}], hive_partitioning = false)"] if ours else []
    if before:
        alone = f"CASE WHEN bin IS NOT NULL THEN [{sketch.packed_sql('bin', 'numerator')}] END AS sketch"
        place = "CASE WHEN bin IS NOT NULL THEN [row] END AS rows"
        read = f"read_parquet([{listed(before)}], hive_partitioning = false)"
        parts.append(f"SELECT * EXCLUDE (bin), {alone}, {place} FROM {read}")
    return " UNION ALL BY NAME ".join(parts)


def gathered_sql(rows: str) -> str:
    """Return the SQL of rows (STORED and `hidden`) of a relation of COUNTERS, `row` and `hidden`.

    hidden: whether a mark hides the row; what it hides of a sketch stays apart, so that it falls alone.
    """
    bins = f"list_sort(list(struct_pack(one := {sketch.packed_sql('bin', 'numerator')}, place := row)))"
    keys = f"{_NAMES}, hidden"
    return f"""
        SELECT {keys}, numerator, denominator, row, NULL::BIGINT[] AS sketch, NULL::BIGINT[] AS rows
        FROM {rows} WHERE bin IS NULL
        UNION ALL BY NAME
        SELECT {keys}, numerator, NULL::DOUBLE AS denominator, row,
               list_transform(bins, lambda held: held.one) AS sketch,
               list_transform(bins, lambda held: held.place) AS rows
        FROM (
            SELECT {keys}, sum(numerator) AS numerator, min(row) AS row, {bins} AS bins
            FROM {rows} WHERE bin IS NOT NULL GROUP BY {keys}
        )"""


def long_sql(stored: str) -> str:
    """Return the SQL of the rows as they were delivered (COUNTERS and `row`) of SQL of STORED."""
    bin_, count = sketch.unpacked_sql("one")
    names = {
        "bin": bin_,
        "numerator": f"CASE WHEN one IS NULL THEN numerator ELSE {count} END",
        "row": "place",
    }
    columns = ", ".join(
        f"{names[name]} AS {name}" if name in names else name
        for name in (column.name for column in (*COUNTERS, ROW))
    )
    return (
        f"SELECT {columns} FROM (SELECT *, unnest(coalesce(sketch, [NULL])) AS one,"
        f" unnest(coalesce(rows, [row])) AS place FROM ({stored}))"
    )


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
