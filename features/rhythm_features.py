"""Features of time: gaps between flows, heartbeat and its regularity, burstiness, share of active time."""

import ibis
import ibis.expr.types as ir

from features.feature import KEY, Group, count, number, of_window, ratio, rows_where, share

_TOLERANCE = 0.1  # a gap within 10 % of the median one keeps the beat
_SECOND_US = 1_000_000


def gaps(flows: ir.Table) -> ir.Table:
    """One row per flow: the gap to the start before it, the median gap of its window, and cover and quiet time."""
    order = ibis.window(group_by=[KEY], order_by=["start_us", "end_us"])
    before = ibis.window(group_by=[KEY], order_by=["start_us", "end_us"], preceding=(None, 1))
    rows = flows.mutate(
        gap_us=flows.start_us - flows.start_us.lag().over(order),
        busy_until_us=flows.end_us.max().over(before),
    )
    free_us = ibis.greatest(rows.start_us, rows.busy_until_us.fill_null(rows.start_us))
    return rows.mutate(
        beat_us=of_window(rows.gap_us.median()),
        cover_us=ibis.greatest(0, rows.end_us - free_us),
        quiet_us=ibis.greatest(0, rows.start_us - rows.busy_until_us),
    )


RHYTHM_GROUP = Group(
    "rhythm",
    gaps,
    (
        number(
            "flow_gap_median",
            "s",
            "median gap between flow starts: the heartbeat period",
            lambda g: g.gap_us.median() / 1e6,
        ),
        number(
            "flow_gap_mean",
            "s",
            "mean gap between flow starts",
            lambda g: share(g.gap_us.sum(), g.gap_us.count()) / 1e6,
        ),
        number(
            "flow_gap_q75",
            "s",
            "75 % quantile of the gaps between flow starts",
            lambda g: g.gap_us.quantile(0.75) / 1e6,
        ),
        number("flow_gap_max", "s", "longest gap between flow starts", lambda g: g.gap_us.max() / 1e6),
        ratio(
            "flow_gap_below_1s_share",
            "gaps between flow starts below 1 s",
            lambda g: share(rows_where(g.gap_us < _SECOND_US), g.gap_us.count()),
        ),
        ratio(
            "heartbeat_regularity",
            "gaps between flow starts within 10 % of the median gap",
            lambda g: share(
                rows_where((g.gap_us - g.beat_us).abs() <= _TOLERANCE * g.beat_us), g.gap_us.count()
            ),
        ),
        ratio(
            "active_share",
            "time of the window in which a flow is open",
            lambda g: share(g.cover_us.sum(), _span_us(g)),
        ),
        number("quiet_max", "s", "longest time without an open flow", lambda g: g.quiet_us.max() / 1e6),
        count(
            "quiet_spells",
            "times without an open flow, longer than 1 s",
            lambda g: rows_where(g.quiet_us > _SECOND_US),
        ),
        number(
            "span",
            "s",
            "from the first flow's start to the last flow's end",
            lambda g: (g.end_us.max() - g.start_us.min()) / 1e6,
        ),
    ),
)


def _span_us(rows: ir.Table) -> ir.Value:
    return rows.end_us.max() - rows.start_us.min()


def repeated(flows: ir.Table) -> ir.Table:
    """One row per flow that follows another to the same service port: the gap, and the mean gap of its window."""
    order = ibis.window(group_by=[KEY, "protocol", "service_port"], order_by=["start_us", "end_us"])
    rows = flows.mutate(gap_us=flows.start_us - flows.start_us.lag().over(order))
    rows = rows.filter(rows.gap_us.notnull())
    rows = rows.mutate(
        mean_us=of_window(rows.gap_us.sum()) / of_window(rows.count()),
        beat_us=of_window(rows.gap_us.median()),
    )
    return rows.mutate(off_s=((rows.gap_us - rows.mean_us) / 1e6).round(6))


REPEAT_GROUP = Group(
    "repeat",
    repeated,
    (
        count("repeats", "flows that follow another one to the same service port", lambda r: r.count()),
        number(
            "repeat_gap_median",
            "s",
            "median gap between flows to the same service port",
            lambda r: r.gap_us.median() / 1e6,
        ),
        ratio(
            "repeat_regularity",
            "gaps between flows to the same service port within 10 % of their median",
            lambda r: rows_where((r.gap_us - r.beat_us).abs() <= _TOLERANCE * r.beat_us) / r.count(),
        ),
        number(
            "repeat_burstiness",
            "1",
            "(sigma - mean) / (sigma + mean) of these gaps: -1 a clock, 0 chance, 1 bursts (Goh & Barabasi 2008)",
            lambda r: _burstiness(r),
        ),
    ),
)


def _burstiness(rows: ir.Table) -> ir.Value:
    mean_s = rows.gap_us.sum() / rows.count() / 1e6
    squares = (rows.off_s * rows.off_s * 1e6).round().cast("decimal(38, 0)").sum().cast("float64") / 1e6
    sigma_s = (squares / rows.count()).sqrt()
    return share(sigma_s - mean_s, sigma_s + mean_s)
