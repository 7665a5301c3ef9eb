"""From rows of COUNTERS to the values of indicators, as Ibis expressions: sums first, one division last.

What counts where. A row counts in the window that it ends in. A scope has its own counters and those of what lies
below it: a device counts in the places of MEMBERSHIP in which it was at the last instant of the row's window, a cell in
the TAC, MME, city and province of its devices that day, a TAC in its MME, a city in its province. Where a scope has its
own rows of a counter in a window, they win: nothing below adds to them.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import reduce

import ibis
import ibis.expr.types as ir

from features import kept_sql, sketch
from features.indicators import Indicator, Mean, Quantile, Ratio, ScopeWindow

PARENT: Mapping[str, str] = {  # what a scope is summed from where it has no counters of its own
    "cell": "device",
    "tac": "cell",
    "mme": "tac",
    "city": "cell",
    "province": "city",
    "platform_node": "device",
    "app": "device",
    "fleet": "device",
}
SHORT_S = 3600  # windows that divide it are computed from the counters of so little time
# The last digits of a sum of fractions depend on who was added first. What is told has fewer:
_DECIMALS = 9  # a ratio or a mean, in the unit of the indicator
_PLACES = 6  # samples and events: a denominator may be of seconds or device-days
DEVICE_STEP_S = 900  # a device's window may end this often; where it counted nothing there is none
ROLLED_UP = ("city", "province")  # they have every indicator that anything below them has
_EVENT = 10**_PLACES  # parts of one event
_SUMS = ("counter", "sketch", "n", "d")
_FEW = 16  # counters, up to which a filtered aggregate for each is cheaper than lists
_KEYS = ("scope_id", "end_s")


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


def above(scope: str) -> tuple[str, ...]:
    """Return all that a scope is summed into, nearest first."""
    found = [one for one, parent in PARENT.items() if parent == scope]
    return tuple(dict.fromkeys([*found, *(further for one in found for further in above(one))]))


def groups(windows: Mapping[str, ScopeWindow]) -> tuple[tuple[tuple[str, ...], int], ...]:
    """Return the scopes of places that are computed together, each after its parent, and the window of all of them.

    Scopes that are summed into one another stay together; of these, all whose windows fit into SHORT_S.
    """
    families: dict[str, list[str]] = {}
    for scope in sorted((one for one in windows if one != "device"), key=lambda one: len(_chain(one))):
        families.setdefault(_chain(scope)[-1], []).append(scope)
    by_length: dict[int, list[str]] = {}
    for family in families.values():
        length = reduce(math.lcm, (windows[scope].length_s for scope in family))
        by_length.setdefault(SHORT_S if SHORT_S % length == 0 else length, []).extend(family)
    return tuple(
        (tuple(scopes), reduce(math.lcm, (windows[scope].length_s for scope in scopes)))
        for scopes in by_length.values()
    )


def _chain(scope: str) -> tuple[str, ...]:
    """Return a scope and all that is summed into it, itself first, without devices."""
    parent = PARENT.get(scope, "device")
    return (scope,) if parent == "device" else (scope, *_chain(parent))


def ceiling(seconds: ir.IntegerColumn, step_s: int) -> ir.IntegerColumn:
    """Return the end of the window of `step_s` that an end lies in; of times since 1970."""
    later = seconds + (step_s - 1)
    return (later - later % step_s).cast("int64")


def summed(rows: ir.Table, keys: Sequence[str]) -> ir.Table:
    """Return the sums by keys and counter: n (of numerators or samples), d (of denominators), and sketch.

    The bins of sketches are summed too, so that those of many do not make one as long as all of them.
    """
    told, by = rows["sketch"].notnull(), [*keys, "counter"]
    plain = rows.filter(~told).group_by(by).agg(n=rows["n"].sum(), d=rows["d"].sum())
    one = rows.filter(told).select(*by, one=rows["sketch"].unnest())
    bin_, count = sketch.unpacked(one["one"])
    bins = one.mutate(bin=bin_, count=count).group_by([*by, "bin"]).agg(n=ibis._["count"].sum())
    bins = bins.mutate(packed=sketch.packed(bins["bin"], bins["n"]))
    sketches = bins.group_by(by).agg(
        n=bins["n"].sum(), d=ibis.null("float64"), sketch=bins["packed"].collect()
    )
    return plain.mutate(sketch=ibis.null("array<int64>")).union(sketches)


def placed(rows: ir.Table, stays: ir.Table, scopes: Sequence[str], tick: int) -> ir.Table:
    """Return rows of devices (device, end_s, counter, sketch, n, d) as sums of the places that they were in.

    stays: MEMBERSHIP as it holds, valid_from and valid_to in microseconds.
    """
    end_us = rows["end_s"] * 1_000_000
    held = rows.join(
        stays,
        [rows["device"] == stays["device_id"], stays["valid_from"] < end_us, stays["valid_to"] >= end_us],
    )
    return summed(held.mutate(tick=ceiling(held["end_s"], tick)), [*scopes, "tick"])


def outranked(below: ir.Table, own: ir.Table, scope: str, length_s: int) -> ir.Table:
    """Return the rows from below that count in a scope: those of counters that it did not count in the window itself.

    below: a column for each place that the rows count in, the scope's among them, tick, counter, sketch, n, d.
    own: id, tick, counter. Rows with no place in the scope stay: they may have one above it.
    """
    told = own.select(
        **{scope: own["id"]}, window=ceiling(own["tick"], length_s), counter="counter"
    ).distinct()
    rows = below.mutate(window=ceiling(below["tick"], length_s))
    return rows.anti_join(told, [scope, "window", "counter"]).drop("window")


def lifted(rows: ir.Table, places: Sequence[str]) -> ir.Table:
    """Return the sums that rows come to in the places above them."""
    held = reduce(operator.or_, (rows[place].notnull() for place in places))
    return summed(rows.filter(held), [*places, "tick"])


def recent(rows: ir.Table, since_s: ir.IntegerScalar, window: ScopeWindow) -> ir.Table:
    """Return the sums of each device as of each step after `since_s` in which it counted something.

    rows: device, tick (of DEVICE_STEP_S), counter, sketch, n, d. A row counts from its own window on, until `events`
    newer ones of its counter have come, or until it is `length_s` old. Columns: scope_id, end_s, counter, sketch, n, d.
    """
    counts = ibis.ifelse(rows["sketch"].isnull(), rows["d"], rows["n"]).sum()
    events = (
        (counts * _EVENT).round().cast("int64")
    )  # whole parts of an event: they are compared with one another
    counted = rows.group_by(["device", "tick", "counter"]).agg(events=events).filter(ibis._.events > 0)
    ends = _numbered(counted, window.length_s, since_s)
    so_far = counted["events"].sum().over(_in_time("device", "counter"))
    lasting = counted.mutate(so_far=so_far).join(ends, ["device", "tick"])
    last = lasting["number"] + lasting["within"] - 1
    if window.events is not None:
        newer = ibis.range_window(
            following=(window.events * _EVENT, None), group_by=["device", "counter"], order_by="so_far"
        )
        lasting = lasting.mutate(last=last, replaced=lasting["number"].min().over(newer) - 1)
        last = ibis.least(lasting["last"], lasting["replaced"].fill_null(lasting["last"]))
    first = ibis.greatest(lasting["number"], lasting["first"])
    lasting = lasting.select("device", "tick", "counter", within=ibis.range(first, last + 1))
    held = lasting.join(rows, ["device", "tick", "counter"])  # before it is spread: the sums go with it
    spread = held.select("device", *_SUMS, "within").mutate(in_window=ibis._.within.unnest())
    seen = ends.select("device", in_window="number", end_s="tick")
    found = spread.join(seen, ["device", "in_window"])
    return found.select(*_SUMS, scope_id="device", end_s="end_s")


def _numbered(counted: ir.Table, length_s: int, since_s: ir.IntegerScalar) -> ir.Table:
    """Return each device's windows (device, tick): their number in time, how many begin within a length, and the
    number of the first one that is asked for."""
    ends = counted.select("device", "tick").distinct()
    within = ibis.range_window(preceding=0, following=length_s - 1, group_by="device", order_by="tick")
    number = ibis.row_number().over(ibis.window(group_by="device", order_by="tick"))
    whole = ibis.window(group_by="device")
    earlier = ends["tick"].count(where=ends["tick"] <= since_s).over(whole)
    return ends.mutate(number=number, within=ends["tick"].count().over(within), first=earlier)


def _in_time(*keys: str) -> ibis.expr.builders.WindowBuilder:
    return ibis.cumulative_window(group_by=list(keys), order_by="tick")


def values(
    rows: ir.Table, indicators: Sequence[Indicator], codes: Mapping[str, int], *, at_least: int | None = None
) -> ir.Table:
    """Return one row per scope_id and end_s, with <indicator> and <indicator>__samples for each indicator.

    rows: scope_id, end_s, counter (its code), sketch, n, d, several of a counter where several count.
    A value is empty below min_samples; the samples are told. at_least: the least samples of all indicators, where the
    scope has its own.
    """
    counters = {one.counter for one in indicators}
    if len(counters) <= _FEW:
        held, of = _side_by_side(rows, indicators, codes)
    else:
        held, of = _in_lists(rows, indicators, codes)
    cells: dict[str, ir.Value] = {}
    for one in indicators:
        x, d, bin_ = of(one)
        samples = d.round(_PLACES)
        least = one.min_samples if at_least is None else at_least
        enough = (samples >= least) & (samples > 0)
        value = sketch.value_of(bin_) if isinstance(one.aggregate, Quantile) else _value(x, d, one.aggregate)
        cells[one.id] = ibis.ifelse(enough, value, ibis.null("float64"))
        cells[f"{one.id}__samples"] = samples
    return held.select(*_KEYS, **cells)


_Sums = tuple[
    ir.FloatingValue, ir.FloatingValue, ir.IntegerValue
]  # of an indicator: of n, samples, bin of a quantile
_Held = tuple[ir.Table, Callable[[Indicator], _Sums]]


def _side_by_side(rows: ir.Table, indicators: Sequence[Indicator], codes: Mapping[str, int]) -> _Held:
    """Return a row per scope_id and end_s, and what it has of an indicator: each counter was summed on its own."""
    sums: dict[str, ir.Value] = {}
    for one in indicators:
        code = codes[one.counter]
        told = rows["counter"] == code
        sums[f"x{code}"] = rows["n"].sum(where=told)
        if isinstance(one.aggregate, Quantile):
            sums[f"sketch{code}"] = _all_bins(rows, told)
        else:
            sums[f"d{code}"] = rows["d"].sum(where=told)
    wanted = rows["counter"].isin(sorted({codes[one.counter] for one in indicators}))
    held = rows.filter(wanted).group_by(_KEYS).agg(**sums)
    held = held.mutate(
        **{
            f"bin_of_{one.id}": sketch.bin_at(
                held[f"sketch{codes[one.counter]}"], one.aggregate.q * (held[f"x{codes[one.counter]}"] - 1)
            )
            for one in indicators
            if isinstance(one.aggregate, Quantile)
        }
    )

    def of(one: Indicator) -> _Sums:
        x = held[f"x{codes[one.counter]}"]
        if isinstance(one.aggregate, Quantile):
            return x, x.fill_null(0.0), held[f"bin_of_{one.id}"]
        return x, held[f"d{codes[one.counter]}"].fill_null(0.0), ibis.null("int64")

    return held, of


def _in_lists(rows: ir.Table, indicators: Sequence[Indicator], codes: Mapping[str, int]) -> _Held:
    """Return a row per scope_id and end_s, and what it has of an indicator: taken out of lists by its number."""
    ranks = {
        one.aggregate.q: f"q{one.aggregate.q}" for one in indicators if isinstance(one.aggregate, Quantile)
    }
    found = _collected(rows, sorted({codes[one.counter] for one in indicators}))
    reached = {name: sketch.bin_at(found["sketch"], q * (found["samples"] - 1)) for q, name in ranks.items()}
    long = found.mutate(
        **{name: bin_.fill_null(0) for name, bin_ in reached.items()}
    )  # a list leaves empty ones out
    lists = {name: long[name].collect() for name in ("counter", "x", "samples", *reached)}
    held = long.group_by(_KEYS).agg(**lists)

    def of(one: Indicator) -> _Sums:
        at = held["counter"].index(codes[one.counter]).nullif(-1)  # a list has a last place, which -1 names
        bin_ = held[ranks[one.aggregate.q]][at] if isinstance(one.aggregate, Quantile) else ibis.null("int64")
        return held["x"][at], held["samples"][at].fill_null(0.0), bin_

    return held, of


def _all_bins(rows: ir.Table, where: ir.BooleanValue) -> ir.ArrayValue:
    """Return the aggregate of the bins of all sketches of some rows."""
    return rows["sketch"].collect(where=where & rows["sketch"].notnull()).flatten()


def _collected(rows: ir.Table, codes: Sequence[int]) -> ir.Table:
    """Return scope_id, end_s, counter, x (the sum of n), samples and sketch (all bins of one, else nothing)."""
    counted = rows.filter(rows["counter"].isin(codes))
    bins = _all_bins(counted, ibis.literal(True))
    found = counted.group_by([*_KEYS, "counter"]).agg(x=counted["n"].sum(), d=counted["d"].sum(), sketch=bins)
    return found.mutate(samples=found["d"].fill_null(found["x"])).drop("d")


def _value(x: ir.FloatingValue, samples: ir.FloatingValue, aggregate: Ratio | Mean) -> ir.FloatingValue:
    """Return the value of an indicator. x: the sum of its counter."""
    mean = x / samples.nullif(0.0)
    if isinstance(aggregate, Ratio):
        return (mean * aggregate.scale).round(_DECIMALS)
    if aggregate.average == "milliwatt":
        return (ibis.ifelse(mean > 0, mean, ibis.null("float64")).log10() * 10).round(_DECIMALS)
    return mean.round(_DECIMALS)


def codes_of(indicators: Sequence[Indicator]) -> dict[str, int]:
    """Return a number for each counter: long names make every comparison dear."""
    return {counter: code for code, counter in enumerate(sorted({one.counter for one in indicators}))}


# What follows is the SQL of the above for DuckDB, where an id of a place is a number; Ibis takes half a second for it,
# so it is kept (features/kept_sql.py).
_SUM = {"counter": "int16", "sketch": "array<int64>", "n": "float64", "d": "float64"}
_ROW = {"tick": "int64", **_SUM}


def _sql(table: ir.Table) -> str:
    return str(ibis.to_sql(table, dialect="duckdb"))


def placed_sql(scopes: tuple[str, ...], tick: int) -> str:
    """Return the SQL of the rows of devices in `counted` at the places of `stays`."""
    return _kept("placed", scopes, tick, make=lambda: _placed(scopes, tick))


def _placed(scopes: tuple[str, ...], tick: int) -> ir.Table:
    rows = ibis.table({"device": "string", "end_s": "int64", **_SUM}, name="counted")
    held = {
        "device_id": "string",
        **dict.fromkeys(scopes, "int32"),
        "valid_from": "int64",
        "valid_to": "int64",
    }
    return placed(rows, ibis.table(held, name="stays"), scopes, tick)


def outranked_sql(scope: str, below: str, places: tuple[str, ...], length_s: int) -> str:
    """Return the SQL of the rows of a relation `below` that are not `outranked` by `own`."""
    return _kept(
        "outranked",
        *(scope, below, places, length_s),
        make=lambda: outranked(
            ibis.table({**dict.fromkeys(places, "int32"), **_ROW}, name=below),
            ibis.table({"id": "int32", **_ROW}, name="own"),
            scope,
            length_s,
        ),
    )


def lifted_sql(places: tuple[str, ...]) -> str:
    """Return the SQL of the rows of `effective` `lifted` into the places above them."""
    columns = {**dict.fromkeys(places, "int32"), **_ROW}
    return _kept("lifted", places, make=lambda: lifted(ibis.table(columns, name="effective"), places))


def recent_sql(window: ScopeWindow) -> str:
    """Return the SQL of the `recent` rows of devices in a relation `ticked`, since what the relation `asked` says."""
    since = ibis.table({"since_s": "int64"}, name="asked")
    rows = ibis.table({"device": "int32", **_ROW}, name="ticked")
    return _kept("recent", window, make=lambda: recent(rows, since["since_s"].as_scalar(), window))


def values_sql(
    indicators: tuple[Indicator, ...],
    codes: tuple[tuple[str, int], ...],
    length_s: int,
    at_least: int | None = None,
) -> str:
    """Return the SQL of `values` over a relation `effective` (scope_id, tick, ...), in windows of a length."""
    return _kept(
        "values",
        *(indicators, codes, length_s, at_least),
        make=lambda: _values(indicators, codes, length_s=length_s, at_least=at_least),
    )


def _values(
    indicators: Sequence[Indicator],
    codes: Sequence[tuple[str, int]],
    *,
    length_s: int,
    at_least: int | None,
) -> ir.Table:
    rows = ibis.table({"scope_id": "int32", **_ROW}, name="effective")
    ended = rows.mutate(end_s=ceiling(rows["tick"], length_s)).drop("tick")
    return values(ended, indicators, dict(codes), at_least=at_least)


def _kept(name: str, *told: object, make: Callable[[], ir.Table]) -> str:
    return str(kept_sql.kept(f"indicators {name}", *told, make=lambda: _sql(make())))
