"""Counters become indicators by sums alone, in the window they end in, at every scope they hang on."""

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_counters import GOOD
from test_membership import HEAD, member

from features import counter_tables, counters, indicator_tables, indicator_windows, membership, sketch

NOON = "2026-03-01T12:00:00Z"
TABLE = list(GOOD)


def count(
    scope: str, scope_id: str, start: str, counter: str, n: float, d: float | None = None, **more: object
) -> dict[str, object]:
    """One row of COUNTERS, in the long form."""
    row = {**GOOD, "scope": scope, "scope_id": scope_id, "window_start": start, "counter": counter}
    late = {"received": "2026-03-09T00:00:00Z", "numerator": n, "denominator": "" if d is None else d}
    return {**row, **late, **more}


def samples(
    scope: str, scope_id: str, start: str, counter: str, values: Iterable[float]
) -> list[dict[str, object]]:
    found, counts = np.unique(sketch.bins(np.array(list(values))), return_counts=True)
    return [
        count(scope, scope_id, start, counter, int(n), bin=int(one))
        for one, n in zip(found, counts, strict=True)
    ]


def deliver(workspace: Path, rows: list[dict[str, object]], name: str = "a.csv") -> counters.CounterSummary:
    path = workspace.parent / name
    pd.DataFrame(rows, columns=TABLE).to_csv(path, index=False)
    return counters.ingest([str(path)], workspace)


def members(workspace: Path, *rows: str) -> None:
    path = workspace.parent / "members.csv"
    path.write_text("\n".join([HEAD, *rows]) + "\n")
    assert membership.load([str(path)], workspace).failures == ()


def value(workspace: Path, scope: str, scope_id: str, end: str, indicator: str) -> tuple[float, float]:
    found = indicator_tables.long(workspace, scope)
    at = (
        (found["scope_id"] == scope_id)
        & (found["window_end"] == pd.Timestamp(end))
        & (found["indicator"] == indicator)
    )
    ((answer, n),) = found.loc[at, ["value", "samples"]].to_numpy().tolist()
    return answer, n


RRC = "rrc_setup_succ/rrc_setup_att"
ATTACH = "attach_succ/attach_att"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "ws"


def test_a_ratio_is_the_ratio_of_sums_and_never_the_mean_of_ratios(workspace: Path) -> None:
    start = "2026-03-01T12:00:00Z"
    rows = [count("cell", "c1", start, RRC, 1, 1000, element=e) for e in "x"]
    deliver(workspace, [*rows, count("cell", "c1", start, RRC, 10, 10, element="y")])
    indicator_windows.build(workspace)
    answer = value(workspace, "cell", "c1", "2026-03-01T12:15:00Z", "rrc_setup_success_rate")
    assert answer == (pytest.approx(100 * 11 / 1010), 1010)


def test_interference_is_averaged_as_power(workspace: Path) -> None:
    rows = [count("cell", "c1", NOON, "ul_in_dbm_15k", 10**-12 + 10**-8, 2)]
    deliver(workspace, rows)
    indicator_windows.build(workspace)
    answer, _ = value(workspace, "cell", "c1", "2026-03-01T12:15:00Z", "ul_interference_level")
    assert answer == pytest.approx(10 * math.log10((10**-12 + 10**-8) / 2))


def test_a_quantile_comes_from_merged_bins_of_many_devices(workspace: Path) -> None:
    members(workspace, *(member(f"b{i}", "c1", "2026-03-01T00:00:00Z") for i in range(5)))
    random = np.random.default_rng(7)
    all_values = random.lognormal(5, 1, (5, 30))
    rows = [row for i in range(5) for row in samples("device", f"b{i}", NOON, "rrc_setup_ms", all_values[i])]
    deliver(workspace, rows)
    indicator_windows.build(workspace)
    for scope, scope_id in (("cell", "c1"), ("tac", "t1")):
        answer, n = value(workspace, scope, scope_id, "2026-03-01T12:15:00Z", "rrc_setup_delay_p95")
        assert answer == pytest.approx(np.quantile(all_values, 0.95, method="lower"), rel=0.0101)
        assert n == 150


def test_a_bike_that_moved_at_noon_counts_in_the_right_cell_in_each_window(workspace: Path) -> None:
    members(workspace, member("b1", "c1", "2026-03-01T00:00:00Z"), member("b1", "c2", NOON))
    rows = [
        count("device", "b1", "2026-03-01T11:45:00Z", RRC, 40, 50),
        count("device", "b1", NOON, RRC, 30, 60),
    ]
    deliver(workspace, rows)
    indicator_windows.build(workspace)
    before = value(workspace, "cell", "c1", "2026-03-01T12:00:00Z", "rrc_setup_success_rate")
    after = value(workspace, "cell", "c2", "2026-03-01T12:15:00Z", "rrc_setup_success_rate")
    assert (before, after) == ((80, 50), (50, 60))
    assert set(indicator_tables.rows(workspace, "cell")["scope_id"]) == {"c1", "c2"}
    assert len(indicator_tables.rows(workspace, "cell")) == 2
    assert len(indicator_tables.rows(workspace, "tac")) == 2


def test_a_scope_with_its_own_counters_needs_none_from_below(workspace: Path) -> None:
    members(
        workspace,
        member("b1", "c1", "2026-03-01T00:00:00Z"),
        member("b2", "c2", "2026-03-01T00:00:00Z"),
    )
    rows = [
        count("cell", "c1", NOON, RRC, 90, 100),
        count("device", "b1", NOON, RRC, 1, 50),  # the cell has counted this already
        count("device", "b2", NOON, RRC, 30, 40),
    ]
    deliver(workspace, rows)
    indicator_windows.build(workspace)
    end = "2026-03-01T12:15:00Z"
    assert value(workspace, "cell", "c1", end, "rrc_setup_success_rate") == (90, 100)
    assert value(workspace, "tac", "t1", end, "rrc_setup_success_rate") == (
        pytest.approx(100 * 120 / 140),
        140,
    )
    assert value(workspace, "fleet", "f1", "2026-03-02T00:00:00Z", "rrc_setup_success_rate")[1] == 90
    assert value(workspace, "city", "beijing", end, "rrc_setup_success_rate")[1] == 140


def test_too_few_samples_are_no_evidence_and_are_told(workspace: Path) -> None:
    deliver(workspace, [count("cell", "c1", NOON, RRC, 29, 29)])
    indicator_windows.build(workspace)
    answer, n = value(workspace, "cell", "c1", "2026-03-01T12:15:00Z", "rrc_setup_success_rate")
    assert (math.isnan(answer), n) == (True, 29)
    answer, n = value(workspace, "cell", "c1", "2026-03-01T12:15:00Z", "nrsrp_median")
    assert (math.isnan(answer), n) == (True, 0)


def test_a_device_looks_back_over_its_last_twenty_events(workspace: Path) -> None:
    starts = pd.date_range("2026-03-01T00:00:00Z", periods=30, freq="h")
    rows = [
        count("device", "b1", f"{s:%Y-%m-%dT%H:%M:%SZ}", RRC, float(i >= 15), 1) for i, s in enumerate(starts)
    ]
    deliver(workspace, rows)
    indicator_windows.build(workspace)
    assert value(workspace, "device", "b1", "2026-03-02T05:15:00Z", "rrc_setup_success_rate") == (75, 20)
    assert value(workspace, "device", "b1", "2026-03-01T02:15:00Z", "rrc_setup_success_rate") == (0, 3)
    assert math.isnan(value(workspace, "device", "b1", "2026-03-01T01:15:00Z", "rrc_setup_success_rate")[0])


ONLINE = "online_s/activated_s"


@pytest.mark.parametrize(("part", "last"), [(0.4, 50), (1.5, 14), (20.25, 1)])
def test_parts_of_an_event_are_added_up_to_twenty(workspace: Path, part: float, last: int) -> None:
    starts = pd.date_range("2026-03-01T00:00:00Z", periods=60, freq="15min")
    deliver(
        workspace,
        [
            count("device", "b1", f"{s:%Y-%m-%dT%H:%M:%SZ}", ONLINE, part * (i >= 60 - last), part)
            for i, s in enumerate(starts)
        ],
    )
    indicator_windows.build(workspace)
    end = "2026-03-01T15:00:00Z"
    assert value(workspace, "device", "b1", end, "device_online_ratio") == (100, pytest.approx(part * last))


def test_sums_of_fractions_do_not_depend_on_who_was_added_first(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    rows = [
        count("app", f"a{app}", NOON, ONLINE, 0.1 * d, d, element=f"e{element}")
        for app in range(20)
        for element, d in enumerate(random.uniform(10, 1000, 30))
    ]
    ways = {
        "a": [rows],
        "b": [rows[n : n + 150] for n in (450, 300, 150, 0)],
        "c": [rows[n::7] for n in range(7)],
    }
    told = []
    for name, parts in ways.items():
        workspace = tmp_path / name / "ws"
        workspace.parent.mkdir()
        for number, part in enumerate(parts):
            assert deliver(workspace, part, f"{number}.csv").quarantined == {}
        indicator_windows.build(workspace)
        told.append(indicator_tables.rows(workspace, "app").drop(columns="created"))
    for other in told[1:]:
        pd.testing.assert_frame_equal(told[0], other, check_exact=True)


def test_a_device_looks_back_no_further_than_seven_days(workspace: Path) -> None:
    rows = [
        count("device", "b1", "2026-03-01T00:00:00Z", RRC, 0, 5),
        count("device", "b1", "2026-03-08T00:00:00Z", RRC, 5, 5),
    ]
    deliver(workspace, rows)
    indicator_windows.build(workspace)
    assert value(workspace, "device", "b1", "2026-03-08T00:15:00Z", "rrc_setup_success_rate") == (100, 5)


def test_late_counters_write_only_their_windows_anew(workspace: Path) -> None:
    members(workspace, member("b1", "c1", "2026-03-01T00:00:00Z"))
    starts = pd.date_range("2026-03-01T12:00:00Z", periods=4, freq="15min")
    deliver(workspace, [count("cell", "c1", f"{s:%Y-%m-%dT%H:%M:%SZ}", RRC, 40, 50) for s in starts])
    first = indicator_windows.build(workspace)
    assert (first.computed["cell"], first.written["cell"]) == (4, 4)
    assert sum(indicator_windows.build(workspace).written.values()) == 0
    deliver(workspace, [count("cell", "c1", "2026-03-01T12:15:00Z", RRC, 50, 50, element="late")], "late.csv")
    again = indicator_windows.build(workspace)
    assert (again.computed["cell"], again.computed["tac"]) == (1, 1)
    assert (again.written["cell"], again.written["tac"]) == (1, 1)
    assert value(workspace, "cell", "c1", "2026-03-01T12:30:00Z", "rrc_setup_success_rate") == (90, 100)
    assert indicator_tables.rows(workspace, "cell")["created"].nunique() == 2


def test_windows_after_the_end_asked_for_wait_for_a_later_build(workspace: Path) -> None:
    starts = pd.date_range("2026-03-01T12:00:00Z", periods=4, freq="15min")
    deliver(workspace, [count("cell", "c1", f"{s:%Y-%m-%dT%H:%M:%SZ}", RRC, 40, 50) for s in starts])
    half = indicator_windows.build(workspace, window_end=datetime(2026, 3, 1, 12, 30, tzinfo=UTC))
    assert half.written["cell"] == 2
    rest = indicator_windows.build(workspace)
    assert (rest.computed["cell"], rest.written["cell"]) == (2, 2)
    assert sum(indicator_windows.build(workspace).written.values()) == 0


def test_a_window_that_was_open_at_the_end_asked_for_is_whole_in_a_later_build(workspace: Path) -> None:
    starts = [f"2026-03-01T12:{minute:02}:00Z" for minute in (0, 5, 10)]
    deliver(workspace, [count("cell", "c1", start, RRC, 40, 50, window_s=300) for start in starts])
    early = indicator_windows.build(workspace, window_end=datetime(2026, 3, 1, 12, 10, tzinfo=UTC))
    assert sum(early.written.values()) == 0
    late = indicator_windows.build(workspace, window_end=datetime(2026, 3, 1, 12, 15, tzinfo=UTC))
    assert late.written["cell"] == 1
    assert value(workspace, "cell", "c1", "2026-03-01T12:15:00Z", "rrc_setup_success_rate") == (80, 150)


def test_late_counters_of_a_device_compute_only_what_ends_after_them(workspace: Path) -> None:
    starts = pd.date_range("2026-03-01T00:00:00Z", periods=8, freq="6h")
    deliver(workspace, [count("device", "b1", f"{s:%Y-%m-%dT%H:%M:%SZ}", RRC, 4, 5) for s in starts])
    assert indicator_windows.build(workspace).computed["device"] == 8
    deliver(workspace, [count("device", "b2", "2026-03-02T11:45:00Z", RRC, 5, 5)], "other.csv")
    assert indicator_windows.build(workspace).computed["device"] == 1
    deliver(workspace, [count("device", "b1", "2026-03-02T11:45:00Z", RRC, 5, 5)], "late.csv")
    again = indicator_windows.build(workspace)
    assert (again.computed["device"], again.written["device"]) == (3, 3)  # at 12:00, 12:15 and 18:15


def test_a_move_told_later_computes_only_from_its_day_on(workspace: Path) -> None:
    members(workspace, member("b1", "c1", "2026-03-01T00:00:00Z"))
    starts = pd.date_range("2026-03-01T12:00:00Z", periods=3, freq="D")
    deliver(workspace, [count("device", "b1", f"{s:%Y-%m-%dT%H:%M:%SZ}", RRC, 40, 50) for s in starts])
    indicator_windows.build(workspace)
    path = workspace.parent / "moved.csv"
    path.write_text("\n".join([HEAD, member("b1", "c2", "2026-03-03T06:00:00Z")]) + "\n")
    membership.load([str(path)], workspace)
    again = indicator_windows.build(workspace)
    assert (again.computed["cell"], "device" in again.computed) == (1, False)
    assert value(workspace, "cell", "c2", "2026-03-03T12:15:00Z", "rrc_setup_success_rate") == (80, 50)
    assert value(workspace, "cell", "c1", "2026-03-03T12:15:00Z", "rrc_setup_success_rate")[1] == 0
    assert value(workspace, "cell", "c1", "2026-03-02T12:15:00Z", "rrc_setup_success_rate") == (80, 50)


def test_a_device_without_a_cell_counts_in_its_tac(workspace: Path) -> None:
    homeless = member("b1", "", "2026-03-01T00:00:00Z")
    members(workspace, homeless, member("b2", "c2", "2026-03-01T00:00:00Z"))
    deliver(workspace, [count("device", one, NOON, ATTACH, 40, 50) for one in ("b1", "b2")])
    indicator_windows.build(workspace)
    assert value(workspace, "tac", "t1", "2026-03-01T12:15:00Z", "attach_success_rate") == (80, 100)


def test_counters_that_were_superseded_leave_no_trace(workspace: Path) -> None:
    deliver(workspace, [count("cell", "c1", NOON, RRC, 40, 50)])
    indicator_windows.build(workspace)
    deliver(workspace, [count("cell", "c1", NOON, RRC, 50, 50, received="2026-03-10T00:00:00Z")], "b.csv")
    indicator_windows.build(workspace)
    assert value(workspace, "cell", "c1", "2026-03-01T12:15:00Z", "rrc_setup_success_rate") == (100, 50)


def test_a_membership_told_later_rolls_up_what_lies_there(workspace: Path) -> None:
    deliver(workspace, [count("device", "b1", NOON, RRC, 40, 50)])
    indicator_windows.build(workspace)
    assert indicator_tables.rows(workspace, "cell").empty
    members(workspace, member("b1", "c1", "2026-03-01T00:00:00Z"))
    indicator_windows.build(workspace)
    assert value(workspace, "cell", "c1", "2026-03-01T12:15:00Z", "rrc_setup_success_rate") == (80, 50)


def test_what_a_place_did_not_count_is_no_evidence_though_others_counted_it(workspace: Path) -> None:
    other = "npusch_crc_fail/npusch_first_tx"
    deliver(workspace, [count("cell", "c1", NOON, RRC, 40, 50), count("cell", "c2", NOON, other, 7, 70)])
    indicator_windows.build(workspace)
    end = "2026-03-01T12:15:00Z"
    assert value(workspace, "cell", "c1", end, "rrc_setup_success_rate") == (80, 50)
    assert value(workspace, "cell", "c2", end, "ul_bler") == (10, 70)
    for cell, indicator in (("c1", "ul_bler"), ("c2", "rrc_setup_success_rate")):
        answer, n = value(workspace, "cell", cell, end, indicator)
        assert (math.isnan(answer), n) == (True, 0)


def test_a_file_delivered_again_after_another_took_its_place_changes_nothing(workspace: Path) -> None:
    members(workspace, member("b1", "c1", "2026-03-01T00:00:00Z"))
    strange = count("cell", "unknown", NOON, RRC, 1, 2)  # it heals, so the file is read again
    deliver(workspace, [count("cell", "c1", NOON, RRC, 40, 50), strange], "a.csv")
    deliver(workspace, [count("cell", "c1", NOON, RRC, 45, 50)], "b.csv")
    before = counter_tables.tally(workspace)
    assert (before.used, before.quarantined) == (1, 2)
    deliver(workspace, [count("cell", "c1", NOON, RRC, 40, 50), strange], "a.csv")
    assert counter_tables.tally(workspace) == before
    indicator_windows.build(workspace)
    assert value(workspace, "cell", "c1", "2026-03-01T12:15:00Z", "rrc_setup_success_rate") == (90, 50)


def test_of_a_sketch_told_twice_in_one_file_the_later_one_counts_whole(workspace: Path) -> None:
    first = samples("cell", "c1", NOON, "rrc_setup_ms", [100.0] * 30)
    later = [
        {**row, "received": "2026-03-10T00:00:00Z"}
        for row in samples("cell", "c1", NOON, "rrc_setup_ms", [5000.0] * 25)
    ]
    summary = deliver(workspace, [*first, *later])
    assert (summary.used, summary.quarantined) == (1, {"superseded": 1})
    indicator_windows.build(workspace)
    answer, n = value(workspace, "cell", "c1", "2026-03-01T12:15:00Z", "rrc_setup_delay_p95")
    assert (answer, n) == (pytest.approx(5000, rel=0.0101), 25)


def test_a_workspace_may_have_a_quote_in_its_name(tmp_path: Path) -> None:
    workspace = tmp_path / "o'brien" / "ws"
    workspace.parent.mkdir()
    deliver(workspace, [count("cell", "c'1", NOON, RRC, 40, 50)])
    indicator_windows.build(workspace)
    assert value(workspace, "cell", "c'1", "2026-03-01T12:15:00Z", "rrc_setup_success_rate") == (80, 50)


def test_without_counters_there_is_nothing_to_build(workspace: Path) -> None:
    with pytest.raises(LookupError, match="counters ingest"):
        indicator_windows.build(workspace)
