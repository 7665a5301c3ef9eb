"""What lies in a pcap or pcapng file: whole records, up to the first break in their framing.

libpcap tells nothing of a file that ends in mid-record, and after a damaged record nfstream reads on out of step.
So the framing is walked here, and only whole records go on.
Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng.
"""

import gzip
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path

_GZIP_START = b"\x1f\x8b"
BROKEN_GZIP = (EOFError, gzip.BadGzipFile, zlib.error)  # what reading a packed capture may raise
_PCAP_START = {  # first four bytes: byte order (as struct writes it), ticks per second
    b"\xa1\xb2\xc3\xd4": (">", 10**6),
    b"\xd4\xc3\xb2\xa1": ("<", 10**6),
    b"\xa1\xb2\x3c\x4d": (">", 10**9),
    b"\x4d\x3c\xb2\xa1": ("<", 10**9),
}
_SECTION_START = b"\x0a\x0d\x0d\x0a"
_SECTION_ORDER = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}
_INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET = 1, 2, 3, 6  # pcapng block types; the others hold no packet
_TICKS_PER_S, _TIME_OFFSET_S = 9, 14  # options if_tsresol, if_tsoffset of an interface

MAX_PACKET_BYTES = 262_144  # libpcap's MAXIMUM_SNAPLEN: a longer record is damage, not a packet
MAX_BLOCK_BYTES = 16 * 2**20  # libpcap's INITIAL_MAX_BLOCK_SIZE
MAX_TIME_S = 2**32  # the end of pcap's 32-bit clock, in 2106: a later time is damage
ORDER_SLACK_S = 1.0  # cards with several queues and merged captures step back by less


@dataclass(frozen=True)
class Contents:
    """What a capture held.

    packets: whole packets handed on. link_type: of its first interface, by tcpdump.org/linktypes.
    warnings: one sentence for each thing to know before the flows are trusted.
    """

    packets: int
    link_type: int | None
    warnings: tuple[str, ...]


def open_capture(path: Path) -> BufferedIOBase:
    """Return the bytes of a capture, unpacked on the way where it is a gzip file. Raises OSError."""
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP_START
    return gzip.open(path) if packed else path.open("rb")


def copy_records(capture: BufferedIOBase, write: Callable[[bytes], object]) -> Contents:
    """Hand the file header and each whole record of a capture to `write`, and return what it held.

    Packets of a pcapng interface with another link type than the first are left out: libpcap refuses them.
    Raises ValueError where the bytes are no capture or hold no whole packet though they should, and what `write`
    raises.
    """
    tally, fault = _Tally(), None
    try:
        for record in _records(capture, tally):
            write(record)
    except _FramingError as error:
        if not tally.packets:
            raise ValueError(f"holds no whole packet: {error}") from error
        fault = f"{error}; the {tally.packets} packets before it are read"
    warnings = (fault, tally.foreign_warning(), tally.order_warning())
    return Contents(tally.packets, tally.first_link_type, tuple(filter(None, warnings)))


class _FramingError(Exception):
    """No record can be found beyond this place; what was handed on before it stands."""


@dataclass(frozen=True)
class _Interface:
    link_type: int
    ticks_per_s: int
    offset_s: int


@dataclass
class _Tally:
    """What was seen so far: the state that both formats share."""

    packets: int = 0
    first_link_type: int | None = None
    foreign_packets: int = 0
    late_packets: int = 0
    first_late_packet: int = 0
    largest_step_back_s: float = 0.0
    newest_s: float = 0.0

    def add_packet(self, time_s: float) -> None:
        """Count one packet, and whether it lies before one that stands ahead of it in the file."""
        if not 0 <= time_s < MAX_TIME_S:
            raise _FramingError(f"corrupt: packet {self.packets + 1} bears a time before 1970 or after 2106")
        self.packets += 1
        self.newest_s = max(self.newest_s, time_s)
        step_back_s = self.newest_s - time_s
        if step_back_s > ORDER_SLACK_S:
            self.late_packets += 1
            self.first_late_packet = self.first_late_packet or self.packets
            self.largest_step_back_s = max(self.largest_step_back_s, step_back_s)

    def foreign_warning(self) -> str | None:
        """Return the sentence on packets left out, if there are any."""
        if not self.foreign_packets:
            return None
        return (
            f"{self.foreign_packets} packets are left out: their interface has another link type than the first "
            f"one ({self.first_link_type}); write one file per link type to read them"
        )

    def order_warning(self) -> str | None:
        """Return the sentence on packets out of their order in time, if there are any."""
        if not self.late_packets:
            return None
        return (
            f"{self.late_packets} packets, the first of them packet {self.first_late_packet}, are up to "
            f"{self.largest_step_back_s:.0f} s older than a packet ahead of them and are taken as of its time, so "
            "starts, ends and gaps are wrong there; sort the capture by time (reordercap) to mend them"
        )


def _records(capture: BufferedIOBase, tally: _Tally) -> Iterator[bytes]:
    try:
        start = capture.read(4)
    except BROKEN_GZIP as error:
        raise ValueError(f"is no capture: {error}") from error
    if not start:
        raise ValueError("is no capture: it is empty")
    if start in _PCAP_START:
        return _pcap_records(capture, start, tally)
    if start == _SECTION_START:
        return _pcapng_records(capture, start, tally)
    raise ValueError(f"is no pcap or pcapng capture: it starts with the bytes {start.hex(' ')}")


def _read(capture: BufferedIOBase, size: int, what: str) -> bytes:
    """Return the next `size` bytes. Raises _FramingError where the file ends within them or before."""
    data = _read_or_end(capture, size, what)
    if len(data) < size:
        raise _FramingError(f"truncated: the file ends before {what}")
    return data


def _read_or_end(capture: BufferedIOBase, size: int, what: str) -> bytes:
    """Return the next `size` bytes, or none at the end of the file.

    Raises _FramingError where it ends within them.
    """
    try:
        data = capture.read(size)
    except EOFError as error:
        raise _FramingError(f"truncated: the gzip stream ends within {what}") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise _FramingError(f"corrupt: the gzip stream breaks within {what}") from error
    if 0 < len(data) < size:
        raise _FramingError(f"truncated: the file ends after {len(data)} of the {size} bytes of {what}")
    return data


def _pcap_records(capture: BufferedIOBase, start: bytes, tally: _Tally) -> Iterator[bytes]:
    order, ticks_per_s = _PCAP_START[start]
    rest = _read(capture, 20, "the file header")
    tally.first_link_type = (
        struct.unpack_from(order + "I", rest, 16)[0] & 0xFFFF
    )  # above: length of frame checksums
    yield start + rest
    fields = struct.Struct(order + "IIII")
    while header := _read_or_end(capture, 16, "a packet header"):
        seconds, ticks, length, _ = fields.unpack(header)
        if length > MAX_PACKET_BYTES or ticks >= ticks_per_s:
            raise _FramingError(f"corrupt: the header of packet {tally.packets + 1} is out of range")
        packet = _read(capture, length, "a packet")
        tally.add_packet(seconds + ticks / ticks_per_s)
        yield header + packet


def _pcapng_records(capture: BufferedIOBase, start: bytes, tally: _Tally) -> Iterator[bytes]:
    interfaces: list[_Interface] = []  # of the current section
    first_fields = b""
    for block, order in _blocks(capture, start):
        kind = struct.unpack_from(order + "I", block)[0]
        if block.startswith(_SECTION_START):
            interfaces = []
            yield block
        elif kind == _INTERFACE:
            interfaces.append(_interface(block, order))
            if tally.first_link_type is None:
                tally.first_link_type, first_fields = interfaces[-1].link_type, block[8:16]
            yield (
                block[:8] + first_fields + block[16:]
            )  # libpcap wants link type and snap length alike everywhere
        elif kind in (_OLD_PACKET, _SIMPLE_PACKET, _PACKET):
            interface, time_s = _packet(block, order, kind, interfaces)
            if interface.link_type != tally.first_link_type:
                tally.foreign_packets += 1
                continue
            tally.add_packet(time_s)
            yield block


def _blocks(capture: BufferedIOBase, start: bytes) -> Iterator[tuple[bytes, str]]:
    """Yield each block with the byte order of its section. start: the first four bytes, already read."""
    order = ""
    while start:
        head = start + _read(capture, 8, "a block header")
        if start == _SECTION_START:
            order = _section_order(head[8:12], order)
        length = struct.unpack_from(order + "I", head, 4)[0]
        if not 12 <= length <= MAX_BLOCK_BYTES or length % 4:
            raise _FramingError(f"corrupt: a block tells a length of {length} bytes")
        block = head + _read(capture, length - 12, "a block")
        if block[-4:] != head[4:8]:
            raise _FramingError("corrupt: a block tells two lengths")
        yield block, order
        start = _read_or_end(capture, 4, "a block header")


def _section_order(mark: bytes, before: str) -> str:
    order = _SECTION_ORDER.get(mark)
    if order is None:
        raise _FramingError(f"corrupt: a section header has the byte-order mark {mark.hex(' ')}")
    if before and order != before:
        raise _FramingError("a section in another byte order than the first, which libpcap does not read")
    return order


def _interface(block: bytes, order: str) -> _Interface:
    _check_size(block, 20, "an interface block")
    ticks_per_s, offset_s, at = 10**6, 0, 16
    while at + 4 <= len(block) - 4:
        code, size = struct.unpack_from(order + "HH", block, at)
        value = block[at + 4 : at + 4 + size]
        if code == _TICKS_PER_S and size == 1:
            base, exponent = (2, value[0] & 0x7F) if value[0] & 0x80 else (10, value[0])
            ticks_per_s = base ** min(exponent, 64)  # 64 bits of ticks hold no finer time
        elif code == _TIME_OFFSET_S and size == 8:
            offset_s = struct.unpack(order + "q", value)[0]
        at += 4 + size + -size % 4
    return _Interface(struct.unpack_from(order + "H", block, 8)[0], ticks_per_s, offset_s)


def _packet(block: bytes, order: str, kind: int, interfaces: list[_Interface]) -> tuple[_Interface, float]:
    """Return the interface and the time (s since 1970) of a packet block.

    A simple packet block tells neither: it is of the first interface, at 0.
    """
    number, ticks = 0, 0
    if kind != _SIMPLE_PACKET:
        _check_size(block, 32, "a packet block")
        number = struct.unpack_from(order + ("I" if kind == _PACKET else "H"), block, 8)[0]
        high, low, length = struct.unpack_from(order + "III", block, 12)
        ticks = high << 32 | low
        if length > min(MAX_PACKET_BYTES, len(block) - 32):
            raise _FramingError(f"corrupt: a packet of {length} bytes in a block of {len(block)}")
    if number >= len(interfaces):
        raise _FramingError(f"corrupt: a packet of interface {number}, where {len(interfaces)} are described")
    interface = interfaces[number]
    return interface, interface.offset_s + ticks / interface.ticks_per_s


def _check_size(block: bytes, least: int, what: str) -> None:
    if len(block) < least:
        raise _FramingError(f"corrupt: {what} of {len(block)} bytes, where {least} are the least")
