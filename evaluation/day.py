"""A picture of some days of one place: a KQI, the indicators below it, and the faults that were there."""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from markupsafe import Markup

from evaluation import pages
from evaluation.svg import INK, OURS, WIDTH_PT, WRONG, Type, axes_at, drawing, text_width, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_PT, GAP_PT, TOP_PT, BOTTOM_PT, LEFT_PT, RIGHT_PT = 84.0, 22.0, 14.0, 22.0, 40.0, 14.0
NARROW_PT = 270.0  # of the picture for a telephone: 360 CSS pixels, so that 9 pt are 12 px there too
_LABEL_PT, _LABEL_SIZE_PT, _APART_PT = 11.0, 8.0, 8.0  # of the names of faults: line, letters, gap
_TITLE_PT, _TITLE_SIZE_PT = 12.0, 9.0  # of the names of panels: line, letters
_PT_PER_TICK = 54.0
_MOMENT = pd.Timedelta("1us")  # a window that ends at midnight is of the day before
_FAULT = "#fdeee6"  # a paler WRONG
_HEALTHY = "#cfe1f1"  # a paler OURS
_LEGEND = (
    ("line", "a value, at the end of its window; no point and no line where there was no evidence"),
    ("fault", "while a fault was there"),
    ("healthy", "the healthy range of an indicator: where most places are in most hours"),
)


@dataclass(frozen=True)
class Panel:
    """One curve. values: on a UTC time index, empty where there was no evidence. healthy: its usual range."""

    title: str
    unit: str
    values: "pd.Series[float]"
    healthy: tuple[float, float] | None = None


@dataclass(frozen=True)
class Fault:
    """What was wrong where, from onset until end."""

    name: str
    onset: pd.Timestamp
    end: pd.Timestamp


@dataclass(frozen=True)
class Page:
    """What a page tells. heading: what happened where. told: sentences on what is seen. panels: the KQI first."""

    heading: str
    told: tuple[str, ...]
    panels: tuple[Panel, ...]
    faults: tuple[Fault, ...] = ()


def picture(page: Page, *, simulated: bool, width_pt: float = WIDTH_PT) -> str:
    """Return the days as one SVG, which a page may hold as it is. Raises ValueError without a value.

    width_pt: names take as many lines as they need in it, so that all of them are in view.
    """
    span, inner = _span(page.panels), width_pt - LEFT_PT - RIGHT_PT
    names = _stacked(page.faults, span, inner)
    titles = [_lines(_titled(panel), width_pt, _TITLE_SIZE_PT, bold=True) for panel in page.panels]
    top = TOP_PT + _LABEL_PT * max((name.line + len(name.words) for name in names), default=0)
    height = top + BOTTOM_PT + sum(len(title) * _TITLE_PT + PANEL_PT + GAP_PT for title in titles)
    with drawing(height, width_pt=width_pt) as figure:
        for panel, title in zip(page.panels, titles, strict=True):
            top += len(title) * _TITLE_PT
            axes = axes_at(figure, left=LEFT_PT, top=top, right=RIGHT_PT, bottom=height - top - PANEL_PT)
            _draw(axes, panel, page.faults, span)
            _write_title(axes, title, narrow=width_pt < WIDTH_PT)
            axes.tick_params(labelbottom=panel is page.panels[-1])
            if panel is page.panels[0]:
                _name(axes, names, above=len(title) * _TITLE_PT)
            top += PANEL_PT + GAP_PT
        days = dict.fromkeys(f"{time:%-d %B %Y}" for time in (span[0], span[1] - _MOMENT))
        axes.set_xlabel(f"{' to '.join(days)}, UTC", loc="right")
        return to_svg(figure, name=f"day{width_pt:.0f}", label=spoken(page, simulated=simulated))


def _span(panels: Sequence[Panel]) -> tuple[pd.Timestamp, pd.Timestamp]:
    times = pd.DatetimeIndex([time for panel in panels for time in panel.values.dropna().index])
    if times.empty:
        raise ValueError(f"a picture needs a value, but none of {[panel.title for panel in panels]} has one")
    return times.min(), times.max()


@dataclass(frozen=True)
class _Name:
    """Where the name of a fault stands: left in points from the axes, the line of its last words, 0 the lowest."""

    words: tuple[str, ...]
    left: float
    line: int


def _stacked(
    faults: Sequence[Fault], span: tuple[pd.Timestamp, pd.Timestamp], width_pt: float
) -> list[_Name]:
    """Return where the name of each fault stands: none overprints another or leaves the picture."""
    ends, names = defaultdict[int, float](lambda: -_APART_PT), list[_Name]()
    for fault in sorted(faults, key=lambda one: one.onset):
        share = (max(fault.onset, span[0]) - span[0]) / max(span[1] - span[0], _MOMENT)
        words = _lines(fault.name, width_pt, _LABEL_SIZE_PT)
        long = max(text_width(line, _LABEL_SIZE_PT) for line in words)
        left = max(min(share * width_pt, width_pt - long), 0.0)
        free = (
            line
            for line in itertools.count()
            if all(ends[line + step] + _APART_PT <= left for step in range(len(words)))
        )
        names.append(_Name(words, left, line := next(free)))
        ends.update((line + step, left + long) for step in range(len(words)))
    return names


def _lines(text: str, width_pt: float, size_pt: float, *, bold: bool = False) -> tuple[str, ...]:
    """Return the words of a text in as few lines as that width allows; a word is never cut."""
    scale, lines = (1.15 if bold else 1.0), [""]  # bold letters are wider by about so much
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and scale * text_width(longer, size_pt) > width_pt:
            lines.append(word)
        else:
            lines[-1] = longer
    return tuple(lines)


def _titled(panel: Panel) -> str:
    return f"{panel.title}, {panel.unit.replace('_', ' ')}"


def spoken(page: Page, *, simulated: bool) -> str:
    """Return what the picture shows, for a reader who cannot see it."""
    curves = [
        f"{panel.title}: {panel.values.min():.4g} to {panel.values.max():.4g} {panel.unit}"
        for panel in page.panels
    ]
    spans = [f"{fault.name} from {fault.onset:%F %H:%M} to {fault.end:%F %H:%M} UTC" for fault in page.faults]
    told = f"{page.heading}{', simulated' if simulated else ''}. {'; '.join(curves)}."
    return f"{told} Faults: {'; '.join(spans) or 'none'}."


def write_page(page: Page, out: Path, *, simulated: bool) -> None:
    """Write a page of its own, with one picture for a desk and one for a telephone; nothing is loaded or run."""
    drawn = {
        name: Markup(picture(page, simulated=simulated, width_pt=width))
        for name, width in (("wide", WIDTH_PT), ("narrow", NARROW_PT))
    }
    colors = {"value": OURS, "edge": WRONG, "fault": _FAULT, "healthy": _HEALTHY}
    text = pages.template("day.html", {}).render(
        heading=page.heading, told=page.told, simulated=simulated, legend=_LEGEND, colors=colors, **drawn
    )
    out.write_text(text + "\n", encoding="utf-8")


def _draw(
    axes: "Axes",
    panel: Panel,
    faults: Sequence[Fault],
    span: tuple[pd.Timestamp, pd.Timestamp],
) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    drawn = broken_at_gaps(panel.values)
    for fault in faults:
        onset, end = max(fault.onset, span[0]), min(fault.end, span[1])
        axes.axvspan(_day(onset), _day(end), color=_FAULT, linewidth=0, zorder=0)
        for edge in {fault.onset, fault.end}:
            if span[0] < edge < span[1]:
                axes.axvline(_day(edge), color=WRONG, linewidth=0.7, zorder=0.2)
    if panel.healthy:
        axes.axhspan(*panel.healthy, color=_HEALTHY, linewidth=0, zorder=0.5)
    times = [_day(time) for time in drawn.index]
    axes.plot(times, drawn.to_list(), color=OURS, linewidth=1.4, marker="o", markersize=2, zorder=2)
    axes.set_xlim(_day(span[0]), _day(span[1]))
    axes.margins(y=0.2)
    ticks = int(np.clip(axes.get_window_extent().width / axes.figure.dpi * 72 / _PT_PER_TICK, 3, 9))
    locator = AutoDateLocator(tz="UTC", minticks=2, maxticks=ticks)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, tz="UTC", show_offset=False)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)
    axes.grid(axis="x")


def broken_at_gaps(values: "pd.Series[float]") -> "pd.Series[float]":
    """Return the known values with an empty one wherever a window has none, so that no line is drawn across.

    Its windows are as far apart as most are: where indicators of several lengths share an index, between two values of
    the longer ones lie others that are no gap.
    """
    ordered = values.dropna().sort_index()
    steps = ordered.index[1:] - ordered.index[:-1]
    if not len(steps):
        return ordered
    step = steps.to_series().median()
    missing = ordered.index[:-1][steps > 1.5 * step] + step
    if missing.empty:
        return ordered
    return pd.concat([ordered, pd.Series(float("nan"), missing)]).sort_index()


def _day(time: pd.Timestamp) -> float:
    """Return a time as matplotlib counts it: days since 1970."""
    return time.timestamp() / 86_400


def _write_title(axes: "Axes", title: Sequence[str], *, narrow: bool) -> None:
    """Write the lines of a panel's name above it; in a narrow picture they begin at its edge."""
    look, left = Type(INK, _TITLE_SIZE_PT, "bold"), -LEFT_PT if narrow else 0
    for place, line in enumerate(reversed(title)):
        _above(axes, line, (left, 3 + place * _TITLE_PT), look)


def _name(axes: "Axes", names: Sequence[_Name], *, above: float) -> None:
    """Write the names of the faults above the name of the panel, each from its onset on."""
    for name in names:
        for place, words in enumerate(reversed(name.words)):
            at = (name.left, above + 6 + (name.line + place) * _LABEL_PT)
            _above(axes, words, at, Type(WRONG, _LABEL_SIZE_PT))


def _above(axes: "Axes", text: str, at: tuple[float, float], type_: Type) -> None:
    """Write a line of text with its foot at a place in points from the upper left corner of the axes."""
    axes.annotate(
        text,
        (0, 1),
        at,
        xycoords="axes fraction",
        textcoords="offset points",
        color=type_.color,
        size=type_.size,
        weight=type_.weight,
    )
