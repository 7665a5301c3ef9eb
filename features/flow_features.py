"""Features of a window's flows taken one by one: volume, direction, services, sizes, flags, durations."""

import ibis
import ibis.expr.types as ir

from features.feature import Feature, Group, count, number, ratio, rows_where, share

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
KINDS = (*SERVICES, "icmp", "igmp", "icmpv6", "tcp", "udp", "other")
PEERS = ("broadcast", "multicast", "private", "public")
WAYS = {"up": "from the device", "down": "to the device"}
_PROTOCOLS = {"icmp": ICMP, "igmp": IGMP, "icmpv6": ICMPV6, "tcp": TCP, "udp": UDP}


def described(flows: ir.Table) -> ir.Table:
    """Add to each flow its service, the kind of its peer, and totals of both ways."""
    with_ports = flows.protocol.isin([TCP, UDP])
    services = [
        (with_ports & (flows.device_port.isin(ports) | flows.peer_port.isin(ports)), name)
        for name, ports in SERVICES.items()
    ]
    protocols = [(flows.protocol == number, name) for name, number in _PROTOCOLS.items()]
    return flows.mutate(
        packets=flows.up_packets + flows.down_packets,
        bytes=flows.up_bytes + flows.down_bytes,
        duration_us=flows.end_us - flows.start_us,
        service=ibis.cases(*services, *protocols, else_="other"),
        service_port=ibis.least(flows.device_port, flows.peer_port),
        peer_kind=_peer_kind(flows.peer_ip),
    )


def _peer_kind(address: ir.StringValue) -> ir.Value:
    """Say what sort of address it is, never which one."""
    return ibis.cases(
        (address.re_search(r"^(22[4-9]|23[0-9])\.|^[fF][fF]"), "multicast"),
        (address.re_search(r"\.255$"), "broadcast"),
        (
            address.re_search(
                r"^(10\.|192\.168\.|172\.(1[6-9]|2[0-9]|3[01])\.|169\.254\.|[fF][eE]80:|[fF][cCdD][0-9a-fA-F]{2}:)"
            ),
            "private",
        ),
        else_="public",
    )


def _volume() -> tuple[Feature, ...]:
    return (
        count("flows", "flows", lambda f: f.count()),
        *(
            count(f"{way}_{what}", f"{what} {told}", lambda f, c=f"{way}_{what}": f[c].sum())
            for way, told in WAYS.items()
            for what in ("packets", "bytes")
        ),
        ratio(
            "up_packet_share",
            "packets from the device, of all",
            lambda f: share(f.up_packets.sum(), f.packets.sum()),
        ),
        ratio(
            "up_byte_share", "bytes from the device, of all", lambda f: share(f.up_bytes.sum(), f.bytes.sum())
        ),
        ratio(
            "initiated_share",
            "flows begun by the device",
            lambda f: rows_where(f.initiated_by_device) / f.count(),
        ),
        ratio(
            "unanswered_share",
            "flows with packets one way only",
            lambda f: rows_where((f.up_packets == 0) | (f.down_packets == 0)) / f.count(),
        ),
        ratio(
            "ipv6_packet_share",
            "packets over IPv6",
            lambda f: share(f.packets.sum(where=f.ip_version == 6), f.packets.sum()),
        ),
        number("flow_bytes_median", "byte", "median bytes of a flow", lambda f: f.bytes.median()),
        number("flow_packets_median", "1", "median packets of a flow", lambda f: f.packets.median()),
        number("flow_packets_max", "1", "packets of the longest flow", lambda f: f.packets.max()),
        number(
            "flow_duration_median", "s", "median duration of a flow", lambda f: f.duration_us.median() / 1e6
        ),
        number(
            "flow_duration_mean",
            "s",
            "mean duration of a flow",
            lambda f: f.duration_us.sum() / f.count() / 1e6,
        ),
        number("flow_duration_max", "s", "duration of the longest flow", lambda f: f.duration_us.max() / 1e6),
    )


def _peers() -> tuple[Feature, ...]:
    flows = (
        ratio(
            f"{kind}_flow_share",
            f"flows with a {kind} peer",
            lambda f, k=kind: rows_where(f.peer_kind == k) / f.count(),
        )
        for kind in PEERS
    )
    volumes = (
        ratio(
            f"{kind}_byte_share",
            f"bytes with a {kind} peer",
            lambda f, k=kind: share(f.bytes.sum(where=f.peer_kind == k), f.bytes.sum()),
        )
        for kind in PEERS
    )
    return (*flows, *volumes)


def _services() -> tuple[Feature, ...]:
    made: list[Feature] = []
    for kind in KINDS:
        told = f"of service {kind}"
        made += [
            count(f"{kind}_flows", f"flows {told}", lambda f, k=kind: rows_where(f.service == k)),
            ratio(
                f"{kind}_flow_share",
                f"flows {told}",
                lambda f, k=kind: rows_where(f.service == k) / f.count(),
            ),
            ratio(
                f"{kind}_packet_share",
                f"packets {told}",
                lambda f, k=kind: share(f.packets.sum(where=f.service == k), f.packets.sum()),
            ),
            ratio(
                f"{kind}_byte_share",
                f"bytes {told}",
                lambda f, k=kind: share(f.bytes.sum(where=f.service == k), f.bytes.sum()),
            ),
            number(
                f"{kind}_up_max_ps",
                "byte",
                f"largest packet {told} from the device",
                lambda f, k=kind: f.up_max_ps.max(where=f.service == k),
            ),
            number(
                f"{kind}_up_min_ps",
                "byte",
                f"smallest packet {told} from the device",
                lambda f, k=kind: f.up_min_ps.min(where=f.service == k),
            ),
            number(
                f"{kind}_up_mean_ps_median",
                "byte",
                f"median over flows {told} of the mean packet from the device",
                lambda f, k=kind: f.up_mean_ps.median(where=f.service == k),
            ),
            number(
                f"{kind}_down_max_ps",
                "byte",
                f"largest packet {told} to the device",
                lambda f, k=kind: f.down_max_ps.max(where=f.service == k),
            ),
        ]
    return tuple(made)


def _ways() -> tuple[Feature, ...]:
    made: list[Feature] = []
    for way, told in WAYS.items():
        made += [
            number(
                f"{way}_mean_ps",
                "byte",
                f"mean packet {told}",
                lambda f, w=way: share(f[f"{w}_bytes"].sum(), f[f"{w}_packets"].sum()),
            ),
            number(
                f"{way}_min_ps", "byte", f"smallest packet {told}", lambda f, w=way: f[f"{w}_min_ps"].min()
            ),
            number(
                f"{way}_max_ps", "byte", f"largest packet {told}", lambda f, w=way: f[f"{w}_max_ps"].max()
            ),
            number(
                f"{way}_max_ps_median",
                "byte",
                f"median over flows of the largest packet {told}",
                lambda f, w=way: f[f"{w}_max_ps"].median(),
            ),
            number(
                f"{way}_mean_piat_median",
                "ms",
                f"median over flows of the mean gap {told}",
                lambda f, w=way: f[f"{w}_mean_piat_ms"].median(),
            ),
            number(
                f"{way}_max_piat",
                "ms",
                f"longest gap inside a flow {told}",
                lambda f, w=way: f[f"{w}_max_piat_ms"].max(),
            ),
        ]
        made += [
            number(
                f"{way}_{flag}_share",
                "1",
                f"TCP packets {told} with {flag.upper()} set",
                lambda f, w=way, g=flag: share(
                    f[f"{w}_{g}_packets"].sum(), f[f"{w}_packets"].sum(where=f.protocol == TCP)
                ),
            )
            for flag in ("syn", "fin", "rst", "psh")
        ]
    return tuple(made)


def _ports() -> tuple[Feature, ...]:
    made: list[Feature] = []
    for name, protocol in (("tcp", TCP), ("udp", UDP)):
        told = f"{name.upper()} service port (the lower of the two) outside discovery services"
        made += [
            number(
                f"{name}_port_min",
                "1",
                f"lowest {told}",
                lambda f, p=protocol: f.service_port.min(where=_own(f, p)),
            ),
            number(
                f"{name}_port_max",
                "1",
                f"highest {told}",
                lambda f, p=protocol: f.service_port.max(where=_own(f, p)),
            ),
            count(
                f"{name}_ports",
                f"distinct {told}",
                lambda f, p=protocol: f.service_port.nunique(where=_own(f, p)),
            ),
            number(
                f"{name}_port_first",
                "1",
                f"first {told}",
                lambda f, p=protocol: f.service_port.first(
                    where=_own(f, p), order_by=[f.start_us, f.service_port]
                ),
            ),
            number(
                f"{name}_port_of_most_bytes",
                "1",
                f"{told} of the flow with most bytes",
                lambda f, p=protocol: f.service_port.first(
                    where=_own(f, p), order_by=[f.bytes.desc(), f.service_port]
                ),
            ),
        ]
    return tuple(made)


def _own(flows: ir.Table, protocol: int) -> ir.BooleanValue:
    """Keep the flows of a protocol that serve the device's application, not its place in the network."""
    return (flows.protocol == protocol) & flows.service.notin(["dns", "dhcp", "ntp", "mdns", "ssdp"])


def _ephemeral() -> tuple[Feature, ...]:
    """Declare which range a device draws its own ports from: its stack's habit (RFC 6335, Linux, lwIP differ)."""
    made: list[Feature] = []
    for name, protocol in (("tcp", TCP), ("udp", UDP)):
        for low, high in ((1024, 10000), (10000, 32768), (32768, 61000), (49152, 65536)):
            made.append(
                ratio(
                    f"{name}_own_port_{low}_{high - 1}",
                    f"{name.upper()} flows it began from a port in that range",
                    lambda f, p=protocol, a=low, b=high: share(
                        rows_where(_begun(f, p) & (f.device_port >= a) & (f.device_port < b)),
                        rows_where(_begun(f, p)),
                    ),
                )
            )
    return tuple(made)


def _begun(flows: ir.Table, protocol: int) -> ir.BooleanValue:
    return flows.initiated_by_device & (flows.protocol == protocol) & (flows.device_port >= 1024)


def _handshake() -> tuple[Feature, ...]:
    return (
        number(
            "syn_up_ps",
            "byte",
            "largest SYN from the device: its TCP options",
            lambda f: f.first_ps[0].max(
                where=(f.protocol == TCP) & (f.up_syn_packets > 0) & (f.first_ps[0] > 0)
            ),
        ),
        number(
            "syn_down_ps",
            "byte",
            "largest SYN to the device",
            lambda f: (
                -f.first_ps[0].min(where=(f.protocol == TCP) & (f.down_syn_packets > 0) & (f.first_ps[0] < 0))
            ),
        ),
        *(
            number(
                f"tcp_flow_packet_{place}_ps",
                "byte",
                f"median signed size of packet {place} of TCP flows, up positive",
                lambda f, i=place: f.first_ps[i].median(where=f.protocol == TCP),
            )
            for place in range(1, 8)
        ),
    )


FLOW_GROUP = Group(
    "flow",
    lambda flows: flows,
    (*_volume(), *_peers(), *_services(), *_ways(), *_ports(), *_ephemeral(), *_handshake()),
)
