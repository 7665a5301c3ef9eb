"""A capture is handed on record by record, up to the first break in its framing, and what is wrong with it is told."""

import gzip
import io
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.captures import Contents, copy_records, open_capture

PACKETS = [(1.0, b"a" * 60), (1.5, b"b" * 4), (2.25, b"c" * 1500)]


def pcap(
    packets: list[tuple[float, bytes]], *, order: str = "<", ticks_per_s: int = 10**6, link: int = 1
) -> bytes:
    magic = {10**6: 0xA1B2C3D4, 10**9: 0xA1B23C4D}[ticks_per_s]
    parts = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65_535, link)]
    for time_s, data in packets:
        seconds, ticks = int(time_s), round(time_s % 1 * ticks_per_s)
        parts += [struct.pack(order + "IIII", seconds, ticks, len(data), len(data)), data]
    return b"".join(parts)


def block(kind: int, body: bytes, *, order: str = "<") -> bytes:
    padded = body + bytes(-len(body) % 4)
    length = struct.pack(order + "I", 12 + len(padded))
    return struct.pack(order + "I", kind) + length + padded + length


def section(*, order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order=order)


def interface(link: int = 1, *, order: str = "<", snap: int = 65_535, options: bytes = b"") -> bytes:
    return block(1, struct.pack(order + "HHI", link, 0, snap) + options, order=order)


def packet(ticks: int, data: bytes, *, of: int = 0, order: str = "<") -> bytes:
    head = struct.pack(order + "IIIII", of, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(6, head + data, order=order)


def copied(content: bytes) -> tuple[bytes, Contents]:
    parts: list[bytes] = []
    contents = copy_records(io.BytesIO(content), parts.append)
    return b"".join(parts), contents


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("ticks_per_s", [10**6, 10**9])
def test_a_sound_pcap_is_handed_on_as_it_is(order: str, ticks_per_s: int) -> None:
    content = pcap(PACKETS, order=order, ticks_per_s=ticks_per_s)
    assert copied(content) == (content, Contents(packets=3, link_type=1, warnings=()))


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_sound_pcapng_is_handed_on_as_it_is(order: str) -> None:
    blocks = [packet(10**6 * i, data, order=order) for i, (_, data) in enumerate(PACKETS)]
    content = section(order=order) + interface(order=order) + b"".join(blocks)
    assert copied(content) == (content, Contents(packets=3, link_type=1, warnings=()))


def test_a_packed_capture_is_unpacked_on_the_way(tmp_path: Path) -> None:
    path = tmp_path / "capture.pcap.gz"
    path.write_bytes(gzip.compress(pcap(PACKETS)))
    with open_capture(path) as capture:
        assert capture.read() == pcap(PACKETS)


def test_a_packed_capture_that_is_cut_yields_what_was_packed_before(tmp_path: Path) -> None:
    path = tmp_path / "capture.pcap.gz"
    path.write_bytes(gzip.compress(pcap(PACKETS * 3000))[:-40])
    with open_capture(path) as capture:
        contents = copy_records(capture, io.BytesIO().write)
    assert contents.packets > 3_000
    assert contents.warnings[0].startswith("truncated: the gzip stream ends within ")


def test_a_packed_capture_that_is_cut_within_the_file_header_is_named(tmp_path: Path) -> None:
    path, content = tmp_path / "capture.pcap.gz", pcap(PACKETS)
    packer = zlib.compressobj(wbits=31)
    path.write_bytes(packer.compress(content[:10]) + packer.flush(zlib.Z_SYNC_FLUSH))
    told = "holds no whole packet: truncated: the gzip stream ends within the file header"
    with open_capture(path) as capture, pytest.raises(ValueError, match=told):
        copy_records(capture, io.BytesIO().write)


@settings(deadline=None)
@given(end=st.integers(24, len(pcap(PACKETS)) - 1))
def test_a_pcap_cut_anywhere_yields_the_packets_before_the_cut(end: int) -> None:
    whole = [count for count in range(4) if len(pcap(PACKETS[:count])) <= end][-1]
    at_a_border = len(pcap(PACKETS[:whole])) == end
    if whole == 0 and not at_a_border:
        with pytest.raises(ValueError, match="holds no whole packet: truncated: the file ends "):
            copied(pcap(PACKETS)[:end])
        return
    content, contents = copied(pcap(PACKETS)[:end])
    assert content == pcap(PACKETS[:whole])
    assert contents.packets == whole
    assert [warning.split(":")[0] for warning in contents.warnings] == ([] if at_a_border else ["truncated"])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 227), st.integers(0, 255)), max_size=6), st.booleans())
def test_what_is_handed_on_of_damaged_bytes_is_sound(damage: list[tuple[int, int]], is_pcapng: bool) -> None:
    content = bytearray(section() + interface() + packet(1, b"abc") * 5 if is_pcapng else pcap(PACKETS))
    for at, byte in damage:
        content[at] = byte
    try:
        handed_on, contents = copied(bytes(content))
    except ValueError as error:
        assert str(error).startswith(("is no ", "holds no whole packet: "))
        return
    again, contents_again = copied(handed_on)
    assert (again, contents_again.packets) == (handed_on, contents.packets)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is no capture: it is empty"),
        (b"PK\x03\x04" + bytes(40), "is no pcap or pcapng capture: it starts with the bytes 50 4b 03 04"),
        (
            pcap([])[:16],
            "holds no whole packet: truncated: the file ends after 12 of the 20 bytes of the file header",
        ),
        (
            pcap([(1.0, b"a" * 300_000)]),
            "holds no whole packet: corrupt: the header of packet 1 is out of range",
        ),
    ],
)
def test_what_is_no_capture_is_named(content: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        copied(content)


def test_a_record_header_out_of_range_ends_the_capture_there() -> None:
    damaged = pcap(PACKETS) + struct.pack("<IIII", 3, 1_000_000, 60, 60) + b"d" * 60
    content, contents = copied(damaged)
    assert content == pcap(PACKETS)
    assert contents.warnings == (
        "corrupt: the header of packet 4 is out of range; the 3 packets before it are read",
    )


def test_a_block_with_two_lengths_ends_the_capture_there() -> None:
    sound = section() + interface() + packet(1, b"abcd")
    _, contents = copied(sound + packet(2, b"efgh")[:-4] + b"\x00\x01\x00\x00")
    assert contents.warnings == ("corrupt: a block tells two lengths; the 1 packets before it are read",)


def test_packets_of_another_link_type_are_left_out_and_told() -> None:
    blocks = packet(1, b"ether", of=0), packet(2, b"wifi", of=1), packet(3, b"ether", of=0)
    content, contents = copied(section() + interface(1) + interface(127) + b"".join(blocks))
    assert content == section() + interface(1) + interface(1) + blocks[0] + blocks[2]
    assert contents.packets == 2
    assert contents.warnings[0].startswith(
        "1 packets are left out: their interface has another link type than"
    )


def test_interfaces_of_several_snap_lengths_are_presented_alike() -> None:
    content, contents = copied(
        section() + interface(snap=96) + interface(snap=65_535) + packet(1, b"x", of=1)
    )
    assert content == section() + interface(snap=96) + interface(snap=96) + packet(1, b"x", of=1)
    assert contents.warnings == ()


def test_a_packet_of_an_interface_that_is_not_described_ends_the_capture() -> None:
    _, contents = copied(section() + interface() + packet(1, b"x") + packet(2, b"y", of=7))
    assert contents.warnings[0].startswith("corrupt: a packet of interface 7, where 1 are described")


def test_the_clock_of_an_interface_is_read_from_its_options() -> None:
    nanoseconds = struct.pack("<HHB3xHH", 9, 1, 9, 0, 0)
    late = [packet(20 * 10**9, b"new"), packet(5 * 10**9, b"old")]
    _, contents = copied(section() + interface(options=nanoseconds) + b"".join(late))
    assert "are up to 15 s older than a packet ahead of them" in contents.warnings[0]


def test_packets_out_of_order_are_counted_and_the_first_is_named() -> None:
    _, contents = copied(pcap([(100.0, b"a"), (4e9, b"from the future"), (101.0, b"b"), (102.0, b"c")]))
    assert contents.packets == 4
    assert contents.warnings[0].startswith(
        "2 packets, the first of them packet 3, are up to 3999999899 s older"
    )


def test_packets_that_step_back_by_less_than_a_second_are_no_matter() -> None:
    assert copied(pcap([(100.0, b"a"), (99.2, b"b"), (100.1, b"c")]))[1].warnings == ()


def test_a_time_that_no_clock_tells_is_damage() -> None:
    _, contents = copied(section() + interface() + packet(1, b"x") + packet(2**62, b"y"))
    assert contents.warnings[0].startswith("corrupt: packet 2 bears a time before 1970 or after 2106")
