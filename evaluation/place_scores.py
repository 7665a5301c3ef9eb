"""KQI scores of places as the monitor sees them: of what each place tells itself, at many moments at once.

A place is judged by its own indicators alone: of each what it counted in the last `pool`, else the newest value that
is no older than `service_scores.oldest`.
What another place tells is that place's to answer for: an application that fails must not make every cell look ill that
has a device of it, or nobody could tell where the fault lies. So a KQI is scored over the indicators that the place
knows, as `Scores.estimate` is, where these have at least `min_coverage` of its weight.

Utilities have the benefit of the doubt: a ratio counts with the upper end of Wilson's interval of 95 %. One failure
among twenty attempts is beyond most `unacceptable` anchors and says next to nothing; four in five is a fault, and both
have a utility of 0.
"""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from evaluation import place_values, scoring
from evaluation.domain import Domain
from evaluation.place_values import PlaceValues, Span
from evaluation.process import ServiceModel
from evaluation.scoring_plan import Plan
from evaluation.service_scores import oldest
from features.indicators import Indicator
from features.membership import PLACES


@dataclass(frozen=True)
class PlaceScores:
    """Scores of the places (p) of one scope at moments (t).

    kqi: (t, p, k), NaN where too little of the weight is known. utilities: (t, p, f), of what `told_of`; NaN where
    `pool` has it in too few windows. devices: (p,), that hang on each.
    """

    scope: str
    ids: tuple[str, ...]
    kqi: np.ndarray
    utilities: np.ndarray
    devices: np.ndarray


@dataclass(frozen=True)
class Asked:
    """What is scored. ends: moments, ascending. stays: `members`. min_coverage: of a KQI's weight. pool, every: see
    Span. min_windows: in which an indicator must have been told to be evidence.
    """

    what: Plan
    ends: Sequence[datetime]
    stays: pd.DataFrame
    min_coverage: float
    pool: timedelta
    every: timedelta
    min_windows: int


def told_of(what: Plan) -> tuple[int, ...]:
    """Return the rows of a plan's indicators that places tell: those that a KQI weighs, and those that a step names."""
    return tuple(row for row, one in enumerate(what.indicators) if isinstance(one, Indicator))


def score(workspace: Path, domain: Domain, asked: Asked) -> Iterator[PlaceScores]:
    """Yield the scores of each scope of places of a service."""
    what = asked.what
    ages = oldest(what.service, domain)
    measured = [one for one in what.indicators if isinstance(one, Indicator)]
    for scope in watched(what.service, ages):
        span = Span(asked.pool, ages[scope], asked.every)
        told = place_values.read(workspace, scope, measured, ends=asked.ends, span=span)
        yield _scored(asked, scope, told)


def watched(service: ServiceModel, scopes: Container[str]) -> tuple[str, ...]:
    """Return the scopes of the places of a service that are judged. scopes: those that indicators are told at.

    What its scores are rolled up by, and what a person drills down to: a CDN node fails on its own.
    """
    asked = dict.fromkeys((*service.aggregation_keys, *service.drill_down_keys))
    return tuple(one for one in asked if one != "device" and one in scopes)


def members(rows: pd.DataFrame, service: str, at: datetime) -> pd.DataFrame:
    """Return those of MEMBERSHIP of the devices of a service that held at a moment: device_id and each place."""
    held = (rows["valid_from"] <= at) & ~(rows["valid_to"] <= at).fillna(False)
    found: pd.DataFrame = rows.loc[held & (rows["service"] == service), ["device_id", *PLACES]]
    return found


def _scored(asked: Asked, scope: str, told: PlaceValues) -> PlaceScores:
    what, stays = asked.what, asked.stays
    hung = stays[scope].value_counts() if scope in stays else pd.Series(dtype="int64")
    ids = tuple(one for one in told.ids if one in hung.index or scope not in stays)
    mine = [told.ids.index(one) for one in ids]
    shape = (len(asked.ends), len(ids))
    best = best_utilities(what, told, mine, len(asked.ends))
    kqi = kqi_estimates(what, best, asked.min_coverage)
    rows = told_of(what)
    windows = [told.windows[one][:, mine] if one in told.windows else np.zeros(shape) for one in what.ids]
    lately = np.array([windows[row] >= asked.min_windows for row in rows])
    utilities = np.where(lately, best[list(rows)].reshape(len(rows), *shape), np.nan)
    return PlaceScores(
        scope,
        ids,
        np.moveaxis(kqi.reshape(len(kqi), *shape), 0, 2),
        np.moveaxis(utilities, 0, 2),
        np.array([int(hung.get(one, 0)) for one in ids], dtype="int64"),
    )


def best_utilities(what: Plan, told: PlaceValues, mine: Sequence[int], count: int) -> np.ndarray:
    """Return utilities with the benefit of the doubt (f, n), NaN where unknown."""
    unknown = np.full(count * len(mine), np.nan)
    values, samples = (
        [of[one][:, mine].ravel() if one in of else unknown for one in what.ids]
        for of in (told.values, told.samples)
    )
    with np.errstate(invalid="ignore"):
        above = scoring.doubt(what, values, samples).above
    best: np.ndarray = np.minimum(scoring.utilities(what, values) + above, scoring.BEST)
    return best


def kqi_estimates(what: Plan, utilities: np.ndarray, min_coverage: float) -> np.ndarray:
    """Return the score of each KQI over what is known of it (k, n); NaN where that has too little of the weight."""
    scores = scoring.score(what, utilities)
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = np.minimum(scores.kqi / scores.kqi_coverage, scoring.BEST)
    enough = (scores.kqi_coverage >= min_coverage - scoring.ROUNDING) & (scores.kqi_coverage > 0)
    found: np.ndarray = np.where(enough, estimate, np.nan)
    return found
