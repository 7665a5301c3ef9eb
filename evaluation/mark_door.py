"""The marks of a workspace: devices marked from its lake, written down, published, and read back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd

from evaluation import expert_marks, mark_rules
from evaluation.marks import Marked, Marking, mark
from features import device_marks, known, lake, store
from features.point_in_time import moment_of
from training import mark_models, tables
from training import run as runs
from training.mark_models import MarkModels

RULES_ALONE = "none"  # the name of no run


def mark_lake(workspace: Path, marking: Marking, *, at: pd.Timestamp) -> Marked:
    """Mark all devices that a lake speaks of at a moment, and write that down; doing it again changes nothing."""
    marks = marking.marks
    models = marking.models
    read = {name for one in models.manifest.marks for name in one.features} if models else set()
    wanted = marks.of_window | {name for name in read if name.startswith(known.WINDOW)}
    frame = known.known(workspace, at=at, window=marks.window, of_window=wanted)
    done = mark(frame, marking, at=at, before=device_marks.held(workspace, at=at, before=True))
    device_marks.write(workspace, done.held, done.probabilities, at=at)
    return done


def held_by(workspace: Path, device_ids: Sequence[str], *, at: pd.Timestamp | None = None) -> pd.DataFrame:
    """Return MARKS of some devices as they were written down at the newest moment of marking that is not after `at`.

    A mark that had expired by `at` is left out. Raises LookupError where devices were never marked by then.
    """
    if not any(at is None or moment <= at for moment in device_marks.moments(workspace)):
        by_then = "ever marked" if at is None else f"marked by {at:%F %T}Z"
        raise LookupError(f"no device of {workspace} was {by_then}; run iotlens mark first")
    held = device_marks.held(workspace, at=at)
    mine = held[held["device_id"].isin(list(device_ids))]
    if at is not None:
        mine = mine[mine["expires"].isna() | (mine["expires"] > at)]
    return mine.reset_index(drop=True)


def open_marking(workspace: Path, *, run: str = "latest", experts: Path | None = None) -> Marking:
    """Return what a workspace marks its devices by: its rules, the models of a run, and a file of experts.

    run: as `training.run.find` takes it; `none` for rules alone, and `latest` too where there is no run yet.
    Raises LookupError for a run that is not there, ValueError for a wrong configuration or file.
    """
    told = mark_rules.read(workspace)
    said = expert_marks.read(experts, told) if experts else expert_marks.nothing()
    return Marking(told, _models(workspace, run), said, known.columns(workspace))


def _models(workspace: Path, run: str) -> MarkModels | None:
    if run == RULES_ALONE:
        return None
    if run == runs.LATEST and not list((workspace / "runs").glob(f"*/*/{mark_models.MANIFEST}")):
        return None
    return mark_models.load(runs.find(workspace, run, manifest=mark_models.MANIFEST))


@dataclass(frozen=True)
class Asked:
    """What a person asks of `iotlens mark`. publish: write online too.

    at: aware, or ISO 8601 with its zone; None for the newest moment.
    """

    at: datetime | str | None = None
    run: str = "latest"
    experts: Path | None = None
    publish: bool = True


def mark_to(out: Path, workspace: Path, asked: Asked) -> str:
    """Mark all devices of a workspace, write MARKS to a file too, and return what was done, for a person."""
    tables.check_out(out)
    at = moment_of(asked.at) if asked.at else known.newest_moment(workspace)
    marking = open_marking(workspace, run=asked.run, experts=asked.experts)
    done = mark_lake(workspace, marking, at=at.tz_convert("UTC"))
    tables.write_table(done.held, out)
    counts = done.held["mark"].value_counts().reindex([one.id for one in marking.marks.marks], fill_value=0)
    told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    online = f"; {store.open(workspace).publish_marks():,} devices published online" if asked.publish else ""
    simulated = " (simulated)" if lake.is_simulated(workspace) else ""
    return f"{len(done.probabilities):,} devices at {at:%F %T}Z by {marking.version}: {told}{simulated}{online}\n{out}"
