"""A vendor's wide table becomes counters: columns by name, units, local time, running counters, gaps."""

from pathlib import Path

import pandas as pd
import pytest
from test_counters import visible

from features import counter_reading, counter_tables, counter_wide, counters
from features.counter_mapping import read_mapping
from features.indicators import Ratio, all_indicators

HEAD = (
    "Begin Time;NB Cell;eNodeB;NB.RRC.ConnEstabAtt;NB.RRC.ConnEstabSucc;NB.RACH.Att.CE0;NB.RACH.Succ.CE0;"
    "NB.NPUSCH.TB;NB.NPUSCH.Rep;NB.Cell.Avail [min];NB.RRC.Delay.B0;NB.RRC.Delay.B1;NB.RRC.Delay.B2;"
    "NB.RRC.Delay.B3;NB.RRC.Delay.B4;NB.UL.Interf.Avg [dBm];NB.UL.Interf.N"
)
NIL = ";NIL;NIL;NIL;NIL;NIL;NIL;NIL"


def line(time: str, attempts: str, successes: str, rest: str = NIL + NIL) -> str:
    return f"01.03.2026 {time};c1;enb-1;{attempts};{successes}{rest[: -len(';NIL;NIL')]}"


def read(tmp_path: Path, *lines: str, name: str = "a.csv", head: str = HEAD) -> counters.CounterSummary:
    (tmp_path / name).write_text("\n".join([head, *lines]) + "\n")
    import os

    os.utime(tmp_path / name, (1_772_500_000, 1_772_500_000))  # received 2026-03-03
    return counters.ingest([str(tmp_path / name)], tmp_path / "ws", mapping=Path("northlight_enb"))


def rises(tmp_path: Path) -> list[tuple[float, float]]:
    if not counter_tables.files(tmp_path / "ws"):
        return []
    found = visible(tmp_path / "ws")
    found = found[found["counter"] == "rrc_setup_succ/rrc_setup_att"].sort_values("window_start")
    return list(zip(found["numerator"], found["denominator"], strict=True))


def test_a_running_counter_is_told_as_its_rise_in_each_window_also_where_it_wraps(tmp_path: Path) -> None:
    lines = [
        line("08:00", "4294967290", "100"),
        line("08:15", "4", "105"),  # wrapped at 2^32
        line("08:30", "14", "114"),
    ]
    done = read(tmp_path, *lines)
    assert rises(tmp_path) == [(5, 10), (9, 10)]
    assert done.quarantined == {"no_previous_reading": 1}
    first = visible(tmp_path / "ws")["window_start"].min()
    assert first == pd.Timestamp("2026-03-01T00:15:00Z")  # 08:15 in Shanghai


def test_each_element_has_a_running_counter_of_its_own(tmp_path: Path) -> None:
    lines = [line("08:00", "100", "90"), line("08:15", "110", "99")]
    other = [line("08:00", "50", "40"), line("08:15", "55", "45")]
    done = read(tmp_path, *lines, *(one.replace("enb-1", "enb-2") for one in other))
    assert sorted(rises(tmp_path)) == [(5, 5), (9, 10)]
    assert done.quarantined == {"no_previous_reading": 2}


def test_a_reset_and_a_gap_are_no_number(tmp_path: Path) -> None:
    lines = [
        line("08:00", "1000", "900"),
        line("08:15", "3", "2"),  # restarted
        line("08:30", "13", "11"),
        line("09:00", "33", "31"),  # the window between is missing
        line("09:15", "43", "41"),
        line("09:15", "43", "41"),
        line("09:30", "NIL", "NIL"),
        line("09:45", "63", "61"),
    ]
    done = read(tmp_path, *lines)
    assert rises(tmp_path) == [(9, 10), (10, 10)]
    assert done.quarantined == {
        "counter_reset": 1,
        "no_previous_reading": 1,
        "reading_gap": 2,
        "reading_twice": 1,
    }
    assert done.rows == done.used + sum(done.quarantined.values()) == 7  # the gap told nothing


def test_the_next_file_goes_on_where_the_one_before_ended(tmp_path: Path) -> None:
    read(tmp_path, line("08:00", "10", "9"))
    assert read(tmp_path, line("08:15", "20", "19"), name="b.csv").quarantined == {}
    assert rises(tmp_path) == [(10, 10)]


def test_files_in_the_wrong_order_heal_when_they_are_delivered_again(tmp_path: Path) -> None:
    read(tmp_path, line("08:15", "20", "19"), name="b.csv")
    read(tmp_path, line("08:00", "10", "9"))
    assert rises(tmp_path) == []
    done = counters.ingest([str(tmp_path / "b.csv")], tmp_path / "ws", mapping=Path("northlight_enb"))
    assert (done.replaced, rises(tmp_path)) == (1, [(10, 10)])
    again = counters.ingest([str(tmp_path)], tmp_path / "ws", mapping=Path("northlight_enb"))
    assert again.unchanged == 2


def test_a_healed_file_of_as_many_rows_but_other_numbers_is_noticed(tmp_path: Path) -> None:
    read(tmp_path, line("08:15", "20", "19"), name="a.csv")
    goes_on, never_heals = line("08:30", "30", "28"), line("08:30", "7", "6").replace("c1", "c2")
    first = read(tmp_path, goes_on, never_heals, name="b.csv")
    assert rises(tmp_path) == [(9, 10)]
    read(tmp_path, line("08:00", "10", "9"), line("08:15", "24", "22"), name="c.csv")  # read again later
    done = read(tmp_path, goes_on, never_heals, name="b.csv")
    assert (done.replaced, done.used, done.quarantined) == (1, first.used, first.quarantined)
    assert rises(tmp_path) == [(13, 14), (6, 6)]
    assert read(tmp_path, goes_on, never_heals, name="b.csv").unchanged == 1


@pytest.mark.parametrize("first", ["a.csv", "b.csv"])
def test_a_correction_of_running_counters_counts_whole_and_to_its_last_window(
    tmp_path: Path, first: str
) -> None:
    files = {
        "a.csv": [line("08:00", "0", "0"), line("08:15", "100", "90"), line("08:30", "200", "180")],
        "b.csv": [line("08:00", "0", "0"), line("08:15", "110", "99"), line("08:30", "220", "198")],
    }
    (last,) = files.keys() - {first}
    for name in (first, last, first, last):  # both come again: nothing changes
        read(tmp_path, *files[name], name=name)
    assert rises(tmp_path) == ([(99, 110)] * 2 if last == "b.csv" else [(90, 100)] * 2)
    assert counters.ingest([str(tmp_path)], tmp_path / "ws", mapping=Path("northlight_enb")).unchanged == 2


def test_a_correction_counts_where_two_intervals_of_a_histogram_share_a_bin(tmp_path: Path) -> None:
    mapping = tmp_path / "narrow.yaml"
    text = (Path("configs") / "vendors" / "northlight_enb.yaml").read_text()
    narrow = text.replace("low: 0, high: 250", "low: 1000, high: 1002").replace("low: 250,", "low: 498,")
    mapping.write_text(narrow.replace("low: 498, high: 500", "low: 1002, high: 1004"))
    for samples in (3, 7):
        source = tmp_path / f"{samples}.csv"
        source.write_text(
            f"{HEAD}\n01.03.2026 08:00;c1;enb-1;NIL;NIL;NIL;NIL;NIL;NIL;15;{samples};{samples};0;0;0;NIL;NIL\n"
        )
        done = counters.ingest([str(source)], tmp_path / "ws", mapping=mapping)
        assert done.quarantined in ({}, {"duplicate_row": 1})  # the availability is told with the same number
    found = visible(tmp_path / "ws").set_index("counter").loc["rrc_setup_ms"]
    assert found["bin"].nunique() == 1
    assert found["numerator"].tolist() == [7, 7]


def test_a_row_that_was_told_before_returns_when_the_other_file_tells_it_no_more(tmp_path: Path) -> None:
    rest = ";NIL;NIL;NIL;NIL;15;NIL;NIL;NIL;NIL;NIL;NIL;NIL"
    first, more = f"01.03.2026 08:00;c1;enb-1;NIL;NIL{rest}", f"01.03.2026 08:00;c2;enb-1;NIL;NIL{rest}"
    read(tmp_path, first)
    assert read(tmp_path, first, more, name="b.csv").quarantined == {"duplicate_row": 1}
    mapping = tmp_path / "berlin.yaml"
    text = (Path("configs") / "vendors" / "northlight_enb.yaml").read_text()
    mapping.write_text(text.replace("Asia/Shanghai", "Europe/Berlin"))  # it was never in Shanghai
    assert counters.ingest([str(tmp_path / "a.csv")], tmp_path / "ws", mapping=mapping).replaced == 1
    assert read(tmp_path, first, more, name="b.csv").quarantined == {}
    assert read(tmp_path, first, more, name="b.csv").unchanged == 1
    found = visible(tmp_path / "ws").sort_values(["window_start", "scope_id"])
    told = zip(found["scope_id"], found["window_start"].dt.strftime("%H:%M"), strict=True)
    assert list(told) == [("c1", "00:00"), ("c2", "00:00"), ("c1", "07:00")]


def test_units_histograms_and_powers_are_converted(tmp_path: Path) -> None:
    rest = ";NIL;NIL;NIL;NIL;15;3;0;2;0;0;-117,5;40"
    done = read(tmp_path, f"01.03.2026 08:00;c1;enb-1;NIL;NIL{rest}")
    assert done.quarantined == {}
    found = visible(tmp_path / "ws").set_index("counter")
    available = found.loc["cell_available_s/window_s"]
    assert (available["numerator"], available["denominator"]) == (900, 900)
    power = found.loc["ul_in_dbm_15k"]
    assert power["numerator"] == pytest.approx(40 * 10**-11.75)
    assert power["denominator"] == 40
    delays = found.loc[["rrc_setup_ms"]]
    assert delays["numerator"].tolist() == [3, 2]
    from features.sketch import values

    assert values(delays["bin"].to_numpy()) == pytest.approx([125, 750], rel=0.01)


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("wrong_unit", ("[min]", "[s]")),
        ("missing_column", ("NB.UL.Interf.N", "NB.UL.Interf.Count")),
        ("time_unreadable", ("01.03.2026", "2026-03-01")),
        ("text_in_number", (";15;", ";quarter;")),
        ("longer_than_window", (";15;", ";-1;")),
        ("numerator_without_denominator", ("-117,5;40", "-117,5;NIL")),
    ],
)
def test_what_is_wrong_with_a_wide_table_is_named(tmp_path: Path, rule: str, change: tuple[str, str]) -> None:
    told = f"{HEAD}\n01.03.2026 08:00;c1;enb-1;NIL;NIL;NIL;NIL;NIL;NIL;15;3;0;2;0;0;-117,5;40"
    head, row = told.replace(*change).split("\n")
    done = read(tmp_path, row, head=head)
    expected = "negative_delta" if rule == "longer_than_window" else rule
    assert expected in done.quarantined
    assert done.rows == done.used + sum(done.quarantined.values())


def test_a_column_that_a_file_lacks_is_told_with_the_nearest_it_has(tmp_path: Path) -> None:
    done = read(tmp_path, line("08:00", "10", "9"), head=HEAD.replace("NB.UL.Interf.N", "NB.UL.Interf.Count"))
    assert done.failed
    assert "lacks 'NB.UL.Interf.N' (the nearest is 'NB.UL.Interf.Count')" in done.text()
    (hint,) = counter_tables.quarantined(tmp_path / "ws")["hint"]
    assert "NB.UL.Interf.Count" in hint


def test_a_first_file_of_running_counters_gives_its_readings_and_is_no_failure(tmp_path: Path) -> None:
    done = read(tmp_path, line("08:00", "10", "9"))
    assert (done.used, done.failed) == (0, False)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            ("raw: rrc_setup_att,", "raw: rrc_setup_at,"),
            "'rrc_setup_at' of column 'NB.RRC.ConnEstabAtt' (the nearest",
        ),
        (
            ("  - {raw: rrc_setup_att, column: NB.RRC.ConnEstabAtt, cumulative_bits: 32}\n", ""),
            "map rrc_setup_att too",
        ),
        (("sample: rrc_setup_ms", "sample: rrc_setup_s"), "'rrc_setup_s' (the nearest is 'rrc_setup_ms')"),
        (("unit: min}", "unit: dBm}"), "cell_available_s: a column in dBm cannot be told in s"),
        (("sample: ul_in_dbm_15k", "sample: nrsrp_dbm"), "indicators.yaml wants a quantile"),
    ],
)
def test_a_mapping_by_which_a_column_would_feed_nothing_is_refused(
    tmp_path: Path, change: tuple[str, str], told: str
) -> None:
    text = (Path("configs") / "vendors" / "northlight_enb.yaml").read_text()
    assert change[0] in text
    mapping = tmp_path / "mine.yaml"
    mapping.write_text(text.replace(*change))
    with pytest.raises(ValueError, match=r"mine\.yaml: ") as refused:
        read_mapping(mapping, tmp_path, all_indicators())
    assert told in str(refused.value)


@pytest.mark.parametrize("name", ["northlight_nb", "northlight_nb.yaml", "vendors/northlight_nb.yaml"])
def test_an_unknown_mapping_is_told_with_the_nearest(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match="the nearest is 'northlight_enb'"):
        read_mapping(Path(name), tmp_path, all_indicators())


def test_the_hour_that_a_clock_change_repeats_is_ambiguous(tmp_path: Path) -> None:
    mapping = tmp_path / "berlin.yaml"
    text = (Path("configs") / "vendors" / "northlight_enb.yaml").read_text()
    mapping.write_text(text.replace("Asia/Shanghai", "Europe/Berlin"))
    source = tmp_path / "a.csv"
    rest = ";NIL;NIL;NIL;NIL;15;NIL;NIL;NIL;NIL;NIL;NIL;NIL"
    source.write_text(f"{HEAD}\n25.10.2026 02:30;c1;enb-1;NIL;NIL{rest}\n")
    import os

    os.utime(source, (1_793_000_000, 1_793_000_000))
    done = counters.ingest([str(source)], tmp_path / "ws", mapping=mapping)
    assert done.quarantined == {"time_ambiguous": 1}


@pytest.mark.parametrize("name", ["northlight_enb", "auric_mme"])
def test_every_mapping_of_ours_names_what_indicators_yaml_knows(name: str) -> None:
    mapping = read_mapping(Path(name), Path("no-workspace"), all_indicators())
    ratios = [one.aggregate for one in all_indicators() if isinstance(one.aggregate, Ratio)]
    raws = {name for ratio in ratios for name in (ratio.numerator, ratio.denominator)}
    assert {one.raw for one in mapping.counters} <= raws
    assert {one.sample for one in mapping.samples} <= {one.counter for one in all_indicators()}


def test_counts_of_a_day_that_bear_their_end(tmp_path: Path) -> None:
    mapping = read_mapping(Path("auric_mme"), Path("no-workspace"), all_indicators())
    row = dict.fromkeys(mapping.columns, "") | {
        "periodEnd": "2026-03-01T08:05:00Z",
        "mmeName": "mme-1",
        "managedElement": "mme-1",
        "exportedAt": "2026-03-01T08:06:00Z",
        "VS.EMM.AttachRequest": "40",
        "VS.EMM.AttachComplete": "38",
        "VS.EMM.RegisteredTime": "12",
        "VS.EMM.ImplicitDetach": "3",
    }
    pd.DataFrame([row]).to_csv(tmp_path / "a.csv", index=False)
    done = counters.ingest([str(tmp_path / "a.csv")], tmp_path / "ws", mapping=Path("auric_mme"))
    assert done.quarantined == {}
    found = visible(tmp_path / "ws").set_index("counter")
    assert found.loc["implicit_detach/registered_device_days", "denominator"] == 0.5
    assert found.loc["attach_succ/attach_att", "window_start"] == pd.Timestamp("2026-03-01T08:00:00Z")


def test_in_whatever_parts_a_file_is_read_its_rows_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        line(f"08:{minute:02}", str(minute + 10 * element), str(minute)).replace("enb-1", f"enb-{element}")
        for minute in (0, 15, 30, 45)
        for element in range(1, 6)
    ]
    lines.insert(3, "01.03.2026 08:00;c1")
    lines.append("ragged;too")
    found = []
    for name, rows, block_bytes in (("whole", 50_000, 8 << 20), ("parts", 3, 512)):
        monkeypatch.setattr(counter_wide, "PART_ROWS", rows)
        monkeypatch.setattr(counter_reading, "_BLOCK_BYTES", block_bytes)
        (tmp_path / name).mkdir()
        done = read(tmp_path / name, *lines)
        assert done.quarantined == {"no_previous_reading": 5, "ragged_row": 2}
        bad = counter_tables.quarantined(tmp_path / name / "ws")
        assert bad.loc[bad["rule"] == "ragged_row", "row"].tolist() == [3, 21]
        found.append((visible(tmp_path / name / "ws"), bad.drop(columns="file")))
    assert len(found[0][0]) == 15
    for one, other in zip(*found, strict=True):
        pd.testing.assert_frame_equal(one, other)
