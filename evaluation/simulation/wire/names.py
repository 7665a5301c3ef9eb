"""Side traffic by dpkt: DNS look-ups, NTP clock readings, plain HTTP."""

import struct

import dpkt

from evaluation.simulation.wire.conversation import Line, Stream, UdpConversation
from evaluation.simulation.wire.tap import noise

NTP_PORT, DNS_PORT, HTTP_PORT, HTTPS_PORT = 123, 53, 80, 443
_NTP_EPOCH_S = 2_208_988_800  # 1900 to 1970, RFC 5905
_DNS_TIMEOUT_S = 5.0  # resolv.conf(5)


def look_up(line: Line, resolver: UdpConversation, *, name: str, address: bytes) -> None:
    """Ask a resolver for the address of `name`: A or AAAA, as the address is long; the clock moves on."""
    tap, link = line.tap, line.link
    kind = dpkt.dns.DNS_A if len(address) == 4 else dpkt.dns.DNS_AAAA
    number = int(link.rng.integers(2**16))
    query = _dns(name, kind, number=number)
    resolver.send(True, bytes(query), at=tap.now)
    if link.loses():
        tap.now += _DNS_TIMEOUT_S
        resolver.send(True, bytes(query), at=tap.now)
    tap.now += link.turnaround(up=True)
    answer = _dns(name, kind, number=number)
    answer.op |= dpkt.dns.DNS_QR | dpkt.dns.DNS_RA
    record = dpkt.dns.DNS.RR(name=name, type=kind, ttl=int(link.rng.choice((60, 300, 600))), rdata=address)
    answer.an = [record]
    resolver.send(False, bytes(answer), at=tap.now)
    tap.now += link.turnaround(up=False)


def read_clock(line: Line, server: UdpConversation, *, epoch_s: float) -> None:
    """Ask an NTP server for the time; epoch_s: Unix time of the simulation's start."""
    tap, link = line.tap, line.link
    sent = _timestamp(epoch_s + tap.now)
    ask = dpkt.ntp.NTP(v=4, mode=dpkt.ntp.CLIENT, id=b"\0\0\0\0", **_times(transmit_time=sent))
    server.send(True, bytes(ask), at=tap.now)
    tap.now += link.turnaround(up=True)
    there = _timestamp(epoch_s + tap.now)
    told = _times(update_time=there, originate_time=sent, receive_time=there, transmit_time=there)
    answer = dpkt.ntp.NTP(
        v=4, mode=dpkt.ntp.SERVER, stratum=2, interval=6, precision=0xE9, id=noise(link.rng, 4), **told
    )
    server.send(False, bytes(answer), at=tap.now)
    tap.now += link.turnaround(up=False)


def get_page(stream: Stream, host: str, *, path: str, size: int) -> None:
    """Fetch `size` bytes over an open stream with one HTTP/1.1 request."""
    headers = {"Host": host, "User-Agent": "module/1.4", "Accept": "*/*", "Connection": "close"}
    request = dpkt.http.Request(method="GET", uri=path, version="1.1", headers=headers)
    kind = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
    rng = stream.line.link.rng
    answer = dpkt.http.Response(version="1.1", status="200", reason="OK", headers=kind, body=noise(rng, size))
    stream.exchange(True, bytes(request), answer=bytes(answer), after=float(rng.uniform(0.003, 0.1)))


def _dns(name: str, kind: int, *, number: int) -> dpkt.dns.DNS:
    return dpkt.dns.DNS(
        id=number, op=dpkt.dns.DNS_RD, qd=[dpkt.dns.DNS.Q(name=name, type=kind)], an=[], ns=[], ar=[]
    )


def _timestamp(unix_s: float) -> bytes:
    whole = int(unix_s)
    return struct.pack("!II", (whole + _NTP_EPOCH_S) & 0xFFFFFFFF, int((unix_s - whole) * 2**32))


def _times(**known: bytes) -> dict[str, bytes]:
    empty = dict.fromkeys(("update_time", "originate_time", "receive_time", "transmit_time"), bytes(8))
    return empty | known
