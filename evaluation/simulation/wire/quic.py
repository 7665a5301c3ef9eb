"""QUIC: readable Initial packets by aioquic, as RFC 9001 protects them, then opaque ones."""

from dataclasses import replace

from aioquic.buffer import Buffer
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import (
    QuicFrameType,
    QuicPacketType,
    QuicProtocolVersion,
    QuicTransportParameters,
    push_quic_transport_parameters,
)
from aioquic.quic.packet_builder import QuicPacketBuilder

from evaluation.simulation.wire import hello
from evaluation.simulation.wire.conversation import BACKBONE_GAP_S, INITIAL_WINDOW, UdpConversation
from evaluation.simulation.wire.tap import noise

_VERSION = QuicProtocolVersion.VERSION_1
_DATAGRAM = 1200  # RFC 9000 section 14.1
_PARAMETERS = 0x39  # extension quic_transport_parameters, RFC 9001
_OFFER = hello.Offer(protocols=("h3",), versions=(hello.TLS13,), suites=(hello.AES128_GCM, 0x1302, 0x1303))


class QuicConversation:
    """One QUIC version 1 connection of a client that asks for something and reads the answer."""

    def __init__(self, udp: UdpConversation, name: str) -> None:
        self._udp, self._name = udp, name
        rng = udp.line.link.rng
        self._server_id, self._client_id = noise(rng, 8), noise(rng, 8)

    def open(self) -> None:
        """Shake hands: Initial up, Initial and Handshake down, Handshake up."""
        tap, link = self._udp.line.tap, self._udp.line.link
        self._send(True, self._initial(hello.client_hello(link.rng, self._offer()), up=True))
        tap.now += link.turnaround(up=True)
        greeting = hello.server_hello(link.rng, hello.AES128_GCM)
        self._send(False, self._initial(greeting, up=False))
        for size in (_DATAGRAM, int(link.rng.integers(500, _DATAGRAM))):
            tap.now += BACKBONE_GAP_S
            self._send(False, self._opaque(False, size))
        tap.now += link.turnaround(up=False)
        self._send(True, self._opaque(True, 90))

    def exchange(self, up_bytes: int, down_bytes: int) -> None:
        """Send a request and read the answer; every second datagram is acknowledged."""
        tap, link = self._udp.line.tap, self._udp.line.link
        for size in _datagrams(up_bytes):
            self._send(True, self._opaque(True, size))
            tap.now += link.airtime(size)
        tap.now += link.turnaround(up=True)
        window, burst = INITIAL_WINDOW, 0
        for number, size in enumerate(_datagrams(down_bytes)):
            self._send(False, self._opaque(False, size))
            if number % 2:
                acknowledged = tap.now + link.turnaround(up=False)
                self._udp.send(True, self._opaque(True, 34), at=acknowledged)
            tap.now += BACKBONE_GAP_S
            burst += 1
            if burst == window:
                tap.now += link.round_trip()
                window, burst = window * 2, 0
        tap.now += link.turnaround(up=False)
        self._send(True, self._opaque(True, 36))

    def _offer(self) -> hello.Offer:
        parameters = QuicTransportParameters(
            initial_source_connection_id=self._client_id,
            max_idle_timeout=30_000,
            initial_max_data=1 << 20,
            initial_max_streams_bidi=100,
        )
        buffer = Buffer(256)
        push_quic_transport_parameters(buffer, parameters)
        return replace(_OFFER, name=self._name, extensions=((_PARAMETERS, bytes(buffer.data)),))

    def _send(self, up: bool, datagram: bytes) -> None:
        self._udp.send(up, datagram, at=self._udp.line.tap.now)

    def _initial(self, message: bytes, *, up: bool) -> bytes:
        """Return a padded Initial datagram; its keys follow from the client's first connection id."""
        crypto = CryptoPair()
        crypto.setup_initial(self._server_id, up, _VERSION)
        ids = (self._client_id, self._server_id) if up else (self._server_id, self._client_id)
        builder = QuicPacketBuilder(
            host_cid=ids[0], peer_cid=ids[1], version=_VERSION, is_client=up, max_datagram_size=_DATAGRAM
        )
        builder.start_packet(QuicPacketType.INITIAL, crypto)
        frame = builder.start_frame(QuicFrameType.CRYPTO, capacity=len(message) + 8)
        frame.push_uint_var(0)
        frame.push_uint_var(len(message))
        frame.push_bytes(message)
        return bytes(builder.flush()[0][0])

    def _opaque(self, up: bool, size: int) -> bytes:
        """A short-header packet (RFC 9000 17.3): fixed bit, the receiver's id, what nobody can read."""
        return (
            b"\x40"
            + (self._server_id if up else self._client_id)
            + noise(self._udp.line.link.rng, max(size - 9, 16))
        )


def _datagrams(size: int) -> list[int]:
    return [min(_DATAGRAM, size - at) for at in range(0, size, _DATAGRAM)]
