"""How files of counters come into the lake: read, judged row by row, committed whole.

Good rows go to lake/counters, each bad one to lake/quarantine with the rule it breaks (features/counter_rules.py).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow.parquet as pq
from tqdm import tqdm

from features import counter_conflicts, counter_hints, lake, membership
from features.counter_ledger import LISTED_ELEMENTS, Ledger, Reach
from features.counter_mapping import VendorMapping, read_mapping
from features.counter_reading import open_long
from features.counter_rules import RULES, first_broken, known_counters
from features.counter_staging import stage
from features.counter_summary import CounterSummary, Outcome, summary
from features.counter_tables import COUNTERS, KIND
from features.counter_wide import WideFile, open_wide
from features.duck import connect, listed
from features.indicators import Indicator, all_indicators, read_indicators
from features.records import contents, find_files
from features.sources import Content, is_simulated

_READING = 3  # raised when the code makes other rows of the same bytes: every file is then read anew
_MEMORY = "2GB"


@dataclass(frozen=True)
class _Plan:
    """What decides how a file is read."""

    workspace: Path
    mapping: VendorMapping | None
    indicators: tuple[Indicator, ...]
    scopes: tuple[str, ...]
    reading: str
    scratch: Path


def ingest(sources: Sequence[str], workspace: Path, *, mapping: Path | None = None) -> CounterSummary:
    """Bring files of counters into the lake; one that lies there, read in the same way, changes nothing.

    sources: files, folders or globs of Parquet and CSV. mapping: a vendor's YAML, or its bare name in configs/vendors,
    for wide tables; None for the long form of COUNTERS.
    Each file is committed by itself: after an interruption the same call goes on where it was. A file that cannot be
    read, or gives nothing, is named in the summary. Raises FileNotFoundError (of a source), ValueError (of
    configuration or mapping) and TimeoutError (another process writes) before anything has changed.
    """
    indicators, paths = all_indicators(workspace), find_files(sources)
    vendor = read_mapping(mapping, workspace, indicators) if mapping else None
    scopes = tuple(read_indicators(workspace).windows)
    outcomes: list[Outcome] = []
    failures: list[tuple[str, str]] = []
    with lake.writing(workspace) as scratch:
        if any(is_simulated(path) for path in paths):
            lake.mark_simulated(workspace)
        plan = _Plan(workspace, vendor, indicators, scopes, _reading(vendor, indicators), scratch)
        ledger = Ledger(workspace, lake.deliveries(workspace, KIND))
        found = contents(paths)
        with connect(threads=2, scratch=scratch) as connection:
            _prepare(connection, plan)
            for path, content in tqdm(found.items(), desc="counters", delay=2, disable=None):
                if isinstance(content, str):
                    failures.append((str(path), content))
                    continue
                try:
                    outcome = _one(connection, plan, path, content, ledger)
                except ValueError as error:
                    failures.append((str(path), str(error)))
                    continue
                outcomes.append(outcome)
                ledger.add(outcome.record)
    return summary(len(paths), outcomes, failures)


def _reading(mapping: VendorMapping | None, indicators: Sequence[Indicator]) -> str:
    """Return a hash of all that decides what a file's rows become, but for other deliveries."""
    told = None if mapping is None else mapping.model_dump()
    meanings = known_counters(indicators).to_pylist()
    rules = [(rule.name, rule.broken) for rule in RULES.values()]
    return hashlib.sha256(json.dumps([_READING, told, meanings, rules]).encode()).hexdigest()[:16]


def _prepare(connection: duckdb.DuckDBPyConnection, plan: _Plan) -> None:
    connection.execute(f"SET memory_limit = '{_MEMORY}'")
    connection.execute("SET preserve_insertion_order = true")
    connection.register("known", known_counters(plan.indicators))
    stays = membership.files(plan.workspace)
    told = [
        f"SELECT DISTINCT '{scope}' AS scope, {name} AS scope_id FROM stays WHERE {name} IS NOT NULL"
        for scope, name in (("device", "device_id"), *((place, place) for place in membership.PLACES))
    ]
    read = f"read_parquet([{listed(stays)}], hive_partitioning = false)"
    members = f"WITH stays AS (FROM {read}) {' UNION ALL '.join(told)}"
    nobody = "SELECT NULL::VARCHAR AS scope, NULL::VARCHAR AS scope_id WHERE false"
    connection.execute(f"CREATE TEMP TABLE members AS {members if stays else nobody}")


def _one(
    connection: duckdb.DuckDBPyConnection, plan: _Plan, path: Path, content: Content, ledger: Ledger
) -> Outcome:
    """Read one file into the lake. Raises ValueError where it cannot be read."""
    former = ledger.records.get(content.source)
    heals = former is not None and any(RULES[rule].heals for rule in former.quarantined)
    if former and former.reading == plan.reading and not heals:
        return Outcome("unchanged", former, {})
    readings, hints = _classify(connection, plan, path, content, ledger)
    counter_conflicts.settle(connection, ledger, source=content.source)
    record = _record(connection, plan, path, content, readings)
    if former and former.fingerprint == record.fingerprint:
        return Outcome("unchanged", former, hints)
    paths = {source: ledger.records[source].path for source in record.superseded}
    staged = stage(
        connection, plan.scratch, record, paths={**paths, record.source: record.path}, readings=readings
    )
    committed = lake.commit_delivery(plan.workspace, record, staged)
    return Outcome("replaced" if former else "new", committed, hints)


def _record(
    connection: duckdb.DuckDBPyConnection, plan: _Plan, path: Path, content: Content, readings: pd.DataFrame
) -> lake.Delivery:
    """Return the commit record of `judged` and `lost`, without its files."""
    counts = dict(connection.execute("SELECT rule, count(*) FROM judged GROUP BY rule").fetchall())
    used = counts.pop(None, 0)
    lost = dict(
        connection.execute("SELECT source, count(*) FROM lost GROUP BY source ORDER BY source").fetchall()
    )
    quarantined = dict(sorted(counts.items()))
    first, last, reach = _span(connection, readings)
    told = [plan.reading, used, quarantined, lost, _content(connection, readings)]
    return lake.Delivery(
        source=content.source,
        kind=KIND,
        path=str(path),
        bytes=content.bytes,
        reading=plan.reading,
        fingerprint=hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16],
        rows=used + sum(quarantined.values()),
        used=used,
        quarantined=quarantined,
        superseded=lost,
        first=first,
        last=last,
        files=(),
        end=reach.end.isoformat() if reach else "",
        elements=tuple(sorted(reach.elements)) if reach else (),
    )


def _classify(
    connection: duckdb.DuckDBPyConnection, plan: _Plan, path: Path, content: Content, ledger: Ledger
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Make `judged`: the rows of the file under COUNTERS, with `rule`, empty for good ones; and `hints`.

    Return the readings to be kept, and the hint of each rule that has one.
    """
    received = datetime.fromtimestamp(content.changed_ns / 1e9, UTC)
    readings = pd.DataFrame()
    if plan.mapping is None:
        flaw = open_long(connection, path, received)
    else:
        readings, flaw = open_wide(
            connection,
            WideFile(path, plan.mapping, received),
            indicators=plan.indicators,
            previous=partial(_previous, plan.mapping, ledger, content.source),
        )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE judged AS
        SELECT row, coalesce(found, {first_broken()}) AS rule, scope, scope_id, window_start,
               TRY_CAST(window_s AS BIGINT) AS window_s, counter, TRY_CAST(bin AS BIGINT) AS bin, numerator,
               denominator, element, vendor, received, '{content.source}' AS source, false AS hidden
        FROM (
            SELECT given.*, known.* EXCLUDE (counter), members.scope_id IS NULL AND given.scope IN (
                SELECT scope FROM members
            ) AS is_stranger
            FROM given LEFT JOIN known USING (counter)
            LEFT JOIN members ON members.scope = given.scope AND members.scope_id = given.scope_id
        )""",
        {"scopes": list(plan.scopes)},
    )
    return readings, counter_hints.tell(connection, flaw, [one.counter for one in plan.indicators])


def _previous(mapping: VendorMapping, ledger: Ledger, source: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the readings of running counters that other files of the vendor left from one window before the first row.

    rows: window_start and element. An older one says no more than none: the step from it is no window's count.
    """
    columns = ["scope_id", "element", "column", "window_start", "reading", "vendor", "scope"]
    tables = [pd.DataFrame(columns=columns)]
    times = rows["window_start"].dropna()
    if mapping.is_running and len(times):
        first = times.min().to_pydatetime() - timedelta(seconds=mapping.window_s)
        reach = _reach_of(first, times.max().to_pydatetime(), rows["element"])
        files = ledger.files(ledger.near(reach, but=source), "readings")
        tables = [pq.read_table(file, partitioning=None).to_pandas() for file in files] or tables
    told = pd.concat(tables)
    is_near = (told["vendor"] == mapping.vendor) & (told["scope"] == mapping.scope)
    if len(told):
        is_near &= told["window_start"] >= first
    return told[is_near].drop(columns=["vendor", "scope"])


def _reach_of(first: datetime, last: datetime, elements: "pd.Series[str]") -> Reach:
    """Return the reach of readings from `first` to `last`."""
    named = frozenset(elements.dropna().unique())
    listed_ = named if len(named) <= LISTED_ELEMENTS else frozenset()
    return Reach(first, last + timedelta(microseconds=1), listed_)


def _content(connection: duckdb.DuckDBPyConnection, readings: pd.DataFrame) -> list[int]:
    """Return sums of hashes of what a delivery would commit: a file that heals may tell as many rows, but others.

    `received` is left out: where a file does not tell it, it is the age of a copy.
    """
    judged = ", ".join(f"judged.{column.name}" for column in COUNTERS if column.name != "received")
    tables = {
        "judged": f"judged.row, judged.rule, {judged}",
        "lost": "lost.source, lost.row, lost.counter, lost.bin, lost.rule",
    }
    if len(readings):
        connection.register("kept", readings)
        tables["kept"] = ", ".join(f'kept."{name}"' for name in readings.columns)
    sums = (
        connection.execute(f"SELECT sum(hash({columns})) FROM {table}").fetchall()
        for table, columns in tables.items()
    )
    return [int(one or 0) for ((one,),) in sums]


def _span(connection: duckdb.DuckDBPyConnection, readings: pd.DataFrame) -> tuple[str, str, Reach | None]:
    """Return the first and last window_start that a file tells of, and all that it does."""
    sql = "SELECT epoch_us(min(window_start)), epoch_us(max(window_start)) FROM judged WHERE rule IS NULL"
    ends = [end for end in connection.execute(sql).fetchall()[0] if end is not None]
    times = [datetime.fromtimestamp(end / 1e6, UTC) for end in ends]
    reach = counter_conflicts.reach_of(connection)
    if len(readings):
        kept = [moment.to_pydatetime() for moment in readings["window_start"]]
        times += kept
        own = _reach_of(min(kept), max(kept), readings["element"])
        reach = own.and_also(reach) if reach else own
    return (min(times).isoformat(), max(times).isoformat(), reach) if times else ("", "", None)
