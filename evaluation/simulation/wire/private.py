"""Private protocols: no library speaks them, so their frames are declared here, after the standards.

Bodies are random: nobody outside the platform reads them.
"""

import binascii
import struct
from collections.abc import Callable
from functools import reduce
from operator import xor

import numpy as np

from evaluation.simulation.wire.conversation import Datagrams, Line, Stream
from evaluation.simulation.wire.session import lose, thought
from evaluation.simulation.wire.tap import noise

Framer = Callable[[bytes, int], bytes]  # (body, message number) -> frame


_JTT808 = struct.Struct("!HH6sH")  # JT/T 808-2013 4.4.3: message id, body attributes, phone as BCD, serial
_DLT698 = struct.Struct("<BHB7sB")  # DL/T 698.45-2017 6: start, length, control, server and client address
_DLMS = struct.Struct("!HHHH")  # DLMS/COSEM over TCP, IEC 62056-47: version, source, destination, length
_GBT32960 = struct.Struct("!2sBB17sBH")  # GB/T 32960.3-2016 6: start, command, answer, VIN, secret, length
_PLAIN = struct.Struct("!HBH")  # a maker's own: length, kind, number
_PHONE, _METER, _VIN = b"\1\x38\0\x12\x34\x56", b"\5\x10\x20\x30\x40\x50\x60", b"LTEST000000000001"


def jtt808(body: bytes, number: int) -> bytes:
    """Return one JT/T 808 message between its 0x7e marks, escaped, with its XOR check."""
    inner = _JTT808.pack(0x0200, len(body), _PHONE, number & 0xFFFF) + body
    inner += bytes([reduce(xor, inner)])
    return b"\x7e" + inner.replace(b"\x7d", b"\x7d\x01").replace(b"\x7e", b"\x7d\x02") + b"\x7e"


def dlt698(body: bytes, _number: int) -> bytes:
    """Return one DL/T 698.45 frame with its two checks and end mark; frames carry no number."""
    head = _DLT698.pack(0x68, len(body) + 15, 0x43, _METER, 0)
    checked = head + struct.pack("<H", binascii.crc_hqx(head[1:], 0xFFFF)) + body
    return checked + struct.pack("<HB", binascii.crc_hqx(checked[1:], 0xFFFF), 0x16)


def dlms(body: bytes, _number: int) -> bytes:
    """Return one DLMS/COSEM wrapper frame; frames carry no number."""
    return _DLMS.pack(1, 16, 1, len(body)) + body


def gbt32960(body: bytes, _number: int) -> bytes:
    """Return one GB/T 32960 record with its XOR check; records carry no number."""
    record = _GBT32960.pack(b"##", 2, 0xFE, _VIN, 1, len(body)) + body
    return record + bytes([reduce(xor, record[2:])])


def plain(body: bytes, number: int) -> bytes:
    """Return one frame of a maker's own protocol, with a CRC."""
    frame = _PLAIN.pack(len(body) + 7, 1, number & 0xFFFF) + body
    return frame + struct.pack("!I", binascii.crc32(frame))


def _framed(rng: np.random.Generator, framer: Framer, *, number: int, size: int) -> bytes:
    """Return a frame of about `size` bytes around a random body."""
    return framer(noise(rng, max(size - len(framer(b"", 0)), 0)), number)


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
        self._stream.exchange(False, self._frame(down), answer=self._frame(up), after=reaction)

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
        self._stream.exchange(True, self._frame(up), answer=self._frame(down), after=thought(self.line))

    def _frame(self, size: int) -> bytes:
        self._number += 1
        return _framed(self.line.link.rng, self._framer, number=self._number, size=size)


class DatagramSession:
    """Frames of a private protocol over UDP; an unanswered one is sent once more."""

    def __init__(self, datagrams: Datagrams, framer: Framer) -> None:
        self.line: Line = datagrams.line
        self._datagrams, self._framer, self._number = datagrams, framer, 0

    def start(self) -> None:
        """Log in."""
        self._ask(True, 40, answer=20)

    def report(self, up: int, down: int) -> None:
        """One datagram up, one down."""
        self._ask(True, up, answer=down)

    def command(self, down: int, up: int) -> None:
        """One datagram down, one up."""
        self._ask(False, down, answer=up)

    def keep_alive(self) -> None:
        """An empty frame each way."""
        self._ask(True, 0, answer=0)

    def stop(self) -> None:
        """UDP needs no goodbye."""

    def lose(self) -> None:
        """Nobody notices."""

    def _ask(self, up: bool, size: int, *, answer: int) -> None:
        tap, link = self.line.tap, self.line.link
        self._number += 1
        frame = self._frame(size)
        if link.loses():
            if link.coin():
                self._datagrams.send(up, frame, at=tap.now)
            tap.now += 5 * link.round_trip()
        self._datagrams.send(up, frame, at=tap.now)
        tap.now += link.turnaround(up=up) + thought(self.line)
        self._datagrams.send(not up, self._frame(answer), at=tap.now)
        tap.now += link.turnaround(up=not up)

    def _frame(self, size: int) -> bytes:
        return _framed(self.line.link.rng, self._framer, number=self._number, size=size)
