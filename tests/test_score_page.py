"""The page of a score: what it says first, and that it says what is unknown and simulated."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evaluation.domain import Domain, read_domain
from evaluation.score_page import read_answer, to_html
from serving.cli import app
from serving.score_examples import SCORE


@pytest.fixture(scope="module")
def domain() -> Domain:
    return read_domain()


def answer(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(SCORE) | changes


def test_the_headline_names_score_step_and_indicator(domain: Domain) -> None:
    page = to_html(answer(device_id="phone-7"), domain)
    assert "<h1>phone-7 scores 45 of 100; most is lost in “segment loop” (vd_play)" in page
    assert "Downlink session throughput" in page and "1.9 Mbit/s" in page


def test_too_little_evidence_is_said_in_place_of_a_score(domain: Domain) -> None:
    page = to_html(answer(score=None, status="insufficient evidence", low=3.0, high=91.0), domain)
    assert "too little is known for a score; it lies between 3 and 91" in page


@pytest.mark.parametrize(("simulated", "shown"), [(True, True), (False, False)])
def test_a_simulated_score_says_so_beside_every_number(domain: Domain, simulated: bool, shown: bool) -> None:
    page = to_html(answer(simulated=simulated), domain)
    assert ('<span class="badge">simulated</span>' in page) is shown
    assert page.count("<b>simulated</b>") == (5 if shown else 0)


def test_a_device_scored_as_another_service_is_told_so_on_the_page(domain: Domain) -> None:
    warning = "MEMBERSHIP says that 'a' runs smoke_sensor, but it was scored as video, as asked"
    assert "runs smoke_sensor, but it was scored as video" in to_html(answer(warning=warning), domain)
    old = answer()
    del old["warning"]  # of a release before
    assert "MEMBERSHIP" not in to_html(old, domain)


def test_an_answer_of_another_configuration_names_what_is_not_known_here(domain: Domain) -> None:
    one = answer()["indicators"][0] | {"indicator": "wm_leak_alarm_ratio"}
    with pytest.raises(LookupError, match="but wm_leak_alarm_ratio are not; name the workspace"):
        to_html(answer(indicators=[one]), domain)


def test_steps_of_an_answer_say_how_much_of_them_is_known(domain: Domain) -> None:
    """The example knows three quarters of its process; an answer of before steps had a coverage is drawn too."""
    assert to_html(answer(), domain).count("75 % known") == 2
    old = answer()
    for process in old["processes"]:
        del process["coverage"]
        for step in process["steps"]:
            del step["coverage"]
    assert "75 % known" not in to_html(old, domain)


def test_what_a_client_sent_is_no_markup(domain: Domain) -> None:
    assert "<script>" not in to_html(answer(device_id="<script>alert(1)</script>"), domain)


def test_the_command_draws_an_answer_and_refuses_what_is_none(tmp_path: Path) -> None:
    (tmp_path / "answer.json").write_text(json.dumps(SCORE))
    done = CliRunner().invoke(
        app, ["score-page", str(tmp_path / "answer.json"), "-o", str(tmp_path / "s.html")]
    )
    assert done.exit_code == 0 and (tmp_path / "s.html").read_text().startswith("<!doctype html>")
    for text, rule in (
        ("[]", "is no object"),
        ('{"service": "video"}', "lacks score, low"),
        ("{", "must be JSON"),
    ):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(ValueError, match=rule):
            read_answer(tmp_path / "other.json")
