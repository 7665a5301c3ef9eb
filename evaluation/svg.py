"""A matplotlib figure as SVG that belongs to a page: the reader's own font, and no ids that collide.

Text stays text: sharp, selectable and small. matplotlib lays it out in DejaVu Sans, wider than the sans of
any desktop, so that the narrower letters which the page puts in their place never overlap.
"""

import io
import re
import unicodedata
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, RULE, FAINT = "#1c2733", "#596673", "#cfd6dd", "#eef1f4"
OURS, OTHER, WRONG = "#0b5fa5", "#74808c", "#c2410c"  # blue, grey, orange: apart for every eye, and in print
LONGEST_NAME = 30  # characters of a name on an axis; the tables have it in full
WIDTH_PT = 720.0  # of a full-width figure; the page shows it 960 CSS pixels wide, so that 9 pt are 12 px

_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_STYLE: dict[Any, Any] = {  # Any: matplotlib's settings have each their own type
    "svg.fonttype": "none",
    "text.parse_math": False,  # a $ in the name of a class is a $
    "svg.hashsalt": "iotlens",  # else ids are drawn at random, and two runs differ
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlepad": 10.0,
    "axes.labelsize": 8.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "lines.solid_capstyle": "round",
}


@contextmanager
def drawing(height_pt: float, *, width_pt: float = WIDTH_PT) -> Iterator["Figure"]:
    """Give an empty figure of that size in points, in the report's style whatever the user's own style is."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="(?s)Glyph .* missing from font"
        )  # the reader's browser has it
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield Figure(figsize=(width_pt / 72, height_pt / 72), dpi=72)


def to_svg(figure: "Figure", *, name: str, label: str, tips: Mapping[str, str] | None = None) -> str:
    """Return a figure as an inline <svg>: same drawing, same bytes. Call it inside `drawing`.

    name: unique on the page; prefixes the ids that stay. label: what a person who cannot see it is told.
    tips: text that appears over the artists with that gid.
    """
    raw = io.BytesIO()
    figure.savefig(raw, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ElementTree.fromstring(raw.getvalue())
    for parent in root.iter():
        for child in [c for c in parent if c.tag in (f"{{{_SVG}}}style", f"{{{_SVG}}}metadata")]:
            parent.remove(child)
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', raw.getvalue().decode()))
    for element in root.iter():
        _at_home(element, name=name, used=used, tips=tips or {})
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.attrib.update({"role": "img", "aria-label": label})
    ElementTree.register_namespace("", _SVG)
    return re.sub(r"\s*\n\s*", "\n", ElementTree.tostring(root, encoding="unicode"))


def _at_home(element: ElementTree.Element, *, name: str, used: set[str], tips: Mapping[str, str]) -> None:
    identity = element.attrib.pop("id", "")
    if identity in used:
        element.set("id", f"{name}-{identity}")
    if identity in tips:
        title = ElementTree.Element(f"{{{_SVG}}}title")
        title.text = tips[identity]
        element.insert(0, title)
    if link := element.attrib.pop(_LINK, None):
        element.set("href", link.replace("#", f"#{name}-"))
    if clip := element.get("clip-path"):
        element.set("clip-path", clip.replace("#", f"#{name}-"))
    if style := element.get("style"):
        element.set("style", re.sub(r"font-family: [^;]+;? ?", "", style))


def text_width(text: str, size_pt: float = 9.0) -> float:
    """Return the width of a line of text in points, as matplotlib lays it out; a Chinese letter is as wide as high."""
    from matplotlib.font_manager import findfont, get_font

    font = get_font(findfont("DejaVu Sans"))
    font.set_size(size_pt, 72)
    wide = [letter for letter in text if unicodedata.east_asian_width(letter) in "WF"]
    font.set_text("".join(letter for letter in text if letter not in wide), 0.0)
    return float(font.get_width_height()[0]) / 64 + size_pt * len(wide)  # FreeType counts in 1/64 pixel


def short(name: str, longest: int = LONGEST_NAME) -> str:
    """Return the name, its middle left out where it is long: names often differ at the end."""
    name = " ".join(name.split())
    return name if len(name) <= longest else f"{name[: longest - 12]}…{name[-11:]}"


def axes_at(figure: "Figure", *, left: float, top: float, right: float, bottom: float) -> "Axes":
    """Return axes with these margins, in points, from the edges of the figure."""
    width, height = figure.get_size_inches() * 72
    box = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    return figure.add_axes(box)


def interval(axes: "Axes", share: Mapping[str, float], *, y: float, color: str, marker: str = "o") -> None:
    """Draw a share with its interval, in percent. share: value, low and high, of 1."""
    ends = [100 * share["low"], 100 * share["high"]]
    axes.plot(ends, [y, y], color=color, linewidth=3, alpha=0.35, zorder=2)
    size = 5 if marker == "o" else 4
    axes.plot([100 * share["value"]], [y], marker, color=color, markersize=size, zorder=3)


@dataclass(frozen=True)
class Type:
    """How a note is set: colour, size in points, weight, and which of its edges stands at the point."""

    color: str = INK
    size: float = 8.5
    weight: Literal["normal", "bold"] = "normal"
    edge: Literal["left", "center", "right"] = "left"


def note(axes: "Axes", text: str, *, at: tuple[float, float], by: tuple[float, float], type_: Type) -> None:
    """Write beside the axes: `at` is (share of the width, data height), `by` a step from there in points."""
    axes.annotate(
        text,
        at,
        by,
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        annotation_clip=False,
        va="center",
        ha=type_.edge,
        color=type_.color,
        size=type_.size,
        weight=type_.weight,
    )
