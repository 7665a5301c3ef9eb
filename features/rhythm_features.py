"""Features of time: gaps between flows, heartbeat and its regularity, burstiness, share of active time."""

import ibis
import ibis.expr.types as ir

from features.feature import BEAT, KEY, Feature, Group, count, number, of_window, ratio, rows_where, share

_SECOND_US = 1_000_000
_MICRO = 1e-6  # s in a us
_LONGEST_MS = 30 * 86_400_000  # a longer gap counts as 30 days in burstiness: its square fits 64 bit


def gaps(flows: ir.Table) -> ir.Table:
    """One row per flow: the gap to the start before it, and how long the device was busy and quiet until then.

    long_us: the gap where it is a second or more, else empty: flows of one wake-up start within a second.
    """
    order = ibis.window(group_by=[KEY], order_by=["start_us", "end_us"])
    before = ibis.window(group_by=[KEY], order_by=["start_us", "end_us"], preceding=(None, 1))
    rows = flows.select(
        KEY,
        "start_us",
        "end_us",
        gap_us=flows.start_us - flows.start_us.lag().over(order),
        busy_until_us=flows.end_us.max().over(before),
    )
    free_us = ibis.greatest(rows.start_us, rows.busy_until_us.fill_null(rows.start_us))
    rows = rows.mutate(
        long_us=(rows.gap_us >= _SECOND_US).ifelse(rows.gap_us, None),
        cover_us=ibis.greatest(0, rows.end_us - free_us),
        quiet_us=ibis.greatest(0, rows.start_us - rows.busy_until_us),
    )
    return rows.mutate(beat_us=of_window(rows.long_us.median()))


def repeated(flows: ir.Table) -> ir.Table:
    """One row per flow that follows another to the same service port: the gap between their starts."""
    order = ibis.window(group_by=[KEY, "protocol", "service_port"], order_by=["start_us", "end_us"])
    rows = flows.select(KEY, gap_us=flows.start_us - flows.start_us.lag().over(order))
    rows = rows.filter(rows.gap_us.notnull())
    return rows.mutate(beat_us=of_window(rows.gap_us.median()))


def _regularity(gap_us: ir.Value, beat_us: ir.Value) -> ir.Value:
    return share(rows_where((gap_us - beat_us).abs() <= BEAT * beat_us), gap_us.count())


def _burstiness(gap_us: ir.Value) -> ir.Value:
    """Return (sigma - mean) / (sigma + mean), both times n: from sums of whole ms, exact in 128 bit."""
    gap_ms = gap_us // 1000
    gap_ms = (gap_ms > _LONGEST_MS).ifelse(_LONGEST_MS, gap_ms)  # least() would make a gap of what has none
    total = gap_ms.sum()
    sigma = (gap_ms.count() * (gap_ms * gap_ms).sum() - total * total).sqrt()
    return share(sigma - total, sigma + total)


def _burst(name: str, *, what: str) -> Feature:
    return number(
        name,
        lambda rows: _burstiness(rows.gap_us),
        unit="1",
        told=f"(sigma - mean) / (sigma + mean) of {what}: -1 a clock, 0 chance, 1 bursts (Goh & Barabasi 2008)",
    )


RHYTHM_GROUP = Group(
    "rhythm",
    "Rhythm: gaps between flows, heartbeat, active time",
    gaps,
    (
        number(
            "flow_gap_median",
            lambda g: g.gap_us.median() * _MICRO,
            unit="s",
            told="median gap between flow starts",
        ),
        number(
            "flow_gap_mean",
            lambda g: share(g.gap_us.sum(), g.gap_us.count()) * _MICRO,
            unit="s",
            told="mean gap between flow starts",
        ),
        number(
            "flow_gap_q75",
            lambda g: g.gap_us.quantile(0.75) * _MICRO,
            unit="s",
            told="75 % quantile of the gaps between flow starts",
        ),
        number(
            "flow_gap_max",
            lambda g: g.gap_us.max() * _MICRO,
            unit="s",
            told="longest gap between flow starts",
        ),
        ratio(
            "flow_gap_below_1s_share",
            lambda g: share(rows_where(g.gap_us < _SECOND_US), g.gap_us.count()),
            told="gaps between flow starts below 1 s",
        ),
        _burst("burstiness", what="the gaps between flow starts"),
        count("heartbeats", lambda g: g.long_us.count(), told="gaps between flow starts of 1 s and more"),
        number(
            "heartbeat_period", lambda g: g.long_us.median() * _MICRO, unit="s", told="median of these gaps"
        ),
        ratio(
            "heartbeat_regularity",
            lambda g: _regularity(g.long_us, g.beat_us),
            told="these gaps within 10 % of their median",
        ),
        ratio(
            "active_share",
            lambda g: share(g.cover_us.sum(), g.end_us.max() - g.start_us.min()),
            told="time with an open flow, from the first flow's start to the last one's end",
        ),
        number(
            "quiet_max",
            lambda g: g.quiet_us.max() * _MICRO,
            unit="s",
            told="longest time without an open flow",
        ),
        count(
            "quiet_spells",
            lambda g: rows_where(g.quiet_us > _SECOND_US),
            told="times of more than 1 s without an open flow",
        ),
        number(
            "span",
            lambda g: (g.end_us.max() - g.start_us.min()) * _MICRO,
            unit="s",
            told="from the first flow's start to the last one's end",
        ),
    ),
)
REPEAT_GROUP = Group(
    "repeat",
    "Repetition: flows to the same service port",
    repeated,
    (
        count("repeats", lambda r: r.count(), told="flows that follow another one to the same service port"),
        number(
            "repeat_period",
            lambda r: r.gap_us.median() * _MICRO,
            unit="s",
            told="median gap between flows to the same service port",
        ),
        ratio(
            "repeat_regularity",
            lambda r: _regularity(r.gap_us, r.beat_us),
            told="gaps between flows to the same service port within 10 % of their median",
        ),
        _burst("repeat_burstiness", what="the gaps between flows to the same service port"),
    ),
)
