"""Features of the first packets of a window's flows: size histograms, typical and first sizes, gaps, keep-alive."""

import ibis
import ibis.expr.types as ir

from features.feature import (
    BEAT,
    FLOW,
    KEY,
    Feature,
    Group,
    count,
    entropy,
    number,
    of_window,
    part_share,
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
FIRST = 8  # signed sizes of the first packets of the window
TYPICAL = 4  # places of the most frequent and of the largest sizes
_SECOND_MS = 1000


def packets(flows: ir.Table) -> ir.Table:
    """One row per first packet: its way, its size, its place in the window by time, and the gaps before it.

    rest_ms: the gap to the packet before it in the flow where it went up after a second of rest or more, else empty.
    """
    rows = flows.select(
        KEY,
        FLOW,
        "start_us",
        ps=flows.first_ps.unnest(),
        piat_ms=flows.first_piat_ms.unnest(),
        place=ibis.range(0, flows.first_ps.length()).unnest(),
    )
    rows = rows.filter(rows.ps != 0)  # the lists are as long for a flow of fewer packets
    elapsed_ms = rows.piat_ms.sum().over(ibis.window(group_by=[FLOW], order_by="place", preceding=(None, 0)))
    rows = rows.mutate(time_us=rows.start_us + 1000 * elapsed_ms, way=(rows.ps > 0).ifelse("up", "down"))
    order = [rows.time_us, rows.ps, rows.piat_ms]
    rests = (rows.ps > 0) & (rows.piat_ms >= _SECOND_MS)
    rows = rows.select(
        KEY,
        "way",
        "ps",
        "piat_ms",
        nth=rank(order),
        gap_us=rows.time_us - rows.time_us.lag().over(ibis.window(group_by=[KEY], order_by=order)),
        rest_ms=rests.ifelse(rows.piat_ms, None),
    )
    return rows.mutate(beat_ms=of_window(rows.rest_ms.median()))


def _size_quantile(way: str, percent: int) -> Feature:
    return number(
        f"{way}_ps_q{percent}",
        lambda p: p.ps.abs().quantile(percent / 100, where=p.way == way),
        unit="byte",
        told=f"{percent} % quantile of sizes of first packets {WAYS[way]}",
    )


def _gap_quantile(percent: int) -> Feature:
    return number(
        f"gap_q{percent}",
        lambda p: p.gap_us.quantile(percent / 100) / 1000,
        unit="ms",
        told=f"{percent} % quantile of the gaps between first packets of the window",
    )


def _sizes(way: str) -> tuple[Feature, ...]:
    what = f"sizes of first packets {WAYS[way]}"
    return (
        *(_size_quantile(way, percent) for percent in (25, 50, 75)),
        count(f"{way}_distinct_ps", lambda p: p.ps.nunique(where=p.way == way), told=f"distinct {what}"),
        number(
            f"{way}_piat_q50",
            lambda p: p.piat_ms.median(where=p.way == way),
            unit="ms",
            told=f"median gap before first packets {WAYS[way]}",
        ),
    )


PACKET_GROUP = Group(
    "packet",
    "First packets: sizes, gaps, keep-alive",
    packets,
    (
        *_sizes("up"),
        *_sizes("down"),
        *(_gap_quantile(percent) for percent in (25, 50, 75)),
        number(
            "gap_max",
            lambda p: p.gap_us.max() / 1000,
            unit="ms",
            told="longest gap between first packets of the window",
        ),
        ratio(
            "gap_below_1s_share",
            lambda p: share(rows_where(p.gap_us < 1_000_000), p.gap_us.count()),
            told="gaps between first packets below 1 s",
        ),
        count(
            "keepalives",
            lambda p: p.rest_ms.count(),
            told="first packets up after 1 s of rest or more in their flow",
        ),
        number(
            "keepalive_period",
            lambda p: p.rest_ms.median() / 1000,
            unit="s",
            told="median rest before them: the period of a keep-alive inside a flow",
        ),
        ratio(
            "keepalive_regularity",
            lambda p: share(rows_where((p.rest_ms - p.beat_ms).abs() <= BEAT * p.beat_ms), p.rest_ms.count()),
            told="these rests within 10 % of their median",
        ),
    ),
)


def binned(packets: ir.Table) -> ir.Table:
    """One row per first packet: its way and size bin, and the number of first packets that way."""
    low = ibis.cases(*((packets.ps.abs() >= low, str(low)) for low in reversed(SIZE_BINS)))
    rows = packets.select(KEY, "way", bin=packets.way + "_" + low)
    return rows.mutate(that_way=of_window(rows.count(), also=("way",)))


def _bin_share(rows: ir.Table) -> ir.Value:
    return rows.count() / rows.that_way.max()


def _histogram(way: str) -> tuple[Feature, ...]:
    ends = [f"to {high - 1} byte" for high in SIZE_BINS[1:]] + ["byte and more"]
    return tuple(
        part_share(
            f"{way}_ps_from_{low}",
            _bin_share,
            told=f"first packets {WAYS[way]} of {low} {end}",
            part=f"{way}_{low}",
        )
        for low, end in zip(SIZE_BINS, ends, strict=True)
    )


HISTOGRAM_GROUP = Group(
    "histogram",
    "Size histogram of first packets",
    binned,
    (*_histogram("up"), *_histogram("down")),
    split="bin",
    of=PACKET_GROUP,
)


def in_order(packets: ir.Table) -> ir.Table:
    """One row per packet that is among the first of its window, with its place."""
    rows = packets.filter(packets.nth <= FIRST)
    return rows.select(KEY, "ps", slot=rows.nth.cast("string"))


def _size(rows: ir.Table) -> ir.Value:
    return rows.ps.max()


FIRST_GROUP = Group(
    "first",
    "Sizes of the first packets in their order",
    in_order,
    tuple(
        number(
            f"packet_{place}_ps",
            _size,
            unit="byte",
            told=f"signed size of packet {place} of the window, up positive",
            part=str(place),
        )
        for place in range(1, 1 + FIRST)
    ),
    split="slot",
    of=PACKET_GROUP,
)


def sizes(packets: ir.Table) -> ir.Table:
    """One row per distinct signed size: its share of the first packets."""
    rows = packets.group_by(KEY, "way", "ps").aggregate(seen=packets.count())
    return rows.mutate(weight=rows.seen / of_window(rows.seen.sum()))


SIZE_GROUP = Group(
    "size",
    "Diversity of the sizes of first packets",
    sizes,
    (
        number(
            "ps_entropy",
            lambda s: entropy(s.weight),
            unit="bit",
            told="entropy of the signed sizes of first packets",
        ),
        ratio(
            "ps_common_share", lambda s: s.weight.max(), told="first packets of the most frequent signed size"
        ),
    ),
    of=PACKET_GROUP,
)


def typical(sizes: ir.Table) -> ir.Table:
    """Distinct signed sizes: a row for the rank by frequency, and a row for the rank by size."""
    rows = sizes.mutate(
        by_frequency=rank([sizes.seen.desc(), sizes.ps], also=("way",)),
        by_size=rank([sizes.ps.abs().desc()], also=("way",)),
    )
    common, large = rows.filter(rows.by_frequency <= TYPICAL), rows.filter(rows.by_size <= TYPICAL)
    return common.select(KEY, "ps", slot=common.way + "_common_" + common.by_frequency.cast("string")).union(
        large.select(KEY, "ps", slot=large.way + "_large_" + large.by_size.cast("string"))
    )


def _plain_size(rows: ir.Table) -> ir.Value:
    return rows.ps.abs().max()


def _typical(way: str, place: int) -> tuple[Feature, ...]:
    return (
        number(
            f"{way}_common_{place}_ps",
            _plain_size,
            unit="byte",
            told=f"size of first packets {WAYS[way]}, place {place} by frequency",
            part=f"{way}_common_{place}",
        ),
        number(
            f"{way}_large_{place}_ps",
            _plain_size,
            unit="byte",
            told=f"size of first packets {WAYS[way]}, place {place} from the largest",
            part=f"{way}_large_{place}",
        ),
    )


TYPICAL_GROUP = Group(
    "typical",
    "Most frequent and largest sizes of first packets",
    typical,
    tuple(feature for way in WAYS for place in range(1, 1 + TYPICAL) for feature in _typical(way, place)),
    split="slot",
    of=SIZE_GROUP,
)
