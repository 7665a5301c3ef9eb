"""A picture of some days of one place: a KQI, the indicators below it, and the faults that were there."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from evaluation.svg import INK, MUTED, OURS, WRONG, Type, axes_at, drawing, note, to_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_PT, GAP_PT, TOP_PT, BOTTOM_PT, LEFT_PT, RIGHT_PT = 84.0, 34.0, 14.0, 22.0, 40.0, 14.0
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
    ("line", "a value, at the end of its window; no point where there was no evidence"),
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
    """What a page tells. heading: what happened where. told: sentences on what is seen. svg: of `picture`."""

    heading: str
    told: tuple[str, ...]
    svg: str


def picture(heading: str, panels: Sequence[Panel], faults: Sequence[Fault], *, simulated: bool) -> str:
    """Return the days as one SVG, the KQI first; a page may hold it as it is. Raises ValueError without a value.

    heading: of the page around it, told to who cannot see the picture.
    """
    times = pd.DatetimeIndex([time for panel in panels for time in panel.values.dropna().index])
    if times.empty:
        raise ValueError(f"a picture needs a value, but none of {[panel.title for panel in panels]} has one")
    height = TOP_PT + BOTTOM_PT + len(panels) * (PANEL_PT + GAP_PT)
    with drawing(height) as figure:
        for place, panel in enumerate(panels):
            top = TOP_PT + GAP_PT / 2 + place * (PANEL_PT + GAP_PT)
            bottom = height - top - PANEL_PT
            axes = axes_at(figure, left=LEFT_PT, top=top, right=RIGHT_PT, bottom=bottom)
            _draw(axes, panel, faults, (times.min(), times.max()))
            axes.tick_params(labelbottom=place == len(panels) - 1)
            if place == 0:
                _name(axes, faults, times.min())
        days = dict.fromkeys(f"{time:%-d %B %Y}" for time in (times.min(), times.max() - _MOMENT))
        axes.set_xlabel(f"{' to '.join(days)}, UTC", loc="right")
        return to_svg(figure, name="day", label=spoken(heading, panels, faults, simulated=simulated))


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
        f'<h1>{heading}</h1>\n{told}\n<p class="narrow">The picture goes on to the right: push it.</p>\n'
        f'<div class="wide" tabindex="0">{page.svg}</div>\n<ul>{legend}</ul></body></html>\n',
        encoding="utf-8",
    )


def _draw(
    axes: "Axes",
    panel: Panel,
    faults: Sequence[Fault],
    span: tuple[pd.Timestamp, pd.Timestamp],
) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    known = panel.values.dropna()
    for fault in faults:
        onset, end = max(fault.onset, span[0]), min(fault.end, span[1])
        axes.axvspan(_day(onset), _day(end), color=_FAULT, linewidth=0, zorder=0)
    if panel.healthy:
        axes.axhspan(*panel.healthy, color=_HEALTHY, linewidth=0, zorder=0.5)
    times = [_day(time) for time in known.index]
    axes.plot(times, known.to_list(), color=OURS, linewidth=1.4, marker="o", markersize=2, zorder=2)
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


def _day(time: pd.Timestamp) -> float:
    """Return a time as matplotlib counts it: days since 1970."""
    return time.timestamp() / 86_400


def _name(axes: "Axes", faults: Sequence[Fault], since: pd.Timestamp) -> None:
    """Write the name of each fault over its onset."""
    for fault in faults:
        onset = _day(max(fault.onset, since))
        axes.annotate(
            fault.name,
            (onset, 1.0),
            (0, 18),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=WRONG,
            size=8,
        )
