"""However counters and membership arrive, and whenever it was built meanwhile: the rows are those of one build."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from test_indicator_windows import ATTACH, RRC, TABLE, count, samples
from test_membership import HEAD, member

from features import counters, indicator_devices, indicator_tables, indicator_windows, membership

DAY = datetime(2026, 3, 1, tzinfo=UTC)
SCOPES = ("device", "cell", "tac", "mme", "city", "province", "fleet", "app", "platform_node")
IDS = {"device": ("b1", "b2", "b3"), "cell": ("c1", "c2"), "tac": ("t1",), "mme": ("m1",), "fleet": ("f1",)}


def rows_of(moment: random.Random, size: int) -> list[list[dict[str, object]]]:
    """Return counters at moments of three days, of scopes that count the like, as the rows of one element."""
    found: dict[tuple[object, ...], list[dict[str, object]]] = {}
    for _ in range(size):
        scope = moment.choice(("device", "device", "device", "cell", "tac", "mme", "fleet"))
        counter = moment.choice((RRC, ATTACH, "rrc_setup_ms") if scope in ("device", "cell") else (ATTACH,))
        minute = 15 * moment.choice((0, 1, 47, 48, 94, 95, 96, 150, 191, 192, 250))
        length_s = moment.choice((300, 900, 900, 3600))  # where two lengths meet the longer does not count
        start = DAY + timedelta(minutes=minute) // timedelta(seconds=length_s) * timedelta(seconds=length_s)
        scope_id, element = moment.choice(IDS[scope]), moment.choice(("e1", "e2"))
        told = f"{start:%Y-%m-%dT%H:%M:%SZ}"
        if counter == "rrc_setup_ms":
            one = samples(scope, scope_id, told, counter, [moment.uniform(50, 900) for _ in range(25)])
        else:
            good = moment.randint(0, 40)
            one = [count(scope, scope_id, told, counter, good, good + moment.randint(1, 10))]
        found[(scope, scope_id, start, length_s, counter, element)] = [
            {**row, "element": element, "window_s": length_s} for row in one
        ]
    return list(found.values())


def stays_of(moment: random.Random) -> list[str]:
    """Return rows of MEMBERSHIP: where each device is at first, and moves."""
    first = [
        member(f"b{n}", f"c{1 + n // 3}", "2026-02-27T00:00:00Z") for n in (1, 2, 3)
    ]  # all cells are known
    moves = [
        member(
            moment.choice(IDS["device"]),
            moment.choice(("c1", "c2")),
            f"{DAY + timedelta(minutes=m):%Y-%m-%dT%H:%M:%SZ}",
        )
        for m in moment.sample(range(72 * 60), 4)
    ]
    moves[-1] = moves[-1].replace(",t1,", ",t2,")  # its cell lies elsewhere, and all of that day
    return first + moves


def deliver(workspace: Path, told: list[list[dict[str, object]]], name: str) -> None:
    path = workspace.parent / name
    pd.DataFrame([row for one in told for row in one], columns=TABLE).to_csv(path, index=False)
    assert counters.ingest([str(path)], workspace).failures == ()


def tell(workspace: Path, rows: list[str], name: str) -> None:
    path = workspace.parent / name
    path.write_text("\n".join([HEAD, *rows]) + "\n")
    assert membership.load([str(path)], workspace).failures == ()


def known(workspace: Path, scope: str) -> pd.DataFrame:
    """Return the rows of a scope that hold anything: an empty row stands for one that is gone."""
    rows = indicator_tables.rows(workspace, scope).drop(columns="created")
    counted = rows[[name for name in rows if name.endswith("__samples")]].sum(axis=1) > 0
    return rows[counted].reset_index(drop=True)


@pytest.mark.parametrize("seed", range(2))
def test_rows_do_not_depend_on_how_the_counters_came(tmp_path: Path, seed: int) -> None:
    moment = random.Random(seed)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    piecewise, at_once = tmp_path / "a" / "ws", tmp_path / "b" / "ws"
    rows, stays = rows_of(moment, 60), stays_of(moment)
    tell(piecewise, stays[:3], "m0.csv")
    tell(at_once, stays, "m.csv")
    deliver(at_once, rows, "all.csv")
    indicator_windows.build(at_once)
    moment.shuffle(rows)
    parts = [rows[n::4] for n in range(4)]
    for number, part in enumerate(parts):
        deliver(piecewise, part, f"{number}.csv")
        if number in (1, 3):
            tell(piecewise, stays[3:5] if number == 1 else stays[5:], f"m{number}.csv")
        until = DAY + timedelta(minutes=15 * moment.randint(40, 280)) if moment.random() < 0.5 else None
        indicator_windows.build(piecewise, window_end=until)
    indicator_windows.build(piecewise)
    assert sum(indicator_windows.build(piecewise).computed.values()) == 0
    for scope in SCOPES:
        pd.testing.assert_frame_equal(known(piecewise, scope), known(at_once, scope), rtol=1e-12, obj=scope)


def test_a_window_whose_counters_fell_to_shorter_ones_of_a_later_delivery_is_gone(tmp_path: Path) -> None:
    for number, (length_s, good) in enumerate(((3600, 500), (900, 99))):
        one = count("cell", "c1", "2026-03-01T08:00:00Z", RRC, good, 1000, window_s=length_s)
        deliver(tmp_path / "ws", [[one]], f"{number}.csv")
        indicator_windows.build(tmp_path / "ws")
    assert known(tmp_path / "ws", "cell")["window_end"].tolist() == [pd.Timestamp("2026-03-01T08:15:00Z")]


def computed(workspace: Path) -> int:
    """Build, and return how many windows of cells were computed."""
    return indicator_windows.build(workspace).computed.get("cell", 0)


def test_a_membership_opens_only_the_days_on_which_it_places_a_device_elsewhere(tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    days = [f"2026-03-0{day}" for day in range(1, 6)]
    first = member("b1", "c1", "2026-03-01T00:00:00Z")
    tell(workspace, [first, member("b2", "c2", "2026-03-01T00:00:00Z")], "first.csv")
    deliver(workspace, [[count("device", "b1", f"{day}T08:00:00Z", RRC, 40, 50)] for day in days], "c.csv")
    assert computed(workspace) == 5
    tell(workspace, [], "empty.csv")
    assert computed(workspace) == 0
    tell(workspace, [first, member("b2", "c2", "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z")], "known.csv")
    assert computed(workspace) == 0  # it ends after the last counter
    tell(workspace, [first, member("b1", "c2", "2026-03-04T00:00:00Z")], "moved.csv")
    assert computed(workspace) == 2
    tell(workspace, [member("b1", "c2", "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z")], "visit.csv")
    assert computed(workspace) == 1  # and where it then was on the 3rd nobody tells
    told = known(workspace, "cell").set_index("window_end")["scope_id"]
    assert [told[f"{day}T08:15:00Z"] for day in (days[0], days[1], days[3], days[4])] == [
        "c1",
        "c2",
        "c2",
        "c2",
    ]
    assert len(told) == 4


def quarters(count_of: int) -> list[str]:
    """Return the beginnings of the first quarters of an hour of a day."""
    return [f"{DAY + timedelta(minutes=15 * n):%Y-%m-%dT%H:%M:%SZ}" for n in range(count_of)]


def test_a_device_that_moved_opens_only_the_windows_that_end_later_that_day(tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    tell(
        workspace,
        [member(one, cell, "2026-02-27T00:00:00Z") for one, cell in (("b1", "c1"), ("b2", "c2"))],
        "m.csv",
    )
    told = [[count("device", "b1", start, RRC, 40, 50)] for start in quarters(24)]
    deliver(workspace, told, "c.csv")
    assert computed(workspace) == 24
    tell(workspace, [member("b1", "c2", "2026-03-01T05:10:00Z")], "moved.csv")
    assert computed(workspace) == 4  # from 05:00 on
    cells = known(workspace, "cell").set_index("window_end")["scope_id"]
    assert (cells["2026-03-01T05:00:00Z"], cells["2026-03-01T05:15:00Z"]) == ("c1", "c2")
    assert computed(workspace) == 0


def test_a_device_that_moved_and_tells_that_its_cell_lies_elsewhere_opens_the_whole_day(
    tmp_path: Path,
) -> None:
    workspace = tmp_path / "ws"
    tell(workspace, [member("b1", "c1", "2026-02-27T00:00:00Z")], "m.csv")
    deliver(workspace, [[count("cell", "c1", start, RRC, 40, 50)] for start in quarters(24)], "c.csv")
    assert computed(workspace) == 24
    moved = member("b2", "c1", "2026-03-01T05:10:00Z").replace(",t1,", ",t2,")
    tell(workspace, [moved], "moved.csv")
    assert computed(workspace) == 24
    assert set(known(workspace, "tac")["scope_id"]) == {"t2"}


def test_late_counters_of_hours_that_lie_apart_change_their_windows_and_no_other(tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    deliver(workspace, [[count("cell", "c1", start, RRC, 40, 50)] for start in quarters(40)], "c.csv")
    assert computed(workspace) == 40
    late = [[count("cell", "c2", quarters(40)[n], RRC, 1, 50)] for n in (0, 17, 38)]
    deliver(workspace, late, "late.csv")
    done = indicator_windows.build(workspace)
    assert (done.computed["cell"], done.written["cell"]) == (2 * 3, 3)  # of both cells
    ends = known(workspace, "cell").query("scope_id == 'c2'")["window_end"]
    assert [f"{end:%H:%M}" for end in ends] == ["00:15", "04:30", "09:45"]


def test_devices_computed_a_few_at_a_time_have_the_rows_of_all_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, told = rows_of(random.Random(3), 60), []
    for name, size in (("a", 4_000_000), ("b", 10)):
        workspace = tmp_path / name / "ws"
        workspace.parent.mkdir()
        deliver(workspace, rows, "all.csv")
        monkeypatch.setattr(indicator_devices, "_ROWS", size)
        indicator_windows.build(workspace)
        told.append(known(workspace, "device"))
    assert len(told[0]) > 10
    pd.testing.assert_frame_equal(told[0], told[1], check_exact=True)
