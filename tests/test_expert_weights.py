"""Weights go into a service file where they stand: the rest of its text stays byte for byte."""

from datetime import date
from pathlib import Path

import pytest
import yaml

from evaluation.process import Kqi, ServiceModel, read_service_files, read_services
from evaluation.selection import weights
from evaluation.selection.service_expert import experts_of

AUDIT = "weights by ann, 2026-03-09, from sel, data 0123"
FILE = """\
id: toy  # the head
kqis:
  - id: one
    target: 98.50   # as agreed
    expert_weights:
      # the radio first
      - {indicator: nrsrp_median, weight: 0.60}  # seen in Beijing
      - {indicator: ul_bler, weight: 0.3}
      - indicator: dns_success_rate
        weight: 0.1   # low
    # of the vendor
    typical_faults: [f_a,
      f_b]
  - id: two
    expert_weights: [{indicator: ul_bler, weight: 1}]
"""


def bike() -> tuple[ServiceModel, Kqi]:
    service = next(one for one in read_services() if one.id == "bike_sharing")
    return service, next(one for one in service.kqis if one.id == "bk_unlock_delay")


def test_weights_change_where_they_stand_and_comments_and_layout_stay() -> None:
    changed = weights.reweighted(
        FILE, "one", {"dns_success_rate": 0.25, "nrsrp_median": 0.5, "ul_repetition_mean": 0.25}, audit=AUDIT
    )
    expected = (
        FILE.replace("    expert_weights:\n      #", f"    # {AUDIT}\n    expert_weights:\n      #")
        .replace("0.60", "0.5")
        .replace("      - {indicator: ul_bler, weight: 0.3}\n", "")
        .replace("0.1   # low\n", "0.25   # low\n      - {indicator: ul_repetition_mean, weight: 0.25}\n")
    )
    assert changed == expected


def test_all_weights_may_be_new() -> None:
    changed = weights.reweighted(FILE, "one", {"ul_repetition_mean": 1.0}, audit=AUDIT)
    assert yaml.safe_load(changed)["kqis"][0]["expert_weights"] == [
        {"indicator": "ul_repetition_mean", "weight": 1}
    ]


def test_a_file_that_cannot_be_changed_line_by_line_is_left_to_a_person() -> None:
    with pytest.raises(ValueError, match=r"one to a line.*by hand: \{'dns_success_rate': 1\.0\}"):
        weights.reweighted(FILE, "two", {"dns_success_rate": 1.0}, audit=AUDIT)
    shared = FILE.replace(
        "- {indicator: nrsrp_median, weight: 0.60}", "- &a {indicator: nrsrp_median, weight: 0.6}"
    )
    shared = shared.replace("[{indicator: ul_bler, weight: 1}]", "[*a]")
    with pytest.raises(ValueError, match="without a change of anything else"):
        weights.reweighted(shared, "one", {"nrsrp_median": 1.0}, audit=AUDIT)


def test_scopes_of_an_indicator_add_up_and_what_no_step_names_has_no_weight() -> None:
    service, kqi = bike()
    told = {"paging_success_rate@device": 0.2, "paging_success_rate@tac": 0.1, "nrsrp_median@device": 0.3,
            "term_battery_level@device": 0.3999, "rule_engine_delay_p95@device": 0.0001}  # fmt: skip
    found, beyond = weights.blended({"weights": told}, service, kqi)
    assert found == {"paging_success_rate": 0.5, "nrsrp_median": 0.5}
    assert beyond == ("term_battery_level",)


def test_applied_weights_lie_in_the_workspace_and_are_in_force(tmp_path: Path) -> None:
    service, kqi = bike()
    shipped = next(path for path, one in read_service_files().items() if one.id == service.id)
    before = shipped.read_text(encoding="utf-8")
    told = {"weights": {"paging_success_rate@device": 0.7, "dl_repetition_mean@cell": 0.3}}
    proposed = weights.propose(told, tmp_path, service=service, kqi=kqi, audit=AUDIT)
    assert proposed is not None
    assert "+      - {indicator: paging_success_rate, weight: 0.7}" in proposed.diff()
    proposed.apply()
    assert shipped.read_text(encoding="utf-8") == before
    own = next(one for one in read_services(tmp_path) if one.id == service.id)
    now = next(one for one in own.kqis if one.id == kqi.id)
    assert {one.indicator: one.weight for one in now.expert_weights} == {
        "paging_success_rate": 0.7,
        "dl_repetition_mean": 0.3,
    }
    again = weights.propose(told, tmp_path, service=service, kqi=kqi, audit=AUDIT)
    assert again is not None
    assert again.source == again.target == tmp_path / "configs" / "services" / shipped.name
    comments = [line for line in before.splitlines() if line.startswith("#")]
    assert [line for line in again.before.splitlines() if line.startswith("#")] == comments


def test_a_person_s_file_goes_before_the_weights_of_the_service_file(tmp_path: Path) -> None:
    service, kqi = bike()
    path = tmp_path / "expert.yaml"
    who = "author: ann, reason: seen, date: 2026-03-01"
    path.write_text(
        "alpha: 0.2\nstatements:\n"
        f"- {{indicator: paging_success_rate, weight: 9, {who}}}\n"
        f"- {{indicator: paging_success_rate@tac, keep: false, {who}}}\n"
    )
    columns = [
        "paging_success_rate@device",
        "paging_success_rate@tac",
        "dl_repetition_mean@cell",
        "ul_bler@cell",
    ]
    said = experts_of(path, service, kqi, columns=columns, since=date(2026, 2, 1))
    assert said.alpha == 0.2
    device, tac, cell = (said.of(column) for column in columns[:3])
    assert device is not None
    assert tac is not None
    assert cell is not None
    assert (device.weight, device.author) == (9, "ann")
    assert (tac.weight, tac.keep) == (None, False)
    assert cell.weight == pytest.approx(0.12 * 9)
    assert cell.author == "bike_sharing.yaml, vendor"
    assert cell.direction is None
    assert said.of("ul_bler@cell") is None
    path.write_text(f"statements:\n- {{indicator: pagin_success_rate, keep: true, {who}}}\n")
    with pytest.raises(LookupError, match="pagin_success_rate"):
        experts_of(path, service, kqi, columns=columns, since=date(2026, 2, 1))
