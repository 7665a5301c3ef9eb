"""Windows built up to a moment: what had ended by then, and nothing of what had not, however the flows arrive."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_fleet import commit, tiny_flows

from features import windows
from features.windows import Window, device_windows

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 3, 3, tzinfo=UTC)
HOUR = timedelta(hours=1)
WINDOWS = (Window(name="1h", length_s=3600), Window(name="1d", length_s=86_400, every_s=21_600))
WINDOWS_YAML = (
    "windows: [{name: session}, {name: 1h, length_s: 3600}, {name: 1d, length_s: 86400, every_s: 21600}]"
)


def workspace_with_windows(workspace: Path) -> Path:
    (workspace / "configs").mkdir(parents=True)
    (workspace / "configs" / "windows.yaml").write_text(WINDOWS_YAML, encoding="utf-8")
    return workspace


def flow(source: int, *, device: str = "m1", end: datetime) -> pd.DataFrame:
    return tiny_flows(f"smart_meter-{device}", source=f"{source:016x}", end=end, count=1)


def ends(workspace: Path, window: str) -> list[datetime]:
    return list(windows.rows(workspace, window)["window_end"])


def test_a_window_that_has_not_ended_is_left_until_it_has_though_nothing_new_comes(tmp_path: Path) -> None:
    workspace = workspace_with_windows(tmp_path / "ws")
    commit(workspace, flow(1, end=NOON + timedelta(minutes=10)))
    assert windows.build(workspace, window_end=NOON + HOUR / 2).computed == {"session": 1, "1h": 0, "1d": 0}
    assert windows.build(workspace, window_end=NOON + HOUR).computed == {"session": 0, "1h": 1, "1d": 0}
    assert windows.build(workspace, window_end=NOON + HOUR).computed == {"session": 0, "1h": 0, "1d": 0}
    assert ends(workspace, "1h") == [NOON + HOUR]
    assert windows.build(workspace, window_end=NOON + 6 * HOUR).computed == {"session": 0, "1h": 0, "1d": 1}
    assert ends(workspace, "1d") == [NOON + 6 * HOUR]
    windows.build(workspace)
    assert ends(workspace, "1d") == [NOON + n * 6 * HOUR for n in (1, 2, 3, 4)]


def test_a_late_flow_opens_only_the_windows_that_it_is_in(tmp_path: Path) -> None:
    workspace = workspace_with_windows(tmp_path / "ws")
    commit(workspace, flow(1, end=NOON + timedelta(minutes=10)))
    commit(workspace, flow(2, device="m2", end=NOON + timedelta(minutes=20)))
    windows.build(workspace, window_end=NOON + 7 * HOUR)
    commit(workspace, flow(3, end=NOON + timedelta(minutes=30)))
    assert windows.build(workspace, window_end=NOON + 7.25 * HOUR).written == {"session": 1, "1h": 1, "1d": 1}


def test_what_a_source_told_no_more_is_taken_out_of_windows_beyond_the_moment_too(tmp_path: Path) -> None:
    workspace = workspace_with_windows(tmp_path / "ws")
    commit(workspace, flow(1, device="wrong", end=NOON))
    windows.build(workspace)
    commit(workspace, flow(1, device="right", end=NOON), fingerprint="1" * 64)
    windows.build(workspace, window_end=NOON - HOUR)
    assert set(windows.rows(workspace, "1d")["device_id"]) == set()
    windows.build(workspace, window_end=NOON)
    assert set(windows.rows(workspace, "1d")["device_id"]) == {"smart_meter-right"}


@settings(max_examples=12, deadline=None)
@given(
    arrivals=st.lists(
        st.lists(st.tuples(st.integers(0, 1), st.integers(0, 95)), max_size=4), min_size=1, max_size=4
    ),
    moments=st.lists(st.one_of(st.none(), st.integers(0, 110)), min_size=4, max_size=4),
)
def test_pieces_built_up_to_any_moments_are_what_the_flows_give_at_once(
    tmp_path_factory: pytest.TempPathFactory,
    arrivals: list[list[tuple[int, int]]],
    moments: list[int | None],
) -> None:
    workspace = workspace_with_windows(tmp_path_factory.mktemp("ended") / "ws")
    known: list[pd.DataFrame] = []
    for number, arrival in enumerate(arrivals):
        parts = [
            flow(number, device=f"m{device}", end=NOON + timedelta(minutes=15 * quarter + 1))
            for device, quarter in arrival
        ] or [flow(number, end=NOON).iloc[:0]]
        known.append(pd.concat(parts, ignore_index=True))
        commit(workspace, known[-1], source=f"{number:016x}")
        told = moments[number]
        moment = None if told is None else NOON + timedelta(minutes=15 * told)
        windows.build(workspace, window_end=moment)
        for window in WINDOWS:
            at_once = device_windows(pd.concat(known, ignore_index=True), window)
            stored = windows.rows(workspace, window.name).drop(columns="created")
            if moment is not None:
                at_once, stored = (
                    some[some["window_end"] <= moment].reset_index(drop=True) for some in (at_once, stored)
                )
            pd.testing.assert_frame_equal(stored, at_once, check_exact=True)


def test_a_moment_told_in_another_zone_is_the_same_moment(tmp_path: Path) -> None:
    workspace = workspace_with_windows(tmp_path / "ws")
    commit(workspace, flow(1, end=MIDNIGHT + timedelta(minutes=31)))
    west = timezone(timedelta(hours=-8))
    windows.build(workspace, window_end=(MIDNIGHT + HOUR / 2).astimezone(west))
    windows.build(workspace, window_end=(MIDNIGHT + HOUR).astimezone(west))
    assert ends(workspace, "1h") == [MIDNIGHT + HOUR]


def test_a_moment_without_a_zone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="window_end must be an aware datetime"):
        windows.build(tmp_path, window_end=datetime.fromisoformat("2026-03-02T12:00:00"))
