"""selection.json -> report.html, one page that stands alone, and a Markdown text for a ticket."""

import re
from collections import defaultdict
from typing import Any

import numpy as np
from markupsafe import Markup

from evaluation import pages
from evaluation.selection import figures, record

Json = dict[str, Any]  # parts of selection.json, as parsed
REPORT_HTML, REPORT_MD = "report.html", "report.md"
DOMAINS = {
    "radio": "the radio network's",
    "core": "the core network's",
    "platform": "the platform's",
    "terminal": "the terminal's",
}
PLAIN_NAME = re.compile(r"[^\W_][\w.]*[^\W_]|[^\W_]", re.ASCII)  # what Markdown shows as it stands
_MARKS = re.compile(r"[\\`*<\[]|(?<![^\W_])_|_(?![^\W_])")  # what Markdown would take for its own
MODELS = {"trees": "gradient boosted trees", "network": "a small neural network"}


def to_html(summary: Json) -> str:
    """Return the page of a summary, as `record.summarize` makes it or selection.json holds it: the same page."""
    page = pages.template("selection.html", {"p": _p, "percent": _percent, "effect": effect_line})
    return page.render(
        s=summary,
        headline=headline(summary),
        holds=holds(summary),
        unit=unit(summary),
        reasons=record.REASONS,
        tallies=_tallies(summary),
        figures=_figures(summary),
        model=MODELS[summary["models"]["importance"]],
        made=_made(summary),
        suffice=suffice(summary),
    )


WAY_BACK = (
    "These are left out until a person says otherwise: `keep: true` of a column in the file of --expert."
)


def to_markdown(summary: Json) -> str:
    """Return the answer as Markdown: headline, the selected, what to look at, and why the others fell."""
    lines = [
        f"# {_answer(summary, _as_heading(summary['target']['name']))}{_simulated(summary)}",
        "",
        _score_line(summary),
        "",
        "| # | indicator | share | effect | told as well by |",
    ]
    lines.append("|---|---|---|---|---|")
    for place, row in enumerate(summary["groups"], start=1):
        others = ", ".join(_name(member["indicator"]) for member in row["members"][1:]) or "-"
        bold = "**" if row["minimal"] else ""
        name = f"{bold}{_name(row['representative'])}{bold}"
        effect = _prose(effect_line(row))
        lines.append(f"| {place} | {name} | {_percent(row['share'])} % | {effect} | {others} |")
    lines += ["", "Bold: these suffice.", ""]
    if summary["flagged"]:
        lines += ["## Look at these first", ""]
        lines += [
            f"- {_code(row['indicator'])}: {record.REASONS[row['reason']]}: {_prose(row['detail'])}"
            for row in summary["flagged"]
        ]
        lines += ["", WAY_BACK, ""]
    lines += ["## Dropped", "", "| indicator | reason | detail |", "|---|---|---|"]
    for row in summary["dropped"]:
        told = f"{record.REASONS[row['reason']]} | {_prose(row['detail'])}"
        lines.append(f"| {_name(row['indicator'])} | {told} |")
    lines += ["", f"Importance: {_measured(summary)}. Score: {_scored(summary)}."]
    lines += [line for note in summary["notes"] for line in ("", f"Note: {_prose(note)}.")]
    lines += ["", f"Table {_prose(summary['table'])}, data {summary['data_hash']}{_simulated(summary)}."]
    return "\n".join(lines) + "\n"


def headline(summary: Json) -> str:
    """Return the answer in one sentence: how many explain the target, named as it is, and whose they are."""
    return _answer(summary, summary["target"]["name"])


def suffice(summary: Json) -> str:
    """Return by which rule so few suffice: they lose next to nothing, or are a third of the columns and lose little."""
    few, needed, of = len(summary["minimal"]), summary["within_error"], len(summary["selected"])
    skill = " and skill" if summary["target"]["kind"] == "classes" else ""
    rule = f"come within one standard error, or a hundredth, of the best score{skill}"
    if few == needed:
        return f"{few} of the {of} selected {rule}"
    small = "a third of the usable columns, lose no more than three hundredths of the best score"
    return f"{needed} of the {of} selected {rule}; {few}, {small}"


def _answer(summary: Json, target: str) -> str:
    count, total = len(summary["selected"]), summary["columns"]["table"]
    if not count:
        leaks = sum(row["reason"] == "leak" for row in summary["flagged"])
        but = f" but {leaks} suspected leak{'s' * (leaks > 1)}" if leaks else ""
        return f"None of {total} indicators{but} explains {target}"
    if not holds(summary):
        return f"{count} of {total} indicators go with {target}, too loosely to tell it beforehand"
    verb = "explains" if count == 1 else "explain"
    told = f"{count} of {total} indicators {verb} {target}"
    tally: dict[str, int] = defaultdict(int)
    for row in summary["groups"]:
        if row["meaning"]["domain"]:
            tally[row["meaning"]["domain"]] += 1
    if not tally:
        return told
    most = max(tally, key=lambda domain: (tally[domain], domain))
    whose = DOMAINS.get(most, f"of the domain {most}")
    return f"{told}; {tally[most]} of them {'is' if tally[most] == 1 else 'are'} {whose}"


def holds(summary: Json) -> bool:
    """Return whether the selected tell the target on rows of no part in selecting: all the interval is above chance."""
    return bool(summary["score"]["selected"]["low"] > summary["score"]["nothing"])


def effect_line(row: Json) -> str:
    """Return how the target goes with an indicator, in words."""
    effect = row["effect"]
    if row["pairs"]:
        return f"through its product with {', '.join(row['pairs'])}"
    if effect is None:
        return "too few values to say"
    if effect["shape"] == "with_others" or not effect["direction"]:
        return "together with other indicators" if effect["shape"] == "with_others" else "up and down"
    way = "rises" if effect["direction"] > 0 else "falls"
    if effect["threshold"] is None:
        return f"target {way} with it, {'steadily' if effect['shape'] == 'monotone' else 'not evenly'}"
    named = "" if row["meaning"]["unit"] == "-" else f" {row['meaning']['unit']}"
    return f"target {way} above {effect['threshold']:.3g}{named}"


def unit(summary: Json) -> str:
    """Return the unit of SHAP values: of the target itself, or of the raw score of classes."""
    if summary["target"]["kind"] != "continuous":
        return "log odds"
    return "units of the target" if summary["target"]["unit"] == "-" else str(summary["target"]["unit"])


def _score_line(summary: Json) -> str:
    score = summary["score"]
    told = [
        f"{what}: {spoken(score[key])}"
        for what, key in (
            ("selected", "selected"),
            ("those that suffice", "minimal"),
            (f"all {summary['columns']['judged']} usable", "all"),
        )
    ]
    return f"{score['measure']} over {score['folds']} folds (95 % interval): {'; '.join(told)}{_simulated(summary)}."


def _figures(summary: Json) -> dict[str, Markup]:
    rows, said = summary["groups"], "Simulated. " if summary["simulated"] else ""
    if not rows:
        return {}
    names = ", ".join(row["representative"] for row in rows)
    points, of, enough = summary["points"], unit(summary), len(summary["minimal"])
    drawn = {
        "ranked": figures.ranked(rows, unit=of, label=f"{said}Importance, the strongest first: {names}"),
        "swarm": figures.swarm(points, unit=of, label=f"{said}SHAP values of rows for {names}"),
        "dependence": figures.dependence(
            points, rows, unit=of, label=f"{said}SHAP value against value of {names}"
        ),
        "relations": figures.relations(
            summary["map"], label=f"{said}Rank correlations of {len(summary['map']['names'])} columns"
        ),
        "numbers": figures.numbers(
            summary["curve"],
            enough=enough,
            whole=summary["score"]["all"],
            measure=summary["score"]["measure"],
            label=f"{said}Score against the number of indicators; {enough} suffice",
        ),
    }
    for key in ("domain", "scope"):
        if parts := _shares(rows, key):
            label = said + ", ".join(f"{text} {100 * share:.0f} %" for text, share in parts)
            drawn[key] = figures.shares(parts, name=f"by-{key}", label=label)
    return {name: Markup(svg) for name, svg in drawn.items()}


def _shares(rows: list[Json], key: str) -> list[tuple[str, float]]:
    told: dict[str, float] = defaultdict(float)
    for row in rows:
        told[row["meaning"][key] or "not in the catalogue"] += row["share"]
    if set(told) == {"not in the catalogue"}:
        return []
    return sorted(told.items(), key=lambda one: -one[1])


def _tallies(summary: Json) -> list[tuple[str, int]]:
    told: dict[str, int] = defaultdict(int)
    for row in summary["dropped"]:
        told[record.REASONS[row["reason"]]] += 1
    return sorted(told.items(), key=lambda one: -one[1])


def _made(summary: Json) -> list[tuple[str, str]]:
    rows, settings = summary["rows"], summary["settings"]
    used = f"{pages.count(rows['used'])} of {pages.count(rows['table'])}"
    if rows["agreement"] is not None:
        used += (
            f" (rank agreement of importance with the same model on the whole table: {rows['agreement']:.2f})"
        )
    return [
        ("table", summary["table"]),
        ("target", f"{summary['target']['name']}, {summary['target']['kind']}"),
        ("rows used", used),
        ("importance", _measured(summary)),
        ("score", _scored(summary)),
        ("subsamples", f"{settings['subsamples']}, each of 80 % of the clusters, without replacement"),
        ("false share accepted", f"{100 * settings['rate']:.0f} % of the columns, and as much of the pairs"),
        ("likeness", settings["likeness"]),
        ("seed", str(settings["seed"])),
        ("data", f"hash {summary['data_hash']}"),
        (
            "libraries",
            ", ".join(f"{name} {version}" for name, version in sorted(summary["libraries"].items())),
        ),
    ]


def _measured(summary: Json) -> str:
    """Return which model measured the importance, and how far it ranks the selected as trees do."""
    models = summary["models"]
    how = "" if models["importance"] == "trees" else " (expected gradients)"
    told = f"SHAP values{how} of {MODELS[models['importance']]}"
    if models["agreement"] is None:
        return told
    return f"{told}; rank agreement on the selected with trees, of one subsample: {models['agreement']:.2f}"


def _scored(summary: Json) -> str:
    return f"{summary['score']['measure']}, of {MODELS[summary['models']['score']]}"


def spoken(score: Json) -> str:
    """Return a score with its interval."""
    return f"{score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f})"


def _simulated(summary: Json) -> str:
    return " (simulated)" if summary["simulated"] else ""


def _as_heading(name: str) -> str:
    """Return a name as Markdown shows it unchanged: plain where it can be, so that a list can tell it too."""
    return name if PLAIN_NAME.fullmatch(name) else _code(name)


def _prose(text: str) -> str:
    """Return text in which names may stand, so that Markdown takes no mark in them for its own."""
    return _cell(_MARKS.sub(r"\\\g<0>", text))


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _name(indicator: str) -> str:
    """Return a name as code in a cell, whatever stands in it."""
    return _cell(_code(indicator))


def _code(text: str) -> str:
    fence = "``" if "`" in text else "`"
    space = " " if "`" in text or not text.strip() else ""
    return f"{fence}{space}{' '.join(text.split())}{space}{fence}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"


def _p(log_p: float) -> str:
    return f"{np.exp(log_p):.2g}" if log_p > -690 else "< 1e-299"
