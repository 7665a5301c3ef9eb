"""Files of counters come into the lake whole, once, and every row of them is used or named with the rule it breaks."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features import counter_tables, counters, lake, quarantine
from features.counter_rules import ASKED, COMPARED, FOUND
from features.duck import connect

START = "2026-03-01T08:00:00Z"
RRC = "rrc_setup_succ/rrc_setup_att"
GOOD = {
    "scope": "cell",
    "scope_id": "c1",
    "window_start": START,
    "window_s": "900",
    "counter": RRC,
    "bin": "",
    "numerator": "90",
    "denominator": "100",
    "element": "enb-1",
    "vendor": "northlight",
    "received": "2026-03-01T08:16:00Z",
}
SKETCH = {"counter": "rrc_setup_ms", "bin": "100300", "numerator": "5", "denominator": ""}
POWER = {"counter": "ul_in_dbm_15k", "numerator": "1e-11", "denominator": "10"}


def row(**changes: str) -> dict[str, str]:
    return {**GOOD, **changes}


def write(path: Path, *rows: dict[str, str]) -> str:
    pd.DataFrame(rows).to_csv(path, index=False)
    return str(path)


def visible(workspace: Path) -> pd.DataFrame:
    with connect(threads=1) as connection:
        sql = counter_tables.visible_sql(workspace, counter_tables.files(workspace))
        return connection.execute(f"FROM ({sql}) ORDER BY ALL").df()


BAD: dict[str, dict[str, str]] = {
    "time_unreadable": {"window_start": "yesterday"},
    "time_not_utc": {"window_start": "2026-03-01T16:00:00+08:00"},
    "text_in_number": {"numerator": "many"},
    "empty_scope": {"scope": ""},
    "unknown_scope": {"scope": "galaxy"},
    "empty_scope_id": {"scope_id": ""},
    "untidy_scope_id": {"scope_id": " c1"},
    "empty_element": {"element": ""},
    "empty_vendor": {"vendor": ""},
    "empty_time": {"window_start": ""},
    "empty_window_length": {"window_s": ""},
    "window_length": {"window_s": "700"},
    "window_off_grid": {"window_start": "2026-03-01T08:01:00Z"},
    "window_too_old": {"window_start": "1970-01-01T00:00:00Z"},
    "window_in_future": {"window_start": "2026-03-01T09:00:00Z"},
    "empty_counter": {"counter": ""},
    "unknown_counter": {"counter": "good_luck/all_luck"},
    "scope_of_counter": {"scope": "platform_node", "scope_id": "n1"},
    "empty_numerator": {"numerator": ""},
    "not_finite": {"numerator": "inf"},
    "numerator_without_denominator": {"denominator": ""},
    "bin_without_sketch": {"bin": "100300"},
    "sketch_without_bin": {**SKETCH, "bin": ""},
    "denominator_of_bin": {**SKETCH, "denominator": "7"},
    "bin_not_whole": {**SKETCH, "bin": "100300.5"},
    "bin_out_of_range": {**SKETCH, "bin": "1000000"},
    "sample_out_of_range": {**SKETCH, "bin": "-100300"},  # a delay below zero
    "fractional_samples": {**SKETCH, "numerator": "1.5"},
    "too_many_samples": {**SKETCH, "numerator": "4294967297"},
    "negative_delta": {"numerator": "-1"},
    "beyond_exact": {"denominator": "1e17"},
    "ratio_above_one": {"numerator": "101"},
    "longer_than_window": {"counter": "cell_available_s/window_s", "numerator": "800", "denominator": "901"},
    "power_out_of_range": {**POWER, "numerator": "-1100"},  # decibels where milliwatts belong
}
MORE = [
    ("window_length", {"window_s": "30"}),
    ("window_length", {"window_s": "172800"}),
    ("window_length", {"window_s": "0"}),
    ("time_not_utc", {"received": "2026-03-01T08:16:00"}),
    ("not_finite", {"denominator": "nan"}),
    ("text_in_number", {"window_s": "15min"}),
    ("untidy_scope_id", {"scope_id": "c\t1"}),
    ("numerator_without_denominator", {"denominator": "0"}),
    ("negative_delta", {"denominator": "-100"}),
    ("negative_delta", {**SKETCH, "numerator": "-2"}),
    ("unknown_counter", {"counter": "rrc_setup_succ"}),
    ("power_out_of_range", {**POWER, "numerator": "100"}),
]


@pytest.mark.parametrize(("rule", "changes"), [*BAD.items(), *MORE])
def test_a_bad_row_is_quarantined_with_its_rule_and_itself(
    tmp_path: Path, rule: str, changes: dict[str, str]
) -> None:
    source = write(tmp_path / "a.csv", row(), row(scope_id="c2") | changes)
    done = counters.ingest([source], tmp_path / "ws")
    assert (done.rows, done.used, done.quarantined) == (2, 1, {rule: 1})
    (bad,) = counter_tables.quarantined(tmp_path / "ws").to_dict("records")
    assert (bad["file"], bad["row"], bad["rule"]) == (source, 1, rule)
    changed = next(iter(changes.values()))
    assert changed == "" or changed.strip().replace("\t", "\\t") in bad["told"]
    assert visible(tmp_path / "ws")["scope_id"].tolist() == ["c1"]


@pytest.mark.parametrize("changes", [SKETCH, POWER, {"counter": "coap_retx/coap_con", "numerator": "150"}])
def test_good_rows_of_each_kind_are_used(tmp_path: Path, changes: dict[str, str]) -> None:
    done = counters.ingest([write(tmp_path / "a.csv", row(**changes))], tmp_path / "ws")
    assert (done.used, done.quarantined) == (1, {})


def test_the_corpus_holds_every_rule_of_a_row() -> None:
    assert set(BAD) | {"unknown_element"} >= {rule.name for rule in ASKED}
    assert len({*BAD, *(rule.name for rule in (*FOUND, *COMPARED))}) >= 25


def test_a_file_without_a_column_or_with_a_strange_one_is_quarantined_whole(tmp_path: Path) -> None:
    lacking = {key: value for key, value in row().items() if key != "element"}
    sources = [write(tmp_path / "a.csv", lacking), write(tmp_path / "b.csv", {**row(), "mood": "good"})]
    done = counters.ingest(sources, tmp_path / "ws")
    assert done.quarantined == {"missing_column": 1, "unknown_column": 1}


def test_a_ragged_row_is_told_as_it_stands(tmp_path: Path) -> None:
    source = Path(write(tmp_path / "a.csv", row(), row(scope_id="c2")))
    lines = source.read_text().splitlines()
    source.write_text("\n".join([*lines[:2], "cell,c9", *lines[2:]]) + "\n")
    done = counters.ingest([str(source)], tmp_path / "ws")
    assert (done.rows, done.used) == (3, 2)
    (bad,) = counter_tables.quarantined(tmp_path / "ws").to_dict("records")
    assert (bad["row"], bad["rule"], bad["told"]) == (1, "ragged_row", "cell,c9")


@pytest.mark.parametrize("rest", ['"cell,c9,1', 'cell,"c9"",1', 'cell,"c9""",x,"y'])
def test_a_quote_that_is_never_closed_costs_its_own_line_alone(tmp_path: Path, rest: str) -> None:
    source = Path(
        write(tmp_path / "a.csv", row(), row(scope_id="c2"), row(scope_id='"c3"'), row(scope_id="c4,5"))
    )
    lines = source.read_text().splitlines()
    source.write_text("\n".join([*lines[:2], rest, "cell,c9", rest, *lines[2:]]) + "\n")
    done = counters.ingest([str(source)], tmp_path / "ws")
    assert (done.rows, done.used) == (7, 4)
    bad = counter_tables.quarantined(tmp_path / "ws")
    assert bad["row"].tolist() == [1, 2, 3]
    assert bad["rule"].tolist() == ["unclosed_quote", "ragged_row", "unclosed_quote"]
    assert bad["told"].tolist() == [rest, "cell,c9", rest]
    assert set(visible(tmp_path / "ws")["scope_id"]) == {"c1", "c2", '"c3"', "c4,5"}


def test_a_header_that_leaves_a_quote_open_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('scope,"scope_id\ncell,c1\n')
    ((path, reason),) = counters.ingest([str(tmp_path / "a.csv")], tmp_path / "ws").failures
    assert path.endswith("a.csv")
    assert "its header opens a quote that it does not close" in reason


@pytest.mark.parametrize(
    ("text", "encoding", "rule"),
    [
        (";".join(GOOD) + "\n1\n", "utf-8", "its header has ';'"),
        (",".join(GOOD) + "\n1\n", "utf-16", "begins as UTF-16 does"),
        (",".join(GOOD) + "\n", "utf-8", "a header and no row"),
    ],
)
def test_a_file_written_in_another_way_or_cut_short_fails_and_says_so(
    tmp_path: Path, text: str, encoding: str, rule: str
) -> None:
    (tmp_path / "a.csv").write_text(text, encoding=encoding)
    done = counters.ingest([str(tmp_path / "a.csv")], tmp_path / "ws")
    ((_, reason),) = done.failures
    assert rule in reason
    assert done.failed


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"PAR1 not at all"])
def test_a_file_that_is_no_table_is_named_and_the_others_go_on(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    (tmp_path / "b.csv").write_bytes(content)
    good = write(tmp_path / "c.csv", row())
    done = counters.ingest([str(tmp_path)], tmp_path / "ws")
    assert {Path(path).name for path, _ in done.failures} >= {"a.parquet"}
    assert done.used == 1, good


def test_an_element_that_membership_does_not_know_is_quarantined_until_it_does(tmp_path: Path) -> None:
    from test_membership import HEAD, member

    from features import membership

    def members(*rows: str) -> None:
        (tmp_path / "m.csv").write_text("\n".join([HEAD, *rows]) + "\n")
        membership.load([str(tmp_path / "m.csv")], tmp_path / "ws")

    members(member("b1", "c1", "2026-03-01T00:00:00Z"))
    source = write(tmp_path / "a.csv", row(), row(scope_id="c2"))
    assert counters.ingest([source], tmp_path / "ws").quarantined == {"unknown_element": 1}
    assert counters.ingest([source], tmp_path / "ws").unchanged == 1
    members(member("b1", "c2", "2026-03-02T00:00:00Z"))
    done = counters.ingest([source], tmp_path / "ws")
    assert (done.replaced, done.used, done.quarantined) == (1, 2, {})
    assert counter_tables.quarantined(tmp_path / "ws").empty


def test_a_row_told_twice_counts_once(tmp_path: Path) -> None:
    again = write(tmp_path / "a.csv", row(numerator="80"), row(numerator="80"))
    done = counters.ingest([again], tmp_path / "ws")
    assert (done.used, done.quarantined) == (1, {"duplicate_row": 1})
    assert visible(tmp_path / "ws")["numerator"].tolist() == [80]
    other = write(tmp_path / "b.csv", row(numerator="80", denominator="100.0"))
    assert counters.ingest([other], tmp_path / "ws").quarantined == {"duplicate_row": 1}


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_answers_in_one_file_received_at_once_neither_counts_in_any_order(
    tmp_path: Path, order: int
) -> None:
    old = row(numerator="70", received="2026-03-01T08:15:30Z")
    sketch = [row(**SKETCH), row(**SKETCH | {"numerator": "6"}), row(**SKETCH | {"bin": "100301"})]
    rows = [old, row(), row(), row(numerator="80"), row(scope_id="c2"), *sketch]
    source = write(tmp_path / "a.csv", *rows[::order])
    done = counters.ingest([source], tmp_path / "ws")
    assert (done.used, done.quarantined) == (1, {"contradiction": 6, "superseded": 1})
    assert visible(tmp_path / "ws")["scope_id"].tolist() == ["c2"]
    counters.ingest([write(tmp_path / "b.csv", row(numerator="80"))], tmp_path / "ws")
    assert visible(tmp_path / "ws")["numerator"].tolist() == [80, 90]


@pytest.mark.parametrize(("bad", "warned"), [(2, True), (1, False)])
def test_a_file_of_which_more_than_half_is_bad_is_warned_of(tmp_path: Path, bad: int, warned: bool) -> None:
    strange = [row(scope_id=f"c{number}", numerator="many") for number in range(bad)]
    done = counters.ingest([write(tmp_path / "a.csv", row(), *strange)], tmp_path / "ws")
    assert not done.failed
    assert ("a.csv: 2 of 3 rows are quarantined: 2 text_in_number" in done.text()) == warned


def test_a_file_full_of_contradictions_gives_nothing_and_fails(tmp_path: Path) -> None:
    done = counters.ingest([write(tmp_path / "a.csv", row(), row(numerator="80"))], tmp_path / "ws")
    assert (done.used, done.failed) == (0, True)
    assert done.nothing[0][1] == "2 contradiction"


@pytest.mark.parametrize("order", [("early", "late"), ("late", "early")])
def test_of_two_deliveries_of_a_window_the_one_received_last_counts(
    tmp_path: Path, order: tuple[str, str]
) -> None:
    bins = [row(**SKETCH), row(**{**SKETCH, "bin": "100301"})]
    early = write(tmp_path / "early.csv", row(), *bins)
    fresh = {"received": "2026-03-01T09:00:00Z"}
    late = write(tmp_path / "late.csv", row(numerator="95") | fresh, bins[0] | fresh | {"numerator": "9"})
    named = {"early": early, "late": late}
    for name in order:
        counters.ingest([named[name]], tmp_path / "ws")
    found = visible(tmp_path / "ws")
    assert sorted(found["numerator"]) == [9, 95]
    bad = counter_tables.quarantined(tmp_path / "ws")
    assert set(bad["rule"]) == {"superseded"}
    assert set(bad["file"]) == {early}
    assert len(bad) == 3
    told = counter_tables.tally(tmp_path / "ws")
    assert (told.rows, told.used, told.quarantined) == (5, 2, 3)


def test_delivering_every_file_again_under_any_name_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder / "a.csv", row(), row(scope_id=""))
    write(folder / "b.csv", row(numerator="95", received="2026-03-01T09:00:00Z"))
    counters.ingest([str(folder)], tmp_path / "ws")
    before = lake_bytes(tmp_path / "ws")
    (folder / "c.csv").write_bytes((folder / "a.csv").read_bytes())
    done = counters.ingest([str(folder)], tmp_path / "ws")
    assert (done.new, done.replaced, done.unchanged) == (0, 0, 3)
    assert lake_bytes(tmp_path / "ws") == before


def lake_bytes(workspace: Path) -> dict[str, bytes]:
    inside = (path for path in (workspace / "lake").rglob("*") if path.is_file())
    return {str(path.relative_to(workspace)): path.read_bytes() for path in inside}


def test_a_parquet_of_the_contract_is_read_as_it_is(tmp_path: Path) -> None:
    frame = pd.DataFrame([row(), row(scope_id="c2", window_s="1e3")])
    typed = frame.assign(
        window_start=pd.to_datetime(frame["window_start"], utc=True),
        received=pd.to_datetime(frame["received"], utc=True),
        **{name: pd.to_numeric(frame[name]) for name in ("window_s", "bin", "numerator", "denominator")},
    )
    pq.write_table(pa.Table.from_pandas(typed, preserve_index=False), tmp_path / "a.parquet")
    done = counters.ingest([str(tmp_path / "a.parquet")], tmp_path / "ws")
    assert (done.used, done.quarantined) == (1, {"window_length": 1})
    naive = typed.assign(window_start=typed["window_start"].dt.tz_localize(None))
    pq.write_table(pa.Table.from_pandas(naive, preserve_index=False), tmp_path / "b.parquet")
    assert counters.ingest([str(tmp_path / "b.parquet")], tmp_path / "ws").quarantined == {"time_not_utc": 2}


def test_files_lie_by_the_date_of_their_window_under_the_contract(tmp_path: Path) -> None:
    later = row(window_start="2026-03-02T00:00:00Z", received="2026-03-02T01:00:00Z")
    counters.ingest([write(tmp_path / "a.csv", row(), later)], tmp_path / "ws")
    (record,) = lake.deliveries(tmp_path / "ws", "counters").values()
    folders = [file.rpartition("/")[0] for file in record.files]
    assert folders == [f"{counter_tables.FOLDER}/date=2026-03-{day}" for day in ("01", "02")]
    stored = pq.read_table(counter_tables.files(tmp_path / "ws")[0], partitioning=None)
    assert stored.column_names == [column.name for column in counter_tables.STORED]
    assert [field.type for field in stored.schema] == [column.arrow for column in counter_tables.STORED]


def test_a_file_that_gives_nothing_is_named_with_what_it_lacks_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    good = pd.DataFrame([GOOD])
    bad = tmp_path / "in" / "a.csv"
    good.rename(columns={"window_start": "window_strat"}).to_csv(bad, index=False)
    good.to_csv(tmp_path / "in" / "b.csv", index=False)
    done = counters.ingest([str(tmp_path / "in")], tmp_path / "ws")
    assert (done.used, done.quarantined, done.failed) == (1, {"missing_column": 1}, True)
    hint = "lacks 'window_start' (the nearest is 'window_strat'); has unknown 'window_strat' (the nearest is"
    ((path, reason),) = done.nothing
    assert (path, hint in reason, hint in done.text()) == (str(bad), True, True)
    (told,) = counter_tables.quarantined(tmp_path / "ws")["hint"]
    assert hint in told
    again = counters.ingest([str(bad)], tmp_path / "ws")
    assert (again.unchanged, again.failed) == (1, True)


def test_an_unknown_counter_is_told_with_the_nearest(tmp_path: Path) -> None:
    source = write(tmp_path / "a.csv", row(), row(counter="rrc_setup_suc/rrc_setup_att"), row(scope_id=""))
    assert not counters.ingest([source], tmp_path / "ws").failed
    bad = counter_tables.quarantined(tmp_path / "ws").set_index("rule")
    assert RRC in bad.loc["unknown_counter", "hint"]
    assert pd.isna(bad.loc["empty_scope_id", "hint"])


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"received": "2026-03-01T16:16:00+08:00"}, "received is 2026-03-01T16:16:00+08:00"),
        ({"window_start": "yesterday"}, "window_start is yesterday"),
        ({"denominator": "12,5", "numerator": "3"}, "denominator is 12,5"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_column(
    tmp_path: Path, changes: dict[str, str], hint: str
) -> None:
    counters.ingest([write(tmp_path / "a.csv", row(), row(**changes))], tmp_path / "ws")
    assert counter_tables.quarantined(tmp_path / "ws")["hint"].tolist() == [hint]


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"numerator": "120", "denominator": "100"}, "numerator is 120.0, denominator is 100.0"),
        ({"denominator": "-3"}, "numerator is 90.0, denominator is -3.0"),
        ({"scope": "galaxy"}, "scope is galaxy"),
        ({"window_s": "7"}, "window_s is 7"),
        ({"window_start": "2015-03-01T08:00:00Z"}, "window_start is 2015-03-01 08:00:00+00"),
    ],
)
def test_the_values_that_break_a_rule_are_told(tmp_path: Path, changes: dict[str, str], hint: str) -> None:
    counters.ingest([write(tmp_path / "a.csv", row(), row(**changes))], tmp_path / "ws")
    (bad,) = counter_tables.quarantined(tmp_path / "ws").to_dict("records")
    assert bad["hint"] == hint
    assert f"a.csv row 1: {bad['rule']}, {hint}" in quarantine.read(tmp_path / "ws").text()


def test_a_file_that_tells_only_what_was_told_before_is_no_failure(tmp_path: Path) -> None:
    sources = [
        write(tmp_path / "a.csv", row()),
        write(tmp_path / "b.csv", row(numerator="90.0")),
    ]
    done = counters.ingest(sources, tmp_path / "ws")
    assert (done.new, done.used, done.quarantined, done.failed) == (2, 1, {"duplicate_row": 1}, False)


def test_the_quarantine_of_a_lake_that_knew_no_hints_is_still_read(tmp_path: Path) -> None:
    counters.ingest(
        [write(tmp_path / "a.csv", row(scope="")), write(tmp_path / "b.csv", row(scope="x"))], tmp_path
    )
    for file in lake.delivered(tmp_path, "counters", "quarantine"):
        pq.write_table(pq.read_table(file, partitioning=None).drop_columns("hint"), file)
    assert sorted(counter_tables.quarantined(tmp_path)["rule"]) == ["empty_scope", "unknown_scope"]
