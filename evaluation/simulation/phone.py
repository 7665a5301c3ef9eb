"""The life of a phone: sessions of a few flows to many names, and one push channel that lasts."""

from collections.abc import Iterator

import numpy as np

from evaluation.simulation.dialling import resolve
from evaluation.simulation.fleet import DAY_S, Device, server_address
from evaluation.simulation.timeline import spells
from evaluation.simulation.wire.conversation import Line, TcpConversation, UdpConversation
from evaluation.simulation.wire.hello import Offer
from evaluation.simulation.wire.names import HTTP_PORT, get_page
from evaluation.simulation.wire.private import StreamSession, plain
from evaluation.simulation.wire.quic import QuicConversation
from evaluation.simulation.wire.session import thought
from evaluation.simulation.wire.tap import Packet
from evaluation.simulation.wire.tls import TlsStream

HTTPS_PORT = 443
_KINDS = ("api", "img", "cdn", "video", "social", "maps", "mail", "news", "shop", "ads", "stats", "music")
_PUSH_S = 1740.0  # 29 minutes at most between the pings of a push channel; judgement
_LONGEST_ANSWER = 25_000  # byte; keeps a flow below about 50 packets


def browse(device: Device, *, days: int) -> Iterator[list[Packet]]:
    """Yield the flows of the sessions: look-up, then HTTPS, QUIC or HTTP."""
    line = device.line(0)
    rng = line.link.rng
    for start, end in spells(device, rng, days=days):
        flows = int(rng.integers(2, 7))
        for moment in sorted(rng.uniform(start, end, flows)):
            line.tap.wait_until(float(moment))
            _flow(device, line)
            yield line.tap.take()


def push(device: Device, *, days: int) -> Iterator[list[Packet]]:
    """Yield the push channel: one TLS connection, pinged, sometimes with news from the network."""
    line = device.line(1)
    tap, rng = line.tap, line.link.rng
    tap.now = float(rng.uniform(0, _PUSH_S))
    name = f"push{int(rng.integers(4))}.{device.site.name}.apps.example"
    session = _push_session(device, line, name)
    while tap.now < days * DAY_S:
        chance = float(rng.random())
        if chance < 0.02:
            session.lose()
            session = _push_session(device, line, name)
        elif chance < 0.25:
            session.command(int(rng.integers(80, 900)), 30)
        else:
            session.keep_alive()
        yield tap.take()
        tap.now += _PUSH_S * float(rng.uniform(0.8, 1.0))


def _push_session(device: Device, line: Line, name: str) -> StreamSession:
    address = server_address(device.site, "push", len(name), version=4)
    resolve(device, line, name, address)
    tcp = TcpConversation(line, device.ends(line, address, HTTPS_PORT))
    session = StreamSession(
        TlsStream(tcp, Offer(name), version="1.3", tickets=device.tickets), plain, login_bytes=200
    )
    session.start()
    return session


def _flow(device: Device, line: Line) -> None:
    rng = line.link.rng
    number = int(rng.integers(240))
    name = f"{_KINDS[number % len(_KINDS)]}{number}.apps.example"
    address = server_address(device.site, "apps", number, version=6 if device.prefix else 4)
    if rng.random() < 0.8:  # the rest is cached
        resolve(device, line, name, address)
    kinds = [port for port in device.profile.server_ports if port.stack != "dns"]
    shares = np.array([port.share for port in kinds])
    kind = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
    up = int(rng.lognormal(6.3, 0.5))  # median 540 byte
    down = min(int(rng.lognormal(8.7, 1.1)), _LONGEST_ANSWER)  # median 6 kB
    if kind.stack == "quic":
        _quic(device, line, name, address=address, sizes=(up, down))
    else:
        _tcp(device, line, name, address=address, sizes=(up, down) if kind.secure else (0, down))


def _quic(device: Device, line: Line, name: str, *, address: bytes, sizes: tuple[int, int]) -> None:
    connection = QuicConversation(UdpConversation(line, device.ends(line, address, HTTPS_PORT)), name)
    connection.open()
    connection.exchange(*sizes)


def _tcp(device: Device, line: Line, name: str, *, address: bytes, sizes: tuple[int, int]) -> None:
    up, down = sizes
    if not up:
        plainly = TcpConversation(line, device.ends(line, address, HTTP_PORT))
        plainly.open()
        get_page(plainly, name, path=f"/{down:x}", size=down)
        plainly.close(up=True)
        return
    rng = line.link.rng
    tcp = TcpConversation(line, device.ends(line, address, HTTPS_PORT))
    stream = TlsStream(tcp, Offer(name, ("h2", "http/1.1")), version="1.3", tickets=device.tickets)
    stream.open()
    for _ in range(int(rng.integers(1, 4))):
        stream.exchange(True, rng.bytes(up), rng.bytes(max(down // 2, 200)), after=thought(line))
        line.tap.now += float(rng.exponential(2.0))
    stream.close(up=True)
