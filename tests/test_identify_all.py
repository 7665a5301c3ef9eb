"""Every device whose newest window is not stale is identified, and its service told where its label has one."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from tiny_fleet import LAST_HOUR

from features import windows
from serving import identify_all


def test_devices_heard_of_lately_are_answered_and_one_of_long_ago_is_not(fleet: Any, tmp_path: Path) -> None:
    known = windows.devices(fleet.workspace, "1h")
    assert known == sorted(known) and len(known) == 25 and fleet.old in known
    out, services = tmp_path / "out.parquet", {"tracker": "bike_sharing"}
    told = identify_all.identify_all(
        fleet.workspace, fleet.hour_run, at=LAST_HOUR, services=services, out=out
    )
    found = pd.read_parquet(out)
    assert told == len(found) == 24 and fleet.old not in set(found["device_id"])
    assert set(found["window_end"]) == {pd.Timestamp(LAST_HOUR)}
    sure = found[~found["unknown"]]
    assert len(sure) and (sure["service"].notna() == (sure["label"] == "tracker")).all()
    assert found.loc[found["unknown"], "service"].isna().all()


def test_at_a_moment_at_which_every_window_is_stale_nobody_is_answered(fleet: Any, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    late = LAST_HOUR + timedelta(days=1)
    assert identify_all.identify_all(fleet.workspace, fleet.hour_run, at=late, services={}, out=out) == 0
    assert list(pd.read_parquet(out).columns) == [column.name for column in identify_all.IDENTIFIED]


def test_a_window_that_nobody_has_a_row_of_has_no_devices(tmp_path: Path) -> None:
    assert windows.devices(tmp_path, "1h") == []
