"""What indicators were made from, and what changed since: the dates and deliveries that a build must look at."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from features import counter_tables, lake, membership
from features.indicators import Indicator, IndicatorSet

_MAKING = 1  # raised when the code makes other rows of the same counters
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Built:
    """lake/indicators/built.json: what the rows were made from (features/built.py).

    recipe: a hash of all that decides a row but data. created: of the newest rows, ISO 8601. until: the last
    window_end that was asked for, "" for all. sources: the fingerprint of each delivery of counters. dates: those of
    its counters. members: the fingerprints of the membership.
    """

    recipe: str
    created: str
    until: str
    sources: dict[str, str]
    dates: dict[str, list[str]]
    members: list[str]


@dataclass(frozen=True)
class Change:
    """What a build must look at. dates: whose counters changed. sources: deliveries that are new, replaced or gone.

    everything: every row is computed anew, not only what these touch.
    """

    dates: tuple[date, ...]
    sources: tuple[str, ...]
    everything: bool


def present(
    workspace: Path,
    settings: IndicatorSet,
    indicators: Sequence[Indicator],
    *,
    until: datetime | None,
    created: datetime,
) -> Built:
    """Return what rows would be made from now. Raises LookupError where the lake holds no counters."""
    records = lake.deliveries(workspace, counter_tables.KIND)
    if not records:
        raise LookupError(f"no counters in the lake of {workspace}; run iotlens counters ingest first")
    held = lake.deliveries(workspace, membership.KIND)
    return Built(
        recipe=_recipe(settings, indicators),
        created=created.isoformat(),
        until=until.astimezone(UTC).isoformat() if until else "",
        sources={source: record.fingerprint for source, record in records.items()},
        dates={source: _dates(record) for source, record in records.items()},
        members=[record.fingerprint + source for source, record in held.items()],
    )


def since(built: Built | None, now: Built) -> Change:
    """Return what changed since the rows were built."""
    everything = built is None or built.recipe != now.recipe or built.members != now.members
    before = built.sources if built else {}
    sources = [one for one in {**before, **now.sources} if before.get(one) != now.sources.get(one)]
    told = {day for one in sources for day in now.dates.get(one, [])}
    if built:
        told |= {day for one in sources for day in built.dates.get(one, [])}
        if built.until and built.until != now.until:  # what lay beyond it then
            told |= {day for days in now.dates.values() for day in days if day >= built.until[:10]}
            told |= {str(date.fromisoformat(built.until[:10]) - _DAY)}
    if everything:
        told |= {day for days in now.dates.values() for day in days}
    return Change(tuple(map(date.fromisoformat, sorted(told))), tuple(sources), everything)


def _recipe(settings: IndicatorSet, indicators: Sequence[Indicator]) -> str:
    """Return a hash of all that decides a row besides counters and membership."""
    made = [(one.id, one.aggregate.model_dump(), one.granularity, one.min_samples) for one in indicators]
    lengths = {scope: window.model_dump() for scope, window in settings.windows.items()}
    told = [_MAKING, made, lengths, settings.min_samples_at_device_scope]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _dates(record: lake.Delivery) -> list[str]:
    folders = {Path(file).parent.name for file in record.files if file.startswith("counters/")}
    return sorted(name.removeprefix("date=") for name in folders)
