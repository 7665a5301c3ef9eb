"""Whether an attempt would have gone wrong without a fault: attempts like it are walked with and without."""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import numpy as np

from evaluation.process import Process
from evaluation.simulation.province.attempts import Attempts
from evaluation.simulation.province.faults import DAY_S, Exposed, Happening
from evaluation.simulation.province.moment import Moment, find
from evaluation.simulation.province.sessions import Sessions, play
from evaluation.simulation.province.topology import Area, Plan, generator
from evaluation.simulation.province.walk import walk

COPIES = 48  # of each attempt at once in each of the worlds that are compared
_ENOUGH, _MOST_TURNS = 200, 8  # few attempts are walked again in several turns, for rare failures
_BLOCK = 500  # attempts at once, for memory's sake
_SURE = 2.0  # standard errors that a difference must have to count


class Imagined(Attempts):
    """Attempts of which so many stand for one, so that they load their cell as that one did."""

    copies: ClassVar[int] = COPIES


# walks copies of some rows under some faults: the step at which each fails, 0 for none, and whether it is too slow
Again = Callable[[np.ndarray, Sequence[Happening], np.random.Generator], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Question:
    """Rows that went wrong. failed: seq of the step that failed, 0 where it was only too slow. stream: of its dice."""

    plan: Plan
    stream: tuple[int, ...]
    rows: np.ndarray
    failed: np.ndarray
    again: Again


def of_attempts(
    moment: Moment, process: Process, rows: np.ndarray, failed: np.ndarray, within_ms: float
) -> Question:
    """Return the question about attempts of one process, that are too slow after so many ms."""

    def again(
        some: np.ndarray, faults: Sequence[Happening], dice: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        copied = moment.attempts.take(some)
        attempts = Imagined(*(getattr(copied, field.name) for field in fields(Attempts)))
        near = _near(faults, copied.device)
        outcome = walk(
            find(moment.area, attempts, near, charge=moment.morning, dice=dice), {process.id: process}
        )
        return outcome.failed_step, outcome.took_ms > within_ms

    stream = _stream(moment.area, process.id, moment.attempts.at_s[rows])
    return Question(moment.area.plan, stream, rows, failed, again)


def of_sessions(video: Sessions, rows: np.ndarray) -> Question:
    """Return the question about video sessions."""

    def again(
        some: np.ndarray, faults: Sequence[Happening], dice: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        places = {name: values[some] for name, values in video.places.items()}
        where = Exposed(video.at_s[some], video.device[some], np.ones(len(some), bool), places)
        played = play(video.area, where, video.power[some], _near(faults, where.device), dice)
        return played.failed_step, played.slow | played.stalls

    stream = _stream(video.area, "video", video.at_s[rows])
    return Question(video.area.plan, stream, rows, video.failed_step[rows], again)


def _stream(area: Area, name: str, at_s: np.ndarray) -> tuple[int, ...]:
    """Return what tells the random numbers of a question from those of others: area, process and day."""
    day = int(at_s.min() // DAY_S) if len(at_s) else 0
    return area.number, zlib.crc32(name.encode()), day


def _some(question: Question, places: np.ndarray) -> Question:
    return replace(question, rows=question.rows[places], failed=question.failed[places])


def _near(faults: Sequence[Happening], device: np.ndarray) -> list[Happening]:
    here = set(device.tolist())
    return [one for one in faults if one.scope != "device" or one.location in here]


@dataclass(frozen=True)
class Chance:
    """How often attempts go wrong in one world: copies that came to where each did, and that went wrong there."""

    came: np.ndarray
    wrong: np.ndarray

    @property
    def share(self) -> np.ndarray:
        """Return the share that goes wrong."""
        return np.asarray(self.wrong / np.maximum(self.came, 1))

    @property
    def variance(self) -> np.ndarray:
        """Return the variance of that estimate."""
        return np.asarray(self.share * (1.0 - self.share) / np.maximum(self.came, 1))

    def due_to_more_than(self, other: "Chance") -> np.ndarray:
        """Return which share of this would not be in the other world; 0 where the difference may be chance."""
        more = self.share - other.share
        sure = more > _SURE * np.sqrt(self.variance + other.variance)
        return np.asarray(np.where(sure, more / np.maximum(self.share, 1e-9), 0.0))

    def of(self, rows: np.ndarray) -> "Chance":
        """Return that of some attempts."""
        return Chance(self.came[rows], self.wrong[rows])

    def whole(self) -> "Chance":
        """Return that of all attempts together."""
        return Chance(self.came.sum(keepdims=True), self.wrong.sum(keepdims=True))


def chance(question: Question, faults: Sequence[Happening]) -> Chance:
    """Return how often attempts like these, at the same place and time, go wrong as these did under some faults.

    That is at the step that failed, of those that come so far; or too slow, or failed, of all.
    """
    size = len(question.rows)
    came, wrong = np.zeros(size, "int64"), np.zeros(size, "int64")
    for turn in range(min(max(_ENOUGH // max(size, 1), 1), _MOST_TURNS)):
        for first in range(0, size, _BLOCK):
            rows = np.arange(first, min(first + _BLOCK, size))
            part = _counted(_some(question, rows), faults, (first, turn))
            came[rows] += part.came
            wrong[rows] += part.wrong
    return Chance(came, wrong)


def _counted(question: Question, faults: Sequence[Happening], part: tuple[int, int]) -> Chance:
    """Return how copies of attempts end, with the same dice whatever the faults are."""
    dice, step = generator(question.plan, 15, *question.stream, *part), question.failed[:, None]
    ended, slow = question.again(np.repeat(question.rows, COPIES), faults, dice)
    failed = ended.reshape(-1, COPIES)
    late = slow.reshape(-1, COPIES) | (failed > 0)
    came = (step == 0) | (failed == 0) | (failed >= step)
    wrong = np.where(step == 0, late, failed == step)
    return Chance(came.sum(axis=1), wrong.sum(axis=1))


def due(
    question: Question, faults: Sequence[Happening], touched: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return how much of each failure is due to each cause, and to all together, 0 to 1.

    touched: at which attempts a cause acts on what went wrong.
    """
    size = len(question.rows)
    each, total = {cause: np.zeros(size) for cause in touched}, np.zeros(size)
    causes = np.sum([np.zeros(size, bool), *touched.values()], axis=0)
    rows = np.flatnonzero(causes)
    if not len(rows):
        return each, total
    whole = Chance(np.zeros(size, "int64"), np.zeros(size, "int64"))
    asked = chance(_some(question, rows), faults)
    whole.came[rows], whole.wrong[rows] = asked.came, asked.wrong
    for cause, on in touched.items():
        each[cause] = _due_to(question, whole, np.flatnonzero(on), _but(faults, {cause}))
    total = _due_to(question, whole, np.flatnonzero(causes > 1), _but(faults, set(touched)))
    return each, np.maximum(total, np.max(list(each.values()), axis=0))


def _but(faults: Iterable[Happening], causes: set[str]) -> list[Happening]:
    return [one for one in faults if one.fault.id not in causes]


def _due_to(question: Question, whole: Chance, rows: np.ndarray, others: Sequence[Happening]) -> np.ndarray:
    """Return which share of the failures at some rows would not be, if there were only the other faults.

    Where too few copies fail to tell, it is that of all such attempts that failed at the same step.
    """
    share = np.zeros(len(question.rows))
    if not len(rows):
        return share
    without = chance(_some(question, rows), others)
    share[rows] = whole.of(rows).due_to_more_than(without)
    for step in np.unique(question.failed[rows]):
        unsure = np.flatnonzero((question.failed[rows] == step) & (share[rows] == 0))
        together = whole.of(rows[unsure]).whole().due_to_more_than(without.of(unsure).whole())
        share[rows[unsure]] = together
    return share
