"""Every device and place of a service, scored at one moment from the indicators of a workspace, into one file."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa

from evaluation import scoring
from evaluation.domain import Domain
from evaluation.process import ServiceModel
from evaluation.score_table import Judged, RollUp, judge, own_rows, schema
from evaluation.scoring_plan import Measured, Plan, plan
from features import nearest, snapshot, terminal
from features.indicators import Indicator
from features.nearest import Told
from features.snapshot import Known, Newest
from features.whole_file import parquet_writer

log = logging.getLogger(__name__)
HEARTBEATS = 1.5  # a device that missed one is still judged by the last: no gap of continuity before (domain)


@dataclass(frozen=True)
class Untold:
    """Indicators with weight that no place of a scope can tell. share: of the weight that others have."""

    ids: tuple[str, ...]
    share: float

    def text(self) -> str:
        """Return it as it ends a line for a person."""
        return f"{', '.join(self.ids)}, so that at most {self.share:.3f} of the weight is known there"


def untold(what: Plan) -> dict[str, Untold]:
    """Return by scope what no place of a service can tell itself; nothing of a service that is scored by device.

    It counts as unknown all the same: unknown never raises a score.
    """
    found: dict[str, Untold] = {}
    if "device" in what.service.aggregation_keys:
        return found
    for scope in what.service.aggregation_keys:
        never = [one for one in range(what.weighed) if scope not in what.indicators[one].granularity]
        lost = (what.kqi_weights[pair.kqi] * pair.weight for pair in what.pairs if pair.indicator in never)
        if never:
            found[scope] = Untold(tuple(what.ids[one] for one in never), 1 - math.fsum(lost))
    return found


@dataclass(frozen=True)
class ScoreSummary:
    """What was scored: rows by scope, and how many of them have a score.

    untold: by scope of places that are judged by what they tell themselves, what none of them can tell.
    """

    service: str
    at: datetime
    rows: dict[str, int]
    scored: dict[str, int]
    untold: dict[str, Untold]

    def text(self) -> str:
        """Return one line for a person."""
        parts = [f"{scope} {self.scored[scope]:,} of {n:,}" for scope, n in self.rows.items()]
        told = ", ".join(parts) or "nothing, as no device or place of it is known at that moment"
        why = "; too few indicators were told in time before that moment" if self._all_lack_evidence else ""
        never = "".join(f"; no {scope} tells {one.text()}" for scope, one in self.untold.items())
        return f"{self.service} at {self.at:%FT%TZ}: scored {told}{why}{never}"

    @property
    def _all_lack_evidence(self) -> bool:
        return any(self.rows.values()) and not any(self.scored.values())


def oldest(service: ServiceModel, domain: Domain) -> dict[str, timedelta]:
    """Return by scope how old a value may be to count in a score of the service.

    It is the longest of: the KQI window, the window of the scope itself, and one and a half heartbeats of a device.
    """
    beat = HEARTBEATS * service.device_profile.heartbeat_s if service.device_profile else 0.0
    least = max(float(service.kqi_window.length_s), beat)
    return {
        scope: timedelta(seconds=least if scope == "device" else max(least, window.length_s))
        for scope, window in domain.standard.windows.items()
    }


def write(workspace: Path, domain: Domain, service: ServiceModel, *, at: datetime, out: Path) -> ScoreSummary:
    """Score every device and place of a service at a moment into a Parquet file under SCORES, whole or not at all.

    at: aware, of any zone. Raises LookupError where there is no workspace, ValueError of a moment without a zone.
    """
    if not workspace.is_dir():
        raise LookupError(
            f"the workspace must exist, but there is none at {workspace}; name one by --workspace"
        )
    if at.tzinfo is None:
        raise ValueError(f"the moment of a score must have a zone, but {at.isoformat()} has none")
    moment = at.astimezone(UTC)
    what = plan(service, domain.measured)
    done = ScoreSummary(service.id, moment, {}, {}, untold(what))
    with TemporaryDirectory() as scratch, parquet_writer(out, schema(what)) as writer:
        for table in tables(workspace, domain, what, at=moment, scratch=Path(scratch)):
            writer.write_table(table)
            if len(table):
                scope = table["scope"][0].as_py()
                done.rows[scope] = done.rows.get(scope, 0) + len(table)
                scored = len(table) - table["score"].null_count
                done.scored[scope] = done.scored.get(scope, 0) + scored
                log.info("score: %s, %s %s", service.id, f"{done.rows[scope]:,}", scope)
    return done


def tables(workspace: Path, domain: Domain, what: Plan, *, at: datetime, scratch: Path) -> Iterator[pa.Table]:
    """Yield SCORES: devices in batches and then each scope that they are rolled up into; or the places themselves."""
    keys, ages = what.service.aggregation_keys, oldest(what.service, domain)
    if "device" not in keys:
        for scope in keys:
            yield _own(workspace, what, scope, at, ages[scope])
        return
    around = nearest.read_places(workspace, _measured(what), at=at, oldest=ages)
    places = [RollUp(what, scope) for scope in keys if scope != "device"]
    newest = Newest(at, ages["device"])
    for devices in snapshot.devices(
        workspace, what.service.id, _measured(what), newest=newest, scratch=scratch
    ):
        wanted = what.indicators[: what.weighed]
        judged = _judged(what, evidence(workspace, wanted, devices, around, newest))
        yield own_rows(what, "device", devices.ids, at, judged)
        for place in places:
            place.add(devices.places[place.scope], judged)
    yield from (place.rows(at) for place in places)


def _measured(what: Plan) -> tuple[Indicator, ...]:
    return tuple(one for one in what.indicators[: what.weighed] if isinstance(one, Indicator))


def evidence(
    workspace: Path, wanted: Sequence[Measured], devices: Known, around: Mapping[str, Known], newest: Newest
) -> list[Told]:
    """Return what is known of devices of each wanted indicator: their own values, else those of the nearest place.

    newest: how old what a device tells itself may be; also what its terminal told.
    """
    measured = [one for one in wanted if isinstance(one, Indicator)]
    found = dict(zip((one.id for one in measured), nearest.evidence(devices, around, measured), strict=True))
    if len(measured) == len(wanted):
        return [found[one.id] for one in wanted]
    ids = pd.Series(devices.ids.to_pandas(), dtype="string")
    asked = pd.DataFrame({"device_id": ids, "event_timestamp": pd.Timestamp(newest.at)})
    own = terminal.as_of(asked, workspace)
    none = np.zeros(len(ids))
    since = pd.Timestamp(newest.at) - newest.oldest
    return [
        found[one.id]
        if one.id in found
        else Told(own[one.id].where(own[f"{one.id}__at"] > since).to_numpy(), none, none.astype("int8"))
        for one in wanted
    ]


def _own(workspace: Path, what: Plan, scope: str, at: datetime, oldest: timedelta) -> pa.Table:
    """Return SCORES of places that are judged by what they tell themselves."""
    known = snapshot.places(workspace, scope, _measured(what), at=at, oldest=oldest)
    unknown = np.full(len(known.ids), np.nan)
    told = [
        Told(known.values.get(one.id, unknown), known.samples.get(one.id, unknown), unknown)
        for one in what.indicators[: what.weighed]
    ]
    return own_rows(what, scope, known.ids, at, _judged(what, told))


def _judged(what: Plan, told: Sequence[Told]) -> Judged:
    values, samples = [one.value for one in told], [one.samples for one in told]
    return judge(what, scoring.utilities(what, values), scoring.doubt(what, values, samples))
