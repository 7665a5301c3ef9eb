"""Features of each service a device speaks: how much of its traffic it is, and the sizes of its packets."""

import ibis.expr.types as ir

from features.feature import KEY, Feature, Group, count, number, of_window, part_share
from features.flow_features import PROTOCOLS, SERVICES

KINDS = (*SERVICES, *PROTOCOLS, "other")


def services(flows: ir.Table) -> ir.Table:
    """One row per flow, with the totals of its window."""
    rows = flows.select(KEY, "service", "packets", "bytes", "up_min_ps", "up_max_ps", "down_max_ps")
    return rows.mutate(
        window_flows=of_window(rows.count()),
        window_packets=of_window(rows.packets.sum()),
        window_bytes=of_window(rows.bytes.sum()),
    )


def _flows(rows: ir.Table) -> ir.Value:
    return rows.count()


def _flow_share(rows: ir.Table) -> ir.Value:
    return rows.count() / rows.window_flows.max()


def _packet_share(rows: ir.Table) -> ir.Value:
    return rows.packets.sum() / rows.window_packets.max().nullif(0)


def _byte_share(rows: ir.Table) -> ir.Value:
    return rows.bytes.sum() / rows.window_bytes.max().nullif(0)


def _up_min(rows: ir.Table) -> ir.Value:
    return rows.up_min_ps.min()


def _up_max(rows: ir.Table) -> ir.Value:
    return rows.up_max_ps.max()


def _down_max(rows: ir.Table) -> ir.Value:
    return rows.down_max_ps.max()


def _of(kind: str) -> tuple[Feature, ...]:
    return (
        count(f"{kind}_flows", _flows, told=f"flows of service {kind}", part=kind),
        part_share(f"{kind}_flow_share", _flow_share, told=f"flows of service {kind}", part=kind),
        part_share(f"{kind}_packet_share", _packet_share, told=f"packets of service {kind}", part=kind),
        part_share(f"{kind}_byte_share", _byte_share, told=f"bytes of service {kind}", part=kind),
        number(
            f"{kind}_up_min_ps",
            _up_min,
            unit="byte",
            told=f"smallest packet of service {kind}, up",
            part=kind,
        ),
        number(
            f"{kind}_up_max_ps", _up_max, unit="byte", told=f"largest packet of service {kind}, up", part=kind
        ),
        number(
            f"{kind}_down_max_ps",
            _down_max,
            unit="byte",
            told=f"largest packet of service {kind}, down",
            part=kind,
        ),
    )


SERVICE_GROUP = Group(
    "service",
    "Services: how much of the traffic, and packet sizes",
    services,
    tuple(feature for kind in KINDS for feature in _of(kind)),
    split="service",
)
