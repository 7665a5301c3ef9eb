"""Tables of flows are sources as captures are: whole or not at all, by content, of told or unknown flow settings."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_fleet import commit, tiny_flows
from typer.testing import CliRunner

from features import flow_tables, ingest, lake, windows
from features.arrivals import bring_in
from features.configuration import read_config
from features.flows import FLOWS, FlowSettings
from features.table import arrow_schema, check_table
from serving.cli import app
from training.dataset import _flow_settings

if TYPE_CHECKING:
    from conftest import Packets

NOON = datetime(2026, 3, 3, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 3, 4, tzinfo=UTC)
SETTINGS = FlowSettings(first_packets=4)


def flows(*devices: str, end: datetime = NOON, **changes: Any) -> pd.DataFrame:
    """Four flows of each device, without first packets; changes: of columns."""
    found = pd.concat(
        [tiny_flows(f"smart_meter-{device}", end=end, count=4) for device in devices or ("m1",)],
        ignore_index=True,
    )
    return found.assign(**({"first_ps": None, "first_piat_ms": None} | changes))


def written(frame: pd.DataFrame, path: Path) -> str:
    checked = check_table(frame, FLOWS, table="flows")
    table = pa.Table.from_pandas(checked, schema=arrow_schema(FLOWS), preserve_index=False)
    pq.write_table(table, path)
    return str(path)


def held(workspace: Path) -> pd.DataFrame:
    tables = [pq.read_table(file, partitioning=None) for file in lake.flows(workspace)]
    found: pd.DataFrame = pa.concat_tables(tables).to_pandas()
    return found.sort_values(["device_id", "start"], ignore_index=True)


def test_a_table_becomes_windows_of_its_devices(tmp_path: Path) -> None:
    table, ws = written(flows("m1", "m2"), tmp_path / "t.parquet"), tmp_path / "ws"
    done = flow_tables.load([table], ws)
    assert (done.new, done.flows, done.failures) == (1, 8, ())
    (record,) = lake.records(ws).values()
    assert (record.reader, record.flow_settings, record.flows, record.packets) == ("table", None, 8, 32)
    assert lake.devices(ws)["device_id"].tolist() == ["smart_meter-m1", "smart_meter-m2"]
    assert windows.build(ws).written["session"] == 2
    rows = windows.rows(ws, "session")
    assert rows["source"].unique().tolist() == [record.source]  # a session spans the table
    assert rows["flows"].tolist() == [4, 4]
    assert rows["up_bytes"].sum() == flows("m1", "m2")["up_bytes"].sum()


def test_a_flow_lies_under_the_date_on_which_it_starts(tmp_path: Path) -> None:
    frame = flows(end=MIDNIGHT + timedelta(minutes=20))
    flow_tables.load([written(frame, tmp_path / "t.parquet")], tmp_path / "ws")
    folders = {file.parent.name: pq.read_metadata(file).num_rows for file in lake.flows(tmp_path / "ws")}
    assert folders == frame["start"].dt.strftime("date=%Y-%m-%d").value_counts().to_dict()
    assert len(folders) == 2
    assert held(tmp_path / "ws")["up_bytes"].sum() == frame["up_bytes"].sum()


def test_csv_tells_the_same_as_parquet_and_may_leave_out_what_may_be_empty(tmp_path: Path) -> None:
    frame = flows("m1", "m2")
    flow_tables.load([written(frame, tmp_path / "t.parquet")], tmp_path / "a")
    optional = [
        "source",
        *(column.name for column in FLOWS if column.empty and frame[column.name].isna().all()),
    ]
    assert "first_ps" in optional
    frame.drop(columns=optional).to_csv(tmp_path / "t.csv", index=False)
    assert flow_tables.load([str(tmp_path / "t.csv")], tmp_path / "b").failures == ()
    same = [held(tmp_path / ws).drop(columns="source") for ws in "ab"]
    pd.testing.assert_frame_equal(*same)


def test_the_same_table_again_changes_nothing_and_read_anew_it_takes_its_own_place(tmp_path: Path) -> None:
    table, ws = written(flows(), tmp_path / "t.parquet"), tmp_path / "ws"
    (tmp_path / "copy.parquet").write_bytes((tmp_path / "t.parquet").read_bytes())
    done = flow_tables.load([table, str(tmp_path / "copy.parquet")], ws)
    assert (done.new, done.unchanged, done.replaced) == (1, 1, 0)
    done = flow_tables.load([table], ws)
    assert (done.new, done.unchanged, done.flows) == (0, 1, 0)
    assert windows.build(ws).written["session"] == 1
    assert windows.build(ws).written["session"] == 0


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"device_id": ["a", "b", " c", "d"]}, "flows.device_id must be a name .* but row 2 has ' c'"),
        ({"protocol": [17, 17, 17, 300]}, r"flows.protocol must be in \[0, 255\], but row 3 has 300"),
        ({"up_mean_ps": [1.0, float("inf"), 1, 1]}, "flows.up_mean_ps must be finite, but row 1"),
        ({"start": NOON + timedelta(days=2)}, "flows.end must be within a day after start, but row 0"),
        ({"start": NOON - timedelta(days=2)}, "flows.end must be within a day after start, but row 0"),
        ({"first_ps": [[100, -40]] * 4}, "flows.first_ps must be empty where nobody told .* but row 0 has 2"),
        ({"peer_ip": None}, "flows.peer_ip must not be empty, but row 0 is"),
        ({"extra": 1}, r"flows must have exactly its declared columns, but lacks \[\] and adds \['extra'\]"),
    ],
)  # fmt: skip
def test_a_table_that_breaks_the_contract_is_refused_as_a_whole_and_the_others_go_on(
    tmp_path: Path, changes: dict[str, Any], rule: str
) -> None:
    good, bad = written(flows("m2"), tmp_path / "good.parquet"), tmp_path / "bad.parquet"
    flows(**changes).to_parquet(bad)
    done = flow_tables.load([str(bad), good], tmp_path / "ws")
    assert (done.new, [name for name, _ in done.failures]) == (1, [str(bad)])
    with pytest.raises(ValueError, match=rule):
        raise ValueError(done.failures[0][1])
    assert held(tmp_path / "ws")["device_id"].unique().tolist() == ["smart_meter-m2"]


def test_a_bad_row_late_in_a_long_table_leaves_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("features.table_files.BATCH_ROWS", 2)
    frame = flows("m1", "m2")
    frame.loc[6, "end"] = frame.loc[6, "start"] - timedelta(seconds=1)
    done = flow_tables.load([written(frame, tmp_path / "t.parquet")], tmp_path / "ws")
    assert "but row 6 lasts from" in done.failures[0][1]
    assert list((tmp_path / "ws" / "lake").rglob("*.parquet")) == []
    assert list((tmp_path / "ws" / "lake" / "flows").glob("*")) == []


def test_a_table_of_told_settings_gives_the_windows_of_its_capture(tmp_path: Path) -> None:
    frame = tiny_flows("smart_meter-m1", end=NOON, count=4)
    commit(tmp_path / "a", frame, settings=SETTINGS)
    table = written(frame, tmp_path / "t.parquet")
    done = flow_tables.load([table], tmp_path / "b", settings=SETTINGS)
    assert done.failures == ()
    assert lake.flow_settings(tmp_path / "b") == SETTINGS
    for ws in "ab":
        windows.build(tmp_path / ws)
    unequal = ["source", "created"]
    pd.testing.assert_frame_equal(
        *(windows.rows(tmp_path / ws, "session").drop(columns=unequal) for ws in "ab")
    )


def test_first_packets_are_as_many_as_the_settings_say(tmp_path: Path) -> None:
    table = written(tiny_flows("smart_meter-m1", end=NOON), tmp_path / "t.parquet")
    (failure,) = flow_tables.load([table], tmp_path / "ws", settings=FlowSettings()).failures
    assert (
        "flows.first_ps must be 32 long, as first_packets of the flow settings is, but row 0 has 4"
        in failure[1]
    )


def test_flows_of_unknown_settings_never_lie_beside_captures(packets: "Packets", tmp_path: Path) -> None:
    frames = [(0.0, packets.frame(packets.udp(("10.0.0.1", 9), ("8.8.8.8", 53))))]
    capture = str(packets.write(tmp_path / "a.pcap", frames))
    table = written(flows(), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="captures and tables must come with the same flow settings"):
        bring_in([capture, table], tmp_path / "new", devices="auto")
    assert not (tmp_path / "new").exists()
    bring_in([capture], tmp_path / "captures", devices="auto")
    with pytest.raises(ValueError, match=r"nobody told them, and .* holds .*a\.pcap; tell --flow-settings"):
        bring_in([table], tmp_path / "captures")
    bring_in([table], tmp_path / "tables")
    with pytest.raises(ValueError, match=r"nobody told those of .*t\.parquet"):
        ingest.ingest([capture], tmp_path / "tables", devices="auto")
    for ws in ("captures", "tables"):
        assert len(lake.records(tmp_path / ws)) == 1


def test_settings_told_later_heal_a_lake_and_a_mixture_makes_no_windows(tmp_path: Path) -> None:
    lists = {"first_ps": [[100, -40, 0, 0]] * 4, "first_piat_ms": [[0, 10, 0, 0]] * 4}
    one, two = (written(flows(name, **lists), tmp_path / f"{name}.parquet") for name in ("m1", "m2"))
    ws = tmp_path / "ws"
    flow_tables.load([one], ws, settings=SETTINGS)
    flow_tables.load([two], ws, settings=FlowSettings(first_packets=4, idle_timeout_s=15))
    with pytest.raises(ValueError, match="read with the same flow settings"):
        windows.build(ws)
    done = flow_tables.load([one, two], ws, settings=SETTINGS)
    assert (done.unchanged, done.replaced) == (1, 1)
    assert windows.build(ws).written["session"] == 2


def test_a_model_of_unknown_settings_carries_none(tmp_path: Path) -> None:
    flow_tables.load([written(flows(), tmp_path / "t.parquet")], tmp_path / "ws")
    assert lake.flow_settings(tmp_path / "ws") is None
    assert _flow_settings(tmp_path / "ws") is None


def test_a_folder_with_a_capture_is_of_captures_whatever_tables_lie_beside(
    packets: "Packets", tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    frames = [(0.0, packets.frame(packets.udp(("10.0.0.1", 9), ("8.8.8.8", 53))))]
    packets.write(tmp_path / "in" / "a.pcap", frames)
    (tmp_path / "in" / "MAP.csv").write_text("device_id,ip\nall,10.0.0.0/8\n")
    done = bring_in([str(tmp_path / "in")], tmp_path / "ws", devices=str(tmp_path / "in" / "MAP.csv"))
    assert done.failures == ()
    assert "1 captures: 1 new" in done.text()
    with pytest.raises(ValueError, match="captures need a device map"):
        bring_in([str(tmp_path / "in")], tmp_path / "ws2")
    with pytest.raises(FileNotFoundError, match="no-such"):
        bring_in([str(tmp_path / "no-such.parquet")], tmp_path / "ws2")
    assert not (tmp_path / "ws2").exists()


def test_the_command_takes_tables_without_a_map(tmp_path: Path) -> None:
    table = written(flows(), tmp_path / "t.parquet")
    settings = tmp_path / "flows.yaml"
    settings.write_text("first_packets: 4\n")
    assert read_config(settings, FlowSettings) == SETTINGS
    run = CliRunner().invoke(app, ["ingest", table, "--workspace", str(tmp_path / "ws")])
    assert (run.exit_code, run.output) == (
        0, "flow tables: 1 new, 0 unchanged, 0 replaced, 0 failed; 4 flows\n",
    )  # fmt: skip
    told = ["--flow-settings", str(settings), "--workspace", str(tmp_path / "ws")]
    run = CliRunner().invoke(app, ["ingest", table, *told])
    assert run.exit_code == 1
    assert "flows.first_ps must be 4 long" in run.output
