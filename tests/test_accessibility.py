"""What axe-core finds in the pages that people read: nothing, light or dark, wide or narrow."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browser import Tab, Window, tab
from test_day import DAY

from evaluation import mark_page, mark_report, mark_rules, report
from evaluation.day import write_page
from evaluation.domain import read_domain
from evaluation.score_page import to_html
from evaluation.selection import doors
from features import known
from serving.score_examples import SCORE
from training import mark_models, run
from training.experiment import Experiment, TreeSettings
from training.mark_experiment import MarkExperiment
from training.mark_models import Lesson

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


def _of_marks(_: Any, folder: Path) -> Path:
    """Marks told by rule and model, of which experts labelled some devices, and one that could not be learnt."""
    told = mark_rules.read()
    size, names = 80, [one.id for one in told.marks if one.source != "rule"]
    deep = np.arange(size) % 2 == 0
    frame = pd.DataFrame(
        {"device_id": [f"d{n}" for n in range(size)], "ul_bler": deep * 9.0 + np.arange(size) / 80}
    )
    labels = pd.DataFrame(np.nan, frame.index, names).assign(static=deep * 1.0, sleepy=deep * 1.0)
    expert = pd.DataFrame(False, frame.index, names).assign(sleepy=np.arange(size) < 20)
    lesson = Lesson(
        frame, labels, expert, {}, "marks-x", pd.Timestamp("2026-03-06", tz="UTC"), simulated=True
    )
    models = mark_models.fit(MarkExperiment(task="user_marking", name="seen"), lesson)
    summary = mark_report.summarize(models, lesson, told, columns=known.columns())
    (folder / "marks.html").write_text(mark_page.to_html(summary), encoding="utf-8")
    return folder / "marks.html"


PAGES = [_of_training, _of_selection, _of_day, _of_score, _of_marks]


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
