"""kqi.parquet: the KQIs of every scope and window, the targets of importance analysis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evaluation.process import ServiceModel
from evaluation.simulation.province.faults import DAY_S
from evaluation.simulation.province.places import sizes
from evaluation.simulation.province.quality import Judged
from evaluation.simulation.province.tally import Counted, Place, count, merged
from evaluation.simulation.province.topology import Area, Plan
from features import sketch
from features.indicators import Aggregate, Quantile, Ratio, Scope

_LONG_SCOPES = ("device", "fleet")  # whose events are too few for a short window
_LONG_S = 86_400
_SHORTEST_S = 900


@dataclass(frozen=True)
class Countable:
    """What `count` must know of a KQI."""

    aggregate: Aggregate
    granularity: tuple[Scope, ...]


@dataclass(frozen=True)
class KqiBook:
    """The KQIs of all services. order: (service, kqi). window_s: of each service."""

    order: tuple[tuple[str, str], ...]
    counters: tuple[str, ...]
    countable: Mapping[str, Countable]
    window_s: Mapping[str, int]


def open_book(services: Sequence[ServiceModel]) -> KqiBook:
    """Return the KQIs of services; those of one service whose scopes and window they share."""
    rows = [(s, k) for s in services for k in s.kqis]
    return KqiBook(
        tuple((s.id, k.id) for s, k in rows),
        tuple(k.aggregate.counter for _, k in rows),
        {k.aggregate.counter: Countable(k.aggregate, (*s.aggregation_keys, "device")) for s, k in rows},
        {k.aggregate.counter: s.kqi_window.length_s for s, k in rows},
    )


def count_kqis(
    book: KqiBook, area: Area, day: int, judged: Sequence[Judged]
) -> dict[tuple[Scope, int], Counted]:
    """Return what is counted of KQIs by scope and window length."""
    parts: dict[tuple[Scope, int], list[Counted]] = {}
    elements = sizes(area)
    for one in judged:
        used = [c for c in (*one.tally.ratios, *one.tally.samples) if c in book.countable]
        if not used:
            continue
        for scope, element in one.places.items():
            length = _LONG_S if scope in _LONG_SCOPES else max(book.window_s[used[0]], _SHORTEST_S)
            since = np.clip(one.at_s - day * DAY_S, 0, DAY_S - 1).astype("int64") // length
            place = Place(scope, element, elements[scope], since, int(DAY_S // length))  # type: ignore[arg-type]
            parts.setdefault((place.scope, length), []).append(
                count(one.tally, book.countable, book.counters, place)
            )
    return {key: merged(some) for key, some in parts.items()}


@dataclass(frozen=True)
class Told:
    """Of what KQIs are told: the elements of a scope by name, in windows of a length."""

    scope: Scope
    length_s: int
    names: np.ndarray


def as_values(plan: Plan, book: KqiBook, counted: Counted, told: Told, *, day: int) -> pd.DataFrame:
    """Return KQI rows of one scope: the value of each window that has an event."""
    made = []
    for index in np.unique(counted.counter).tolist():
        rows = np.flatnonzero(counted.counter == index)
        aggregate = book.countable[book.counters[index]].aggregate
        if isinstance(aggregate, Quantile):
            made.append(_quantiles(counted, rows, aggregate.q).assign(counter=index))
            continue
        scale = aggregate.scale if isinstance(aggregate, Ratio) else 1.0
        values = scale * counted.numerator[rows] / counted.denominator[rows]
        made.append(
            pd.DataFrame(
                {"scope_id": counted.scope_id[rows], "window": counted.window[rows], "value": values}
            ).assign(counter=index)
        )
    whole = pd.concat(made) if made else pd.DataFrame(columns=["scope_id", "window", "value", "counter"])
    ends = day * DAY_S + (whole["window"].to_numpy("float64") + 1) * told.length_s + plan.start_s
    order = whole["counter"].to_numpy("int64")
    return pd.DataFrame(
        {
            "service": np.array([s for s, _ in book.order])[order],
            "kqi": np.array([k for _, k in book.order])[order],
            "scope": told.scope,
            "scope_id": told.names[whole["scope_id"].to_numpy("int64")],
            "window_end": pd.to_datetime(ends * 1e6, unit="us", utc=True),
            "value": whole["value"].to_numpy("float64"),
        }
    )


def _quantiles(counted: Counted, rows: np.ndarray, q: float) -> pd.DataFrame:
    """Return the quantile of each element and window; rows are in the order of scope_id, window and bin."""
    scope_id, window, number = counted.scope_id[rows], counted.window[rows], counted.numerator[rows]
    fresh = np.append(True, (scope_id[1:] != scope_id[:-1]) | (window[1:] != window[:-1]))
    group = np.cumsum(fresh) - 1
    total = np.bincount(group, number)
    before = np.cumsum(total) - total
    reached = np.cumsum(number) - before[group] >= q * total[group] - 1e-9
    first = np.flatnonzero(reached & ~np.append(False, reached[:-1] & ~fresh[1:]))
    values = sketch.values(counted.bin[rows][first])
    return pd.DataFrame({"scope_id": scope_id[first], "window": window[first], "value": values})
