"""Raw counters: what elements count while attempts run, by scope, element and window."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from features import sketch
from features.indicators import Aggregate, Mean, Scope

_BIN_SHIFT = 1 << 20  # bins of a sketch lie within +-140,000


@dataclass
class Tally:
    """Collects numerators, denominators and samples of one area and day; `rows` says which attempts they are of."""

    ratios: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = field(default_factory=dict)
    samples: dict[str, list[tuple[np.ndarray, np.ndarray]]] = field(default_factory=dict)

    def ratio(
        self,
        counter: str,
        rows: np.ndarray,
        numerator: np.ndarray | float,
        denominator: np.ndarray | float = 1.0,
    ) -> None:
        """Count: numerator and denominator, each one a row or one for all."""
        top, bottom = (
            np.broadcast_to(np.asarray(v, "float64"), rows.shape) for v in (numerator, denominator)
        )
        self.ratios.setdefault(counter, []).append((rows, top, bottom))

    def without(self, gone: np.ndarray) -> "Tally":
        """Return what is counted of all rows but some. gone: of every row, whether it is one of those."""
        return Tally(
            {
                n: [(r[~gone[r]], a[~gone[r]], b[~gone[r]]) for r, a, b in some]
                for n, some in self.ratios.items()
            },
            {n: [(r[~gone[r]], values[~gone[r]]) for r, values in some] for n, some in self.samples.items()},
        )

    def sample(self, counter: str, rows: np.ndarray, values: np.ndarray) -> None:
        """Note one sample a row."""
        self.samples.setdefault(counter, []).append((rows, values))


class Countable(Protocol):
    """What must be known of a counter: how it adds up, and at which scopes it is counted."""

    @property
    def aggregate(self) -> Aggregate: ...
    @property
    def granularity(self) -> tuple[Scope, ...]: ...


@dataclass(frozen=True)
class Counted:
    """Counters of one scope: parallel arrays. bin: -1 of `has_bin` False for ratios and means.

    scope_id and counter are indices. denominator is NaN where there is none.
    """

    scope_id: np.ndarray
    window: np.ndarray
    counter: np.ndarray
    has_bin: np.ndarray
    bin: np.ndarray
    numerator: np.ndarray
    denominator: np.ndarray


@dataclass(frozen=True)
class Place:
    """Where the rows of a tally count at one scope: element of each (-1: not counted), elements and windows in all."""

    scope: Scope
    element: np.ndarray
    elements: int
    window: np.ndarray
    windows: int


def count(tally: Tally, indicators: Mapping[str, Countable], order: tuple[str, ...], place: Place) -> Counted:
    """Return what is counted at one scope: counters of indicators that exist there.

    indicators: by counter, any one of it. order: of the counters, whose place is their index.
    """
    parts: list[tuple[np.ndarray, ...]] = []
    slots = place.elements * place.windows
    for index, counter in enumerate(order):
        if place.scope not in indicators[counter].granularity:
            continue
        aggregate = indicators[counter].aggregate
        if counter in tally.ratios:
            parts.append(_summed(tally.ratios[counter], place, slots=slots, index=index))
        elif counter in tally.samples and isinstance(aggregate, Mean):
            made = [
                (rows, _averaged(values, aggregate), np.ones(len(rows)))
                for rows, values in tally.samples[counter]
            ]
            parts.append(_summed(made, place, slots=slots, index=index))
        elif counter in tally.samples:
            parts.append(_binned(tally.samples[counter], place, index=index))
    if not parts:
        none = np.array([], "int64")
        return Counted(none, none, none, none.astype(bool), none, none.astype(float), none.astype(float))
    return Counted(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _averaged(values: np.ndarray, aggregate: Mean) -> np.ndarray:
    return np.asarray(10.0 ** (values / 10.0)) if aggregate.average == "milliwatt" else values


def _summed(
    chunks: list[tuple[np.ndarray, np.ndarray, np.ndarray]], place: Place, *, slots: int, index: int
) -> tuple[np.ndarray, ...]:
    top, bottom = np.zeros(slots), np.zeros(slots)
    for rows, numerator, denominator in chunks:
        inside = place.element[rows] >= 0
        key = (place.element[rows] * place.windows + place.window[rows])[inside]
        top += np.bincount(key, numerator[inside], slots)
        bottom += np.bincount(key, denominator[inside], slots)
    used = np.flatnonzero(bottom)
    size = len(used)
    return (
        used // place.windows, used % place.windows, np.full(size, index), np.zeros(size, bool),
        np.zeros(size, "int64"), top[used], bottom[used],
    )  # fmt: skip


def _binned(
    chunks: list[tuple[np.ndarray, np.ndarray]], place: Place, *, index: int
) -> tuple[np.ndarray, ...]:
    rows = np.concatenate([rows for rows, _ in chunks])
    values = np.concatenate([values for _, values in chunks])
    inside = place.element[rows] >= 0
    rows, values = rows[inside], values[inside]
    slot = place.element[rows] * place.windows + place.window[rows]
    key, number = np.unique(slot * (2 * _BIN_SHIFT) + sketch.bins(values) + _BIN_SHIFT, return_counts=True)
    slot, bin_ = key // (2 * _BIN_SHIFT), key % (2 * _BIN_SHIFT) - _BIN_SHIFT
    size = len(key)
    return (
        slot // place.windows, slot % place.windows, np.full(size, index), np.ones(size, bool),
        bin_, number.astype("float64"), np.full(size, np.nan),
    )  # fmt: skip


def merged(parts: list[Counted]) -> Counted:
    """Return the sum of counters of several areas, in the order of scope_id, window, counter and bin."""
    whole = Counted(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in Counted.__dataclass_fields__)
    )
    order = np.lexsort((whole.bin, whole.counter, whole.window, whole.scope_id))
    keys = [getattr(whole, name)[order] for name in ("scope_id", "window", "counter", "bin")]
    fresh = np.ones(len(order), bool)
    if len(order):
        fresh[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    group = np.cumsum(fresh) - 1
    size = int(fresh.sum())
    bottom = whole.denominator[order]
    return Counted(
        keys[0][fresh], keys[1][fresh], keys[2][fresh], whole.has_bin[order][fresh], keys[3][fresh],
        np.bincount(group, whole.numerator[order], size),
        np.where(np.isnan(bottom[fresh]), np.nan, np.bincount(group, np.nan_to_num(bottom), size)),
    )  # fmt: skip
