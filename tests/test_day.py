"""The picture of a day tells a KQI, its indicators and a fault, also to who cannot see it."""

import re
from pathlib import Path

import pandas as pd
import pytest

from evaluation.day import NARROW_PT, Fault, Page, Panel, broken_at_gaps, picture, write_page
from evaluation.svg import WIDTH_PT, WRONG, text_width

TIMES = pd.date_range("2026-03-02", periods=96, freq="15min", tz="UTC")
LOSS = Panel("GTP-U packet loss", "%", pd.Series(0.02, TIMES).mask(TIMES.hour >= 12, 2.5), healthy=(0, 0.1))
KQI = Panel("Heartbeat continuity", "%", pd.Series(99.0, TIMES).mask(TIMES.hour >= 13, 91.0))
RING = Fault("backhaul ring", TIMES[48], TIMES[80])
DAY = Page("A <day>", ("One & all saw it.",), (KQI, LOSS), (RING,))


def test_a_picture_names_its_curves_and_its_fault_and_says_simulated() -> None:
    svg = picture(DAY, simulated=True)
    for words in ("Heartbeat continuity, %", "GTP-U packet loss, %", "backhaul ring", "2 March 2026, UTC"):
        assert f">{words}<" in svg
    assert "Heartbeat continuity: 91 to 99 %" in svg
    assert "backhaul ring from 2026-03-02 12:00 to 2026-03-02 20:00 UTC" in svg
    assert "A &lt;day&gt;, simulated. " in svg


def test_a_page_says_what_it_shows_and_loads_and_runs_nothing(tmp_path: Path) -> None:
    write_page(DAY, tmp_path / "day.html", simulated=True)
    page = (tmp_path / "day.html").read_text(encoding="utf-8")
    assert "<h1>A &lt;day&gt; (simulated)</h1>" in page
    assert "One &amp; all saw it." in page
    assert [word in page for word in ("while a fault was there", "the healthy range")] == [True, True]
    assert "http" not in page.replace("http://www.w3.org", "").replace("http-equiv", "")
    assert "<script" not in page


def test_the_same_day_gives_the_same_bytes() -> None:
    assert picture(DAY, simulated=False) == picture(DAY, simulated=False)


def test_a_line_is_not_drawn_across_windows_without_a_value() -> None:
    told = pd.Series([1.0, 2.0, 3.0, 4.0], TIMES[[0, 1, 4, 5]])
    drawn = broken_at_gaps(told)
    assert drawn.index[drawn.isna()].tolist() == [TIMES[2]]
    assert drawn.dropna().equals(told)
    empty = told.reindex(TIMES[:6])
    assert broken_at_gaps(empty).equals(drawn)
    whole = pd.Series(range(6), TIMES[:6])
    assert broken_at_gaps(whole).equals(whole)
    hourly = pd.Series(1.0, TIMES[::4]).reindex(TIMES)
    assert broken_at_gaps(hourly).notna().all()


def name_boxes(svg: str, *names: str) -> list[tuple[float, float]]:
    """Return where the texts of an SVG begin: x and y in points."""
    found = []
    for name in names:
        (place,) = re.findall(rf'<text[^>]* x="([0-9.-]+)" y="([0-9.-]+)"[^>]*>{name}<', svg)
        found.append((float(place[0]), float(place[1])))
    return found


@pytest.mark.parametrize("width_pt", [WIDTH_PT, NARROW_PT])
def test_names_of_faults_at_one_time_stand_one_above_the_other_and_within_the_picture(
    width_pt: float,
) -> None:
    other = Fault("a second ring with a long name", TIMES[50], TIMES[60])
    late = Fault("a fault of the last quarter of an hour", TIMES[94], TIMES[95])
    svg = picture(Page("a day", (), (KQI,), (late, other, RING)), simulated=False, width_pt=width_pt)
    (_, ring), (_, second), (x, _) = name_boxes(svg, RING.name, other.name, late.name)
    assert ring - second >= 8  # letters of 8 points
    assert x + text_width(late.name, 8) <= width_pt
    alone = picture(Page("a day", (), (KQI,), (RING,)), simulated=False, width_pt=width_pt)
    assert alone.count(WRONG) >= 3  # its name, onset and end


def test_on_a_telephone_long_names_take_several_lines_and_all_are_in_view() -> None:
    long = "Device side round trip time seen at the SGi probe, 95th percentile"
    ring = Fault("Downlink interference (overlap, pilot pollution, in-band neighbour)", TIMES[90], TIMES[95])
    page = Page("a day", (), (Panel(long, "per_100_ms", LOSS.values),), (ring,))
    svg = picture(page, simulated=False, width_pt=NARROW_PT)
    told = [
        (float(x), text)
        for look, x, text in re.findall(r'<text([^>]*) x="([0-9.-]+)" [^>]*>([^<]+)<', svg)
        if "anchor: start" in look  # as names do; the words of an axis do not
    ]
    shown = " ".join(text for _, text in reversed(told))
    assert f"{long}, per 100 ms" in shown
    assert ring.name in shown
    for x, text in told:
        assert x >= -0.01, text
        assert x + text_width(text, 8) <= NARROW_PT, text


def test_curves_without_evidence_are_no_picture() -> None:
    nothing = Panel("Heartbeat continuity", "%", pd.Series(float("nan"), TIMES))
    with pytest.raises(ValueError, match="needs a value, but none of"):
        picture(Page("a day", (), (nothing,)), simulated=False)
