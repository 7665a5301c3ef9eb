"""One score as a page: how well the service works for a device, which step is ill, and which indicators say so."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.domain import Domain
from evaluation.pages import template
from features.indicators import Indicator, TerminalFlag

Json = dict[str, Any]  # Any: an answer of /score, whose schema serving/score_schema.py has

GOOD, FAIR = 80.0, 60.0  # from here on a step is well, or fair; judgement
_SHOWN = 8  # indicators that cost most; all of them can be unfolded
_LEAST = 0.05  # points: what is shown as 0.0 is not


def read_answer(path: Path) -> Json:
    """Return an answer of POST /score from a file. Raises ValueError that names the file where it is none."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} must be JSON, however: {error}") from error
    wanted = (
        "service",
        "score",
        "low",
        "high",
        "kqis",
        "processes",
        "indicators",
        "lost",
        "device_id",
        "coverage",
    )
    if not isinstance(told, dict) or (lacking := [name for name in wanted if name not in told]):
        lacks = "is no object" if not isinstance(told, dict) else f"lacks {', '.join(lacking)}"
        raise ValueError(f"{path} must be an answer of POST /score, but {lacks}")
    return told


def to_html(answer: Mapping[str, Any], domain: Domain) -> str:
    """Return the page of an answer of POST /score: it stands alone, loads nothing and runs nothing.

    Raises LookupError where the configuration at hand does not know what the answer speaks of.
    """
    service = domain.service(str(answer["service"]))
    known = {one.id: one for one in domain.measured}
    if strange := [one["indicator"] for one in answer["indicators"] if one["indicator"] not in known]:
        raise LookupError(
            f"indicators of the answer must be configured here, but {', '.join(strange)} are not; name the workspace"
            " that the answer is of by --workspace"
        )
    rows = sorted((_row(one, known) for one in answer["indicators"]), key=lambda one: -one["lost"])
    dearest = [one for one in rows if one["lost"] >= _LEAST][:_SHOWN]
    return template("score.html", {"points": _points, "band": band, "age": _age}).render(
        a=answer,
        service=service.name,
        whose=answer["device_id"] or "the values given",
        headline=headline(answer, known),
        processes=_processes(answer),
        dearest=dearest,
        rows=rows,
    )


def headline(answer: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """Return what the page says first: the score, and where most of what is missing was lost."""
    whose = answer["device_id"] or "It"
    if answer["score"] is None:
        return f"{whose}: too little is known for a score; it lies between {answer['low']:.0f} and {answer['high']:.0f}"
    told = f"{whose} scores {answer['score']:.0f} of 100"
    if answer["worst_step"] is None:
        return f"{told}: nothing is lost by what is known"
    process, _, step = str(answer["worst_step"]).partition("/")
    name = step.partition(" ")[2]
    worst = known[answer["worst_indicator"]].name
    return f"{told}; most is lost in “{name}” ({process}), and by “{worst}”"


def band(score: float | None) -> str:
    """Return the word for a score: well, fair, ill or unknown.

    >>> [band(one) for one in (95.0, 60.0, 12.0, None)]
    ['well', 'fair', 'ill', 'unknown']
    """
    if score is None:
        return "unknown"
    return "well" if score >= GOOD else "fair" if score >= FAIR else "ill"


def _processes(answer: Mapping[str, Any]) -> list[Json]:
    """Return the processes with their steps, each step split into number and name; the worst is marked."""
    return [
        {
            **process,
            "steps": [
                {
                    **step,
                    "number": step["step"].partition("/")[2].partition(" ")[0],
                    "name": step["step"].partition(" ")[2],
                    "worst": step["step"] == answer["worst_step"],
                }
                for step in process["steps"]
            ],
        }
        for process in answer["processes"]
    ]


def _row(used: Json, known: Mapping[str, Any]) -> Json:
    one = known[used["indicator"]]
    usual = None
    if isinstance(one, Indicator):
        usual = "{:g} to {:g}".format(*one.healthy_range)
    elif isinstance(one, TerminalFlag):
        usual = f"{one.healthy_value}"
    return {**used, "name": one.name, "usual": usual}


def _points(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _age(seconds: float | None) -> str:
    """Return an age as a reader says it.

    >>> [_age(one) for one in (None, 90.0, 5400.0, 200000.0)]
    ['-', '2 min', '1.5 h', '2.3 d']
    """
    if seconds is None:
        return "-"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 86_400 else f"{seconds / 86_400:.1f} d"
