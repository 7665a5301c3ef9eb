"""A sketch is one row in the lake, whatever its bins; what was delivered can be told from it again, bin by bin."""

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from test_counters import visible
from test_indicator_windows import NOON, RRC, count, deliver, samples, value

from features import counter_tables, counters, indicator_tables, indicator_windows, lake
from features.duck import connect
from features.indicators import Mean, Quantile, Ratio, all_indicators

DELAY = "rrc_setup_ms"
END = "2026-03-01T12:15:00Z"
SPREAD = [100.0] * 30 + [900.0] * 10 + [5000.0] * 5  # ms, three bins


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return tmp_path / "ws"


def stored(workspace: Path) -> pd.DataFrame:
    return pd.concat(
        pq.read_table(file, partitioning=None).to_pandas() for file in counter_tables.files(workspace)
    )


def as_before(workspace: Path) -> None:
    """Lay all counters of a lake as earlier versions did: a row for each bin, in counters/ itself."""
    for record in lake.deliveries(workspace, "counters").values():
        staged: dict[str, Path] = {}
        for number, name in enumerate(record.files):
            file, place = workspace / "lake" / name, name.rpartition("/")[0]
            place = place.replace(counter_tables.FOLDER, "counters")
            staged[place] = workspace / f"{record.source}-{number}"
            table = pq.read_table(file, partitioning=None)
            if place.startswith("counters/"):
                with connect(threads=1) as connection:
                    rows = counter_tables.long_sql(counter_tables.stored_sql([file]))
                    table = connection.execute(f"SELECT * FROM ({rows}) ORDER BY row, bin").to_arrow_table()
            pq.write_table(table, staged[place])
        with lake.writing(workspace):
            lake.commit_delivery(workspace, replace(record, files=()), staged)


def test_bins_of_a_sketch_are_one_row_and_are_told_again_each_with_its_place(workspace: Path) -> None:
    rows = samples("cell", "c1", NOON, DELAY, SPREAD)
    deliver(workspace, [rows[2], count("cell", "c1", NOON, RRC, 9, 10), rows[0], rows[1]])
    lying = stored(workspace).sort_values("row")
    assert lying[["row", "numerator"]].to_numpy().tolist() == [[0, 45], [1, 9]]
    told = visible(workspace).set_index("row").sort_index()
    wanted = [rows[2]["bin"], None, rows[0]["bin"], rows[1]["bin"]]
    assert told["bin"].astype("Int64").tolist() == [pd.NA if one is None else one for one in wanted]
    assert told["numerator"].tolist() == [5, 9, 30, 10]
    assert told["denominator"].fillna(-1).tolist() == [-1, 10, -1, -1]


def test_a_corrected_sketch_falls_whole_and_each_of_its_bins_is_quarantined(workspace: Path) -> None:
    deliver(workspace, samples("cell", "c1", NOON, DELAY, SPREAD), "a.csv")
    later = [
        {**row, "received": "2026-03-10T00:00:00Z"}
        for row in samples("cell", "c1", NOON, DELAY, [300.0] * 40 + [400.0] * 5)
    ]
    assert deliver(workspace, later, "b.csv").used == 2
    told = counter_tables.tally(workspace)
    assert (told.rows, told.used, told.quarantined) == (5, 2, 3)
    assert counter_tables.quarantined(workspace)["rule"].tolist() == ["superseded"] * 3
    assert visible(workspace)["numerator"].sum() == 45
    indicator_windows.build(workspace)
    assert value(workspace, "cell", "c1", END, "rrc_setup_delay_p95") == (pytest.approx(400, rel=0.0101), 45)


def test_a_file_that_is_read_anew_does_not_bring_back_a_sketch_that_fell(workspace: Path) -> None:
    bins = samples("cell", "c1", NOON, DELAY, SPREAD)
    deliver(workspace, bins, "a.csv")
    corrected = [{**row, "received": "2026-03-10T00:00:00Z"} for row in bins[:1]]
    deliver(workspace, corrected, "b.csv")
    before = counter_tables.tally(workspace), visible(workspace)["numerator"].tolist()
    assert before == (counter_tables.Tally(4, 1, 3), [30])
    (first,) = (one for one in lake.deliveries(workspace, "counters").values() if one.used == 3)
    staged = {
        name.rpartition("/")[0]: _copied(workspace / "lake" / name, workspace / str(number))
        for number, name in enumerate(first.files)
    }
    with lake.writing(workspace):
        lake.commit_delivery(workspace, replace(first, reading="of an earlier version"), staged)
    counters.ingest([str(workspace.parent / "a.csv")], workspace)
    assert (counter_tables.tally(workspace), visible(workspace)["numerator"].tolist()) == before


def _copied(file: Path, to: Path) -> Path:
    to.write_bytes(file.read_bytes())
    return to


def test_a_lake_with_a_row_for_each_bin_gives_the_same_and_goes_on(tmp_path: Path) -> None:
    first = [
        *samples("cell", "c1", NOON, DELAY, SPREAD),
        *samples("cell", "c2", NOON, DELAY, SPREAD[::-1][:20]),
        count("cell", "c1", NOON, RRC, 90, 100),
    ]
    more = [  # of the first a correction and a repetition, and one that is new
        *({**row, "received": "2026-03-10"} for row in samples("cell", "c1", NOON, DELAY, [250.0] * 30)),
        *samples("cell", "c2", NOON, DELAY, SPREAD[::-1][:20]),
        *samples("cell", "c1", "2026-03-01T12:15:00Z", DELAY, SPREAD),
    ]
    answers = []
    for name in ("former", "present"):
        (tmp_path / name).mkdir()
        workspace = tmp_path / name / "ws"
        deliver(workspace, first, "a.csv")
        if name == "former":
            as_before(workspace)
            assert set(visible(workspace)["numerator"]) == {5.0, 10.0, 30.0, 90.0}
            assert counters.ingest([str(tmp_path / name / "a.csv")], workspace).unchanged == 1
        deliver(workspace, more, "b.csv")
        indicator_windows.build(workspace)
        bad = counter_tables.quarantined(workspace).drop(columns="file")
        told = indicator_tables.rows(workspace, "cell").drop(columns="created")
        answers.append((counter_tables.tally(workspace), visible(workspace), bad, told))
    (tally, rows, bad, told), present = answers[0], answers[1]
    assert tally == present[0]
    for found, wanted in zip((rows, bad, told), present[1:], strict=True):
        pd.testing.assert_frame_equal(found, wanted)
    assert (told["rrc_setup_delay_p95__samples"] > 0).sum() == 3


def test_a_place_that_counts_all_that_it_can_has_each_of_its_indicators(workspace: Path) -> None:
    """So many counters are summed in lists, few of them side by side: both are the sums of two elements."""
    wanted = [one for one in all_indicators() if "cell" in one.granularity]
    aggregates = {one.counter: one.aggregate for one in wanted}
    assert len(aggregates) > 16
    rows: list[dict[str, object]] = []
    for element, size in (("e1", 40), ("e2", 60)):
        for counter, aggregate in aggregates.items():
            if isinstance(aggregate, Quantile):
                unit = next(one.unit for one in wanted if one.counter == counter)
                middle = -100.0 if unit == "dBm" else 10.0
                told = samples("cell", "c1", NOON, counter, [middle] * size + [middle * 1.2])
            else:
                share = 1e-11 if isinstance(aggregate, Mean) and aggregate.average == "milliwatt" else 0.5
                told = [count("cell", "c1", NOON, counter, size * share, size)]
            rows += [{**row, "element": element} for row in told]
    few = [row for row in rows if row["counter"] in (RRC, DELAY)]
    done = deliver(workspace, [*rows, *({**row, "scope_id": "c2"} for row in few)])
    assert done.quarantined == {}
    indicator_windows.build(workspace)
    many = indicator_tables.rows(workspace, "cell").set_index("scope_id").loc["c1"]
    for one in wanted:
        sketched = isinstance(one.aggregate, Quantile)
        assert many[f"{one.id}__samples"] == (102 if sketched else 100)
        if one.min_samples > 100:
            assert math.isnan(many[one.id])
        elif isinstance(one.aggregate, Quantile):
            assert many[one.id] == pytest.approx(-100.0 if one.unit == "dBm" else 10.0, rel=0.0101)
        elif isinstance(one.aggregate, Ratio):
            assert many[one.id] == pytest.approx(0.5 * one.aggregate.scale)
        else:
            assert many[one.id] == pytest.approx(-110.0 if one.aggregate.average == "milliwatt" else 0.5)
    (workspace.parent / "few").mkdir()
    alone = workspace.parent / "few" / "ws"
    deliver(alone, few)
    indicator_windows.build(alone)
    for indicator in ("rrc_setup_success_rate", "rrc_setup_delay_p95"):
        assert value(alone, "cell", "c1", END, indicator) == value(workspace, "cell", "c1", END, indicator)
        assert value(alone, "cell", "c1", END, indicator) == value(workspace, "cell", "c2", END, indicator)


def test_lists_of_files_of_both_forms_are_one_relation(workspace: Path) -> None:
    deliver(workspace, samples("cell", "c1", NOON, DELAY, SPREAD), "a.csv")
    as_before(workspace)
    deliver(workspace, samples("cell", "c2", NOON, DELAY, SPREAD), "b.csv")
    files = counter_tables.files(workspace)
    assert len({file.parent.parent.name for file in files}) == 2
    with connect(threads=1) as connection:
        sql = counter_tables.stored_sql(files)
        told = connection.execute(
            f"SELECT scope_id, count(*), sum(numerator) FROM ({sql}) GROUP BY ALL"
        ).fetchall()
    assert sorted(told) == [("c1", 3, 45.0), ("c2", 1, 45.0)]
    assert list(visible(workspace).groupby("scope_id")["numerator"].sum()) == [45.0, 45.0]
