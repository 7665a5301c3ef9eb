"""What axe-core finds in the pages that people read: nothing, light or dark, wide or narrow."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import Tab, Window, tab
from test_day import DAY

from evaluation import report
from evaluation.day import write_page
from evaluation.domain import read_domain
from evaluation.score_page import to_html
from evaluation.selection import doors
from serving.score_examples import SCORE
from training import run
from training.experiment import Experiment, TreeSettings

pytestmark = pytest.mark.services

WINDOWS = [Window(width, dark) for width in (1280, 390) for dark in (False, True)]
SEEN_AS = "[innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]"


def _of_training(fleet: Any, _: Path) -> Path:
    trees = TreeSettings(rounds=10, learning_rate=0.3, min_data_in_leaf=2)
    return report.judge(run.fit(Experiment(name="seen", window="session", trees=trees), fleet.workspace))


def _of_selection(_: Any, folder: Path) -> Path:
    """A selection with a warning, a veto, a threshold, a copy and dropped columns: every part of the page."""
    rng = np.random.default_rng(0)
    load, queue, *noise = rng.normal(size=(5, 600))
    delay = load + 1.2 * (queue > 0.5) + rng.normal(size=600)
    columns = {"load": load, "load_copy": load + 0.1 * noise[0], "queue": queue, "noise": noise[1]}
    frame = pd.DataFrame({**columns, "leak": delay + 0.1 * noise[2], "still": 1.0, "delay": delay})
    frame.to_csv(folder / "rows.csv", index=False)
    said = "author: ann, reason: <known>, date: 2026-03-01"
    expert = folder / "expert.yaml"
    expert.write_text(
        f"statements:\n- {{indicator: noise, keep: false, {said}}}\n"
        f"- {{indicator: load, direction: falling, {said}}}\n",
        encoding="utf-8",
    )
    place = doors.Place(folder, folder / "selection")
    doors.of_table(folder / "rows.csv", doors.Request("delay"), place, experts=expert)
    return folder / "selection" / "report.html"


def _of_day(_: Any, folder: Path) -> Path:
    write_page(DAY, folder / "day.html", simulated=True)
    return folder / "day.html"


def _of_score(_: Any, folder: Path) -> Path:
    (folder / "score.html").write_text(to_html(SCORE, read_domain()), encoding="utf-8")
    return folder / "score.html"


PAGES = [_of_training, _of_selection, _of_day, _of_score]


@pytest.fixture(scope="module", params=PAGES, ids=lambda make: make.__name__)
def page(request: pytest.FixtureRequest, fleet: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of the pages, as its command writes it."""
    made: Path = request.param(fleet, tmp_path_factory.mktemp("page"))
    return made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with tab(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("window", WINDOWS, ids=lambda w: f"{w.width}{'dark' if w.dark else 'light'}")
def test_axe_finds_nothing(page: Path, browser: Tab, window: Window) -> None:
    browser.show(page, window)
    assert browser.evaluate(SEEN_AS) == [window.width, window.dark]
    told = [f"{one['impact']} {one['id']} at {one['at'][:3]}: {one['why']}" for one in browser.axe()]
    assert not told, "\n".join(told)


@pytest.mark.parametrize("window", WINDOWS, ids=lambda w: f"{w.width}{'dark' if w.dark else 'light'}")
def test_no_page_is_wider_than_its_window(page: Path, browser: Tab, window: Window) -> None:
    browser.show(page, window)
    assert browser.evaluate("document.documentElement.scrollWidth") <= window.width


def test_axe_sees_a_fault_where_one_is(page: Path, browser: Tab) -> None:
    browser.show(page, WINDOWS[0])
    faint = "<p style='color: #999; background: #aaa'>faint</p>"
    browser.evaluate(f'document.querySelector("main").insertAdjacentHTML("beforeend", "{faint}")')
    found = browser.axe()
    assert [(one["id"], one["impact"]) for one in found] == [("color-contrast", "serious")]
