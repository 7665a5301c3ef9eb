"""TLS over TCP and DTLS over UDP: the handshake in the clear, then records of random bytes."""

import struct
from dataclasses import replace

import dpkt
import numpy as np
from aioquic.buffer import Buffer
from aioquic.tls import push_opaque

from evaluation.simulation.wire import hello
from evaluation.simulation.wire.conversation import Line, TcpConversation, UdpConversation
from evaluation.simulation.wire.tap import noise

Tickets = dict[str, bytes]  # what a device holds, by server name; with one it resumes its session
DtlsContent = tuple[int, bytes, int]  # type, content and epoch of a record

_CHANGE, _ALERT, _HANDSHAKE, _DATA = 20, 21, 22, 23
_OVERHEAD = {"1.2": 24, "1.3": 17}  # byte of a record: explicit nonce and tag; tag and inner content type
_RECORD_LIMIT = 16384  # byte, RFC 8446 section 5.1
_DTLS12 = 0xFEFD
_DTLS_OVERHEAD = 16  # byte of a record: explicit nonce and tag of CCM-8
_DTLS_RECORD = struct.Struct("!BHH6sH")  # RFC 6347 4.1: type, version, epoch, sequence number, length
_DTLS_MESSAGE = struct.Struct("!B3sH3s3s")  # RFC 6347 4.2.2: type, length, number, fragment offset and length
_DTLS_OFFER = hello.Offer(versions=(_DTLS12,), suites=(hello.PSK_AES128_CCM8, 0x00AE, 0x00FF))


class TlsStream:
    """TLS 1.2 or 1.3 over one TCP connection; the server's certificate chain is as long as real ones."""

    def __init__(self, tcp: TcpConversation, offer: hello.Offer, *, version: str, tickets: Tickets) -> None:
        self.line: Line = tcp.line
        self._tcp, self._offer, self._version, self._tickets = tcp, offer, version, tickets

    def open(self) -> None:
        """Connect and shake hands; a ticket of an earlier handshake makes it short."""
        self._tcp.open()
        name = self._offer.name or ""
        ticket = self._tickets.get(name, b"")
        if self._version == "1.3":
            self._handshake13(name, ticket)
        else:
            self._handshake12(name, ticket)
        self._tickets[name] = self._random(160)

    def send(self, up: bool, payload: bytes, *, acked: bool = True) -> None:
        """Send one message in a record."""
        self._tcp.send(up, self._sealed(payload), acked=acked)

    def exchange(self, up: bool, payload: bytes, *, answer: bytes, after: float) -> None:
        """Send one message and its answer, each in a record."""
        self._tcp.exchange(up, self._sealed(payload), answer=self._sealed(answer), after=after)

    def close(self, *, up: bool) -> None:
        """Send close_notify, then close the connection."""
        self._tcp.send(up, _record(_ALERT, self._random(2 + _OVERHEAD[self._version])), acked=False)
        self._tcp.close(up=up)

    def shout(self, payload: bytes, *, repeats: int) -> None:
        """Repeat one record into a forgotten mapping."""
        self._tcp.shout(self._sealed(payload), repeats=repeats)

    def _handshake13(self, name: str, ticket: bytes) -> None:
        rng = self.line.link.rng
        chain = sum(map(len, hello.certificate_chain(name)))
        hidden = 80 if ticket else 220 + chain  # byte, EncryptedExtensions to Finished
        offer = replace(self._offer, ticket=ticket)
        greeting = hello.server_hello(rng, hello.AES128_GCM, resumed=bool(ticket))
        down = _record(_HANDSHAKE, greeting) + _record(_CHANGE, b"\1") + _record(_DATA, self._random(hidden))
        up = _record(_HANDSHAKE, hello.client_hello(rng, offer))
        self._tcp.exchange(True, up, answer=down, after=self._thought())
        finished = _record(_CHANGE, b"\1") + _record(_DATA, self._random(53))
        ticket13 = _record(_DATA, self._random(234))
        self._tcp.exchange(True, finished, answer=ticket13, after=self._thought())

    def _handshake12(self, name: str, ticket: bytes) -> None:
        rng = self.line.link.rng
        offer = replace(self._offer, extensions=((hello.SESSION_TICKET, ticket),))
        up = _record(_HANDSHAKE, hello.client_hello(rng, offer))
        down = [_record(_HANDSHAKE, hello.server_hello(rng, hello.ECDHE_AES128_GCM))]
        finished = _record(_CHANGE, b"\1") + _record(_HANDSHAKE, self._random(40))
        if ticket:
            self._tcp.exchange(True, up, answer=down[0] + finished, after=self._thought())
            self._tcp.send(True, finished, acked=False)
            return
        chain = hello.certificate12(name), hello.server_key_exchange(rng), hello.message(14)
        down += [_record(_HANDSHAKE, message) for message in chain]
        self._tcp.exchange(True, up, answer=b"".join(down), after=self._thought())
        key = _record(_HANDSHAKE, hello.client_key_exchange(self._random(32), width=1))
        renewed = _record(_HANDSHAKE, hello.new_session_ticket12(self._random(160)))
        self._tcp.exchange(True, key + finished, answer=renewed + finished, after=self._thought())

    def _sealed(self, payload: bytes) -> bytes:
        overhead = _OVERHEAD[self._version]
        sizes = [min(_RECORD_LIMIT, len(payload) - at) for at in range(0, len(payload), _RECORD_LIMIT)]
        return b"".join(_record(_DATA, self._random(size + overhead)) for size in sizes)

    def _thought(self) -> float:
        return float(self.line.link.rng.uniform(0.002, 0.03))

    def _random(self, size: int) -> bytes:
        return noise(self.line.link.rng, size)


class DtlsDatagrams:
    """DTLS 1.2 with a pre-shared key; after a long silence the device shakes hands again."""

    def __init__(self, udp: UdpConversation, identity: bytes, *, forgets_after_s: float) -> None:
        self.line: Line = udp.line
        self._udp, self._identity, self._forgets_after_s = udp, identity, forgets_after_s
        self._last_up = float("-inf")
        self._records, self._messages = [0, 0], [0, 0]  # counted per side: server, device

    def send(self, up: bool, payload: bytes, *, at: float) -> None:
        """Send one datagram in a record, after a handshake when the session is too old."""
        if up and at - self._last_up > self._forgets_after_s:
            at = self._handshake(at)
        if up:
            self._last_up = at
        sealed = noise(self.line.link.rng, len(payload) + _DTLS_OVERHEAD)
        self._udp.send(up, self._record(up, (_DATA, sealed, 1)), at=at)

    def _handshake(self, at: float) -> float:
        """Play the six flights of RFC 6347 with a cookie; returns when the next datagram may pass."""
        self._records, self._messages = [0, 0], [0, 0]
        for number, flight in enumerate(self._flights()):
            up = number % 2 == 0
            self._udp.send(up, b"".join(self._record(up, content) for content in flight), at=at)
            at += self.line.link.turnaround(up=up)
        self.line.tap.wait_until(at)
        return at

    def _flights(self) -> list[list[DtlsContent]]:
        """Return what each flight holds, the device's first."""
        rng = self.line.link.rng
        offered, cookie = hello.client_hello(rng, _DTLS_OFFER), noise(rng, 16)
        finish = [(_CHANGE, b"\1", 0), (_HANDSHAKE, noise(rng, 40), 1)]
        return [
            [self._message(True, _as_dtls(offered, b""))],
            [self._message(False, hello.message(3, lambda buffer: _push_cookie(buffer, cookie)))],
            [self._message(True, _as_dtls(offered, cookie))],
            [self._message(False, message) for message in _server_flight(rng)],
            [self._message(True, hello.client_key_exchange(self._identity, width=2)), *finish],
            finish,
        ]

    def _message(self, up: bool, message: bytes) -> DtlsContent:
        """Return a TLS handshake message with the fields of DTLS between its header and body."""
        size, number = message[1:4], self._messages[up]
        self._messages[up] += 1
        return _HANDSHAKE, _DTLS_MESSAGE.pack(message[0], size, number, bytes(3), size) + message[4:], 0

    def _record(self, up: bool, content: DtlsContent) -> bytes:
        kind, body, epoch = content
        number = self._records[up].to_bytes(6)
        self._records[up] += 1
        return _DTLS_RECORD.pack(kind, _DTLS12, epoch, number, len(body)) + body


def _as_dtls(message: bytes, cookie: bytes) -> bytes:
    """Return the DTLS form of a TLS ClientHello: its version, and a cookie after the session id."""
    after_id = 4 + 2 + 32 + 1 + message[4 + 2 + 32]
    body = _DTLS12.to_bytes(2) + message[6:after_id] + bytes([len(cookie)]) + cookie + message[after_id:]
    return message[:1] + len(body).to_bytes(3) + body


def _push_cookie(buffer: Buffer, cookie: bytes) -> None:
    buffer.push_uint16(_DTLS12)
    push_opaque(buffer, 1, cookie)


def _server_flight(rng: np.random.Generator) -> tuple[bytes, bytes]:
    """Return ServerHello and ServerHelloDone."""
    greeting = hello.server_hello(rng, hello.PSK_AES128_CCM8)
    return greeting[:4] + _DTLS12.to_bytes(2) + greeting[6:], hello.message(14)


def _record(kind: int, content: bytes) -> bytes:
    return bytes(dpkt.ssl.TLSRecord(type=kind, version=hello.TLS12, length=len(content), data=content))
