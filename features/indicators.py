"""The 55 indicators and the terminal ones, as configs/ declares them: what is measured, how, where, and what is good.

Values of the domain (anchors, typical values, windows) stand in the files; this module reads and checks them.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, Field

from features.configuration import find_config, find_configs, read_config

Scope = Literal[
    "device", "cell", "tac", "mme", "platform_node", "app", "fleet",
    "city", "province", "program_source", "cdn_node",
]  # fmt: skip
Domain = Literal["radio", "core", "platform", "cloud", "pipe", "device"]
Direction = Literal["higher_is_better", "lower_is_better"]
Curve = Literal["linear", "log"]
Basis = Literal["standard", "vendor", "seed", "judgement", "learnt"]
Number = Annotated[float, Field(allow_inf_nan=False)]
Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=63)]  # a column: no double _
Name = Annotated[str, Field(min_length=1)]

_RESERVED = ("scope", "scope_id", "window_start", "window_end", "created", "indicator", "value", "samples")


class Frozen(BaseModel, frozen=True, extra="forbid", populate_by_name=True):
    """A part of a domain file: no key unknown, nothing to change."""


class Ratio(Frozen):
    """scale * sum of numerators / sum of denominators, over the scope and the window."""

    kind: Literal["ratio"]
    numerator: Id
    denominator: Id
    scale: Number = Field(gt=0)

    @property
    def counter(self) -> str:
        """The counter in COUNTERS."""
        return f"{self.numerator}/{self.denominator}"

    @property
    def formula(self) -> str:
        """The formula as a reader writes it."""
        return f"{self.scale:g} * sum({self.numerator}) / sum({self.denominator})"


class Quantile(Frozen):
    """A quantile over all samples of the scope and the window."""

    kind: Literal["quantile"]
    sample: Id
    q: float = Field(gt=0, lt=1)

    @property
    def counter(self) -> str:
        """The counter in COUNTERS."""
        return self.sample

    @property
    def formula(self) -> str:
        """The formula as a reader writes it."""
        return f"quantile {self.q:g} of {self.sample}"


class Mean(Frozen):
    """The mean over all samples; `milliwatt` averages powers in dBm as the powers they are."""

    kind: Literal["mean"]
    sample: Id
    average: Literal["plain", "milliwatt"] = "plain"

    @property
    def counter(self) -> str:
        """The counter in COUNTERS."""
        return self.sample

    @property
    def formula(self) -> str:
        """The formula as a reader writes it."""
        if self.average == "milliwatt":
            return f"10 * log10(mean(10 ^ ({self.sample} / 10)))"
        return f"mean({self.sample})"


Aggregate = Annotated[Ratio | Quantile | Mean, Field(discriminator="kind")]


class ByCoverage(Frozen):
    """The healthy nominal value of a device at each coverage enhancement level."""

    ce0: Number
    ce1: Number
    ce2: Number


class Indicator(Frozen):
    """One indicator: the comments at the head of configs/indicators.yaml say what each field means."""

    id: Id
    name: Name
    domain: Domain
    unit: Name
    definition: Name
    aggregate: Aggregate
    direction: Direction
    excellent: Number
    unacceptable: Number
    curve: Curve
    points: tuple[tuple[Number, Number], ...] = Field(
        default=(), description="(value, utility) where the curve bends, from unacceptable to excellent"
    )
    typical: Number
    healthy_range: tuple[Number, Number]
    element: Name
    interface: str = ""
    granularity: tuple[Scope, ...] = Field(min_length=1)
    source: tuple[Name, ...] = Field(min_length=1)
    basis: Basis
    anchor_basis: Basis
    min_samples: int = Field(default=1, ge=1)
    by_ce: ByCoverage | None = None
    note: str = ""

    @property
    def counter(self) -> str:
        """The counter in COUNTERS that it is computed from: `numerator/denominator` of a ratio, else the sample."""
        return self.aggregate.counter


class ScopeWindow(Frozen):
    """How far back a value of a scope looks: length_s; of a device the last `events` events where these are fewer."""

    length_s: int = Field(ge=60)
    events: int | None = Field(default=None, ge=1)


class IndicatorSet(Frozen):
    """configs/indicators.yaml."""

    schema_: Literal["indicator_set/1"] = Field(alias="schema")
    id: Id
    count: dict[Domain, int] = Field(
        description="how many of each domain the standard set has; more may be added"
    )
    windows: dict[Scope, ScopeWindow]
    min_samples_at_device_scope: int = Field(ge=1)
    indicators: tuple[Indicator, ...]

    def of(self, indicator_id: str) -> Indicator:
        """Return the indicator of that id. Raises LookupError that names the nearest."""
        return find(indicator_id, self.indicators)


class TerminalMeasure(Frozen):
    """A number that a device, its SDK or its subscription tells."""

    id: Id
    name: Name
    unit: Name
    kind: Literal["measure"]
    typical: Number
    direction: Direction
    excellent: Number
    unacceptable: Number
    definition: Name
    obtained_from: Name
    applies_to: tuple[Name, ...] = Field(min_length=1)
    granularity: tuple[Scope, ...] = ("device",)
    basis: Basis


class TerminalFlag(Frozen):
    """A fact of a device that is 0 or 1; missing is unknown, never healthy."""

    id: Id
    name: Name
    unit: Literal["flag"]
    kind: Literal["flag"]
    typical: Literal[0, 1]
    healthy_value: Literal[0, 1]
    definition: Name
    obtained_from: Name
    applies_to: tuple[Name, ...] = Field(min_length=1)
    granularity: tuple[Scope, ...] = ("device",)
    basis: Basis


TerminalIndicator = TerminalMeasure | TerminalFlag


class Anchored(Protocol):
    """What an indicator, a terminal measure and a KQI have in common."""

    @property
    def id(self) -> str: ...
    @property
    def direction(self) -> Direction: ...
    @property
    def excellent(self) -> float: ...
    @property
    def unacceptable(self) -> float: ...


class TerminalSet(Frozen):
    """configs/terminal_indicators.yaml."""

    schema_: Literal["indicator_set/1"] = Field(alias="schema")
    id: Id
    indicators: tuple[Annotated[TerminalIndicator, Field(discriminator="kind")], ...]


class _LocalSet(BaseModel, frozen=True, extra="ignore"):
    """The indicators of a service file; evaluation/process.py checks all else of it."""

    local_indicators: tuple[Indicator, ...] = ()


def read_indicators(workspace: Path | None = None) -> IndicatorSet:
    """Return the checked configs/indicators.yaml. Raises ValueError that names file, id and each rule broken."""
    path = find_config("indicators.yaml", workspace)
    whole = read_config(path, IndicatorSet)
    refuse(
        {
            path: [
                *rules_broken(whole.indicators),
                *_uncounted(whole),
                *_of_events(whole),
                *windowless(whole.indicators, whole),
            ]
        }
    )
    return whole


def read_terminal(workspace: Path | None = None) -> tuple[TerminalIndicator, ...]:
    """Return configs/terminal_indicators.yaml. Raises ValueError that names file, id and each rule broken."""
    path = find_config("terminal_indicators.yaml", workspace)
    indicators = read_config(path, TerminalSet).indicators
    refuse({path: rules_broken(indicators)})
    return indicators


def all_indicators(workspace: Path | None = None) -> tuple[Indicator, ...]:
    """Return the 55 (and what was added to them), then the local ones of every service, in the order of the files.

    Raises ValueError that names file, id and rule, also where an id or a counter has two meanings.
    """
    whole = read_indicators(workspace)
    found = {find_config("indicators.yaml", workspace): whole.indicators}
    for path in find_configs("services", workspace):
        found[path] = read_config(path, _LocalSet).local_indicators
        refuse({path: [*rules_broken(found[path]), *windowless(found[path], whole)]})
    refuse(
        shared_names(found, {find_config("terminal_indicators.yaml", workspace): read_terminal(workspace)})
    )
    return tuple(indicator for indicators in found.values() for indicator in indicators)


def find(indicator_id: str, indicators: Iterable[Indicator]) -> Indicator:
    """Return the indicator of that id. Raises LookupError that names the nearest."""
    known = {indicator.id: indicator for indicator in indicators}
    if indicator_id in known:
        return known[indicator_id]
    near = difflib.get_close_matches(indicator_id, known, n=1, cutoff=0.0)
    raise LookupError(f"no indicator {indicator_id!r}; the nearest is {', '.join(near) or 'none'}")


def refuse(faults: Mapping[Path, Iterable[str]]) -> None:
    """Raise ValueError that tells every rule broken, one a line with its file; nothing where all are kept."""
    if told := [f"{path}: {fault}" for path, some in faults.items() for fault in some]:
        raise ValueError("\n".join(told))


def rules_broken(indicators: Sequence[Indicator] | Sequence[TerminalIndicator]) -> Iterator[str]:
    """Yield each rule that indicators of one file break: the id, the rule, the fact."""
    for indicator_id, times in Counter(indicator.id for indicator in indicators).items():
        if times > 1:
            yield f"{indicator_id}: ids must be unique, but {times} indicators have this one"
    for one in indicators:
        if isinstance(one, TerminalFlag):
            if one.typical != one.healthy_value:
                yield f"{one.id}: typical of a flag must be its healthy_value {one.healthy_value}, but is {one.typical}"
            continue
        yield from anchors_broken(one)
        if isinstance(one, Indicator):
            yield from _one_broken(one)


def anchors_broken(one: "Anchored") -> Iterator[str]:
    """Yield where excellent and unacceptable of an indicator or KQI do not agree with its direction or curve."""
    higher = one.direction == "higher_is_better"
    if one.excellent == one.unacceptable or (one.excellent > one.unacceptable) != higher:
        yield (
            f"{one.id}: excellent must be {'above' if higher else 'below'} unacceptable where {one.direction},"
            f" but they are {one.excellent:g} and {one.unacceptable:g}"
        )
    if getattr(one, "curve", "linear") == "log" and min(one.excellent, one.unacceptable) <= 0:
        yield f"{one.id}: both anchors must be above 0 for curve log, but are {one.excellent:g}, {one.unacceptable:g}"


def _points_broken(one: Indicator) -> Iterator[str]:
    sign = 1.0 if one.direction == "higher_is_better" else -1.0
    values = [sign * value for value in (one.unacceptable, *(v for v, _ in one.points), one.excellent)]
    told = [0.0, *(utility for _, utility in one.points), 100.0]
    nearer = all(low < high for low, high in pairwise(values))
    if one.points and not (nearer and all(low <= high for low, high in pairwise(told))):
        yield (
            f"{one.id}: points must go from unacceptable to excellent, each value nearer to it than the last and each"
            " utility in [0, 100] and no less than the last, but are"
            f" {', '.join(f'[{value:g}, {utility:g}]' for value, utility in one.points)} between"
            f" {one.unacceptable:g} and {one.excellent:g}"
        )


def shared_names(
    found: Mapping[Path, Sequence[Indicator]], terminal: Mapping[Path, Sequence[TerminalIndicator]]
) -> dict[Path, list[str]]:
    """Return by file the ids that another file has too, and the counters that two indicators count differently.

    A counter is stored by its name: two aggregates of one name must be made of the same rows.
    """
    faults: dict[Path, list[str]] = {}
    owners: dict[str, Path] = {}
    counters: dict[str, Indicator] = {}
    for path, indicators in [*terminal.items(), *found.items()]:
        told = faults.setdefault(path, [])
        for one in indicators:
            if owners.setdefault(one.id, path) != path:
                told.append(f"{one.id}: ids must be unique, but {owners[one.id]} has this one too")
            if isinstance(one, Indicator):
                other = counters.setdefault(one.counter, one)
                if _rows(one) != _rows(other):
                    told.append(
                        f"{one.id}: counter {one.counter} must be kept one way, but here as {_rows(one)} and for"
                        f" {other.id} as {_rows(other)}; give it a name of its own"
                    )
    return faults


def _rows(one: Indicator) -> str:
    aggregate = one.aggregate
    return f"{aggregate.average} mean" if isinstance(aggregate, Mean) else aggregate.kind


def _one_broken(one: Indicator) -> Iterator[str]:
    yield from _points_broken(one)
    low, high = one.healthy_range
    if not low <= one.typical <= high:
        yield f"{one.id}: typical must be in healthy_range [{low:g}, {high:g}], but is {one.typical:g}"
    if one.unit == "%" and isinstance(one.aggregate, Ratio) and one.aggregate.scale != 100:
        yield f"{one.id}: a ratio in % must have scale 100, but has {one.aggregate.scale:g}"
    if isinstance(one.aggregate, Mean) and one.aggregate.average == "milliwatt" and one.unit != "dBm":
        yield f"{one.id}: only dBm is averaged in milliwatt, but the unit is {one.unit}"
    if len(set(one.granularity)) < len(one.granularity):
        yield f"{one.id}: scopes of granularity must be distinct, but are {', '.join(one.granularity)}"
    if one.id in _RESERVED:
        yield f"{one.id}: an id must not be a column of the table: {', '.join(_RESERVED)}"


def _uncounted(whole: IndicatorSet) -> Iterator[str]:
    found = Counter(indicator.domain for indicator in whole.indicators)
    for domain, wanted in whole.count.items():
        if found[domain] < wanted:
            yield f"{whole.id}: count.{domain} wants {wanted} indicators, but there are {found[domain]}"
    for indicator in whole.indicators:
        if indicator.domain not in whole.count:
            yield f"{indicator.id}: domain must be one of {', '.join(whole.count)}, but is {indicator.domain}"


def _of_events(whole: IndicatorSet) -> Iterator[str]:
    for scope, window in whole.windows.items():
        if window.events is not None and scope != "device":
            yield (
                f"{whole.id}: windows.{scope}.events must be left out, for only a device looks back over its last"
                f" events, but is {window.events}"
            )


def windowless(indicators: Iterable[Indicator], whole: IndicatorSet) -> Iterator[str]:
    """Yield each scope of the indicators that has no window in configs/indicators.yaml."""
    for indicator in indicators:
        for scope in indicator.granularity:
            if scope not in whole.windows:
                yield f"{indicator.id}: scope {scope} of granularity must have a length in windows, but has none"
