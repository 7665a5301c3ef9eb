"""How a device reaches its platform: name look-up, the right session over the right transport."""

from evaluation.simulation.fleet import DAY_S, Device, server_address
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


def resolve(device: Device, line: Line, name: str, address: bytes) -> None:
    """Look a name up at one of the site's resolvers."""
    resolver = server_address(device.site, "dns", int(line.link.rng.integers(2)), version=4)
    look_up(line, UdpConversation(line, device.ends(line, resolver, DNS_PORT)), name, address)


def dial(device: Device, line: Line) -> TcpConversation | TlsStream:
    """Return a stream to the device's platform, not yet open."""
    service = device.service
    tcp = TcpConversation(line, device.ends(line, service.address, service.port))
    return secured(device, tcp, service.name) if service.kind.secure else tcp


def secured(device: Device, tcp: TcpConversation, name: str) -> TlsStream:
    """Return TLS over a connection, by the firmware's version; only some devices keep tickets."""
    tickets = device.tickets if device.resumes else {}
    return TlsStream(tcp, Offer(name), version=device.firmware.tls, tickets=tickets)


def open_session(device: Device, line: Line) -> Session:
    """Return a session with the device's platform, not yet started."""
    service = device.service
    framer = _FRAMERS.get(device.profile.id, (private.plain, private.plain))[device.maker]
    if service.kind.transport == "udp":
        udp = UdpConversation(line, device.ends(line, service.address, service.port))
        if service.kind.stack == "private":
            return private.DatagramSession(udp, framer)
        identity = f"urn:imei:86{int(device.address):013d}"
        protected = DtlsDatagrams(
            udp, identity.encode(), forgets_after_s=900 if device.resumes else DAY_S / 3
        )
        return Lwm2mSession(
            protected if service.kind.secure else udp,
            identity,
            style=device.firmware.report,
            lifetime_s=4 * device.beat.keepalive_s,
        )
    stream = dial(device, line)
    if service.kind.stack == "mqtt":
        return MqttSession(stream, _client(device))
    login = _LOGIN_BYTES if device.beat.lasting and service.kind.stack == "private" else 0
    return private.StreamSession(stream, framer, login_bytes=login)


def _client(device: Device) -> Client:
    name = f"{device.service.name.partition('.')[0]}-{int(device.address):010d}"
    return Client(
        name=name,
        user=device.site.name,
        topic=f"v1/{name}",
        keepalive_s=device.beat.keepalive_s,
        qos=device.firmware.qos,
        answered=device.maker == 1,
    )
