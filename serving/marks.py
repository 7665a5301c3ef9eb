"""The marks of devices, as `iotlens mark` wrote them down: which ones a device holds, since when, and why."""

from datetime import datetime
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, Field

from features import device_marks, lake
from serving.problems import Problem
from serving.schema import MAX_BATCH, Instant, Text


class MarkQuestion(BaseModel, frozen=True, extra="forbid"):
    """Whose marks, and as of when."""

    device_ids: list[Text] = Field(min_length=1, max_length=MAX_BATCH)
    at: Instant | None = Field(None, description="as of when; without, the newest moment of marking")


class HeldMark(BaseModel, frozen=True):
    """One mark that a device holds."""

    mark: str
    probability: float
    since: datetime
    evidence: str = Field(description="what tells it: features, their values and usual ranges")
    expires: datetime | None = Field(description="until when it is true untold; null: until cleared")
    source: str = Field(description="rule, model, both or expert")
    version: str


class MarkedDevice(BaseModel, frozen=True):
    """The marks of one device, the most probable first; none: it holds none, or was not marked."""

    device_id: str
    marks: list[HeldMark]


class MarkedDevices(BaseModel, frozen=True):
    """One answer per device asked for, in that order."""

    answers: list[MarkedDevice]
    window_end: datetime = Field(description="the moment of marking: nothing later was looked at")
    simulated: bool


def read(workspace: Path, question: MarkQuestion) -> MarkedDevices:
    """Return the marks of devices at the newest moment of marking that is not after `at`; expired ones are left out.

    Raises Problem where devices were never marked, or not by then.
    """
    at = None if question.at is None else pd.Timestamp(question.at)
    every = device_marks.moments(workspace)
    if not every:
        raise Problem("not-ready", "no device was marked yet; run `iotlens mark`")
    moments = [one for one in every if at is None or one <= at]
    if not moments:
        detail = f"no device was marked by {at:%Y-%m-%dT%H:%M:%SZ}; the first were at {every[0]:%Y-%m-%dT%H:%M:%SZ}"
        raise Problem("nothing-known", detail)
    held = device_marks.held(workspace, at=moments[-1], device_ids=question.device_ids)
    live = held[held["expires"].isna() | (held["expires"] > (at or moments[-1]))]
    by_device = dict(iter(live.sort_values("probability", ascending=False).groupby("device_id")))
    return MarkedDevices(
        answers=[
            MarkedDevice(device_id=one, marks=_marks(by_device.get(one))) for one in question.device_ids
        ],
        window_end=moments[-1].to_pydatetime(),
        simulated=lake.is_simulated(workspace),
    )


def _marks(rows: pd.DataFrame | None) -> list[HeldMark]:
    if rows is None:
        return []
    told = rows[list(HeldMark.model_fields)].to_dict("records")
    return [
        HeldMark.model_validate({str(name): None if pd.isna(value) else value for name, value in one.items()})
        for one in told
    ]
