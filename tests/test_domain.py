"""The domain content keeps its invariants, and a file that breaks one is told with its id and the rule."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from typer.testing import CliRunner

from evaluation.demarcation_rules import Atom
from evaluation.domain import read_domain
from evaluation.process import NO_PLACES, read_services
from features.configuration import packaged_configs
from features.indicators import Mean, Quantile, Ratio, Scope, all_indicators, read_indicators
from features.membership import PLACES
from serving.cli import app

Content = dict[str, Any]  # Any: a YAML file, to be broken
DOMAIN_FILES = (
    "indicators",
    "terminal_indicators",
    "demarcation_rules",
    "fault_catalogue",
    "services/smoke_sensor",
)

PAGE = (Path(__file__).parents[1] / "docs" / "own-service.md").read_text(encoding="utf-8")
WATER_METER = (
    PAGE.partition("```yaml\n")[2].partition("```")[0].replace("sib_read_success_rate", "nrsrp_median")
)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    for name in DOMAIN_FILES:
        copy = tmp_path / "configs" / f"{name}.yaml"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(packaged_configs() / f"{name}.yaml", copy)
    return tmp_path


def change(workspace: Path, name: str, edit: Callable[[Content], object]) -> Path:
    path = workspace / "configs" / f"{name}.yaml"
    content = yaml.load(path.read_text(), yaml.CSafeLoader)
    edit(content)
    path.write_text(yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False))
    return path


def entry(entries: list[Content], of_id: str) -> Content:
    return next(one for one in entries if one["id"] == of_id)


def indicator(content: Content, of_id: str) -> Content:
    return entry(content["indicators"], of_id)


def test_our_configs_keep_every_invariant() -> None:
    domain = read_domain()
    by_domain = [one.domain for one in domain.standard.indicators]
    assert {name: by_domain.count(name) for name in by_domain} == {"radio": 19, "core": 19, "platform": 17}
    iot = [service for service in domain.services if service.id in ("smoke_sensor", "bike_sharing")]
    assert sum(len(service.processes) for service in iot) == 8
    assert sum(len(service.kqis) for service in iot) == 6
    ids = [one.id for one in domain.measured]
    assert len(set(ids)) == len(ids)
    assert len(domain.catalogue.faults) == 56


def test_powers_are_averaged_as_powers() -> None:
    aggregates = {one.id: one.aggregate for one in read_indicators().indicators}
    assert aggregates["ul_interference_level"] == Mean(
        kind="mean", sample="ul_in_dbm_15k", average="milliwatt"
    )
    assert {type(one) for one in aggregates.values()} == {Ratio, Quantile, Mean}


def test_a_counter_is_named_by_what_is_summed_or_sampled() -> None:
    whole = read_indicators()
    assert whole.of("ul_bler").counter == "npusch_crc_fail/npusch_first_tx"
    assert whole.of("nrsrp_median").counter == "nrsrp_dbm"
    assert whole.windows["device"].events == 20
    with pytest.raises(LookupError, match="no indicator 'ul_blr'; the nearest is ul_bler"):
        whole.of("ul_blr")


def test_an_atom_has_no_place_for_a_value_where_the_metric_is_missing() -> None:
    assert set(Atom.model_fields) == {"metric", "scope", "stat", "op", "value"}


BROKEN: list[tuple[str, Callable[[Content], object], str]] = [
    # 1: the 55
    (
        "indicators",
        lambda c: c["indicators"].remove(indicator(c, "ul_bler")),
        "iot_55: count.radio wants 19 indicators, but there are 18",
    ),
    (
        "indicators",
        lambda c: c["indicators"].append(indicator(c, "ul_bler")),
        "ul_bler: ids must be unique, but 2 indicators have this one",
    ),
    (
        "indicators",
        lambda c: indicator(c, "ul_bler").update(direction="higher_is_better"),
        "ul_bler: excellent must be above unacceptable where higher_is_better, but they are 6 and 35",
    ),
    (
        "indicators",
        lambda c: indicator(c, "ul_bler").update(typical=14),
        "ul_bler: typical must be in healthy_range [4, 13], but is 14",
    ),
    (
        "indicators",
        lambda c: indicator(c, "rrc_setup_delay_p95").update(excellent=0),
        "rrc_setup_delay_p95: both anchors must be above 0 for curve log, but are 0, 10000",
    ),
    (
        "indicators",
        lambda c: indicator(c, "ul_bler")["aggregate"].update(scale=1),
        "ul_bler: a ratio in % must have scale 100, but has 1",
    ),
    (
        "indicators",
        lambda c: c["windows"].pop("tac"),
        "nrsrp_median: scope tac of granularity must have a length in windows, but has none",
    ),
    (
        "indicators",
        lambda c: c["windows"]["cell"].update(events=20),
        "iot_55: windows.cell.events must be left out, for only a device looks back over its last events, but is 20",
    ),
    (
        "indicators",
        lambda c: indicator(c, "ul_bler").update(typicl=9),
        "unknown key 'indicators.12 (ul_bler).typicl'; the nearest known one is 'typical'",
    ),
    (
        "indicators",
        lambda c: indicator(c, "ul_bler").update(granularity=["cell", "county"]),
        "indicators.12 (ul_bler).granularity.1: must be one of",
    ),
    (
        "indicators",
        lambda c: indicator(c, "ul_bler").update(id="term_tamper"),
        "term_tamper: ids must be unique, but {configs}/terminal_indicators.yaml has this one too",
    ),
    (
        "indicators",
        lambda c: indicator(c, "nsinr_median").update(aggregate={"kind": "mean", "sample": "nrsrp_dbm"}),
        "nsinr_median: counter nrsrp_dbm must be kept one way, but here as plain mean and for nrsrp_median as quantile",
    ),
    (
        "terminal_indicators",
        lambda c: indicator(c, "term_sim_ok").update(typical=0),
        "term_sim_ok: typical of a flag must be its healthy_value 1, but is 0",
    ),
    (
        "terminal_indicators",
        lambda c: indicator(c, "term_clock_skew").update(unacceptable=1),
        "term_clock_skew: excellent must be below unacceptable where lower_is_better, but they are 10 and 1",
    ),
    (
        "terminal_indicators",
        lambda c: indicator(c, "term_sim_ok").update(applies_to=["smoke", "phone"]),
        "term_sim_ok: applies_to must be of bike_sharing, phone, smoke_sensor, video, but has smoke",
    ),
    # 2: services
    (
        "services/smoke_sensor",
        lambda c: c["processes"][0]["steps"][0]["indicators"].append("nrsrp_mean"),
        "ss_onboarding: step 1 must name known indicators, but has nrsrp_mean; the nearest is nrsrp_median",
    ),
    (
        "services/smoke_sensor",
        lambda c: c["kqis"][0]["expert_weights"][0].update(weight=0.19),
        "ss_alarm_delivery_reliability: expert_weights must sum to 1, but sum to 1.01",
    ),
    (
        "services/smoke_sensor",
        lambda c: c["kqis"][0]["expert_weights"][0].update(indicator="implicit_detach_rate"),
        "ss_alarm_delivery_reliability: each weighted indicator must drive a step of ss_alarm,"
        " but implicit_detach_rate does not",
    ),
    (
        "services/smoke_sensor",
        lambda c: c["processes"][2]["steps"][5].update(budget_ms=9000),
        "ss_alarm: the budgets of its steps must sum to at most p95_ms 10000, but sum to 12200",
    ),
    (
        "services/smoke_sensor",
        lambda c: c["processes"].pop(1),
        "smoke_sensor: count wants 4 processes, but there are 3",
    ),
    (
        "services/smoke_sensor",
        lambda c: c["kqis"][2]["processes"].append("ss_alarms"),
        "ss_online_continuity: processes must be of smoke_sensor, but ss_alarms is not",
    ),
    (
        "services/smoke_sensor",
        lambda c: c["kqis"][2]["typical_faults"].append("f_basement"),
        "ss_online_continuity: typical_faults must be in the fault catalogue, but f_basement is not",
    ),
    (
        "services/smoke_sensor",
        lambda c: c["service_score"]["weights"].pop("ss_alarm_latency"),
        "smoke_sensor: service_score.weights must weigh each KQI",
    ),
    (
        "services/smoke_sensor",
        lambda c: c["processes"][0]["steps"][1].update(seq=3),
        "ss_onboarding: steps must be numbered 1 to 9 in order, but are [1, 3, 3",
    ),
    (
        "services/smoke_sensor",
        lambda c: c["processes"][0].update(id="bk_unlock"),
        "bk_unlock: ids must be unique, but",
    ),
    (
        "services/smoke_sensor",
        lambda c: c["aggregation_keys"].append("cdn_node"),
        "smoke_sensor: aggregation_keys with device must be places that devices hang on, but have cdn_node",
    ),
    (
        "services/smoke_sensor",
        lambda c: c["aggregation_keys"].append("cell"),
        "smoke_sensor: aggregation_keys must be distinct, but are device, cell",
    ),
    (
        "services/smoke_sensor",
        lambda c: c["kqi_window"].update(length_s=10**12),
        "kqi_window.length_s: Input should be less than or equal to 315576000",
    ),
    # 3: references of the rules and faults; 4: scopes, and nothing for a missing value
    (
        "demarcation_rules",
        lambda c: entry(c["rules"], "R301")["when"]["all"][0].update(metric="ul_noise"),
        "R301: metric must be a known indicator, but ul_noise is not",
    ),
    (
        "demarcation_rules",
        lambda c: entry(c["rules"], "R301")["when"]["all"][0].update(scope="device"),
        "R301: scope of ul_interference_level must be in its granularity (cell, tac), but is device",
    ),
    (
        "demarcation_rules",
        lambda c: entry(c["rules"], "R301")["cause"].append("f_noise"),
        "R301: cause must be a catalogue fault or a residual cause, but f_noise is neither",
    ),
    (
        "demarcation_rules",
        lambda c: entry(c["rules"], "R301").update(location="county"),
        "(R301).location: must be one of",
    ),
    (
        "demarcation_rules",
        lambda c: entry(c["rules"], "R301")["when"]["all"][0].update(missing="healthy"),
        "(R301).when.all.all.0.atom.missing'; ",
    ),
    (
        "fault_catalogue",
        lambda c: entry(c["faults"], "f_antenna_feeder")["signature"][0].update(indicator="vswr"),
        "f_antenna_feeder: signature must name known indicators, but has vswr",
    ),
    (
        "fault_catalogue",
        lambda c: entry(c["faults"], "f_antenna_feeder").update(services=["smoke"]),
        "f_antenna_feeder: services must be of bike_sharing, phone, smoke_sensor, video, but has smoke; the nearest",
    ),
]


@pytest.mark.parametrize(("name", "edit", "told"), BROKEN, ids=[told.split(",")[0] for *_, told in BROKEN])
def test_a_broken_rule_is_told_with_file_id_and_rule(
    workspace: Path, name: str, edit: Callable[[Content], object], told: str
) -> None:
    path = change(workspace, name, edit)
    with pytest.raises(ValueError, match=r"\.yaml: ") as raised:
        read_domain(workspace)
    lines = [line for line in str(raised.value).splitlines() if line.startswith(f"{path}: ")]
    assert any(told.replace("{configs}", str(workspace / "configs")) in line for line in lines), raised.value


def test_all_faults_of_a_file_are_told_at_once(workspace: Path) -> None:
    def edit(content: Content) -> None:
        indicator(content, "ul_bler").update(typical=14)
        indicator(content, "nrsrp_median").update(direction="lower_is_better")
        content["indicators"].append(indicator(content, "nsinr_median"))

    path = change(workspace, "indicators", edit)
    with pytest.raises(ValueError, match="ul_bler") as raised:
        read_indicators(workspace)
    assert [line.split(": ")[:2] for line in str(raised.value).splitlines()] == [
        [str(path), "nsinr_median"],
        [str(path), "nrsrp_median"],
        [str(path), "ul_bler"],
    ]


def test_a_device_hangs_on_all_scopes_but_two() -> None:
    assert {*get_args(Scope)} - {"device", *PLACES} == {*NO_PLACES}


def test_a_new_indicator_is_an_entry(workspace: Path) -> None:
    own = {
        "id": "sib_read_success_rate", "name": "System information read", "domain": "radio", "unit": "%",
        "definition": "100 * reads of system information that ended / reads.",
        "aggregate": {"kind": "ratio", "numerator": "sib_ok", "denominator": "sib_att", "scale": 100},
        "direction": "higher_is_better", "excellent": 99, "unacceptable": 80, "curve": "linear", "typical": 98,
        "healthy_range": [95, 100], "element": "UE", "granularity": ["cell"], "source": ["our own"],
        "basis": "judgement", "anchor_basis": "judgement",
    }  # fmt: skip
    change(workspace, "indicators", lambda c: c["indicators"].append(own))
    assert own["id"] in [one.id for one in all_indicators(workspace)]
    assert own["id"] in run("list", "--domain", "radio", "--workspace", str(workspace))
    assert "100 * sum(sib_ok) / sum(sib_att)" in run("show", str(own["id"]), "--workspace", str(workspace))


def test_a_new_service_is_a_file(workspace: Path) -> None:
    (workspace / "configs" / "services" / "water_meter.yaml").write_text(WATER_METER)
    assert "wm_leak_alarm_ratio" in [one.id for one in all_indicators(workspace)]
    assert "water_meter" in [service.id for service in read_services(workspace)]
    listed = run("list", "--service", "water_meter", "--workspace", str(workspace)).splitlines()
    assert [line.split()[0] for line in listed] == [
        "nrsrp_median",
        "notify_success_rate",
        "wm_leak_alarm_ratio",
    ]
    shown = run("show", "nrsrp_median", "--workspace", str(workspace))
    assert "water_meter wm_reading" in shown
    assert "expert weight 0.6" in shown


def test_an_indicator_of_a_service_needs_windows_for_its_scopes(workspace: Path) -> None:
    change(workspace, "indicators", lambda c: c["windows"].pop("cdn_node"))
    told = r"video\.yaml: vid_cdn_load: scope cdn_node of granularity must have a length in windows, but has none"
    with pytest.raises(ValueError, match=told):
        all_indicators(workspace)
    with pytest.raises(ValueError, match=told):
        read_domain(workspace)


def run(*arguments: str) -> str:
    ended = CliRunner().invoke(app, ["indicators", *arguments], catch_exceptions=False)
    assert ended.exit_code == 0
    return ended.stdout


def test_a_service_of_places_can_be_scored_at_each_of_its_scopes() -> None:
    domain = read_domain()
    granularity = {one.id: one.granularity for one in domain.indicators}
    for service in domain.services:
        if "device" in service.aggregation_keys:  # places are the means of their devices
            continue
        for scope in service.aggregation_keys:
            for kqi in service.kqis:
                known = sum(one.weight for one in kqi.expert_weights if scope in granularity[one.indicator])
                assert known > service.service_score.min_coverage, (service.id, scope, kqi.id)
