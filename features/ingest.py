"""Captures into the lake: found, hashed, metered, oriented, committed; or the same road without a lake."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow.compute as pc
from tqdm import tqdm

from features import lake
from features.configuration import find_config, read_config
from features.device_map import DeviceMap
from features.devices import DEVICES, orient
from features.flows import FLOWS, METER_MODULES, FlowSettings, UnreadCapture, meter
from features.isolated import Failed, run_each, usable_cores
from features.sources import Content, check_unchanged, find_captures, is_simulated, read_content
from features.table import arrow_schema

logger = logging.getLogger(__name__)

AUTO = "auto"  # stands for a map where there is none
_READING = 3  # raised when the code makes other tables of the same bytes: every source is then read anew
_PRELOADED = (__name__, *METER_MODULES)  # by the workers


@dataclass(frozen=True)
class CaptureFlows:
    """One capture as tables: FLOWS and DEVICES.

    source: content id. packets: IP packets of all its flows, each once. unmapped_flows: those of no device, which
    `flows` is without.
    """

    path: Path
    source: str
    flows: pd.DataFrame
    devices: pd.DataFrame
    packets: int
    unmapped_flows: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class IngestSummary:
    """What one call of `ingest` did: files = new + unchanged + replaced + failed.

    flows, packets, unmapped_flows: of the sources of this call as they now lie in the lake, unchanged ones too.
    failures, warnings: (path as given, reason), in the order of the files.
    """

    files: int
    new: int
    unchanged: int
    replaced: int
    failed: int
    flows: int
    packets: int
    unmapped_flows: int
    failures: tuple[tuple[str, str], ...]
    warnings: tuple[tuple[str, str], ...]

    def text(self) -> str:
        """Return the summary as a person reads it: the counts, then a line for each failure and warning."""
        kinds = ("new", "unchanged", "replaced", "failed")
        return "\n".join(
            [
                f"{self.files:,} captures: {', '.join(f'{getattr(self, kind):,} {kind}' for kind in kinds)}",
                f"{self.packets:,} packets: {self.flows:,} flows of devices, {self.unmapped_flows:,} of no device",
                *(
                    ["warning: no row of the device map fits any flow"]
                    if self.unmapped_flows and not self.flows
                    else []
                ),
                *(f"failed: {path}: {reason}" for path, reason in self.failures),
                *(f"warning: {path}: {reason}" for path, reason in self.warnings),
            ]
        )


def read_map(devices: str, *, each_address: bool = False) -> DeviceMap:
    """Return the device map that `--devices` names: a MAP.csv, or `auto`. Raises as `DeviceMap.read` does."""
    return DeviceMap.auto() if devices == AUTO else DeviceMap.read(Path(devices), each_address=each_address)


def read_flows(path: Path, devices: DeviceMap, settings: FlowSettings) -> CaptureFlows:
    """Return what `ingest` would put into a lake. Raises ValueError that names an unreadable capture."""
    (capture,) = read_all_flows([path], devices, settings)
    if isinstance(capture, UnreadCapture):
        raise ValueError(f"{path} {capture.reason}")
    return capture


def read_all_flows(
    paths: Sequence[Path], devices: DeviceMap, settings: FlowSettings
) -> Iterator[CaptureFlows | UnreadCapture]:
    """Yield for each of many captures what `read_flows` returns, one per core at a time, in any order.

    A capture that cannot be read, or that kills its reader, comes as UnreadCapture.
    """
    jobs = [_Job(path, devices.for_capture(path), settings) for path in paths]
    for job, outcome in run_each(_read, jobs, workers=_workers(len(jobs)), preload=_PRELOADED):
        yield UnreadCapture(job.path, outcome.reason) if isinstance(outcome, Failed) else outcome


@dataclass(frozen=True)
class _Job:
    """A capture to be read by a worker. devices: narrowed to it. content: None where it is not yet hashed."""

    path: Path
    devices: DeviceMap
    settings: FlowSettings
    content: Content | None = None


def _read(job: _Job) -> CaptureFlows:
    content = job.content or read_content(job.path)
    raw = meter(job.path, job.settings)
    check_unchanged(job.path, content)
    flows, seen, unmapped = orient(raw.flows, job.devices, content.source)
    packets = sum(pc.sum(raw.flows[f"{way}_packets"]).as_py() or 0 for way in ("src2dst", "dst2src"))
    astray = (f"none of its {unmapped} flows is of a device",) if unmapped and flows.empty else ()
    return CaptureFlows(job.path, content.source, flows, seen, packets, unmapped, (*raw.warnings, *astray))


def _workers(jobs: int) -> int:
    return max(1, min(jobs, len(usable_cores())))


def ingest(
    sources: Sequence[str],
    workspace: Path,
    *,
    devices: str,
    each_address: bool = False,
    settings: FlowSettings | None = None,
) -> IngestSummary:
    """Bring captures into the lake of a workspace; what lies there, read with the same map and settings, stays.

    sources: files, folders or globs (`find_captures`). devices: path of a MAP.csv, or `auto`. each_address: a map
    row with a network makes one device of each of its addresses. settings: flows.yaml of the workspace, unless given.
    Each source is committed by itself: after an interruption the same call goes on where it was. A capture that
    cannot be read is named in the summary, and the others go on.
    Raises FileNotFoundError (of a source), ValueError (of the map, the settings, or tables of flows that do not tell
    theirs) and TimeoutError (another process writes) before anything has changed.
    """
    settings = settings or read_config(find_config("flows.yaml", workspace), FlowSettings)
    device_map, captures = read_map(devices, each_address=each_address), find_captures(sources)
    with lake.writing(workspace) as scratch:
        _check_tables(workspace)
        if any(is_simulated(path) for path in captures):
            lake.mark_simulated(workspace)
        contents = {path: _content(path) for path in tqdm(captures, desc="hash", delay=2, disable=None)}
        leaders = _leaders(contents, device_map)
        plan = _Plan(device_map, settings, lake.records(workspace), scratch)
        steps = {path: _step(plan, path, contents[path]) for path in dict.fromkeys(leaders.values())}
        outcomes = {path: step for path, step in steps.items() if isinstance(step, _Outcome)}
        readings = [step for step in steps.values() if isinstance(step, _Reading)]
        staged = run_each(_stage, readings, workers=_workers(len(readings)), preload=_PRELOADED)
        for reading, result in tqdm(staged, total=len(readings), desc="flows", delay=2, disable=None):
            outcomes[reading.job.path] = _committed(workspace, reading, result)
    return _summary({path: _shared(outcomes[leader], path == leader) for path, leader in leaders.items()})


def _check_tables(workspace: Path) -> None:
    """Refuse captures beside tables of flows whose settings nobody told: their windows cannot be compared."""
    tables = [
        one for one in lake.records(workspace).values() if one.reader == "table" and not one.flow_settings
    ]
    if tables:
        raise ValueError(
            f"captures must lie beside flows of told settings, but nobody told those of {tables[0].path}; ingest the"
            " tables again with --flow-settings, or use another workspace"
        )


@dataclass(frozen=True)
class _Reading:
    """A capture to be read into the lake. name: the path by which the map and the record know its content."""

    job: _Job
    name: str
    fingerprint: str
    replaces: bool
    scratch: Path


@dataclass(frozen=True)
class _Outcome:
    """What became of a capture. record: None where it failed. told: its warnings, or why it failed."""

    kind: Literal["new", "unchanged", "replaced", "failed"]
    record: lake.Source | None
    told: tuple[str, ...] = ()


def _content(path: Path) -> Content | str:
    """Return the content of a file, or what is wrong with it."""
    try:
        return read_content(path)
    except ValueError as error:
        return str(error)


def _leaders(contents: Mapping[Path, Content | str], devices: DeviceMap) -> dict[Path, Path]:
    """Return for each path the one that stands for all with its content: that with the most specific map rows."""
    keys = {
        path: content.source if isinstance(content, Content) else path for path, content in contents.items()
    }
    leaders: dict[str | Path, Path] = {}
    for path, key in keys.items():
        leader = leaders.setdefault(key, path)
        if devices.for_capture(path).specificity > devices.for_capture(leader).specificity:
            leaders[key] = path
    return {path: leaders[key] for path, key in keys.items()}


@dataclass(frozen=True)
class _Plan:
    """What decides how captures are read: the map, the settings, what lies in the lake."""

    devices: DeviceMap
    settings: FlowSettings
    committed: Mapping[str, lake.Source]
    scratch: Path


def _step(plan: _Plan, path: Path, content: Content | str) -> _Reading | _Outcome:
    """Return how to read a capture, or the outcome where nothing is to be read.

    Known content keeps the path it is known by, unless the map has more specific rows for the new one.
    """
    if isinstance(content, str):
        return _log(path, _Outcome("failed", None, (content,)))
    name, devices = str(path), plan.devices.for_capture(path)
    known = plan.committed.get(content.source)
    if known:
        former = plan.devices.for_capture(Path(known.path))
        if former.specificity >= devices.specificity:
            name, devices = known.path, former
    fingerprint = _fingerprint(devices, plan.settings)
    if known and known.fingerprint == fingerprint:
        return _log(path, _Outcome("unchanged", known))
    job = _Job(path, devices, plan.settings, content)
    return _Reading(job, name, fingerprint, known is not None, plan.scratch)


def _fingerprint(devices: DeviceMap, settings: FlowSettings) -> str:
    """Return a hash of all that the tables of a source are made from besides its bytes."""
    contracts = [str(arrow_schema(columns)) for columns in (FLOWS, DEVICES)]
    made_from = [_READING, devices.fingerprint, settings.model_dump(), version("nfstream"), contracts]
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Staged:
    record: lake.Source
    files: Mapping[str, Path]


def _stage(reading: _Reading) -> _Staged:
    """Read a capture and write its tables for the lake, in a worker."""
    capture = _read(reading.job)
    record = lake.Source(
        source=capture.source,
        path=reading.name,
        bytes=reading.job.path.stat().st_size,
        fingerprint=reading.fingerprint,
        flows=len(capture.flows),
        packets=capture.packets,
        unmapped_flows=capture.unmapped_flows,
        warnings=capture.warnings,
        files=(),
        flow_settings=reading.job.settings,
    )
    return _Staged(record, lake.stage(reading.scratch, capture.flows, capture.devices))


def _committed(workspace: Path, reading: _Reading, result: _Staged | Failed) -> _Outcome:
    if isinstance(result, Failed):
        return _log(reading.job.path, _Outcome("failed", None, (result.reason,)))
    record = lake.commit_staged(workspace, result.record, result.files)
    return _log(
        reading.job.path, _Outcome("replaced" if reading.replaces else "new", record, record.warnings)
    )


def _shown(path: Path) -> str:
    """Return a path as it was given, what is not UTF-8 in it escaped."""
    return str(path).encode(errors="backslashreplace").decode()


def _log(path: Path, outcome: _Outcome) -> _Outcome:
    for told in outcome.told:
        logger.warning("%s: %s", _shown(path), told)
    if outcome.record:
        why = " since the map or the settings changed" if outcome.kind == "replaced" else ""
        counts = (outcome.record.flows, outcome.record.unmapped_flows)
        logger.info("%s: %s%s, %d flows, %d of no device", path, outcome.kind, why, *counts)
    return outcome


def _shared(outcome: _Outcome, is_its_own: bool) -> _Outcome:
    """Return the outcome of a path; where another path stands for its content, it failed too or changed nothing."""
    return outcome if is_its_own or outcome.kind == "failed" else _Outcome("unchanged", None)


def _summary(outcomes: Mapping[Path, _Outcome]) -> IngestSummary:
    kinds = Counter(outcome.kind for outcome in outcomes.values())
    records = [outcome.record for outcome in outcomes.values() if outcome.record]
    told = [
        (outcome.kind, (_shown(path), told)) for path, outcome in outcomes.items() for told in outcome.told
    ]
    return IngestSummary(
        files=len(outcomes),
        new=kinds["new"],
        unchanged=kinds["unchanged"],
        replaced=kinds["replaced"],
        failed=kinds["failed"],
        flows=sum(record.flows for record in records),
        packets=sum(record.packets for record in records),
        unmapped_flows=sum(record.unmapped_flows for record in records),
        failures=tuple(named for kind, named in told if kind == "failed"),
        warnings=tuple(named for kind, named in told if kind != "failed"),
    )
