"""All that is known of a device at a moment: what was told then, of late enough, and nothing after."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features import known, terminal

AT = pd.Timestamp("2026-03-06 00:00", tz="UTC")


def told(path: Path, *rows: tuple[str, float, str, float]) -> str:
    """Write terminal records of (device, days before, indicator, value)."""
    made = [
        {"device_id": device, "at": AT - timedelta(days=days), "indicator": indicator, "value": value}
        for device, days, indicator, value in rows
    ]
    frame = pd.DataFrame(made)
    frame.assign(received=frame["at"]).to_parquet(path, index=False)
    return str(path)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    records = told(
        tmp_path / "t.parquet",
        ("fresh", 1, "term_battery_level", 70), ("fresh", 1, "term_battery_drain", 0.5),
        ("fresh", 2, "term_battery_drain", 1.5), ("fresh", 20, "term_battery_drain", 99),
        ("fresh", -1, "term_battery_drain", 99), ("old", 5, "term_battery_level", 70),
        ("old", 5, "term_battery_drain", 1), ("fresh", 1, "term_imei_binding_ok", 1),
    )  # fmt: skip
    assert not terminal.load([records], tmp_path / "ws").failures
    return tmp_path / "ws"


def test_a_battery_is_judged_by_its_newest_level_and_the_mean_drain_of_two_weeks(workspace: Path) -> None:
    found = known.known(workspace, at=AT).set_index("device_id")
    assert found.loc["fresh", "battery_days_left"] == pytest.approx((70 - 10) / 1.0)
    assert found.loc["fresh", "term_imei_binding_ok"] == 1


def test_a_record_of_long_ago_is_unknown_and_one_of_tomorrow_is_not_seen(workspace: Path) -> None:
    found = known.known(workspace, at=AT + timedelta(days=0)).set_index("device_id")
    assert "old" not in found.index  # nobody has told anything of it for three days
    past = known.known(workspace, at=AT - timedelta(days=4)).set_index("device_id")
    assert past.loc["old", "term_battery_level"] == 70
    assert "fresh" not in past.index or np.isnan(past.loc["fresh", "term_battery_level"])


def test_of_what_nobody_told_every_feature_is_unknown(workspace: Path) -> None:
    found = known.known(workspace, at=AT).set_index("device_id")
    untold = [name for name in known.columns() if name in found and not name.startswith(("term_", "battery"))]
    assert len(untold) > 50
    assert found.loc["fresh", untold].isna().all()


def test_the_newest_moment_is_that_of_the_last_record_in_quarters_of_an_hour(
    workspace: Path, tmp_path: Path
) -> None:
    assert known.newest_moment(workspace) == AT + timedelta(days=1)
    with pytest.raises(LookupError, match=r"no flow and no terminal record .* --at"):
        known.newest_moment(tmp_path / "nothing")
