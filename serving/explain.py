"""Why a label was answered: what each group of features contributed. Computed when asked, in a thread of its own."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Literal

import numpy as np

from serving.problems import Problem
from serving.schema import (
    Answer,
    Contribution,
    ContributionGroup,
    Explained,
    Explanation,
    Missing,
    ProblemDetail,
)
from training.artifact import Manifest, Model

if TYPE_CHECKING:
    from evaluation.importance import Contributions

MAX_EXPLAINING = 4  # requests in line, the one at work among them, before one is turned away
LIMIT_S = 10.0  # of one request, once it is at work; a row that is begun ends
SEED = 0  # of the orders in which the features of a network are asked: the same question, the same answer
_UNITS: dict[str, Literal["log odds", "probability"]] = {
    "raw score": "log odds",
    "probability": "probability",
}


@dataclass(frozen=True)
class Task:
    """What is to be explained: answers in order, X (m, f) of those that are not missing, and how.

    units: of each feature. top: how many groups are told.
    """

    model: Model
    units: Sequence[str]
    answers: Sequence[Answer | Missing]
    X: np.ndarray
    top: int
    limit_s: float = LIMIT_S


class ExplainingThread:
    """The one thread that explains, so that a device is identified meanwhile, and the short line before it."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="explaining")
        self._waiting = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place in the line, from before anything is looked up. Raises Problem when there is none."""
        if self._waiting >= MAX_EXPLAINING:
            detail = f"{MAX_EXPLAINING} requests for an explanation wait already"
            raise Problem("overloaded", detail, headers={"Retry-After": f"{LIMIT_S:.0f}"})
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def explain(self, task: Task) -> list[Explained | Missing]:
        """Return as `explain` does, of one who holds a place."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(explain, task))

    def close(self) -> None:
        """Let the work at hand end, and take no more."""
        self._thread.shutdown(cancel_futures=True)


def explain(task: Task) -> list[Explained | Missing]:
    """Return one row per answer, in order: why it was given, or the problem that no time was left to say so."""
    deadline = monotonic() + task.limit_s
    rows = iter(task.X)
    return [
        answer if isinstance(answer, Missing) else _explained(task, answer, next(rows), deadline)
        for answer in task.answers
    ]


def explanation(model: Model, row: np.ndarray, label: str, *, units: Sequence[str], top: int) -> Explanation:
    """Return why the model gives one row (f,) its label: the `top` strongest groups of features, and the rest."""
    from evaluation import importance  # what is never asked is never loaded

    code = model.manifest.classes.index(label)
    told = importance.contributions(model, row[None, :], np.array([code]), seed=SEED)
    groups = sorted(
        _groups(model.manifest, row, told, units), key=lambda one: (-abs(one.contribution), one.group)
    )
    return Explanation(
        unit=_UNITS[told.unit],
        method=told.method,
        base=float(told.base[0]),
        groups=groups[:top],
        rest=sum(one.contribution for one in groups[top:]),
        score=float(told.score[0]),
    )


def _explained(task: Task, answer: Answer, row: np.ndarray, deadline: float) -> Explained:
    if monotonic() > deadline:
        detail = f"the rows before took the {task.limit_s:g} s of a request; ask again for the others alone"
        problem = ProblemDetail.model_validate(Problem("overloaded", detail).content())
        return Explained(**dict(answer), explanation=None, problem=problem)
    told = explanation(task.model, row, answer.label, units=task.units, top=task.top)
    return Explained(**dict(answer), explanation=told, problem=None)


def _groups(
    manifest: Manifest, row: np.ndarray, told: "Contributions", units: Sequence[str]
) -> Iterator[ContributionGroup]:
    """Yield the groups of the artifact; in one that was made before it had any, each feature is alone."""
    usual = manifest.usual or (None,) * len(row)
    members: dict[str, list[Contribution]] = {}
    for i, (feature, seen) in enumerate(zip(manifest.features, usual, strict=True)):
        one = Contribution(
            feature=feature.name,
            value=_value(row[i], feature.dtype, feature.categories),
            unit=units[i],
            usual_low=seen.low if seen else None,
            usual_high=seen.high if seen else None,
            contribution=float(told.values[0, i]),
        )
        members.setdefault(seen.group if seen else feature.name, []).append(one)
    for name, features in members.items():
        features.sort(key=lambda one: -abs(one.contribution))
        yield ContributionGroup(
            group=name, contribution=sum(one.contribution for one in features), features=features
        )


def _value(number: float, dtype: str, categories: Sequence[str]) -> bool | int | float | str | None:
    """Return a number of X as what it stands for."""
    if np.isnan(number):
        return None
    if dtype == "string":
        return categories[int(number)]
    if dtype == "bool":
        return bool(number)
    return int(number) if dtype == "int64" else float(number)
