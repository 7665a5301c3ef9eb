"""Ethernet frames of one conversation, by dpkt, with right lengths and checksums."""

import struct
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import dpkt

T = TypeVar("T")
_GATEWAY, _BORDER = bytes.fromhex("02005e100001"), bytes.fromhex("02005e100002")  # the two routers at the tap
_SERVER_HOPS = 52  # what is left of 64 after a dozen routers


@dataclass(frozen=True)
class Ends:
    """The two ends of a conversation: packed addresses of one IP version, and transport ports."""

    device: bytes
    server: bytes
    device_port: int
    server_port: int


@dataclass(frozen=True)
class Stack:
    """How a device's IP stack looks from outside; drawn per device, never per type."""

    hops: int  # TTL left at the tap
    mss: int
    window: int
    timestamps: bool
    first_port: int
    ports: int  # ephemeral ports are first_port .. first_port + ports - 1


class Segment(NamedTuple):
    """The changing part of a TCP packet."""

    flags: int
    seq: int
    ack: int
    payload: bytes = b""
    options: bytes = b""


class UdpFrames:
    """Frames of one direction of a UDP conversation."""

    def __init__(self, ends: Ends, stack: Stack, *, up: bool) -> None:
        ports = _oriented(ends.device_port, ends.server_port, up)
        self._datagram = dpkt.udp.UDP(sport=ports[0], dport=ports[1])
        self._frame = _Internet(ends, stack.hops, self._datagram, up=up)

    def frame(self, payload: bytes) -> bytes:
        """Return the Ethernet frame of one datagram."""
        self._datagram.data, self._datagram.ulen = payload, 8 + len(payload)
        return self._frame.around(self._datagram)


class TcpFrames:
    """Frames of one direction of a TCP conversation."""

    def __init__(self, ends: Ends, stack: Stack, *, up: bool) -> None:
        ports = _oriented(ends.device_port, ends.server_port, up)
        self._segment = dpkt.tcp.TCP(sport=ports[0], dport=ports[1], win=stack.window if up else 65160)
        self._frame = _Internet(ends, stack.hops, self._segment, up=up)

    def frame(self, segment: Segment) -> bytes:
        """Return the Ethernet frame of one segment; its options must fill whole 32-bit words."""
        tcp = self._segment
        tcp.flags, tcp.seq, tcp.ack = segment.flags, segment.seq, segment.ack
        tcp.opts, tcp.data, tcp.off = segment.options, segment.payload, 5 + len(segment.options) // 4
        return self._frame.around(tcp)


class IcmpFrames:
    """ICMP echo frames of one direction; IPv4 only."""

    def __init__(self, ends: Ends, stack: Stack, *, up: bool) -> None:
        self._echo = dpkt.icmp.ICMP.Echo(id=ends.server_port)
        kind = dpkt.icmp.ICMP_ECHOREPLY if up else dpkt.icmp.ICMP_ECHO
        self._icmp = dpkt.icmp.ICMP(type=kind, data=self._echo)
        self._frame = _Internet(ends, stack.hops, self._icmp, up=up)

    def frame(self, number: int, payload: bytes) -> bytes:
        """Return the frame of echo request or reply `number`."""
        self._echo.seq, self._echo.data = number, payload
        return self._frame.around(self._icmp)


class _Internet:
    """Ethernet and IP around one transport: built once per direction, refilled per packet."""

    def __init__(self, ends: Ends, hops: int, transport: dpkt.Packet, *, up: bool) -> None:
        source, target = _oriented(ends.device, ends.server, up)
        number, left = _PROTOCOL[type(transport)], hops if up else _SERVER_HOPS
        macs = _oriented(_GATEWAY, _BORDER, up)
        if len(source) == 4:
            self._ip = dpkt.ip.IP(src=source, dst=target, ttl=left, p=number, df=1, data=transport)
            kind = dpkt.ethernet.ETH_TYPE_IP
        else:
            self._ip = dpkt.ip6.IP6(src=source, dst=target, hlim=left, nxt=number, data=transport)
            kind = dpkt.ethernet.ETH_TYPE_IP6
        self._ethernet = bytes(dpkt.ethernet.Ethernet(src=macs[0], dst=macs[1], type=kind))
        self._id = struct.unpack("!H", source[-2:])[0]

    def around(self, transport: dpkt.Packet) -> bytes:
        """Return the frame with fresh length, identification and checksums."""
        transport.sum = 0  # zero asks dpkt to compute it
        if isinstance(self._ip, dpkt.ip6.IP6):
            return self._ethernet + self._version6(transport)
        self._ip.sum = 0
        self._id = self._ip.id = (self._id + 1) & 0xFFFF
        return self._ethernet + bytes(self._ip)

    def _version6(self, transport: dpkt.Packet) -> bytes:
        self._ip.plen = len(transport)
        packed = bytes(self._ip)
        if isinstance(transport, dpkt.udp.UDP) and transport.sum == 0:
            transport.sum = 0xFFFF  # RFC 8200 section 8.1: zero is not a UDP checksum in IPv6
            packed = bytes(self._ip)
        return packed


_PROTOCOL = {
    dpkt.tcp.TCP: dpkt.ip.IP_PROTO_TCP,
    dpkt.udp.UDP: dpkt.ip.IP_PROTO_UDP,
    dpkt.icmp.ICMP: dpkt.ip.IP_PROTO_ICMP,
}


def _oriented(device: T, server: T, up: bool) -> tuple[T, T]:
    return (device, server) if up else (server, device)
