"""The picture of a day tells a KQI, its indicators and a fault, also to who cannot see it."""

from pathlib import Path

import pandas as pd
import pytest

from evaluation.day import Fault, Page, Panel, picture, write_page

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


def test_curves_without_evidence_are_no_picture() -> None:
    nothing = Panel("Heartbeat continuity", "%", pd.Series(float("nan"), TIMES))
    with pytest.raises(ValueError, match="needs a value, but none of"):
        picture("a day", [nothing], [], simulated=False)
