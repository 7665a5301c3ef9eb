"""A fitted run -> report.json and report.html: one page that stands alone, loads nothing and runs nothing."""

import json
import logging
from pathlib import Path

import numpy as np
from markupsafe import Markup

from evaluation import figures, pages, wording
from evaluation.judgement import Json
from evaluation.summary import summarize
from features import lake
from training.run import Fitted

log = logging.getLogger(__name__)

REPORT_JSON, REPORT_HTML = "report.json", "report.html"
RULES = {
    "random": "Captures, or stretches of one device's time, are dealt to folds at random, class by class.",
    "time": "Each device is learnt from its earliest windows and judged on its latest; devices that share captures are"
    " cut at one moment, between captures.",
    "device": "Held-out devices, and all devices of a class that has several, judge a model new to them.",
    "site": "Each site judges a model that learnt at the other sites.",
}


def judge(fitted: Fitted) -> Path:
    """Judge a run on the rows outside its training and write both reports into its directory.

    Returns the path of report.html. Two runs of one experiment on the same data write the same bytes.
    """
    summary = summarize(fitted, simulated=_simulated(fitted))
    text = json.dumps(summary, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    (fitted.directory / REPORT_JSON).write_text(text + "\n", encoding="utf-8")
    page = fitted.directory / REPORT_HTML
    page.write_text(to_html(summary), encoding="utf-8")
    log.info("%s%s %s", summary["headline"]["sentence"], " (simulated)" if summary["simulated"] else "", page)
    return page


def to_html(summary: Json) -> str:
    """Return the page of a summary, as `summarize` makes it or as report.json holds it: the same page."""
    page = pages.template("report.html", {"percent": _percent, "points": wording.points})
    head = next((part for part in summary["splits"] if part["kind"] == summary["headline"]["split"]), None)
    kin = summary["data"]["families"] < summary["data"]["classes"]
    return page.render(
        s=summary,
        head=head,
        others=[part for part in summary["splits"] if part is not head],
        kin=kin,
        only_random=[part["kind"] for part in summary["splits"]] == ["random"],
        figures=_figures(summary, head) if head else {},
        facts=_facts(summary),
        left_out=_left_out(summary["data"]["left_out"]),
        leaks=_leaks(summary["splits"]),
        leak_states=wording.LEAK_STATES,
        described=any(row["description"] for row in summary["importance"]["rows"]),
        thresholds=_thresholds(summary["made"]["thresholds"], kin=kin),
        made=_made(summary["made"], kin=kin),
        rules=[(part["title"], _rule(part)) for part in summary["splits"]],
    )


def _simulated(fitted: Fitted) -> bool:
    """Return whether the rows come from a workspace whose lake is marked as simulated."""
    workspace = fitted.directory.parents[2]  # runs/<experiment>/<id> below it
    return fitted.experiment.table is None and lake.is_simulated(workspace)


def _figures(summary: Json, head: Json) -> dict[str, Markup]:
    """Return the figures by name, safe to stand in the page as they are."""
    noun, parts, ranked = summary["nouns"]["many"], summary["splits"], summary["importance"]
    told = "Simulated. " if summary["simulated"] else ""
    weakest = sorted(
        (row for row in head["per_class"] if row["support"]),
        key=lambda row: (row["f1"]["value"], row["class"]),
    )
    families = {row["class"]: row["family"] for row in head["per_class"]}
    names, counts = head["confusion"]["classes"], np.array(head["confusion"]["counts"])
    drawn = {
        "splits": figures.splits(
            parts, headline=head["kind"], noun=noun, label=told + wording.spoken_splits(parts)
        ),
        "outcomes": figures.outcomes(parts, noun=noun, label=told + wording.spoken_outcomes(parts)),
        "classes": figures.classes(
            weakest, accuracy=head["accuracy"]["value"], noun=noun, label=told + head["classes_line"]
        ),
        "confusion": figures.confusion(
            counts,
            names=names,
            groups=[families[name] for name in names],
            noun=noun,
            label=told + head["confusion_line"],
        ),
        "calibration": figures.calibration(head, noun=noun, label=told + head["calibration_line"]),
        "importance": figures.importance(ranked["rows"], unit=ranked["unit"], label=told + ranked["line"]),
    }
    return {name: Markup(svg) for name, svg in drawn.items()}


def _facts(summary: Json) -> list[tuple[str, str]]:
    data, nouns = summary["data"], summary["nouns"]
    days = None if data["first_day"] is None else f"{data['first_day']} to {data['last_day']}"
    families = f"classes in {data['families']} families" if data["families"] < data["classes"] else "classes"
    facts = [
        (nouns["many"], pages.count(data["rows"])),
        (families, pages.count(data["classes"])),
        (nouns["units"] or "devices", data["devices"]),
        ("captures", None if nouns["many"] == "captures" else data["captures"]),
        ("sites", data["sites"]),
        (
            f"{nouns['many']} of a class",
            f"{pages.count(data['fewest_rows'])} to {pages.count(data['most_rows'])}",
        ),
        ("days, UTC", days),
    ]
    return [(name, str(value)) for name, value in facts if value is not None]


def _left_out(counts: Json) -> str:
    parts = [
        f"{pages.count(count)} {reason.replace('_', ' ')}"
        for reason, count in sorted(counts.items())
        if count
    ]
    return ", ".join(parts)


def _leaks(parts: list[Json]) -> list[Json]:
    """Return a line per kind of leak that some split could count, with a cell per split."""
    found = [{row["what"]: row for row in part["leaks"]} for part in parts]
    told = [what for what in wording.LEAKS if any(what in rows for rows in found)]
    return [{"what": wording.LEAKS[what], "cells": [rows.get(what) for rows in found]} for what in told]


def _rule(part: Json) -> str:
    dropped = [
        f"{pages.count(n)} {reason.replace('_', ' ')}" for reason, n in sorted(part["dropped"].items()) if n
    ]
    taken = f" Taken out to keep the sides apart: {', '.join(dropped)}." if dropped else ""
    return RULES[part["kind"]] + taken


def _thresholds(limits: Json, *, kin: bool) -> str:
    """Return where an answer changes. kin: some family has several types; else the type is always named."""
    unknown = f"unknown where the family has less than {wording.threshold(limits['unknown'])}"
    if not kin:
        return unknown
    leaf = (
        "never the type"
        if limits["leaf"] is None
        else f"the type from probability {wording.threshold(limits['leaf'])} on"
    )
    return f"in a family of several types {leaf}; {unknown}"


def _set_thresholds(limits: Json, *, kin: bool) -> str:
    if limits["split"] is None:
        return "not set: no row outside training could set them"
    told = (
        f"{_thresholds(limits, kin=kin)}. Set on {pages.count(limits['rows'])} answers of the {limits['split']} split:"
        f" {_percent(limits['false_rejections'])} % of them become unknown"
    )
    if limits["leaf_share"] is None:
        return f"{told}."
    precision = limits["leaf_precision"]
    right = "" if precision is None else f", {_percent(precision)} % of these rightly"
    return f"{told}; of those in a family of several types {_percent(limits['leaf_share'])} % name the type{right}."


def _made(made: Json, *, kin: bool) -> list[tuple[str, str]]:
    fitted = f"{made['features']} features, fitted on {pages.count(made['trained_rows'])} rows"
    return [
        ("model", f"{made['kind']}, {fitted}"),
        ("model version", made["model_version"]),
        ("learns to tell", made["target"]),
        ("feature service", made["feature_service"] or "none: a plain table"),
        ("thresholds", _set_thresholds(made["thresholds"], kin=kin)),
        (
            "temperature",
            f"{made['temperature']:.3f} (below 1 sharpens the probabilities, above 1 flattens them)",
        ),
        ("rival", made["rival"]),
        ("intervals", wording.INTERVALS),
        ("seed", str(made["seed"])),
        ("data", f"hash {made['data_hash']}"),
        ("code", f"commit {made['git_commit']}" if made["git_commit"] else "not a checkout"),
        ("libraries", ", ".join(f"{name} {version}" for name, version in sorted(made["libraries"].items()))),
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
