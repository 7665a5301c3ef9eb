"""Of which service each row of a question is: as the question says, else MEMBERSHIP, else the label of the device."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from serving import score_inline
from serving.problems import Problem, broken, shortened
from serving.schema import InvalidDetail, ProblemDetail, encodable
from serving.score import Services
from serving.score_inline import Place
from serving.score_schema import NO_SERVICE, Refused, ScoreRow
from serving.score_views import Views

By = Literal["question", "membership", "label"]
Labels = Callable[
    [Sequence[str]], Awaitable[list[str | None]]
]  # of devices by identification; None: not known


@dataclass(frozen=True)
class Asked:
    """One row of a question. place: of it in the body."""

    row: ScoreRow
    place: Place


@dataclass(frozen=True)
class Row:
    """One row whose service is known, and who said so."""

    asked: ScoreRow
    service: str
    by: By

    @property
    def group(self) -> tuple[str, bool]:
        """What can be scored together: rows of one service, by name or inline."""
        return self.service, self.asked.device_id is None


@dataclass(frozen=True)
class Context:
    """What holds for all rows of a question. service: of those that name none; at: the moment, None: the newest."""

    services: Services
    views: Views
    labels: Labels
    service: str | None
    at: datetime | None

    async def moment(self) -> datetime:
        """Return the moment that devices are scored at."""
        return self.at or await self.views.newest()


async def rows_of(asked: Sequence[Asked], context: Context) -> list[Row | Problem]:
    """Return each row with its service, or the problem that it has none."""
    found = {i: told for i, one in enumerate(asked) if (told := _said(one, context)) is not None}
    nameless = [i for i in range(len(asked)) if i not in found]
    if nameless:
        looked_up = await _by_membership([asked[i] for i in nameless], context)
        found |= dict(zip(nameless, looked_up, strict=True))
    return [found[i] for i in range(len(asked))]


def parsed(rows: Sequence[tuple[object, Place]], services: Services) -> list[Asked | Problem]:
    """Return rows as they came, checked, or the problem of each that breaks a rule."""
    found: list[Asked | Problem] = []
    for row, place in rows:
        try:
            found.append(Asked(score_inline.parsed(row, place, services.known), place))
        except Problem as problem:
            found.append(problem)
    return found


def refused(row: object, place: Place, problem: Problem) -> Refused:
    """Return the problem of one row in the place of its answer."""
    named = row.get("device_id") if isinstance(row, dict) else None
    kind = InvalidDetail if problem.kind == "invalid" else ProblemDetail
    return Refused(
        row=int(place[-1]),
        device_id=named if isinstance(named, str) and encodable(named) else None,
        status="refused",
        problem=kind.model_validate(problem.content()),
    )


def _said(asked: Asked, context: Context) -> Row | Problem | None:
    """Return the row with the service or label that the question names; None where it names none."""
    row = asked.row
    service = row.service or (None if row.label else context.service)
    if service is not None:
        return _of(context.services, asked, service, "question")
    if row.device_id is not None:
        return None
    if row.label is None:
        return broken([(asked.place, "value_error", NO_SERVICE)])
    return _by_label(context.services, asked, row.label)


async def _by_membership(asked: Sequence[Asked], context: Context) -> list[Row | Problem]:
    ids = [one.row.device_id or "" for one in asked]
    try:
        members = await context.views.services(ids, await context.moment())
    except Problem as problem:  # of the lake: rows with values of their own are still scored
        return [problem] * len(asked)
    strangers = [i for i, one in enumerate(asked) if members[i] is None and one.row.label is None]
    labels = {i: one.row.label for i, one in enumerate(asked)}
    if strangers:
        identified = await context.labels([ids[i] for i in strangers])
        labels |= dict(zip(strangers, identified, strict=True))
    return [
        _by_label(context.services, one, labels[i])
        if (service := members[i]) is None
        else _of(context.services, one, service, "membership")
        for i, one in enumerate(asked)
    ]


def _of(services: Services, asked: Asked, service: str, by: By) -> Row | Problem:
    if service not in services.plans:
        return score_inline.unknown_service(service, asked.place, list(services.plans))
    keys = services.plans[service].service.aggregation_keys
    if asked.row.device_id is not None and "device" not in keys:
        detail = f"{service} is scored by {', '.join(keys)}, and no device alone; give its indicators inline"
        return Problem("no-service", detail)
    return Row(asked.row, service, by)


def _by_label(services: Services, asked: Asked, label: str | None) -> Row | Problem:
    if label is not None and label in services.of_label:
        return _of(services, asked, services.of_label[label], "label")
    told = (
        "neither MEMBERSHIP nor identification says what the device is then"
        if label is None
        else f"the label {shortened(label)} is none of service_of_label.yaml"
    )
    return Problem("no-service", f"{told}; name the service in the question, or ask of another moment")
