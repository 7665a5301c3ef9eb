"""Files of one contract into the lake: found, hashed, checked, committed as a whole; the same file changes nothing.

A row that names what no configuration knows lies in lake/quarantine with its rule. Its file is read again when it is
delivered again: the configuration may know it by then.
"""

import glob
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from features import lake
from features.service_names import RULES
from features.sources import Content, check_unchanged, is_simulated, read_content, walked
from features.table import Column, arrow_schema, check_table
from features.table_files import SUFFIXES, batches, check_finite, is_table, write_batch

_EARLIEST, _LATEST = (
    pd.Timestamp(year, 1, 1, tz="UTC", unit="us") for year in (1, 9999)
)  # before any row was read

_QUARANTINE = pa.schema(
    [
        ("file", pa.string()),
        ("source", pa.string()),
        ("row", pa.int64()),
        ("rule", pa.string()),
        ("told", pa.string()),
    ]
)


@dataclass(frozen=True)
class LoadSummary:
    """What one call of `load` did. new: files, those read again with another outcome too. rows: of these.

    quarantined: rows of them, by rule. failures: (path as given, reason).
    """

    kind: str
    new: int
    unchanged: int
    rows: int
    failures: tuple[tuple[str, str], ...]
    quarantined: dict[str, int] = field(default_factory=dict)

    def text(self) -> str:
        """Return the summary as a person reads it."""
        counts = f"{self.new:,} new, {self.unchanged:,} unchanged, {len(self.failures):,} failed"
        bad = sum(self.quarantined.values())
        rows = f"{self.rows:,} rows" + (f": {self.rows - bad:,} used, {bad:,} quarantined" if bad else "")
        told = [f"{count:,} {rule}: not so that {RULES[rule]}" for rule, count in self.quarantined.items()]
        failed = [f"failed: {path}: {reason}" for path, reason in self.failures]
        return "\n".join([f"{self.kind}: {counts}; {rows}", *told, *failed])


def find_files(sources: Sequence[str]) -> list[Path]:
    """Return the tables that files, folders (and those below) and globs name, each once, in order.

    In a folder a table is what ends in one of `SUFFIXES`; a file that is named itself may end in anything.
    Raises FileNotFoundError that names a source without any.
    """
    found: dict[Path, Path] = {}
    for source in sources:
        places = [source] if Path(source).exists() else sorted(glob.glob(source, recursive=True))  # noqa: PTH207
        tables = [Path(name) for place in places for name in walked(place, is_table)]
        if not tables:
            raise FileNotFoundError(f"no table ({', '.join(SUFFIXES)}) at {source}")
        for path in tables:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def contents(paths: Sequence[Path]) -> dict[Path, Content | str]:
    """Return the content of each file, or what is wrong with it."""
    found: dict[Path, Content | str] = {}
    for path in tqdm(paths, desc="hash", delay=2, disable=None):
        try:
            found[path] = read_content(path)
        except ValueError as error:
            found[path] = str(error)
    return found


@dataclass(frozen=True)
class Contract:
    """What a file of a kind must keep. time: the column by whose date rows are told.

    check: raises ValueError for what no Column can say, and may return of each row the rule by which it is
    quarantined; its frame is a batch, whose index tells the place of each row in the file.
    """

    kind: str
    columns: Sequence[Column]
    time: str
    check: "Callable[[pd.DataFrame], pd.Series[str] | None]" = lambda _: None


@dataclass(frozen=True)
class _Loading:
    """Where the files of one contract go. scratch: a directory of the lake for what is not yet whole."""

    workspace: Path
    contract: Contract
    scratch: Path


def load(sources: Sequence[str], workspace: Path, contract: Contract) -> LoadSummary:
    """Bring files of one contract into the lake, each whole or, named in the summary, not at all.

    A file is read a batch of rows at a time.
    """
    kind = contract.kind
    paths = find_files(sources)
    failures: list[tuple[str, str]] = []
    records: list[lake.Delivery | None] = []
    with lake.writing(workspace) as scratch:
        loading = _Loading(workspace, contract, scratch)
        if any(is_simulated(path) for path in paths):
            lake.mark_simulated(workspace)
        known = lake.deliveries(workspace, kind)
        for path, content in tqdm(contents(paths).items(), desc=kind, delay=2, disable=None):
            try:
                if isinstance(content, str):
                    raise ValueError(content)
                records.append(_one(loading, path, content, former=known.get(content.source)))
            except ValueError as error:
                failures.append((str(path), str(error)))
                continue
            if record := records[-1]:
                known[record.source] = record
    return _summary(kind, records, failures)


def _summary(
    kind: str, records: Sequence[lake.Delivery | None], failures: Sequence[tuple[str, str]]
) -> LoadSummary:
    new = [record for record in records if record]
    bad = sum((Counter(record.quarantined) for record in new), Counter[str]())
    return LoadSummary(
        kind, len(new), len(records) - len(new), sum(one.rows for one in new), tuple(failures), dict(bad)
    )


def quarantined(workspace: Path, kind: str) -> pd.DataFrame:
    """Return the rows of a kind that name what is not known: file, source, row, rule, and the row as told (JSON)."""
    found = lake.delivered(workspace, kind, "quarantine")
    tables = [pq.read_table(file, partitioning=None) for file in found]
    frame: pd.DataFrame = pa.concat_tables([_QUARANTINE.empty_table(), *tables]).to_pandas()
    return frame


@dataclass
class _Written:
    """What was written of a file so far. digest: of the contract and of which rows are quarantined."""

    digest: str
    used: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    first: pd.Timestamp = _LATEST
    last: pd.Timestamp = _EARLIEST


def _one(
    loading: _Loading, path: Path, content: Content, *, former: lake.Delivery | None
) -> lake.Delivery | None:
    """Read one file into the lake; None where that changes nothing. Raises ValueError where it breaks the contract."""
    if former and not former.quarantined:
        return None
    contract, scratch = loading.contract, loading.scratch
    staged = {place: scratch / f"{content.source}-{place}.parquet" for place in (contract.kind, "quarantine")}
    with _writers(staged, contract) as writers:
        written = _write(path, content, contract, writers)
    check_unchanged(path, content)
    if former and former.fingerprint == written.digest:
        return None
    record = lake.Delivery(
        source=content.source,
        kind=contract.kind,
        path=str(path),
        bytes=content.bytes,
        reading=written.digest,
        fingerprint=written.digest,
        rows=written.used + written.bad.total(),
        used=written.used,
        quarantined=dict(sorted(written.bad.items())),
        superseded={},
        first=written.first.isoformat() if written.used else "",
        last=written.last.isoformat() if written.used else "",
        files=(),
    )
    places = (contract.kind, "quarantine") if written.bad else (contract.kind,)
    return lake.commit_delivery(loading.workspace, record, {place: staged[place] for place in places})


@contextmanager
def _writers(staged: dict[str, Path], contract: Contract) -> Iterator[dict[str, pq.ParquetWriter]]:
    schemas = {contract.kind: arrow_schema(contract.columns), "quarantine": _QUARANTINE}
    with ExitStack() as open_files:
        yield {
            place: open_files.enter_context(pq.ParquetWriter(file, schemas[place], compression="zstd"))
            for place, file in staged.items()
        }


def _write(
    path: Path, content: Content, contract: Contract, writers: dict[str, pq.ParquetWriter]
) -> _Written:
    """Write the rows of a file to where they belong. Raises ValueError where the file breaks its contract."""
    columns, table = contract.columns, contract.kind
    digest = hashlib.sha256(str(arrow_schema(columns)).encode())
    done = _Written("")
    for place, given in batches(path, columns, table=table):
        frame = check_table(given, columns, table=table, first_row=place)
        check_finite(frame, columns, table=table)
        rules = contract.check(frame)
        if rules is not None and rules.notna().any():
            bad, rules = frame[rules.notna()], rules.dropna()
            frame = frame.drop(index=bad.index)
            writers["quarantine"].write_table(_told(bad, rules, path, content))
            done.bad.update(rules)
            digest.update(rules.to_json().encode())
        write_batch(writers[table], frame, columns)
        done.used += len(frame)
        if len(frame):
            done.first = min(done.first, frame[contract.time].min())
            done.last = max(done.last, frame[contract.time].max())
    done.digest = digest.hexdigest()[:16]
    return done


def _told(bad: pd.DataFrame, rules: "pd.Series[str]", path: Path, content: Content) -> pa.Table:
    rows = [json.dumps(row, default=str, ensure_ascii=False) for row in bad.to_dict("records")]
    told = [[str(path)] * len(bad), [content.source] * len(bad), bad.index, rules, rows]
    return pa.table([pa.array(some, f.type) for some, f in zip(told, _QUARANTINE, strict=True)], _QUARANTINE)
