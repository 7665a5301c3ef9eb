"""The table of a KQI holds what was so at the last instant of each window, and nothing that came later."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_membership import HEAD

from evaluation.selection.service_table import ServiceTable, service_table
from features import indicator_tables, lake, membership, records, terminal
from features.indicator_sums import indicators_of
from features.indicators import all_indicators
from features.province import TARGETS, TARGETS_KIND
from features.table import arrow_schema

NOON = datetime(2026, 3, 9, 12, tzinfo=UTC)
LATER = datetime(2026, 5, 1, tzinfo=UTC)  # the lake was built long after
QUARTER, HOUR, DAY = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)
SERVICE, KQI = "bike_sharing", "bk_unlock_delay"
LEVEL, DELAY = "ul_interference_level", "command_delivery_delay_p95"


def targets(workspace: Path, *rows: tuple[str, datetime, float], scope: str = "device") -> None:
    frame = pd.DataFrame(
        [(SERVICE, KQI, scope, *row) for row in rows], columns=[column.name for column in TARGETS]
    )
    path = workspace.parent / f"kqi-{len(list(workspace.parent.glob('kqi-*')))}.parquet"
    frame.astype({"window_end": "datetime64[us, UTC]"}).to_parquet(path)
    done = records.load([str(path)], workspace, records.Contract(TARGETS_KIND, TARGETS, "window_end"))
    assert done.failures == ()


def hangs(workspace: Path, *stays: tuple[str, str, datetime]) -> None:
    """Membership rows: device, cell, since when."""
    rows = [
        f"{device},{SERVICE},{cell},t1,m1,n1,a1,f1,beijing,bj,{since:%FT%TZ},"
        for device, cell, since in stays
    ]
    path = workspace.parent / "members.csv"
    path.write_text("\n".join([HEAD, *rows]) + "\n")
    assert membership.load([str(path)], workspace).failures == ()


def wide(
    workspace: Path, scope: str, rows: list[tuple[str, datetime, float]], *, indicator: str = LEVEL,
    created: datetime = LATER, samples: float = 30.0,
) -> None:  # fmt: skip
    """Write one indicator of a scope as a build leaves it, all other ones empty."""
    columns = indicator_tables.wide_columns(indicators_of(scope, all_indicators(workspace)))
    frame = pd.DataFrame(
        {"scope_id": [row[0] for row in rows], "window_end": [row[1] for row in rows], "created": created}
    )
    for column in columns[3:]:
        frame[column.name] = 0.0 if column.name.endswith("__samples") else np.nan
    frame[indicator], frame[f"{indicator}__samples"] = [row[2] for row in rows], samples
    folder = indicator_tables.folder(workspace, scope)
    number = len(list(folder.rglob("*.parquet")))
    for day, part in frame.groupby(frame["window_end"].dt.date):
        path = folder / f"date={day}" / f"{number}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        part.to_parquet(path, schema=arrow_schema(columns), index=False)


def made(workspace: Path, *, scope: str | None = None) -> ServiceTable:
    return service_table(workspace, SERVICE, KQI, scope=scope)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "ws"


def test_a_bike_that_moves_has_the_cell_of_its_moment(workspace: Path) -> None:
    targets(workspace, ("b1", NOON, 3.0), ("b1", NOON + HOUR, 4.0), ("b1", NOON + 2 * HOUR, 5.0))
    hangs(workspace, ("b1", "c1", NOON - DAY), ("b1", "c2", NOON + HOUR))
    at = [NOON + n * HOUR for n in range(3)]
    wide(workspace, "cell", [("c1", end, -120.0) for end in at] + [("c2", end, -110.0) for end in at])
    table = made(workspace)
    assert table.frame[f"{LEVEL}@cell"].tolist() == [
        -120.0,
        -120.0,
        -110.0,
    ]  # it moves as the second window ends
    assert table.frame[KQI].tolist() == [3.0, 4.0, 5.0]
    assert table.scope == "device"


def test_a_window_that_ends_later_never_enters_and_one_too_old_neither(workspace: Path) -> None:
    targets(workspace, ("b1", NOON, 3.0), ("b2", NOON, 3.0), ("b3", NOON, 3.0))
    hangs(workspace, ("b1", "c1", NOON - DAY), ("b2", "c2", NOON - DAY), ("b3", "c3", NOON - DAY))
    minute = timedelta(minutes=1)
    wide(workspace, "cell", [("c1", NOON + minute, -90.0), ("c1", NOON - 14 * minute, -120.0),
                             ("c2", NOON + minute, -90.0), ("c3", NOON - QUARTER, -120.0)])  # fmt: skip
    wide(workspace, "device", [("b2", NOON - 7 * DAY, 4.0), ("b1", NOON - 7 * DAY - minute, 4.0),
                               ("b3", NOON - HOUR, 5.0), ("b3", NOON + minute, 9.0)], indicator=DELAY)  # fmt: skip
    frame = made(workspace).frame.set_index("scope_id")
    np.testing.assert_equal(frame[f"{DELAY}@device"].to_dict(), {"b1": np.nan, "b2": 4.0, "b3": 5.0})
    np.testing.assert_equal(frame[f"{LEVEL}@cell"].to_dict(), {"b1": -120.0, "b2": np.nan, "b3": np.nan})


def test_places_of_short_windows_are_told_over_the_window_of_the_kqi_wherever_the_bike_was(
    workspace: Path,
) -> None:
    targets(workspace, ("b1", NOON, 3.0), ("b1", NOON + HOUR, 4.0))
    hangs(workspace, ("b1", "c1", NOON - DAY), ("b1", "c2", NOON + 2 * QUARTER))
    ends = [NOON + n * QUARTER for n in range(-1, 6)]  # the first and the last are not of the hour
    loss = "ul_bler"
    wide(workspace, "cell", [("c1", end, float(n)) for n, end in enumerate(ends)], indicator=loss, samples=10)
    wide(
        workspace, "cell", [("c2", end, 100.0 + n) for n, end in enumerate(ends)], indicator=loss, samples=30
    )
    told = made(workspace).frame.set_index("window_end")[f"{loss}@cell"]
    here, there = (2 + 3) * 10, (104 + 105) * 30  # two quarters at c1, the last two at c2
    assert told[NOON + HOUR] == pytest.approx((here + there) / 80)
    assert told[NOON] == pytest.approx(0.5)


def test_powers_of_a_place_are_averaged_as_powers(workspace: Path) -> None:
    targets(workspace, ("b1", NOON, 3.0), ("b1", NOON + HOUR, 4.0))
    hangs(workspace, ("b1", "c1", NOON - DAY))
    wide(workspace, "cell", [("c1", NOON + QUARTER, -120.0), ("c1", NOON + HOUR, -110.0)])
    told = made(workspace).frame.set_index("window_end")[f"{LEVEL}@cell"]
    assert told[NOON + HOUR] == pytest.approx(10 * np.log10((1e-12 + 1e-11) / 2))
    assert list(told.index) == [NOON + HOUR]  # of the row before nothing is known


def test_a_lake_that_was_built_all_along_tells_only_what_it_knew_then(workspace: Path) -> None:
    targets(workspace, ("b1", NOON, 3.0), ("b1", NOON + HOUR, 4.0))
    hangs(workspace, ("b1", "c1", NOON - DAY))
    rows = [("c1", NOON, -120.0), ("c1", NOON + HOUR, -119.0)]
    wide(workspace, "cell", rows[:1], created=NOON)
    wide(workspace, "cell", [("c1", NOON, -90.0)], created=NOON + 2 * HOUR)  # a correction, too late
    wide(workspace, "cell", rows[1:], created=NOON + 3 * HOUR)  # and a whole window
    table = made(workspace)
    assert table.frame[f"{LEVEL}@cell"].tolist() == [pytest.approx(-120.0)]
    assert table.frame["window_end"].tolist() == [pd.Timestamp(NOON)]
    assert "1 of 2 rows have no indicator known by then" in " ".join(table.notes)


def test_a_lake_that_was_built_afterwards_says_so_and_takes_the_newest_version(workspace: Path) -> None:
    targets(workspace, ("b1", NOON, 3.0))
    hangs(workspace, ("b1", "c1", NOON - DAY))
    wide(workspace, "cell", [("c1", NOON, -120.0)])
    wide(workspace, "cell", [("c1", NOON, -119.0)], created=LATER + DAY)
    table = made(workspace)
    assert table.frame[f"{LEVEL}@cell"].tolist() == [-119.0]
    assert "computed after all of it, from 2026-05-01 on" in table.notes[0]


def test_what_a_device_told_counts_from_when_it_was_received(workspace: Path) -> None:
    targets(workspace, ("b1", NOON, 3.0), ("b1", NOON + HOUR, 4.0))
    hangs(workspace, ("b1", "c1", NOON - DAY))
    wide(workspace, "cell", [("c1", NOON, -120.0), ("c1", NOON + HOUR, -120.0)])
    path = workspace.parent / "terminal.csv"
    path.write_text(
        "device_id,at,indicator,value,received\n"
        "b1,2026-03-09T09:00:00Z,term_battery_level,80,2026-03-09T09:00:00Z\n"
        "b1,2026-03-09T11:00:00Z,term_battery_level,20,2026-03-09T12:30:00Z\n"
    )
    assert terminal.load([str(path)], workspace).failures == ()
    table = made(workspace)
    assert table.frame["term_battery_level@device"].tolist() == [80.0, 20.0]
    meaning = table.meanings["term_battery_level@device"]
    assert (meaning.unit, meaning.domain, meaning.scope) == ("%", "terminal", "device")


def test_a_cell_has_the_tac_that_all_of_its_devices_share(workspace: Path) -> None:
    targets(workspace, ("c1", NOON, 3.0), scope="cell")
    hangs(workspace, ("b1", "c1", NOON - DAY), ("b2", "c1", NOON - DAY))
    wide(workspace, "cell", [("c1", NOON, -120.0)])
    wide(workspace, "tac", [("t1", NOON, -118.0)])
    table = made(workspace, scope="cell")
    assert table.frame[[f"{LEVEL}@cell", f"{LEVEL}@tac"]].to_numpy().tolist() == [[-120.0, -118.0]]
    assert (table.meanings[f"{LEVEL}@tac"].unit, table.meanings[f"{LEVEL}@tac"].scope) == ("dBm", "tac")


def test_more_rows_than_fit_are_those_of_places_drawn_by_the_seed(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evaluation.selection.service_table.MOST_ROWS", 4)
    targets(workspace, *((f"b{n}", NOON + h * HOUR, 1.0) for n in range(5) for h in range(2)))
    hangs(workspace, *((f"b{n}", "c1", NOON - DAY) for n in range(5)))
    wide(workspace, "cell", [("c1", NOON, -120.0), ("c1", NOON + HOUR, -120.0)])
    taken = [service_table(workspace, SERVICE, KQI, seed=seed) for seed in range(8)]
    assert all(one.frame["scope_id"].value_counts().tolist() == [2, 2] for one in taken)
    assert len({frozenset(one.frame["scope_id"]) for one in taken}) > 1
    assert "4 of 10 rows were taken" in taken[0].notes[0]


def test_what_is_not_there_is_named_with_the_nearest_or_the_way_out(workspace: Path) -> None:
    with pytest.raises(LookupError, match=r"no service 'bike_sharng'.*nearest is bike_sharing"):
        service_table(workspace, "bike_sharng", KQI)
    with pytest.raises(LookupError, match=r"no KQI 'bk_unlock_dely'.*nearest is bk_unlock_delay"):
        service_table(workspace, SERVICE, "bk_unlock_dely")
    with pytest.raises(LookupError, match="province load DIR --targets"):
        made(workspace)
    targets(workspace, ("b1", NOON, 3.0))
    with pytest.raises(LookupError, match=r"no target of bk_unlock_success.*, but of bk_unlock_delay;"):
        service_table(workspace, SERVICE, "bk_unlock_success")
    with pytest.raises(LookupError, match="iotlens indicators build"):
        made(workspace)
    with pytest.raises(
        LookupError, match="no target of bk_unlock_delay at scope 'devise'; the nearest is device"
    ):
        made(workspace, scope="devise")
    assert not lake.is_simulated(workspace)
