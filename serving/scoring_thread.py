"""The one thread that scores, so that devices are identified meanwhile, and the short line before it."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from evaluation.scoring_plan import Plan
from features.nearest import Told
from serving.problems import Problem
from serving.score import Assessed, assess, joined

MAX_WAITING = 256  # questions in line before one is turned away, as of /identify
ROUND_ROWS = 1000  # scored together; more would keep the next in line waiting

Made = TypeVar("Made")


@dataclass(frozen=True)
class _Waiting:
    """A question in line. tell: makes its answer, of all that was assessed and its first row in it."""

    plan: Plan
    told: Sequence[Told]
    tell: Callable[[Assessed, int], Any]  # Any: each question has an answer of its own
    answer: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def rows(self) -> int:
        return len(self.told[0].value)


class ScoringThread:
    """Scores of questions, in the order they came; those of one service that wait together are scored together.

    A score of one row costs nearly what one of a hundred does: 16 clients at once are answered in a round or two.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scoring")
        self._line: deque[_Waiting] = deque()
        self._rounds: asyncio.Task[None] | None = None

    async def score(self, plan: Plan, told: Sequence[Told], tell: Callable[[Assessed, int], Made]) -> Made:
        """Return what `tell` makes of the scores. told: of each indicator of the plan, at most ROUND_ROWS rows."""
        waiting = _Waiting(plan, told, tell)
        self._line.append(waiting)
        if self._rounds is None or self._rounds.done():
            self._rounds = asyncio.create_task(self._serve_the_line())
        made: Made = await waiting.answer
        return made

    async def run(self, work: Callable[[], Made]) -> Made:
        """Return what a piece of work gives that would hold up the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def admit(self) -> None:
        """Raise Problem when the line is full; who is in it is not turned away."""
        if len(self._line) >= MAX_WAITING:
            detail = f"{MAX_WAITING} requests for scores wait already"
            raise Problem("overloaded", detail, headers={"Retry-After": "1"})

    def close(self) -> None:
        """Let the work at hand end, and take no more."""
        self._thread.shutdown(cancel_futures=True)

    async def _serve_the_line(self) -> None:
        while self._line:
            together = self._next_round()
            scored = asyncio.get_running_loop().run_in_executor(
                self._thread, partial(_score_together, together)
            )
            await asyncio.wait([scored])
            error = scored.exception()
            for i, waiting in enumerate(together):
                if waiting.answer.done():  # its client has gone
                    continue
                if error is None:
                    waiting.answer.set_result(scored.result()[i])
                else:
                    waiting.answer.set_exception(error)

    def _next_round(self) -> list[_Waiting]:
        """Take who is first in line, and all of its service that can be scored together with it."""
        first = self._line.popleft()
        together, rows = [first], first.rows
        left: deque[_Waiting] = deque()
        for one in self._line:
            fits = one.plan is first.plan and rows + one.rows <= ROUND_ROWS
            (together if fits else left).append(one)
            rows += one.rows if fits else 0
        self._line = left
        return together


def _score_together(together: Sequence[_Waiting]) -> list[Any]:  # Any: as in _Waiting
    assessed = assess(together[0].plan, joined([one.told for one in together]))
    answers, start = [], 0
    for one in together:
        answers.append(one.tell(assessed, start))
        start += one.rows
    return answers
