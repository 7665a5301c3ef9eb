"""The alarms of a workspace over REST: what a monitor left below alarms/, and nothing where there is none."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from test_identify import problem, started

RAISED = datetime(2026, 3, 2, 6, 15, tzinfo=UTC)


def alarm(number: int, **changes: Any) -> dict[str, Any]:
    """Return a row as `iotlens monitor` writes it, with a column that REST does not tell."""
    raised = RAISED + timedelta(minutes=15 * number)
    return {
        "alarm_id": f"a{number}",
        "service": "smoke_sensor",
        "kqi": "ss_alarm_latency",
        "scope": "cell",
        "scope_id": f"c{number}",
        "raised": raised,
        "updated": raised,
        "cleared": pd.NaT,
        "severity": "major",
        "score": 31.5,
        "baseline": 78.0,
        "deviation": -6.2,
        "siblings": float("nan"),
        "worst_step": "ss_alarm/3 RRC connection",
        "worst_indicator": None,
        "parent": None,
        "status": "open",
        "devices": 40,
    } | changes


def left(workspace: Path, name: str, *rows: dict[str, Any]) -> None:
    (workspace / "alarms").mkdir(exist_ok=True)
    frame = pd.DataFrame(rows)
    frame["cleared"] = pd.to_datetime(frame["cleared"], utc=True)
    frame.to_parquet(workspace / "alarms" / name)


def test_where_nothing_monitors_there_is_no_alarm(tmp_path: Path) -> None:
    with started(tmp_path, None) as client:
        assert client.get("/alarms").json() == {"alarms": [], "total": 0, "simulated": False}


def test_alarms_are_told_newest_first_by_what_is_asked(tmp_path: Path) -> None:
    left(
        tmp_path,
        "1.parquet",
        alarm(1),
        alarm(2, service="bike_sharing"),
        alarm(3, scope="tac", scope_id="t1"),
    )
    with started(tmp_path, None) as client:

        def told(**asked: Any) -> list[str]:
            return [one["alarm_id"] for one in client.get("/alarms", params=asked).json()["alarms"]]

        assert told() == ["a3", "a2", "a1"]
        assert told(service="smoke_sensor") == ["a3", "a1"]
        assert told(scope="tac", scope_id="t1") == ["a3"]
        assert told(status="cleared") == []
        first = client.get("/alarms", params={"limit": 1}).json()
        assert (len(first["alarms"]), first["total"]) == (1, 3)
        assert first["alarms"][0]["cleared"] is None
        assert first["alarms"][0]["raised"] == "2026-03-02T07:00:00Z"
        for asked in ({"limit": 0}, {"limit": 10_001}, {"status": "loud"}, {"servic": "x"}):
            assert problem(client.get("/alarms", params=asked)) == "invalid"


@pytest.mark.parametrize(
    ("asked", "pointer", "told"),
    [
        ({"scope": "town"}, "#/scope", "must be the scope of a place: cell, tac, mme,"),
        ({"scope": "device"}, "#/scope", "must be the scope of a place: cell, tac, mme,"),
        ({"service": "smoke"}, "#/service", "must be a service: bike_sharing, smoke_sensor, video"),
        ({"status": "closed"}, "#/status", "'open' or 'cleared'"),
    ],
)
@pytest.mark.parametrize("monitored", [True, False])
def test_what_no_alarm_can_be_of_is_refused_with_what_there_is(
    tmp_path: Path, monitored: bool, asked: dict[str, str], pointer: str, told: str
) -> None:
    if monitored:
        left(tmp_path, "alarms.parquet", alarm(1))
    with started(tmp_path, None) as client:
        answer = client.get("/alarms", params=asked)
        assert (answer.status_code, problem(answer)) == (422, "invalid")
        (error,) = answer.json()["errors"]
        assert error["pointer"] == pointer and told in error["detail"]


def test_alarms_of_a_service_that_was_taken_away_are_still_told(tmp_path: Path) -> None:
    left(tmp_path, "alarms.parquet", alarm(1, service="water_meter"))
    with started(tmp_path, None) as client:
        assert client.get("/alarms", params={"service": "water_meter"}).json()["total"] == 1
        assert client.get("/alarms", params={"scope": "cdn_node"}).json()["total"] == 0  # may be, but is not


def test_of_an_alarm_the_table_written_last_counts_and_other_tables_are_none_of_alarms(
    tmp_path: Path,
) -> None:
    left(tmp_path, "1.parquet", alarm(1), alarm(2))
    cleared = RAISED + timedelta(hours=2)
    left(tmp_path, "2.parquet", alarm(1, status="cleared", cleared=cleared, updated=cleared))
    pd.DataFrame({"device_id": ["sensor-1"], "kind": ["silent"]}).to_parquet(
        tmp_path / "alarms" / "1-devices.parquet"
    )
    with started(tmp_path, None) as client:
        told = {one["alarm_id"]: one for one in client.get("/alarms").json()["alarms"]}
        assert {name: one["status"] for name, one in told.items()} == {"a1": "cleared", "a2": "open"}
        assert told["a1"]["cleared"] == "2026-03-02T08:15:00Z"


def test_a_table_of_alarms_whose_writer_was_killed_is_none(tmp_path: Path) -> None:
    left(tmp_path, "alarms.parquet", alarm(1))
    (tmp_path / "alarms" / ".partial-4711-alarms.parquet").write_bytes(b"PAR1")
    with started(tmp_path, None) as client:
        assert client.get("/alarms").json()["total"] == 1
