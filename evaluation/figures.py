"""The figures of the report, each drawn from its part of the summary and from nothing else."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from evaluation.svg import (
    FAINT,
    INK,
    MUTED,
    OTHER,
    OURS,
    WIDTH_PT,
    WRONG,
    Type,
    axes_at,
    drawing,
    interval,
    note,
    short,
    text_width,
    to_svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Json = Mapping[str, Any]  # a part of report.json, as parsed
LEGIBLE_CELL_PT = 15.0  # the smallest cell that holds a two-digit count
OUTCOMES = (  # what an answer is worth to an operator, best first
    ("leaf_right", "named rightly", OURS),
    ("family_right", "family named rightly", "#86b3d8"),
    ("unknown", "said unknown", "#d3d9df"),
    ("wrong", "named wrongly", WRONG),
)


def splits(parts: Sequence[Json], *, headline: str, noun: str, label: str) -> str:
    """Draw accuracy with its interval for each split, ours above the rival's."""
    row_pt, top, bottom, left, right = 48.0, 28.0, 40.0, 250.0, 128.0
    with drawing(top + bottom + row_pt * len(parts)) as figure:
        axes = axes_at(figure, left=left, top=top, right=right, bottom=bottom)
        for y, part in zip(range(len(parts))[::-1], parts, strict=True):
            _split_row(axes, part, y=float(y), bold=part["kind"] == headline)
        lowest = min(
            score["low"] for part in parts for score in (part["accuracy"], part["rival"]["accuracy"])
        )
        _percent_axis(axes, "x", low=_floor(lowest))
        axes.set(ylim=(-0.6, len(parts) - 0.4), yticks=[], xlabel=f"{noun} named rightly, % (95 % interval)")
        axes.spines["left"].set_visible(False)
        top_edge = (0.0, len(parts) - 0.4)
        note(axes, "●  this model", at=top_edge, by=(0, 14), type_=Type(OURS))
        note(axes, "◆  rival", at=top_edge, by=(84, 14), type_=Type(OTHER))
        return to_svg(figure, name="splits", label=label)


def _split_row(axes: "Axes", part: Json, *, y: float, bold: bool) -> None:
    weight: Literal["bold", "normal"] = "bold" if bold else "normal"
    axes.axhspan(y - 0.38, y + 0.38, color="#f5f7f9", linewidth=0, zorder=0)
    note(axes, part["title"], at=(0, y), by=(-250, 7), type_=Type(size=9.5, weight=weight))
    note(axes, part["rows_line"], at=(0, y), by=(-250, -7), type_=Type(MUTED, 8))
    ours, theirs = part["accuracy"], part["rival"]["accuracy"]
    interval(axes, ours, y=y + 0.15, color=OURS)
    interval(axes, theirs, y=y - 0.17, color=OTHER, marker="D")
    note(axes, _spoken(ours), at=(1, y + 0.15), by=(12, 0), type_=Type(OURS, weight=weight))
    note(axes, _spoken(theirs), at=(1, y - 0.17), by=(12, 0), type_=Type(OTHER))


def outcomes(parts: Sequence[Json], *, noun: str, label: str) -> str:
    """Draw what the answers of each split are worth: right, right to the family, unknown, wrong."""
    row_pt, top, bottom, left, right = 34.0, 28.0, 40.0, 250.0, 76.0
    with drawing(top + bottom + row_pt * len(parts)) as figure:
        axes = axes_at(figure, left=left, top=top, right=right, bottom=bottom)
        for y, part in zip(range(len(parts))[::-1], parts, strict=True):
            note(axes, part["title"], at=(0, float(y)), by=(-left, 0), type_=Type(size=9.5))
            _outcome_row(axes, part["outcomes"], y=y)
        axes.set(ylim=(-0.5, len(parts) - 0.5), yticks=[], xlabel=f"{noun}, %")
        _percent_axis(axes, "x", low=0.0)
        axes.set_xlim(0, 100)
        axes.spines["left"].set_visible(False)
        step = 0.0
        for _, text, color in OUTCOMES:
            note(axes, "■", at=(0, len(parts) - 0.5), by=(step, 14), type_=Type(color))
            note(axes, text, at=(0, len(parts) - 0.5), by=(step + 12, 14), type_=Type(MUTED))
            step += text_width(text, 8.5) + 30
        return to_svg(figure, name="outcomes", label=label)


def _outcome_row(axes: "Axes", shares: Json, *, y: int) -> None:
    start = 0.0
    for name, _, color in OUTCOMES:
        width = 100 * shares[name]
        axes.barh(y, width, left=start, height=0.6, color=color, edgecolor="white", linewidth=0.8)
        if width >= 4 and name != "wrong":
            ink = "white" if name == "leaf_right" else INK
            axes.text(start + width / 2, y, f"{width:.0f}", ha="center", va="center", size=8.5, color=ink)
        start += width
    wrong = f"{100 * shares['wrong']:.1f} wrong"
    note(axes, wrong, at=(1, float(y)), by=(12, 0), type_=Type(WRONG if shares["wrong"] else MUTED))


def classes(rows: Sequence[Json], *, accuracy: float, noun: str, label: str) -> str:
    """Draw recall and precision with intervals, a row per class, in the order given."""
    row_pt, top, bottom, right, gap = 16.0, 36.0, 40.0, 14.0, 26.0
    names = [short(row["class"]) for row in rows]
    left = max(text_width(name) for name in names) + 56
    width = (WIDTH_PT - left - right - gap) / 2
    with drawing(top + bottom + row_pt * len(rows)) as figure:
        found = axes_at(figure, left=left, top=top, right=right + gap + width, bottom=bottom)
        trusted = axes_at(figure, left=left + width + gap, top=top, right=right, bottom=bottom)
        _class_panel(found, rows, score="recall", accuracy=accuracy)
        _class_panel(trusted, rows, score="precision", accuracy=accuracy)
        found.set(title="Found", xlabel=f"recall: of its {noun}, named so, %")
        trusted.set(title="Trusted", xlabel=f"precision: of {noun} named so, truly it, %")
        note(found, noun, at=(0, -0.6), by=(-10, 15), type_=Type(MUTED, 8, edge="right"))
        for y, row in enumerate(rows):
            note(found, names[y], at=(0, y), by=(-left, 0), type_=Type(size=8.5))
            note(found, str(row["support"]), at=(0, y), by=(-10, 0), type_=Type(MUTED, 8, edge="right"))
        return to_svg(figure, name="classes", label=label)


def _class_panel(axes: "Axes", rows: Sequence[Json], *, score: str, accuracy: float) -> None:
    axes.axvline(100 * accuracy, color=OTHER, linewidth=0.8, linestyle=(0, (3, 3)), zorder=1)
    for y, row in enumerate(rows):
        if row[score]["value"] is not None:
            interval(axes, row[score], y=y, color=WRONG if row[score]["high"] < accuracy else OURS)
    _percent_axis(axes, "x", low=0.0)
    axes.hlines(np.arange(len(rows)), 0, 100, color=FAINT, linewidth=0.8, zorder=0)
    axes.set(ylim=(len(rows) - 0.4, -0.6), yticks=[])
    axes.spines["left"].set_visible(False)


def confusion(
    counts: np.ndarray, *, names: Sequence[str], groups: Sequence[str], noun: str, label: str
) -> str:
    """Draw the confusion matrix: a row per true class, colour by share of the row, counts in the cells.

    counts: (k, k). groups: (k,) family of each class; neighbours of one family are framed.
    """
    shown = [short(name) for name in names]
    side = max(text_width(name, 8.5) for name in shown) + 10
    cell = float(np.clip((WIDTH_PT - side - 40) / len(names), LEGIBLE_CELL_PT, 34.0))
    size = cell * len(names)
    totals = counts.sum(axis=1)
    tips: dict[str, str] = {}
    with drawing(side + size + 22, width_pt=max(side + size + 40, WIDTH_PT)) as figure:
        right = max(40.0, WIDTH_PT - side - size)
        axes = axes_at(figure, left=side, top=side, right=right, bottom=22)
        for row, column in np.argwhere(counts > 0):
            count = int(counts[row, column])
            _cell(axes, (int(row), int(column)), count=count, share=count / totals[row])
            told = f"{count} of {totals[row]} {noun} of {names[row]} named {names[column]}"
            tips[f"cell-{row}-{column}"] = told
        _grid(axes, shown, totals=totals)
        _frames(axes, groups)
        return to_svg(figure, name="confusion", label=label, tips=tips)


def _cell(axes: "Axes", at: tuple[int, int], *, count: int, share: float) -> None:
    from matplotlib.patches import Rectangle

    row, column = at
    right = row == column
    strength = 0.10 + 0.90 * share if right else 0.15 + 0.85 * min(2 * share, 1.0)
    corner, gid = (column - 0.5, row - 0.5), f"cell-{row}-{column}"
    color = OURS if right else WRONG
    axes.add_patch(Rectangle(corner, 1, 1, facecolor=color, alpha=strength, linewidth=0, gid=gid))
    ink = "white" if strength > 0.68 else INK
    axes.text(column, row, str(count), ha="center", va="center", size=8, color=ink)


def _grid(axes: "Axes", names: Sequence[str], *, totals: np.ndarray) -> None:
    places, edges = np.arange(len(names)), np.arange(len(names) + 1) - 0.5
    axes.hlines(edges, edges[0], edges[-1], color="#e6eaee", linewidth=0.6, zorder=0.5)
    axes.vlines(edges, edges[0], edges[-1], color="#e6eaee", linewidth=0.6, zorder=0.5)
    axes.set(xlim=(edges[0], edges[-1]), ylim=(edges[-1], edges[0]), xlabel="name given")
    axes.set_xticks(places, names, rotation=90, ha="left", va="center", rotation_mode="anchor", color=INK)
    axes.set_yticks(places, names, color=INK)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, pad=6)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for place, total in zip(places, totals, strict=True):
        note(axes, str(total), at=(1, float(place)), by=(6, 0), type_=Type(MUTED, 8))


def _frames(axes: "Axes", groups: Sequence[str]) -> None:
    from matplotlib.patches import Rectangle

    for group in dict.fromkeys(groups):
        at = [place for place, name in enumerate(groups) if name == group]
        if len(at) > 1:
            corner, size = (at[0] - 0.5, at[0] - 0.5), len(at)
            axes.add_patch(Rectangle(corner, size, size, fill=False, edgecolor=INK, linewidth=1.0, zorder=4))


def calibration(part: Json, *, noun: str, label: str) -> str:
    """Draw what a probability promises against what it keeps, and what refusing to answer buys."""
    with drawing(320) as figure:
        reliable = axes_at(figure, left=46, top=36, right=WIDTH_PT - 330, bottom=98)
        below = axes_at(figure, left=46, top=242, right=WIDTH_PT - 330, bottom=42)
        _reliability(reliable, part["calibration"]["reliability"])
        _counts(below, part["calibration"]["reliability"], noun=noun)
        _reject(axes_at(figure, left=420, top=36, right=18, bottom=42), part, noun=noun)
        return to_svg(figure, name="calibration", label=label)


def _reliability(axes: "Axes", bins: Sequence[Json]) -> None:
    axes.plot([0, 100], [0, 100], color=OTHER, linewidth=0.8, linestyle=(0, (3, 3)))
    for row in bins:
        x = 100 * row["promised"]
        axes.plot([x, x], [100 * row["low"], 100 * row["high"]], color=OURS, linewidth=3, alpha=0.35)
        axes.plot([x], [100 * row["value"]], "o", color=OURS, markersize=5)
    axes.set(title="What a probability keeps", ylabel="named rightly, %")
    _percent_axis(axes, "x", low=0.0)
    _percent_axis(axes, "y", low=0.0)
    axes.set_xticklabels([])


def _counts(axes: "Axes", bins: Sequence[Json], *, noun: str) -> None:
    most = max(row["rows"] for row in bins)
    for row in bins:
        middle = 50 * (row["bin_low"] + row["bin_high"])
        axes.bar(middle, row["rows"], width=9, color="#b9cfe3")
        axes.text(middle, row["rows"] + 0.06 * most, str(row["rows"]), ha="center", size=7.5, color=MUTED)
    _percent_axis(axes, "x", low=0.0)
    axes.set(yticks=[], ylim=(0, 1.6 * most), xlabel=f"probability of the name given, %; bars: {noun}")
    axes.spines["left"].set_visible(False)


def _reject(axes: "Axes", part: Json, *, noun: str) -> None:
    curve, chosen = part["calibration"]["reject"], part["calibration"]["chosen"]
    lowest = 100 * min(point["accuracy"] for point in curve)
    answered = [100 * point["answered"] for point in curve]
    axes.plot(answered, [100 * point["accuracy"] for point in curve], color=OURS, linewidth=1.8)
    axes.set(
        title="What answering less buys", xlabel=f"{noun} answered, %", ylabel="of these named rightly, %"
    )
    _percent_axis(axes, "x", low=0.0)
    low = _floor(lowest / 100 - 0.1)
    _percent_axis(axes, "y", low=low)
    if chosen["accuracy"]["value"] is None:
        return
    at = (100 * chosen["answered"]["value"], 100 * chosen["accuracy"]["value"])
    axes.plot([at[0], at[0]], [low, at[1]], color=WRONG, linewidth=0.8, linestyle=(0, (3, 3)))
    axes.plot(*at, "o", color=WRONG, markersize=7, zorder=5)
    side, step = ("right", -8) if at[0] > 50 else ("left", 8)
    axes.annotate(
        part["chosen_line"],
        (at[0], low),
        (step, 12),
        textcoords="offset points",
        ha=side,
        va="bottom",
        size=8.5,
        color=WRONG,
    )


def importance(rows: Sequence[Json], *, unit: str, label: str) -> str:
    """Draw mean |SHAP| of the first features with its interval; beside it the classes each serves most."""
    row_pt, top, bottom, right = 17.0, 12.0, 40.0, 262.0
    names = [short(row["feature"]) for row in rows]
    left = max(text_width(name, 8.5) for name in names) + 14
    with drawing(top + bottom + row_pt * len(rows)) as figure:
        axes = axes_at(figure, left=left, top=top, right=right, bottom=bottom)
        places = np.arange(len(rows))
        axes.barh(places, [row["importance"] for row in rows], height=0.62, color="#86b3d8")
        axes.hlines(places, [row["low"] for row in rows], [row["high"] for row in rows], color=OURS)
        for y, row in enumerate(rows):
            note(axes, row["serves_line"], at=(1, y), by=(14, 0), type_=Type(MUTED, 8))
            note(axes, names[y], at=(0, y), by=(-left, 0), type_=Type(size=8.5))
        axes.grid(axis="x")
        axes.set(ylim=(len(rows) - 0.4, -0.6), yticks=[], xlabel=f"mean |SHAP|, {unit} (95 % interval)")
        axes.set_xlim(left=0)
        axes.locator_params(axis="x", nbins=5)
        axes.spines["left"].set_visible(False)
        return to_svg(figure, name="importance", label=label)


def _spoken(score: Json) -> str:
    return f"{100 * score['value']:.1f}  ({100 * score['low']:.1f} to {100 * score['high']:.1f})"


def _floor(share: float) -> float:
    return float(max(0.0, 10 * np.floor(10 * share)))


def _percent_axis(axes: "Axes", which: str, *, low: float) -> None:
    step = 5 if low >= 80 else 10 if low >= 50 else 20 if low >= 20 else 25
    ticks = np.arange(np.ceil(low / step) * step, 101, step)
    margin = (100 - low) * 0.02
    limits = (low - (margin if low == 0 else 0), 100 + margin)
    axes.set(**{f"{which}lim": limits, f"{which}ticks": ticks})
    axes.grid(axis="x" if which == "x" else "y")
