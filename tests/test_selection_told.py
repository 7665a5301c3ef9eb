"""What a selection tells of itself: names as they are, each step as it begins, and what experts keep."""

import logging
import re
from datetime import date

import numpy as np
import pandas as pd
import pytest

from evaluation.selection import groups, page, record
from evaluation.selection.expert import Experts, Statement
from evaluation.selection.procedure import Selection, Settings, select
from evaluation.selection.ranks import score
from evaluation.selection.screening import Screen
from evaluation.selection.study import Roles, read_study

ROWS = 200
TARGET = "bk_unlock_delay"


def _table() -> pd.DataFrame:
    """A delay that rises with load and falls with signal; a copy of the load, and noise."""
    rng = np.random.default_rng(0)
    load, signal, noise = rng.normal(size=(3, ROWS))
    copy = load + 0.05 * rng.normal(size=ROWS)
    delay = load - signal + 0.7 * rng.normal(size=ROWS)
    return pd.DataFrame({"load_1": load, "load_2": copy, "signal": signal, "noise_1": noise, TARGET: delay})


def _selected(frame: pd.DataFrame, experts: Experts | None = None) -> Selection:
    target = str(frame.columns[-1])
    study = read_study(frame, Roles(target), table="t")
    return select(study, Settings(subsamples=2), experts or Experts())


def _kept(*names: str) -> Experts:
    said = {"author": "A. Field", "reason": "drive test", "date": date(2026, 11, 1)}
    return Experts(statements=tuple(Statement(indicator=name, keep=True, **said) for name in names))


@pytest.fixture(scope="module")
def plain() -> Selection:
    return _selected(_table())


def test_a_target_is_named_as_it_is_in_page_and_text(plain: Selection):
    summary = record.summarize(plain, table="t", meanings={}, simulated=False)
    headline = "2 of 4 indicators explain bk_unlock_delay"
    assert page.headline(summary) == headline
    assert page.to_markdown(summary).splitlines()[0] == f"# {headline}"
    html = page.to_html(summary)
    assert f"<h1>{headline}</h1>" in html and f"<title>{headline}</title>" in html
    for text in (html, page.to_markdown(summary)):
        assert "unlock delay" not in text and "load 1" not in text and "noise 1" not in text


@pytest.mark.parametrize(
    ("name", "shown"),
    [("_delay_", "`_delay_`"), ("<b>x", "`<b>x`"), ("a *b*", "`a *b*`"), ("delay.p95", "delay.p95")],
)
def test_a_target_that_markdown_would_read_as_marks_stands_as_code(plain: Selection, name: str, shown: str):
    summary = record.summarize(plain, table="t", meanings={}, simulated=False)
    summary["target"]["name"] = name
    assert page.to_markdown(summary).splitlines()[0].endswith(f" explain {shown}")


def test_marks_in_names_within_sentences_are_escaped_and_underscores_inside_a_name_are_not(plain: Selection):
    summary = record.summarize(plain, table="t", meanings={}, simulated=False)
    summary["dropped"][0]["detail"] = "goes with _a_ and bk_unlock_delay, <b> and *c*"
    lines = page.to_markdown(summary).splitlines()
    assert any(r"goes with \_a\_ and bk_unlock_delay, \<b> and \*c\* |" in line for line in lines)


def test_by_which_rule_so_few_suffice_is_told(plain: Selection):
    summary = record.summarize(plain, table="t", meanings={}, simulated=False)
    within = "come within one standard error, or a hundredth, of the best score"
    assert summary["within_error"] == len(summary["minimal"]) == 2
    assert f"2 of the 2 selected {within}:" in page.to_html(summary)
    small = "a third of the usable columns, lose no more than three hundredths of the best score"
    assert page.suffice({**summary, "within_error": 3}) == f"3 of the 2 selected {within}; 2, {small}"


def test_each_step_is_told_as_it_begins(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="evaluation")
    _selected(_table())
    told = [one.getMessage() for one in caplog.records if one.name == "evaluation.selection.procedure"]
    steps = [
        "quality",
        "how many rounds",
        "screening of 4",
        "screening of 2 subsamples",
        "SHAP",
        "score against",
    ]
    found = [next(place for place, line in enumerate(told) if re.search(step, line)) for step in steps]
    assert found == sorted(found)
    assert told[0] == "selection: quality of 4 columns in 200 rows"


def test_a_kept_column_stands_for_itself_though_its_copy_could_as_well():
    frame = _table()
    frame.loc[::5, "load_1"] = np.nan  # of two that tell the same, the one with fewer holes is elected
    without, kept = (set(_selected(frame, experts).selected) for experts in (Experts(), _kept("load_1")))
    assert (without, kept) == ({1, 2}, {0, 2})


def test_what_experts_keep_is_kept_in_each_fold_too():
    """A fold elects by `groups.elect` from its own rows, where noise is never chosen by them."""
    study = read_study(_table(), Roles(TARGET), table="t")
    for rows in (np.arange(0, ROWS, 2), np.arange(1, ROWS, 2)):
        part, own = study.rows(rows), score(study.X).rows(rows)
        screen = Screen(part, candidates=range(4), scores=own)
        alike = groups.likeness(own, "spearman")
        found, screened = groups.elect(screen, screen.run(), alike, study.names, _kept("noise_1"))
        assert 3 in screened.columns and 3 in [group.representative for group in found]
