"""`iotlens identify`: the same answer in bulk, no capture lost, nothing half written."""

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import dpkt
import pandas as pd
import pytest
from fastapi.testclient import TestClient

from features.device_map import DeviceMap
from features.flows import FlowSettings
from features.ingest import read_flows
from serving import bulk, cli
from serving.rest import create_app
from serving.settings import Settings
from training import artifact

GATEWAY, SERVER = bytes.fromhex("020000000001"), "198.51.100.7"
DEVICES = {
    "smart_meter": (bytes.fromhex("020000000011"), "10.0.0.11", 130, 36, 5683),
    "tracker": (bytes.fromhex("020000000012"), "10.0.0.12", 420, 52, 8883),
}
BEGUN = 1_740_816_000.0  # 2025-03-01T08:00:00Z
EXCHANGES, PERIOD_S = 6, 300.0
SETTINGS = FlowSettings()
SILENT_MAC = "02:00:00:00:00:99"


def frame(kind: str, payload: int, *, up: bool) -> bytes:
    mac, address, _, _, port = DEVICES[kind]
    ends = {"src": socket.inet_aton(address), "dst": socket.inet_aton(SERVER)}
    datagram = dpkt.udp.UDP(sport=40000, dport=port, data=b"\x00" * payload)
    if not up:
        ends = {"src": ends["dst"], "dst": ends["src"]}
        datagram = dpkt.udp.UDP(sport=port, dport=40000, data=b"\x00" * payload)
    datagram.ulen = len(datagram)
    packet = dpkt.ip.IP(p=17, ttl=64, data=datagram, **ends)
    packet.len = len(packet)
    macs = {"src": mac, "dst": GATEWAY} if up else {"src": GATEWAY, "dst": mac}
    return bytes(dpkt.ethernet.Ethernet(type=0x0800, data=packet, **macs))


def write_capture(path: Path, kinds: list[str]) -> None:
    packets = []
    for kind in kinds:
        _, _, up, down, _ = DEVICES[kind]
        for i in range(EXCHANGES):
            sent = BEGUN + i * PERIOD_S
            packets += [
                (sent, frame(kind, up - 28, up=True)),
                (sent + 0.04, frame(kind, down - 28, up=False)),
            ]
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file)
        for seconds, data in sorted(packets):
            writer.writepkt(data, ts=seconds)


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five captures: of a meter, its copy, of two devices, of nobody on the map, and no capture at all."""
    folder = tmp_path_factory.mktemp("captures")
    write_capture(folder / "meter.pcap", ["smart_meter"])
    (folder / "copy.pcap").write_bytes((folder / "meter.pcap").read_bytes())
    write_capture(folder / "two.pcap", ["smart_meter", "tracker"])
    write_capture(folder / "stranger.pcap", ["tracker"])
    (folder / "broken.pcap").write_bytes(b"this is no capture")
    macs = {kind: device[0].hex(":") for kind, device in DEVICES.items()}
    rows = [
        f"meter-1,{macs['smart_meter']},",
        f"tracker-1,{macs['tracker']},two.pcap",
        f"silent,{SILENT_MAC},two.pcap",
        f"meter-elsewhere,{SILENT_MAC},meter.pcap.gz",
    ]
    (folder / "devices.csv").write_text("\n".join(["device_id,mac,capture", *rows]) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def identified(fleet: Any, captures: Path) -> tuple[bulk.BulkSummary, pd.DataFrame]:
    out = captures / "answers.csv"
    summary = bulk.identify_captures(
        [str(captures)],
        devices=DeviceMap.read(captures / "devices.csv"),
        run_directory=fleet.session_run,
        out=out,
    )
    return summary, pd.read_csv(out, dtype={"label": "string", "family": "string", "level": "string"})


def test_each_capture_and_device_has_one_row(identified: Any, captures: Path) -> None:
    _, table = identified
    assert tuple(table.columns) == bulk.COLUMNS
    rows = [
        (Path(capture).name, device)
        for capture, device in zip(table["capture"], table["device_id"], strict=True)
    ]
    assert rows == [
        ("copy.pcap", "meter-1"),
        ("meter.pcap", "meter-1"),
        ("two.pcap", "meter-1"),
        ("two.pcap", "tracker-1"),
        ("two.pcap", "silent"),
    ]
    assert set(table["capture"]) == {str(captures / name) for name in ("copy.pcap", "meter.pcap", "two.pcap")}


def test_a_capture_is_told_by_the_name_it_was_given_and_under_each_of_its_names(
    fleet: Any, captures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "caps").mkdir()
    (tmp_path / "caps/x.pcap").write_bytes((captures / "meter.pcap").read_bytes())
    (tmp_path / "link.pcap").symlink_to("caps/x.pcap")
    given = ["./caps/x.pcap", "caps", "link.pcap", "caps/x.pcap"]
    told, out = DeviceMap.read(captures / "devices.csv"), tmp_path / "out.csv"
    bulk.identify_captures(given, devices=told, run_directory=fleet.session_run, out=out)
    assert pd.read_csv(out)["capture"].tolist() == ["./caps/x.pcap", "caps/x.pcap", "link.pcap"]


def test_captures_of_the_same_bytes_have_the_same_answer(identified: Any) -> None:
    _, table = identified
    copy, meter = (table.loc[i].drop("capture") for i in (0, 1))
    pd.testing.assert_series_equal(copy, meter, check_names=False)


def test_flows_and_packets_of_the_device_are_counted(identified: Any) -> None:
    _, table = identified
    assert table["flows"].tolist() == [EXCHANGES, EXCHANGES, EXCHANGES, EXCHANGES, 0]
    assert table["packets"].tolist() == [2 * EXCHANGES] * 4 + [0]


def test_a_device_named_for_a_capture_that_sent_nothing_there_has_a_row_that_says_so(identified: Any) -> None:
    _, table = identified
    silent = table[table["device_id"] == "silent"].iloc[0]
    assert (silent["how"], silent["unknown"]) == ("no-flows", True)
    assert silent[["label", "family", "level", "probability"]].isna().all()


def test_what_cannot_be_read_or_belongs_to_nobody_is_named(identified: Any, captures: Path) -> None:
    summary, table = identified
    assert (summary.captures, summary.rows) == (5, len(table))
    assert [path for path, _ in summary.failures] == [str(captures / "broken.pcap")]
    assert [path for path, _ in summary.warnings] == [str(captures / "stranger.pcap")]


def test_bulk_and_rest_give_the_same_answer(identified: Any, fleet: Any, captures: Path) -> None:
    _, table = identified
    capture = read_flows(captures / "two.pcap", DeviceMap.read(captures / "devices.csv"), SETTINGS)
    flows = json.loads(capture.flows.to_json(orient="records", date_format="iso", date_unit="us"))
    app = create_app(lambda: Settings(fleet.workspace, fleet.session_run, without_keys=True))
    with TestClient(app, base_url="http://localhost") as client:
        answers = client.post("/identify", json={"flows": flows}).json()["answers"]
    in_bulk = table[table["capture"].str.endswith("two.pcap") & table["how"].eq("model")]
    for answer, (_, row) in zip(answers, in_bulk.iterrows(), strict=True):
        for name in ("device_id", "label", "family", "level", "unknown", "how", "model_version"):
            assert row[name] == answer[name]
        assert row["probability"] == pytest.approx(answer["probability"], abs=1e-12)
        assert [row["second"], row["third"]] == [one["label"] for one in answer["top"][1:]]


def test_packets_become_flows_as_the_model_learnt_them(fleet: Any, captures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(fleet.session_run, run)
    manifest = json.loads((run / artifact.MANIFEST).read_text(encoding="utf-8"))
    manifest["flow_settings"] |= {"idle_timeout_s": 2 * PERIOD_S, "active_timeout_s": 86_400}
    (run / artifact.MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    out, devices = tmp_path / "out.csv", DeviceMap.read(captures / "devices.csv")
    bulk.identify_captures([str(captures / "meter.pcap")], devices=devices, run_directory=run, out=out)
    assert pd.read_csv(out)["flows"].tolist() == [1]


def test_a_model_of_flows_whose_settings_nobody_told_is_not_asked_about_captures(
    fleet: Any, captures: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(fleet.session_run, run)
    manifest = json.loads((run / artifact.MANIFEST).read_text(encoding="utf-8"))
    told = json.dumps(manifest | {"flow_settings": None})
    (run / artifact.MANIFEST).write_text(told, encoding="utf-8")
    with pytest.raises(ValueError, match="learnt from tables of flows that do not tell their flow settings"):
        bulk.identify_captures(
            [str(captures)], devices=DeviceMap.auto(), run_directory=run, out=tmp_path / "out.csv"
        )


def test_a_model_of_hours_is_refused_before_anything_is_read(fleet: Any, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"a model of sessions, but .* looks at windows of 1h; ingest and build"
    ):
        bulk.identify_captures(
            [str(tmp_path)],
            devices=DeviceMap.auto(),
            run_directory=fleet.hour_run,
            out=tmp_path / "out.csv",
        )


def test_an_answer_that_cannot_be_written_leaves_the_old_one_alone(
    fleet: Any, captures: Path, tmp_path: Path
) -> None:
    out = tmp_path / "folder"
    (out / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        bulk.identify_captures(
            [str(captures / "meter.pcap")],
            devices=DeviceMap.auto(),
            run_directory=fleet.session_run,
            out=out,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_nothing_to_read_is_an_error(fleet: Any, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no capture"):
        bulk.identify_captures(
            [str(tmp_path / "none.pcap")],
            devices=DeviceMap.auto(),
            run_directory=fleet.session_run,
            out=tmp_path / "out.csv",
        )
    assert artifact.load(fleet.session_run).manifest.window == "session"


def test_a_newer_run_of_another_window_does_not_hide_the_latest_of_sessions(
    fleet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_capture(tmp_path / "meter.pcap", ["smart_meter"])
    words = [
        "identify",
        str(tmp_path / "meter.pcap"),
        "--devices",
        "auto",
        "--out",
        str(tmp_path / "out.csv"),
    ]
    monkeypatch.setattr("sys.argv", ["iotlens", *words, "--workspace", str(fleet.workspace)])
    with pytest.raises(SystemExit, match="0"):
        cli.main()
    version = artifact.load(fleet.session_run).manifest.model_version
    assert set(pd.read_csv(tmp_path / "out.csv")["model_version"]) == {version}


def test_a_folder_that_is_not_there_is_told_before_a_capture_is_read(fleet: Any, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pcap"
    broken.write_bytes(b"no capture")
    with pytest.raises(FileNotFoundError, match=r"no folder .*gone to write out.csv into; make it first"):
        bulk.identify_captures(
            [str(broken), str(tmp_path / "not there.pcap")],
            devices=DeviceMap(None),
            run_directory=fleet.session_run,
            out=tmp_path / "gone" / "out.csv",
        )
