"""`iotlens identify`: the answers of a session model for many captures, as one CSV; no store."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd
from tqdm import tqdm

from features.device_map import DeviceMap
from features.flows import FlowSettings, UnreadCapture
from features.ingest import CaptureFlows, read_all_flows
from features.sources import named_captures
from features.windows import SESSION, device_windows
from training import artifact, decision, tables

COLUMNS = (
    *("capture", "device_id", "label", "family", "level", "probability", "family_probability", "unknown"),
    *("how", "flows", "packets", "second", "second_probability", "third", "third_probability"),
    "model_version",
)
BY_MODEL, NO_FLOWS = "model", "no-flows"
FLOWS_AT_ONCE = 20_000  # about 50 MB with their first packets

Row = dict[str, str | float | bool | None]  # of COLUMNS


@dataclass(frozen=True)
class BulkSummary:
    """What one call of `identify_captures` did. failures, warnings: (path as given, reason)."""

    captures: int
    rows: int
    failures: tuple[tuple[str, str], ...]
    warnings: tuple[tuple[str, str], ...]

    def text(self) -> str:
        """Return the summary as a person reads it: the counts, then a line for each failure and warning."""
        told = {"failed": self.failures, "warning": self.warnings}
        lines = [f"{kind}: {path}: {reason}" for kind, some in told.items() for path, reason in some]
        return "\n".join([f"{self.rows:,} answers for {self.captures:,} captures", *lines])


@dataclass(frozen=True)
class _Outcome:
    """What became of a capture: its rows of the CSV, or why there are none."""

    rows: list[Row]
    failure: str | None = None
    warnings: tuple[str, ...] = ()


def identify_captures(
    sources: Sequence[str], *, devices: DeviceMap, run_directory: Path, out: Path
) -> BulkSummary:
    """Write one row per capture and device to `out`, as the captures come, and say what could not be read.

    sources: files, folders, globs. Packets become flows as they did for training.
    A device that the map names for one capture, and that is silent there, has a row without label, and `how`
    says no-flows: no capture is lost in silence. `out` is replaced as a whole, at the end.
    Raises ValueError when the model does not look at sessions, FileNotFoundError when a source is not there,
    OSError, before any work, where `out` cannot be written.
    """
    tables.check_out(out)
    model = session_model(run_directory)
    captures = named_captures(sources)
    outcomes = dict(_outcomes(model, list(dict.fromkeys(captures.values())), devices))
    told = {name: outcomes[path] for name, path in captures.items()}
    rows = [{**row, "capture": name} for name, outcome in told.items() for row in outcome.rows]
    tables.write_table(pd.DataFrame(rows, columns=list(COLUMNS)), out)
    return BulkSummary(
        captures=len(captures),
        rows=len(rows),
        failures=tuple((name, outcome.failure) for name, outcome in told.items() if outcome.failure),
        warnings=tuple((name, warning) for name, outcome in told.items() for warning in outcome.warnings),
    )


def session_model(run_directory: Path) -> artifact.Model:
    """Return the model of a run after its self-test. Raises ValueError when it does not look at sessions."""
    model = artifact.load(run_directory)
    window = model.manifest.window
    if not looks_at_sessions(model.manifest):
        way = "ingest and build features, then ask the service" if window else "use `iotlens predict`"
        fact = f"{run_directory} looks at {f'windows of {window}' if window else 'a plain table'}"
        if window == SESSION.name:
            fact = f"{run_directory} learnt from tables of flows that do not tell their flow settings"
        raise ValueError(f"captures are identified by a model of sessions, but {fact}; {way}")
    model.self_test()
    return model


def looks_at_sessions(manifest: artifact.Manifest) -> bool:
    """Tell whether a model can be asked about captures alone: it must be known how their packets become flows."""
    return manifest.window == SESSION.name and manifest.flow_settings is not None


def _outcomes(
    model: artifact.Model, paths: Sequence[Path], devices: DeviceMap
) -> Iterator[tuple[Path, _Outcome]]:
    settings = model.manifest.flow_settings or FlowSettings()  # a model of sessions has them
    reading = tqdm(
        read_all_flows(paths, devices, settings), total=len(paths), unit="capture", delay=2, disable=None
    )
    for some in _gathered(reading):
        read = [capture for capture in some if isinstance(capture, CaptureFlows)]
        for capture, rows in zip(read, answers(model, read), strict=True):
            seen = {str(row["device_id"]) for row in rows}
            silent = _without_flows(devices.for_capture(capture.path), seen)
            rows += [_silent(device_id, model) for device_id in silent]
            yield capture.path, _Outcome(rows, warnings=capture.warnings)
        unread = [capture for capture in some if isinstance(capture, UnreadCapture)]
        yield from ((capture.path, _Outcome([], failure=capture.reason)) for capture in unread)


def _gathered(
    captures: Iterable[CaptureFlows | UnreadCapture],
) -> Iterator[list[CaptureFlows | UnreadCapture]]:
    """Yield the captures in lists of about FLOWS_AT_ONCE flows: a query costs far more than a capture in it."""
    some: list[CaptureFlows | UnreadCapture] = []
    flows = 0
    for capture in captures:
        some.append(capture)
        flows += len(capture.flows) if isinstance(capture, CaptureFlows) else 0
        if flows >= FLOWS_AT_ONCE:
            yield some
            some, flows = [], 0
    yield some


def answers(model: artifact.Model, captures: Sequence[CaptureFlows]) -> list[list[Row]]:
    """Return for each capture one row per device that has flows in it, sorted by device."""
    found: list[list[Row]] = [[] for _ in captures]
    numbered = [
        capture.flows.assign(source=str(i)) for i, capture in enumerate(captures) if len(capture.flows)
    ]
    if not numbered:
        return found
    flows = pd.concat(numbered)  # a number instead of the content's id: copies of a capture are captures too
    windows = device_windows(flows, SESSION)
    judged = decision.answer(model, model.predict_proba(model.matrix(windows, table="flows of the captures")))
    packets = flows["up_packets"] + flows["down_packets"]
    counts = packets.groupby([flows["device_id"], flows["source"]]).agg(flows="size", packets="sum")
    facts = windows[["device_id", "source"]].join(counts, on=["device_id", "source"]).join(judged)
    same: Row = {"how": BY_MODEL, "model_version": model.manifest.model_version}
    for row in cast(list[dict[str, Any]], facts.to_dict("records")):
        number = int(row.pop("source"))
        found[number].append({**row, **_runners_up(row["top"]), **same})
    return found


def _runners_up(top: Sequence[tuple[str, float]]) -> Row:
    flat: Row = {}
    for place, (label, probability) in zip(("second", "third"), top[1:], strict=False):
        flat |= {place: label, f"{place}_probability": probability}
    return flat


def _without_flows(devices: DeviceMap, seen: set[str]) -> list[str]:
    """Return the devices that the map names for this one capture and that have no flow in it, sorted."""
    named = {row.device_id for row in devices.rows or () if row.capture}
    heard = seen | {device_id.rpartition("/")[0] for device_id in seen}  # a device per address of a network
    return sorted(named - heard)


def _silent(device_id: str, model: artifact.Model) -> Row:
    row: Row = {"device_id": device_id, "model_version": model.manifest.model_version}
    return row | {"unknown": True, "how": NO_FLOWS, "flows": 0, "packets": 0}
