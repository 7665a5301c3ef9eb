"""Features of whom and where to: how many peers and ports, and how evenly the traffic goes to them."""

import ibis.expr.types as ir

from features.feature import KEY, Feature, Group, count, entropy, number, of_window, rank, ratio, rows_where

BUSIEST = 4  # service ports told by number


def peers(flows: ir.Table) -> ir.Table:
    """One row per peer of a window: its shares of packets, bytes and flows."""
    return _shares(flows, ["peer_ip", "peer_kind"])


def ports(flows: ir.Table) -> ir.Table:
    """One row per service port of a window: its shares, and its rank by packets."""
    rows = _shares(flows, ["protocol", "service_port"])
    return rows.mutate(nth=rank([rows.packets.desc(), rows.service_port, rows.protocol]))


def _shares(flows: ir.Table, what: list[str]) -> ir.Table:
    rows = flows.group_by(KEY, *what).aggregate(
        packets=flows.packets.sum(), bytes=flows.bytes.sum(), flows=flows.count()
    )
    return rows.mutate(
        packet_share=rows.packets / of_window(rows.packets.sum()).nullif(0),
        byte_share=rows.bytes / of_window(rows.bytes.sum()).nullif(0),
        flow_share=rows.flows / of_window(rows.flows.sum()),
    )


def _spread(one: str) -> tuple[Feature, ...]:
    return (
        count(f"{one}s", lambda t: t.count(), told=f"distinct {one.replace('_', ' ')}s"),
        *(_entropy(one, over) for over in ("packet", "byte", "flow")),
        *(_top_share(one, over) for over in ("packet", "byte")),
    )


def _entropy(one: str, over: str) -> Feature:
    return number(
        f"{one}_{over}_entropy",
        lambda t: entropy(t[f"{over}_share"]),
        unit="bit",
        told=f"entropy of {one.replace('_', ' ')}s over {over}s",
    )


def _top_share(one: str, over: str) -> Feature:
    return ratio(
        f"top_{one}_{over}_share",
        lambda t: t[f"{over}_share"].max(),
        told=f"{over}s of the {one.replace('_', ' ')} with most {over}s",
    )


def _distinct(kind: str) -> Feature:
    return count(f"{kind}_peers", lambda t: rows_where(t.peer_kind == kind), told=f"distinct {kind} peers")


def _busy_port(place: int) -> Feature:
    return number(
        f"service_port_{place}",
        lambda t: t.service_port.max(where=t.nth == place),
        unit="1",
        told=f"service port at place {place} by packets",
    )


PEER_GROUP = Group(
    "peer",
    "Peers",
    peers,
    (*_spread("peer"), *(_distinct(kind) for kind in ("multicast", "private", "public"))),
)
PORT_GROUP = Group(
    "port",
    "Service ports (the lower of a flow's two)",
    ports,
    (
        *_spread("service_port"),
        number("service_port_lowest", lambda t: t.service_port.min(), unit="1", told="lowest service port"),
        number("service_port_highest", lambda t: t.service_port.max(), unit="1", told="highest service port"),
        *(_busy_port(place) for place in range(1, 1 + BUSIEST)),
    ),
)
