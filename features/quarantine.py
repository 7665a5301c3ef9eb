"""The quarantine of counters, to be read by a person: how many rows broke which rule in which file, and the rows."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from features import lake
from features.counter_hints import nearest
from features.counter_rules import RULES
from features.counter_tables import KIND, quarantine_sql
from features.duck import connect

LIMIT_ROWS = 20
_WIDTH = 120  # characters, where no terminal tells its own
_ID_SHOWN = 12  # characters of a content id: enough for --source


@dataclass(frozen=True)
class Quarantine:
    """Part of the quarantine. counts: rule, file, source, rows. rows: QUARANTINE, the first `limit` of all `total`."""

    counts: pd.DataFrame
    rows: pd.DataFrame
    total: int

    def text(self) -> str:
        """Return it as a person reads it: what each rule asks, the counts, and the rows."""
        if not self.total:
            return "no row of counters is quarantined here"
        asked = [
            f"{rule}: not so that {RULES[rule].says}"
            for rule in self.counts["rule"].unique()
            if rule in RULES
        ]
        counts = [
            f"{rows:>9,}  {rule:<30}  {file} ({source[:_ID_SHOWN]})"
            for rule, file, source, rows in self.counts[["rule", "file", "source", "rows"]].itertuples(
                index=False
            )
        ]
        shown = f"{len(self.rows):,} of {self.total:,} rows"
        more = " (--format csv prints them uncut)" if len(self.rows) else ""
        return "\n".join([*asked, "", *counts, "", f"{shown}{more}", *_told(self.rows)])

    def csv(self) -> str:
        """Return the rows as CSV, with a header."""
        return self.rows.to_csv(index=False)


def read(
    workspace: Path, *, rule: str | None = None, source: str | None = None, limit: int = LIMIT_ROWS
) -> Quarantine:
    """Return what is quarantined, of one rule or one file where these are told.

    source: path of a file as it was delivered, or the beginning of its content id. Raises LookupError with the nearest
    of an unknown rule or file.
    """
    if rule is not None and rule not in RULES:
        raise LookupError(f"no rule {rule!r}{nearest(rule, RULES)}; docs/counters.md lists them")
    records = lake.deliveries(workspace, KIND).values()
    if source is not None and not any(one.path == source or one.source.startswith(source) for one in records):
        near = nearest(source, [one.path for one in records])
        raise LookupError(f"no file of counters {source!r} was delivered to {workspace}{near}")
    chosen = f"({quarantine_sql(workspace)}) WHERE rule = coalesce($rule, rule)"
    chosen += " AND ($source IS NULL OR file = $source OR starts_with(source, $source))"
    told = {"rule": rule, "source": source}
    with connect(threads=1) as connection:
        counts = connection.execute(
            f"SELECT rule, file, source, count(*) AS rows FROM {chosen} GROUP BY ALL ORDER BY rows DESC, rule, file",
            told,
        ).df()
        rows = connection.execute(
            f"SELECT * FROM {chosen} ORDER BY ALL LIMIT $limit", {**told, "limit": limit}
        ).df()
    return Quarantine(counts, rows, int(counts["rows"].sum()))


def _told(rows: pd.DataFrame) -> Iterator[str]:
    """Yield two lines of each row, as wide as the terminal at most: where and why, and what stands there."""
    width = shutil.get_terminal_size((_WIDTH, 0)).columns
    for one in rows.to_dict("records"):
        hint = "" if pd.isna(one["hint"]) else f", {one['hint']}"
        for line in (f"{Path(one['file']).name} row {one['row']}: {one['rule']}{hint}", f"    {one['told']}"):
            text = " ".join(line.splitlines())
            yield text if len(text) <= width else f"{text[: width - 3]}..."
