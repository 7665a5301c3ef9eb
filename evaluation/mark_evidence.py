"""What tells a mark, as a person reads it: the features of its rule, then those that moved its model most."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from evaluation.mark_rules import Condition, Either, Every, Mark, atoms, holds
from features.table import Column
from training.mark_models import MarkModels, Range, ranges

TOP = 3  # features told of each mark
_LEAST_DEVICES = 20  # of a frame, to call a range of them usual


def evidence(
    mark: Mark,
    frame: pd.DataFrame,
    *,
    columns: Mapping[str, Column],
    usual: Mapping[str, Range],
    models: MarkModels | None,
) -> list[str]:
    """Return what tells the mark of each device of a frame, in order: at most TOP features, value and usual range.

    First those of its rule that make it true, then those by which its model was moved towards it.
    """
    told: list[list[str]] = [[] for _ in range(len(frame))]
    if mark.rule is not None and mark.source != "model":
        for name, true in _supporting(mark.rule, frame).items():
            for row in np.flatnonzero(true):
                told[row].append(name)
    taught = models.taught(mark.id, frame) if models is not None and mark.source != "rule" else None
    if models is not None and taught is not None:
        asked = np.flatnonzero(~np.isnan(taught))
        for row, names in zip(asked, _moving(models, mark.id, frame.iloc[asked]), strict=True):
            told[row] += [name for name in names if name not in told[row]]
    values = {name: frame[name].to_numpy(dtype="float64") for name in {n for row in told for n in row[:TOP]}}
    return [
        "; ".join(_worded(name, values[name][row], columns, usual) for name in names[:TOP]) or "nothing told"
        for row, names in enumerate(told)
    ]


def usual_of(frame: pd.DataFrame, models: MarkModels | None, names: Sequence[str]) -> dict[str, Range]:
    """Return the usual ranges: of what the models learnt from, else of the devices at hand if they are many."""
    own = ranges(frame, names) if len(frame) >= _LEAST_DEVICES else {}
    return own | (models.manifest.usual if models else {})


def _supporting(rule: Condition, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return by feature of a rule in which rows one of its true parts reads it."""
    found: dict[str, np.ndarray] = {}
    for part in _true_parts(rule):
        true = holds(part, frame).fillna(False).to_numpy(dtype=bool)
        for atom in atoms(part):
            if atom.feature in frame:
                there = true & frame[atom.feature].notna().to_numpy()
                found[atom.feature] = found.get(atom.feature, np.zeros(len(frame), bool)) | there
    return found


def _true_parts(rule: Condition) -> list[Condition]:
    """Return the parts of which any true one supports the rule: atoms, and negations as wholes."""
    if isinstance(rule, Every | Either):
        parts = rule.all if isinstance(rule, Every) else rule.any
        return [inner for part in parts for inner in _true_parts(part)]
    return [rule]


def _moving(models: MarkModels, mark: str, frame: pd.DataFrame) -> list[list[str]]:
    """Return for each row the features that move the model towards the mark, the strongest first."""
    moved = models.moved(mark, frame)
    by, there = moved.to_numpy(), frame.reindex(columns=moved.columns).notna().to_numpy()
    by = np.where(there & (by > 0), by, 0.0)
    names, order = list(moved.columns), np.argsort(-by, axis=1, kind="stable")[:, :TOP]
    return [
        [names[place] for place in places if row[place] > 0] for row, places in zip(by, order, strict=True)
    ]


def _worded(name: str, value: float, columns: Mapping[str, Column], usual: Mapping[str, Range]) -> str:
    unit = columns[name].unit if name in columns else "1"
    shown = f"{name} {value:.4g}" + ("" if unit in ("1", "-", "flag", "ratio") else f" {unit}")
    if name in usual:
        shown += f" (usual {usual[name].low:.4g} to {usual[name].high:.4g})"
    return shown
