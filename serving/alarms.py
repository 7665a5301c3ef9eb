"""The alarms of a workspace, as `iotlens monitor` leaves them below alarms/: read when asked, never kept."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, get_args

import pandas as pd
import pyarrow.parquet as pq
from pydantic import AfterValidator, BaseModel, Field

from features.indicators import Scope
from features.whole_file import is_partial
from serving.problems import broken

MAX_ALARMS = 10_000  # of one answer
FOLDER = "alarms"
SCOPES = tuple(one for one in get_args(Scope) if one != "device")  # alarms are of places


class Alarm(BaseModel, frozen=True):
    """One KQI of one place that fell, from when it was raised until it is cleared."""

    alarm_id: str
    service: str
    kqi: str
    scope: str
    scope_id: str
    raised: datetime
    updated: datetime
    cleared: datetime | None = Field(description="null while it is open")
    severity: str
    score: float | None = Field(
        description="of the KQI when it was worst; null: too little of it is known there"
    )
    baseline: float | None = Field(description="what it usually is then")
    deviation: float = Field(description="of what fell most from its own baseline, in usual deviations")
    worst_step: str | None
    worst_indicator: str | None
    parent: str | None = Field(description="the alarm that stands for its cause; null: it does so itself")
    status: str
    devices: int = Field(description="of the service that hung on the place")


class Alarms(BaseModel, frozen=True):
    """Alarms, the one raised last first."""

    alarms: list[Alarm]
    total: int = Field(description="how many there are, of which at most `limit` are told")
    simulated: bool


def _place(scope: str) -> str:
    if scope not in SCOPES:
        raise ValueError(f"must be the scope of a place: {', '.join(SCOPES)}")
    return scope


PlaceScope = Annotated[str, AfterValidator(_place), Field(json_schema_extra={"enum": list(SCOPES)})]


class Wanted(BaseModel, frozen=True, extra="forbid"):
    """Which alarms are asked for; None: all. limit: how many are told."""

    status: Literal["open", "cleared"] | None = None
    service: str | None = None
    scope: PlaceScope | None = None
    scope_id: str | None = None
    limit: int = Field(1000, ge=1, le=MAX_ALARMS)


def read(workspace: Path, wanted: Wanted, *, services: Collection[str] | None) -> tuple[list[Alarm], int]:
    """Return the alarms that are wanted, the one raised last first, at most `limit`; and how many there are.

    Of an alarm that several files tell, the file written last counts. A table that lacks columns is of something else.
    services: those configured; None where that is not known. Raises Problem of one that is none of them and of which
    no alarm tells.
    """
    names = list(Alarm.model_fields)
    frames = [pd.read_parquet(file, columns=names) for file in _files(workspace, names)]
    whole = pd.concat(frames or [pd.DataFrame(columns=names)], ignore_index=True)
    whole = whole.drop_duplicates("alarm_id", keep="last")
    _known(wanted.service, services, told=set(whole["service"]))
    for column, value in wanted.model_dump(exclude={"limit"}, exclude_none=True).items():
        whole = whole[whole[column] == value]
    newest = whole.sort_values(["raised", "alarm_id"], ascending=[False, True])
    return list(_alarms(newest.head(wanted.limit))), len(newest)


def _known(service: str | None, services: Collection[str] | None, *, told: Collection[str]) -> None:
    """Raise Problem of a service that is not configured and of which nothing is told: not one that was taken away."""
    if service is not None and services is not None and service not in services and service not in told:
        raise broken([(("service",), "unknown_service", f"must be a service: {', '.join(services)}")])


def _files(workspace: Path, names: list[str]) -> list[Path]:
    """Return the tables of alarms, the one written last at the end; not one that is being written, or was not ended."""
    tables = [file for file in (workspace / FOLDER).glob("*.parquet") if not is_partial(file)]
    found = sorted(tables, key=lambda file: (file.stat().st_mtime_ns, file.name))
    return [file for file in found if set(names) <= set(pq.read_schema(file).names)]


def _alarms(frame: pd.DataFrame) -> Iterator[Alarm]:
    for row in frame.to_dict("records"):
        told = {str(name): None if pd.isna(value) else value for name, value in row.items()}
        moments = {
            name: moment.to_pydatetime().astimezone(UTC)
            for name in ("raised", "updated", "cleared")
            if isinstance(moment := told[name], pd.Timestamp)
        }
        yield Alarm.model_validate(told | moments)
