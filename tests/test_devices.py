"""A flow is its device's: found by MAC, address or network, and told from the device's side, up and down."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from features.device_map import DeviceMap
from features.devices import DEVICES, orient
from features.flows import FLOWS, FlowSettings, meter
from features.table import check_table

if TYPE_CHECKING:
    from conftest import Packets

NOON = 1_772_366_400.0  # 2026-03-01T12:00:00Z
CAMERA, PLUG, CLOUD = ("192.168.1.20", 50_000), ("192.168.1.21", 80), ("93.184.216.34", 1883)
CAMERA_MAC, ROUTER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
SYN, SYN_ACK, ACK, PUSH = 0x02, 0x12, 0x10, 0x18

Oriented = tuple[pd.DataFrame, pd.DataFrame, int]
Orient = Callable[..., Oriented]


@pytest.fixture
def seen(packets: "Packets", tmp_path: Path) -> Orient:
    """Meter frames (s, frame) and orient their flows by the lines of a MAP.csv, or by `auto` without any."""

    def orient_frames(frames: list[tuple[float, bytes]], *lines: str, each_address: bool = False) -> Oriented:
        devices = DeviceMap.auto()
        if lines:
            (tmp_path / "MAP.csv").write_text("\n".join(lines) + "\n")
            devices = DeviceMap.read(tmp_path / "MAP.csv", each_address=each_address)
        path = packets.write(tmp_path / "lab" / "a.pcap", frames)
        return orient(meter(path, FlowSettings()).flows, devices.for_capture(path), "0123456789abcdef")

    return orient_frames


@pytest.fixture
def talk(packets: "Packets") -> list[tuple[float, bytes]]:
    """The camera asks the cloud twice (30 and 40 bytes of payload), the cloud answers once (100), over UDP."""
    macs = (CAMERA_MAC, ROUTER_MAC)
    return [
        (NOON, packets.frame(packets.udp(CAMERA, CLOUD, b"q" * 30), macs=macs)),
        (NOON + 0.1, packets.frame(packets.udp(CLOUD, CAMERA, b"a" * 100), macs=macs[::-1])),
        (NOON + 0.4, packets.frame(packets.udp(CAMERA, CLOUD, b"q" * 40), macs=macs)),
    ]


def ids(oriented: Oriented) -> list[str]:
    return oriented[0]["device_id"].tolist()


def test_up_is_from_the_device_that_began(seen: Orient, talk: list[tuple[float, bytes]]) -> None:
    flows, _, unmapped = seen(talk, "device_id,mac", f"cam,{CAMERA_MAC}")
    (flow,) = flows.to_dict("records")
    assert unmapped == 0
    assert (flow["device_id"], flow["device_ip"], flow["device_port"]) == ("cam", *CAMERA)
    assert (flow["peer_ip"], flow["peer_port"]) == CLOUD
    assert flow["initiated_by_device"]
    assert (flow["up_packets"], flow["up_bytes"], flow["down_packets"], flow["down_bytes"]) == (
        2,
        126,
        1,
        128,
    )
    assert flow["first_ps"].tolist() == [58, -128, 68, *[0] * 29]
    assert flow["first_piat_ms"].tolist() == [0, 100, 300, *[0] * 29]
    assert (flow["start"], flow["end"]) == (
        pd.Timestamp("2026-03-01T12:00:00Z"),
        pd.Timestamp("2026-03-01T12:00:00.4Z"),
    )


def test_up_is_from_the_device_that_was_asked(seen: Orient, talk: list[tuple[float, bytes]]) -> None:
    flows, _, _ = seen(talk, "device_id,ip", f"cloud,{CLOUD[0]}")
    (flow,) = flows.to_dict("records")
    assert (flow["device_ip"], flow["peer_ip"]) == (CLOUD[0], CAMERA[0])
    assert not flow["initiated_by_device"]
    assert (flow["up_packets"], flow["up_bytes"], flow["down_packets"], flow["down_bytes"]) == (
        1,
        128,
        2,
        126,
    )
    assert flow["first_ps"].tolist() == [-58, 128, -68, *[0] * 29]


def test_a_statistic_of_too_few_packets_is_empty(seen: Orient, talk: list[tuple[float, bytes]]) -> None:
    flows, _, _ = seen(talk, "device_id,mac", f"cam,{CAMERA_MAC}")
    (flow,) = flows.to_dict("records")
    assert (flow["up_min_ps"], flow["up_mean_ps"], flow["up_max_ps"]) == (58, 63, 68)
    assert flow["up_stddev_ps"] == pytest.approx(50**0.5)
    assert (flow["up_min_piat_ms"], flow["up_mean_piat_ms"], flow["up_max_piat_ms"]) == (400, 400, 400)
    assert np.isnan(flow["up_stddev_piat_ms"])
    assert (flow["down_min_ps"], flow["down_mean_ps"], flow["down_max_ps"]) == (128, 128, 128)
    assert np.isnan(
        [flow[f"down_{name}"] for name in ("stddev_ps", "min_piat_ms", "mean_piat_ms", "max_piat_ms")]
    ).all()


def test_a_direction_without_a_packet_is_empty_not_zero(
    seen: Orient, talk: list[tuple[float, bytes]]
) -> None:
    flows, _, _ = seen(talk[:1], "device_id,mac", f"cam,{CAMERA_MAC}")
    (flow,) = flows.to_dict("records")
    assert (flow["down_packets"], flow["down_bytes"]) == (0, 0)
    assert np.isnan([flow[f"down_{stat}_ps"] for stat in ("min", "mean", "stddev", "max")]).all()


def test_a_flow_between_two_devices_is_told_once_from_each_side(seen: Orient, packets: "Packets") -> None:
    frames = [
        (NOON, packets.frame(packets.tcp(CAMERA, PLUG, flags=SYN))),
        (NOON + 0.1, packets.frame(packets.tcp(PLUG, CAMERA, flags=SYN_ACK))),
        (NOON + 0.2, packets.frame(packets.tcp(CAMERA, PLUG, b"on", flags=PUSH))),
    ]
    flows, devices, unmapped = seen(frames, "device_id,ip", f"cam,{CAMERA[0]}", f"plug,{PLUG[0]}")
    cam, plug = (flows[flows["device_id"] == name].iloc[0] for name in ("cam", "plug"))
    assert (len(flows), devices["device_id"].tolist(), unmapped) == (2, ["cam", "plug"], 0)
    for column in (name for name in flows.columns if name.startswith("up_")):
        assert cam[column] == plug[column.replace("up_", "down_")] or np.isnan(cam[column])
    assert (cam["up_syn_packets"], plug["up_syn_packets"], plug["up_ack_packets"]) == (1, 1, 1)
    assert (cam["device_port"], plug["peer_port"]) == (50_000, 50_000)
    assert cam["first_ps"].tolist() == [-size for size in plug["first_ps"]]
    assert (cam["initiated_by_device"], plug["initiated_by_device"]) == (True, False)


def test_a_flow_within_one_device_is_told_once_as_its_initiator_saw_it(
    seen: Orient, packets: "Packets"
) -> None:
    frames = [
        (NOON, packets.frame(packets.udp(CAMERA, PLUG))),
        (NOON + 1, packets.frame(packets.udp(PLUG, CAMERA))),
    ]
    flows, _, _ = seen(frames, "device_id,ip", "home,192.168.1.0/24")
    assert flows[["device_id", "device_ip", "initiated_by_device"]].values.tolist() == [
        ["home", CAMERA[0], True]
    ]


def test_flows_of_no_device_are_left_out_and_counted(seen: Orient, talk: list[tuple[float, bytes]]) -> None:
    flows, devices, unmapped = seen(talk, "device_id,ip", "other,10.9.9.9")
    assert (len(flows), len(devices), unmapped) == (0, 0, 1)
    check_table(flows, FLOWS, table="flows")
    check_table(devices, DEVICES, table="devices")


def test_a_group_address_is_no_device_even_within_a_mapped_network(seen: Orient, packets: "Packets") -> None:
    dhcp = packets.frame(
        packets.udp(("0.0.0.0", 68), ("255.255.255.255", 67)), macs=(CAMERA_MAC, "ff:ff:ff:ff:ff:ff")
    )
    mdns = packets.frame(
        packets.udp(("192.168.1.9", 5353), ("224.0.0.251", 5353)), macs=(ROUTER_MAC, "01:00:5e:00:00:fb")
    )
    subnet = packets.frame(
        packets.udp(("192.168.1.9", 138), ("192.168.1.255", 138)), macs=(ROUTER_MAC, "ff:ff:ff:ff:ff:ff")
    )
    frames = [(NOON, dhcp), (NOON + 1, mdns), (NOON + 2, subnet)]
    everything = seen(frames, "device_id,mac,ip", f"cam,{CAMERA_MAC},", "all,,0.0.0.0/0")
    assert ids(everything) == ["cam", "all", "all"]
    assert everything[0]["initiated_by_device"].all()
    nobody = seen(frames)
    assert (ids(nobody), nobody[2]) == (["192.168.1.9", "192.168.1.9"], 1)


@pytest.mark.parametrize(
    ("lines", "device_id"),
    [
        (["device_id,ip", "wide,192.168.0.0/16", "near,192.168.1.0/24", "it,192.168.1.20"], "it"),
        (["device_id,ip", "wide,192.168.0.0/16", "near,192.168.1.0/24"], "near"),
        (["device_id,mac,ip", "unit,02-00-00-00-00-01,", "lease,,192.168.1.20"], "unit"),
        (["device_id,mac,ip,capture", "unit,020000000001,,", "here,,192.168.0.0/16,a.pcap"], "here"),
        (["device_id,ip,capture", "file,192.168.1.20,a.pcap", "folder,192.168.0.0/16,lab/a.pcap"], "folder"),
        (
            ["device_id,ip,valid_from", "then,192.168.1.20,2026-03-01T12:00:00.001Z", "now,192.168.0.0/16,"],
            "now",
        ),
        (
            ["device_id,ip,valid_from", "then,192.168.1.20,2026-03-01T12:00:00Z", "now,192.168.0.0/16,"],
            "then",
        ),
        (["device_id,ip,valid_to", "then,192.168.1.20,2026-03-01T12:00:00Z", "now,192.168.0.0/16,"], "now"),
    ],
)
def test_of_several_rows_the_nearest_counts(
    seen: Orient, talk: list[tuple[float, bytes]], lines: list[str], device_id: str
) -> None:
    header, *rows = lines
    assert ids(seen(talk, header, *rows)) == [device_id]
    assert ids(seen(talk, header, *rows[::-1])) == [device_id]


def test_a_mac_row_and_an_address_row_of_one_device_are_one_device(seen: Orient, packets: "Packets") -> None:
    frames = [
        (NOON, packets.frame(packets.udp(("0.0.0.0", 68), ("255.255.255.255", 67)))),
        (NOON + 1, packets.frame(packets.udp(CAMERA, CLOUD), macs=("02:00:00:00:00:77", ROUTER_MAC))),
    ]
    oriented = seen(frames, "device_id,mac,ip,label", f"cam,{CAMERA_MAC},,camera", f"cam,,{CAMERA[0]},camera")
    assert ids(oriented) == ["cam", "cam"]
    assert oriented[1][["device_id", "label"]].values.tolist() == [["cam", "camera"]]
    assert ids(seen(frames, "device_id,mac,ip", f"cam,{CAMERA_MAC},{CAMERA[0]}")) == ["cam", "cam"]


def test_a_network_is_one_device_or_one_device_per_address(seen: Orient, packets: "Packets") -> None:
    lines = ("device_id,ip,label", "pool,192.168.1.0/24,meter", "own,192.168.1.21,plug")
    frames = [
        (NOON + i, packets.frame(packets.udp(end, CLOUD)))
        for i, end in enumerate((CAMERA, PLUG, ("192.168.1.99", 7)))
    ]
    assert ids(seen(frames, *lines)) == ["pool", "own", "pool"]
    oriented = seen(frames, *lines, each_address=True)
    assert ids(oriented) == ["pool/192.168.1.20", "own", "pool/192.168.1.99"]
    assert oriented[1].set_index("device_id")["label"].to_dict() == {
        "own": "plug",
        "pool/192.168.1.20": "meter",
        "pool/192.168.1.99": "meter",
    }


def test_an_ipv4_address_mapped_into_ipv6_is_the_ipv4_address(seen: Orient, packets: "Packets") -> None:
    frames = [(NOON, packets.frame(packets.udp(("::ffff:10.0.0.5", 9), ("2606:2800::1", 9))))]
    assert ids(seen(frames, "device_id,ip", "m1,10.0.0.5")) == ["m1"]
    assert ids(seen(frames)) == ["10.0.0.5"]


@pytest.mark.parametrize(
    ("source", "target", "device_ids"),
    [
        ("192.168.1.20", "8.8.8.8", ["192.168.1.20"]),
        ("8.8.8.8", "10.0.0.5", ["10.0.0.5"]),
        ("172.31.0.1", "172.16.0.1", ["172.16.0.1", "172.31.0.1"]),
        ("172.32.0.1", "8.8.8.8", ["172.32.0.1"]),
        ("8.8.8.8", "100.64.0.9", ["100.64.0.9"]),
        ("169.254.7.7", "8.8.8.8", ["169.254.7.7"]),
        ("2606:2800::1", "fd12:3456::5", ["fd12:3456::5"]),
        ("2606:2800::1", "fe80::5", ["fe80::5"]),
        ("2606:2800::1", "2606:2800::2", ["2606:2800::1"]),
        ("8.8.8.8", "1.1.1.1", ["8.8.8.8"]),
        ("127.0.0.1", "127.0.0.1", ["127.0.0.1"]),
    ],
)
def test_without_a_map_each_private_end_is_a_device_else_the_initiator(
    seen: Orient, packets: "Packets", source: str, target: str, device_ids: list[str]
) -> None:
    oriented = seen([(NOON, packets.frame(packets.udp((source, 1000), (target, 2000))))])
    assert ids(oriented) == device_ids
    assert sorted(oriented[1]["device_id"]) == device_ids
    assert oriented[1][["label", "family", "site", "valid_from", "valid_to"]].isna().all(axis=None)


@pytest.fixture
def long_talk(packets: "Packets") -> list[tuple[float, bytes]]:
    """Sixteen minutes of MQTT between public addresses; after each cut at five minutes the server speaks first."""
    device, server = ("203.0.113.5", 50_000), ("198.51.100.7", 1883)
    connect = b"\x10\x12\x00\x04MQTT\x04\x02\x00\x3c\x00\x06device"
    opening = [
        packets.tcp(device, server, flags=SYN),
        packets.tcp(server, device, flags=SYN_ACK),
        packets.tcp(device, server, connect, flags=PUSH),
        packets.tcp(server, device, b"\x20\x02\x00\x00", flags=PUSH),
    ]
    frames = [(NOON + i / 10, packets.frame(packet)) for i, packet in enumerate(opening)]
    for at in range(50, 960, 50):
        frames.append((NOON + at, packets.frame(packets.tcp(server, device, b"\xd0\x00", flags=PUSH))))
        frames.append((NOON + at + 1, packets.frame(packets.tcp(device, server, flags=ACK))))
    return frames


@pytest.mark.parametrize("lines", [(), ("device_id,ip", "203.0.113.5,203.0.113.5")])
def test_a_flow_cut_by_the_active_timeout_stays_its_devices(
    seen: Orient, long_talk: list[tuple[float, bytes]], lines: tuple[str, ...]
) -> None:
    flows, _, _ = seen(long_talk, *lines)
    assert len(flows) == 4
    assert set(flows["device_id"]) == {"203.0.113.5"}
    assert set(flows["peer_port"]) == {1883}
    assert flows["initiated_by_device"].all()
    assert (flows["end"] - flows["start"]).max() < pd.Timedelta(minutes=5)
    assert flows["up_packets"].sum() + flows["down_packets"].sum() == len(long_talk)


def test_the_server_of_a_conversation_has_begun_no_part_of_it(
    seen: Orient, long_talk: list[tuple[float, bytes]]
) -> None:
    flows, _, _ = seen(long_talk, "device_id,ip", "server,198.51.100.7")
    assert flows["initiated_by_device"].tolist() == [False] * 4


def test_a_later_part_of_a_conversation_knows_its_application_from_the_first(
    seen: Orient, long_talk: list[tuple[float, bytes]]
) -> None:
    flows, _, _ = seen(long_talk)
    assert flows["application"].tolist() == ["MQTT"] * 4
    assert flows["application_confidence"].tolist() == [6, 5, 5, 5]


def test_an_earlier_part_of_a_conversation_learns_nothing_from_a_later_one(
    seen: Orient, packets: "Packets", long_talk: list[tuple[float, bytes]]
) -> None:
    before = [
        (NOON - 1000, packets.frame(packets.tcp(("203.0.113.5", 50_000), ("198.51.100.7", 1883), flags=ACK))),
    ]
    alone, _, _ = seen(before)
    together, _, _ = seen(before + long_talk)
    assert len(together) == 5
    same = ["start", "application", "application_confidence"]
    pd.testing.assert_frame_equal(together[same].iloc[:1], alone[same])


def test_the_map_tells_of_a_device_by_the_row_that_is_most_specific_to_the_capture(
    seen: Orient, packets: "Packets"
) -> None:
    frames = [
        (NOON, packets.frame(packets.udp(CAMERA, CLOUD))),
        (
            NOON + 1,
            packets.frame(packets.udp(("192.168.1.77", 9), CLOUD), macs=("02:00:00:00:00:77", ROUTER_MAC)),
        ),
    ]
    lines = (
        "device_id,mac,ip,capture,label",
        "d,,192.168.1.77,,bridge",
        f"d,{CAMERA_MAC},,lab/a.pcap,switch",
    )
    assert seen(frames, *lines)[1][["device_id", "label"]].values.tolist() == [["d", "switch"]]


def test_a_device_that_changes_its_label_has_a_row_for_each_time(seen: Orient, packets: "Packets") -> None:
    frames = [
        (NOON, packets.frame(packets.udp(CAMERA, CLOUD))),
        (NOON + 600, packets.frame(packets.udp(CAMERA, CLOUD))),
    ]
    change = "2026-03-01T12:05:00Z"
    lines = f"d,192.168.1.20,camera,,{change}", f"d,192.168.1.20,doorbell,{change},"
    _, devices, _ = seen(frames, "device_id,ip,label,valid_from,valid_to", *lines)
    moment = pd.Timestamp(change)
    assert devices["label"].tolist() == ["camera", "doorbell"]
    assert devices["valid_from"].isna().tolist() == [True, False]
    assert (devices["valid_to"][0], devices["valid_from"][1]) == (moment, moment)


def test_flows_lie_in_the_order_of_their_start(seen: Orient, packets: "Packets") -> None:
    order = np.random.default_rng(7).permutation(50)
    frames = [
        (NOON + 3.0 * i, packets.frame(packets.udp((f"10.0.0.{number + 1}", 9), CLOUD)))
        for i, number in enumerate(order)
    ]
    flows, _, _ = seen(frames)
    assert flows["start"].is_monotonic_increasing
    assert ids((flows, flows, 0)) == [f"10.0.0.{number + 1}" for number in order]
