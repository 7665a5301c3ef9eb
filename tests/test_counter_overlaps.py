"""One moment that an element counts in windows of two lengths is counted once, in whatever order it is delivered."""

from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_counters import SKETCH, lake_bytes, row, visible, write
from test_membership import HEAD, member

from features import counter_tables, counters, membership

QUARTER = row(numerator="270", denominator="300")
FIVE = [
    row(window_start=f"2026-03-01T08:{minute:02}:00Z", window_s="300", numerator="80")
    for minute in (0, 5, 10)
]
FILES = {"five": FIVE[:2], "more": FIVE[2:], "quarter": [QUARTER]}


def windows(workspace: Path) -> list[tuple[str, int]]:
    found = visible(workspace)
    return sorted(zip(found["window_start"].dt.strftime("%H:%M"), found["window_s"], strict=True))


def test_in_one_file_the_shorter_windows_count_and_the_longer_is_quarantined(tmp_path: Path) -> None:
    done = counters.ingest([write(tmp_path / "a.csv", QUARTER, *FIVE)], tmp_path / "ws")
    assert (done.rows, done.used, done.quarantined) == (4, 3, {"overlapping_window": 1})
    assert windows(tmp_path / "ws") == [("08:00", 300), ("08:05", 300), ("08:10", 300)]
    (bad,) = counter_tables.quarantined(tmp_path / "ws").to_dict("records")
    assert (bad["row"], bad["rule"]) == (0, "overlapping_window")


@pytest.mark.parametrize("order", list(permutations(FILES)))
def test_the_order_of_delivery_and_delivering_again_change_nothing(
    tmp_path: Path, order: tuple[str, ...]
) -> None:
    sources = [write(tmp_path / f"{name}.csv", *FILES[name]) for name in order]
    for source in sources:
        counters.ingest([source], tmp_path / "ws")
    assert windows(tmp_path / "ws") == [("08:00", 300), ("08:05", 300), ("08:10", 300)]
    bad = counter_tables.quarantined(tmp_path / "ws")
    assert bad[["file", "rule"]].to_numpy().tolist() == [
        [str(tmp_path / "quarter.csv"), "overlapping_window"]
    ]
    told = counter_tables.tally(tmp_path / "ws")
    assert (told.rows, told.used, told.quarantined) == (4, 3, 1)
    before = lake_bytes(tmp_path / "ws")
    assert counters.ingest(sources, tmp_path / "ws").unchanged == 3
    assert lake_bytes(tmp_path / "ws") == before


@pytest.mark.parametrize(
    "other", [{"element": "enb-2"}, {"scope_id": "c2"}, SKETCH, {"window_start": "2026-03-01T08:15:00Z"}]
)
def test_windows_of_two_lengths_that_tell_of_other_things_all_count(
    tmp_path: Path, other: dict[str, str]
) -> None:
    late = {"received": "2026-03-01T09:00:00Z"}
    sources = [write(tmp_path / "a.csv", *FIVE), write(tmp_path / "b.csv", QUARTER | late | other)]
    for source in sources:
        assert counters.ingest([source], tmp_path / "ws").quarantined == {}
    assert len(visible(tmp_path / "ws")) == 4


def test_a_day_told_as_one_window_does_not_wipe_out_its_quarters(tmp_path: Path) -> None:
    day = row(window_start="2026-03-01T00:00:00Z", window_s="86400", received="2026-03-02T01:00:00Z")
    for number, one in enumerate((row(), day)):
        counters.ingest([write(tmp_path / f"{number}.csv", one)], tmp_path / "ws")
    assert windows(tmp_path / "ws") == [("08:00", 900)]


NESTED = st.fixed_dictionaries(
    {"window_s": st.sampled_from([300, 900, 3600]), "start": st.integers(0, 11), "file": st.integers(0, 2)}
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NESTED, min_size=2, max_size=8))
def test_what_counts_never_overlaps_and_is_the_same_in_any_order_of_files(
    tmp_path_factory: pytest.TempPathFactory, told: list[dict[str, int]]
) -> None:
    files: dict[int, list[dict[str, str]]] = {}
    for one in told:
        start = one["start"] * 300 // one["window_s"] * one["window_s"] // 60
        moment = {"window_start": f"2026-03-01T08:{start:02}:00Z", "window_s": str(one["window_s"])}
        files.setdefault(one["file"], []).append(row(received="2026-03-01T10:00:00Z") | moment)
    found = []
    for order in (sorted(files), sorted(files, reverse=True)):
        folder = tmp_path_factory.mktemp("in")
        for name in order:
            counters.ingest([write(folder / f"{name}.csv", *files[name])], folder / "ws")
        tally = counter_tables.tally(folder / "ws")
        assert tally.rows == tally.used + tally.quarantined
        found.append(windows(folder / "ws"))
    assert found[0] == found[1]
    minutes = [
        int(start[:2]) * 60 + int(start[3:]) + minute
        for start, length_s in found[0]
        for minute in range(length_s // 60)
    ]
    assert len(minutes) == len(set(minutes))


ONCE_MORE = {  # each with an element that no membership knows, so that it is read again when it is delivered again
    "early": [row(numerator="10"), row(scope_id="stranger")],
    "five": [
        row(numerator="80", window_s="300", received="2026-03-01T08:20:00Z"),
        row(scope_id="stranger", received="2026-03-01T08:20:00Z"),
    ],
    "late": [
        row(numerator="30", window_s="300", received="2026-03-01T08:30:00Z"),
        row(scope_id="stranger", received="2026-03-01T08:30:00Z"),
    ],
}


@pytest.mark.parametrize("order", list(permutations(ONCE_MORE)))
def test_a_file_that_is_read_again_lets_nothing_return_that_it_took_the_place_of(
    tmp_path: Path, order: tuple[str, ...]
) -> None:
    (tmp_path / "m.csv").write_text(f"{HEAD}\n{member('b1', 'c1', '2026-02-01T00:00:00Z')}\n")
    membership.load([str(tmp_path / "m.csv")], tmp_path / "ws")
    sources = [write(tmp_path / f"{name}.csv", *ONCE_MORE[name]) for name in order]
    for source in [*sources, *sources, *reversed(sources)]:
        counters.ingest([source], tmp_path / "ws")
        told = counter_tables.tally(tmp_path / "ws")
        assert told.used == len(visible(tmp_path / "ws")) == 1
    assert visible(tmp_path / "ws")["numerator"].tolist() == [30.0]
    assert counters.ingest(sources, tmp_path / "ws").unchanged == 3
    assert len(counter_tables.quarantined(tmp_path / "ws")) == told.quarantined == 5
