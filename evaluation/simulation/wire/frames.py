"""Ethernet frames of one conversation, by dpkt, with right lengths and checksums."""

import struct
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import dpkt

T = TypeVar("T")
_GATEWAY, _BORDER = bytes.fromhex("02005e100001"), bytes.fromhex("02005e100002")  # the two routers at the tap
_SERVER_HOPS, _SERVER_WINDOW = 52, 65160  # 64 less a dozen routers; Linux
_TCP, _UDP = struct.Struct("!HHIIHHHH"), struct.Struct("!HHHH")  # RFC 9293, RFC 768
_IPV6_HEADER = 40  # byte


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
        self._ports = oriented(ends.device_port, ends.server_port, up=up)
        self._internet = _Internet(ends, stack, protocol=dpkt.ip.IP_PROTO_UDP, up=up)

    def frame(self, payload: bytes) -> bytes:
        """Return the Ethernet frame of one datagram."""
        length = _UDP.size + len(payload)
        checksum = self._internet.checksum(_UDP.pack(*self._ports, length, 0) + payload) or 0xFFFF  # RFC 768
        return self._internet.frame(_UDP.pack(*self._ports, length, checksum) + payload)


class TcpFrames:
    """Frames of one direction of a TCP conversation."""

    def __init__(self, ends: Ends, stack: Stack, *, up: bool) -> None:
        self._ports = oriented(ends.device_port, ends.server_port, up=up)
        self._window = stack.window if up else _SERVER_WINDOW
        self._internet = _Internet(ends, stack, protocol=dpkt.ip.IP_PROTO_TCP, up=up)

    def frame(self, segment: Segment) -> bytes:
        """Return the Ethernet frame of one segment; its options must fill whole 32-bit words."""
        offset = (_TCP.size + len(segment.options)) // 4 << 12
        head = (*self._ports, segment.seq, segment.ack, offset | segment.flags, self._window)
        rest = segment.options + segment.payload
        checksum = self._internet.checksum(_TCP.pack(*head, 0, 0) + rest)
        return self._internet.frame(_TCP.pack(*head, checksum, 0) + rest)


class IcmpFrames:
    """Frames of one direction of an echo conversation, IPv4."""

    def __init__(self, ends: Ends, stack: Stack, *, up: bool) -> None:
        self._kind = dpkt.icmp.ICMP_ECHOREPLY if up else dpkt.icmp.ICMP_ECHO
        self._number = ends.server_port
        self._internet = _Internet(ends, stack, protocol=dpkt.ip.IP_PROTO_ICMP, up=up)

    def frame(self, number: int, payload: bytes) -> bytes:
        """Return the frame of echo request or reply `number`."""
        echo = dpkt.icmp.ICMP.Echo(id=self._number, seq=number, data=payload)
        return self._internet.frame(bytes(dpkt.icmp.ICMP(type=self._kind, data=echo)))


class _Internet:
    """Ethernet and IP around one direction: headers made once by dpkt, then refilled, ten times as fast."""

    def __init__(self, ends: Ends, stack: Stack, *, protocol: int, up: bool) -> None:
        source, target = oriented(ends.device, ends.server, up=up)
        hops = stack.hops if up else _SERVER_HOPS
        if len(source) == 4:
            ip = dpkt.ip.IP(src=source, dst=target, ttl=hops, p=protocol, df=1, len=0)
            kind = dpkt.ethernet.ETH_TYPE_IP
        else:
            ip = dpkt.ip6.IP6(src=source, dst=target, hlim=hops, nxt=protocol)
            kind = dpkt.ethernet.ETH_TYPE_IP6
        self._header = bytes(ip.pack_hdr())
        macs = oriented(_GATEWAY, _BORDER, up=up)
        self._ethernet = bytes(dpkt.ethernet.Ethernet(src=macs[0], dst=macs[1], type=kind).pack_hdr())
        self._pseudo = _sum(source) + _sum(target) + protocol
        self._number = _sum(source) & 0xFFFF

    def checksum(self, transport: bytes) -> int:
        """Return the checksum of a transport header and payload with its pseudo header (RFC 9293, 8200)."""
        return _complement(self._pseudo + len(transport) + _sum(transport))

    def frame(self, transport: bytes) -> bytes:
        """Return the Ethernet frame around a transport header and payload."""
        header = bytearray(self._header)
        if len(header) == _IPV6_HEADER:
            struct.pack_into("!H", header, 4, len(transport))
        else:
            self._number = (self._number + 1) & 0xFFFF
            struct.pack_into("!HH", header, 2, len(header) + len(transport), self._number)
            struct.pack_into("!H", header, 10, _complement(_sum(header)))
        return self._ethernet + header + transport


def oriented(device: T, server: T, *, up: bool) -> tuple[T, T]:
    """Return (source, target) of a packet that goes up or down."""
    return (device, server) if up else (server, device)


def _sum(words: bytes | bytearray) -> int:
    """A number congruent to the sum of the 16-bit words modulo 65535, zero only for zeros (RFC 1071)."""
    return int.from_bytes(words + b"\0" if len(words) % 2 else words)


def _complement(total: int) -> int:
    """The one's complement of a one's complement sum of a positive total."""
    return 0xFFFF - (total % 0xFFFF or 0xFFFF)
