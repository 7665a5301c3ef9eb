"""From tallies to rows of COUNTERS: of the elements of one area at once, of shared ones when all areas are done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from evaluation.simulation.province import noise as noise_of
from evaluation.simulation.province.noise import CounterNoise
from evaluation.simulation.province.tables import GIVEN_COUNTERS, moments, names_at
from evaluation.simulation.province.tally import Counted, Place, Tally, count, merged
from evaluation.simulation.province.topology import VENDORS, Plan
from features.indicators import Indicator, Scope
from features.table import arrow_schema

LOCAL: tuple[Scope, ...] = ("device", "cell", "tac")
_ROLLED_UP: Mapping[Scope, Scope] = {"tac": "cell", "fleet": "device", "province": "city"}
_ELEMENT = {
    "device": "probe", "cell": "enb", "tac": "mme", "mme": "mme", "platform_node": "platform", "app": "platform",
    "fleet": "platform", "city": "probe", "province": "probe", "program_source": "cdn", "cdn_node": "cdn",
}  # fmt: skip


@dataclass(frozen=True)
class Book:
    """Which counters exist. order: their names. indicators: by counter, with all scopes where anyone counts it."""

    order: tuple[str, ...]
    indicators: Mapping[str, Indicator]


def open_book(indicators: Sequence[Indicator]) -> Book:
    """Return the counters of indicators, each at the scopes where it is counted.

    A wider scope of another window is counted by itself; TAC, fleet and province are sums of what is counted below.
    """
    found: dict[str, Indicator] = {}
    for one in indicators:
        before = found[one.counter].granularity if one.counter in found else ()
        scopes = tuple(dict.fromkeys([*before, *one.granularity]))
        found[one.counter] = one.model_copy(update={"granularity": scopes})
    for counter, one in found.items():
        kept = tuple(s for s in one.granularity if _ROLLED_UP.get(s) not in one.granularity)
        found[counter] = one.model_copy(update={"granularity": kept})
    return Book(tuple(sorted(found)), found)


def count_all(book: Book, tallies: Sequence[tuple[Tally, Sequence[Place]]]) -> dict[Scope, Counted]:
    """Return what all tallies of an area and day count, by scope."""
    parts: dict[Scope, list[Counted]] = {}
    for tally, places in tallies:
        for place in places:
            parts.setdefault(place.scope, []).append(count(tally, book.indicators, book.order, place))
    return {scope: merged(some) for scope, some in parts.items()}


@dataclass(frozen=True)
class Elements:
    """The elements of a scope. names, vendors: one of each; a vendor is a place in VENDORS."""

    scope: Scope
    names: np.ndarray
    vendors: np.ndarray


@dataclass(frozen=True)
class Arrival:
    """How the windows of a day arrive."""

    day: int
    noise: CounterNoise
    rng: np.random.Generator


def as_rows(plan: Plan, book: Book, counted: Counted, elements: Elements, arrival: Arrival) -> pa.Table:
    """Return rows of COUNTERS without source, of those windows that arrive."""
    scope, names, vendors, day = elements.scope, elements.names, elements.vendors, arrival.day
    window_s = plan.settings.counter_window_s[scope]
    windows = 86_400 // window_s
    slot = counted.scope_id * windows + counted.window
    wait, arrives = noise_of.delivery(arrival.noise, arrival.rng, len(names) * windows)
    kept = np.flatnonzero(arrives[slot])
    scope_id, slot, bottom = counted.scope_id[kept], slot[kept], counted.denominator[kept]
    start = day * 86400.0 + counted.window[kept] * float(window_s)
    told = np.array([_element(scope, name) for name in names.tolist()], dtype=object)
    columns = [
        pa.array([scope]).take(pa.array(np.zeros(len(kept), "int32"))),
        names_at(names, scope_id),
        moments(start, plan.start_s),
        pa.array(np.full(len(kept), window_s, "int64")),
        names_at(np.array(book.order), counted.counter[kept]),
        pa.array(counted.bin[kept], mask=~counted.has_bin[kept]),
        pa.array(counted.numerator[kept]),
        pa.array(np.nan_to_num(bottom), mask=np.isnan(bottom)),
        names_at(told, scope_id),
        names_at(np.array(VENDORS), vendors[scope_id]),
        moments(start + window_s + wait[slot], plan.start_s),
    ]
    return pa.Table.from_arrays(columns, schema=arrow_schema(GIVEN_COUNTERS))


def _element(scope: Scope, name: str) -> str:
    return f"{_ELEMENT[scope]}-{name}" if scope in ("cell", "mme", "tac") else _ELEMENT[scope]
