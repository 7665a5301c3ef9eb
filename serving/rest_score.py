"""The routes about services: how well they work, what they are made of, and which alarms are open."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from features import lake
from serving import alarms, catalogue, marks, metrics, openapi, score_examples
from serving.alarms import Alarms, Wanted
from serving.answering import AnsweringThread
from serving.marks import MarkedDevices, MarkQuestion
from serving.problems import Problem
from serving.schema import Missing
from serving.score_questions import Scoring
from serving.score_schema import (
    ScoreAnswer,
    ScoreBatchQuestion,
    ScoreExplanations,
    ScoreQuestion,
    Scores,
    WhyQuestion,
)

BODY = ("malformed", "too-slow", "too-large", "not-json", "invalid", "not-ready", "overloaded")

router = APIRouter()


@router.post(
    "/score",
    summary="How well a service works for one device",
    response_model=ScoreAnswer,
    responses=openapi.example(score_examples.SCORE) | openapi.errors(*BODY, "nothing-known", "no-service"),
    tags=["score"],
)
async def score(
    request: Request, question: Annotated[ScoreQuestion, Body(openapi_examples=score_examples.QUESTIONS)]
) -> Response:
    """Score a device from the indicators of the workspace, or values that the client has.

    0 is worst, 100 best. That evidence is insufficient is an answer: its `score` is null. Where keys are needed, one
    with scope `score`.
    """
    answer = await scoring(request).one(question, Labelled(request))
    _metrics(request).count_scores([answer])
    return _json(answer)


@router.post(
    "/score_batch",
    summary="How well services work for each of up to 10,000 devices",
    response_model=Scores,
    responses=openapi.example(score_examples.SCORES) | openapi.errors(*BODY),
    tags=["score"],
)
async def score_batch(
    request: Request,
    question: Annotated[ScoreBatchQuestion, Body(openapi_examples=score_examples.BATCH_QUESTIONS)],
) -> Response:
    """Score many devices or rows of values, briefly; a row that cannot be scored has a problem in its place."""
    told = await scoring(request).batch(question, Labelled(request))
    _metrics(request).count_scores(told.answers)
    return _json(told)


@router.get(
    "/services",
    summary="What can be scored",
    responses=openapi.errors("not-ready"),
    tags=["services"],
)
async def services(request: Request) -> catalogue.ServiceLines:
    """List the services of the workspace. Any key will do."""
    return catalogue.service_lines(scoring(request).services())


@router.get(
    "/services/{service_id}",
    summary="What the score of a service is made of",
    responses=openapi.errors("not-ready", "unknown-service", "invalid"),
    tags=["services"],
)
async def service(request: Request, service_id: str) -> catalogue.ServiceDetail:
    """Show the processes, steps, KQIs, weights and anchors of a service. Any key will do."""
    return catalogue.service_detail(scoring(request).services(), service_id)


@router.get(
    "/indicators",
    summary="What is measured, and what is good",
    responses=openapi.errors("not-ready", "unknown-service", "invalid"),
    tags=["services"],
)
async def indicators(
    request: Request, service: Annotated[str | None, Query(description="only those it names")] = None
) -> catalogue.IndicatorDetails:
    """List the indicators: definition, unit, anchors, scopes, possible values. Any key will do."""
    return catalogue.indicator_details(scoring(request).services(), service)


@router.get(
    "/alarms", summary="What is wrong, since when", responses=openapi.errors("invalid"), tags=["alarms"]
)
def list_alarms(request: Request, wanted: Annotated[Wanted, Query()]) -> Alarms:
    """List the alarms below alarms/ of the workspace, the one raised last first; none where nothing monitors.

    Where keys are needed, one with scope `alarms`.
    """
    workspace = request.app.state.settings.workspace
    told, total = alarms.read(workspace, wanted, services=scoring(request).names())
    return Alarms(alarms=told, total=total, simulated=lake.is_simulated(workspace))


@router.post(
    "/mark",
    summary="Which marks devices hold",
    responses=openapi.errors(*BODY, "nothing-known"),
    tags=["marks"],
)
def mark(
    request: Request, question: Annotated[MarkQuestion, Body(openapi_examples=score_examples.MARK_QUESTIONS)]
) -> MarkedDevices:
    """Say which marks up to 10,000 devices hold, since when and why, as `iotlens mark` wrote them down.

    Where keys are needed, one with scope `mark`.
    """
    return marks.read(request.app.state.settings.workspace, question)


async def explain_scores(request: Request, question: WhyQuestion) -> ScoreExplanations:
    """Return the scores that a question of /explain asks about, and which steps cost most."""
    told = await scoring(request).explain(question, Labelled(request))
    _metrics(request).count_scores(told.answers)
    return told


def scoring(request: Request) -> Scoring:
    """Return what scores."""
    found: Scoring = request.app.state.scoring
    return found


class Labelled:
    """What identification says of devices, where a model is served here: leaf, or family where no leaf is sure."""

    def __init__(self, request: Request) -> None:
        self._thread: AnsweringThread | None = request.app.state.thread

    async def __call__(self, ids: Sequence[str]) -> list[str | None]:
        """Return the label of each device; None where it is unknown, or nothing identifies."""
        if self._thread is None:
            return [None] * len(ids)
        try:
            answers = await self._thread.devices(ids)
        except Problem as problem:
            if problem.kind != "not-ready":
                raise
            return [None] * len(ids)
        return [
            None
            if isinstance(one, Missing) or one.unknown
            else (one.label if one.level == "leaf" else one.family)
            for one in answers
        ]


def _metrics(request: Request) -> metrics.Metrics:
    series: metrics.Metrics = request.app.state.metrics
    return series


def _json(answer: BaseModel) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")
