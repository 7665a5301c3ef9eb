"""A device hangs on one place at a time, from the instant on that its row says; a terminal record is known as of."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from features import lake, membership, terminal


def member(device: str, cell: str, since: str, until: str = "") -> str:
    return f"{device},bike_sharing,{cell},t1,m1,n1,a1,f1,beijing,bj,{since},{until}"


HEAD = "device_id,service,cell,tac,mme,platform_node,app,fleet,city,province,valid_from,valid_to"


def load(tmp_path: Path, *rows: str, name: str = "m.csv") -> None:
    (tmp_path / name).write_text("\n".join([HEAD, *rows]) + "\n")
    done = membership.load([str(tmp_path / name)], tmp_path / "ws")
    assert done.failures == ()


def test_a_bike_that_moved_at_noon_hangs_on_the_new_cell_from_noon_on(tmp_path: Path) -> None:
    load(tmp_path, member("b1", "c1", "2026-03-01T00:00:00Z"), member("b1", "c2", "2026-03-01T12:00:00Z"))
    moments = pd.to_datetime(
        ["2026-03-01T11:59:59.999999Z", "2026-03-01T12:00:00Z", "2026-02-28T00:00:00Z"], format="ISO8601"
    )
    asked = pd.DataFrame({"device_id": "b1", "event_timestamp": moments}, index=[7, 8, 9])
    found = membership.as_of(asked, tmp_path / "ws")
    assert found["cell"].tolist()[:2] == ["c1", "c2"]
    assert pd.isna(found["cell"][9])
    assert list(found.index) == [7, 8, 9]
    assert membership.places(tmp_path / "ws", "b1", moments[1])["cell"] == "c2"
    with pytest.raises(LookupError, match="no membership"):
        membership.places(tmp_path / "ws", "b1", moments[2])


def test_a_row_that_ended_is_followed_by_nothing_and_a_later_delivery_may_end_it(tmp_path: Path) -> None:
    load(tmp_path, member("b1", "c1", "2026-03-01T00:00:00Z"))
    load(tmp_path, member("b1", "c1", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"), name="n.csv")
    held = membership.rows(tmp_path / "ws")
    assert held["valid_to"].tolist() == [pd.Timestamp("2026-03-02", tz="UTC")]


def test_of_a_moment_only_the_rows_are_told_that_hold_then(tmp_path: Path) -> None:
    load(
        tmp_path,
        member("b1", "c1", "2026-03-01T00:00:00Z"),
        member("b1", "c2", "2026-03-01T12:00:00Z"),
        member("b2", "c3", "2026-03-01T00:00:00Z", "2026-03-01T12:00:00Z"),
    )
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert membership.held(tmp_path / "ws", noon)["cell"].tolist() == ["c2"]
    before = membership.held(tmp_path / "ws", noon - timedelta(microseconds=1))
    assert before["cell"].tolist() == ["c1", "c3"]
    assert membership.held(tmp_path / "ws", noon - timedelta(days=9)).empty
    assert membership.held(tmp_path / "nowhere", noon).empty


def test_a_device_of_an_unknown_service_hangs_on_nothing(tmp_path: Path) -> None:
    strange = member("b2", "c1", "2026-03-01T00:00:00Z").replace("bike_sharing", "bike_sharng")
    (tmp_path / "m.csv").write_text(f"{HEAD}\n{member('b1', 'c1', '2026-03-01T00:00:00Z')}\n{strange}\n")
    done = membership.load([str(tmp_path / "m.csv")], tmp_path / "ws")
    assert (done.rows, done.quarantined) == (2, {"unknown_service": 1})
    assert membership.rows(tmp_path / "ws")["device_id"].tolist() == ["b1"]


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (member("b1", "c1", "2026-03-02T00:00:00Z", "2026-03-01T00:00:00Z"), "after valid_from"),
        (member("", "c1", "2026-03-02T00:00:00Z"), "must not be empty"),
        (member("b1", "c1", "2026-03-02T00:00:00"), "UTC"),
        (member("b1", "c1", "2026-03-02T00:00:00Z") + ",more", ""),
    ],
)
def test_a_membership_that_breaks_its_contract_is_refused_as_a_whole(
    tmp_path: Path, row: str, rule: str
) -> None:
    (tmp_path / "m.csv").write_text(f"{HEAD}\n{member('b0', 'c1', '2026-03-01T00:00:00Z')}\n{row}\n")
    done = membership.load([str(tmp_path / "m.csv")], tmp_path / "ws")
    assert len(done.failures) == 1
    assert rule in done.failures[0][1]
    assert membership.rows(tmp_path / "ws").empty


def test_the_same_file_again_changes_nothing(tmp_path: Path) -> None:
    load(tmp_path, member("b1", "c1", "2026-03-01T00:00:00Z"))
    before = lake.deliveries(tmp_path / "ws", "membership")
    done = membership.load([str(tmp_path / "m.csv")], tmp_path / "ws")
    assert (done.new, done.unchanged) == (0, 1)
    assert lake.deliveries(tmp_path / "ws", "membership") == before


def test_a_terminal_record_is_what_the_device_told_last_by_then(tmp_path: Path) -> None:
    told = [
        "device_id,at,indicator,value,received",
        "b1,2026-03-01T10:00:00Z,term_battery_level,80,2026-03-01T10:00:01Z",
        "b1,2026-03-01T11:00:00Z,term_battery_level,70,2026-03-01T13:00:00Z",
        "b1,2026-03-01T11:00:00Z,term_sim_ok,1,2026-03-01T11:00:01Z",
    ]
    (tmp_path / "t.csv").write_text("\n".join(told) + "\n")
    assert terminal.load([str(tmp_path / "t.csv")], tmp_path / "ws").failures == ()
    noon = pd.Timestamp("2026-03-01T12:00:00Z")
    asked = pd.DataFrame({"device_id": ["b1", "b2"], "event_timestamp": [noon, noon]})
    found = terminal.as_of(asked, tmp_path / "ws")
    assert found["term_battery_level"][0] == 70
    assert pd.isna(found["term_battery_level"][1])
    assert pd.isna(found["term_vpn_on"][0])  # unknown, never healthy
    assert terminal.as_of(asked, tmp_path / "ws", known_only=True)["term_battery_level"][0] == 80


def test_a_flag_is_zero_or_one(tmp_path: Path) -> None:
    row = "b1,2026-03-01T10:00:00Z,term_sim_ok,0.5,2026-03-01T10:00:01Z"
    (tmp_path / "t.csv").write_text(f"device_id,at,indicator,value,received\n{row}\n")
    (failure,) = terminal.load([str(tmp_path / "t.csv")], tmp_path / "ws").failures
    assert "flag 0 or 1" in failure[1]
