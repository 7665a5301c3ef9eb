"""The workspace's Parquet: atomic, idempotent, and what was read from where.

A source exists for readers once its commit record `lake/sources/<source>.json` does; the record is written last and
names the source's files. The files bear the fingerprint of map and settings in their names, so a source that is read
anew stands beside its old files until one rename makes it the source. What no record names (what a killed writer or
an older reading left) the next writer removes.
"""

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal
from uuid import uuid4

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from features.devices import DEVICES
from features.flows import FLOWS, FlowSettings
from features.one_writer import one_writer
from features.table import Column, arrow_schema, check_table, empty_table

SIMULATED = "SIMULATED"  # an empty file beside simulated captures, and in a lake that holds some
_LAKE = "lake"
_WRITING = ".writing"  # where files are written before they are renamed into place; no reader looks there
_FOLDERS = (  # of files that a commit record names
    *("flows", "devices", "counters", "superseded", "readings", "quarantine"),
    *("membership", "terminal", "events", "targets"),
)
_LOCK_WAIT_S = 30.0  # a short run of another process ends within it; for a long one the caller is told


@dataclass(frozen=True)
class Source:
    """The commit record of one capture, or of one table of flows.

    source: content id. path: as it was given. bytes: size of the file. fingerprint: of map rows and settings.
    flows: rows of FLOWS. packets: IP packets of all flows read, each once. unmapped_flows: flows of no device.
    files: its Parquet files, relative to the lake. flow_settings: how its packets became flows; None where
    nobody told: of a table, or of a capture that an older version read. reader: what read it.
    """

    source: str
    path: str
    bytes: int
    fingerprint: str
    flows: int
    packets: int
    unmapped_flows: int
    warnings: tuple[str, ...]
    files: tuple[str, ...]
    flow_settings: FlowSettings | None = None
    reader: Literal["capture", "table"] = "capture"


@dataclass(frozen=True)
class Delivery:
    """The commit record of one file that holds no flows: of counters, membership, terminal records or events.

    source: content id. kind: the table that it feeds. path: as it was given. bytes: size of the file. reading: of the
    mapping and of what is known, with which it was read. fingerprint: of all that its rows are made from.
    rows: read; they are used or quarantined (by rule). superseded: by source, rows of others that this one took the
    place of. first, last: of the times of its rows, ISO 8601. files: its Parquet files, relative to the lake.
    end, elements: of counters, the end of its last window and which elements tell; "" and () where that is not told.
    """

    source: str
    kind: str
    path: str
    bytes: int
    reading: str
    fingerprint: str
    rows: int
    used: int
    quarantined: dict[str, int]
    superseded: dict[str, int]
    first: str
    last: str
    files: tuple[str, ...]
    end: str = ""
    elements: tuple[str, ...] = ()


@contextmanager
def writing(workspace: Path, *, wait_s: float = _LOCK_WAIT_S) -> Iterator[Path]:
    """Hold the lake's lock, and give a folder for intermediate files that is gone afterwards.

    One process writes at a time; a dead one holds nothing. What an interrupted writer left is removed first.
    Raises TimeoutError if another process still writes after `wait_s` seconds.
    """
    lake = workspace / _LAKE
    with one_writer(lake, wait_s=wait_s):
        _sweep(lake)
        (lake / _WRITING).mkdir()
        try:
            yield lake / _WRITING
        finally:
            _sweep(lake)


def mark_simulated(workspace: Path) -> None:
    """Note for good that the lake holds simulated traffic: every report made from it says so."""
    (workspace / _LAKE / SIMULATED).touch()


def is_simulated(workspace: Path) -> bool:
    """Tell whether the lake holds simulated traffic."""
    return (workspace / _LAKE / SIMULATED).is_file()


def _sweep(lake: Path) -> None:
    """Remove what no commit record names, and folders left empty by that."""
    shutil.rmtree(lake / _WRITING, ignore_errors=True)
    records: list[Source | Delivery] = [*_records(lake), *_deliveries(lake)]
    named = {lake / file for record in records for file in record.files}
    for folder in _FOLDERS:
        for file in (lake / folder).rglob("*.parquet"):
            if file not in named:
                file.unlink()
        for partition in sorted((lake / folder).rglob("date=*")):
            if not any(partition.iterdir()):
                partition.rmdir()


def write_parquet(path: Path, table: pa.Table, *, varied: Collection[str] = ()) -> None:
    """Write a table so that `path` holds all of it or does not change; the same table gives the same bytes.

    path: within the lake of a workspace whose lock is held (`writing`); its folder is made. varied: columns of which
    few values are alike: to look for those that are takes half of the time.
    """
    lake = next(parent for parent in path.parents if parent.name == _LAKE)
    written = lake / _WRITING / uuid4().hex
    _write(written, table, varied=varied)
    _put_in_place(written, path)


def stage(scratch: Path, flows: pd.DataFrame, devices: pd.DataFrame) -> dict[str, Path]:
    """Write the tables of one source into a folder of their own in `scratch`; return place in the lake -> file.

    flows, devices: frames that keep FLOWS and DEVICES, in their final order. Any process may do this.
    """
    folder = scratch / uuid4().hex
    folder.mkdir()
    tables = {"devices": _arrow(devices, DEVICES)}
    for date, part in flows.groupby(flows["start"].dt.strftime("%Y-%m-%d")):
        tables[f"flows/date={date}"] = _arrow(part, FLOWS)
    staged = {place: folder / str(number) for number, place in enumerate(tables)}
    for place, table in tables.items():
        _write(staged[place], table)
    return staged


def commit_staged(workspace: Path, record: Source, staged: Mapping[str, Path]) -> Source:
    """Make staged tables a source of the lake, or all that one consists of; return its record with the files.

    The lock must be held. At any moment of this a reader sees the source as it was, or as it is then.
    """
    lake, name = workspace / _LAKE, f"{record.source}-{record.fingerprint[:8]}.parquet"
    for place, written in staged.items():
        _reach_disk(written)
        _put_in_place(written, lake / place / name)
    committed = replace(record, files=tuple(f"{place}/{name}" for place in staged))
    _tell(lake, committed, lake / "sources" / f"{record.source}.json")
    return committed


def commit_delivery(workspace: Path, record: Delivery, staged: Mapping[str, Path]) -> Delivery:
    """Make staged files a delivery of the lake, or all that one consists of; as `commit_staged` for a capture.

    staged: place in the lake -> Parquet file on the lake's disk; its name in the lake is that of the record.
    """
    lake, name = workspace / _LAKE, f"{record.source}-{record.fingerprint[:8]}.parquet"
    for place, written in staged.items():
        _reach_disk(written)
        _put_in_place(written, lake / place / name)
    committed = replace(record, files=tuple(f"{place}/{name}" for place in staged))
    _tell(lake, committed, lake / "deliveries" / record.kind / f"{record.source}.json")
    return committed


def deliveries(workspace: Path, kind: str) -> dict[str, Delivery]:
    """Return the commit record of each delivery of a kind by its content id, in their order."""
    return {record.source: record for record in _deliveries(workspace / _LAKE, kind)}


def delivered(workspace: Path, kind: str, folder: str) -> list[Path]:
    """Return the Parquet files in a folder of the lake that deliveries of a kind committed."""
    records = _deliveries(workspace / _LAKE, kind)
    return [
        workspace / _LAKE / file for one in records for file in one.files if file.startswith(f"{folder}/")
    ]


def _deliveries(lake: Path, kind: str = "*") -> list[Delivery]:
    found = sorted((lake / "deliveries").glob(f"{kind}/*.json"))
    told = [json.loads(file.read_text(encoding="utf-8")) for file in found]
    lists = ("files", "elements")
    return [Delivery(**{**one, **{name: tuple(one.get(name, ())) for name in lists}}) for one in told]


def _tell(lake: Path, record: Source | Delivery, path: Path) -> None:
    """Write a commit record: from here on its files are there for readers."""
    told = lake / _WRITING / uuid4().hex
    told.write_text(
        json.dumps(asdict(record), indent=1, default=FlowSettings.model_dump) + "\n", encoding="utf-8"
    )
    _reach_disk(told)
    _put_in_place(told, path)


def commit(workspace: Path, record: Source, flows: pd.DataFrame, devices: pd.DataFrame) -> Source:
    """Stage tables and commit them as `commit_staged` does; the lock must be held."""
    return commit_staged(workspace, record, stage(workspace / _LAKE / _WRITING, flows, devices))


def _write(path: Path, table: pa.Table, *, varied: Collection[str] = ()) -> None:
    plain = table.replace_schema_metadata(None)  # pandas writes its version there
    alike = [name for name in table.column_names if name not in varied] if varied else True
    pq.write_table(plain, path, compression="zstd", use_dictionary=alike)
    _reach_disk(path)


def _put_in_place(written: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    written.replace(path)
    _reach_disk(path.parent)


def _reach_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _arrow(frame: pd.DataFrame, columns: Sequence[Column]) -> pa.Table:
    return pa.Table.from_pandas(frame, schema=arrow_schema(columns), preserve_index=False)


def _records(lake: Path) -> list[Source]:
    """Return the commit records, by source."""
    records = []
    for file in sorted((lake / "sources").glob("*.json")):
        told = json.loads(file.read_text(encoding="utf-8"))
        settings = told.get("flow_settings")
        typed = {
            "warnings": tuple(told["warnings"]),
            "files": tuple(told["files"]),
            "flow_settings": FlowSettings(**settings) if settings else None,
        }
        records.append(Source(**{**told, **typed}))
    return records


def records(workspace: Path) -> dict[str, Source]:
    """Return the commit record of each source by its content id, in their order."""
    return {record.source: record for record in _records(workspace / _LAKE)}


def flow_settings(workspace: Path) -> FlowSettings | None:
    """Return how the packets of all sources became flows; None where no source tells.

    Raises ValueError that names two sources read with different settings: their flows cannot be compared. Nor can
    those of a table that does not tell and of a capture that does not.
    """
    found = _records(workspace / _LAKE)
    for first, other in pairwise(found):
        if _made_by(first) != _made_by(other):
            raise ValueError(
                f"all sources of a lake must be read with the same flow settings, however: {first.path} with"
                f" {_made_by(first)}, {other.path} with {_made_by(other)}; ingest them again with the"
                " present flows.yaml"
            )
    return found[0].flow_settings if found else None


def _made_by(source: Source) -> str:
    return repr(source.flow_settings) if source.flow_settings else f"those of a {source.reader}, not told"


def sources(workspace: Path) -> pd.DataFrame:
    """Return the commit records as a frame, one row per source, with `ingested`: when it was committed (UTC)."""
    found = records(workspace)
    rows = [asdict(record) for record in found.values()]
    frame = pd.DataFrame(rows, columns=list(Source.__dataclass_fields__))
    times = [(workspace / _LAKE / "sources" / f"{source}.json").stat().st_mtime for source in found]
    return frame.assign(ingested=pd.to_datetime(pd.Series(times, dtype="float64"), unit="s", utc=True))


def flows(workspace: Path) -> list[Path]:
    """Return the Parquet files of all committed flows.

    A reader that does not hold the lock may find one gone that a writer has just replaced: it then asks again.
    """
    return _files(workspace, "flows/")


def devices(workspace: Path) -> pd.DataFrame:
    """Return DEVICES of all committed sources."""
    files = _files(workspace, "devices/")
    if not files:
        return empty_table(DEVICES)
    tables = (pq.read_table(file, partitioning=None) for file in files)
    table = pa.concat_tables(tables, promote_options="default")
    return check_table(table.to_pandas(), DEVICES, table="devices")


def _files(workspace: Path, folder: str) -> list[Path]:
    lake = workspace / _LAKE
    return [lake / file for record in _records(lake) for file in record.files if file.startswith(folder)]
