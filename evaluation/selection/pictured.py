"""What the report's pictures are drawn from: the points of the shown rows, and the map of what goes with what."""

from typing import Any

import numpy as np

from evaluation.selection import groups
from evaluation.selection.procedure import Selection

Json = dict[str, Any]  # parts of selection.json, as parsed
POINTS = 250  # of each selected indicator
MAPPED = 45  # columns on the map: the selected with their groups, then the strongest others
_DIGITS = 4


def points(selection: Selection) -> list[Json]:
    """Return values and SHAP values of each selected indicator over the same rows; of classes, the most moved."""
    measured, columns = selection.measured, list(selection.columns)
    few = np.linspace(0, len(measured.shown_rows) - 1, min(POINTS, len(measured.shown_rows))).astype(int)
    told = []
    for column in selection.selected:
        shap = measured.shown[:, columns.index(column), :]
        most = int(np.abs(shap).mean(axis=0).argmax())
        values = selection.study.X[measured.shown_rows[few], column]
        told.append(
            {
                "indicator": selection.study.names[column],
                "class": selection.study.target.classes[most] if shap.shape[1] > 1 else None,
                "values": [None if np.isnan(value) else _rounded(value) for value in values],
                "shap": [_rounded(value) for value in shap[few, most]],
            }
        )
    return told


def neighbourhood(selection: Selection) -> Json:
    """Return names, likeness and linkage of the mapped columns, in the order of the dendrogram's leaves."""
    strength = dict(zip(selection.columns, selection.measured.strength.mean(axis=0), strict=True))
    first = list(dict.fromkeys(column for group in selection.groups for column in group.members))
    others = sorted(
        (column for column in selection.columns if column not in first), key=lambda one: -strength[one]
    )
    mapped = [*first, *others][:MAPPED]
    alike = groups.likeness(selection.scores, selection.settings.likeness)
    linkage, order = groups.tree_order(alike, mapped)
    names = selection.study.names
    return {
        "names": [names[column] for column in order],
        "given": [names[column] for column in mapped],  # as the linkage counts them
        "rho": np.round(selection.scores.rho[np.ix_(order, order)], 2).tolist(),
        "linkage": np.round(linkage, _DIGITS).tolist(),
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
