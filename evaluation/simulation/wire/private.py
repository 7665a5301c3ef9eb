"""Private protocols: no library speaks them, so their frames are declared here, with dpkt, after the standards.

Bodies are random: nobody outside the platform reads them.
"""

import binascii
import struct
from collections.abc import Callable

import dpkt
import numpy as np

from evaluation.simulation.wire.conversation import Datagrams, Line, Stream
from evaluation.simulation.wire.session import lose, thought

Framer = Callable[[np.random.Generator, int, int], bytes]  # (rng, message number, size of the frame) -> frame


class _Jtt808(dpkt.Packet):
    """JT/T 808-2013 section 4.4.3: message id, body attributes, phone number as BCD, serial number."""

    __hdr__ = (("kind", "H", 0x0200), ("length", "H", 0), ("phone", "6s", b"\1\x38\0\x12\x34\x56"), ("serial", "H", 0))


class _Dlt698(dpkt.Packet):
    """DL/T 698.45-2017 section 6: start, length, control, server address, client address."""

    __hdr__ = (("start", "B", 0x68), ("length", "H", 0), ("control", "B", 0x43), ("server", "7s", b"\5\0\0\0\0\0\0"), ("client", "B", 0))
    __byte_order__ = "<"


class _Dlms(dpkt.Packet):
    """DLMS/COSEM TCP wrapper (IEC 62056-47): version, source and destination wPort, length."""

    __hdr__ = (("version", "H", 1), ("source", "H", 16), ("destination", "H", 1), ("length", "H", 0))


class _Gbt32960(dpkt.Packet):
    """GB/T 32960.3-2016 section 6: start, command, answer flag, VIN, encryption, length."""

    __hdr__ = (("start", "2s", b"##"), ("command", "B", 2), ("answer", "B", 0xFE), ("vin", "17s", b"LTEST000000000001"), ("secret", "B", 1), ("length", "H", 0))


class _Plain(dpkt.Packet):
    """A maker's own: length, type, number."""

    __hdr__ = (("length", "H", 0), ("kind", "B", 1), ("number", "H", 0))


def jtt808(rng: np.random.Generator, number: int, size: int) -> bytes:
    """Return one JT/T 808 message between its 0x7e marks, escaped, with its XOR check."""
    body = rng.bytes(max(size - 15, 0))
    inner = bytes(_Jtt808(length=len(body), serial=number & 0xFFFF, data=body))
    inner += bytes([np.bitwise_xor.reduce(np.frombuffer(inner, np.uint8))])
    return b"\x7e" + inner.replace(b"\x7d", b"\x7d\x01").replace(b"\x7e", b"\x7d\x02") + b"\x7e"


def dlt698(rng: np.random.Generator, number: int, size: int) -> bytes:  # noqa: ARG001  # frames carry no number
    """Return one DL/T 698.45 frame with its two checks and end mark."""
    body = rng.bytes(max(size - 17, 0))
    head = bytes(_Dlt698(length=len(body) + 15))
    checked = head + struct.pack("<H", binascii.crc_hqx(head[1:], 0xFFFF)) + body
    return checked + struct.pack("<HB", binascii.crc_hqx(checked[1:], 0xFFFF), 0x16)


def dlms(rng: np.random.Generator, number: int, size: int) -> bytes:  # noqa: ARG001  # frames carry no number
    """Return one DLMS/COSEM wrapper frame."""
    body = rng.bytes(max(size - 8, 1))
    return bytes(_Dlms(length=len(body), data=body))


def gbt32960(rng: np.random.Generator, number: int, size: int) -> bytes:  # noqa: ARG001  # frames carry no number
    """Return one GB/T 32960 record with its XOR check."""
    body = rng.bytes(max(size - 25, 0))
    record = bytes(_Gbt32960(length=len(body), data=body))
    return record + bytes([np.bitwise_xor.reduce(np.frombuffer(record[2:], np.uint8))])


def plain(rng: np.random.Generator, number: int, size: int) -> bytes:
    """Return one frame of a maker's own protocol."""
    body = rng.bytes(max(size - 9, 0))
    frame = bytes(_Plain(length=len(body) + 7, number=number & 0xFFFF, data=body))
    return frame + struct.pack("!I", binascii.crc32(frame))


class StreamSession:
    """Frames of a private protocol over TCP or TLS: log in, send, be answered."""

    def __init__(self, stream: Stream, framer: Framer, *, login_bytes: int) -> None:
        self.line: Line = stream.line
        self._stream, self._framer, self._login_bytes, self._number = stream, framer, login_bytes, 0

    def start(self) -> None:
        """Connect; log in where the protocol has a login."""
        self._stream.open()
        if self._login_bytes:
            self._ask(self._login_bytes, 20)

    def report(self, up: int, down: int) -> None:
        """One frame up, one down."""
        self._ask(up, down)

    def command(self, down: int, up: int) -> None:
        """One frame down, one up."""
        reaction = float(self.line.link.rng.lognormal(-1.5, 0.8))  # median 0.2 s; judgement
        self._stream.exchange(False, self._frame(down), self._frame(up), after=reaction)

    def keep_alive(self) -> None:
        """An empty frame each way."""
        self._ask(0, 0)

    def stop(self) -> None:
        """Close from the device."""
        self._stream.close(up=True)

    def lose(self) -> None:
        """A last empty frame in vain, or the platform closes."""
        lose(self._stream, self._frame(0))

    def _ask(self, up: int, down: int) -> None:
        self._stream.exchange(True, self._frame(up), self._frame(down), after=thought(self.line))

    def _frame(self, size: int) -> bytes:
        self._number += 1
        return self._framer(self.line.link.rng, self._number, size)


class DatagramSession:
    """Frames of a private protocol over UDP; an unanswered one is sent once more."""

    def __init__(self, datagrams: Datagrams, framer: Framer) -> None:
        self.line: Line = datagrams.line
        self._datagrams, self._framer, self._number = datagrams, framer, 0

    def start(self) -> None:
        """Log in."""
        self._ask(True, 40, 20)

    def report(self, up: int, down: int) -> None:
        """One datagram up, one down."""
        self._ask(True, up, down)

    def command(self, down: int, up: int) -> None:
        """One datagram down, one up."""
        self._ask(False, down, up)

    def keep_alive(self) -> None:
        """An empty frame each way."""
        self._ask(True, 0, 0)

    def stop(self) -> None:
        """UDP needs no goodbye."""

    def lose(self) -> None:
        """Nobody notices."""

    def _ask(self, up: bool, size: int, answer: int) -> None:
        tap, link = self.line.tap, self.line.link
        self._number += 1
        frame = self._framer(link.rng, self._number, size)
        if link.loses():
            if link.coin():
                self._datagrams.send(up, frame, at=tap.now)
            tap.now += 5 * link.round_trip()
        self._datagrams.send(up, frame, at=tap.now)
        tap.now += link.turnaround(up=up) + thought(self.line)
        self._datagrams.send(not up, self._framer(link.rng, self._number, answer), at=tap.now)
        tap.now += link.turnaround(up=not up)
