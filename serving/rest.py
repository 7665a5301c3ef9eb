"""The REST application: which device or application stands behind traffic, and how well services work."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Annotated, Literal

from fastapi import APIRouter, Body, FastAPI, Query, Request
from starlette.responses import Response

from serving import answering, examples, metrics, openapi, problems, reports, rest_score
from serving.answering import AnsweringThread
from serving.explain import ExplainingThread, Task
from serving.gate import Gate
from serving.head import HeadAsGet
from serving.schema import (
    Answer,
    Answers,
    BatchAnswers,
    BatchQuestion,
    Explanations,
    Missing,
    Question,
    Reports,
    ServedModel,
    ServedModels,
    State,
)
from serving.score_questions import Scoring
from serving.score_schema import ScoreExplanations, WhyQuestion
from serving.settings import Settings, from_environment

BODY = ("malformed", "too-slow", "too-large", "not-json", "invalid", "not-ready", "overloaded")

router = APIRouter()


@router.post(
    "/identify",
    summary="What stands behind a device",
    response_model=Answers,
    responses=openapi.example(examples.ANSWERS) | openapi.errors(*BODY, "unknown-device", "no-inline-flows"),
    tags=["identify"],
)
async def identify(
    request: Request, question: Annotated[Question, Body(openapi_examples=examples.QUESTIONS)]
) -> Response:
    """Say what stands behind each device: from its newest window online, or from the flows of its session.

    A device without a window online fails the request with 404; a stale one is answered, with status `stale`.
    """

    thread = _thread(request)
    if question.flows is not None:
        given = await thread.sessions(question.flows)
    else:
        given = await thread.devices(question.device_ids or ())
    missing = [one for one in given if isinstance(one, Missing)]
    _metrics(request).count(missing or given)
    if missing:
        ids = [one.device_id for one in missing]
        detail = answering.no_window(ids, thread.ready().service)
        raise problems.Problem("unknown-device", detail, missing=ids)
    return _json(Answers(answers=[one for one in given if isinstance(one, Answer)]))


@router.post(
    "/identify_batch",
    summary="What stands behind each of up to 10,000 devices",
    response_model=BatchAnswers,
    responses=openapi.example(examples.BATCH_ANSWERS) | openapi.errors(*BODY),
    tags=["identify"],
)
async def identify_batch(
    request: Request, question: Annotated[BatchQuestion, Body(openapi_examples=examples.BATCH_QUESTIONS)]
) -> Response:
    """Say what stands behind each of many devices; one without a window has a problem in its place."""

    given = await _thread(request).devices(question.device_ids)
    _metrics(request).count(given)
    statuses = Counter(one.status for one in given)
    known, stale, missing = statuses["known"], statuses["stale"], statuses["missing"]
    return _json(BatchAnswers(answers=given, known=known, stale=stale, missing=missing))


@router.post(
    "/explain",
    summary="Why a device was answered as it was, or a service scored as it was",
    response_model=Explanations | ScoreExplanations,
    responses=openapi.example(examples.EXPLANATIONS) | openapi.errors(*BODY, "no-inline-flows"),
    tags=["identify"],
)
async def explain(
    request: Request, question: Annotated[WhyQuestion, Body(openapi_examples=examples.WHY_QUESTIONS)]
) -> Response:
    """Say which features spoke for and against each label, by groups of those that move together.

    Where keys are needed, one with scope `explain`. A row that cannot be answered, or not be explained within the
    10 s of a request, has a problem of its own. With `service`: which steps cost the score of that service its points,
    by which indicators, in their units.
    """
    if question.service is not None:
        return _json(await rest_score.explain_scores(request, question))
    thread = _thread(request)
    explaining: ExplainingThread = request.app.state.explaining
    with explaining.place():
        answers, X = await thread.read(question)
        _metrics(request).count(answers)
        ready = thread.ready()
        told = await explaining.explain(Task(ready.model, ready.units, answers, X, question.top))
    return _json(Explanations(answers=told))


@router.get(
    "/reports",
    summary="The reports of the workspace",
    responses=openapi.example(examples.REPORTS) | openapi.errors(),
    tags=["reports"],
)
def list_reports(request: Request) -> Reports:
    """List the reports of runs and of selections, newest first. Where keys are needed, one with scope `reports`."""
    return Reports(reports=[one.shown() for one in reports.every(request.app.state.settings.workspace)])


@router.get(
    "/reports/{report_id}",
    summary="One report",
    response_class=Response,
    responses=openapi.text("text/html", "text/markdown") | openapi.errors("unknown-report", "invalid"),
    tags=["reports"],
)
def report(
    request: Request,
    report_id: str,
    form: Annotated[Literal["html", "markdown"], Query(alias="format")] = "html",
) -> Response:
    """Show a report as its page, which loads nothing, or as Markdown. Scope `reports`, as the list."""
    try:
        found = reports.find(request.app.state.settings.workspace, report_id)
        content, media_type, tag = reports.read(found, form)
    except LookupError as error:
        raise problems.Problem("unknown-report", str(error)) from error
    headers = {
        "Content-Security-Policy": reports.POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "private, no-cache",  # a key may be revoked, a report made anew: ask, and hear 304
        "ETag": tag,
    }
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


@router.get("/models", summary="What answers here", responses=openapi.errors("not-ready"), tags=["models"])
async def models(request: Request) -> ServedModels:
    """Say what answers here: the run's classes, thresholds and origin."""
    ready = _thread(request).ready()
    return ServedModels(models=[ServedModel.of(ready.model.manifest, ready.judgement)])


@router.get("/livez", summary="Is the process alive", tags=["service"])
async def livez() -> State:
    """Say that the process runs. Needs no key."""
    return State(status="alive")


@router.get("/readyz", summary="Is the model ready", responses=openapi.errors("not-ready"), tags=["service"])
async def readyz(request: Request) -> State:
    """Say whether the model is loaded and repeated its self-test; without a run, whether services are loaded.

    Needs no key.
    """
    if request.app.state.thread is None:
        request.app.state.scoring.services()
    else:
        _thread(request).ready()
    return State(status="ready")


@router.get(
    "/metrics",
    summary="Series for Prometheus",
    responses=openapi.errors() | openapi.text(metrics.CONTENT_TYPE),
    tags=["service"],
)
async def series(request: Request) -> Response:
    """Show the series of all workers to Prometheus. Where keys are needed, one with scope `metrics`."""
    return Response(_metrics(request).text(), headers={"content-type": metrics.CONTENT_TYPE})


def _json(answers: Answers | BatchAnswers | Explanations | ScoreExplanations) -> Response:
    return Response(answers.model_dump_json(), media_type="application/json")


def _thread(request: Request) -> AnsweringThread:
    thread: AnsweringThread | None = request.app.state.thread
    if thread is None:
        detail = "the service was started with --run none: it scores services, and identifies nothing"
        raise problems.Problem("not-ready", detail)
    return thread


def _metrics(request: Request) -> metrics.Metrics:
    series: metrics.Metrics = request.app.state.metrics
    return series


def _answering(told: Settings) -> AnsweringThread | None:
    """Return the thread that identifies; None where no run is served."""
    if told.run_directory is None:
        return None
    return AnsweringThread(partial(answering.load, told.workspace, told.run_directory))


def create_app(read_settings: Callable[[], Settings] = from_environment) -> FastAPI:
    """Return the REST application. It reads its settings and loads its model when it starts, not before.

    It takes requests once the model is loaded, or known not to load: then /readyz says so.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        told = app.state.settings = read_settings()
        app.state.metrics = metrics.Metrics()
        thread = app.state.thread = _answering(told)
        app.state.explaining, app.state.scoring = ExplainingThread(), Scoring(told.workspace)
        await app.state.scoring.load()
        if thread is not None:
            await thread.settled()  # while loading, take no connection from another worker
        yield
        if thread is not None:
            thread.close()
        app.state.explaining.close()
        app.state.scoring.close()

    app = FastAPI(
        title="iotlens",
        summary="Which device or application stands behind this traffic, and how well does its service work?",
        version=version("iotlens"),
        openapi_url=openapi.DOCUMENT,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.include_router(router)
    app.include_router(rest_score.router)
    openapi.publish(app)
    problems.install(app)
    app.add_middleware(HeadAsGet)
    app.add_middleware(Gate)
    app.add_middleware(metrics.Measured)  # the one added last is the outermost
    return app
