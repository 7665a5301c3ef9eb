"""How files of counters come into the lake: read, judged row by row, committed whole.

Good rows go to lake/counters, each bad one to lake/quarantine with the rule it breaks (features/counter_rules.py).
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from features import counter_conflicts, lake, membership
from features.counter_mapping import VendorMapping, read_mapping
from features.counter_reading import open_long
from features.counter_rules import RULES, first_broken, known_counters
from features.counter_tables import COUNTERS, KIND
from features.counter_wide import open_wide
from features.duck import connect, listed
from features.indicators import Indicator, all_indicators, read_indicators
from features.records import contents, find_files
from features.sources import Content, is_simulated

log = logging.getLogger(__name__)

_READING = 2  # raised when the code makes other rows of the same bytes: every file is then read anew
_MEMORY = "2GB"
_COLUMNS = ", ".join(column.name for column in COUNTERS)
_ORDER = "window_start, scope, scope_id, counter, bin, row"  # what is summed together lies together: a third faster


@dataclass(frozen=True)
class CounterSummary:
    """What one call of `ingest` did: files = new + unchanged + replaced + failed, rows = used + quarantined.

    rows, used, quarantined (by rule): of the new and replaced files. superseded: used rows of earlier files whose
    place these took. failures: (path as given, reason).
    """

    files: int
    new: int
    unchanged: int
    replaced: int
    rows: int
    used: int
    quarantined: dict[str, int]
    superseded: int
    failures: tuple[tuple[str, str], ...]

    def text(self) -> str:
        """Return the summary as a person reads it."""
        bad = sum(self.quarantined.values())
        counts = f"{self.new:,} new, {self.unchanged:,} unchanged, {self.replaced:,} replaced"
        return "\n".join(
            [
                f"{self.files:,} files: {counts}, {len(self.failures):,} failed",
                f"{self.rows:,} rows: {self.used:,} used, {bad:,} quarantined;"
                f" {self.superseded:,} earlier rows superseded",
                *(
                    f"{count:,} {rule}: not so that {RULES[rule].says}"
                    for rule, count in self.quarantined.items()
                ),
                *(f"failed: {path}: {reason}" for path, reason in self.failures),
            ]
        )


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
    read is named in the summary. Raises FileNotFoundError (of a source), ValueError (of configuration or mapping) and
    TimeoutError (another process writes) before anything has changed.
    """
    vendor = read_mapping(mapping, workspace) if mapping else None
    indicators, paths = all_indicators(workspace), find_files(sources)
    scopes = tuple(read_indicators(workspace).windows)
    outcomes: list[tuple[str, lake.Delivery | None]] = []
    failures: list[tuple[str, str]] = []
    with lake.writing(workspace) as scratch:
        if any(is_simulated(path) for path in paths):
            lake.mark_simulated(workspace)
        plan = _Plan(workspace, vendor, indicators, scopes, _reading(vendor, indicators), scratch)
        known = lake.deliveries(workspace, KIND)
        found = contents(paths)
        with connect(threads=2, scratch=scratch) as connection:
            _prepare(connection, plan)
            for path, content in tqdm(found.items(), desc="counters", delay=2, disable=None):
                if isinstance(content, str):
                    failures.append((str(path), content))
                    continue
                try:
                    kind, record = _one(connection, plan, path, content, known)
                except ValueError as error:
                    failures.append((str(path), str(error)))
                    continue
                outcomes.append((kind, record))
                if record:
                    known[record.source] = record
    return _summary(len(paths), outcomes, failures)


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
    connection: duckdb.DuckDBPyConnection,
    plan: _Plan,
    path: Path,
    content: Content,
    known: Mapping[str, lake.Delivery],
) -> tuple[Literal["new", "unchanged", "replaced"], lake.Delivery | None]:
    """Read one file into the lake; None where that changes nothing. Raises ValueError where it cannot be read."""
    former = known.get(content.source)
    heals = former is not None and any(RULES[rule].heals for rule in former.quarantined)
    if former and former.reading == plan.reading and not heals:
        return "unchanged", None
    readings = _classify(connection, plan, path, content, known)
    others = {source: one for source, one in known.items() if source != content.source}
    counter_conflicts.settle(connection, plan.workspace, others, source=content.source)
    counts = dict(connection.execute("SELECT rule, count(*) FROM judged GROUP BY rule").fetchall())
    used = counts.pop(None, 0)
    lost = dict(
        connection.execute("SELECT source, count(*) FROM lost GROUP BY source ORDER BY source").fetchall()
    )
    quarantined = dict(sorted(counts.items()))
    first, last = _span(connection, readings)
    told = [plan.reading, used, quarantined, lost, _content(connection, readings)]
    record = lake.Delivery(
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
    )
    if former and former.fingerprint == record.fingerprint:
        return "unchanged", None
    staged = _stage(connection, plan, record, known, readings)
    return ("replaced" if former else "new"), lake.commit_delivery(plan.workspace, record, staged)


def _classify(
    connection: duckdb.DuckDBPyConnection,
    plan: _Plan,
    path: Path,
    content: Content,
    known: Mapping[str, lake.Delivery],
) -> pd.DataFrame:
    """Make `judged`: the rows of the file under COUNTERS, with `rule`, empty for good ones; return kept readings."""
    received = datetime.fromtimestamp(content.changed_ns / 1e9, UTC)
    readings = pd.DataFrame()
    if plan.mapping is None:
        open_long(connection, path, received)
    else:
        readings = open_wide(
            connection,
            path,
            plan.mapping,
            received=received,
            indicators=plan.indicators,
            previous=_previous(plan, content.source, known),
        )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE judged AS
        SELECT row, coalesce(found, {first_broken()}) AS rule, scope, scope_id, window_start,
               TRY_CAST(window_s AS BIGINT) AS window_s, counter, TRY_CAST(bin AS BIGINT) AS bin, numerator,
               denominator, element, vendor, received, '{content.source}' AS source
        FROM (
            SELECT given.*, known.* EXCLUDE (counter), members.scope_id IS NULL AND given.scope IN (
                SELECT scope FROM members
            ) AS is_stranger
            FROM given LEFT JOIN known USING (counter)
            LEFT JOIN members ON members.scope = given.scope AND members.scope_id = given.scope_id
        )""",
        {"scopes": list(plan.scopes)},
    )
    return readings


def _previous(plan: _Plan, source: str, known: Mapping[str, lake.Delivery]) -> pd.DataFrame:
    """Return the last readings that other files of the vendor left, newest last."""
    files = [
        plan.workspace / "lake" / file
        for one in known.values()
        if one.source != source
        for file in one.files
        if file.startswith("readings/")
    ]
    tables = [pq.read_table(file, partitioning=None).to_pandas() for file in files]
    columns = ["scope_id", "element", "column", "window_start", "reading", "vendor", "scope"]
    told = pd.concat(tables) if tables else pd.DataFrame(columns=columns)
    assert plan.mapping is not None
    own = told[(told["vendor"] == plan.mapping.vendor) & (told["scope"] == plan.mapping.scope)]
    return own.drop(columns=["vendor", "scope"])


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


def _span(connection: duckdb.DuckDBPyConnection, readings: pd.DataFrame) -> tuple[str, str]:
    """Return the first and last window_start that a file tells of."""
    sql = "SELECT epoch_us(min(window_start)), epoch_us(max(window_start)) FROM judged WHERE rule IS NULL"
    ends = [end for end in connection.execute(sql).fetchall()[0] if end is not None]
    times = [datetime.fromtimestamp(end / 1e6, UTC) for end in ends]
    if len(readings):
        times += [moment.to_pydatetime() for moment in readings["window_start"]]
    return (min(times).isoformat(), max(times).isoformat()) if times else ("", "")


def _stage(
    connection: duckdb.DuckDBPyConnection,
    plan: _Plan,
    record: lake.Delivery,
    known: Mapping[str, lake.Delivery],
    readings: pd.DataFrame,
) -> dict[str, Path]:
    """Write the files of a delivery; return place in the lake -> file."""
    staged: dict[str, Path] = {}

    def write(place: str, sql: str) -> None:
        staged[place] = plan.scratch / f"{record.source}-{len(staged)}.parquet"
        connection.execute(f"COPY ({sql}) TO {listed([staged[place]])} (FORMAT parquet, COMPRESSION zstd)")

    dates = connection.execute(
        "SELECT DISTINCT CAST(window_start AS DATE) FROM judged WHERE rule IS NULL ORDER BY 1"
    ).fetchall()
    for (date,) in dates:
        day = f"window_start >= TIMESTAMPTZ '{date} 00:00:00+00'"
        day += f" AND window_start < TIMESTAMPTZ '{date} 00:00:00+00' + INTERVAL 1 DAY"
        rows = f"SELECT {_COLUMNS}, row FROM judged WHERE rule IS NULL AND {day}"
        write(f"counters/date={date}", f"{rows} ORDER BY {_ORDER}")
    if record.superseded:
        write("superseded", "SELECT DISTINCT source, row, counter FROM lost ORDER BY ALL")
    if record.quarantined or record.superseded:
        connection.register("paths", _paths({**known, record.source: record}))
        write("quarantine", _QUARANTINED)
    if len(readings):
        told = (
            readings.assign(vendor=plan.mapping.vendor, scope=plan.mapping.scope)
            if plan.mapping
            else readings
        )
        staged["readings"] = plan.scratch / f"{record.source}-readings.parquet"
        pq.write_table(
            pa.Table.from_pandas(told, preserve_index=False).replace_schema_metadata(None), staged["readings"]
        )
    return staged


# The texts of numbers and times are DuckDB's; NULL is left out. Of a ragged row its text is told.
_QUARANTINED = f"""
    SELECT path AS file, source, row, counter, rule, told
    FROM (
        SELECT source, judged.row, judged.counter, rule, coalesce(ragged.told, CAST(to_json(raw) AS VARCHAR)) AS told
        FROM judged LEFT JOIN raw ON raw.row = judged.row AND rule <> 'ragged_row'
        LEFT JOIN ragged ON ragged.row = judged.row AND rule = 'ragged_row'
        WHERE rule IS NOT NULL
        UNION ALL
        SELECT source, row, counter, rule, CAST(to_json(struct_pack({
    ", ".join(f"{c.name} := {c.name}" for c in COUNTERS)
})) AS VARCHAR) FROM lost
    ) JOIN paths USING (source) ORDER BY ALL"""


def _paths(records: Mapping[str, lake.Delivery]) -> pa.Table:
    paths = {"source": list(records), "path": [record.path for record in records.values()]}
    return pa.table({name: pa.array(values, pa.string()) for name, values in paths.items()})


def _summary(
    files: int, outcomes: Iterable[tuple[str, lake.Delivery | None]], failures: Sequence[tuple[str, str]]
) -> CounterSummary:
    told = list(outcomes)
    kinds, records = Counter(kind for kind, _ in told), [record for _, record in told if record]
    quarantined: Counter[str] = Counter()
    for record in records:
        quarantined.update(record.quarantined)
    return CounterSummary(
        files=files,
        new=kinds["new"],
        unchanged=kinds["unchanged"],
        replaced=kinds["replaced"],
        rows=sum(record.rows for record in records),
        used=sum(record.used for record in records),
        quarantined=dict(sorted(quarantined.items())),
        superseded=sum(sum(record.superseded.values()) for record in records),
        failures=tuple(failures),
    )
