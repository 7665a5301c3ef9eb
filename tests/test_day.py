"""The picture of a day tells a KQI, its indicators and a fault, also to who cannot see it."""

import re
from pathlib import Path

import pandas as pd
import pytest

from evaluation.day import Fault, Page, Panel, broken_at_gaps, picture, place_of, write_page
from evaluation.svg import WIDTH_PT, WRONG, text_width

TIMES = pd.date_range("2026-03-02", periods=96, freq="15min", tz="UTC")
LOSS = Panel("GTP-U packet loss", "%", pd.Series(0.02, TIMES).mask(TIMES.hour >= 12, 2.5), healthy=(0, 0.1))
KQI = Panel("Heartbeat continuity", "%", pd.Series(99.0, TIMES).mask(TIMES.hour >= 13, 91.0))
RING = Fault("backhaul ring", TIMES[48], TIMES[80])


def test_a_picture_names_its_curves_and_its_fault_and_says_simulated(tmp_path: Path) -> None:
    svg = picture("tac-3, 2 March 2026", [KQI, LOSS], [RING], simulated=True)
    for word in (
        "Heartbeat continuity",
        "GTP-U packet loss",
        "backhaul ring",
        "2 March 2026, UTC",
    ):
        assert f">{word}<" in svg
    assert "Heartbeat continuity: 91 to 99 %" in svg
    assert "backhaul ring from 2026-03-02 12:00 to 2026-03-02 20:00 UTC" in svg
    write_page(Page("A <day>", ("One & all saw it.",), svg), tmp_path / "day.html", simulated=True)
    page = (tmp_path / "day.html").read_text(encoding="utf-8")
    assert "<h1>A &lt;day&gt; (simulated)</h1>\n<p>One &amp; all saw it.</p>" in page
    assert [word in page for word in ("while a fault was there", "the healthy range")] == [True, True]
    assert "http" not in page.replace("http://www.w3.org", "")


def test_the_same_day_gives_the_same_bytes() -> None:
    assert picture("a day", [KQI], [RING], simulated=False) == picture(
        "a day", [KQI], [RING], simulated=False
    )


def test_a_line_is_not_drawn_across_windows_without_a_value() -> None:
    told = pd.Series([1.0, 2.0, 3.0, 4.0], TIMES[[0, 1, 4, 5]])
    drawn = broken_at_gaps(told)
    assert drawn.index[drawn.isna()].tolist() == [TIMES[2]]
    assert drawn.dropna().equals(told)
    empty = told.reindex(TIMES[:6])
    assert broken_at_gaps(empty).equals(drawn)
    hourly = pd.Series(1.0, TIMES[::4]).reindex(TIMES)
    assert broken_at_gaps(hourly).notna().all()


def name_boxes(svg: str, *names: str) -> list[tuple[float, float]]:
    """Return where the texts of an SVG begin: x and y in points."""
    found = []
    for name in names:
        (place,) = re.findall(rf'<text[^>]* x="([0-9.-]+)" y="([0-9.-]+)"[^>]*>{name}<', svg)
        found.append((float(place[0]), float(place[1])))
    return found


def test_names_of_faults_at_one_time_stand_one_above_the_other_and_within_the_picture() -> None:
    other = Fault("a second ring with a long name", TIMES[50], TIMES[60])
    late = Fault("a fault of the last quarter of an hour", TIMES[94], TIMES[95])
    svg = picture("a day", [KQI], [late, other, RING], simulated=False)
    (_, ring), (_, second), (x, _) = name_boxes(svg, RING.name, other.name, late.name)
    assert ring - second >= 8  # letters of 8 points
    assert x + text_width(late.name, 8) <= WIDTH_PT
    assert picture("a day", [KQI], [RING], simulated=False).count(WRONG) >= 3  # its name, onset and end


def test_a_narrow_window_stands_at_the_fault_first(tmp_path: Path) -> None:
    assert place_of(TIMES[0], [KQI]) == pytest.approx(40 / 720)
    assert place_of(TIMES[95], [KQI]) == pytest.approx(706 / 720)
    write_page(Page("A day", (), "<svg/>", look_at=0.625), tmp_path / "day.html", simulated=True)
    assert "scrollLeft = 0.625 * wide.scrollWidth" in (tmp_path / "day.html").read_text()


def test_curves_without_evidence_are_no_picture() -> None:
    nothing = Panel("Heartbeat continuity", "%", pd.Series(float("nan"), TIMES))
    with pytest.raises(ValueError, match="needs a value, but none of"):
        picture("a day", [nothing], [], simulated=False)
