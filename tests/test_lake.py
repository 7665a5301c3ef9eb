"""The lake holds whole sources or nothing, tells the same bytes for the same flows, and has one writer at a time."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow.parquet as pq
import pytest

from features import lake
from features.device_map import DeviceMap
from features.devices import DEVICES, orient
from features.flows import FLOWS, FlowSettings, meter
from features.table import arrow_schema, check_table

if TYPE_CHECKING:
    from conftest import Packets

MIDNIGHT = 1_772_323_200.0  # 2026-03-01T00:00:00Z
SOURCE = "0123456789abcdef"

Tables = tuple[pd.DataFrame, pd.DataFrame]


@pytest.fixture
def tables(packets: "Packets", tmp_path: Path) -> Callable[..., Tables]:
    """FLOWS and DEVICES of a capture whose flows start at the given times (s since 1970)."""

    def make(*starts: float) -> Tables:
        frames = [
            (start, packets.frame(packets.udp(("10.0.0.5", 1000 + i), ("8.8.8.8", 53))))
            for i, start in enumerate(starts)
        ]
        raw = meter(packets.write(tmp_path / "a.pcap", frames), FlowSettings())
        flows, devices, _ = orient(raw.flows, DeviceMap.auto(), SOURCE)
        return flows, devices

    return make


def record(fingerprint: str = "1" * 16, source: str = SOURCE) -> lake.Source:
    return lake.Source(source, "a.pcap", 100, fingerprint, 2, 2, 0, ("a warning",), (), FlowSettings())


def files(workspace: Path) -> list[str]:
    inside = (path for path in (workspace / "lake").rglob("*") if path.is_file())
    return sorted(str(path.relative_to(workspace / "lake")) for path in inside)


def test_a_source_lies_in_a_file_per_date_and_its_record_names_them(
    tables: Callable[..., Tables], tmp_path: Path
) -> None:
    with lake.writing(tmp_path):
        committed = lake.commit(tmp_path, record(), *tables(MIDNIGHT - 1, MIDNIGHT))
    name = f"{SOURCE}-11111111.parquet"
    assert committed.files == (
        f"devices/{name}",
        f"flows/date=2026-02-28/{name}",
        f"flows/date=2026-03-01/{name}",
    )
    assert files(tmp_path) == [".lock", *committed.files, f"sources/{SOURCE}.json"]
    assert lake.records(tmp_path) == {SOURCE: committed}
    assert lake.sources(tmp_path)[["source", "path", "flows"]].values.tolist() == [[SOURCE, "a.pcap", 2]]


def test_a_lake_tells_the_one_way_in_which_its_packets_became_flows(
    tables: Callable[..., Tables], tmp_path: Path
) -> None:
    assert lake.flow_settings(tmp_path) is None
    short = FlowSettings(active_timeout_s=60)
    with lake.writing(tmp_path):
        lake.commit(tmp_path, replace(record(source="a" * 16), flow_settings=short), *tables(MIDNIGHT))
        assert lake.flow_settings(tmp_path) == short
        other = replace(record(source="b" * 16), path="b.pcap")
        lake.commit(tmp_path, other, *tables(MIDNIGHT + 1))
    with pytest.raises(ValueError, match=r"a\.pcap with .*=60.*, b\.pcap with .*=300.*; ingest them again"):
        lake.flow_settings(tmp_path)


def test_a_record_of_an_older_version_tells_no_flow_settings(
    tables: Callable[..., Tables], tmp_path: Path
) -> None:
    with lake.writing(tmp_path):
        lake.commit(tmp_path, record(), *tables(MIDNIGHT))
    file = tmp_path / "lake" / "sources" / f"{SOURCE}.json"
    told = json.loads(file.read_text(encoding="utf-8"))
    assert told.pop("flow_settings") == FlowSettings().model_dump()
    file.write_text(json.dumps(told), encoding="utf-8")
    assert lake.flow_settings(tmp_path) is None


def test_flows_and_devices_come_back_as_their_contracts_have_them(
    tables: Callable[..., Tables], tmp_path: Path
) -> None:
    flows, devices = tables(MIDNIGHT, MIDNIGHT + 1)
    with lake.writing(tmp_path):
        lake.commit(tmp_path, record(), flows, devices)
    (file,) = lake.flows(tmp_path)
    assert pq.read_schema(file).equals(arrow_schema(FLOWS))
    assert pq.read_schema(file).metadata is None
    back = check_table(pq.read_table(file, partitioning=None).to_pandas(), FLOWS, table="flows")
    pd.testing.assert_frame_equal(back.drop(columns="first_ps"), flows.drop(columns="first_ps"))
    assert [sizes.tolist() for sizes in back["first_ps"]] == [sizes.tolist() for sizes in flows["first_ps"]]
    pd.testing.assert_frame_equal(lake.devices(tmp_path), devices)


def test_an_empty_workspace_has_no_flows_devices_or_sources(tmp_path: Path) -> None:
    assert lake.flows(tmp_path) == []
    assert lake.devices(tmp_path).empty
    assert list(lake.devices(tmp_path).columns) == [column.name for column in DEVICES]
    assert lake.sources(tmp_path).empty


def test_the_same_tables_give_the_same_bytes(tables: Callable[..., Tables], tmp_path: Path) -> None:
    for name in ("one", "two"):
        with lake.writing(tmp_path / name):
            lake.commit(tmp_path / name, record(), *tables(MIDNIGHT, MIDNIGHT + 1))
    for file in files(tmp_path / "one"):
        assert (tmp_path / "one/lake" / file).read_bytes() == (tmp_path / "two/lake" / file).read_bytes()


def test_a_source_read_anew_replaces_all_that_it_was(tables: Callable[..., Tables], tmp_path: Path) -> None:
    with lake.writing(tmp_path):
        before = lake.commit(tmp_path, record("1" * 16), *tables(MIDNIGHT - 1, MIDNIGHT))
    with lake.writing(tmp_path):
        after = lake.commit(tmp_path, record("2" * 16), *tables(MIDNIGHT))
        assert set(before.files) < set(files(tmp_path))  # who listed them can still open them
    assert files(tmp_path) == [".lock", *after.files, f"sources/{SOURCE}.json"]
    assert not (tmp_path / "lake/flows/date=2026-02-28").exists()


def test_what_was_staged_but_not_committed_is_not_there_and_goes(
    tables: Callable[..., Tables], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt), lake.writing(tmp_path) as scratch:
        committed = lake.commit(tmp_path, record("1" * 16), *tables(MIDNIGHT))
        staged = lake.stage(scratch, *tables(MIDNIGHT, MIDNIGHT + 86_400))
        stray = tmp_path / "lake/flows/date=2026-03-02" / f"{SOURCE}-22222222.parquet"
        stray.parent.mkdir()
        staged["flows/date=2026-03-02"].rename(stray)
        assert [lake.flows(tmp_path), lake.records(tmp_path)] == [
            [tmp_path / "lake" / committed.files[1]],
            {SOURCE: committed},
        ]
        raise KeyboardInterrupt
    assert files(tmp_path) == [".lock", *committed.files, f"sources/{SOURCE}.json"]


def test_a_second_writer_is_told_that_there_is_one(tmp_path: Path) -> None:
    with (
        lake.writing(tmp_path),
        pytest.raises(TimeoutError, match=r"one process writes .*/lake at a time"),
        lake.writing(tmp_path, wait_s=0),
    ):
        pass


HOLD = """
import sys, time
from pathlib import Path
from features import lake
with lake.writing(Path(sys.argv[1])):
    print("holding", flush=True)
    time.sleep(600)
"""


def test_a_writer_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    writer = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    with writer:
        assert writer.stdout and writer.stdout.readline() == "holding\n"
        with pytest.raises(TimeoutError), lake.writing(tmp_path, wait_s=0):
            pass
        writer.kill()
    with lake.writing(tmp_path, wait_s=10):
        pass
