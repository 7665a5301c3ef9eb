"""What is told of a device over a window, on flows small enough to see; and how a workspace's windows are built."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_fleet import commit, tiny_flows

from features import windows
from features.configuration import find_config, read_config
from features.feature_page import page
from features.flows import FLOWS, FlowSettings
from features.windows import FEATURES, SESSION, Window, WindowSettings, device_windows

HOUR = Window(name="1h", length_s=3600)
WEEK = Window(name="7d", length_s=7 * 86_400, every_s=86_400)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
TWO_WINDOWS = "windows: [{name: session}, {name: 7d, length_s: 604800, every_s: 86400}]"
BUILD = "import sys, pathlib; from features import windows; windows.build(pathlib.Path(sys.argv[1]))"
ROOT = Path(__file__).resolve().parents[1]


def flows(
    count: int = 4, *, device: str = "m1", source: str = "a" * 16, end: datetime = NOON
) -> pd.DataFrame:
    return tiny_flows(f"smart_meter-{device}", source=source, end=end, count=count)


def test_a_session_spans_one_capture_from_its_first_flow_to_its_last() -> None:
    given_flows = flows(3)
    row = device_windows(given_flows, SESSION).iloc[0]
    assert row["window_start"] == given_flows["start"].min()
    assert row["window_end"] == given_flows["end"].max()
    assert row["source"] == "a" * 16
    assert row["flows"] == 3


def test_volumes_are_sums_and_shares_of_the_flows() -> None:
    given_flows = flows(3)
    row = device_windows(given_flows, SESSION).iloc[0]
    up, down = given_flows["up_bytes"].sum(), given_flows["down_bytes"].sum()
    assert (row["up_bytes"], row["down_bytes"]) == (up, down)
    assert row["up_byte_share"] == pytest.approx(up / (up + down))
    assert (row["coap_flows"], row["coap_flow_share"], row["mqtt_flows"]) == (3, 1.0, 0)
    assert (row["peers"], row["peer_flow_entropy"]) == (1, 0.0)


def test_a_clock_has_a_period_full_regularity_and_no_burst() -> None:
    beat = flows(6)
    beat["end"] = [NOON + timedelta(seconds=600 * i + 1) for i in range(6)]
    beat["start"] = beat["end"] - pd.Timedelta(seconds=1)
    row = device_windows(beat, SESSION).iloc[0]
    assert row["flow_gap_median"] == pytest.approx(600)
    assert row["heartbeat_regularity"] == 1.0
    assert row["repeat_burstiness"] == pytest.approx(-1.0)
    assert row["active_share"] == pytest.approx(6 / 3001)


def test_what_was_not_seen_is_empty_and_a_count_is_zero() -> None:
    row = device_windows(flows(1), SESSION).iloc[0]
    assert np.isnan(row["flow_gap_median"])
    assert np.isnan(row["syn_up_ps"])
    assert row["quiet_spells"] == 0


def test_a_flow_counts_in_the_window_in_which_it_ends() -> None:
    at_noon, before = flows(1), flows(1)
    at_noon["end"], before["end"] = NOON, NOON - timedelta(microseconds=1)
    row = device_windows(at_noon, HOUR).iloc[0]
    assert (row["window_start"], row["window_end"]) == (NOON, NOON + timedelta(hours=1))
    assert device_windows(before, HOUR).iloc[0]["window_end"] == NOON


def test_a_week_that_ends_each_midnight_holds_a_flow_seven_times() -> None:
    rows = device_windows(flows(1), WEEK)
    assert list(rows["window_end"].dt.day) == [3, 4, 5, 6, 7, 8, 9]
    assert rows["flows"].eq(1).all()


def any_flows(seed: int, sizes: list[int]) -> pd.DataFrame:
    """Flows of some devices in two captures each, with ties, gaps in what is known, and all kinds of services."""
    rng = np.random.default_rng(seed)
    made = []
    for device, count in enumerate(sizes):
        given_flows = flows(count, device=f"m{device}")
        start = pd.to_datetime(NOON) + pd.to_timedelta(rng.integers(0, 9_000, count), unit="s")
        given_flows["start"], given_flows["source"] = start, rng.choice(["1" * 16, "2" * 16], count)
        given_flows["end"] = start + pd.to_timedelta(rng.integers(0, 300_000, count), unit="ms")
        given_flows["protocol"] = rng.choice([6, 17, 1], count)
        given_flows["peer_port"] = rng.choice([53, 443, 5683, 40_000], count)
        given_flows["peer_ip"] = rng.choice(["192.0.2.1", "10.0.0.1", "ff02::1", "198.51.100.3"], count)
        for name in ("up_mean_piat_ms", "down_mean_piat_ms", "up_max_ps", "down_min_ps"):
            given_flows[name] = np.where(rng.random(count) < 0.2, np.nan, rng.exponential(300.0, count))
        lengths = rng.integers(0, 9, count)
        given_flows["first_ps"] = [rng.choice([40, 60, 64, -52, -1420], n) for n in lengths]
        given_flows["first_piat_ms"] = [rng.integers(0, 3_000, n) for n in lengths]
        made.append(given_flows)
    return pd.concat(made, ignore_index=True)


@pytest.mark.parametrize("window", [SESSION, HOUR, WEEK], ids=lambda window: window.name)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), sizes=st.lists(st.integers(1, 40), min_size=2, max_size=4))
def test_a_device_alone_has_to_the_bit_the_row_it_has_among_others(
    window: Window, seed: int, sizes: list[int]
) -> None:
    everyone = any_flows(seed, sizes)
    together = device_windows(everyone.sample(frac=1, random_state=seed), window)
    alone = device_windows(everyone[everyone["device_id"] == "smart_meter-m1"], window)
    among = together[together["device_id"] == "smart_meter-m1"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, among, check_exact=True)
    assert together[["device_id", "source", "window_end"]].equals(
        together[["device_id", "source", "window_end"]].sort_values(
            ["device_id", "source", "window_end"], ignore_index=True
        )
    )


def test_moving_in_time_or_to_other_addresses_changes_no_feature() -> None:
    names = [feature.column.name for feature in FEATURES]
    here = device_windows(flows(5), SESSION)[names]
    moved = flows(5)
    for column in ("start", "end"):
        moved[column] += pd.Timedelta(days=777, hours=5, seconds=13)
    moved["peer_ip"], moved["device_ip"] = "198.51.100.7", "100.64.3.2"
    pd.testing.assert_frame_equal(here, device_windows(moved, SESSION)[names], rtol=1e-9)


def test_a_window_shorter_than_the_active_timeout_is_refused() -> None:
    short = WindowSettings(windows=(Window(name="1min", length_s=60),))
    with pytest.raises(ValueError, match="active_timeout_s must be at most the shortest window, 60 s"):
        short.check_against(FlowSettings(active_timeout_s=300))


def test_sources_read_with_different_settings_make_no_windows(tmp_path: Path) -> None:
    commit(tmp_path, flows(2, source="1" * 16))
    commit(tmp_path, flows(2, source="2" * 16), settings=FlowSettings(idle_timeout_s=15))
    with pytest.raises(ValueError, match=r"read with the same flow settings, .*; ingest them again"):
        windows.build(tmp_path)


def test_the_active_timeout_that_counts_is_that_of_the_lake(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "flows.yaml").write_text("active_timeout_s: 86400\n", encoding="utf-8")
    commit(tmp_path, flows(2))
    assert windows.build(tmp_path).written["session"] == 1
    commit(tmp_path, flows(2), settings=FlowSettings(active_timeout_s=1000), fingerprint="1" * 64)
    with pytest.raises(ValueError, match="900 s, however the sources of the lake were read with 1000 s"):
        windows.build(tmp_path)


def test_the_default_windows_go_with_the_default_timeouts() -> None:
    told = read_config(find_config("windows.yaml"), WindowSettings)
    told.check_against(read_config(find_config("flows.yaml"), FlowSettings))
    assert [window.name for window in told.windows] == ["session", "15min", "1h", "7d"]


def test_a_second_build_writes_nothing_and_a_late_capture_only_its_windows(tmp_path: Path) -> None:
    commit(tmp_path, flows(4, device="m1", source="1" * 16))
    assert windows.build(tmp_path).written["session"] == 1
    files = sorted((tmp_path / "lake" / "windows").rglob("*.parquet"))
    assert set(windows.build(tmp_path).written.values()) == {0}
    assert sorted((tmp_path / "lake" / "windows").rglob("*.parquet")) == files
    before = windows.rows(tmp_path, "1h")
    late = flows(1, device="m1", source="2" * 16, end=NOON - timedelta(minutes=5))
    commit(tmp_path, late)
    assert windows.build(tmp_path).written["1h"] == 1
    after = windows.rows(tmp_path, "1h")
    changed = after["flows"].to_numpy() != before["flows"].to_numpy()
    assert list(after.loc[changed, "window_end"]) == [NOON]
    assert (after["created"].to_numpy()[changed] > before["created"].to_numpy()[changed]).all()
    stored = len(pd.concat(map(pd.read_parquet, (tmp_path / "lake/windows/window=1h").rglob("*.parquet"))))
    assert stored == len(before) + 1


def test_what_a_build_stores_is_what_the_flows_give_at_once(tmp_path: Path) -> None:
    parts = [flows(7, device=f"m{i}", source=f"{i:016x}") for i in range(3)]
    for part in parts:
        commit(tmp_path, part)
        windows.build(tmp_path)
    for window in (SESSION, HOUR, WEEK):
        stored = windows.rows(tmp_path, window.name).drop(columns="created")
        at_once = device_windows(pd.concat(parts, ignore_index=True), window)
        pd.testing.assert_frame_equal(stored, at_once, check_exact=True)


def test_a_capture_read_again_with_another_map_takes_its_rows_out(tmp_path: Path) -> None:
    commit(tmp_path, flows(3, device="wrong", source="1" * 16))
    commit(tmp_path, flows(3, device="wrong", source="2" * 16))
    commit(tmp_path, flows(3, device="other", source="3" * 16))
    windows.build(tmp_path)
    commit(tmp_path, flows(3, device="right", source="1" * 16), fingerprint="1" * 64)
    told = windows.build(tmp_path)
    assert (told.written["session"], told.removed["session"]) == (1, 1)
    assert (
        told.computed["1h"] == 2
    )  # of the device it was taken for, and of the one it is: never all of the lake
    sessions = windows.rows(tmp_path, "session")
    assert dict(zip(sessions["source"].str[0], sessions["device_id"].str[12:], strict=True)) == {
        "1": "right",
        "2": "wrong",
        "3": "other",
    }
    hours = windows.rows(tmp_path, "1h").set_index("device_id")["flows"]
    assert hours.to_dict() == {"smart_meter-other": 3, "smart_meter-right": 3, "smart_meter-wrong": 3}


def test_a_build_that_was_killed_is_completed_by_the_next(tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for workspace in (undisturbed, killed):
        (workspace / "configs").mkdir(parents=True)
        (workspace / "configs" / "windows.yaml").write_text(TWO_WINDOWS, encoding="utf-8")
        for day in range(4):
            commit(workspace, flows(9, source=f"{day:016x}", end=NOON + timedelta(days=day)))
    windows.build(undisturbed)
    command = [sys.executable, "-c", BUILD, killed]
    with subprocess.Popen(command) as process:
        while not list((killed / "lake" / "windows").rglob("*.parquet")) and process.poll() is None:
            pass
        process.kill()
    assert not (killed / "lake" / "windows" / "built.json").exists()
    subprocess.run(command, check=True)
    assert windows.build(killed).computed == {"session": 0, "7d": 0}
    for name in ("session", "7d"):
        expected, completed = (
            windows.rows(workspace, name).drop(columns="created") for workspace in (undisturbed, killed)
        )
        pd.testing.assert_frame_equal(completed, expected, check_exact=True)


def windows_are(workspace: Path, *told: str) -> None:
    """Write the windows.yaml of a workspace."""
    (workspace / "configs").mkdir(parents=True, exist_ok=True)
    text = f"windows: [{', '.join(told)}]"
    (workspace / "configs" / "windows.yaml").write_text(text, encoding="utf-8")


def stored(workspace: Path) -> dict[str, list[Path]]:
    """The files of each window."""
    folders = (workspace / "lake" / "windows").glob("window=*")
    return {folder.name: sorted(folder.rglob("*.parquet")) for folder in folders}


def test_a_window_that_comes_changes_or_goes_leaves_the_others_alone(tmp_path: Path) -> None:
    session, hour, half = (
        "{name: session}",
        "{name: 1h, length_s: 3600}",
        "{name: 1h, length_s: 3600, every_s: 1800}",
    )
    windows_are(tmp_path, session)
    commit(tmp_path, flows(4))
    windows.build(tmp_path)
    before = stored(tmp_path)
    windows_are(tmp_path, session, hour)
    assert windows.build(tmp_path).computed == {"session": 0, "1h": 1}
    windows_are(tmp_path, session, half)
    assert windows.build(tmp_path).computed == {"session": 0, "1h": 3}
    assert len(windows.rows(tmp_path, "1h")) == 3
    windows_are(tmp_path, session)
    windows.build(tmp_path)
    assert stored(tmp_path) == before


def test_new_words_for_a_feature_rebuild_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(tmp_path, flows(2))
    windows.build(tmp_path)
    reworded = tuple(replace(column, description="said otherwise") for column in windows.WINDOWS)
    monkeypatch.setattr(windows, "WINDOWS", reworded)
    assert set(windows.build(tmp_path).computed.values()) == {0}


def test_a_rebuild_that_was_killed_leaves_whole_rows_and_is_completed_by_the_next(tmp_path: Path) -> None:
    windows_are(tmp_path, "{name: 1h, length_s: 3600}")
    for day in range(4):
        commit(tmp_path, flows(4, source=f"{day:016x}", end=NOON + timedelta(days=day)))
    windows.build(tmp_path)
    old = len(windows.rows(tmp_path, "1h"))
    windows_are(tmp_path, "{name: 1h, length_s: 3600, every_s: 1800}")
    command = [sys.executable, "-c", BUILD, tmp_path]
    with subprocess.Popen(command) as process:
        while not (tmp_path / "lake" / ".writing" / "1h").exists() and process.poll() is None:
            pass
        process.kill()
    assert len(windows.rows(tmp_path, "1h")) in (old, 3 * old)
    windows.build(tmp_path)
    assert len(windows.rows(tmp_path, "1h")) == 3 * old


def test_settings_taken_back_after_a_killed_rebuild_give_the_old_rows(tmp_path: Path) -> None:
    hour, week = "{name: 1h, length_s: 3600", "{name: 7d, length_s: 604800"
    windows_are(tmp_path, hour + "}", week + "}")
    commit(tmp_path, flows(4))
    windows.build(tmp_path)
    old = windows.rows(tmp_path, "1h").drop(columns="created")
    windows_are(tmp_path, hour + ", every_s: 1800}", week + ", every_s: 86400}")
    with subprocess.Popen([sys.executable, "-c", BUILD, tmp_path]) as process:
        while not (tmp_path / "lake/.writing/former window=1h").exists() and process.poll() is None:
            pass
        process.kill()
    windows_are(tmp_path, hour + "}", week + "}")
    windows.build(tmp_path)
    pd.testing.assert_frame_equal(windows.rows(tmp_path, "1h").drop(columns="created"), old, check_exact=True)


def test_rows_that_lose_a_file_while_they_are_read_say_so(tmp_path: Path) -> None:
    commit(tmp_path, flows(2))
    windows.build(tmp_path)
    file = stored(tmp_path)["window=session"][0]
    file.with_name("gone.parquet").symlink_to("nowhere.parquet")
    with pytest.raises(OSError, match=r"must not lose files while it is read, .*; try again"):
        windows.rows(tmp_path, "session")


def test_captures_without_a_flow_of_a_device_make_no_window(tmp_path: Path) -> None:
    commit(tmp_path, flows(1).assign(source="1" * 16))
    commit(tmp_path, flows(1).assign(source="2" * 16).iloc[:0], source="2" * 16)
    assert windows.build(tmp_path).computed["session"] == 1
    commit(tmp_path, flows(1).iloc[:0], source="3" * 16)
    assert set(windows.build(tmp_path).computed.values()) == {0}
    assert windows.rows(tmp_path, "1h")["flows"].tolist() == [1]


def test_an_empty_lake_says_what_to_do_first(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="run iotlens ingest first"):
        windows.build(tmp_path)


def test_the_page_of_the_features_names_the_setting_not_one_value_of_it() -> None:
    assert "the first N of each flow (`first_packets` of flows.yaml)" in page()
    assert str(FlowSettings().first_packets) not in page().partition("Keys:")[0]


def test_the_page_of_the_features_is_current() -> None:
    assert (ROOT / "docs" / "features.md").read_text(encoding="utf-8") == page(), (
        "python -m features.feature_page"
    )


def test_no_feature_is_named_twice_and_flows_are_never_features() -> None:
    names = [feature.column.name for feature in FEATURES]
    assert len(set(names)) == len(names)
    assert not set(names) & {"device_ip", "peer_ip", "start", "end"}
    assert {"device_ip", "peer_ip"} <= {column.name for column in FLOWS}
