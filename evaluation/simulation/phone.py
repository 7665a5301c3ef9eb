"""The life of a phone: sessions of a few flows to many names, and one push channel that lasts."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from evaluation.simulation.dialling import connection, datagrams, resolve
from evaluation.simulation.fleet import DAY_S, Device, Server, server_address
from evaluation.simulation.timeline import spells
from evaluation.simulation.wire.conversation import Line
from evaluation.simulation.wire.hello import Offer
from evaluation.simulation.wire.names import HTTP_PORT, HTTPS_PORT, get_page
from evaluation.simulation.wire.private import StreamSession, plain
from evaluation.simulation.wire.quic import QuicConversation
from evaluation.simulation.wire.session import thought
from evaluation.simulation.wire.tap import Packet, noise
from evaluation.simulation.wire.tls import TlsStream

_KINDS = ("api", "img", "cdn", "video", "social", "maps", "mail", "news", "shop", "ads", "stats", "music")
_NAMES = 240  # how many servers the applications of all phones have
_CACHED = 0.2  # share of flows whose name the phone still knows; judgement
_PUSH_S = 1740.0  # 29 minutes at most between the pings of a push channel; judgement
_LONGEST_ANSWER = 25_000  # byte; keeps a flow below about 50 packets


@dataclass(frozen=True)
class _Page:
    """What one flow is for. up, down: bytes of request and answer."""

    server: Server
    up: int
    down: int


def browse(device: Device, *, days: int) -> Iterator[list[Packet]]:
    """Yield the flows of the sessions: look-up, then HTTPS, QUIC or HTTP."""
    line = device.line(0)
    rng = line.link.rng
    kinds = [port for port in device.profile.server_ports if port.stack != "dns"]
    shares = np.array([port.share for port in kinds])
    for start, end in spells(device, rng, days=days):
        for moment in sorted(rng.uniform(start, end, int(rng.integers(2, 7)))):
            line.tap.wait_until(float(moment))
            kind = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
            fetch = _quic if kind.stack == "quic" else _https if kind.secure else _http
            fetch(device, line, page=_wanted(device, line))
            yield line.tap.take()


def push(device: Device, *, days: int) -> Iterator[list[Packet]]:
    """Yield the push channel: one TLS connection, pinged, sometimes with news from the network."""
    line = device.line(1)
    tap, rng = line.tap, line.link.rng
    tap.now = (device.beat.joins_s or 0.0) + float(rng.uniform(0, _PUSH_S))
    number = int(rng.integers(4))
    server = Server(
        server_address(device.site, "push", number=number), HTTPS_PORT, f"push{number}.apps.example"
    )
    session = _push_session(device, line, server=server)
    while tap.now < days * DAY_S:
        chance = float(rng.random())
        if chance < 0.02:
            session.lose()
            session = _push_session(device, line, server=server)
        elif chance < 0.25:
            session.command(int(rng.integers(80, 900)), 30)
        else:
            session.keep_alive()
        yield tap.take()
        tap.now += _PUSH_S * float(rng.uniform(0.8, 1.0))


def _push_session(device: Device, line: Line, *, server: Server) -> StreamSession:
    resolve(device, line, server=server)
    session = StreamSession(_tls(device, line, server=server), plain, login_bytes=200)
    session.start()
    return session


def _wanted(device: Device, line: Line) -> _Page:
    """Choose a server and sizes, and look the server up."""
    rng = line.link.rng
    number = int(rng.integers(_NAMES))
    address = server_address(device.site, "apps", number=number, version=6 if device.prefix else 4)
    server = Server(address, HTTPS_PORT, f"{_KINDS[number % len(_KINDS)]}{number}.apps.example")
    if rng.random() > _CACHED:
        resolve(device, line, server=server)
    up = int(rng.lognormal(6.3, 0.5))  # median 540 byte
    down = int(rng.lognormal(8.7, 1.1))  # median 6 kB
    return _Page(server, up, min(down, _LONGEST_ANSWER))


def _quic(device: Device, line: Line, *, page: _Page) -> None:
    quic = QuicConversation(datagrams(device, line, server=page.server), page.server.name)
    quic.open()
    quic.exchange(page.up, page.down)


def _https(device: Device, line: Line, *, page: _Page) -> None:
    rng, stream = line.link.rng, _tls(device, line, server=page.server)
    stream.open()
    for _ in range(int(rng.integers(1, 4))):
        answer = noise(rng, max(page.down // 2, 200))
        stream.exchange(True, noise(rng, page.up), answer=answer, after=thought(line))
        line.tap.now += float(rng.exponential(2.0))
    stream.close(up=True)


def _http(device: Device, line: Line, *, page: _Page) -> None:
    tcp = connection(device, line, server=replace(page.server, port=HTTP_PORT))
    tcp.open()
    get_page(tcp, page.server.name, path=f"/{page.down:x}", size=page.down)
    tcp.close(up=True)


def _tls(device: Device, line: Line, *, server: Server) -> TlsStream:
    offer = Offer(server.name, ("h2", "http/1.1"))
    return TlsStream(connection(device, line, server=server), offer, version="1.3", tickets=device.tickets)
