"""TLS over TCP and DTLS over UDP: the handshake in the clear, then records of random bytes."""

from dataclasses import replace

import dpkt

from evaluation.simulation.wire import hello
from evaluation.simulation.wire.conversation import Line, TcpConversation, UdpConversation

_CHANGE, _ALERT, _HANDSHAKE, _DATA = 20, 21, 22, 23
_OVERHEAD = {"1.2": 24, "1.3": 17}  # explicit nonce and tag; tag and inner content type
_DTLS12 = 0xFEFD
_DTLS_OVERHEAD = 16  # explicit nonce and tag of CCM-8
_RECORD_LIMIT = 16384


Tickets = dict[str, bytes]  # what a device holds, by server name; with one it resumes instead of a full handshake


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

    def exchange(self, up: bool, payload: bytes, answer: bytes, *, after: float) -> None:
        """Send one message and its answer, each in a record."""
        self._tcp.exchange(up, self._sealed(payload), self._sealed(answer), after=after)

    def close(self, *, up: bool) -> None:
        """Send close_notify, then close the connection."""
        self._tcp.send(up, _record(_ALERT, self._random(2 + _OVERHEAD[self._version])), acked=False)
        self._tcp.close(up=up)

    def shout(self, payload: bytes, *, repeats: int) -> None:
        """Repeat one record into a forgotten mapping."""
        self._tcp.shout(self._sealed(payload), repeats=repeats)

    def _handshake13(self, name: str, ticket: bytes) -> None:
        rng = self.line.link.rng
        hidden = 80 if ticket else 220 + sum(map(len, hello.certificate_chain(name)))  # EncryptedExtensions to Finished
        up = _record(_HANDSHAKE, hello.client_hello(rng, replace(self._offer, ticket=ticket)))
        down = _record(_HANDSHAKE, hello.server_hello(rng, hello.AES128_GCM, resumed=bool(ticket)))
        down += _record(_CHANGE, b"\1") + _record(_DATA, self._random(hidden))
        self._tcp.exchange(True, up, down, after=self._thought())
        finished = _record(_CHANGE, b"\1") + _record(_DATA, self._random(53))
        self._tcp.exchange(True, finished, _record(_DATA, self._random(234)), after=self._thought())

    def _handshake12(self, name: str, ticket: bytes) -> None:
        rng = self.line.link.rng
        offer = replace(self._offer, extensions=((hello.SESSION_TICKET, ticket),))
        up = _record(_HANDSHAKE, hello.client_hello(rng, offer))
        first = _record(_HANDSHAKE, hello.server_hello(rng, hello.ECDHE_AES128_GCM))
        finished = _record(_CHANGE, b"\1") + _record(_HANDSHAKE, self._random(40))
        if ticket:
            self._tcp.exchange(True, up, first + finished, after=self._thought())
            self._tcp.send(True, finished, acked=False)
            return
        chain = hello.certificate12(name), hello.server_key_exchange(rng), hello.message(14)
        self._tcp.exchange(True, up, first + b"".join(_record(_HANDSHAKE, m) for m in chain), after=self._thought())
        key = _record(_HANDSHAKE, hello.client_key_exchange(self._random(32), width=1))
        renewed = _record(_HANDSHAKE, hello.new_session_ticket12(self._random(160)))
        self._tcp.exchange(True, key + finished, renewed + finished, after=self._thought())

    def _sealed(self, payload: bytes) -> bytes:
        overhead = _OVERHEAD[self._version]
        sizes = [min(_RECORD_LIMIT, len(payload) - at) for at in range(0, len(payload), _RECORD_LIMIT)]
        return b"".join(_record(_DATA, self._random(size + overhead)) for size in sizes)

    def _thought(self) -> float:
        return float(self.line.link.rng.uniform(0.002, 0.03))

    def _random(self, size: int) -> bytes:
        return self.line.link.rng.bytes(size)


class DtlsDatagrams:
    """DTLS 1.2 with a pre-shared key; after a long silence the device shakes hands again."""

    def __init__(self, udp: UdpConversation, identity: bytes, *, forgets_after_s: float) -> None:
        self.line: Line = udp.line
        self._udp, self._identity, self._forgets_after_s = udp, identity, forgets_after_s
        self._last_up = float("-inf")
        self._sequence = [0, 0]  # records of the current epoch: server, device
        self._messages = [0, 0]

    def send(self, up: bool, payload: bytes, *, at: float) -> None:
        """Send one datagram in a record, after a handshake when the session is too old."""
        if up and at - self._last_up > self._forgets_after_s:
            at = self._handshake(at)
        if up:
            self._last_up = at
        self._udp.send(up, self._record(up, _DATA, self._random(len(payload) + _DTLS_OVERHEAD), 1), at=at)

    def _handshake(self, at: float) -> float:
        """Six flights of RFC 6347 with a cookie; returns when the next datagram may pass."""
        rng, link = self.line.link.rng, self.line.link
        self._sequence, self._messages = [0, 0], [0, 0]
        cookie = rng.bytes(16)
        offered = hello.client_hello(rng, _DTLS_OFFER)
        hidden = self._random(40)
        change = (_CHANGE, b"\1", 0)
        flights: tuple[tuple[bool, tuple[tuple[int, bytes, int], ...]], ...] = (
            (True, ((_HANDSHAKE, self._message(True, _as_dtls(offered, b"")), 0),)),
            (False, ((_HANDSHAKE, self._message(False, _verify_request(cookie)), 0),)),
            (True, ((_HANDSHAKE, self._message(True, _as_dtls(offered, cookie)), 0),)),
            (False, tuple((_HANDSHAKE, self._message(False, m), 0) for m in _server_flight(self.line))),
            (True, ((_HANDSHAKE, self._message(True, _identity(self._identity)), 0), change, (_HANDSHAKE, hidden, 1))),
            (False, (change, (_HANDSHAKE, hidden, 1))),
        )
        for up, records in flights:
            self._udp.send(up, b"".join(self._record(up, *record) for record in records), at=at)
            at += link.turnaround(up=up)
        self.line.tap.wait_until(at)
        return at

    def _message(self, up: bool, message: bytes) -> bytes:
        """Lay the DTLS fields (RFC 6347 section 4.2.2) between header and body of a handshake message."""
        size, number = message[1:4], self._messages[up]
        self._messages[up] += 1
        return bytes(_DtlsMessage(kind=message[0], size=size, seq=number, length=size, data=message[4:]))

    def _record(self, up: bool, kind: int, content: bytes, epoch: int) -> bytes:
        number = self._sequence[up].to_bytes(6)
        self._sequence[up] += 1
        return bytes(_DtlsRecord(kind=kind, epoch=epoch, seq=number, length=len(content), data=content))

    def _random(self, size: int) -> bytes:
        return self.line.link.rng.bytes(size)


class _DtlsRecord(dpkt.Packet):
    __hdr__ = (("kind", "B", _HANDSHAKE), ("version", "H", _DTLS12), ("epoch", "H", 0), ("seq", "6s", b""), ("length", "H", 0))


class _DtlsMessage(dpkt.Packet):
    __hdr__ = (
        ("kind", "B", 1),
        ("size", "3s", b""),
        ("seq", "H", 0),
        ("offset", "3s", b"\0\0\0"),
        ("length", "3s", b""),
    )


_DTLS_OFFER = hello.Offer(versions=(_DTLS12,), suites=(hello.PSK_AES128_CCM8, 0x00AE, 0x00FF))


def _as_dtls(message: bytes, cookie: bytes) -> bytes:
    """Return the DTLS form of a TLS ClientHello: its version, and a cookie after the session id."""
    after_id = 4 + 2 + 32 + 1 + message[4 + 2 + 32]
    body = _DTLS12.to_bytes(2) + message[6:after_id] + bytes([len(cookie)]) + cookie + message[after_id:]
    return message[:1] + len(body).to_bytes(3) + body


def _verify_request(cookie: bytes) -> bytes:
    body = _DTLS12.to_bytes(2) + bytes([len(cookie)]) + cookie
    return b"\3" + len(body).to_bytes(3) + body


def _server_flight(line: Line) -> tuple[bytes, bytes]:
    greeting = hello.server_hello(line.link.rng, hello.PSK_AES128_CCM8)
    return greeting[:4] + _DTLS12.to_bytes(2) + greeting[6:], hello.message(14)


def _identity(identity: bytes) -> bytes:
    return hello.client_key_exchange(identity, width=2)


def _record(kind: int, content: bytes) -> bytes:
    return bytes(dpkt.ssl.TLSRecord(type=kind, version=hello.TLS12, length=len(content), data=content))
