"""The figures of a selection's report, each drawn from its part of selection.json and from nothing else."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.svg import (
    MUTED,
    OTHER,
    OURS,
    RULE,
    WIDTH_PT,
    WRONG,
    Type,
    axes_at,
    drawing,
    note,
    short,
    text_width,
    to_svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Json = dict[str, Any]  # parts of selection.json, as parsed
MOST_CURVES = 9
_ROW_PT = 21.0
_SIGNED = "RdBu"  # of correlations: red below zero, blue above
_SCALE = "cividis"  # of values, low to high: the same for every eye


def ranked(rows: Sequence[Json], *, unit: str, label: str) -> str:
    """Draw the importance of each group with its range over subsamples, and its share of the whole."""
    left, right, top, bottom = _names_width(rows) + 14, 92.0, 12.0, 40.0
    with drawing(top + bottom + _ROW_PT * len(rows)) as figure:
        axes = axes_at(figure, left=left, top=top, right=right, bottom=bottom)
        places = np.arange(len(rows))
        axes.barh(places, [row["importance"] for row in rows], height=0.6, color="#86b3d8")
        axes.hlines(
            places, [row["low"] for row in rows], [row["high"] for row in rows], color=OURS, linewidth=2
        )
        for y, row in enumerate(rows):
            name = short(row["representative"])
            note(
                axes,
                name,
                at=(0, y),
                by=(-left, 0),
                type_=Type(size=8.5, weight="bold" if row["minimal"] else "normal"),
            )
            note(axes, f"{100 * row['share']:.0f} %", at=(1, y), by=(14, 0), type_=Type(MUTED))
        axes.set_xlim(left=0)
        _bare(
            axes,
            rows=len(rows),
            xlabel=f"mean |SHAP| of the group, {unit} (bar: mean, line: range over subsamples)",
        )
        return to_svg(figure, name="ranked", label=label)


def swarm(rows: Sequence[Json], *, unit: str, label: str) -> str:
    """Draw the SHAP values of the shown rows, a line of points for each indicator, coloured by its value."""
    from matplotlib import colormaps

    left = max((text_width(short(row["indicator"]), 8.5) for row in rows), default=0) + 14
    with drawing(70.0 + 26 * len(rows)) as figure:
        axes = axes_at(figure, left=left, top=30, right=20, bottom=40)
        axes.axvline(0, color=RULE, linewidth=1)
        for y, row in enumerate(rows):
            shap, level = np.array(row["shap"]), _levels(row["values"])
            colors = [OTHER if np.isnan(one) else colormaps[_SCALE](one) for one in level]
            axes.scatter(shap, y + _spread(shap), s=7, c=colors, linewidths=0)
            note(axes, short(row["indicator"]), at=(0, y), by=(-left, 0), type_=Type(size=8.5))
        _bare(axes, rows=len(rows), xlabel=f"SHAP value, {unit}: left lowers, right raises the target")
        for place, (text, color) in enumerate(
            (
                ("low value", colormaps[_SCALE](0.0)),
                ("high value", colormaps[_SCALE](1.0)),
                ("missing", OTHER),
            )
        ):
            note(axes, "●", at=(0, -0.6), by=(78 * place, 16), type_=Type(_hex(color)))
            note(axes, text, at=(0, -0.6), by=(78 * place + 11, 16), type_=Type(MUTED))
        return to_svg(figure, name="swarm", label=label)


def dependence(rows: Sequence[Json], groups: Sequence[Json], *, unit: str, label: str) -> str:
    """Draw SHAP value against value for the first indicators, a threshold as a dashed line."""
    rows, across = rows[:MOST_CURVES], 3
    down = -(-len(rows) // across)
    wide, high = WIDTH_PT / across, 170.0
    with drawing(high * max(1, down)) as figure:
        for place, (row, group) in enumerate(zip(rows, groups, strict=False)):
            y, x = divmod(place, across)
            axes = axes_at(
                figure,
                left=x * wide + 44,
                top=y * high + 26,
                right=WIDTH_PT - (x + 1) * wide + 12,
                bottom=(down - y - 1) * high + 36,
            )
            _curve(axes, row, group)
            if x == 0:
                axes.set_ylabel(f"SHAP, {unit}")
        return to_svg(figure, name="dependence", label=label)


def _curve(axes: "Axes", row: Json, group: Json) -> None:
    values = np.array([np.nan if value is None else value for value in row["values"]])
    axes.axhline(0, color=RULE, linewidth=1)
    axes.scatter(values, row["shap"], s=8, color=OURS, alpha=0.55, linewidths=0)
    effect, meaning = group["effect"], group["meaning"]
    if effect and effect["threshold"] is not None:
        axes.axvline(effect["threshold"], color=WRONG, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.set_title(f"{short(row['indicator'], 22)}: {effect['threshold']:.3g}")
    else:
        axes.set_title(short(row["indicator"], 28))
    there = values[~np.isnan(values)]
    if len(there) and there.min() < there.max():
        low, high = np.quantile(there, [0.01, 0.99])
        if high > low:
            axes.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.locator_params(nbins=4)
    axes.set_xlabel("" if meaning["unit"] == "-" else meaning["unit"])


def relations(told: Json, *, label: str) -> str:
    """Draw the rank correlations of the mapped columns beside the tree that joins what is alike."""
    from matplotlib import colormaps
    from scipy.cluster import hierarchy

    names = told["names"]
    cell = float(np.clip(430.0 / max(1, len(names)), 7.0, 18.0))
    left, side, tree = max(text_width(short(name), 7.5) for name in names) + 10, cell * len(names), 90.0
    with drawing(side + 76) as figure:
        axes = axes_at(figure, left=left, top=10, right=WIDTH_PT - left - side, bottom=66)
        edges = np.arange(len(names) + 1) - 0.5
        axes.pcolormesh(
            edges, edges, np.array(told["rho"]), cmap=_SIGNED, vmin=-1, vmax=1
        )  # squares: pages show no images
        axes.set(xlim=(edges[0], edges[-1]), ylim=(edges[-1], edges[0]))
        axes.set(xticks=[], yticks=[])
        for y, name in enumerate(names):
            note(axes, short(name), at=(0, y), by=(-left, 0), type_=Type(size=7.5))
        if len(told["linkage"]):
            beside = axes_at(
                figure, left=left + side + 8, top=10, right=WIDTH_PT - left - side - 8 - tree, bottom=66
            )
            _tree(beside, hierarchy.dendrogram(np.array(told["linkage"]), no_plot=True), len(names))
        for place, rho in enumerate((-1.0, -0.5, 0.0, 0.5, 1.0)):
            edge = (0, len(names) - 0.5)
            note(
                axes,
                "■",
                at=edge,
                by=(44 * place, -40),
                type_=Type(_hex(colormaps[_SIGNED]((rho + 1) / 2)), 11),
            )
            note(axes, f"{rho:+.1f}", at=edge, by=(44 * place + 12, -40), type_=Type(MUTED, 8))
        note(axes, "rank correlation", at=edge, by=(226, -40), type_=Type(MUTED, 8))
        return to_svg(figure, name="relations", label=label)


def _tree(axes: "Axes", told: Json, leaves: int) -> None:
    for heights, places in zip(told["dcoord"], told["icoord"], strict=True):
        axes.plot(heights, [(place - 5) / 10 for place in places], color=MUTED, linewidth=0.8)
    axes.axvline(0.3, color=WRONG, linewidth=0.8, linestyle=(0, (3, 3)))
    axes.set(xlim=(0, 1), ylim=(leaves - 0.5, -0.5), yticks=[], xticks=[0, 0.3, 1], xlabel="1 - |rho|")
    axes.spines["left"].set_visible(False)


def numbers(curve: Sequence[Json], *, enough: int, whole: Json, measure: str, label: str) -> str:
    """Draw the score against the number of indicators, the number that suffices, and the score of all columns."""
    with drawing(230.0) as figure:
        axes = axes_at(figure, left=56, top=24, right=150, bottom=40)
        counts = [row["count"] for row in curve]
        score, error = (np.array([row[key] for row in curve]) for key in ("score", "error"))
        axes.fill_between(counts, score - error, score + error, color=OURS, alpha=0.15, linewidth=0)
        axes.plot(counts, score, "o-", color=OURS, markersize=4, linewidth=1.4)
        axes.axhline(whole["value"], color=OTHER, linewidth=1, linestyle=(0, (4, 3)))
        axes.axvline(enough, color=WRONG, linewidth=1, linestyle=(0, (4, 3)))
        note(axes, "all columns", at=(1, whole["value"]), by=(8, 0), type_=Type(OTHER))
        axes.annotate(
            f"{enough} suffice",
            (enough, 1),
            (6, 6),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=WRONG,
            size=8.5,
        )
        axes.set(xlabel="indicators (band: one standard error)", ylabel=measure)
        axes.grid(axis="y")
        axes.locator_params(axis="x", integer=True)
        return to_svg(figure, name="numbers", label=label)


def shares(parts: Sequence[tuple[str, float]], *, name: str, label: str) -> str:
    """Draw the shares of the whole importance that parts have, one bar each."""
    left = max((text_width(text, 8.5) for text, _ in parts), default=0) + 14
    with drawing(20 + _ROW_PT * len(parts)) as figure:
        axes = axes_at(figure, left=left, top=8, right=60, bottom=12)
        axes.barh(range(len(parts)), [100 * share for _, share in parts], height=0.6, color="#86b3d8")
        for y, (text, share) in enumerate(parts):
            note(axes, text, at=(0, y), by=(-left, 0), type_=Type(size=8.5))
            note(axes, f"{100 * share:.0f} %", at=(1, y), by=(12, 0), type_=Type(MUTED))
        axes.set(xlim=(0, 100), ylim=(len(parts) - 0.5, -0.5), xticks=[], yticks=[])
        axes.spines[["left", "bottom"]].set_visible(False)
        return to_svg(figure, name=name, label=label)


def _names_width(rows: Sequence[Json]) -> float:
    return max((text_width(short(row["representative"]), 8.5) * 1.08 for row in rows), default=0.0)


def _bare(axes: "Axes", *, rows: int, xlabel: str) -> None:
    axes.grid(axis="x")
    axes.set(ylim=(rows - 0.4, -0.6), yticks=[], xlabel=xlabel)
    axes.locator_params(axis="x", nbins=6)
    axes.spines["left"].set_visible(False)


def _levels(values: Sequence[float | None]) -> np.ndarray:
    """Return the rank of each value from 0 to 1, NaN where missing."""
    from scipy import stats

    told = np.array([np.nan if value is None else value for value in values])
    there = ~np.isnan(told)
    if there.sum() > 1:
        told[there] = (stats.rankdata(told[there]) - 1) / (there.sum() - 1)
    return told


def _spread(shap: np.ndarray) -> np.ndarray:
    """Return (m,) offsets in -0.38..0.38 that keep points of like value apart, alternating from the middle."""
    if not len(shap):
        return shap
    bins = np.digitize(shap, np.linspace(shap.min(), shap.max(), 60))
    order = np.zeros(len(shap))
    for one in np.unique(bins):
        mates = np.flatnonzero(bins == one)
        order[mates] = np.where(np.arange(len(mates)) % 2, 1, -1) * ((np.arange(len(mates)) + 1) // 2)
    most = np.abs(order).max()
    return order / most * 0.38 if most else order


def _hex(color: Any) -> str:
    """Any: matplotlib's colours are texts or tuples."""
    from matplotlib.colors import to_hex

    return color if isinstance(color, str) else to_hex(color)
