"""A file of one's own faults or noise needs only what it changes; what is wrong in it is told by name."""

import re
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from test_province import changed
from typer.testing import CliRunner

from evaluation.simulation.province.catalogue import read_faults
from evaluation.simulation.province.noise import read_noise
from evaluation.simulation.province.settings import read_settings
from features.configuration import find_config
from serving.cli import app

PAGE = (Path(__file__).parents[1] / "docs" / "simulation.md").read_text(encoding="utf-8")
CRANE, LOSSY = re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def own(folder: Path, text: str) -> Path:
    path = folder / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_fault_of_the_docs_happens_and_nothing_else_does(tmp_path: Path) -> None:
    crane, noise, out = own(tmp_path, CRANE), tmp_path / "noise.yaml", tmp_path / "out"
    noise.write_text(LOSSY)
    command = ["simulate", "province", "--devices", "500", "--days", "2", "--faults", str(crane)]
    done = CliRunner().invoke(
        app, [*command, "--noise", str(noise), "--out", str(out)], catch_exceptions=False
    )
    assert done.exit_code == 0
    truth = pq.read_table(out / "truth.parquet").to_pandas()
    assert set(truth["cause"]) == {"f_crane"}
    planned = truth[(truth["location_id"] == "cell-000-01") & (truth["severity"] == 0.9)].iloc[0]
    assert f"{planned.onset:%F %H} to {planned.end:%F %H}" == "2026-03-03 06 to 2026-03-03 12"


def test_what_a_file_of_faults_leaves_out_is_as_shipped(tmp_path: Path) -> None:
    catalogue = read_faults(find_config("fault_catalogue.yaml"))
    crane = read_faults(own(tmp_path, CRANE))
    assert [fault.id for fault in crane.faults] == ["f_crane"]
    assert crane.patterns == catalogue.patterns
    calm = read_faults(own(tmp_path, "draw: false"))
    assert (calm.faults, calm.draw) == (catalogue.faults, False)
    fast = read_faults(own(tmp_path, "traffic_patterns: {bike_sharing: {trip: {speed_kmh: 12}}}")).patterns
    assert (fast.bike_sharing.trip.speed_kmh, fast.video) == (12, catalogue.patterns.video)
    shares = {"traffic_patterns": {"smoke_sensor": {"heartbeat_period_s": {"3600": 1.0}}}}
    beats = read_faults(own(tmp_path, yaml.safe_dump(shares))).patterns.smoke_sensor.heartbeat_period_s
    assert beats == {3600.0: 1.0}


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("antenna_loss_db", "antena_loss_db", "f_crane: actuator .* the nearest is antenna_loss_db$"),
        ("granularity: cell", "granularity: cel", "(f_crane).granularity: .* is cel; the nearest is cell$"),
        ("add, value: 9", "ad, value: 9", "(f_crane).mechanism.0.effect: .* is ad; the nearest is add$"),
        ("scope: cell, effect: add, value: 60", "scope: tac, effect: add, value: 60", "f_crane: .* is tac; give"),
        ("nrsrp_median", "nrsp_median", "f_crane: signature .* has nrsp_median; the nearest is nrsrp_median$"),
        ("[smoke_sensor", "[smoke_sensr", "f_crane: services .* has smoke_sensr; the nearest is smoke_sensor$"),
        ("shape: ramp", "shape: rmp", "(f_crane).onset: .* but is rmp; the nearest is ramp$"),
        ("base_rate:", "base_rat:", "unknown key 'faults.0 (f_crane).base_rat'; the nearest .* 'base_rate'$"),
        ("{fault: f_crane", "{fault: f_crne", "schedule.0.: .* names f_crne; the nearest is f_crane$"),
        ("schedule:", "shedule:", "unknown key 'shedule'; the nearest known one is 'schedule'$"),
    ],
)  # fmt: skip
def test_a_misspelt_name_is_told_with_the_fault_and_the_nearest(
    tmp_path: Path, right: str, wrong: str, told: str
) -> None:
    assert CRANE.count(right) == 1
    with pytest.raises(ValueError, match="(?m)" + told.replace("(f_crane)", r"\(f_crane\)")) as refused:
        read_faults(own(tmp_path, CRANE.replace(right, wrong)))
    lines = str(refused.value).splitlines()
    assert all(line.startswith(f"{tmp_path / 'own.yaml'}: ") for line in lines)
    assert max(len(line) for line in lines) < 300


def test_every_rule_that_a_file_breaks_is_told_at_once(tmp_path: Path) -> None:
    twice = CRANE.replace("antenna_loss_db", "antena").replace("nrsrp_median", "nrsp_median")
    with pytest.raises(ValueError, match="actuator must be") as refused:
        read_faults(own(tmp_path, twice))
    assert len(str(refused.value).splitlines()) == 2


def test_a_law_of_traffic_that_is_not_one_is_told_with_the_nearest(tmp_path: Path) -> None:
    path = own(tmp_path, "traffic_patterns: {bike_sharing: {trip: {sped_kmh: 12}}}")
    with pytest.raises(
        ValueError, match=r"unknown key 'traffic_patterns\.bike_sharing\.trip\.sped_kmh'; .* speed_kmh"
    ):
        read_faults(path)


def test_a_law_that_only_readers_are_told_is_not_changed_in_vain(tmp_path: Path) -> None:
    changed_in_vain = "traffic_patterns: {smoke_sensor: {payload_bytes: {heartbeat_up: 600}}}"
    with pytest.raises(
        ValueError, match=r"'traffic_patterns\.smoke_sensor\.payload_bytes' tells readers alone"
    ):
        read_faults(own(tmp_path, changed_in_vain))
    assert read_faults(own(tmp_path, "traffic_patterns: {smoke_sensor: {heartbeat_phase: by chance}}"))


@pytest.mark.parametrize(
    ("law", "told"),
    [
        ("{video: {session_min_median: -1}}", r"video\.session_min_median: must be finite and at least 0, but is -1"),
        ("{video: {bit_rates_mbps: [0, 2]}}", r"video\.bit_rates_mbps: must be above 0, but has 0"),
        ("{smoke_sensor: {battery: {capacity_mah: 0}}}", r"smoke_sensor\.battery\.capacity_mah: must be above 0"),
        ("{smoke_sensor: {alarm: {repeat_every_s: [30, 10]}}}", r"repeat_every_s: must keep low <= high"),
        (f"{{video: {{session_hour_profile: {[0] * 24}}}}}", r"session_hour_profile: an hour must be above 0"),
    ],
)  # fmt: skip
def test_a_law_of_traffic_that_none_can_have_is_refused(tmp_path: Path, law: str, told: str) -> None:
    with pytest.raises(ValueError, match=rf"own\.yaml: traffic_patterns\..*{told}"):
        read_faults(own(tmp_path, f"traffic_patterns: {law}"))


@pytest.mark.parametrize(
    ("read", "text", "key"),
    [
        (read_settings, "ce_threshold_dbm: {ce1: .nan}", "ce_threshold_dbm.ce1"),
        (read_settings, "clutter_loss_db: .inf", "clutter_loss_db"),
        (read_settings, "site_distance_km: [1, .inf]", "site_distance_km"),
        (read_noise, "events: {skew_s: .inf}", "events.skew_s"),
        (read_noise, "counters: {collected_s: [.nan, 3]}", "counters.collected_s"),
        (read_faults, "severity: {a: .inf}", "severity.a"),
        (read_faults, "schedule: [{fault: f_tamper, onset_h: .nan}]", "schedule.0.onset_h"),
    ],
)
def test_a_figure_that_is_not_finite_is_refused(
    tmp_path: Path, read: Callable[[Path], object], text: str, key: str
) -> None:
    with pytest.raises(ValueError, match=rf"own\.yaml: .*{re.escape(key)}"):
        read(own(tmp_path, text))


def test_settings_need_only_what_they_change_and_are_refused_where_no_province_comes_of_them(
    tmp_path: Path,
) -> None:
    few = read_settings(own(tmp_path, "apps: {video: 3}"))
    assert (few.apps.video, few.apps.smoke_sensor, few.cdn_nodes) == (3, 3, 3)
    for text, told in (
        ("apps: {video: 0}", "apps.video: Input should be greater than or equal to 1"),
        ("site_distance_km: [3, 1]", r"site_distance_km: a range must keep 0 < low <= high"),
        (
            "counter_window_s: {cell: 900}",
            "counter_window_s: every scope must have a window, but device, tac",
        ),
        (
            "smoke_place_share: {windw: 1}",
            "smoke_place_share.windw.* must be one of .* the nearest is window",
        ),
        ("share: {smoke_sensor: 0, bike_sharing: 0, video: 0}", "share: one of the shares must be above 0"),
    ):
        with pytest.raises(ValueError, match=rf"own\.yaml: {told}"):
            read_settings(own(tmp_path, text))


def test_a_place_that_the_province_has_not_is_told_with_the_file(tmp_path: Path) -> None:
    path = own(tmp_path, CRANE.replace("cell-000-01", "cell-000-91"))
    command = [
        "simulate",
        "province",
        "--devices",
        "500",
        "--faults",
        str(path),
        "--out",
        str(tmp_path / "out"),
    ]
    ended = CliRunner().invoke(app, command)
    assert isinstance(ended.exception, ValueError)
    assert str(ended.exception).startswith(
        f"{path}: schedule[0] (f_crane): location must be the id of a cell"
    )


def test_a_noise_file_needs_only_what_it_changes(tmp_path: Path) -> None:
    default = read_noise(find_config("noise.yaml"))
    lossy = read_noise(own(tmp_path, LOSSY))
    assert lossy.counters == default.counters.model_copy(update={"lost_share": 0.1})
    assert (lossy.terminal, lossy.events) == (default.terminal, default.events)
    with pytest.raises(ValueError, match=r"own\.yaml: unknown key 'counters\.lost_shar'; .* 'lost_share'"):
        read_noise(own(tmp_path, "counters: {lost_shar: 0.1}"))


@pytest.mark.parametrize(
    ("part", "key"), [("counters", "late_h"), ("counters", "collected_s"), ("terminal", "late_h")]
)
@pytest.mark.parametrize("span", [[-20, -5], [9, 3]])
def test_nothing_arrives_before_it_was_counted(
    tmp_path: Path, part: str, key: str, span: list[float]
) -> None:
    noise = yaml.safe_load(find_config("noise.yaml").read_text())[part]
    bad = changed("noise.yaml", tmp_path / "bad.yaml", **{part: {**noise, key: span}})
    with pytest.raises(ValueError, match=rf"bad\.yaml: {part}\.{key}.*0 <= low <= high"):
        read_noise(bad)
