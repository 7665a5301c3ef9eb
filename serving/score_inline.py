"""Indicator values that a client has, checked and laid out as the values of devices are."""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from evaluation.scoring_plan import Measured, Plan
from features.configuration import nearest
from features.nearest import Told
from features.snapshot import Known
from features.value_range import rule_broken
from serving.problems import ERRORS_SHOWN, ROW_ERRORS_SHOWN, Problem, broken, of_validation, shortened
from serving.score_schema import Given, ScoreRow
from serving.score_views import Evidence

Place = tuple[str | int, ...]  # of a row in the body; () of a question of one row
_HINTS = 5  # unknown names of which the nearest known one is told: to find it takes a millisecond
_LONGEST_ID = 63  # what is longer is near to none


def parsed(row: object, place: Place, known: Mapping[str, Measured]) -> ScoreRow:
    """Return one row of a batch. Raises Problem that names each value that breaks a rule."""
    try:
        told = ScoreRow.model_validate(row)
    except ValidationError as error:
        of_names = place[0] == "device_ids"
        found = error.errors(include_url=False, include_input=False)
        locs = [{**one, "loc": ("body", *place, *(() if of_names else one["loc"]))} for one in found]
        raise of_validation(locs, shown=ROW_ERRORS_SHOWN) from error
    check(told, place, known)
    return told


def check(row: ScoreRow, place: Place, known: Mapping[str, Measured]) -> None:
    """Raise Problem that names each inline value of an indicator that is not known, or that cannot be."""
    faults: list[tuple[Place, str, str]] = []
    for name, given in (row.indicators or {}).items():
        where = (*place, "indicators", name)
        one = known.get(name)
        if one is None:
            way = _way(name, known, place=place, nth=len(faults), listed="/indicators")
            faults.append((where, "unknown_indicator", f"no indicator {shortened(name)}; {way}"))
        elif given.value is not None and (rule := rule_broken(one, given.value)):
            faults.append((where, "out_of_range", f"{name} {rule}"))
    if faults:
        raise broken(faults, shown=ROW_ERRORS_SHOWN if place else ERRORS_SHOWN)


def evidence(plan: Plan, rows: Sequence[Mapping[str, Given]], *, least: int) -> Evidence:
    """Return inline rows as what is known of devices. least: fewer samples, where told, are no evidence."""
    count = len(rows)
    unknown = np.full(count, np.nan)
    nobody = np.full(count, -1, dtype="int8")
    told = {}
    for name in plan.ids:
        given = [row.get(name) for row in rows]
        if not any(given):
            told[name] = Told(unknown, unknown, nobody)
            continue
        values = [_value(one, least) for one in given]
        samples = [math.nan if one is None or one.samples is None else one.samples for one in given]
        told[name] = Told(np.array(values, "float64"), np.array(samples, "float64"), nobody)
    nameless = Known(pa.nulls(count, pa.string()), {}, {}, {}, {})
    return Evidence(nameless, [told[name] for name in plan.ids])


def too_few(given: Given | None, least: int) -> bool:
    """Return whether a value was made of so few samples that it is no evidence."""
    return given is not None and given.samples is not None and given.samples < least


def _value(given: Given | None, least: int) -> float:
    if given is None or given.value is None or too_few(given, least):
        return math.nan
    return given.value


def unused(plan: Plan, row: Mapping[str, Given]) -> list[str]:
    """Return the indicators of a row that its service does not name."""
    return [name for name in row if name not in plan.ids]


def unknown_service(service: str, place: Place, services: Sequence[str]) -> Problem:
    """Return the problem of a service that there is not."""
    way = _way(service, services, place=place, nth=0, listed="/services")
    told = f"no service {shortened(service)}; {way}"
    return broken([((*place, "service"), "unknown_service", told)])


def _way(name: str, known: Collection[str], *, place: Place, nth: int, listed: str) -> str:
    """Return what ends the answer to an unknown name: the nearest known one, or where the names are listed.

    Rows of a batch are told the list alone: the nearest of each name of ten thousand rows would take half an hour.
    """
    if place or nth >= _HINTS or len(name) > _LONGEST_ID:
        return f"GET {listed} lists them"
    return nearest(name, known)
