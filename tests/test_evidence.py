"""What is known of a device and its surroundings at a moment, on tables small enough to see."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features import membership, store
from features.evidence import EVIDENCE, evidence
from features.indicators import read_indicators
from features.store import Store
from features.table import Column, check_table

NOON = datetime(2026, 3, 9, 12, tzinfo=UTC)
QUARTER, DAY = timedelta(minutes=15), timedelta(days=1)
LEVEL, LOSS = "ul_interference_level", "gtpu_packet_loss"
INDICATORS = [read_indicators().of(LEVEL), read_indicators().of(LOSS)]


def wide(
    folder: Path, scope: str, rows: list[tuple[str, datetime, float, float]], *, created: datetime = NOON
) -> Path:
    """Write (scope_id, window_end, interference level, packet loss) as a build leaves them."""
    frame = pd.DataFrame(rows, columns=["scope_id", "window_end", LEVEL, LOSS])
    frame["created"] = created
    for name in (LEVEL, LOSS):
        frame[f"{name}__samples"] = np.where(frame[name].isna(), 0.0, 30.0)
    day = max(frame["window_end"])
    path = folder / f"scope={scope}" / f"date={day:%F}" / f"{len(list(folder.rglob('*.parquet')))}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.astype({"window_end": "datetime64[us, UTC]", "created": "datetime64[us, UTC]"}).to_parquet(path)
    return path


def asked(
    files: dict[str, list[Path]], places: dict[str, str], at: datetime = NOON, *, known_only: bool = False
) -> pd.DataFrame:
    found = evidence(files, places, at=at, indicators=INDICATORS, known_only=known_only)
    return check_table(found, EVIDENCE, table="evidence").set_index(["scope", "indicator"])


def history(folder: Path, *, days: int, ids: str = "c1") -> list[Path]:
    """The last window before noon of today, -110 dBm, and of the days before, -120, -121, -119, ..."""
    levels = [-110.0, *(-120.0 + (-1) ** day * (day % 3) for day in range(1, days + 1))]
    return [
        wide(folder, "cell", [(ids, NOON - day * DAY, level, np.nan)]) for day, level in enumerate(levels)
    ]


def test_a_value_is_told_beside_the_same_hour_of_the_days_before(tmp_path: Path) -> None:
    told = asked({"cell": history(tmp_path, days=7)}, {"cell": "c1"}).loc[("cell", LEVEL)]
    before = np.array([-120.0 + (-1) ** day * (day % 3) for day in range(1, 8)])
    assert (told["value"], told["samples"], told["age"]) == (-110.0, 30.0, 0.0)
    assert told["delta"] == pytest.approx(-110.0 - np.median(before))
    assert told["sigma"] == pytest.approx(1.4826 * np.median(np.abs(before - np.median(before))))


def test_an_old_value_is_told_beside_as_many_days_before_it_as_a_new_one(tmp_path: Path) -> None:
    files, places = {"cell": history(tmp_path, days=7)}, {"cell": "c1"}
    new = asked(files, places).loc[("cell", LEVEL)]
    old = asked(files, places, NOON + 7 * DAY).loc[("cell", LEVEL)]
    assert old["age"] == 7 * 86_400
    assert (old["delta"], old["sigma"]) == (new["delta"], new["sigma"])


def test_without_days_of_history_delta_and_sigma_are_unknown(tmp_path: Path) -> None:
    told = asked({"cell": history(tmp_path, days=2)}, {"cell": "c1"}).loc[("cell", LEVEL)]
    assert told["value"] == -110.0
    assert np.isnan([told["delta"], told["sigma"]]).all()


def test_other_hours_are_no_history(tmp_path: Path) -> None:
    night = [
        wide(tmp_path, "cell", [("c1", NOON - day * DAY - 3 * QUARTER, -90.0, 1.0)]) for day in range(1, 8)
    ]
    told = asked({"cell": [*night, *history(tmp_path, days=0)]}, {"cell": "c1"}).loc[("cell", LEVEL)]
    assert np.isnan(told["delta"])


def test_a_missing_value_is_the_last_one_known_with_its_age_and_else_unknown(tmp_path: Path) -> None:
    rows = [("c1", NOON - QUARTER, -118.0, np.nan), ("c1", NOON, np.nan, np.nan), ("c2", NOON, -90.0, 5.0)]
    told = asked({"cell": [wide(tmp_path, "cell", rows)]}, {"cell": "c1", "tac": "t1"})
    assert told.loc[("cell", LEVEL), ["value", "age"]].tolist() == [-118.0, 900.0]
    for place in ("cell", "tac"):
        assert np.isnan(told.loc[(place, LOSS), "value"])
        assert pd.isna(told.loc[(place, LOSS), "window_end"])


def test_what_came_later_and_what_was_corrected_does_not_count(tmp_path: Path) -> None:
    files = [
        wide(tmp_path, "cell", [("c1", NOON, -118.0, 0.5), ("c1", NOON + QUARTER, -90.0, 9.0)]),
        wide(tmp_path, "cell", [("c1", NOON, -117.0, 0.4)], created=NOON + DAY),
    ]
    told = asked({"cell": files}, {"cell": "c1"})
    assert told["value"].tolist() == [-117.0, 0.4]
    assert told.loc[("cell", LEVEL), "window_end"] == NOON


def test_what_nobody_knew_at_the_moment_can_be_left_out(tmp_path: Path) -> None:
    files = [
        wide(tmp_path, "cell", [("c1", NOON - QUARTER, -118.0, 0.5)]),
        wide(
            tmp_path,
            "cell",
            [("c1", NOON - QUARTER, -117.0, 0.4), ("c1", NOON, -90.0, 9.0)],
            created=NOON + DAY,
        ),
    ]
    then = asked({"cell": files}, {"cell": "c1"}, known_only=True)
    assert then["value"].tolist() == [-118.0, 0.5]
    assert set(then["window_end"]) == {pd.Timestamp(NOON - QUARTER)}
    assert asked({"cell": files}, {"cell": "c1"}, NOON + DAY, known_only=True)["value"].tolist() == [
        -90.0,
        9.0,
    ]
    assert asked({"cell": files[1:]}, {"cell": "c1"}, known_only=True)["value"].isna().all()


def test_what_is_older_than_a_week_is_no_evidence(tmp_path: Path) -> None:
    files = [wide(tmp_path, "cell", [("c1", NOON - 8 * DAY, -118.0, 0.5)])]
    assert asked({"cell": files}, {"cell": "c1"})["value"].isna().all()


def test_feast_itself_reads_the_indicators_of_a_scope(tmp_path: Path) -> None:
    lake = tmp_path / "lake" / "indicators"
    wide(
        lake,
        "cell",
        [("c1", NOON - QUARTER, -118.0, 0.5), ("c1", NOON, -117.0, 0.4), ("c2", NOON, -90.0, np.nan)],
    )
    kept = Store(
        tmp_path,
        (Column("flows", "int64", "1"),),
        {"1h": DAY},
        indicators=tuple(INDICATORS),
        scopes={"cell": DAY},
    )
    kept.apply()
    asked_for = pd.DataFrame(
        {"scope_id": ["c1", "c1", "c2"], "event_timestamp": [NOON - QUARTER, NOON + QUARTER, NOON]}
    )
    told = kept._feast_store.get_historical_features(
        entity_df=asked_for, features=[f"indicators_cell:{LEVEL}", f"indicators_cell:{LOSS}"]
    ).to_df()
    told = told.sort_values(["scope_id", "event_timestamp"])
    assert told[LEVEL].tolist() == [-118.0, -117.0, -90.0]
    assert told[LOSS].tolist()[:2] == [0.5, 0.4]
    assert np.isnan(told[LOSS].iloc[2])


def test_the_store_tells_the_evidence_of_all_that_a_device_hung_on_at_the_moment(tmp_path: Path) -> None:
    lake = tmp_path / "lake" / "indicators"
    wide(lake, "cell", [("c1", NOON, -117.0, 0.4), ("c2", NOON, -90.0, 3.0)])
    columns = "device_id,service,cell,tac,mme,platform_node,app,fleet,city,province,valid_from,valid_to"
    rows = [
        "bike-1,bike_sharing,c1,t1,m1,p1,a1,f1,n,s,2026-03-01T00:00:00Z,2026-03-09T12:30:00Z",
        "bike-1,bike_sharing,c2,t1,m1,p1,a1,f1,n,s,2026-03-09T12:30:00Z,",
    ]
    (tmp_path / "members.csv").write_text("\n".join([columns, *rows]) + "\n", encoding="utf-8")
    membership.load([str(tmp_path / "members.csv")], tmp_path)
    kept = store.open(tmp_path)
    before, after = (kept.evidence("bike-1", NOON + minutes * timedelta(minutes=1)) for minutes in (20, 40))
    levels = [told.set_index(["scope", "indicator"]).loc[("cell", LEVEL)] for told in (before, after)]
    assert [level["scope_id"] for level in levels] == ["c1", "c2"]
    assert [level["value"] for level in levels] == [-117.0, -90.0]
    assert set(before["scope"]) == {"device", *membership.PLACES}
    with pytest.raises(LookupError, match="no membership of device 'bike-9'"):
        kept.evidence("bike-9", NOON)
    late = kept.evidence("bike-1", NOON, known_only=True)  # the lake was written at noon, not before
    pd.testing.assert_frame_equal(late, kept.evidence("bike-1", "2026-03-09T20:00:00+08:00"))
    assert kept.evidence("bike-1", NOON - QUARTER, known_only=True)["value"].isna().all()
    for told in (NOON.replace(tzinfo=None), "2026-03-09T12:00:00", "at noon"):
        with pytest.raises(ValueError, match="aware datetime, or ISO 8601 with its zone"):
            kept.evidence("bike-1", told)
    pd.testing.assert_frame_equal(store.open(str(tmp_path)).evidence("bike-1", NOON), late)
