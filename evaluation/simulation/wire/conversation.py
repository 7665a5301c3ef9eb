"""UDP and TCP conversations as the tap sees them: handshakes, acknowledgements, losses and repeats."""

import struct
from dataclasses import dataclass
from typing import Protocol

from dpkt.tcp import TH_ACK, TH_FIN, TH_PUSH, TH_RST, TH_SYN

from evaluation.simulation.wire.frames import Ends, Segment, Stack, TcpFrames, UdpFrames
from evaluation.simulation.wire.tap import Link, Tap

DELAYED_ACK_S = 0.04  # Linux TCP_DELACK_MIN; an answer within it carries the acknowledgement
INITIAL_WINDOW = 10  # segments, RFC 6928
MIN_TIMEOUT_S = 1.0  # RFC 6298 section 2.4
BACKBONE_GAP_S = 0.0003  # between segments of one burst from a server
_SYN_OPTIONS = struct.Struct("!BBHBBBBBBBB")  # MSS, SACK permitted, NOP, window scale, NOP, NOP
_TIMESTAMPS = struct.Struct("!BBBBII")  # NOP, NOP, timestamps


@dataclass(frozen=True)
class Line:
    """What a device speaks through: the tap, the path on both sides of it, its own IP stack."""

    tap: Tap
    link: Link
    stack: Stack


class Datagrams(Protocol):
    """Datagrams between one device port and one server, plain or under DTLS."""

    line: Line

    def send(self, up: bool, payload: bytes, *, at: float) -> None:
        """Record one datagram at `at` seconds; the clock stays."""


class Stream(Protocol):
    """A byte stream between one device port and one server, plain or under TLS."""

    line: Line

    def open(self) -> None:
        """Connect."""

    def send(self, up: bool, payload: bytes, *, acked: bool = True) -> None:
        """Send one message; with `acked`, wait until the other side has acknowledged it."""

    def exchange(self, up: bool, payload: bytes, *, answer: bytes, after: float) -> None:
        """Send one message and get an answer that the other side takes `after` seconds to find."""

    def close(self, *, up: bool) -> None:
        """Close, from the device when `up`."""

    def shout(self, payload: bytes, *, repeats: int) -> None:
        """Send from the device and repeat, unanswered."""


class UdpConversation:
    """Plain datagrams."""

    def __init__(self, line: Line, ends: Ends) -> None:
        self.line = line
        self._frames = [UdpFrames(ends, line.stack, up=up) for up in (False, True)]

    def send(self, up: bool, payload: bytes, *, at: float) -> None:
        """Record one datagram at `at` seconds; the clock stays."""
        self.line.tap.record(at, self._frames[up].frame(payload))


class TcpConversation:
    """One TCP connection. Every method moves the clock of the tap to where the next one may start."""

    def __init__(self, line: Line, ends: Ends) -> None:
        self.line = line
        self._frames = [TcpFrames(ends, line.stack, up=up) for up in (False, True)]
        self._next = [int(n) for n in line.link.rng.integers(0, 2**32, 2)]  # sequence numbers: server, device
        self._ticks = [int(n) for n in line.link.rng.integers(0, 2**31, 2)]  # bases of the timestamp clocks
        self._seen = [0, 0]  # the last timestamp of each side

    def open(self) -> None:
        """SYN, SYN-ACK, ACK; a lost SYN is tried again."""
        tap, link = self.line.tap, self.line.link
        timeout = MIN_TIMEOUT_S
        while link.loses():
            if link.coin():
                self._record(True, TH_SYN, at=tap.now)
            tap.now += timeout
            timeout *= 2
        self._record(True, TH_SYN, at=tap.now)
        self._next[True] += 1
        tap.now += link.turnaround(up=True)
        self._record(False, TH_SYN | TH_ACK, at=tap.now)
        self._next[False] += 1
        tap.now += link.turnaround(up=False)
        self._record(True, TH_ACK, at=tap.now)

    def send(self, up: bool, payload: bytes, *, acked: bool = True) -> None:
        """Send one message in segments of the device's MSS, in bursts of a growing window."""
        tap, link = self.line.tap, self.line.link
        size = self.line.stack.mss - (_TIMESTAMPS.size if self.line.stack.timestamps else 0)
        pieces = [payload[start : start + size] for start in range(0, len(payload), size)]
        window, burst, acknowledged = INITIAL_WINDOW, 0, tap.now
        for number, piece in enumerate(pieces, start=1):
            last = number == len(pieces)
            self._data(up, piece, push=last)
            if acked and (last or number % 2 == 0):
                acknowledged = max(acknowledged, tap.now + link.turnaround(up=up))
                self._record(not up, TH_ACK, at=acknowledged)
            burst += 1
            if not last:
                tap.now += link.airtime(len(piece)) if up else BACKBONE_GAP_S
            if burst == window and not last:
                tap.now += link.round_trip()
                window, burst = window * 2, 0
        tap.wait_until(acknowledged)

    def exchange(self, up: bool, payload: bytes, *, answer: bytes, after: float) -> None:
        """Send one message and, `after` seconds of thought later, its answer; a quick one carries the ACK."""
        quick = after < DELAYED_ACK_S
        self.send(up, payload, acked=not quick)
        if quick:
            self.line.tap.now += self.line.link.turnaround(up=up)
        self.line.tap.now += after
        self.send(not up, answer)

    def close(self, *, up: bool) -> None:
        """FIN from one side, FIN from the other, ACK."""
        tap, link = self.line.tap, self.line.link
        self._record(up, TH_FIN | TH_ACK, at=tap.now)
        self._next[up] += 1
        tap.now += link.turnaround(up=up)
        self._record(not up, TH_FIN | TH_ACK, at=tap.now)
        self._next[not up] += 1
        tap.now += link.turnaround(up=not up)
        self._record(up, TH_ACK, at=tap.now)

    def shout(self, payload: bytes, *, repeats: int) -> None:
        """The device repeats one segment into a mapping that a middlebox has forgotten."""
        tap, timeout = self.line.tap, max(MIN_TIMEOUT_S, 2 * self.line.link.round_trip_s)
        for _ in range(repeats + 1):
            self._record(True, TH_ACK | TH_PUSH, at=tap.now, payload=payload)
            tap.now += timeout
            timeout *= 2

    def refuse(self, *, up: bool) -> None:
        """Answer a SYN of the other side with RST."""
        self._record(up, TH_RST | TH_ACK, at=self.line.tap.now)

    def knock(self, *, up: bool) -> None:
        """Send a lone SYN."""
        self._record(up, TH_SYN, at=self.line.tap.now)
        self._next[up] += 1

    def _data(self, up: bool, piece: bytes, *, push: bool) -> None:
        """Record one data segment; a lost one comes late, or twice when the tap had seen it."""
        tap, link = self.line.tap, self.line.link
        flags = TH_ACK | TH_PUSH if push else TH_ACK
        if link.loses():
            if link.coin():
                self._record(up, flags, at=tap.now, payload=piece)
            tap.now += max(MIN_TIMEOUT_S, 2 * link.round_trip_s)
        self._record(up, flags, at=tap.now, payload=piece)
        self._next[up] = (self._next[up] + len(piece)) & 0xFFFFFFFF

    def _record(self, up: bool, flags: int, *, at: float, payload: bytes = b"") -> None:
        ack = self._next[not up] if flags & TH_ACK else 0
        seq, options = self._next[up] & 0xFFFFFFFF, self._options(up, flags, at=at)
        segment = Segment(flags, seq, ack & 0xFFFFFFFF, payload, options)
        self.line.tap.record(at, self._frames[up].frame(segment))

    def _options(self, up: bool, flags: int, *, at: float) -> bytes:
        """MSS, SACK and window scale with a SYN, timestamps (RFC 7323) where the device speaks them."""
        options = b""
        if flags & TH_SYN:
            options += _SYN_OPTIONS.pack(2, 4, self.line.stack.mss, 4, 2, 1, 3, 3, 7, 1, 1)
        if self.line.stack.timestamps:
            self._seen[up] = (self._ticks[up] + round(at * 1000)) & 0xFFFFFFFF
            options += _TIMESTAMPS.pack(1, 1, 8, 10, self._seen[up], self._seen[not up])
        return options
