"""A selection as text: selection.json, selection.csv, and how two of them differ."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from evaluation.selection import pictured
from evaluation.selection.contributions import Model
from evaluation.selection.expert import Experts
from evaluation.selection.procedure import Selection
from evaluation.selection.screening import RATE
from features.whole_file import write_text

Json = dict[str, Any]  # parts of selection.json, as parsed
SELECTION_JSON, SELECTION_CSV = "selection.json", "selection.csv"
REASONS = {
    "no_number": "no numbers",
    "empty": "too empty",
    "constant": "constant",
    "identifier": "an identifier",
    "duplicate": "a duplicate",
    "unstable": "unstable over time",
    "leak": "suspected leak",
    "veto": "vetoed by an expert",
    "not_repeated": "not chosen again",
    "redundant": "redundant",
    "explained_by_others": "explained by others",
    "no_effect": "no effect found",
}
MEASURES = {
    "binary": "area under the ROC curve",
    "classes": "mean area under the ROC curves",
    "continuous": "R²",
}
_LIBRARIES = ("lightgbm", "numpy", "scikit-learn", "scipy", "shap")


@dataclass(frozen=True)
class Meaning:
    """What a catalogue knows of a column. scope: where it is measured."""

    name: str
    unit: str
    domain: str = ""
    scope: str = ""


def summarize(selection: Selection, *, table: str, meanings: Mapping[str, Meaning], simulated: bool) -> Json:
    """Return all that the report and the files tell of a selection; the same bytes for the same table and settings."""
    study = selection.study
    ranked = _groups(selection, meanings)
    return {
        "table": table,
        "simulated": simulated,
        "target": {
            "name": study.target.name,
            "kind": study.target.kind,
            "classes": list(study.target.classes),
            "unit": meanings[study.target.name].unit if study.target.name in meanings else "-",
        },
        "rows": {"table": selection.rows_of_table, "used": len(study.X), "agreement": selection.agreement},
        "models": _models(selection),
        "columns": {"table": len(study.names), "judged": len(selection.columns)},
        "selected": [study.names[column] for column in selection.selected],
        "minimal": [study.names[column] for column in selection.minimal],
        "dropped": [asdict(drop) for drop in sorted(selection.dropped, key=_by_reason)],
        "flagged": [asdict(drop) for drop in selection.dropped if drop.reason in ("leak", "unstable")],
        "moved": [asdict(drop) for drop in selection.moved],
        "groups": ranked,
        "pairs": [[study.names[column] for column in pair] for pair in selection.screened.pairs],
        "importance": _importance(selection),
        "score": _score(selection),
        "within_error": selection.curve.within,
        "curve": _curve(selection),
        "points": pictured.points(selection),
        "map": pictured.neighbourhood(selection),
        "overrides": _overrides(selection),
        "weights": weights({row["representative"]: row["importance"] for row in ranked}, selection.experts),
        "settings": {
            **asdict(selection.settings),
            "rate": RATE,
            "rounds": "by early stopping",
            "alpha": selection.experts.alpha,
        },
        "notes": [*study.notes, *_notes(selection)],
        "data_hash": selection.data_hash,
        "libraries": {name: version(name) for name in _libraries(selection.settings.model)},
    }


def _models(selection: Selection) -> Json:
    """Return which model measured and which judged, and how the one ranks the groups beside the other."""
    return {
        "importance": selection.settings.model,
        "score": "trees",
        "agreement": selection.agreement_with_trees,
    }


def _libraries(model: Model) -> tuple[str, ...]:
    return _LIBRARIES if model == "trees" else (*_LIBRARIES, "torch")


def _notes(selection: Selection) -> list[str]:
    """Return what a reader must know of the model that measured."""
    bound = [one.indicator for one in selection.experts.statements if one.direction]
    if not bound or selection.settings.model == "trees":
        return []
    return [
        f"the directions that experts gave to {', '.join(bound)} bind the trees that judge the sets, not the network"
        " that measured the importance"
    ]


def weights(importance: Mapping[str, float], experts: Experts) -> dict[str, float]:
    """Return w = normalise(expert^alpha * importance^(1 - alpha)) of the selected; silence says 1."""
    told = {}
    for name, strength in importance.items():
        said = experts.of(name)
        prior = 1.0 if said is None or said.weight is None else said.weight
        told[name] = prior**experts.alpha * max(strength, 0.0) ** (1 - experts.alpha)
    total = sum(told.values())
    return {name: value / total for name, value in told.items()} if total else told


def write(summary: Json, directory: Path) -> None:
    """Write selection.json and selection.csv; each is whole or not there."""
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    write_text(directory / SELECTION_JSON, text + "\n")
    write_text(directory / SELECTION_CSV, sheet(summary).to_csv(index=False))


def read(directory: Path) -> Json:
    """Return a written summary. Raises LookupError where the directory holds none."""
    path = directory / SELECTION_JSON if directory.is_dir() else directory
    if not path.is_file():
        raise LookupError(f"{directory} holds no {SELECTION_JSON}; `iotlens indicators select` writes it")
    summary: Json = json.loads(path.read_text(encoding="utf-8"))
    return summary


def sheet(summary: Json) -> pd.DataFrame:
    """Return one row per column of the table: indicator, selected, minimal, reason, detail, group, importance ..."""
    reasons = {row["indicator"]: row for row in summary["dropped"]}
    measured = {row["indicator"]: row for row in summary["importance"]}
    group = {
        member["indicator"]: row["representative"] for row in summary["groups"] for member in row["members"]
    }
    names = [*summary["selected"], *(name for name in reasons if name not in summary["selected"])]
    rows = []
    for name in names:
        told, dropped = measured.get(name, {}), reasons.get(name, {})
        rows.append(
            {
                "indicator": name,
                "selected": name in summary["selected"],
                "minimal": name in summary["minimal"],
                "reason": dropped.get("reason", ""),
                "detail": dropped.get("detail", ""),
                "group": group.get(name, ""),
                **{
                    key: told.get(key)
                    for key in ("importance", "low", "high", "rank", "p_value", "probe_p_value")
                },
                "weight": summary["weights"].get(name),
            }
        )
    return pd.DataFrame(rows)


def compare(before: Json, after: Json) -> pd.DataFrame:
    """Return one row per indicator whose place differs: indicator, before, after, and why it fell.

    Raises ValueError where the two explain different targets.
    """
    if before["target"]["name"] != after["target"]["name"]:
        raise ValueError(
            f"two selections compare where they explain one target, but these explain {before['target']['name']!r}"
            f" and {after['target']['name']!r}"
        )
    places = [{name: place for place, name in enumerate(one["selected"], start=1)} for one in (before, after)]
    reasons = [
        {row["indicator"]: REASONS[row["reason"]] for row in one["dropped"]} for one in (before, after)
    ]
    rows = []
    for name in sorted(
        {*places[0], *places[1]}, key=lambda one: (places[1].get(one, 1e9), places[0].get(one, 1e9))
    ):
        told = [_place(name, places[side], reasons[side]) for side in (0, 1)]
        rows.append({"indicator": name, "before": told[0], "after": told[1], "changed": told[0] != told[1]})
    return pd.DataFrame(rows, columns=["indicator", "before", "after", "changed"])


def _place(name: str, places: Mapping[str, int], reasons: Mapping[str, str]) -> str:
    return f"{places[name]} of {len(places)}" if name in places else reasons.get(name, "not in the table")


def _by_reason(drop: Any) -> tuple[int, str]:
    """Any: a Drop; the order of REASONS puts what a person must look at first."""
    return list(REASONS).index(drop.reason), drop.indicator


def _groups(selection: Selection, meanings: Mapping[str, Meaning]) -> list[Json]:
    study, measured = selection.study, selection.measured
    strength = measured.group_strength
    ranks = stats.rankdata(-strength, axis=1, method="min") if strength.size else strength
    total = float(strength.mean(axis=0).sum()) or 1.0
    rows = []
    for place, group in enumerate(selection.groups):
        column = group.representative
        name = study.names[column]
        meaning = meanings.get(name, Meaning(name, "-"))
        effect = selection.effects[place]
        rows.append(
            {
                "representative": name,
                "meaning": asdict(meaning),
                "members": [
                    {"indicator": study.names[one], "rho": float(selection.scores.rho[column, one])}
                    for one in group.members
                ],
                "ties": [study.names[one] for one in group.ties],
                "pairs": [
                    study.names[other]
                    for pair in selection.screened.pairs
                    if column in pair
                    for other in pair
                    if other != column
                ],
                "frequency": selection.frequency[place],
                "importance": float(strength[:, place].mean()),
                "low": float(strength[:, place].min()),
                "high": float(strength[:, place].max()),
                "share": float(strength[:, place].mean()) / total,
                "rank_low": int(ranks[:, place].min()),
                "rank_high": int(ranks[:, place].max()),
                "log_p": float(selection.screened.log_p[column]),
                "effect": None if effect is None else asdict(effect),
                "minimal": column in selection.minimal,
            }
        )
    return rows


def _importance(selection: Selection) -> list[Json]:
    measured, names = selection.measured, selection.study.names
    mean = measured.strength.mean(axis=0)
    order = np.argsort(-mean, kind="stable")
    ranks = stats.rankdata(-measured.strength, axis=1, method="min")
    return [
        {
            "indicator": names[selection.columns[place]],
            "importance": float(mean[place]),
            "low": float(measured.strength[:, place].min()),
            "high": float(measured.strength[:, place].max()),
            "rank": rank,
            "rank_low": int(ranks[:, place].min()),
            "rank_high": int(ranks[:, place].max()),
            "p_value": float(np.exp(selection.screened.log_p[selection.columns[place]])),
            "probe_p_value": float(measured.p_values[place]),
        }
        for rank, place in enumerate(order, start=1)
    ]


def _score(selection: Selection) -> Json:
    curve = selection.curve
    selected, minimal = curve.scores[:, -1], curve.scores[:, len(selection.minimal)]
    return {
        "measure": MEASURES[selection.study.target.kind],
        "nothing": float(curve.scores[0, 0]),  # of who knows no column
        "selected": _interval(selected, most=1.0),
        "minimal": _interval(minimal, most=1.0),
        "all": _interval(curve.whole, most=1.0),
        "selected_less_all": _interval(selected - curve.whole),
        "minimal_less_all": _interval(minimal - curve.whole),
        "folds": len(selected),
    }


def _interval(values: np.ndarray, *, most: float = np.inf) -> Json:
    """Return mean and 95 % interval (Student's t over folds), which ends at the most that there can be."""
    reach = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return {
        "value": float(values.mean()),
        "low": float(values.mean()) - reach,
        "high": min(float(values.mean()) + reach, most),
    }


def _curve(selection: Selection) -> list[Json]:
    names = selection.study.names
    added = [None, *(names[column] for column in selection.curve.order)]
    return [
        {
            "count": count,
            "added": added[count],
            "score": float(scores.mean()),
            "error": float(scores.std(ddof=1) / np.sqrt(len(scores))),
        }
        for count, scores in enumerate(selection.curve.scores.T)
    ]


def _overrides(selection: Selection) -> list[Json]:
    denied = {one.indicator: one.p_value for one in selection.contradictions}
    return [
        {**one.model_dump(mode="json"), "contradicted_p": denied.get(one.indicator)}
        for one in selection.experts.statements
    ]
