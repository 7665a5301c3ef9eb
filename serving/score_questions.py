"""From a question about scores to its answer: the service of each row, what is known of it, the score."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from features import lake
from serving import score_answers, score_inline, score_rows
from serving.problems import Problem
from serving.score import Assessed, Services, load
from serving.score_answers import Origin
from serving.score_inline import Place
from serving.score_rows import Asked, Context, Labels, Row
from serving.score_schema import (
    BriefScore,
    ExplainedScore,
    Refused,
    ScoreAnswer,
    ScoreBatchQuestion,
    ScoreExplanations,
    ScoreQuestion,
    ScoreRow,
    Scores,
    WhyQuestion,
)
from serving.score_views import Views
from serving.scoring_thread import ROUND_ROWS, ScoringThread

log = logging.getLogger(__name__)

Made = TypeVar("Made", BriefScore, ExplainedScore)
Tell = Callable[
    [Assessed, Origin, int], list[Made]
]  # of a group of rows: what was assessed, where from, first row


class Scoring:
    """What answers questions about scores; loaded when the service starts, apart from the model."""

    def __init__(self, workspace: Path) -> None:
        self.workspace, self._thread = workspace, ScoringThread()
        self._services: Services | None = None
        self._views: Views | None = None

    async def load(self) -> None:
        """Read the services; where that fails the log says why, and each question is told that it is not ready."""
        try:
            services = await self._thread.run(partial(load, self.workspace))
        except (ValueError, LookupError, OSError) as error:
            log.error("services will not be scored", exc_info=error)
            return
        self._services = services
        self._views = Views(self.workspace, services.domain, services.plans)

    def services(self) -> Services:
        """Return what can be scored. Raises Problem where it could not be read."""
        if self._services is None:
            raise Problem("not-ready", "the services are not loaded; the log of the service says why")
        return self._services

    def names(self) -> list[str] | None:
        """Return the ids of the services; None where they could not be read."""
        return None if self._services is None else list(self._services.plans)

    def close(self) -> None:
        """Let the work at hand end, and take no more."""
        self._thread.close()
        if self._views is not None:
            self._views.close()

    async def one(self, question: ScoreQuestion, labels: Labels) -> ScoreAnswer:
        """Return the score of one device, with all that it is made of. Raises Problem where it has none."""
        context = self._context(labels, None, question.at)
        score_inline.check(question, (), context.services.known)
        (row,) = await score_rows.rows_of([Asked(question, ())], context)
        if isinstance(row, Problem):
            raise row
        origin = await self._origin([row], context)
        if (problem := _nothing_known(row, origin, 0)) is not None:
            raise problem
        plan = context.services.plans[row.service]
        return await self._thread.score(
            plan, origin.evidence.told, lambda all_, at: score_answers.whole(all_, origin, at)
        )

    async def batch(self, question: ScoreBatchQuestion, labels: Labels) -> Scores:
        """Return the brief score of each row, or its problem."""
        field = "rows" if question.rows is not None else "device_ids"
        context = self._context(labels, question.service, question.at)
        answers = await self._many(_placed(question.asked(), field), context, score_answers.briefs)
        counts = Counter[str](one.status for one in answers)
        return Scores(
            answers=answers,
            scored=counts["scored"],
            insufficient=counts["insufficient evidence"],
            refused=counts["refused"],
            simulated=lake.is_simulated(self.workspace),
        )

    async def explain(self, question: WhyQuestion, labels: Labels) -> ScoreExplanations:
        """Return the score of each row of a question with `service`, and the steps that cost it most."""
        context = self._context(labels, question.service, question.at)
        if question.indicators is not None:
            row = ScoreRow(indicators=question.indicators, service=question.service)
            score_inline.check(row, (), context.services.known)
        inline = question.model_dump(include={"indicators", "service"})
        rows: list[object] = [{"device_id": one} for one in question.device_ids or ()]
        asked = _placed(rows or [inline], "device_ids")
        tell = partial(score_answers.explained, top=question.top)
        answers = await self._many(asked, context, tell)
        return ScoreExplanations(answers=answers, simulated=lake.is_simulated(self.workspace))

    def _context(self, labels: Labels, service: str | None, at: datetime | None) -> Context:
        """Return what holds for all rows. Raises Problem when not ready, with a full line, and of a strange service."""
        services = self.services()
        self._thread.admit()
        if service is not None and service not in services.plans:
            raise score_inline.unknown_service(service, (), list(services.plans))
        assert self._views is not None  # made with the services
        return Context(services, self._views, labels, service, at)

    async def _many(
        self, asked: Sequence[tuple[object, Place]], context: Context, tell: Tell[Made]
    ) -> list[Made | Refused]:
        """Return what is told of each row, in rounds, so that small questions come in between."""
        answers: list[Made | Refused] = []
        for start in range(0, len(asked), ROUND_ROWS):
            answers += await self._round(asked[start : start + ROUND_ROWS], context, tell)
        return answers

    async def _round(
        self, asked: Sequence[tuple[object, Place]], context: Context, tell: Tell[Made]
    ) -> list[Made | Refused]:
        parsed = await self._thread.run(partial(score_rows.parsed, asked, context.services))
        good = [one for one in parsed if isinstance(one, Asked)]
        settled = iter(await score_rows.rows_of(good, context))
        rows = [one if isinstance(one, Problem) else next(settled) for one in parsed]
        groups: dict[tuple[str, bool], list[int]] = {}
        for i, row in enumerate(rows):
            if isinstance(row, Row):
                groups.setdefault(row.group, []).append(i)
        told: dict[int, Made | Problem] = {i: row for i, row in enumerate(rows) if isinstance(row, Problem)}
        for places in groups.values():
            mine = [row for i in places if isinstance(row := rows[i], Row)]
            told |= dict(zip(places, await self._group(mine, context, tell), strict=True))
        return [
            score_rows.refused(*asked[i], one) if isinstance(one := told[i], Problem) else one
            for i in range(len(asked))
        ]

    async def _group(self, rows: Sequence[Row], context: Context, tell: Tell[Made]) -> list[Made | Problem]:
        """Return what is told of rows of one service, or the problem of each of which nothing is known."""
        try:
            origin = await self._origin(rows, context)
        except Problem as problem:
            return [problem] * len(rows)
        plan = context.services.plans[rows[0].service]

        def made(assessed: Assessed, start: int) -> list[Made]:
            return tell(assessed, origin, start)

        told = await self._thread.score(plan, origin.evidence.told, made)
        return [_nothing_known(rows[i], origin, i) or one for i, one in enumerate(told)]

    async def _origin(self, rows: Sequence[Row], context: Context) -> Origin:
        """Return what is known of rows of one service, all by name or all inline."""
        first = rows[0]
        plan = context.services.plans[first.service]
        if first.asked.device_id is not None:
            view = await context.views.view(first.service, await context.moment())
            evidence = await context.views.evidence(view, [one.asked.device_id or "" for one in rows])
            return Origin(evidence, view, view.at, first.by)
        least = context.services.domain.standard.min_samples_at_device_scope
        given = [one.asked.indicators or {} for one in rows]
        evidence = await self._thread.run(partial(score_inline.evidence, plan, given, least=least))
        rule = f"made of fewer than {least} samples, which are no evidence"
        notes = {name: rule for name, one in given[0].items() if score_inline.too_few(one, least)}
        return Origin(evidence, None, context.at, first.by, notes, score_inline.unused(plan, given[0]))


def _nothing_known(row: Row, origin: Origin, number: int) -> Problem | None:
    """Return the problem of a device that no table knows; one that identification knows is there."""
    return None if row.by == "label" else origin.nothing_known(number)


def _placed(rows: Sequence[object], field: str) -> list[tuple[object, Place]]:
    return [(row, (field, number)) for number, row in enumerate(rows)]
