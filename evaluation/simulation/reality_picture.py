"""Curves of measured and simulated values over each other, as SVG: measured blue and solid, orange dashes simulated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from evaluation.simulation.reality import Compared, ecdf
from evaluation.svg import INK, MUTED, OTHER, OURS, WRONG, Type, axes_at, drawing, note, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Side = Literal["measured", "one vendor", "simulated"]
PANEL_PT, GAP_PT, TOP_PT, LEFT_PT, RIGHT_PT, BETWEEN_PT, WIDTH_PT = 130.0, 76.0, 74.0, 40.0, 16.0, 34.0, 720.0
_LINES: dict[Side, tuple[str, str, float]] = {
    "one vendor": (OTHER, ":", 1.1),
    "measured": (OURS, "-", 1.8),
    "simulated": (WRONG, (0, (4, 2)), 1.8),  # type: ignore[dict-item]
}


@dataclass(frozen=True)
class Curve:
    """One line: at x the share y. named_at: where its side is written, (x, y) and which edge of the text is there."""

    side: Side
    x: np.ndarray
    y: np.ndarray
    named_at: tuple[float, float, Literal["left", "right"]] | None = None


@dataclass(frozen=True)
class Panel:
    """Curves on the same axes. below: what x is, with its unit."""

    title: str
    below: str
    curves: tuple[Curve, ...]
    log: bool = False


def distributions(compared: Compared, *, title: str, below: str) -> Panel:
    """Return a panel with the two empirical distributions of a quantity, of at most 100 quantiles each."""
    sides: tuple[tuple[Side, np.ndarray], ...] = (
        ("measured", compared.real),
        ("simulated", compared.simulated),
    )
    lines = [(side, *ecdf(values[values > 0] if compared.log else values)) for side, values in sides]
    middles = [float(np.median(x)) if len(x) else float("nan") for _, x, _ in lines]
    curves = []
    for (side, x, y), middle in zip(lines, middles, strict=True):
        first = middle <= np.nanmin(middles)
        at, edge = (0.6, "right") if first else (0.4, "left")
        place = (float(np.interp(at, y, x)), at, edge) if len(x) else None
        curves.append(Curve(side, x, y, place))  # type: ignore[arg-type]
    return Panel(title, below, tuple(curves), compared.log)


def picture(heading: str, panels: Sequence[Panel], *, name: str, columns: int = 3) -> str:
    """Return the panels, row by row, as one SVG file."""
    rows = -(-len(panels) // columns)
    height = TOP_PT + rows * (PANEL_PT + GAP_PT) - GAP_PT + 44
    wide = (WIDTH_PT - LEFT_PT - RIGHT_PT - (columns - 1) * BETWEEN_PT) / columns
    with drawing(height, width_pt=WIDTH_PT) as figure:
        for place, panel in enumerate(panels):
            row, column = divmod(place, columns)
            left, top = LEFT_PT + column * (wide + BETWEEN_PT), TOP_PT + row * (PANEL_PT + GAP_PT)
            axes = axes_at(
                figure,
                left=left,
                top=top,
                right=WIDTH_PT - left - wide,
                bottom=height - top - PANEL_PT,
            )
            _draw(axes, panel, _span(panels, panel.below))
            if place == 0:
                note(axes, heading, at=(0, 1.0), by=(-LEFT_PT + 4, 56), type_=Type(INK, 11, "bold"))
                _key(axes, any(c.side == "one vendor" for p in panels for c in p.curves))
        label = f"{heading}. Measured and simulated: {'; '.join(panel.title for panel in panels)}."
        svg = to_svg(figure, name=name, label=label)
    return svg.replace("<svg ", '<svg font-family="system-ui, sans-serif" ', 1) + "\n"


def _draw(axes: "Axes", panel: Panel, span: tuple[float, float] | None) -> None:
    if panel.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    for curve in panel.curves:
        color, dashes, width = _LINES[curve.side]
        axes.plot(curve.x, curve.y, color=color, linestyle=dashes, linewidth=width)
        if curve.named_at:
            _name(axes, curve.side, *curve.named_at)
    if span:
        axes.set_xlim(*span)
    axes.set_ylim(-0.02, 1.02)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "25", "50", "75", "100 %"])
    axes.grid(visible=True)
    axes.minorticks_off()
    axes.set_xlabel(panel.below)
    note(axes, panel.title, at=(0, 1.0), by=(0, 13), type_=Type(INK, 9, "bold"))


def _span(panels: Sequence[Panel], below: str) -> tuple[float, float] | None:
    """Return the common limits of logarithmic panels over the same quantity, with room for a name on either side."""
    ends = [
        end
        for p in panels
        if p.log and p.below == below
        for c in p.curves
        if len(c.x)
        for end in (c.x[0], c.x[-1])
    ]
    return (min(ends) / 6, max(ends) * 2) if ends else None


def _name(axes: "Axes", side: Side, x: float, y: float, edge: Literal["left", "right"]) -> None:
    """Write which side a curve is of, on the side where the other is not."""
    axes.annotate(
        side,
        (x, y),
        (-6, 0) if edge == "right" else (6, 0),
        textcoords="offset points",
        ha=edge,
        va="center",
        color=_LINES[side][0],
        size=8.5,
        weight="bold",
        annotation_clip=False,
    )


def _key(axes: "Axes", vendors: bool) -> None:
    told = "solid: measured; dashed: simulated" + ("; dotted: measured, each vendor" if vendors else "")
    note(axes, told, at=(0, 1.0), by=(-LEFT_PT + 4, 39), type_=Type(MUTED, 8.5))
