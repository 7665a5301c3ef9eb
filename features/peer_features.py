"""Features of whom and where to: how many peers and ports, and how evenly the traffic goes to them."""

import ibis.expr.types as ir

from features.feature import KEY, Feature, Group, count, entropy, number, of_window, rank, ratio


def peers(flows: ir.Table) -> ir.Table:
    """One row per peer of a window: its shares of packets, bytes and flows."""
    return _shares(flows, ["peer_ip"])


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
        count(f"{one}s", f"distinct {one}s", lambda t: t.count()),
        *(
            number(
                f"{one}_{what}_entropy",
                "bit",
                f"entropy of {one}s over {what}s",
                lambda t, w=what: entropy(t[f"{w}_share"]),
            )
            for what in ("packet", "byte", "flow")
        ),
        *(
            ratio(
                f"top_{one}_{what}_share",
                f"{what}s of the {one} with most {what}s",
                lambda t, w=what: t[f"{w}_share"].max(),
            )
            for what in ("packet", "byte")
        ),
    )


PEER_GROUP = Group("peer", peers, _spread("peer"))
PORT_GROUP = Group(
    "port",
    ports,
    (
        *_spread("service_port"),
        number("service_port_lowest", "1", "lowest service port", lambda t: t.service_port.min()),
        number("service_port_highest", "1", "highest service port", lambda t: t.service_port.max()),
        *(
            number(
                f"service_port_{place}",
                "1",
                f"service port at place {place} by packets",
                lambda t, i=place: t.service_port.max(where=t.nth == i),
            )
            for place in range(4)
        ),
    ),
)
