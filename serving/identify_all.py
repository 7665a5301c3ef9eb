"""Every device that the lake has windows of, identified at one moment: IDENTIFIED, for a whole workspace."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import pandas as pd

from features import store, windows
from features.table import Column, check_table, empty_table
from features.whole_file import write_frame
from serving import answering
from training import decision
from training.artifact import Model
from training.run import find

ROWS_AT_ONCE = 20_000

IDENTIFIED: tuple[Column, ...] = (
    Column("device_id", "string", "-", "the device"),
    Column("at", "timestamp", "UTC", "the moment that the answer is of"),
    Column("window_end", "timestamp", "UTC", "end of the window that was looked at"),
    Column("label", "string", "-", "best leaf"),
    Column("family", "string", "-", "the group that it belongs to"),
    Column("level", "string", "-", "whether the leaf or only the family may be trusted"),
    Column("probability", "float64", "1", "of the leaf", low=0, high=1),
    Column("unknown", "bool", "-", "whether the answer is refused"),
    Column("service", "string", "-", "which the label runs; empty where none is known", empty=True),
    Column("model_version", "string", "-", "what answered"),
)


def servable_run(workspace: Path) -> Path | None:
    """Return the newest run that reads windows of the store; None where there is none yet."""
    try:
        return find(workspace, "latest", suits=lambda manifest: manifest.feature_service is not None)
    except LookupError:
        return None


def identify_all(workspace: Path, run: Path, *, at: datetime, services: Mapping[str, str], out: Path) -> int:
    """Write IDENTIFIED of each device whose newest window at a moment is not stale; return how many there are.

    services: id of a service by leaf or family. The file is there as a whole, or as it was.
    """
    model, service = answering.servable(run)
    window = model.manifest.window
    ids = windows.devices(workspace, str(window))
    parts = [
        _identified(workspace, model, service, ids[first : first + ROWS_AT_ONCE], at)
        for first in range(0, len(ids), ROWS_AT_ONCE)
    ]
    found = pd.concat(parts, ignore_index=True) if parts else _nobody()
    runs = found["label"].map(services).fillna(found["family"].map(services))
    told = found.assign(
        at=pd.Timestamp(at), service=runs.where(~found["unknown"].astype(bool)).astype("string")
    )
    write_frame(out, check_table(told, IDENTIFIED, table="identified"), IDENTIFIED)
    return len(told)


def _identified(
    workspace: Path, model: Model, service: str, ids: Sequence[str], at: datetime
) -> pd.DataFrame:
    """Return the answers of devices, without those that no window serves for; `at` and `service` come later."""
    asked = pd.DataFrame({"device_id": pd.Series(ids, dtype="string"), "event_timestamp": pd.Timestamp(at)})
    known = store.open(workspace).history(asked, service).dropna(subset=["window_end"]).reset_index(drop=True)
    if known.empty:
        return _nobody()
    answers = decision.answer(model, model.predict_proba(model.matrix(known, table=service)))
    names = ["label", "family", "level", "probability", "unknown"]
    return known[["device_id", "window_end"]].assign(
        **{name: answers[name] for name in names}, model_version=model.manifest.model_version
    )


def _nobody() -> pd.DataFrame:
    return empty_table(IDENTIFIED).drop(columns=["at", "service"])
