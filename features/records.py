"""Files of one contract into the lake: found, hashed, checked as a whole, committed; the same file changes nothing."""

import glob
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from features import lake
from features.sources import Content, is_simulated, read_content, walked
from features.table import Column, arrow_schema, check_table

SUFFIXES = (".parquet", ".csv", ".csv.gz")


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
        tables = [Path(name) for place in places for name in walked(place, _is_table)]
        if not tables:
            raise FileNotFoundError(f"no table ({', '.join(SUFFIXES)}) at {source}")
        for path in tables:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _is_table(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


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

    time: the column by whose date rows are told. check: raises ValueError for what no Column can say.
    """
    paths = find_files(sources)
    new = unchanged = rows = 0
    failures: list[tuple[str, str]] = []
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
                try:
                    frame = check_table(_read(path, columns), columns, table=kind)
                    check(frame)
                except (ValueError, pa.ArrowException) as error:
                    failures.append((str(path), str(error)))
                    continue
                _commit(workspace, scratch, _Loaded(path, content, kind, frame, frame[time]), columns)
                known.add(content.source)
                new, rows = new + 1, rows + len(frame)
    return LoadSummary(kind, new, unchanged, rows, tuple(failures))


@dataclass(frozen=True)
class _Loaded:
    path: Path
    content: Content
    kind: str
    frame: pd.DataFrame
    times: "pd.Series[pd.Timestamp]"


def _read(path: Path, columns: Sequence[Column]) -> pd.DataFrame:
    """Return a table as it lies there; of a CSV an empty field is empty, and a number what its column wants."""
    if not path.name.lower().endswith((".csv", ".csv.gz")):
        stored: pd.DataFrame = pq.read_table(path, partitioning=None).to_pandas()
        return stored
    frame = pd.read_csv(path, dtype="string", keep_default_na=False, na_values=[""], index_col=False)
    times = [column.name for column in columns if column.dtype == "timestamp" and column.name in frame]
    for name in times:
        naive = ~frame[name].fillna("Z").str.contains(r"(?:Z|[+-]00:?00)$").to_numpy()
        if naive.any():
            row = int(np.flatnonzero(naive)[0])
            raise ValueError(f"{name} must be UTC, with Z, but row {row} has {frame[name].iloc[row]}")
    parsed = {name: pd.to_datetime(frame[name], utc=True, format="ISO8601") for name in times}
    return frame.assign(**parsed)


def _commit(workspace: Path, scratch: Path, loaded: _Loaded, columns: Sequence[Column]) -> None:
    table = pa.Table.from_pandas(loaded.frame, schema=arrow_schema(columns), preserve_index=False)
    staged = scratch / f"{loaded.content.source}.parquet"
    pq.write_table(table.replace_schema_metadata(None), staged, compression="zstd")
    fingerprint = hashlib.sha256(str(arrow_schema(columns)).encode()).hexdigest()[:16]
    record = lake.Delivery(
        source=loaded.content.source,
        kind=loaded.kind,
        path=str(loaded.path),
        bytes=loaded.content.bytes,
        reading=fingerprint,
        fingerprint=fingerprint,
        rows=len(loaded.frame),
        used=len(loaded.frame),
        quarantined={},
        superseded={},
        first=_iso(loaded.times.min()),
        last=_iso(loaded.times.max()),
        files=(),
    )
    lake.commit_delivery(workspace, record, {loaded.kind: staged})


def _iso(moment: pd.Timestamp) -> str:
    return "" if pd.isna(moment) else moment.isoformat()
