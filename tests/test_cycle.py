"""The cycle: each window once, in order, the same tables however often it is called or where it is killed."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from test_counters import row, write
from test_membership import HEAD, member
from tiny_fleet import commit, tiny_flows

from features import counters, membership, store, windows
from serving import cycle, cycle_report

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
QUARTER = timedelta(minutes=15)


def deliver(folder: Path, end: datetime, ok: int) -> None:
    """Deliver the counters of one quarter of one lock and its cell."""
    when = {"window_start": f"{end - QUARTER:%FT%TZ}", "received": f"{end:%FT%TZ}"}
    counted = {"numerator": str(ok), "denominator": "100"}
    rows = [
        row(scope=scope, scope_id=one, **when, **counted) for scope, one in (("device", "b1"), ("cell", "c1"))
    ]
    counters.ingest([write(folder / f"{end:%H%M}.csv", *rows)], folder / "ws")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "m.csv").write_text("\n".join([HEAD, member("b1", "c1", "2026-02-01T00:00:00Z")]) + "\n")
    membership.load([str(tmp_path / "m.csv")], tmp_path / "ws")
    return tmp_path


def tables(workspace: Path) -> dict[str, pd.DataFrame]:
    """Return every table that a cycle writes, by path; without the time at which a row was written."""
    found = {}
    for kind in ("identified", "scored", "alarms", "abnormal", "lake/indicators", "lake/marks"):
        for path in sorted((workspace / kind).rglob("*.parquet")):
            frame = pd.read_parquet(path)
            found[str(path.relative_to(workspace).parent)] = frame.drop(columns="created", errors="ignore")
    return found


def test_a_window_is_scored_as_of_its_end_and_reported(folder: Path) -> None:
    deliver(folder, NOON, 97)
    (report,) = cycle.walk(folder / "ws", NOON)
    assert report.steps["score"]["bike_sharing"] > 1
    assert report.steps["identify"]["skipped"]
    assert report.ages_s["cell"] == 0
    # the first window ends at 00:15, and a week is learnt
    assert report.steps["alarms"]["none raised before"] == "2026-03-08T00:15:00Z"
    assert "abnormal devices, none raised before 2026-03-08T00:15:00Z in" in report.text()
    scores = pd.read_parquet(folder / "ws" / "scored" / "bike_sharing" / "date=2026-03-01" / "1200.parquet")
    assert set(scores["window_end"]) == {pd.Timestamp(NOON)}
    told = json.loads(cycle_report.path_of(folder / "ws", NOON).read_text())
    assert told["window_end"] == "2026-03-01T12:00:00Z" and told["steps"]["indicators"]["changed"] > 0


def test_after_an_outage_each_window_is_caught_up_by_itself(folder: Path) -> None:
    ends = [NOON + n * QUARTER for n in range(4)]
    deliver(folder, ends[0], 97)
    list(cycle.walk(folder / "ws", ends[0]))
    for end, ok in zip(ends[1:], (90, 80, 70), strict=True):
        deliver(folder, end, ok)
    done = [report.end for report in cycle.walk(folder / "ws", ends[-1])]
    assert done == ends[1:]
    assert cycle_report.last(folder / "ws") == ends[-1]


def test_the_same_window_again_changes_no_table(folder: Path) -> None:
    deliver(folder, NOON, 97)
    list(cycle.walk(folder / "ws", NOON))
    before = tables(folder / "ws")
    list(cycle.walk(folder / "ws", NOON))
    after = tables(folder / "ws")
    assert before.keys() == after.keys() and before
    for path, frame in before.items():
        pd.testing.assert_frame_equal(frame, after[path])


def test_only_windows_of_flows_that_have_ended_by_the_cycle_are_served(tmp_path: Path) -> None:
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    commit(tmp_path, tiny_flows("tracker-1", end=midnight - timedelta(minutes=20), count=9))
    online = store.open(tmp_path)
    services = {window: online.register("any", window) for window in ("15min", "1h", "7d")}
    served = []
    for end in (midnight - QUARTER, midnight):
        (report,) = cycle.walk(tmp_path, end)
        assert report.steps["windows"]["online"]
        asked = pd.DataFrame({"device_id": ["tracker-1"], "event_timestamp": [pd.Timestamp(end)]})
        for window, name in services.items():
            now = online.latest(["tracker-1"], name, at=end)["window_end"]
            if windows.devices(tmp_path, window):
                pd.testing.assert_series_equal(online.history(asked, name)["window_end"], now)
            served.append(now.item())
    quarter = pd.Timestamp(midnight - QUARTER)
    assert served == [quarter, pd.NaT, pd.NaT, quarter, pd.Timestamp(midnight), pd.Timestamp(midnight)]


@pytest.mark.parametrize("step", ["indicators", "mark", "score", "alarms"])
def test_a_cycle_that_breaks_in_a_step_is_walked_again_to_the_same_tables(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    whole = tmp_path_factory.mktemp("whole")
    (whole / "m.csv").write_text((folder / "m.csv").read_text())
    membership.load([str(whole / "m.csv")], whole / "ws")
    for one in (folder, whole):
        deliver(one, NOON, 97)
    list(cycle.walk(whole / "ws", NOON))

    class KilledError(Exception):
        pass

    def killed(window: cycle.Window) -> cycle.Counts:
        done(window)
        raise KilledError

    done = cycle._STEPS[step]
    with monkeypatch.context() as patched:
        patched.setitem(cycle._STEPS, step, killed)
        with pytest.raises(KilledError):
            list(cycle.walk(folder / "ws", NOON))
    assert cycle_report.last(folder / "ws") is None
    list(cycle.walk(folder / "ws", NOON))
    told, wanted = tables(folder / "ws"), tables(whole / "ws")
    assert told.keys() == wanted.keys()
    for path, frame in wanted.items():
        pd.testing.assert_frame_equal(told[path], frame)


def test_what_a_killed_cycle_was_writing_is_gone_after_the_next(folder: Path) -> None:
    deliver(folder, NOON, 97)
    left = folder / "ws" / "scored" / "bike_sharing" / "date=2026-03-01" / ".partial-4711-1200.parquet"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"PAR1")
    list(cycle.walk(folder / "ws", NOON))
    assert [path.name for path in left.parent.iterdir()] == ["1200.parquet"]


@pytest.mark.parametrize(
    ("until", "rule"),
    [
        (NOON + timedelta(minutes=5), "window_end must be aware and end a window, of 15 minutes"),
        (NOON.replace(tzinfo=None), "window_end must be aware"),
        (NOON - QUARTER, "window_end must not lie before the last cycle, 2026-03-01T12:00:00Z"),
    ],
)
def test_a_moment_that_is_no_window_to_do_is_refused(folder: Path, until: datetime, rule: str) -> None:
    deliver(folder, NOON, 97)
    list(cycle.walk(folder / "ws", NOON))
    with pytest.raises(ValueError, match=rule):
        list(cycle.walk(folder / "ws", until))


def test_a_workspace_without_a_lake_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no lake in .*; ingest captures or counters first"):
        list(cycle.walk(tmp_path, NOON))
