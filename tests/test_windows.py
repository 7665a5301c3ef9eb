"""What is told of a device over a window, on flows small enough to see; and how a workspace's windows are built."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
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


@pytest.mark.parametrize("window", [SESSION, HOUR], ids=lambda window: window.name)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), counts=st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_a_device_alone_has_the_row_it_has_among_others(window: Window, seed: int, counts: list[int]) -> None:
    everyone = pd.concat(
        [flows(n, device=f"m{seed}x{i}", source=f"{i:016x}") for i, n in enumerate(counts)], ignore_index=True
    )
    shuffled = everyone.sample(frac=1, random_state=seed)
    together = device_windows(shuffled, window)
    device = f"smart_meter-m{seed}x0"
    alone = device_windows(everyone[everyone["device_id"] == device], window)
    among = together[together["device_id"] == device].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, among, rtol=1e-9, atol=0)


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
        pd.testing.assert_frame_equal(stored, at_once, rtol=1e-9)


def test_an_empty_lake_says_what_to_do_first(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="run iotlens ingest first"):
        windows.build(tmp_path)


def test_the_page_of_the_features_is_current() -> None:
    assert (ROOT / "docs" / "features.md").read_text(encoding="utf-8") == page(), (
        "python -m features.feature_page"
    )


def test_no_feature_is_named_twice_and_flows_are_never_features() -> None:
    names = [feature.column.name for feature in FEATURES]
    assert len(set(names)) == len(names)
    assert not set(names) & {"device_ip", "peer_ip", "start", "end"}
    assert {"device_ip", "peer_ip"} <= {column.name for column in FLOWS}
