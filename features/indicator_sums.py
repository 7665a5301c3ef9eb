"""From rows of COUNTERS to the values of indicators, as Ibis expressions: sums first, one division last.

What counts where. A row counts in the window that it ends in. A scope has its own counters and those of what lies
below it: a device counts in the places of MEMBERSHIP in which it was at the last instant of the row's window, a cell in
the TAC, MME, city and province of its devices that day, a TAC in its MME, a city in its province. Where a scope has its
own rows of a counter in a window, they win: nothing below adds to them.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache, reduce

import ibis
import ibis.expr.types as ir

from features import sketch
from features.indicators import Indicator, Mean, Quantile, Ratio, ScopeWindow

BELOW: Mapping[str, tuple[str, ...]] = {  # nearest first
    "cell": ("device",),
    "tac": ("cell", "device"),
    "mme": ("tac", "cell", "device"),
    "city": ("cell", "device"),
    "province": ("city", "cell", "device"),
    "platform_node": ("device",),
    "app": ("device",),
    "fleet": ("device",),
}
DEVICE_STEP_S = 900  # a device's window may end this often; where it counted nothing there is none
ROLLED_UP = ("city", "province")  # they have every indicator that anything below them has
_SUMS = ("counter", "bin", "n", "d")


def indicators_of(scope: str, indicators: Sequence[Indicator]) -> tuple[Indicator, ...]:
    """Return the indicators that a scope has: those of its granularity, for a city or province all that add up."""
    below = {"cell", "device", scope}
    return tuple(
        one
        for one in indicators
        if scope in one.granularity or (scope in ROLLED_UP and below.intersection(one.granularity))
    )


def tick_s(windows: Mapping[str, ScopeWindow]) -> int:
    """Return the longest time that all windows are multiples of; a device's is DEVICE_STEP_S."""
    lengths = [window.length_s for scope, window in windows.items() if scope != "device"]
    return reduce(math.gcd, lengths, DEVICE_STEP_S)


def ceiling(seconds: ir.IntegerColumn, step_s: int) -> ir.IntegerColumn:
    """Return the end of the window of `step_s` that an end lies in."""
    return ((seconds + (step_s - 1)) // step_s * step_s).cast("int64")


def summed(rows: ir.Table, keys: Sequence[str]) -> ir.Table:
    """Return the sums n (of numerators) and d (of denominators) by keys, counter and bin."""
    return rows.group_by([*keys, "counter", "bin"]).agg(n=rows["n"].sum(), d=rows["d"].sum())


def place(rows: ir.Table, stays: ir.Table, scopes: Sequence[str], tick: int) -> ir.Table:
    """Return rows of devices (device, end_s, counter, bin, n, d) as sums of the places that they were in.

    stays: MEMBERSHIP as it holds, valid_from and valid_to in microseconds.
    """
    end_us = rows["end_s"] * 1_000_000
    held = rows.join(
        stays,
        [rows["device"] == stays["device_id"], stays["valid_from"] < end_us, stays["valid_to"] >= end_us],
    )
    ticked = held.mutate(tick=ceiling(held["end_s"], tick))
    return summed(ticked, [*scopes, "tick"])


def target(
    leaf: ir.Table, scope: str, windows: Mapping[str, ScopeWindow], present: Sequence[str]
) -> ir.Table:
    """Return the sums of a scope: scope_id, end_s (of its windows), counter, bin, n, d.

    leaf: rows with the `scope` that counted, a column per scope with the id there (empty where there is none), tick.
    present: the scopes of which the leaf has rows.
    """

    def ended(rows: ir.Table, at: str) -> ir.Table:
        end = ceiling(rows["tick"], windows[at].length_s)
        return rows.mutate(**{f"{at}__end": end})

    parts = []
    chain = chain_of(scope)
    for place_, below in enumerate(chain):
        if below not in present:
            continue
        rows = ended(leaf.filter(leaf["scope"] == below, leaf[scope].notnull()), scope)
        for above in [one for one in chain[:place_] if one in present]:
            own = ended(leaf.filter(leaf["scope"] == above), above)
            own = own.select(above, f"{above}__end", "counter").distinct()
            rows = rows if above == scope else ended(rows, above)
            rows = rows.anti_join(own, [above, f"{above}__end", "counter"])
        parts.append(rows.select(scope_id=rows[scope], end_s=rows[f"{scope}__end"], **_named(rows)))
    return (
        summed(ibis.union(*parts), ["scope_id", "end_s"])
        if len(parts) > 1
        else summed(parts[0], ["scope_id", "end_s"])
    )


def _named(rows: ir.Table) -> dict[str, ir.Column]:
    return {name: rows[name] for name in _SUMS}


def recent(rows: ir.Table, window: ScopeWindow) -> ir.Table:
    """Return the sums of each device as of each step in which it counted something: scope_id, end_s, counter, ...

    rows: device, tick (of DEVICE_STEP_S), counter, bin, n, d. A row counts from its own window on, until `events` newer
    ones of its counter have come, or until it is `length_s` old.
    """
    events = ibis.ifelse(rows["bin"].isnull(), rows["d"], rows["n"]).sum().round().cast("int64")
    counted = rows.group_by(["device", "tick", "counter"]).agg(events=events).filter(ibis._.events > 0)
    ends = _numbered(counted, window.length_s)
    so_far = counted["events"].sum().over(_in_time("device", "counter"))
    lasting = counted.mutate(so_far=so_far).join(ends, ["device", "tick"])
    last = lasting["number"] + lasting["within"] - 1
    if window.events is not None:
        newer = ibis.range_window(
            following=(window.events, None), group_by=["device", "counter"], order_by="so_far"
        )
        lasting = lasting.mutate(last=last, replaced=lasting["number"].min().over(newer) - 1)
        last = ibis.least(lasting["last"], lasting["replaced"].fill_null(lasting["last"]))
    lasting = lasting.mutate(in_window=ibis.range(lasting["number"], last + 1).unnest())
    seen = ends.select("device", in_window="number", end_s="tick")
    spread = lasting.select("device", "tick", "counter", "in_window").join(seen, ["device", "in_window"])
    found = spread.select("device", "tick", "counter", "end_s").join(rows, ["device", "tick", "counter"])
    return summed(found.mutate(scope_id=found["device"]), ["scope_id", "end_s"])


def _numbered(counted: ir.Table, length_s: int) -> ir.Table:
    """Return each device's windows (device, tick), their number in time, and how many begin within a length."""
    ends = counted.select("device", "tick").distinct()
    within = ibis.range_window(preceding=0, following=length_s - 1, group_by="device", order_by="tick")
    number = ibis.row_number().over(ibis.window(group_by="device", order_by="tick"))
    return ends.mutate(number=number, within=ends["tick"].count().over(within))


def _in_time(*keys: str) -> ibis.expr.builders.WindowBuilder:
    return ibis.cumulative_window(group_by=list(keys), order_by="tick")


def values(
    sums: ir.Table, indicators: Sequence[Indicator], codes: Mapping[str, int], *, at_least: int | None = None
) -> ir.Table:
    """Return one row per scope_id and end_s, with <indicator> and <indicator>__samples for each indicator.

    sums: scope_id, end_s, counter (its code), bin, n, d. A value is empty below min_samples; the samples are told.
    at_least: the least samples of all indicators, where the scope has its own.
    """
    keys = ["scope_id", "end_s", "counter"]
    plain = sums.filter(sums["bin"].isnull()).select(*keys, "n", "d")
    binned = sums.filter(sums["bin"].notnull())
    totals = binned.group_by(keys).agg(samples=binned["n"].sum()).mutate(number=ibis.row_number())
    joined = binned.join(totals, keys)  # a whole number is sorted by faster than keys are
    up_to = joined["n"].sum().over(ibis.cumulative_window(group_by="number", order_by="bin"))
    placed = joined.mutate(up_to=up_to)
    ranks = sorted({one.aggregate.q for one in indicators if isinstance(one.aggregate, Quantile)})
    quantiles = placed.group_by(keys).agg(
        samples=placed["samples"].max(),
        **{
            _rank(q): sketch.value_of(placed["bin"].min(where=placed["up_to"] > q * (placed["samples"] - 1)))
            for q in ranks
        },
    )
    nothing = {_rank(q): ibis.null("float64") for q in ranks}
    long = ibis.union(
        plain.select(*keys, "n", samples=plain["d"], **nothing),
        quantiles.select(
            *keys,
            n=ibis.null("float64"),
            samples=quantiles["samples"],
            **{_rank(q): quantiles[_rank(q)] for q in ranks},
        ),
    )
    cells: dict[str, ir.Value] = {}
    for one in indicators:
        own = long["counter"] == codes[one.counter]
        samples = long["samples"].max(where=own).fill_null(0.0)
        least = one.min_samples if at_least is None else at_least
        enough = own & (long["samples"] >= least) & (long["samples"] > 0)
        cells[one.id] = _value(long, one).max(where=enough).cast("float64")
        cells[f"{one.id}__samples"] = samples
    return long.group_by(["scope_id", "end_s"]).agg(**cells)


def _rank(q: float) -> str:
    return f"q{q:g}".replace(".", "_")


def _value(long: ir.Table, one: Indicator) -> ir.FloatingColumn:
    """Return the value of an indicator from the sums of its counter."""
    aggregate = one.aggregate
    if isinstance(aggregate, Quantile):
        return long[_rank(aggregate.q)]
    mean = long["n"] / long["samples"].nullif(0.0)
    if isinstance(aggregate, Ratio):
        return mean * aggregate.scale
    assert isinstance(aggregate, Mean)
    if aggregate.average == "milliwatt":
        return ibis.ifelse(mean > 0, mean, ibis.null("float64")).log10() * 10
    return mean


_ROW = {"tick": "int64", "counter": "int64", "bin": "int64", "n": "float64", "d": "float64"}


def codes_of(indicators: Sequence[Indicator]) -> dict[str, int]:
    """Return a number for each counter: long names make every comparison dear."""
    return {counter: code for code, counter in enumerate(sorted({one.counter for one in indicators}))}


def chain_of(scope: str) -> tuple[str, ...]:
    """Return the scopes whose rows feed a scope, itself first; a device has no column in a leaf."""
    return (scope, *BELOW.get(scope, ()))


@cache
def target_sql(
    scope: str, wanted: frozenset[int], windows: tuple[tuple[str, ScopeWindow], ...], present: frozenset[str]
) -> str:
    """Return the SQL of the `target` of a scope over a relation `leaf`. wanted: codes of the counters that matter."""
    places = [name for name in chain_of(scope) if name != "device"]
    leaf = ibis.table({"scope": "string", **_ROW, **dict.fromkeys(places, "string")}, name="leaf")
    own = leaf.filter(leaf["counter"].isin(sorted(wanted)))
    return str(ibis.to_sql(target(own, scope, dict(windows), sorted(present)), dialect="duckdb"))


@cache
def recent_sql(window: ScopeWindow) -> str:
    """Return the SQL of the `recent` rows of devices in a relation `ticked`."""
    rows = ibis.table({"device": "string", **_ROW}, name="ticked")
    return str(ibis.to_sql(recent(rows, window), dialect="duckdb"))


@cache
def values_sql(
    indicators: tuple[Indicator, ...], codes: tuple[tuple[str, int], ...], at_least: int | None = None
) -> str:
    """Return the SQL of `values` over a relation `sums`; Ibis takes half a second for it."""
    keys = {"scope_id": "string", "end_s": "int64"}
    sums = ibis.table({**keys, **{name: kind for name, kind in _ROW.items() if name != "tick"}}, name="sums")
    return str(ibis.to_sql(values(sums, indicators, dict(codes), at_least=at_least), dialect="duckdb"))


@cache
def place_sql(scopes: tuple[str, ...], tick: int) -> str:
    """Return the SQL of the rows of devices in `counted` at the places of `stays`."""
    texts = {"scope": "string", "scope_id": "string", "end_s": "int64"}
    sums = {name: kind for name, kind in _ROW.items() if name != "tick"}
    rows = ibis.table({**texts, **sums}, name="counted")
    stays = {
        "device_id": "string",
        **dict.fromkeys(scopes, "string"),
        "valid_from": "int64",
        "valid_to": "int64",
    }
    devices = rows.filter(rows["scope"] == "device").mutate(device=rows["scope_id"])
    found = place(summed(devices, ["device", "end_s"]), ibis.table(stays, name="stays"), scopes, tick)
    return str(ibis.to_sql(found, dialect="duckdb"))
