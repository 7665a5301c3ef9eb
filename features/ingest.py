"""Captures into the lake: found, hashed, metered, oriented, committed; or the same road without a lake."""

import glob
import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import pandas as pd
import pyarrow.compute as pc
from tqdm import tqdm

from features import lake
from features.device_map import DeviceMap
from features.devices import DEVICES, orient
from features.flows import FLOWS, FlowSettings, RawCapture, UnreadCapture, read_capture, read_captures
from features.table import arrow_schema

logger = logging.getLogger(__name__)

AUTO = "auto"  # stands for the map where there is none
SUFFIXES = (".pcap", ".pcapng", ".cap")
_SOURCE_DIGITS = 16  # hex digits of the SHA-256 that name a source: 64 bits


@dataclass(frozen=True)
class IngestSummary:
    """What one call of `ingest` did: files = new + unchanged + replaced + failed.

    flows, packets, unmapped_flows: of the sources of this call as they now lie in the lake, the unchanged ones too.
    failures, warnings: (path as given, reason) in the order of the files.
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


@dataclass(frozen=True)
class CaptureFlows:
    """One capture as tables: FLOWS and DEVICES.

    source: content id. packets: IP packets of all its flows. unmapped_flows: flows of no device, which `flows` lacks.
    """

    path: Path
    source: str
    flows: pd.DataFrame
    devices: pd.DataFrame
    packets: int
    unmapped_flows: int
    warnings: tuple[str, ...]


def read_map(devices: str, *, each_address: bool = False) -> DeviceMap:
    """Return the device map that `--devices` names: a MAP.csv, or `auto`. Raises as `DeviceMap.read` does."""
    return DeviceMap.auto() if devices == AUTO else DeviceMap.read(Path(devices), each_address=each_address)


def find_captures(sources: Sequence[str]) -> list[Path]:
    """Return the captures that files, folders (searched below too) and globs name, each once, in the order given.

    In a folder a capture is what ends in `SUFFIXES`, or in one of them and .gz. Raises FileNotFoundError that names
    the source which leads to none.
    """
    found: dict[Path, Path] = {}
    for source in sources:
        captures = list(_captures(Path(source))) or [
            capture for match in sorted(glob.glob(source, recursive=True)) for capture in _captures(Path(match))
        ]
        if not captures:
            raise FileNotFoundError(f"no capture ({', '.join(SUFFIXES)}, or one of them and .gz) at {source}")
        for capture in captures:
            found.setdefault(capture.resolve(), capture)
    return list(found.values())


def _captures(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield from [path] if path.exists() else []
        return
    seen: set[str] = set()  # folders by their real path: a link may lead back up
    for folder, inside, files in os.walk(path, followlinks=True):
        seen.add(os.path.realpath(folder))
        inside[:] = sorted(name for name in inside if os.path.realpath(os.path.join(folder, name)) not in seen)
        yield from (Path(folder, name) for name in sorted(files) if _is_capture_name(name))


def _is_capture_name(name: str) -> bool:
    return name.lower().removesuffix(".gz").endswith(SUFFIXES)


def read_flows(path: Path, devices: DeviceMap, settings: FlowSettings) -> CaptureFlows:
    """Return what `ingest` would put into a lake. Raises ValueError that names a capture which cannot be read."""
    content = _content(path)
    if content.source is None:
        raise ValueError(f"{path} {content.fault}")
    return _oriented(read_capture(path, settings), devices.for_capture(path), content.source)


def read_all_flows(
    paths: Sequence[Path], devices: DeviceMap, settings: FlowSettings
) -> Iterator[CaptureFlows | UnreadCapture]:
    """Yield what `read_flows` returns for each of many captures, one per core at a time, in any order."""
    with TemporaryDirectory() as scratch:
        for capture in read_captures(paths, settings, scratch=Path(scratch)):
            content = _content(capture.path)
            if isinstance(capture, UnreadCapture):
                yield capture
            elif content.source is None:
                yield UnreadCapture(capture.path, content.fault)
            else:
                yield _oriented(capture, devices.for_capture(capture.path), content.source)


def _oriented(capture: RawCapture, devices: DeviceMap, source: str) -> CaptureFlows:
    flows, seen, unmapped = orient(capture.flows, devices, source)
    packets = sum(pc.sum(capture.flows[f"{way}_packets"]).as_py() or 0 for way in ("src2dst", "dst2src"))
    astray = (f"none of its {unmapped} flows is of a device of the map",) if unmapped and not len(flows) else ()
    return CaptureFlows(capture.path, source, flows, seen, packets, unmapped, (*capture.warnings, *astray))


def ingest(
    sources: Sequence[str],
    workspace: Path,
    *,
    devices: str,
    settings: FlowSettings,
    each_address: bool = False,
) -> IngestSummary:
    """Bring captures into the lake of a workspace; what is there already, read with the same map and settings, stays.

    sources: files, folders or globs (`find_captures`). devices: path of a MAP.csv, or `auto`. each_address: a row with a
    network makes one device of each of its addresses. Each source is committed by itself: after an interruption the
    same call goes on where it was. A capture that cannot be read is named in the summary, the others go on.
    Raises FileNotFoundError, ValueError (of the map) and TimeoutError (another process writes) before anything changed.
    """
    device_map, captures = read_map(devices, each_address=each_address), find_captures(sources)
    with lake.writing(workspace) as scratch:
        contents = {path: _content(path) for path in tqdm(captures, desc="hash", delay=2, disable=None)}
        leaders = _leaders(contents, device_map)
        plan = _plan({path: contents[path] for path in leaders.values()}, device_map, settings, workspace)
        outcomes = {item.path: item for item in plan if isinstance(item, _Outcome)}
        readings = {item.path: item for item in plan if isinstance(item, _Reading)}
        read = read_captures(list(readings), settings, scratch=scratch)
        for capture in tqdm(read, total=len(readings), desc="flows", delay=2, disable=None):
            outcomes[capture.path] = _commit(capture, readings[capture.path], workspace)
            _log(outcomes[capture.path])
    return _summary([_as_follower(path, outcomes[leaders[path]]) for path in captures])


@dataclass(frozen=True)
class _Content:
    """The bytes of a capture, as they were hashed. source: None where they cannot be, for `fault`."""

    source: str | None
    bytes: int = 0
    changed_ns: int = 0
    fault: str = ""


@dataclass(frozen=True)
class _Reading:
    """A capture to be read. name: the path by which the map and the record know its content."""

    path: Path
    name: str
    content: _Content
    devices: DeviceMap
    fingerprint: str
    replaces: bool


@dataclass(frozen=True)
class _Outcome:
    """What became of a capture. record: None where it failed. told: its warnings, or why it failed."""

    path: Path
    kind: Literal["new", "unchanged", "replaced", "failed"]
    record: lake.Source | None
    told: tuple[str, ...] = ()


def _content(path: Path) -> _Content:
    try:
        str(path).encode()
        if not path.is_file():
            return _Content(None, fault="is no file, or leads to none")
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except UnicodeEncodeError:
        return _Content(None, fault="has a name that is not UTF-8; rename it")
    except OSError as error:
        return _Content(None, fault=f"cannot be read: {error.strerror}")
    return _Content(digest[:_SOURCE_DIGITS], state.st_size, state.st_mtime_ns)


def _leaders(contents: Mapping[Path, _Content], devices: DeviceMap) -> dict[Path, Path]:
    """Return for each path the one that stands for all paths with its content: that with the most specific map rows."""
    leaders: dict[str, Path] = {}
    for path, content in contents.items():
        leader = leaders.setdefault(content.source, path) if content.source else path
        if devices.for_capture(path).specificity > devices.for_capture(leader).specificity:
            leaders[content.source] = path
    return {path: leaders[content.source] if content.source else path for path, content in contents.items()}


def _plan(
    contents: Mapping[Path, _Content], devices: DeviceMap, settings: FlowSettings, workspace: Path
) -> list[_Reading | _Outcome]:
    """Return for each capture how to read it, or what became of it where nothing is to be read."""
    plan: list[_Reading | _Outcome] = []
    committed = lake.records(workspace)
    for path, content in contents.items():
        if content.source is None:
            plan.append(_Outcome(path, "failed", None, (content.fault,)))
            continue
        known = committed.get(content.source)
        own = devices.for_capture(path)
        former = devices.for_capture(Path(known.path)) if known else own
        name, rows = (known.path, former) if known and former.specificity >= own.specificity else (str(path), own)
        fingerprint = _fingerprint(rows, settings)
        if known and known.fingerprint == fingerprint:
            plan.append(_Outcome(path, "unchanged", known))
        else:
            plan.append(_Reading(path, name, content, rows, fingerprint, replaces=known is not None))
    return plan


def _fingerprint(devices: DeviceMap, settings: FlowSettings) -> str:
    """Return a hash of all that the tables of a source are made from, besides its bytes."""
    made_from = [
        devices.fingerprint,
        settings.model_dump(),
        version("nfstream"),
        [str(arrow_schema(columns)) for columns in (FLOWS, DEVICES)],
    ]
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:_SOURCE_DIGITS]


def _commit(capture: RawCapture | UnreadCapture, reading: _Reading, workspace: Path) -> _Outcome:
    if isinstance(capture, UnreadCapture):
        return _Outcome(reading.path, "failed", None, (capture.reason,))
    state = reading.path.stat()
    if (state.st_size, state.st_mtime_ns) != (reading.content.bytes, reading.content.changed_ns):
        return _Outcome(reading.path, "failed", None, ("changed while it was read; ingest it when it is complete",))
    oriented = _oriented(capture, reading.devices, str(reading.content.source))
    record = lake.Source(
        source=oriented.source,
        path=reading.name,
        bytes=reading.content.bytes,
        fingerprint=reading.fingerprint,
        flows=len(oriented.flows),
        packets=oriented.packets,
        unmapped_flows=oriented.unmapped_flows,
        warnings=oriented.warnings,
        files=(),
    )
    committed = lake.commit(workspace, record, oriented.flows, oriented.devices)
    return _Outcome(reading.path, "replaced" if reading.replaces else "new", committed, oriented.warnings)


def _as_follower(path: Path, leader: _Outcome) -> _Outcome:
    """Return the outcome of a path whose content another path stands for: the same failure, or nothing new."""
    if path == leader.path or leader.kind == "failed":
        return replace(leader, path=path)
    return _Outcome(path, "unchanged", None)


def _log(outcome: _Outcome) -> None:
    for told in outcome.told:
        logger.warning("%s: %s", outcome.path, told)
    if outcome.record:
        why = ", since the map or the settings changed" if outcome.kind == "replaced" else ""
        logger.info(
            "%s: %s%s, %d flows, %d of no device",
            *(outcome.path, outcome.kind, why, outcome.record.flows, outcome.record.unmapped_flows),
        )


def _summary(outcomes: Sequence[_Outcome]) -> IngestSummary:
    kinds = Counter(outcome.kind for outcome in outcomes)
    records = [outcome.record for outcome in outcomes if outcome.record]
    told = [(outcome, (str(outcome.path), reason)) for outcome in outcomes for reason in outcome.told]
    return IngestSummary(
        files=len(outcomes),
        new=kinds["new"],
        unchanged=kinds["unchanged"],
        replaced=kinds["replaced"],
        failed=kinds["failed"],
        flows=sum(record.flows for record in records),
        packets=sum(record.packets for record in records),
        unmapped_flows=sum(record.unmapped_flows for record in records),
        failures=tuple(named for outcome, named in told if outcome.kind == "failed"),
        warnings=tuple(named for outcome, named in told if outcome.kind != "failed"),
    )
