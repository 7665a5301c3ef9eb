"""A table becomes a study, or says which row of which column it cannot use."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from evaluation.selection.doors import Request
from evaluation.selection.expert import Experts
from evaluation.selection.procedure import Settings, select
from evaluation.selection.study import Roles, read_study, read_table


def _frame(rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "nsinr": rng.normal(size=rows),
            "delay_ms": rng.normal(size=rows),
            "stalled": rng.integers(2, size=rows),
        }
    )


def test_a_target_of_two_values_is_binary_and_one_of_words_is_classes():
    assert read_study(_frame(), Roles("stalled"), table="t").target.kind == "binary"
    words = _frame().assign(stalled=np.tile(["good", "bad", "ugly"], 20))
    study = read_study(words, Roles("stalled"), table="t")
    assert study.target.kind == "classes"
    assert study.target.classes == ("bad", "good", "ugly")
    assert study.target.responses.shape == (60, 3)


def test_a_target_of_many_numbers_is_continuous():
    assert read_study(_frame(), Roles("delay_ms"), table="t").target.kind == "continuous"


def test_a_word_in_a_column_of_numbers_is_named_with_its_row():
    frame = _frame().astype({"nsinr": "object"})
    frame.loc[7, "nsinr"] = "n/a"
    with pytest.raises(
        ValueError, match=r"cells\.csv\.nsinr must be numbers, but row 7 \(the first is 0\) has 'n/a'"
    ):
        read_study(frame, Roles("stalled"), table="cells.csv")


def test_a_column_of_words_falls_with_a_reason_and_the_others_go_on():
    study = read_study(_frame().assign(vendor="north"), Roles("stalled"), table="t")
    assert [(drop.indicator, drop.reason) for drop in study.dropped] == [("vendor", "no_number")]
    assert study.names == ("nsinr", "delay_ms")


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="two classes of at least 10 rows, but has 1"):
        read_study(_frame().assign(stalled=1), Roles("stalled", kind="binary"), table="t")


def test_a_class_of_two_rows_is_left_out_and_told():
    labels = np.array(["fine"] * 29 + ["ill"] * 29 + ["odd"] * 2)
    study = read_study(_frame().assign(stalled=labels), Roles("stalled"), table="t")
    assert study.target.classes == ("fine", "ill")
    assert len(study.X) == 58
    assert "class odd of stalled has 2 rows" in study.notes[0]


def test_a_target_that_is_nearly_an_identifier_is_refused_with_its_counts():
    names = _frame(90).assign(stalled=[f"device {row // 3}" if row < 60 else "hub" for row in range(90)])
    with pytest.raises(
        ValueError,
        match=r"t\.stalled must have classes of at least 10 rows, but 20 of its 21 classes have fewer",
    ):
        read_study(names, Roles("stalled"), table="t")


def test_a_target_of_more_classes_than_trees_can_be_grown_for_is_refused():
    many = _frame(3010).assign(stalled=[f"app {row // 10}" for row in range(3010)])
    with pytest.raises(ValueError, match=r"t\.stalled must have at most 300 classes, but has 301"):
        read_study(many, Roles("stalled"), table="t")


def test_many_classes_are_told_beforehand_and_in_the_notes(caplog: pytest.LogCaptureFixture):
    many = _frame(400).assign(stalled=[f"app {row // 10}" for row in range(400)])
    study = read_study(many, Roles("stalled"), table="t")
    assert len(study.target.classes) == 40
    assert study.notes[0].startswith("stalled has 40 classes, 30 or more: trees are grown for each")
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [("WARNING", study.notes[0])]


def test_many_classes_that_are_left_out_are_told_in_one_note():
    labels = np.array(["fine"] * 27 + ["ill"] * 27 + list("uvwxyz"))
    study = read_study(_frame().assign(stalled=labels), Roles("stalled"), table="t")
    assert study.notes == ("6 classes of stalled, 6 rows, have fewer than 10: left out",)


def test_one_moment_for_all_rows_is_told_at_once_and_in_the_notes(caplog: pytest.LogCaptureFixture):
    study = read_study(_frame().assign(at="2026-03-02T00:00:00Z"), Roles("stalled", time="at"), table="t")
    assert study.notes == (
        "at is the same in all rows: nothing is judged on later rows, nor asked whether it drifts",
    )
    assert [one.getMessage() for one in caplog.records] == list(study.notes)


def test_rows_without_a_target_are_left_out_and_told():
    frame = _frame().astype({"stalled": "float64"})
    frame.loc[:3, "stalled"] = np.nan
    study = read_study(frame, Roles("stalled"), table="t")
    assert len(study.X) == 56
    assert "4 of 60 rows lack stalled" in study.notes[0]


def test_infinite_values_count_as_missing_and_are_told():
    frame = _frame()
    frame.loc[5, "delay_ms"] = np.inf
    study = read_study(frame, Roles("stalled"), table="t")
    assert np.isnan(study.X[5, 1])
    assert "1 infinite values of delay_ms" in study.notes[0]


def test_a_column_that_is_not_there_is_named_beside_those_that_are():
    with pytest.raises(LookupError, match="has no column 'stall'; it has nsinr, delay_ms, stalled"):
        read_study(_frame(), Roles("stall"), table="t")


def test_too_few_rows_are_refused():
    with pytest.raises(ValueError, match="at least 40 rows"):
        read_study(_frame(20), Roles("delay_ms"), table="t")


def test_a_file_that_is_no_table_is_refused(tmp_path: Path):
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(ValueError, match="must be a table"):
        read_table(path)


def test_the_hash_of_a_selection_is_of_the_whole_table_not_of_the_rows_that_were_drawn() -> None:
    random = np.random.default_rng(1)
    frame = pd.DataFrame({"load": random.normal(size=300), "noise": random.normal(size=300)})
    frame["delay"] = frame["load"] + random.normal(size=300)
    told = {}
    for row in range(3):
        changed = frame.copy()
        changed.loc[row, "noise"] += 1.0
        study = read_study(changed, Roles("delay"), table="t")
        told[row] = select(study, Settings(subsamples=2, rows=100), Experts()).data_hash
    assert len(set(told.values())) == 3


@pytest.mark.parametrize("digits", [1, 6])
def test_a_word_in_a_target_of_numbers_is_named_with_its_row(digits: int):
    frame = _frame().round(digits).astype({"delay_ms": "object"})
    frame.loc[7, "delay_ms"] = "n/a?"
    with pytest.raises(
        ValueError, match=r"t\.delay_ms must be numbers, but row 7 \(the first is 0\) has 'n/a\?'"
    ):
        read_study(frame, Roles("delay_ms"), table="t")


def test_numbers_that_were_read_as_texts_are_a_target_of_numbers():
    assert (
        read_study(_frame().astype({"delay_ms": str}), Roles("delay_ms"), table="t").target.kind
        == "continuous"
    )


def test_an_infinite_target_is_named_with_its_row():
    frame = _frame()
    frame.loc[3, "delay_ms"] = np.inf
    with pytest.raises(ValueError, match=r"must be numbers, but row 3 \(the first is 0\) has"):
        read_study(frame, Roles("delay_ms"), table="t")


def test_a_target_of_times_and_one_in_a_unit_out_of_reach_are_refused():
    frame = _frame()
    with pytest.raises(ValueError, match="must be a number or classes, but holds datetime64"):
        read_study(frame.assign(stalled=pd.Timestamp("2026-03-02")), Roles("stalled"), table="t")
    with pytest.raises(ValueError, match="give it in another unit"):
        read_study(frame.assign(delay_ms=frame["delay_ms"] * 1e200), Roles("delay_ms"), table="t")


def test_the_target_is_nothing_else():
    for roles in (
        Roles("stalled", group="stalled"),
        Roles("stalled", time="stalled"),
        Roles("stalled", ignored=("stalled",)),
    ):
        with pytest.raises(ValueError, match="is the target and cannot be"):
            read_study(_frame(), roles, table="t")


def test_an_empty_table_is_refused():
    with pytest.raises(ValueError, match="at least 40 rows with stalled, but has 0"):
        read_study(_frame(0), Roles("stalled"), table="t")


def test_a_name_that_a_file_has_twice_is_refused(tmp_path: Path):
    path = tmp_path / "twice.csv"
    path.write_text("delay,load,load\n1,2,3\n")
    with pytest.raises(ValueError, match=r"several of \['load'\]"):
        read_table(path)
    with pytest.raises(ValueError, match=r"several of \['1'\]"):
        read_study(_frame().set_axis([1, "1", "stalled"], axis=1), Roles("stalled"), table="t")


def test_durations_are_seconds_and_a_missing_one_is_missing():
    frame = _frame().assign(uptime=pd.Series(pd.to_timedelta(np.arange(60.0), unit="min")))
    frame.loc[4, "uptime"] = pd.NaT
    study = read_study(frame, Roles("stalled"), table="t")
    uptime = study.X[:, study.names.index("uptime")]
    assert uptime[2] == 120
    assert np.isnan(uptime[4])
    assert study.notes == ("uptime holds durations, told in seconds",)


def test_whole_numbers_that_a_float_merges_are_told():
    study = read_study(_frame().assign(serial=2**62 + np.arange(60)), Roles("stalled"), table="t")
    assert study.notes == ("serial has whole numbers beyond 2^53, of which 59 read as another one",)


def test_a_complex_column_falls_as_no_number():
    study = read_study(_frame().assign(phase=1j), Roles("stalled"), table="t")
    assert [(drop.indicator, drop.reason) for drop in study.dropped] == [("phase", "no_number")]


def _at(times: list[object]) -> pd.DataFrame:
    return _frame().assign(at=pd.Series((times * 60)[:60]))


def test_times_of_several_zones_and_with_fractions_or_without_are_one_order():
    times = ["2026-03-01T12:00:00+02:00", "2026-03-01T10:30:00Z", "2026-03-01T10:00:00.5Z"]
    study = read_study(_at(list(times)), Roles("stalled", time="at"), table="t")
    assert study.times is not None
    assert np.argsort(study.times[:3]).tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ("2026-03-01T10:00:00", "must name the time zone in all rows or in none, but row 1"),
        ("yesterday", "must be times of one form, but row 1"),
    ],
)
def test_a_time_that_cannot_be_ordered_is_named_with_its_row(wrong: str, rule: str):
    with pytest.raises(ValueError, match=rf"t\.at {rule} \(the first is 0\) has '{wrong}'"):
        read_study(_at(["2026-03-01T10:00:00Z", wrong]), Roles("stalled", time="at"), table="t")


def test_numbers_as_texts_are_times_by_their_size_and_an_infinite_one_is_refused():
    study = read_study(_at(["9", "10"]), Roles("stalled", time="at"), table="t")
    assert study.times is not None and study.times[0] < study.times[1]
    with pytest.raises(ValueError, match=r"t\.at must be times, but row 1 .* has inf"):
        read_study(_at([1.0, np.inf]), Roles("stalled", time="at"), table="t")


def test_one_group_and_groups_without_names_are_refused():
    with pytest.raises(ValueError, match=r"t\.device must name two groups, .* but all rows have d1"):
        read_study(_frame().assign(device="d1"), Roles("stalled", "device"), table="t")
    with pytest.raises(ValueError, match=r"t\.device must hold names of groups, but holds lists"):
        read_study(_frame().assign(device=[[1]] * 60), Roles("stalled", "device"), table="t")


def test_three_classes_are_not_binary():
    with pytest.raises(
        ValueError, match=r"t\.stalled must have two classes to be binary, but has 3: 0, 1, 2"
    ):
        read_study(_frame().assign(stalled=np.arange(60) % 3), Roles("stalled", kind="binary"), table="t")


@pytest.mark.parametrize("asked", [{"rows": 39}, {"seed": -1}, {"threads": 0}])
def test_a_number_out_of_its_range_is_told_by_name(asked: dict[str, int]):
    ((name, value),) = asked.items()
    with pytest.raises(ValueError, match=f"{name} must be at least .*, but is {value}"):
        _ = Request("stalled", **asked).settings  # type: ignore[arg-type]
