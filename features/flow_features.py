"""Features of a window's flows taken one by one: volume, direction, peers, sizes, flags, ports, durations."""

from itertools import islice
from struct import calcsize, unpack

import ibis
import ibis.expr.types as ir

from features.feature import Feature, Group, count, number, part_share, ratio, rows_where, share
from features.map_row import Network
from features.owners import PRIVATE

TCP, UDP, ICMP, IGMP, ICMPV6 = 6, 17, 1, 2, 58  # IANA protocol numbers
SERVICES: dict[str, tuple[int, ...]] = {  # IANA service names and ports, either end; the rest is tcp or udp
    "dns": (53,),
    "dhcp": (67, 68, 546, 547),
    "ntp": (123,),
    "mdns": (5353,),
    "ssdp": (1900,),
    "http": (80, 8080),
    "https": (443, 8443),
    "mqtt": (1883,),
    "mqtts": (8883,),
    "coap": (5683,),
    "coaps": (5684,),
    "rtsp": (554,),
    "sip": (5060, 5061),
}
NETWORK_SERVICES = (
    "dns",
    "dhcp",
    "ntp",
    "mdns",
    "ssdp",
)  # a device's place in its network, not its application
PROTOCOLS = {"icmp": ICMP, "igmp": IGMP, "icmpv6": ICMPV6, "tcp": TCP, "udp": UDP}
PEERS = ("broadcast", "multicast", "private", "public")
WAYS = {"up": "from the device", "down": "to the device"}
_TRANSPORTS = {"tcp": TCP, "udp": UDP}
_FLAGS = ("syn", "fin", "rst", "psh")
_TCP_PACKETS = 7  # packets of a TCP flow after its first: hand-shake, hello, answer
_MICRO = 1e-6  # s in a us


def described(flows: ir.Table) -> ir.Table:
    """Add to each flow its service, the kind of its peer, and totals of both ways."""
    with_ports = flows.protocol.isin([TCP, UDP])
    services = [
        (with_ports & (flows.device_port.isin(ports) | flows.peer_port.isin(ports)), name)
        for name, ports in SERVICES.items()
    ]
    protocols = [(flows.protocol == number, name) for name, number in PROTOCOLS.items()]
    return flows.mutate(
        packets=flows.up_packets + flows.down_packets,
        bytes=flows.up_bytes + flows.down_bytes,
        duration_us=flows.end_us - flows.start_us,
        service=ibis.cases(*services, *protocols, else_="other"),
        service_port=ibis.least(flows.device_port, flows.peer_port),
        peer_kind=_peer_kind(flows.peer_ip),
    )


def _peer_kind(address: ir.StringValue) -> ir.Value:
    """Say what sort of address it is, never which one. Of a subnet's broadcasts only those of /24 are known as such."""
    private = address.re_search("(?i)" + "|".join(map(_beginning, PRIVATE)))
    return ibis.cases(
        (address.re_search(r"^(22[4-9]|23[0-9])\.|^[fF][fF]"), "multicast"),
        ((address == "255.255.255.255") | (private & address.endswith(".255")), "broadcast"),
        (private, "private"),
        else_="public",
    )


def _beginning(network: Network) -> str:
    """Return the regular expression that the text of an address begins with where it is of the network."""
    parts, spelling, end = (">4B", "d", r"\.") if network.version == 4 else (">8H", "x", ":")
    bounds = zip(unpack(parts, network[0].packed), unpack(parts, network[-1].packed), strict=True)
    told = islice(bounds, -(-network.prefixlen // (8 * calcsize(parts[-1]))))
    spelt = ["|".join(format(value, spelling) for value in range(low, high + 1)) for low, high in told]
    return "^" + "".join(f"({values}){end}" for values in spelt)


def _volume() -> tuple[Feature, ...]:
    return (
        count("flows", lambda f: f.count(), told="flows"),
        *(_total(way, what) for way in WAYS for what in ("packets", "bytes")),
        ratio(
            "up_packet_share",
            lambda f: share(f.up_packets.sum(), f.packets.sum()),
            told="packets from the device, of all",
        ),
        ratio(
            "up_byte_share",
            lambda f: share(f.up_bytes.sum(), f.bytes.sum()),
            told="bytes from the device, of all",
        ),
        part_share(
            "initiated_share", lambda f: rows_where(f.initiated_by_device) / f.count(), told="flows it began"
        ),
        part_share(
            "unanswered_share",
            lambda f: rows_where((f.up_packets == 0) | (f.down_packets == 0)) / f.count(),
            told="flows with packets one way only",
        ),
        ratio(
            "ipv6_packet_share",
            lambda f: share(f.packets.sum(where=f.ip_version == 6), f.packets.sum()),
            told="packets over IPv6",
        ),
        number("flow_bytes_median", lambda f: f.bytes.median(), unit="byte", told="median bytes of a flow"),
        number(
            "flow_packets_median", lambda f: f.packets.median(), unit="1", told="median packets of a flow"
        ),
        number("flow_packets_max", lambda f: f.packets.max(), unit="1", told="most packets of a flow"),
    )


def _total(way: str, what: str) -> Feature:
    unit = "byte" if what == "bytes" else "1"
    return count(f"{way}_{what}", lambda f: f[f"{way}_{what}"].sum(), told=f"{what} {WAYS[way]}", unit=unit)


def _durations() -> tuple[Feature, ...]:
    return (
        number(
            "flow_duration_median",
            lambda f: f.duration_us.median() * _MICRO,
            unit="s",
            told="median duration of a flow",
        ),
        number(
            "flow_duration_mean",
            lambda f: f.duration_us.sum() / f.count() * _MICRO,
            unit="s",
            told="mean duration of a flow",
        ),
        number(
            "flow_duration_max",
            lambda f: f.duration_us.max() * _MICRO,
            unit="s",
            told="longest duration of a flow",
        ),
    )


def _peers(kind: str) -> tuple[Feature, ...]:
    return (
        part_share(
            f"{kind}_flow_share",
            lambda f: rows_where(f.peer_kind == kind) / f.count(),
            told=f"flows with a {kind} peer",
        ),
        ratio(
            f"{kind}_byte_share",
            lambda f: share(f.bytes.sum(where=f.peer_kind == kind).fill_null(0), f.bytes.sum()),
            told=f"bytes with a {kind} peer",
        ),
    )


def _sizes(way: str) -> tuple[Feature, ...]:
    whither = WAYS[way]
    return (
        number(
            f"{way}_mean_ps",
            lambda f: share(f[f"{way}_bytes"].sum(), f[f"{way}_packets"].sum()),
            unit="byte",
            told=f"mean packet {whither}",
        ),
        number(
            f"{way}_min_ps",
            lambda f: f[f"{way}_min_ps"].min(),
            unit="byte",
            told=f"smallest packet {whither}",
        ),
        number(
            f"{way}_max_ps", lambda f: f[f"{way}_max_ps"].max(), unit="byte", told=f"largest packet {whither}"
        ),
        number(
            f"{way}_max_ps_median",
            lambda f: f[f"{way}_max_ps"].median(),
            unit="byte",
            told=f"median over flows of the largest packet {whither}",
        ),
        number(
            f"{way}_mean_piat_median",
            lambda f: f[f"{way}_mean_piat_ms"].median(),
            unit="ms",
            told=f"median over flows of the mean gap between packets {whither}",
        ),
        number(
            f"{way}_max_piat",
            lambda f: f[f"{way}_max_piat_ms"].max(),
            unit="ms",
            told=f"longest gap between packets {whither} inside a flow",
        ),
    )


def _flag(way: str, flag: str) -> Feature:
    return ratio(
        f"{way}_{flag}_share",
        lambda f: share(
            f[f"{way}_{flag}_packets"].sum(where=f.protocol == TCP),
            f[f"{way}_packets"].sum(where=f.protocol == TCP),
        ),
        told=f"TCP packets {WAYS[way]} with {flag.upper()} set",
    )


def _service_ports(name: str) -> tuple[Feature, ...]:
    what = f"{name.upper()} service port (the lower of the two) outside {', '.join(NETWORK_SERVICES)}"

    def own(flows: ir.Table) -> ir.BooleanValue:
        return (flows.protocol == _TRANSPORTS[name]) & flows.service.notin(NETWORK_SERVICES)

    return (
        count(f"{name}_ports", lambda f: f.service_port.nunique(where=own(f)), told=f"distinct: {what}"),
        number(
            f"{name}_port_min", lambda f: f.service_port.min(where=own(f)), unit="1", told=f"lowest {what}"
        ),
        number(
            f"{name}_port_max", lambda f: f.service_port.max(where=own(f)), unit="1", told=f"highest {what}"
        ),
        number(
            f"{name}_port_first",
            lambda f: f.service_port.first(where=own(f), order_by=[f.start_us, f.service_port]),
            unit="1",
            told=f"first {what}",
        ),
        number(
            f"{name}_port_of_most_bytes",
            lambda f: f.service_port.first(where=own(f), order_by=[f.bytes.desc(), f.service_port]),
            unit="1",
            told=f"{what}: that of the flow with most bytes",
        ),
    )


def _own_ports(name: str) -> tuple[Feature, ...]:
    """Declare where a device takes its own ports from: the habit of its TCP/IP stack (RFC 6056 lists five)."""
    what = f"own port of {name.upper()} flows it began outside {', '.join(NETWORK_SERVICES)}"

    def begun(flows: ir.Table) -> ir.BooleanValue:
        mine = flows.initiated_by_device & (flows.protocol == _TRANSPORTS[name])
        return mine & flows.service.notin(NETWORK_SERVICES)

    return (
        number(
            f"{name}_own_port_min",
            lambda f: f.device_port.min(where=begun(f)),
            unit="1",
            told=f"lowest {what}",
        ),
        number(
            f"{name}_own_port_median",
            lambda f: f.device_port.median(where=begun(f)),
            unit="1",
            told=f"median {what}",
        ),
        number(
            f"{name}_own_port_max",
            lambda f: f.device_port.max(where=begun(f)),
            unit="1",
            told=f"highest {what}",
        ),
    )


def _handshake() -> tuple[Feature, ...]:
    return (
        number(
            "syn_up_ps",
            lambda f: f.first_ps[0].max(where=(f.up_syn_packets > 0) & (f.first_ps[0] > 0)),
            unit="byte",
            told="largest SYN from the device: its TCP options",
        ),
        number(
            "syn_down_ps",
            lambda f: -f.first_ps[0].min(where=(f.down_syn_packets > 0) & (f.first_ps[0] < 0)),
            unit="byte",
            told="largest SYN to the device",
        ),
        *(_tcp_packet(place) for place in range(1, 1 + _TCP_PACKETS)),
    )


def _tcp_packet(place: int) -> Feature:
    return number(
        f"tcp_flow_packet_{place + 1}_ps",
        lambda f: f.first_ps[place].nullif(0).median(where=f.protocol == TCP),
        unit="byte",
        told=f"median signed size of packet {place + 1} of TCP flows, up positive",
    )


FLOW_GROUP = Group(
    "flow",
    "Flows: volume, durations, peers, sizes, flags, ports",
    lambda flows: flows,
    (
        *_volume(),
        *_durations(),
        *(feature for kind in PEERS for feature in _peers(kind)),
        *(feature for way in WAYS for feature in _sizes(way)),
        *(_flag(way, flag) for way in WAYS for flag in _FLAGS),
        *(feature for name in _TRANSPORTS for made in (_service_ports, _own_ports) for feature in made(name)),
        *_handshake(),
    ),
)
