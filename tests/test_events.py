"""The service event log: whole files under EVENTS, or a row that says why not; an attempt is one however often told."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from features import events, lake, records
from features.configuration import write_configs
from features.table import arrow_schema, check_table
from serving.cli_counters import counters_app

HEAD = "device_id,service,process,cell,at,ok,failed_step,delay_ms,repeated,step_ms"
GOOD = 'd1,bike_sharing,bk_unlock,c1,2026-03-01T10:00:00Z,true,0,812.5,false,"[200, 612, -1]"'
BAD = 'd1,bike_sharing,bk_unlock,c1,2026-03-01T11:00:00Z,false,2,900,false,"[200, 700, -1]"'


def told(folder: Path, *rows: str, name: str = "e.csv") -> Path:
    (folder / name).write_text("\n".join([HEAD, *rows]) + "\n")
    return folder / name


def load(folder: Path, *rows: str, name: str = "e.csv") -> tuple[tuple[str, str], ...]:
    return events.load([str(told(folder, *rows, name=name))], folder / "ws").failures


def test_an_attempt_told_in_csv_comes_back_as_it_was(tmp_path: Path) -> None:
    assert load(tmp_path, BAD, GOOD) == ()
    found = events.rows(tmp_path / "ws")
    check_table(found, events.EVENTS, table="events")
    assert found["ok"].tolist() == [True, False]  # in the order of time
    assert found["step_ms"].map(list).tolist() == [[200, 612, -1], [200, 700, -1]]
    assert found["delay_ms"].tolist() == [812.5, 900.0]


def test_csv_packed_csv_and_parquet_tell_the_same(tmp_path: Path) -> None:
    assert load(tmp_path, BAD, GOOD) == ()
    wanted = events.rows(tmp_path / "ws")
    packed = tmp_path / "e2.csv.gz"
    packed.write_bytes(gzip.compress((tmp_path / "e.csv").read_bytes()))
    table = pa.Table.from_pandas(wanted, schema=arrow_schema(events.EVENTS), preserve_index=False)
    pq.write_table(table, tmp_path / "e.parquet")
    for name in ("e2.csv.gz", "e.parquet"):
        done = events.load([str(tmp_path / name)], tmp_path / name.replace(".", "_"))
        assert (done.new, done.rows, done.failures) == (1, 2, ())
        pd.testing.assert_frame_equal(events.rows(tmp_path / name.replace(".", "_")), wanted)


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (GOOD.replace("00:00Z", "00:00"), r"events.at must be UTC, with Z, but row 1 has '2026-03-01T10:00:00'"),
        (GOOD.replace("2026-03-01T10", "yesterdayT10"), "events.at must be an ISO 8601 time, but row 1"),
        (GOOD.replace("true", "perhaps"), "events.ok must be true or false, but row 1 has 'perhaps'"),
        (GOOD.replace("812.5", "much"), "events.delay_ms must be a number, but row 1 has 'much'"),
        (GOOD.replace("812.5", "inf"), "events.delay_ms must be finite, but row 1"),
        (GOOD.replace("812.5", "-1"), r"events.delay_ms must be in \[0, inf\], but row 1 has -1"),
        (GOOD.replace("[200, 612, -1]", "200 612"), "events.step_ms must be a JSON array, but row 1"),
        (GOOD.replace("[200, 612, -1]", "[200, -2]"), "events.step_ms must be in .*, but row 1 has -2"),
        (GOOD.replace(",true,0,", ",true,2,"), "ok where failed_step is 0, and only there, but row 1 has ok True"),
        (BAD.replace(",false,2,", ",false,4,"), "at most the number of its steps, but row 1 .* 4, 3 steps"),
        (GOOD.replace("d1", ""), "events.device_id must not be empty, but row 1 is"),
        (GOOD.replace("d1", " d1"), "events.device_id must be a name without space around it, but row 1"),
        (GOOD + ",more", "Expected 10 columns, got 11"),
        ("d1,bike_sharing", "Expected 10 columns, got 2"),
    ],
)  # fmt: skip
def test_a_log_that_breaks_its_contract_is_refused_as_a_whole(tmp_path: Path, row: str, rule: str) -> None:
    failures = load(tmp_path, GOOD, row)
    assert [name for name, _ in failures] == [str(tmp_path / "e.csv")]
    with pytest.raises(ValueError, match=rule):
        raise ValueError(failures[0][1])
    assert events.rows(tmp_path / "ws").empty
    assert list((tmp_path / "ws").rglob("*.parquet")) == []


def test_a_row_is_named_by_its_place_in_the_file_however_the_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("features.table_files.BATCH_ROWS", 2)
    frame = pd.concat([events.rows(good_lake(tmp_path))] * 5, ignore_index=True)
    frame.loc[3, "failed_step"] = 9
    table = pa.Table.from_pandas(frame, schema=arrow_schema(events.EVENTS), preserve_index=False)
    pq.write_table(table, tmp_path / "late.parquet", row_group_size=3)
    (failure,) = events.load([str(tmp_path / "late.parquet")], tmp_path / "ws").failures
    assert "but row 3 has" in failure[1]


def good_lake(folder: Path) -> Path:
    assert load(folder, GOOD) == ()
    return folder / "ws"


def test_a_parquet_whose_times_are_of_no_zone_is_refused(tmp_path: Path) -> None:
    frame = events.rows(good_lake(tmp_path))
    frame["at"] = frame["at"].dt.tz_localize(None)
    frame.to_parquet(tmp_path / "naive.parquet")
    (failure,) = events.load([str(tmp_path / "naive.parquet")], tmp_path / "ws").failures
    assert "events.at must be UTC and say so, but is timestamp[us]" in failure[1]


def test_a_damaged_file_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    told(tmp_path, GOOD)
    (tmp_path / "d.parquet").write_bytes(b"PAR1 and nothing more")
    (tmp_path / "z.csv.gz").write_bytes(gzip.compress(b"x" * 1000)[:30])
    done = events.load([str(tmp_path)], tmp_path / "ws")
    assert (done.new, [Path(name).name for name, _ in done.failures]) == (1, ["d.parquet", "z.csv.gz"])


def test_the_same_log_again_changes_nothing_and_an_attempt_told_twice_is_one(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD) == ()
    assert load(tmp_path, GOOD, name="again.csv") == ()
    assert len(lake.deliveries(tmp_path / "ws", "events")) == 1
    contrary = GOOD.replace(",true,0,", ",false,2,")
    assert load(tmp_path, BAD, contrary, name="more.csv") == ()
    found = events.rows(tmp_path / "ws")
    assert found["ok"].tolist() == [False, False]  # where two tell otherwise, the failure stands


def test_a_reader_asks_for_a_stretch_of_time_and_for_processes(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD, BAD) == ()
    assert (
        load(tmp_path, GOOD.replace("03-01", "03-02").replace("unlock", "lock_online"), name="next.csv") == ()
    )
    eleven, tomorrow = (datetime(2026, 3, day, hour, tzinfo=UTC) for day, hour in ((1, 11), (2, 0)))
    ws = tmp_path / "ws"
    assert events.rows(ws, since=eleven, until=tomorrow)["at"].tolist() == [pd.Timestamp(eleven)]
    assert events.rows(ws, until=eleven)["ok"].tolist() == [True]
    assert events.rows(ws, processes=["bk_lock_online"])["process"].tolist() == ["bk_lock_online"]
    assert events.rows(ws, processes=[]).empty
    assert len(events.files(ws, since=tomorrow)) == 1
    assert events.rows(ws, since=datetime(2027, 1, 1, tzinfo=UTC)).empty


def test_an_attempt_of_an_unknown_service_or_process_is_quarantined_by_a_named_rule(tmp_path: Path) -> None:
    strange = [GOOD.replace("bike_sharing", "bike_sharng"), BAD.replace("bk_unlock", "ss_heartbeat")]
    done = events.load([str(told(tmp_path, *strange, GOOD, BAD))], tmp_path / "ws")
    assert (done.rows, done.quarantined) == (4, {"unknown_process": 1, "unknown_service": 1})
    assert (
        "4 rows: 2 used, 2 quarantined\n1 unknown_process: not so that process is one of its service"
        in done.text()
    )
    assert len(events.rows(tmp_path / "ws")) == 2
    assert len(events.files(tmp_path / "ws")) == 1
    lies = records.quarantined(tmp_path / "ws", "events")
    assert lies[["row", "rule"]].to_numpy().tolist() == [[0, "unknown_service"], [1, "unknown_process"]]
    assert json.loads(lies["told"][0])["service"] == "bike_sharng"


def test_a_log_of_strangers_alone_is_no_log_until_their_service_is_known(tmp_path: Path) -> None:
    strange = told(tmp_path, GOOD.replace("bike_sharing", "bike_hiring"))
    assert events.load([str(strange)], tmp_path / "ws").quarantined == {"unknown_service": 1}
    assert events.rows(tmp_path / "ws").empty
    assert events.load([str(strange)], tmp_path / "ws").unchanged == 1
    own = write_configs(tmp_path / "ws") / "services" / "bike_hiring.yaml"
    own.write_text(
        own.with_name("bike_sharing.yaml").read_text().replace("id: bike_sharing", "id: bike_hiring")
    )
    healed = events.load([str(strange)], tmp_path / "ws")
    assert (healed.new, healed.rows, healed.quarantined) == (1, 1, {})
    assert events.rows(tmp_path / "ws")["service"].tolist() == ["bike_hiring"]
    assert records.quarantined(tmp_path / "ws", "events").empty


def test_the_command_loads_a_log_and_ends_with_one_where_it_cannot(tmp_path: Path) -> None:
    file = told(tmp_path, GOOD)
    run = CliRunner().invoke(counters_app, ["events", str(file), "--workspace", str(tmp_path / "ws")])
    assert (run.exit_code, run.output) == (0, "events: 1 new, 0 unchanged, 0 failed; 1 rows\n")
    run = CliRunner().invoke(counters_app, ["events", str(told(tmp_path, "x")), "-w", str(tmp_path / "ws")])
    assert run.exit_code == 1
