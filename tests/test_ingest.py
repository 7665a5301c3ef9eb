"""Captures come into the lake once, whole and named; what cannot be read is named too, and the rest goes on."""

import gzip
import json
import logging
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from features import lake
from features.device_map import DeviceMap
from features.flows import FlowSettings, UnreadCapture
from features.ingest import IngestSummary, ingest, read_all_flows, read_flows, read_map
from features.sources import check_unchanged, find_captures, is_simulated, named_captures, read_content

if TYPE_CHECKING:
    from conftest import Packets

NOON = 1_772_366_400.0  # 2026-03-01T12:00:00Z
SETTINGS = FlowSettings()


@pytest.fixture(scope="session")
def brought_in(packets: "Packets", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of `captures` (lab/one.pcap: 2 flows of 10.0.0.1; lab/two.pcapng.gz: 3 of 10.0.0.2), and of what
    `ingest` made of them without a map."""
    folder = tmp_path_factory.mktemp("ingest")

    def write(name: str, device: str, flows: int) -> Path:
        ends = [((device, 1000 + i), ("8.8.8.8", 53)) for i in range(flows)]
        frames = [(NOON + i, packets.frame(packets.udp(*end))) for i, end in enumerate(ends)]
        return packets.write(folder / "captures/lab" / name, frames)

    write("one.pcap", "10.0.0.1", 2)
    plain = write("two", "10.0.0.2", 3)
    plain.with_name("two.pcapng.gz").write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    plain.unlink()
    (folder / "captures/notes.txt").write_text("no capture")
    bring_in(folder, folder / "captures")
    return folder


@pytest.fixture
def captures(brought_in: Path, tmp_path: Path) -> Path:
    """The captures, for this test alone."""
    return shutil.copytree(brought_in / "captures", tmp_path / "captures")


@pytest.fixture
def workspace(brought_in: Path, tmp_path: Path) -> Path:
    """A workspace that holds the captures, for this test alone."""
    shutil.copytree(brought_in / "lake", tmp_path / "lake", copy_function=shutil.copy2)
    return tmp_path


def bring_in(
    workspace: Path, *sources: Path, devices: str = "auto", settings: FlowSettings = SETTINGS
) -> IngestSummary:
    return ingest([str(source) for source in sources], workspace, devices=devices, settings=settings)


def content(workspace: Path) -> dict[str, bytes]:
    inside = (path for path in (workspace / "lake").rglob("*") if path.is_file())
    return {str(path.relative_to(workspace)): path.read_bytes() for path in inside}


def device_ids(workspace: Path) -> list[str]:
    tables = [pq.read_table(file, partitioning=None) for file in lake.flows(workspace)]
    return sorted(pa.concat_tables(tables)["device_id"].to_pylist()) if tables else []


def counts(summary: IngestSummary) -> tuple[int, int, int, int]:
    return summary.new, summary.unchanged, summary.replaced, summary.failed


def test_a_folder_is_searched_a_glob_opened_and_a_file_taken_whatever_its_name(captures: Path) -> None:
    one, two = captures / "lab/one.pcap", captures / "lab/two.pcapng.gz"
    assert find_captures([str(captures)]) == [one, two]
    assert find_captures([str(captures / "*/*.pcap")]) == [one]
    assert find_captures([str(captures / "**")]) == [one, two, captures / "notes.txt"]
    assert find_captures([str(captures / "notes.txt")]) == [captures / "notes.txt"]


def test_a_capture_named_twice_or_through_a_link_is_found_once(captures: Path) -> None:
    one = captures / "lab/one.pcap"
    (captures / "again.pcap").symlink_to(one)
    (captures / "lab/up").symlink_to(captures, target_is_directory=True)
    assert find_captures([str(one), str(captures), str(one)]) == [one, captures / "lab/two.pcapng.gz"]


def test_a_capture_is_named_as_it_was_given(captures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(captures)
    (captures / "again.pcap").symlink_to("lab/one.pcap")
    one, two = "./lab/one.pcap", "./lab/two.pcapng.gz"
    assert list(named_captures([one, "lab/one.pcap", "again.pcap"])) == [one, "lab/one.pcap", "again.pcap"]
    assert list(named_captures(["./lab"])) == [one, two]
    assert list(named_captures(["./l*", one])) == [one, two]
    assert list(named_captures(["lab/", "*/*.pcap"])) == ["lab/one.pcap", "lab/two.pcapng.gz"]


def test_a_folder_that_may_not_be_searched_is_named_and_the_others_go_on(
    captures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captures.chmod(0o755)
    (captures / "closed").mkdir(mode=0)
    (captures / "listed").mkdir()
    (captures / "listed/three.pcap").touch()
    (captures / "listed").chmod(0o444)
    monkeypatch.chdir(captures)  # what lies above is closed to others as well
    told = {}
    user = os.geteuid()
    os.seteuid(65_534 if user == 0 else user)  # nobody: no folder is closed to root
    try:
        for path in find_captures(["."]):
            assert not is_simulated(path)
            try:
                told[str(path)] = read_content(path).source
            except ValueError as error:
                told[str(path)] = str(error)
    finally:
        os.seteuid(user)
    assert told == {
        "lab/one.pcap": read_content(Path("lab/one.pcap")).source,
        "lab/two.pcapng.gz": read_content(Path("lab/two.pcapng.gz")).source,
        "listed/three.pcap": "cannot be read: Permission denied",
        "closed": "is a folder that cannot be searched; its captures are not read",
    }


def test_a_source_that_leads_to_no_capture_is_named_before_anything_happens(
    captures: Path, tmp_path: Path
) -> None:
    (captures / "empty").mkdir()
    for source in (captures / "empty", captures / "*.pcapng", captures / "missing.pcap"):
        with pytest.raises(FileNotFoundError, match=r"no capture .* at .*/captures/"):
            bring_in(tmp_path / "ws", captures, source)
    assert not (tmp_path / "ws").exists()


def test_a_folder_is_brought_in_and_counted(captures: Path, tmp_path: Path) -> None:
    summary = bring_in(tmp_path, captures)
    assert summary == IngestSummary(
        2, 2, 0, 0, 0, flows=5, packets=5, unmapped_flows=0, failures=(), warnings=()
    )
    assert device_ids(tmp_path) == ["10.0.0.1"] * 2 + ["10.0.0.2"] * 3
    assert summary.text().splitlines() == [
        "2 captures: 2 new, 0 unchanged, 0 replaced, 0 failed",
        "5 packets: 5 flows of devices, 0 of no device",
    ]


def test_the_same_captures_again_change_nothing(captures: Path, workspace: Path) -> None:
    before, times = content(workspace), lake.sources(workspace)["ingested"]
    summary = bring_in(workspace, captures)
    assert counts(summary) == (0, 2, 0, 0)
    assert (summary.flows, summary.packets) == (5, 5)
    assert content(workspace) == before
    assert lake.sources(workspace)["ingested"].equals(times)


def test_the_same_bytes_under_another_name_change_nothing(captures: Path, workspace: Path) -> None:
    before = content(workspace)
    shutil.copy(captures / "lab/one.pcap", captures / "lab/renamed.cap")
    summary = bring_in(workspace, captures)
    assert (counts(summary), summary.flows) == ((0, 3, 0, 0), 5)
    assert content(workspace) == before


def test_the_same_bytes_under_two_names_at_once_come_in_once(captures: Path, tmp_path: Path) -> None:
    shutil.copy(captures / "lab/one.pcap", captures / "copy.pcap")
    assert counts(bring_in(tmp_path, captures)) == (2, 1, 0, 0)
    assert device_ids(tmp_path).count("10.0.0.1") == 2


def test_a_capture_and_what_it_was_packed_to_are_one_source(captures: Path, tmp_path: Path) -> None:
    one = captures / "lab/one.pcap"
    one.with_name("one.pcap.gz").write_bytes(gzip.compress(one.read_bytes()))
    assert counts(bring_in(tmp_path, captures)) == (2, 1, 0, 0)
    assert device_ids(tmp_path).count("10.0.0.1") == 2


def test_damaged_packed_captures_are_told_apart_by_their_files(captures: Path) -> None:
    packed = gzip.compress((captures / "lab/one.pcap").read_bytes())
    damaged = captures / "one.pcap.gz", captures / "two.pcap.gz"
    for cut, path in enumerate(damaged, 1):
        path.write_bytes(packed[:-cut])
    assert len({read_content(path).source for path in damaged}) == 2


def test_a_source_is_read_anew_when_its_map_rows_changed_and_only_then(
    captures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    header, one, two = "device_id,ip,capture", "a,10.0.0.1,lab/one.pcap", "b,10.0.0.2,lab/two.pcapng.gz"
    devices = tmp_path / "MAP.csv"
    devices.write_text("\n".join([header, one, two]))
    bring_in(tmp_path, captures, devices=str(devices))
    devices.write_text("\n".join([header, "c,10.9.9.9,lab/three.pcap", two, one.replace("a,", "A,")]))
    with caplog.at_level(logging.INFO):
        summary = bring_in(tmp_path, captures, devices=str(devices))
    assert counts(summary) == (0, 1, 1, 0)
    assert (
        "lab/one.pcap: replaced since the map or the settings changed, 2 flows, 0 of no device" in caplog.text
    )
    assert device_ids(tmp_path) == ["A", "A", "b", "b", "b"]
    assert sorted(lake.devices(tmp_path)["device_id"]) == ["A", "b"]


def test_a_source_is_read_anew_when_the_settings_of_the_workspace_changed(
    captures: Path, workspace: Path
) -> None:
    (workspace / "configs").mkdir()
    (workspace / "configs/flows.yaml").write_text("first_packets: 1\n")
    assert counts(ingest([str(captures)], workspace, devices="auto")) == (0, 0, 2, 0)
    assert counts(bring_in(workspace, captures, settings=FlowSettings(first_packets=1))) == (0, 2, 0, 0)
    table = pq.read_table(lake.flows(workspace)[0], partitioning=None)
    assert set(map(len, table["first_ps"].to_pylist())) == {1}


def test_known_bytes_keep_their_name_unless_the_map_knows_a_better_one(
    captures: Path, tmp_path: Path
) -> None:
    one, elsewhere = captures / "lab/one.pcap", captures / "elsewhere/other.pcap"
    elsewhere.parent.mkdir()
    shutil.copy(one, elsewhere)
    devices = tmp_path / "MAP.csv"
    devices.write_text("device_id,ip,capture\nin-lab,10.0.0.1,one.pcap\nelse,10.9.9.9,\n")
    bring_in(tmp_path, one, devices=str(devices))
    assert counts(bring_in(tmp_path, elsewhere, devices=str(devices))) == (0, 1, 0, 0)
    assert device_ids(tmp_path) == ["in-lab"] * 2
    devices.write_text(
        "device_id,ip,capture\nin-lab,10.0.0.1,one.pcap\nbetter,10.0.0.1,elsewhere/other.pcap\n"
    )
    assert counts(bring_in(tmp_path, captures / "lab/one.pcap", elsewhere, devices=str(devices))) == (
        0,
        1,
        1,
        0,
    )
    assert device_ids(tmp_path) == ["better"] * 2
    assert counts(bring_in(tmp_path, one, devices=str(devices))) == (0, 1, 0, 0)


def test_unreadable_captures_are_named_truncated_ones_warned_of_and_the_others_go_on(
    captures: Path, tmp_path: Path
) -> None:
    good = (captures / "lab/one.pcap").read_bytes()
    (captures / "a-text.pcap").write_text("no capture")
    (captures / "b-empty.pcap").touch()
    (captures / "c-cut.pcap").write_bytes(good[:-3])
    (captures / "d-nothing-whole.pcap").write_bytes(good[:30])
    (captures / "e-dangling.pcap").symlink_to(captures / "nowhere.pcap")
    os.mkfifo(captures / "f-pipe.pcap")
    shutil.copy(captures / "lab/one.pcap", Path(os.fsdecode(os.fsencode(captures) + b"/g-\xff.pcap")))
    summary = bring_in(tmp_path, captures)
    assert counts(summary) == (3, 0, 0, 6)
    assert [(Path(path).name, reason.split(":")[0]) for path, reason in summary.failures] == [
        ("a-text.pcap", "is no pcap or pcapng capture"),
        ("b-empty.pcap", "is no capture"),
        ("d-nothing-whole.pcap", "holds no whole packet"),
        ("e-dangling.pcap", "is no file"),
        ("f-pipe.pcap", "is no file"),
        ("g-\\udcff.pcap", "has a name that is not UTF-8; rename it"),
    ]
    ((path, reason),) = summary.warnings
    assert Path(path).name == "c-cut.pcap"
    assert reason.endswith("the 1 packets before it are read")
    assert f"failed: {captures}/b-empty.pcap: is no capture: it is empty" in summary.text().splitlines()
    assert device_ids(tmp_path) == ["10.0.0.1"] * 3 + ["10.0.0.2"] * 3


def test_a_capture_without_flows_is_a_source_of_no_flows(packets: "Packets", tmp_path: Path) -> None:
    path = packets.write(tmp_path / "a.pcap", [])
    assert counts(bring_in(tmp_path, path)) == (1, 0, 0, 0)
    assert counts(bring_in(tmp_path, path)) == (0, 1, 0, 0)
    assert lake.sources(tmp_path)["flows"].tolist() == [0]
    assert lake.flows(tmp_path) == []


def test_flows_of_no_device_are_counted_and_a_capture_of_nothing_else_is_warned_of(
    captures: Path, tmp_path: Path
) -> None:
    devices = tmp_path / "MAP.csv"
    devices.write_text("device_id,ip\nm1,10.0.0.1\n")
    summary = bring_in(tmp_path, captures, devices=str(devices))
    assert (summary.flows, summary.unmapped_flows, summary.packets) == (2, 3, 5)
    assert summary.warnings == ((f"{captures}/lab/two.pcapng.gz", "none of its 3 flows is of a device"),)


def test_the_record_tells_what_was_read_from_where(brought_in: Path) -> None:
    one = brought_in / "captures/lab/one.pcap"
    told = json.loads((brought_in / f"lake/sources/{read_content(one).source}.json").read_text())
    assert (told["path"], told["bytes"]) == (str(one), one.stat().st_size)
    assert (told["flows"], told["packets"], told["unmapped_flows"], told["warnings"]) == (2, 2, 0, [])
    assert told["flow_settings"] == SETTINGS.model_dump()


def test_reading_without_a_lake_gives_what_the_lake_gets(captures: Path, workspace: Path) -> None:
    paths = find_captures([str(captures)])
    read = {capture.path: capture for capture in read_all_flows(paths, DeviceMap.auto(), SETTINGS)}
    assert set(read) == set(paths)
    for path in paths:
        capture = read[path]
        assert not isinstance(capture, UnreadCapture)
        (file,) = [file for file in lake.flows(workspace) if file.name.startswith(capture.source)]
        in_lake = pq.read_table(file, partitioning=None).to_pandas()
        assert in_lake["device_port"].tolist() == capture.flows["device_port"].tolist()
        assert lake.records(workspace)[capture.source].packets == capture.packets


def test_reading_a_capture_that_is_none_names_it(captures: Path) -> None:
    with pytest.raises(
        ValueError, match=r"notes\.txt is no pcap or pcapng capture: it starts with the bytes 6e 6f"
    ):
        read_flows(captures / "notes.txt", DeviceMap.auto(), SETTINGS)


def test_a_capture_that_grows_while_it_is_read_is_not_taken(captures: Path) -> None:
    path = captures / "lab/one.pcap"
    content = read_content(path)
    check_unchanged(path, content)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(ValueError, match="changed while it was read"):
        check_unchanged(path, content)


def test_a_map_is_read_from_its_file_or_is_auto(tmp_path: Path) -> None:
    assert read_map("auto") == DeviceMap.auto()
    (tmp_path / "MAP.csv").write_text("device_id,ip\nm1,10.0.0.0/24\n")
    assert read_map(str(tmp_path / "MAP.csv"), each_address=True).each_address
    with pytest.raises(FileNotFoundError):
        read_map(str(tmp_path / "missing.csv"))


def test_a_map_that_fits_no_flow_is_told_beside_the_counts(captures: Path, tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text("device_id,ip\nnobody,192.0.2.99\n")
    summary = ingest([str(captures)], tmp_path / "ws", devices=str(tmp_path / "map.csv"))
    assert (summary.flows, summary.unmapped_flows) == (0, 5)
    assert "warning: no row of the device map fits any flow" in summary.text()
