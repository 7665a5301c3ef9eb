"""Features of the first packets of a window's flows: size histograms, typical and first sizes, gaps."""

from itertools import pairwise

import ibis
import ibis.expr.types as ir

from features.feature import (
    KEY,
    Feature,
    Group,
    count,
    entropy,
    number,
    of_window,
    rank,
    ratio,
    rows_where,
    share,
)
from features.flow_features import WAYS

SIZE_BINS = (
    0,
    44,
    52,
    60,
    72,
    84,
    100,
    128,
    160,
    200,
    256,
    320,
    400,
    576,
    800,
    1200,
)  # IP byte, lower bounds
FIRST = 16  # signed sizes of the first packets of the window
FIRST_OF_SERVICE = 4
ORDERED_SERVICES = (
    "dns",
    "dhcp",
    "mdns",
    "ssdp",
    "http",
    "https",
    "mqtt",
    "coap",
    "tcp",
    "udp",
    "igmp",
    "icmpv6",
)
_FLOW = ["start_us", "protocol", "device_port", "peer_port", "peer_ip", "up_bytes", "down_bytes"]


def packets(flows: ir.Table) -> ir.Table:
    """One row per first packet: signed size, gap before it, and its place in the window and in its service."""
    rows = flows.select(
        KEY,
        *_FLOW,
        "service",
        ps=flows.first_ps.unnest(),
        piat_ms=flows.first_piat_ms.unnest(),
        place=ibis.range(0, flows.first_ps.length()).unnest(),
    )
    elapsed_ms = rows.piat_ms.sum().over(
        ibis.window(group_by=[KEY, *_FLOW], order_by="place", preceding=(None, 0))
    )
    rows = rows.mutate(time_us=rows.start_us + 1000 * elapsed_ms)
    order = [rows.time_us, rows.ps, rows.place]
    return rows.mutate(
        nth=rank(order),
        nth_of_service=rank(order, also=("service",)),
        gap_us=rows.time_us - rows.time_us.lag().over(ibis.window(group_by=[KEY], order_by=order)),
    )


def _one_way(rows: ir.Table, way: str) -> ir.BooleanValue:
    return rows.ps > 0 if way == "up" else rows.ps < 0


def _histogram(way: str) -> tuple[Feature, ...]:
    bounds: tuple[int | None, ...] = (*SIZE_BINS, None)
    return tuple(
        ratio(
            f"{way}_ps_{low}_{'' if high is None else high - 1}".rstrip("_"),
            f"first packets {WAYS[way]} of {low} {'byte and more' if high is None else f'to {high - 1} byte'}",
            lambda p, w=way, a=low, b=high: share(
                rows_where(_in_bin(p, w, a, b)), rows_where(_one_way(p, w))
            ),
        )
        for low, high in pairwise(bounds)
        if low is not None
    )


def _in_bin(rows: ir.Table, way: str, low: int, high: int | None) -> ir.BooleanValue:
    inside = _one_way(rows, way) & (rows.ps.abs() >= low)
    return inside if high is None else inside & (rows.ps.abs() < high)


def _quartiles(way: str) -> tuple[Feature, ...]:
    told = f"sizes of first packets {WAYS[way]}"
    return (
        *(
            number(
                f"{way}_ps_q{percent}",
                "byte",
                f"{percent} % quantile of {told}",
                lambda p, w=way, q=percent: p.ps.abs().quantile(q / 100, where=_one_way(p, w)),
            )
            for percent in (25, 50, 75)
        ),
        count(f"{way}_distinct_ps", f"distinct {told}", lambda p, w=way: p.ps.nunique(where=_one_way(p, w))),
        number(
            f"{way}_piat_q50",
            "ms",
            f"median gap before first packets {WAYS[way]}",
            lambda p, w=way: p.piat_ms.median(where=_one_way(p, w)),
        ),
    )


def _first() -> tuple[Feature, ...]:
    window = (
        number(
            f"packet_{place}_ps",
            "byte",
            f"signed size of packet {place} of the window, up positive",
            lambda p, i=place: p.ps.max(where=p.nth == i),
        )
        for place in range(FIRST)
    )
    services = (
        number(
            f"{kind}_packet_{place}_ps",
            "byte",
            f"signed size of packet {place} of service {kind}, up positive",
            lambda p, k=kind, i=place: p.ps.max(where=(p.service == k) & (p.nth_of_service == i)),
        )
        for kind in ORDERED_SERVICES
        for place in range(FIRST_OF_SERVICE)
    )
    return (*window, *services)


def _gaps() -> tuple[Feature, ...]:
    return (
        *(
            number(
                f"gap_q{percent}",
                "ms",
                f"{percent} % quantile of the gaps between first packets of the window",
                lambda p, q=percent: p.gap_us.quantile(q / 100) / 1e3,
            )
            for percent in (25, 50, 75)
        ),
        number(
            "gap_max", "ms", "longest gap between first packets of the window", lambda p: p.gap_us.max() / 1e3
        ),
        ratio(
            "gap_below_1s_share",
            "gaps between first packets below 1 s",
            lambda p: share(rows_where(p.gap_us < 1_000_000), p.gap_us.count()),
        ),
    )


PACKET_GROUP = Group(
    "packet",
    packets,
    (*_histogram("up"), *_histogram("down"), *_quartiles("up"), *_quartiles("down"), *_first(), *_gaps()),
)


def sizes(flows: ir.Table) -> ir.Table:
    """One row per distinct signed size: its share of the first packets, and its rank by frequency and by size."""
    rows = flows.select(KEY, ps=flows.first_ps.unnest())
    rows = rows.group_by(KEY, "ps").aggregate(seen=rows.count())
    rows = rows.mutate(weight=rows.seen / of_window(rows.seen.sum()), way=(rows.ps > 0).ifelse("up", "down"))
    return rows.mutate(
        by_frequency=rank([rows.seen.desc(), rows.ps], also=("way",)),
        by_size=rank([rows.ps.abs().desc()], also=("way",)),
    )


def _typical(way: str) -> tuple[Feature, ...]:
    places = ("most", "second most", "third most", "fourth most")
    return (
        *(
            number(
                f"{way}_common_{place}_ps",
                "byte",
                f"{told} frequent size of first packets {WAYS[way]}",
                lambda s, w=way, i=place: s.ps.abs().max(where=(s.way == w) & (s.by_frequency == i)),
            )
            for place, told in enumerate(places)
        ),
        *(
            number(
                f"{way}_large_{place}_ps",
                "byte",
                f"distinct size of first packets {WAYS[way]}, place {place} from the largest",
                lambda s, w=way, i=place: s.ps.abs().max(where=(s.way == w) & (s.by_size == i)),
            )
            for place in range(4)
        ),
    )


SIZE_GROUP = Group(
    "size",
    sizes,
    (
        number(
            "ps_entropy", "bit", "entropy of the signed sizes of first packets", lambda s: entropy(s.weight)
        ),
        ratio("ps_common_share", "first packets of the most frequent signed size", lambda s: s.weight.max()),
        *_typical("up"),
        *_typical("down"),
    ),
)
