"""From a question to its answer: the model, the online store, and the one thread that may touch them."""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from serving.problems import Problem
from serving.schema import Answer, Candidate, Judgement, Missing, ProblemDetail, Question
from training import artifact, decision

if TYPE_CHECKING:
    from features.store import Store
    from serving.schema import Flow

log = logging.getLogger(__name__)

MAX_WAITING = 256  # requests in line before one is turned away
ROUND_DEVICES = 250  # answered together; more would keep the next in line waiting


@dataclass(frozen=True)
class Answering:
    """A model that passed its self-test, and the store it looks up. Not for two threads at once.

    service: the feature service the model was trained on. judgement: what its report says first, if it has one.
    """

    model: artifact.Model
    store: "Store"
    service: str
    judgement: Judgement | None

    @property
    def units(self) -> list[str]:
        """The unit of each feature, in the order the model reads them."""
        return [column.unit for column in self.store.service(self.service).features]

    def devices(self, device_ids: Sequence[str]) -> list[Answer | Missing]:
        """Return one answer per id, in order, from the newest window of each device that is online."""
        return self.read_devices(device_ids)[0]

    def sessions(self, flows: "Sequence[Flow]") -> list[Answer]:
        """Return one answer per device and source of the flows, sorted.

        Raises Problem unless the model looks at sessions.
        """
        return self.read_sessions(flows)[0]

    def read_devices(self, device_ids: Sequence[str]) -> tuple[list[Answer | Missing], np.ndarray]:
        """Return as `devices` does, and X (m, f), what the model read of the m that are not missing."""
        latest = self.store.latest(list(device_ids), self.service)
        status = latest["status"].tolist()
        there = [one != "missing" for one in status]
        found = latest if all(there) else latest[there]
        nowhere = [None] * len(found)
        X = self.model.matrix(found, table=self.service)
        answers = iter(
            self._answers(found, X, status=[one for one in status if one != "missing"], source=nowhere)
        )
        return [
            next(answers) if known else _missing(device_id, self.service)
            for device_id, known in zip(device_ids, there, strict=True)
        ], X

    def read_sessions(self, flows: "Sequence[Flow]") -> tuple[list[Answer], np.ndarray]:
        """Return as `sessions` does, and X (n, f), what the model read. Raises as it does."""
        from features.windows import SESSION, device_windows

        manifest = self.model.manifest
        if manifest.window != SESSION.name:
            rule = f"it looks at windows of {manifest.window}; ask by device_ids"
            raise Problem("no-inline-flows", f"{manifest.model_version} reads no inline flows: {rule}")
        windows = device_windows(pd.DataFrame([flow.model_dump() for flow in flows]), SESSION)
        X = self.model.matrix(windows, table=self.service)
        known, source = ["known"] * len(windows), windows["source"].tolist()
        return self._answers(windows, X, status=known, source=source), X

    def _answers(
        self, windows: pd.DataFrame, X: np.ndarray, *, status: list[str], source: Sequence[str | None]
    ) -> list[Answer]:
        """Return the answer for each window row. Lists, not rows of frames: for one device pandas would cost most."""
        manifest = self.model.manifest
        judged = decision.answer(self.model, self.model.predict_proba(X))
        columns: dict[str, Sequence[Any]] = {str(name): judged[name].tolist() for name in judged}
        columns["top"] = [_candidates(top) for top in columns["top"]]
        columns |= {"device_id": windows["device_id"].tolist(), "window_end": windows["window_end"].tolist()}
        columns |= {"status": status, "source": source}
        same = {
            "how": "model",
            "model_version": manifest.model_version,
            "simulated": self.judgement.simulated if self.judgement else None,
            "feature_service": self.service,
        }
        rows = zip(*columns.values(), strict=True)
        return [Answer(**dict(zip(columns, row, strict=True)), **same) for row in rows]


def load(workspace: Path, run_directory: Path) -> Answering:
    """Return what answers, after the model repeated its self-test and the store showed its features.

    Raises ValueError when one of both is not so, LookupError when the workspace lacks the feature service.
    """
    from features import store

    model, service = servable(run_directory)
    online = store.open(workspace)
    online.require(service, [feature.name for feature in model.manifest.features])
    answering = Answering(model, online, service, _judgement(run_directory))
    answering.devices([""])  # nobody's name: the first look-up is the slow one
    return answering


def servable(run_directory: Path) -> tuple[artifact.Model, str]:
    """Return the model of a run, after its self-test, and the name of its feature service.

    Raises ValueError when the self-test fails, or the run is of a plain table.
    """
    model = artifact.load(run_directory)
    if model.manifest.feature_service is None:
        raise ValueError(f"no online store serves {run_directory}, of a plain table; use `iotlens predict`")
    model.self_test()
    return model, model.manifest.feature_service


class AnsweringThread:
    """The one thread that loads and then answers, and the line of questions before it.

    One, because Feast's SQLite connection and the DuckDB connection of the windows belong to a thread; more
    would win little, since most of the work holds the interpreter's lock. Devices asked for while it is busy are
    looked up together next: a look-up costs far more than a device in it.
    """

    def __init__(self, load: Callable[[], Answering]) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="answering")
        self._loading: Future[Answering] = self._thread.submit(load)
        self._line: deque[_Waiting] = deque()
        self._rounds: asyncio.Task[None] | None = None

    async def settled(self) -> None:
        """Wait until loading has ended, well or badly; the log says why it ended badly."""
        loading = asyncio.wrap_future(self._loading)
        await asyncio.wait([loading])
        if (error := loading.exception()) is not None:
            log.error("the service will not become ready", exc_info=error)

    def ready(self) -> Answering:
        """Return what answers. Raises Problem when it could not be loaded, or not yet."""
        if not self._loading.done() or self._loading.exception() is not None:
            raise Problem("not-ready", "the model is not loaded; the log of the service says why")
        return self._loading.result()

    async def devices(self, device_ids: Sequence[str]) -> list[Answer | Missing]:
        """Return as `Answering.devices` does, in rounds, so that small questions come in between.

        Raises Problem when the model is not ready, or the line is full; once begun it is not turned away.
        """
        rounds = range(0, len(device_ids), ROUND_DEVICES)
        self._admit()
        parts = [
            await self._stand_in_line(_Waiting(device_ids=device_ids[start : start + ROUND_DEVICES]))
            for start in rounds
        ]
        return [answer for part in parts for answer in part]

    async def sessions(self, flows: "Sequence[Flow]") -> list[Answer | Missing]:
        """Return as `Answering.sessions` does. Raises Problem as `devices` does."""
        self._admit()
        return await self._stand_in_line(_Waiting(flows=flows))

    async def read(self, question: Question) -> tuple[Sequence[Answer | Missing], np.ndarray]:
        """Return as `Answering.read_devices` or `read_sessions` does. Raises Problem as `devices` does."""
        self._admit()
        answering = self.ready()
        work: Callable[[], tuple[Sequence[Answer | Missing], np.ndarray]]
        if question.flows is not None:
            work = partial(answering.read_sessions, question.flows)
        else:
            work = partial(answering.read_devices, question.device_ids or ())
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _admit(self) -> None:
        self.ready()
        if len(self._line) >= MAX_WAITING:
            raise Problem("overloaded", f"{MAX_WAITING} requests wait already", headers={"Retry-After": "1"})

    async def _stand_in_line(self, waiting: "_Waiting") -> list[Answer | Missing]:
        self._line.append(waiting)
        if self._rounds is None or self._rounds.done():
            self._rounds = asyncio.create_task(self._serve_the_line())
        return await waiting.answer

    async def _serve_the_line(self) -> None:
        while self._line:
            together = self._next_round()
            work = partial(_answer_together, self.ready(), together)
            answered = asyncio.get_running_loop().run_in_executor(self._thread, work)
            await asyncio.wait([answered])
            error = answered.exception()
            for i, waiting in enumerate(together):
                if waiting.answer.done():  # its client has gone
                    continue
                if error is None:
                    waiting.answer.set_result(answered.result()[i])
                else:
                    waiting.answer.set_exception(error)

    def _next_round(self) -> "list[_Waiting]":
        """Take who is first in line, and those right behind that can be looked up together with it."""
        together = [self._line.popleft()]
        devices = len(together[0].device_ids)
        while devices and self._line and self._line[0].device_ids:
            devices += len(self._line[0].device_ids)
            if devices > ROUND_DEVICES:
                break
            together.append(self._line.popleft())
        return together

    def close(self) -> None:
        """Let the work at hand end, and take no more."""
        self._thread.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class _Waiting:
    """A question in line: by device_ids, or by flows."""

    device_ids: Sequence[str] = ()
    flows: "Sequence[Flow]" = ()
    answer: "asyncio.Future[list[Answer | Missing]]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


def _answer_together(answering: Answering, together: Sequence[_Waiting]) -> list[list[Answer | Missing]]:
    """Return the answers to each of some questions by device_ids, or to one question by flows."""
    if together[0].flows:
        return [list(answering.sessions(together[0].flows))]
    answers = iter(answering.devices([device_id for one in together for device_id in one.device_ids]))
    return [list(islice(answers, len(one.device_ids))) for one in together]


def _judgement(run_directory: Path) -> Judgement | None:
    report = run_directory / "report.json"
    if not report.is_file():
        return None
    told = json.loads(report.read_text(encoding="utf-8"))
    return Judgement(sentence=told["headline"]["sentence"], simulated=told["simulated"])


def _candidates(top: Sequence[tuple[str, float]]) -> list[Candidate]:
    return [Candidate(label=label, probability=probability) for label, probability in top]


def _missing(device_id: str, service: str) -> Missing:
    problem = Problem("unknown-device", no_window([device_id], service))
    detail = ProblemDetail.model_validate(problem.content())
    return Missing(device_id=device_id, status="missing", problem=detail)


def no_window(device_ids: Sequence[str], service: str) -> str:
    """Return the words for devices without a window; the first three are named."""
    more = len(device_ids) - 3
    shown = ", ".join(map(repr, device_ids[:3])) + (f" and {more} more" if more > 0 else "")
    return f"{service} has no window of {shown} online; ingest its flows and run `iotlens features build`"
