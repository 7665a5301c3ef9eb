"""Tables of FLOWS into the lake: each is a source as a capture is, read a batch at a time, taken whole or not at all.

Who wrote the table knew its devices: its device_ids stand as they are. How its packets became flows (idle and active
timeout, first packets) it may be told to have been made with, or nobody tells. Flows of unknown settings have no first
packets, and never lie beside those of captures: an application looks other where another timeout cuts it.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from tqdm import tqdm

from features import lake
from features.devices import DEVICES
from features.flows import FLOWS, FlowSettings
from features.records import contents, find_files
from features.sources import Content, check_unchanged, is_simulated
from features.table import arrow_schema, check_table
from features.table_files import batches, check_finite, check_tidy, write_batch

_READING = 1  # raised when the code makes other tables of the same bytes: every table is then read anew
_OPTIONAL = (
    "source",
    *(column.name for column in FLOWS if column.empty),
)  # of a table; source is its content id
_LONGEST = pd.Timedelta(days=1)  # the longest active timeout; windows look for flows no further back


@dataclass(frozen=True)
class FlowTablesSummary:
    """What one call of `load` did: tables = new + unchanged + replaced + failed. flows: of the new and replaced ones.

    failures: (path as given, reason).
    """

    new: int
    unchanged: int
    replaced: int
    flows: int
    failures: tuple[tuple[str, str], ...]

    def text(self) -> str:
        """Return the summary as a person reads it."""
        counts = f"{self.new:,} new, {self.unchanged:,} unchanged, {self.replaced:,} replaced"
        told = [f"failed: {path}: {reason}" for path, reason in self.failures]
        return "\n".join(
            [f"flow tables: {counts}, {len(self.failures):,} failed; {self.flows:,} flows", *told]
        )


def check_settings(workspace: Path, settings: FlowSettings | None) -> None:
    """Raise ValueError where tables that do not tell their flow settings would lie beside captures."""
    beside = [record for record in lake.records(workspace).values() if record.reader == "capture"]
    if beside and settings is None:
        raise ValueError(
            "flows of a table must lie beside flows of captures only where its flow settings are told, but nobody"
            f" told them, and {workspace} holds {beside[0].path}; tell --flow-settings, or use another workspace"
        )


def load(
    sources: Sequence[str], workspace: Path, *, settings: FlowSettings | None = None
) -> FlowTablesSummary:
    """Bring tables under FLOWS (Parquet or CSV) into the lake; one that lies there, told the same settings, stays.

    settings: how the packets of all these tables became flows; None: unknown. Each is committed by itself: after an
    interruption the same call goes on where it was. A table that breaks the contract is refused as a whole and named
    in the summary. Raises FileNotFoundError (of a source), ValueError (captures beside tables that do not tell) and
    TimeoutError (another process writes) before anything has changed.
    """
    paths = find_files(sources)
    counts, flows, failures = {"new": 0, "unchanged": 0, "replaced": 0}, 0, list[tuple[str, str]]()
    fingerprint = _fingerprint(settings)
    with lake.writing(workspace) as scratch:
        check_settings(workspace, settings)
        if any(is_simulated(path) for path in paths):
            lake.mark_simulated(workspace)
        known = {source: record.fingerprint for source, record in lake.records(workspace).items()}
        for path, content in tqdm(contents(paths).items(), desc="flow tables", delay=2, disable=None):
            if isinstance(content, str):
                failures.append((str(path), content))
            elif known.get(content.source) == fingerprint:
                counts["unchanged"] += 1
            else:
                try:
                    staged = _stage(path, content, settings, scratch / content.source)
                except ValueError as error:
                    failures.append((str(path), str(error)))
                    continue
                record = _record(path, content, settings, staged)
                lake.commit_staged(workspace, record, staged.files)
                counts["replaced" if content.source in known else "new"] += 1
                known[content.source] = fingerprint
                flows += staged.flows
    return FlowTablesSummary(**counts, flows=flows, failures=tuple(failures))


def _fingerprint(settings: FlowSettings | None) -> str:
    """Return a hash of all that the tables of a source are made from besides its bytes."""
    contracts = [str(arrow_schema(columns)) for columns in (FLOWS, DEVICES)]
    made_from = ["table", _READING, settings.model_dump() if settings else None, contracts]
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]


@dataclass
class _Staged:
    """A table as files for the lake, by their place there. packets: up and down, of all its flows."""

    files: dict[str, Path] = field(default_factory=dict)
    flows: int = 0
    packets: int = 0


def _stage(path: Path, content: Content, settings: FlowSettings | None, folder: Path) -> _Staged:
    """Write a table into a folder, a file for each date. Raises ValueError: what is wrong; the folder is then gone."""
    folder.mkdir()
    staged, devices = _Staged(), set[str]()
    try:
        with ExitStack() as writers:
            opened: dict[str, pq.ParquetWriter] = {}
            for first, given in batches(path, FLOWS, table="flows"):
                frame = _checked(given, content, settings, first)
                for date, part in frame.groupby(frame["start"].dt.strftime("%Y-%m-%d")):
                    if date not in opened:
                        staged.files[f"flows/date={date}"] = file = folder / f"{date}.parquet"
                        writer = pq.ParquetWriter(file, arrow_schema(FLOWS), compression="zstd")
                        opened[str(date)] = writers.enter_context(writer)
                    write_batch(opened[str(date)], part, FLOWS)
                devices.update(frame["device_id"].unique())
                staged.flows += len(frame)
                staged.packets += int(frame["up_packets"].sum() + frame["down_packets"].sum())
        check_unchanged(path, content)
    except ValueError:
        shutil.rmtree(folder)
        raise
    staged.files["devices"] = folder / "devices.parquet"
    _write_devices(staged.files["devices"], sorted(devices), content.source)
    return staged


def _checked(
    given: pd.DataFrame, content: Content, settings: FlowSettings | None, first: int
) -> pd.DataFrame:
    """Return a batch of a table under FLOWS, or raise ValueError: the row and the rule that it breaks."""
    absent = {name: None for name in _OPTIONAL if name not in given}
    frame = given.assign(**absent).assign(source=content.source)
    flows = check_table(frame, FLOWS, table="flows", first_row=first)
    check_finite(flows, FLOWS, table="flows")
    check_tidy(flows, ("device_id",), table="flows")
    lasts = flows["end"] - flows["start"]
    wrong = (lasts < pd.Timedelta(0)) | (lasts > _LONGEST)
    if wrong.any():
        row = flows.index[wrong][0]
        fact = f"row {row} lasts from {flows['start'][row]} to {flows['end'][row]}"
        raise ValueError(f"flows.end must be within a day after start, but {fact}")
    _check_first_packets(flows, settings)
    return flows


def _check_first_packets(flows: pd.DataFrame, settings: FlowSettings | None) -> None:
    """Refuse lists of another length than the settings have; none are known where nobody told the settings."""
    rule = "empty where nobody told the flow settings (tell --flow-settings)"
    if settings:
        rule = f"{settings.first_packets} long, as first_packets of the flow settings is"
    for name in ("first_ps", "first_piat_ms"):
        lengths = flows[name].map(len, na_action="ignore").astype("float64").fillna(0)
        wrong = lengths != settings.first_packets if settings else flows[name].notna()
        if wrong.any():
            row = flows.index[wrong][0]
            raise ValueError(f"flows.{name} must be {rule}, but row {row} has {lengths[row]:.0f}")


def _write_devices(file: Path, devices: Sequence[str], source: str) -> None:
    """Write DEVICES of a table: it tells which there are, and nothing of them."""
    names = [column.name for column in DEVICES]
    given = pd.DataFrame({"device_id": devices}, dtype="string").assign(source=source).reindex(columns=names)
    with pq.ParquetWriter(file, arrow_schema(DEVICES), compression="zstd") as writer:
        write_batch(writer, check_table(given, DEVICES, table="devices"), DEVICES)


def _record(path: Path, content: Content, settings: FlowSettings | None, staged: _Staged) -> lake.Source:
    return lake.Source(
        source=content.source,
        path=str(path),
        bytes=content.bytes,
        fingerprint=_fingerprint(settings),
        flows=staged.flows,
        packets=staged.packets,
        unmapped_flows=0,
        warnings=() if staged.flows else ("holds no flow",),
        files=(),
        flow_settings=settings,
        reader="table",
    )
