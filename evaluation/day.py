"""A picture of some days of one place: a KQI, the indicators below it, and the faults that were there."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from evaluation.svg import INK, MUTED, OURS, WIDTH_PT, WRONG, Type, axes_at, drawing, note, text_width, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_PT, GAP_PT, TOP_PT, BOTTOM_PT, LEFT_PT, RIGHT_PT = 84.0, 34.0, 14.0, 22.0, 40.0, 14.0
_LABEL_PT, _LABEL_SIZE_PT, _APART_PT = 11.0, 8.0, 8.0  # of the names of faults: line, letters, gap
_MOMENT = pd.Timedelta("1us")  # a window that ends at midnight is of the day before
_FAULT = "#fdeee6"  # a paler WRONG
_HEALTHY = "#cfe1f1"  # a paler OURS
_STYLE = f"""
body {{ font: 16px/1.5 system-ui, sans-serif; color: {INK}; margin: 0 auto; max-width: 960px; padding: 1.5rem 1rem; }}
h1 {{ font-size: 1.5rem; line-height: 1.2; margin: 0 0 .75rem; }}
p {{ margin: 0 0 .75rem; max-width: 46em; }}
.wide {{ overflow-x: auto; }} svg {{ display: block; width: 100%; min-width: 860px; }}
ul {{ list-style: none; margin: .75rem 0 0; padding: 0; color: {MUTED}; font-size: .875rem; }}
i {{ display: inline-block; width: 1.25rem; height: .75rem; margin-right: .5rem; }}
i.line {{ height: 0; border-top: 2px solid {OURS}; vertical-align: middle; }}
.narrow {{ display: none; color: {MUTED}; font-size: .875rem; }}
@media (max-width: 880px) {{ .narrow {{ display: block; }} }}
.fault {{ background: {_FAULT}; border-left: 1px solid {WRONG}; }} .healthy {{ background: {_HEALTHY}; }}
"""
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
    """What a page tells. heading: what happened where. told: sentences on what is seen. svg: of `picture`.

    look_at: where a window too narrow for the picture stands first, as a share of its width: `place_of` the fault.
    """

    heading: str
    told: tuple[str, ...]
    svg: str
    look_at: float = 0.0


def picture(heading: str, panels: Sequence[Panel], faults: Sequence[Fault], *, simulated: bool) -> str:
    """Return the days as one SVG, the KQI first; a page may hold it as it is. Raises ValueError without a value.

    heading: of the page around it, told to who cannot see the picture.
    """
    span = _span(panels)
    names = _stacked(faults, span)
    head = TOP_PT + _LABEL_PT * max((line for _, line in names), default=0)
    height = head + BOTTOM_PT + len(panels) * (PANEL_PT + GAP_PT)
    with drawing(height) as figure:
        for place, panel in enumerate(panels):
            top = head + GAP_PT / 2 + place * (PANEL_PT + GAP_PT)
            bottom = height - top - PANEL_PT
            axes = axes_at(figure, left=LEFT_PT, top=top, right=RIGHT_PT, bottom=bottom)
            _draw(axes, panel, faults, span)
            axes.tick_params(labelbottom=place == len(panels) - 1)
            if place == 0:
                _name(axes, faults, names)
        days = dict.fromkeys(f"{time:%-d %B %Y}" for time in (span[0], span[1] - _MOMENT))
        axes.set_xlabel(f"{' to '.join(days)}, UTC", loc="right")
        return to_svg(figure, name="day", label=spoken(heading, panels, faults, simulated=simulated))


def place_of(moment: pd.Timestamp, panels: Sequence[Panel]) -> float:
    """Return where a moment stands in the picture, as a share of its width."""
    first, last = _span(panels)
    share = min(max((moment - first) / max(last - first, _MOMENT), 0.0), 1.0)
    return (LEFT_PT + share * (WIDTH_PT - LEFT_PT - RIGHT_PT)) / WIDTH_PT


def _span(panels: Sequence[Panel]) -> tuple[pd.Timestamp, pd.Timestamp]:
    times = pd.DatetimeIndex([time for panel in panels for time in panel.values.dropna().index])
    if times.empty:
        raise ValueError(f"a picture needs a value, but none of {[panel.title for panel in panels]} has one")
    return times.min(), times.max()


def _stacked(faults: Sequence[Fault], span: tuple[pd.Timestamp, pd.Timestamp]) -> list[tuple[float, int]]:
    """Return where the name of each fault begins, in points from the axes, and on which line, 0 the lowest.

    No name overprints another or leaves the picture.
    """
    width, free, places = WIDTH_PT - LEFT_PT - RIGHT_PT, list[float](), list[tuple[float, int]]()
    for fault in sorted(faults, key=lambda one: one.onset):
        share = (max(fault.onset, span[0]) - span[0]) / max(span[1] - span[0], _MOMENT)
        long = text_width(fault.name, _LABEL_SIZE_PT)
        left = max(min(share * width, width - long), 0.0)
        line = next((number for number, end in enumerate(free) if end + _APART_PT <= left), len(free))
        free[line : line + 1] = [left + long]
        places.append((left, line))
    return places


def spoken(heading: str, panels: Sequence[Panel], faults: Sequence[Fault], *, simulated: bool) -> str:
    """Return what the picture shows, for a reader who cannot see it."""
    curves = [
        f"{panel.title}: {panel.values.min():.4g} to {panel.values.max():.4g} {panel.unit}"
        for panel in panels
    ]
    spans = [f"{fault.name} from {fault.onset:%F %H:%M} to {fault.end:%F %H:%M} UTC" for fault in faults]
    told = f"{heading}{', simulated' if simulated else ''}. {'; '.join(curves)}."
    return f"{told} Faults: {'; '.join(spans) or 'none'}."


def write_page(page: Page, out: Path, *, simulated: bool) -> None:
    """Write a page of its own around a picture, to be read on a phone too; nothing is loaded from elsewhere."""
    heading = html.escape(f"{page.heading} (simulated)" if simulated else page.heading)
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{heading}</title>'
    )
    told = "\n".join(f"<p>{html.escape(sentence)}</p>" for sentence in page.told)
    legend = "\n".join(f'<li><i class="{name}"></i>{words}</li>' for name, words in _LEGEND)
    out.write_text(
        f'<!doctype html>\n<html lang="en"><head>{head}<style>{_STYLE}</style></head>\n<body>'
        f'<h1>{heading}</h1>\n{told}\n<p class="narrow">The picture is wider than this window: push it sideways.</p>\n'
        f'<div class="wide" tabindex="0">{page.svg}</div>\n<ul>{legend}</ul>\n'
        f"<script>const wide = document.querySelector('.wide');"
        f" wide.scrollLeft = {page.look_at:.3f} * wide.scrollWidth - wide.clientWidth / 2;</script></body></html>\n",
        encoding="utf-8",
    )


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
    locator = AutoDateLocator(tz="UTC", maxticks=9)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, tz="UTC", show_offset=False)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(formatter)
    axes.grid(axis="x")
    top = axes.get_ylim()[1]
    note(axes, panel.title, at=(0, top), by=(0, 9), type_=Type(INK, 9, "bold"))
    note(axes, panel.unit, at=(1, top), by=(0, 9), type_=Type(MUTED, 8, edge="right"))


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
    return pd.concat([ordered, pd.Series(float("nan"), missing)]).sort_index()


def _day(time: pd.Timestamp) -> float:
    """Return a time as matplotlib counts it: days since 1970."""
    return time.timestamp() / 86_400


def _name(axes: "Axes", faults: Sequence[Fault], places: Sequence[tuple[float, int]]) -> None:
    """Write the name of each fault over its onset, one above the other where they would meet."""
    for fault, (left, line) in zip(sorted(faults, key=lambda one: one.onset), places, strict=True):
        axes.annotate(
            fault.name,
            (0.0, 1.0),
            (left, 18 + line * _LABEL_PT),
            xycoords="axes fraction",
            textcoords="offset points",
            color=WRONG,
            size=_LABEL_SIZE_PT,
        )
