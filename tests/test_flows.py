"""Packets become raw flows as nfstream meters them, with tunnels opened; what cannot be read is told."""

import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from features.configuration import find_config, read_config
from features.flow_page import page
from features.flows import FLOWS, FlowSettings, meter, raw_schema
from features.table import arrow_schema

if TYPE_CHECKING:
    from conftest import Packets

DEVICE, SERVER = ("10.0.0.5", 40_000), ("93.184.216.34", 5683)
SYN, SYN_ACK, ACK = 0x02, 0x12, 0x10
NOON = 1_772_366_400.0  # 2026-03-01T12:00:00Z


def rows(path: Path, settings: FlowSettings | None = None) -> list[dict[str, object]]:
    return list(meter(path, settings or FlowSettings()).flows.to_pylist())


def test_the_packaged_settings_are_the_defaults() -> None:
    assert read_config(find_config("flows.yaml"), FlowSettings) == FlowSettings()


def test_a_question_and_its_answer_are_one_flow(packets: "Packets", tmp_path: Path) -> None:
    up, down = packets.udp(DEVICE, SERVER, b"q" * 30), packets.udp(SERVER, DEVICE, b"a" * 100)
    capture = [(NOON, packets.frame(up)), (NOON + 0.25, packets.frame(down))]
    (flow,) = rows(packets.write(tmp_path / "a.pcap", capture))
    assert (flow["src_ip"], flow["src_port"], flow["dst_ip"], flow["dst_port"]) == (*DEVICE, *SERVER)
    assert (flow["src_mac"], flow["dst_mac"]) == (packets.device_mac, packets.peer_mac)
    assert (flow["src2dst_bytes"], flow["dst2src_bytes"]) == (58, 128)
    assert (flow["bidirectional_first_seen_ms"], flow["bidirectional_last_seen_ms"]) == (
        NOON * 1e3,
        NOON * 1e3 + 250,
    )
    assert flow["splt_ps"][:3] == [58, 128, -1]  # type: ignore[index]
    assert flow["splt_piat_ms"][:3] == [0, 250, -1]  # type: ignore[index]


def test_ipv6_is_read_like_ipv4(packets: "Packets", tmp_path: Path) -> None:
    up = packets.udp(("fd00::5", 40_000), ("2606:2800::1", 5683), b"q" * 30)
    (flow,) = rows(packets.write(tmp_path / "a.pcap", [(NOON, packets.frame(up))]))
    assert (flow["ip_version"], flow["src_ip"], flow["dst_ip"]) == (6, "fd00::5", "2606:2800::1")
    assert flow["src2dst_bytes"] == 78


def test_a_vlan_tag_is_read_and_kept(packets: "Packets", tmp_path: Path) -> None:
    frame = packets.frame(packets.udp(DEVICE, SERVER), vlan=207)
    (flow,) = rows(packets.write(tmp_path / "a.pcap", [(NOON, frame)]))
    assert (flow["vlan_id"], flow["src_ip"]) == (207, DEVICE[0])


@pytest.mark.parametrize(
    ("opened", "seen"), [(True, (DEVICE, SERVER)), (False, (("10.9.0.1", 2152), ("10.9.0.2", 2152)))]
)
def test_a_gtp_u_tunnel_is_opened_unless_told_otherwise(
    packets: "Packets", tmp_path: Path, opened: bool, seen: tuple[tuple[str, int], tuple[str, int]]
) -> None:
    inner = packets.udp(DEVICE, SERVER, b"q" * 30)
    header = struct.pack("!BBHI", 0x30, 0xFF, len(inner), 77)  # 3GPP TS 29.281: a G-PDU of tunnel 77
    outer = packets.udp(("10.9.0.1", 2152), ("10.9.0.2", 2152), header + inner)
    path = packets.write(tmp_path / "a.pcap", [(NOON, packets.frame(outer))])
    (flow,) = rows(path, FlowSettings(decode_tunnels=opened))
    assert ((flow["src_ip"], flow["src_port"]), (flow["dst_ip"], flow["dst_port"])) == seen


def test_a_long_flow_is_cut_by_the_active_timeout_and_a_silent_one_by_the_idle_timeout(
    packets: "Packets", tmp_path: Path
) -> None:
    up = packets.frame(packets.tcp(DEVICE, SERVER))
    steady = packets.write(tmp_path / "steady.pcap", [(NOON + 60 * i, up) for i in range(16)])
    silent = packets.write(tmp_path / "silent.pcap", [(NOON, up), (NOON + 119, up), (NOON + 250, up)])
    assert [flow["src2dst_packets"] for flow in rows(steady)] == [5, 5, 5, 1]
    assert [flow["src2dst_packets"] for flow in rows(silent)] == [2, 1]


def test_as_many_first_packets_are_kept_as_the_settings_say(packets: "Packets", tmp_path: Path) -> None:
    path = packets.write(
        tmp_path / "a.pcap", [(NOON + i, packets.frame(packets.udp(DEVICE, SERVER))) for i in range(9)]
    )
    (flow,) = rows(path, FlowSettings(first_packets=255))
    assert flow["splt_ps"] == [29] * 9 + [-1] * 246
    (flow,) = rows(path, FlowSettings(first_packets=4))
    assert flow["splt_ps"] == [29] * 4


def test_a_truncated_capture_yields_its_readable_part_and_one_warning(
    packets: "Packets", tmp_path: Path
) -> None:
    frame = packets.frame(packets.udp(DEVICE, SERVER))
    path = packets.write(tmp_path / "a.pcap", [(NOON + i, frame) for i in range(10)])
    path.write_bytes(path.read_bytes()[:-1])
    raw = meter(path, FlowSettings())
    assert raw.flows["src2dst_packets"].to_pylist() == [9]
    (warning,) = raw.warnings
    assert warning.endswith("the 9 packets before it are read")


def test_bytes_after_a_damaged_record_make_no_flows(packets: "Packets", tmp_path: Path) -> None:
    good, other = (packets.frame(packets.udp(DEVICE, (SERVER[0], port))) for port in (5683, 9))
    path = packets.write(tmp_path / "a.pcap", [(NOON, good)])
    after = packets.write(tmp_path / "after.pcap", [(NOON, other)]).read_bytes()[24:]
    path.write_bytes(path.read_bytes() + b"\xff" * 16 + after)
    raw = meter(path, FlowSettings())
    assert raw.flows["dst_port"].to_pylist() == [5683]
    assert raw.warnings == (
        "corrupt: the header of packet 2 is out of range; the 1 packets before it are read",
    )


def test_a_capture_without_ip_has_no_flows_and_says_why(packets: "Packets", tmp_path: Path) -> None:
    path = packets.write(tmp_path / "cooked.pcap", [(NOON, bytes(80))], link_type=276)
    raw = meter(path, FlowSettings())
    assert raw.flows.num_rows == 0
    assert raw.warnings == ("none of its 1 packets is IP that nfstream reads (link type 276)",)


def test_a_capture_of_no_packets_has_no_flows_and_one_warning(packets: "Packets", tmp_path: Path) -> None:
    raw = meter(packets.write(tmp_path / "a.pcap", []), FlowSettings())
    assert (raw.flows.num_rows, raw.flows.schema, raw.warnings) == (0, raw_schema(32), ("holds no packet",))


def test_a_file_that_libpcap_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 9, 9, 0, 0, 65_535, 1))
    with pytest.raises(ValueError, match=r"is refused by libpcap: unsupported pcap savefile version 9\.9"):
        meter(path, FlowSettings())


def test_the_process_may_run_on_all_its_cores_afterwards(packets: "Packets", tmp_path: Path) -> None:
    cores = os.sched_getaffinity(0)
    meter(packets.write(tmp_path / "a.pcap", []), FlowSettings())
    assert os.sched_getaffinity(0) == cores


def test_raw_flows_are_those_of_nfstreams_own_streamer(packets: "Packets", tmp_path: Path) -> None:
    from nfstream import NFStreamer

    capture = []
    for i in range(400):
        device, server = ("10.0.0.5", 40_000 + i % 7), ("93.184.216.34", (53, 443, 1883)[i % 3])
        ends = (device, server) if i % 4 else (server, device)
        make = packets.udp if i % 2 else packets.tcp
        capture.append((NOON + i * i / 90, packets.frame(make(*ends, b"x" * (i % 50)))))
    path = packets.write(tmp_path / "a.pcap", capture)
    settings, cores = FlowSettings(), os.sched_getaffinity(0)
    streamer = NFStreamer(
        source=str(path),
        idle_timeout=settings.idle_timeout_s,
        active_timeout=settings.active_timeout_s,
        accounting_mode=1,
        statistical_analysis=True,
        splt_analysis=settings.first_packets,
        n_meters=1,
    )
    names = raw_schema(settings.first_packets).names
    expected = [{name: getattr(flow, name) for name in names} for flow in streamer]
    os.sched_setaffinity(0, cores)
    assert len(expected) > 20
    assert rows(path) == expected


def test_every_column_tells_its_unit_and_what_it_is() -> None:
    assert all(column.unit and column.description for column in FLOWS)
    assert len(arrow_schema(FLOWS)) == len({column.name for column in FLOWS})


def test_the_page_on_flows_is_current() -> None:
    written = Path(__file__).parents[1] / "docs/flows.md"
    assert written.read_text() == page(), "run `python -m features.flow_page > docs/flows.md`"
