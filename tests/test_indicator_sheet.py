"""What `iotlens indicators` and its page tell of the indicators that come with the package."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from evaluation import indicator_page
from evaluation.demarcation_rules import find_rules, read_rules
from evaluation.domain import read_domain
from evaluation.indicator_sheet import pick, uses
from features.indicators import read_terminal
from serving.cli import app


def test_where_an_indicator_is_used_is_told_whole() -> None:
    places = {(use.kind, use.where) for use in uses(read_domain(), "rrc_drop_rate")}
    assert ("step", "bike_sharing bk_ride_position") in places
    assert ("KQI", "bike_sharing bk_return_report_success") in places
    assert {kind for kind, _ in places} == {"step", "KQI", "rule", "fault"}
    cited = {atom.metric for rule in read_rules(find_rules()).rules for atom in rule.atoms()}
    assert all(any(use.kind == "rule" for use in uses(read_domain(), metric)) for metric in list(cited)[:5])


def test_the_list_shows_the_55_and_those_of_services_and_the_terminal_ones_when_asked() -> None:
    domain = read_domain()
    assert len(pick(domain)) == 77
    assert [one.id for one in pick(domain, of_domain="terminal")] == [one.id for one in read_terminal()]
    ended = CliRunner().invoke(app, ["indicators", "list"], catch_exceptions=False)
    assert ended.exit_code == 0
    assert ended.stdout.count("\n") == 77


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("show", "rsrp_median"), "no indicator 'rsrp_median'; the nearest is nrsrp_median"),
        (("show", "qqq"), "no indicator 'qqq'; none of the 106 known is like it"),
        (("list", "--domain", "rado"), "no domain 'rado'; the nearest is radio"),
        (("list", "--service", "bike"), "no service 'bike'; the nearest is bike_sharing"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(arguments: tuple[str, ...], told: str) -> None:
    ended = CliRunner().invoke(app, ["indicators", *arguments])
    assert isinstance(ended.exception, LookupError)
    assert str(ended.exception) == told


def test_the_page_is_current() -> None:
    written = Path(__file__).parents[1] / "docs" / "indicators.md"
    assert written.read_text() == indicator_page.page(), (
        "run `python -m evaluation.indicator_page > docs/indicators.md`"
    )
