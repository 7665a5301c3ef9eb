"""How a device reaches its platform: name look-up, the right session over the right transport."""

from evaluation.simulation.fleet import Device, Server, server_address
from evaluation.simulation.wire import private
from evaluation.simulation.wire.coap import Lwm2mSession
from evaluation.simulation.wire.conversation import Line, TcpConversation, UdpConversation
from evaluation.simulation.wire.hello import Offer
from evaluation.simulation.wire.mqtt import Client, MqttSession
from evaluation.simulation.wire.names import DNS_PORT, look_up
from evaluation.simulation.wire.session import Session
from evaluation.simulation.wire.tls import DtlsDatagrams, TlsStream

_FRAMERS = {  # by type, then maker; the others speak a maker's own
    "electric_meter": (private.dlt698, private.dlms),
    "asset_tracker": (private.jtt808, private.plain),
    "bike_lock": (private.jtt808, private.plain),
    "vehicle_tbox": (private.gbt32960, private.plain),
}
_LOGIN_BYTES = 45
_LIFETIMES = 4  # registration lifetime in keep-alive intervals; judgement
_SHORT_MEMORY_S, _LONG_MEMORY_S = 900, 30_000  # after which silence a DTLS session is made anew; judgement


def datagrams(device: Device, line: Line, *, server: Server) -> UdpConversation:
    """Return a UDP conversation from a fresh port."""
    return UdpConversation(line, device.ends(line, server))


def connection(device: Device, line: Line, *, server: Server) -> TcpConversation:
    """Return a TCP connection from a fresh port, not yet open."""
    return TcpConversation(line, device.ends(line, server))


def resolve(device: Device, line: Line, *, server: Server) -> None:
    """Look a server's name up at one of the site's resolvers."""
    resolver = server_address(device.site, "dns", number=int(line.link.rng.integers(2)))
    udp = datagrams(device, line, server=Server(resolver, DNS_PORT))
    look_up(line, udp, name=server.name, address=server.address)


def resolve_platform(device: Device, line: Line) -> None:
    """Look the device's platform up, if the device does that."""
    if device.service.asks_dns:
        resolve(device, line, server=device.service.server)


def dial(device: Device, line: Line) -> TcpConversation | TlsStream:
    """Return a stream to the device's platform, not yet open."""
    server = device.service.server
    tcp = connection(device, line, server=server)
    return secured(device, tcp, name=server.name) if device.service.kind.secure else tcp


def secured(device: Device, tcp: TcpConversation, *, name: str) -> TlsStream:
    """Return TLS over a connection, by the firmware's version; only some devices keep tickets."""
    tickets = device.tickets if device.resumes else {}
    return TlsStream(tcp, Offer(name), version=device.firmware.tls, tickets=tickets)


def open_session(device: Device, line: Line) -> Session:
    """Return a session with the device's platform, not yet started."""
    kind = device.service.kind
    framer = _FRAMERS.get(device.profile.id, (private.plain, private.plain))[device.maker]
    if kind.stack == "lwm2m":
        return _lwm2m(device, line)
    if kind.transport == "udp":
        return private.DatagramSession(datagrams(device, line, server=device.service.server), framer)
    if kind.stack == "mqtt":
        return MqttSession(dial(device, line), _client(device))
    login = _LOGIN_BYTES if device.beat.lasting and kind.stack == "private" else 0
    return private.StreamSession(dial(device, line), framer, login_bytes=login)


def _lwm2m(device: Device, line: Line) -> Lwm2mSession:
    udp = datagrams(device, line, server=device.service.server)
    identity = f"urn:imei:86{int(device.address):013d}"
    memory_s = _LONG_MEMORY_S if device.resumes else _SHORT_MEMORY_S
    dtls = DtlsDatagrams(udp, identity.encode(), forgets_after_s=memory_s)
    return Lwm2mSession(
        dtls if device.service.kind.secure else udp,
        identity,
        style=device.firmware.report,
        lifetime_s=_LIFETIMES * device.beat.keepalive_s,
    )


def _client(device: Device) -> Client:
    name = f"{device.service.server.name.partition('.')[0]}-{int(device.address):010d}"
    return Client(
        name=name,
        user=device.site.name,
        topic=f"v1/{name}",
        keepalive_s=device.beat.keepalive_s,
        qos=device.firmware.qos,
        answered=device.maker == 1,
    )
