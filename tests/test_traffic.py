"""The simulated fleet: real bytes, honest shapes, the same from the same seed."""

import csv
import struct
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Network, ip_network
from itertools import pairwise
from pathlib import Path

import dpkt
import numpy as np
import pytest
from aiocoap import CON, Message
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import cross_val_predict
from sklearn.tree import DecisionTreeClassifier

from evaluation.simulation.capture import in_order
from evaluation.simulation.profiles import read_profiles
from evaluation.simulation.traffic import Simulated, simulate
from evaluation.simulation.wire.coap import Lwm2mSession
from evaluation.simulation.wire.conversation import Line, UdpConversation
from evaluation.simulation.wire.frames import Ends, Segment, Stack, TcpFrames, UdpFrames
from evaluation.simulation.wire.tap import Link, Tap
from features.configuration import find_config
from features.device_map import DeviceMap
from features.flows import FlowSettings
from features.ingest import read_flows

PROFILES = find_config("flow_profiles.yaml")
STACK = Stack(hops=63, mss=1358, window=29200, timestamps=False, first_port=32768, ports=28232)
HOUR_S = 3600


@dataclass(frozen=True)
class Seen:
    """One packet of a capture, read back by dpkt. at: seconds since midnight of the first day."""

    label: str
    device: str
    site: str
    at: float
    up: bool
    ip: dpkt.ip.IP | dpkt.ip6.IP6

    @property
    def server_port(self) -> int:
        """The port on the far side; 0 for ICMP."""
        transport = self.ip.data
        if isinstance(transport, dpkt.icmp.ICMP):
            return 0
        return int(transport.dport if self.up else transport.sport)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """Five devices of each type at each site, for a day."""
    out = tmp_path_factory.mktemp("traffic") / "fleet"
    return simulate(out, profiles=PROFILES, seed=11, devices_per_type=5, days=1)


@pytest.fixture(scope="module")
def two_days(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """One device of each type at each site, for two days."""
    out = tmp_path_factory.mktemp("traffic") / "two_days"
    return simulate(out, profiles=PROFILES, seed=3, devices_per_type=1, days=2)


@pytest.fixture(scope="module")
def packets(fleet: Simulated) -> list[Seen]:
    """All packets of the fleet."""
    return [packet for capture in fleet.captures for packet in _read(capture, fleet.devices)]


def _rows(devices: Path) -> list[dict[str, str]]:
    with devices.open(newline="") as file:
        return list(csv.DictReader(file))


def _read(capture: Path, devices: Path) -> Iterator[Seen]:
    owners = {ip_network(row["ip"]).network_address.packed[:8]: row for row in _rows(devices)}
    with capture.open("rb") as file:
        for stamp, frame in dpkt.pcap.Reader(file):
            ip = dpkt.ethernet.Ethernet(frame).data
            up = ip.src[:8] in owners
            row = owners[ip.src[:8] if up else ip.dst[:8]]
            at = stamp - 1_772_409_600  # 2026-03-02 00:00 UTC
            yield Seen(row["label"], row["device_id"], row["site"], at, up, ip)


# ---- the folder ------------------------------------------------------------------------------------------


def _content(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_gives_others(
    two_days: Simulated, tmp_path: Path
) -> None:
    for name, seed in (("again", 3), ("other", 4)):
        simulate(tmp_path / name, profiles=PROFILES, seed=seed, devices_per_type=1, days=2)
    first = _content(two_days.devices.parent)
    again, other = _content(tmp_path / "again"), _content(tmp_path / "other")
    assert first == again
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first if name != "SIMULATED")


def test_a_session_goes_on_past_midnight(two_days: Simulated) -> None:
    ports: list[set[tuple[str, bytes, int]]] = [set(), set()]
    opened: set[tuple[str, bytes, int]] = set()
    for capture in two_days.captures:
        for packet in _read(capture, two_days.devices):
            if packet.up and isinstance(tcp := packet.ip.data, dpkt.tcp.TCP):
                ports[capture.stem == "2026-03-03"].add(key := (packet.device, packet.ip.dst, tcp.sport))
                if tcp.flags & dpkt.tcp.TH_SYN and capture.stem == "2026-03-03":
                    opened.add(key)
    assert {capture.stem for capture in two_days.captures} == {"2026-03-02", "2026-03-03"}
    assert len((ports[0] & ports[1]) - opened) >= 4


def test_what_is_simulated_says_so(fleet: Simulated) -> None:
    assert (fleet.devices.parent / "SIMULATED").read_bytes() == b""
    assert fleet.device_count == 100


def test_a_folder_that_holds_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="must be new or empty"):
        simulate(tmp_path, profiles=PROFILES, seed=1, devices_per_type=1, days=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_simulation_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    text = PROFILES.read_text().replace("private_ports: [1883, 2404,", "private_ports: [1883, 2404, 1] #")
    (tmp_path / "profiles.yaml").write_text(text)
    with pytest.raises(ValueError, match="site west must open a private port for"):
        simulate(tmp_path / "out", profiles=tmp_path / "profiles.yaml", seed=1, devices_per_type=3, days=1)
    assert [path.name for path in tmp_path.iterdir()] == ["profiles.yaml"]


@pytest.mark.parametrize("wrong", [{"days": 0, "devices_per_type": 1}, {"days": 1, "devices_per_type": 0}])
def test_an_empty_simulation_is_refused(wrong: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be at least 1, but is 0"):
        simulate(tmp_path / "out", profiles=PROFILES, seed=1, **wrong)


def test_shares_of_server_ports_must_be_whole(tmp_path: Path) -> None:
    (tmp_path / "profiles.yaml").write_text(PROFILES.read_text().replace("share: 0.85", "share: 0.8"))
    with pytest.raises(ValueError, match=r"water_meter\.server_ports must sum to 1, but sum to 0\.95"):
        read_profiles(tmp_path / "profiles.yaml")


# ---- the bytes -------------------------------------------------------------------------------------------


def _folded(words: bytes) -> int:
    """The one's complement sum of 16-bit words, by the book (RFC 1071 section 4.1)."""
    total = sum(struct.unpack(f"!{(len(words) + 1) // 2}H", words + b"\0" * (len(words) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_every_packet_has_right_lengths_and_checksums(fleet: Simulated) -> None:
    counted = 0
    for capture in fleet.captures:
        with capture.open("rb") as file:
            for _, frame in dpkt.pcap.Reader(file):
                counted += 1
                if frame[12:14] == b"\x08\x00":
                    header, transport, protocol = frame[14:34], frame[34:], frame[23]
                    assert _folded(header) == 0xFFFF
                    assert int.from_bytes(header[2:4]) == len(frame) - 14
                    addresses = header[12:]
                else:
                    transport, protocol, addresses = frame[54:], frame[20], frame[22:54]
                    assert int.from_bytes(frame[18:20]) == len(transport)
                pseudo = addresses + struct.pack("!II", len(transport), protocol) if protocol != 1 else b""
                assert _folded(pseudo + transport) == 0xFFFF
    assert counted == fleet.packets


@given(
    payload=st.binary(max_size=200),
    version=st.sampled_from((4, 16)),
    up=st.booleans(),
    numbers=st.tuples(*[st.integers(0, 2**32 - 1)] * 2),
    words=st.integers(0, 10),
)
def test_a_refilled_frame_equals_what_dpkt_packs(
    payload: bytes, version: int, up: bool, numbers: tuple[int, int], words: int
) -> None:
    ends = Ends(bytes(range(1, version + 1)), bytes(range(101, version + 101)), 40000, 8883)
    segment = Segment(dpkt.tcp.TH_ACK, *numbers, payload, b"\1\1\1\1" * words)
    frames = TcpFrames(ends, STACK, up=up), UdpFrames(ends, STACK, up=up)
    for frame in (frames[0].frame(segment), frames[1].frame(payload)):
        packet = dpkt.ethernet.Ethernet(frame)
        ip, transport = packet.data, packet.data.data
        assert (bytes(ip.src) == ends.device, transport.sport == ends.device_port) == (up, up)
        transport.sum = 0
        if version == 4:
            ip.sum = 0
        assert bytes(packet) == frame


def test_acknowledgements_never_run_ahead_of_what_was_sent(packets: list[Seen]) -> None:
    ends: dict[tuple[object, ...], int] = {}
    repeats = 0
    for packet in packets:
        tcp = packet.ip.data
        if not isinstance(tcp, dpkt.tcp.TCP):
            continue
        own = packet.ip.src, packet.ip.dst, tcp.sport, tcp.dport
        other = packet.ip.dst, packet.ip.src, tcp.dport, tcp.sport
        if tcp.flags & dpkt.tcp.TH_SYN:
            ends.pop(own, None)
        length = len(tcp.data) + bool(tcp.flags & dpkt.tcp.TH_SYN) + bool(tcp.flags & dpkt.tcp.TH_FIN)
        if tcp.flags & dpkt.tcp.TH_ACK and other in ends:
            assert (ends[other] - tcp.ack) & 0xFFFFFFFF < 2**31, (packet, ends[other], tcp.ack)
        if length:
            end = (tcp.seq + length) & 0xFFFFFFFF
            repeats += ends.get(own) == end
            ends[own] = end
    assert repeats > 20  # loss shows


def test_nothing_comes_before_its_time_and_days_are_cut_at_midnight(packets: list[Seen]) -> None:
    for site in ("east", "west"):
        times = [packet.at for packet in packets if packet.site == site]
        assert times == sorted(times)
        assert times[0] >= 0 and times[-1] < 24 * HOUR_S


def test_the_applications_are_what_ndpi_knows(fleet: Simulated) -> None:
    found: dict[str, set[str]] = defaultdict(set)
    labels = {row["device_id"]: row["label"] for row in _rows(fleet.devices)}
    for capture in fleet.captures:
        flows = read_flows(capture, DeviceMap.read(fleet.devices), FlowSettings()).flows
        sure = flows[flows["application_confidence"] >= 6]  # deep inspection, not a guess by port
        for device, application in zip(sure["device_id"], sure["application"], strict=True):
            found[labels[device]].add(application.partition(".")[0])
    wanted = {
        "smoke_sensor": {"COAP", "DTLS"},
        "water_meter": {"COAP"},
        "bike_lock": {"MQTT", "TLS", "COAP", "DNS"},
        "street_light": {"MQTT", "COAP"},
        "asset_tracker": {"MQTT"},
        "electric_meter": {"TLS"},
        "pos_terminal": {"TLS", "DNS", "NTP"},
        "vehicle_tbox": {"TLS", "DNS"},
        "camera": {"RTSP", "SIP", "RTP", "TLS", "DNS"},
        "phone_app": {"TLS", "QUIC", "HTTP", "DNS"},
    }
    assert {label: names - found[label] for label, names in wanted.items() if names - found[label]} == {}


def test_a_coap_repeat_keeps_its_message_id_and_a_new_report_has_a_new_one() -> None:
    link = Link(np.random.default_rng(5), round_trip_s=2.0, server_s=0.02, rate_bit_s=25_000, loss=0.4)
    line = Line(Tap(), link, STACK)
    udp = UdpConversation(line, Ends(bytes([10, 0, 0, 1]), bytes([198, 18, 0, 1]), 40000, 5683))
    session = Lwm2mSession(udp, "urn:imei:86", style="notify", lifetime_s=3600)
    for _ in range(20):
        session.report(60, 8)
    datagrams = [dpkt.ethernet.Ethernet(frame).data.data for _, frame in line.tap.take()]
    asked = [datagram.data for datagram in datagrams if datagram.dport == 5683]
    sent = [Message.decode(payload) for payload in asked]
    assert {message.mtype for message in sent} == {CON}
    assert len(set(asked)) == len({message.mid for message in sent}) < len(asked)


# ---- the fleet -------------------------------------------------------------------------------------------


def test_every_device_of_the_map_appears(fleet: Simulated, packets: list[Seen]) -> None:
    mapped = {row["device_id"] for row in _rows(fleet.devices)}
    assert len(mapped) == fleet.device_count
    assert {packet.device for packet in packets if packet.up} == mapped


def test_the_map_gives_a_dual_stack_device_a_row_for_each_address(fleet: Simulated) -> None:
    rows = _rows(fleet.devices)
    assert list(rows[0]) == ["device_id", "ip", "label", "family", "site"]
    kinds = defaultdict(list)
    for row in rows:
        kinds[row["device_id"]].append(type(ip_network(row["ip"])))
    assert any(IPv6Network in found for found in kinds.values())
    assert all(len(found) == len(set(found)) for found in kinds.values())


def test_neither_addresses_nor_names_tell_the_type(fleet: Simulated) -> None:
    rows = [row for row in _rows(fleet.devices) if "/" not in row["ip"]]
    for site in ("east", "west"):
        here = [row for row in rows if row["site"] == site]
        for order in (lambda row: int(IPv4Address(row["ip"])), lambda row: row["device_id"]):
            labels = [row["label"] for row in sorted(here, key=order)]
            alike = sum(a == b for a, b in pairwise(labels))
            assert alike <= 14  # 49 neighbours, 4 of 49 alike by chance: mean 4, sigma 2


def test_ports_are_shared_between_types(packets: list[Seen]) -> None:
    used: dict[int, set[str]] = defaultdict(set)
    for packet in packets:
        if packet.up:
            used[packet.server_port].add(packet.label)
    assert used[5683] >= {"smoke_sensor", "water_meter", "street_light", "bike_lock"}
    assert used[1883] >= {"bike_lock", "street_light", "asset_tracker"}
    assert used[8883] >= {"bike_lock", "vehicle_tbox", "electric_meter"}
    assert used[443] >= {"pos_terminal", "camera", "vehicle_tbox", "phone_app"}
    assert len(used[8001]) >= 3


def test_a_port_alone_gives_little_away(packets: list[Seen]) -> None:
    ports: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    for packet in packets:
        if packet.up and packet.server_port not in (0, 53, 123):
            ports[packet.device, packet.label][packet.server_port] += 1
    main = np.array([[counts.most_common(1)[0][0]] for counts in ports.values()])
    labels = np.array([label for _, label in ports])
    guessed = cross_val_predict(DecisionTreeClassifier(random_state=0), main, labels, cv=5)
    assert (guessed == labels).mean() < 0.6


def test_water_meters_speak_at_night_and_payments_wait_for_the_shop(packets: list[Seen]) -> None:
    def share(label: str, start_h: float, end_h: float) -> float:
        own = [packet.at for packet in packets if packet.label == label and packet.up]
        return float(np.mean([start_h * HOUR_S <= at < end_h * HOUR_S for at in own]))

    assert share("water_meter", 0, 6) > 0.6
    assert share("pos_terminal", 8, 23) > 0.95
    assert share("smoke_sensor", 0, 6) < 0.5


def test_the_street_is_switched_at_dusk(packets: list[Seen]) -> None:
    site = read_profiles(PROFILES).simulation.sites[0]
    dusk = site.switching_h[1] * HOUR_S
    lamps = {p.device for p in packets if p.label == "street_light" and p.site == site.name}
    told = {p.device for p in packets if p.device in lamps and not p.up and dusk <= p.at < dusk + 400}
    assert told == lamps


def test_mqtt_sessions_outlast_a_quarter_of_an_hour_on_their_keep_alives(packets: list[Seen]) -> None:
    spans: dict[tuple[str, int], list[float]] = defaultdict(list)
    pings: Counter[str] = Counter()
    for packet in packets:
        tcp = packet.ip.data
        if packet.server_port == 1883 and isinstance(tcp, dpkt.tcp.TCP):
            spans[packet.device, tcp.sport if packet.up else tcp.dport].append(packet.at)
            pings[packet.label] += tcp.data == b"\xc0\0"  # PINGREQ, MQTT 3.1.1 section 3.12
    lasting = [times[-1] - times[0] for times in spans.values() if times[-1] - times[0] > 15 * 60]
    assert len(lasting) >= 8
    assert max(lasting) > 12 * HOUR_S
    assert pings["bike_lock"] > 50 and pings["street_light"] > 20


@given(st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=6), max_size=12))
def test_overlapping_chunks_come_out_in_time_order(lists: list[list[int]]) -> None:
    chunks = sorted(sorted(times) for times in lists)
    found = [at for at, _ in in_order([(at, b"") for at in chunk] for chunk in chunks)]
    assert found == sorted(at for chunk in chunks for at in chunk)


def test_a_chunk_that_starts_too_early_is_an_error() -> None:
    with pytest.raises(ValueError, match="one starts at 4 us after one at 5 us"):
        list(in_order([[(5, b"")], [(4, b"")]]))
