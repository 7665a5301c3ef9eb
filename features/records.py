"""Files of one contract into the lake: found, hashed, checked, committed as a whole; the same file changes nothing."""

import glob
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from tqdm import tqdm

from features import lake
from features.sources import Content, check_unchanged, is_simulated, read_content, walked
from features.table import Column, arrow_schema, check_table
from features.table_files import SUFFIXES, batches, check_finite, is_table, write_batch

_EARLIEST, _LATEST = (
    pd.Timestamp(year, 1, 1, tz="UTC", unit="us") for year in (1, 9999)
)  # before any row was read


@dataclass(frozen=True)
class LoadSummary:
    """What one call of `load` did. rows: of the new files. failures: (path as given, reason)."""

    kind: str
    new: int
    unchanged: int
    rows: int
    failures: tuple[tuple[str, str], ...]

    def text(self) -> str:
        """Return the summary as a person reads it."""
        counts = f"{self.new:,} new, {self.unchanged:,} unchanged, {len(self.failures):,} failed"
        told = [f"failed: {path}: {reason}" for path, reason in self.failures]
        return "\n".join([f"{self.kind}: {counts}; {self.rows:,} rows", *told])


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


def load(
    sources: Sequence[str],
    workspace: Path,
    *,
    kind: str,
    columns: Sequence[Column],
    time: str,
    check: Callable[[pd.DataFrame], None] = lambda _: None,
) -> LoadSummary:
    """Bring files of one contract into the lake, each whole or, named in the summary, not at all.

    A file is read a batch of rows at a time. time: the column by whose date rows are told. check: raises ValueError
    for what no Column can say; its frame is a batch, whose index tells the place of each row in the file.
    """
    paths = find_files(sources)
    new = unchanged = rows = 0
    failures: list[tuple[str, str]] = []
    contract = _Contract(kind, tuple(columns), time, check)
    with lake.writing(workspace) as scratch:
        if any(is_simulated(path) for path in paths):
            lake.mark_simulated(workspace)
        known = set(lake.deliveries(workspace, kind))
        for path, content in tqdm(contents(paths).items(), desc=kind, delay=2, disable=None):
            if isinstance(content, str):
                failures.append((str(path), content))
            elif content.source in known:
                unchanged += 1
            else:
                staged = scratch / f"{content.source}.parquet"
                try:
                    record = _staged(path, content, contract, staged)
                except ValueError as error:
                    failures.append((str(path), str(error)))
                    continue
                lake.commit_delivery(workspace, record, {kind: staged})
                known.add(content.source)
                new, rows = new + 1, rows + record.rows
    return LoadSummary(kind, new, unchanged, rows, tuple(failures))


@dataclass(frozen=True)
class _Contract:
    """What a file must keep, as `load` was told."""

    kind: str
    columns: tuple[Column, ...]
    time: str
    check: Callable[[pd.DataFrame], None]


def _staged(path: Path, content: Content, contract: _Contract, staged: Path) -> lake.Delivery:
    """Write the rows of a file under its contract, and return its commit record. Raises ValueError."""
    rows, first, last = 0, _LATEST, _EARLIEST
    columns, schema = contract.columns, arrow_schema(contract.columns)
    with pq.ParquetWriter(staged, schema, compression="zstd") as writer:
        for place, given in batches(path, columns, table=contract.kind):
            frame = check_table(given, columns, table=contract.kind, first_row=place)
            check_finite(frame, columns, table=contract.kind)
            contract.check(frame)
            write_batch(writer, frame, columns)
            rows += len(frame)
            if len(frame):
                first, last = min(first, frame[contract.time].min()), max(last, frame[contract.time].max())
    check_unchanged(path, content)
    fingerprint = hashlib.sha256(str(schema).encode()).hexdigest()[:16]
    return lake.Delivery(
        source=content.source,
        kind=contract.kind,
        path=str(path),
        bytes=content.bytes,
        reading=fingerprint,
        fingerprint=fingerprint,
        rows=rows,
        used=rows,
        quarantined={},
        superseded={},
        first=first.isoformat() if rows else "",
        last=last.isoformat() if rows else "",
        files=(),
    )
