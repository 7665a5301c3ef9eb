"""The 55 indicators and the terminal ones, as configs/ declares them: what is measured, how, where, and what is good.

Values of the domain (anchors, typical values, windows) stand in the files; this module reads and checks them.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from features.configuration import find_config, find_configs, read_config

Scope = Literal[
    "device", "cell", "tac", "mme", "platform_node", "app", "fleet",
    "city", "province", "program_source", "cdn_node",
]  # fmt: skip
Domain = Literal["radio", "core", "platform", "cloud", "pipe", "device"]
Direction = Literal["higher_is_better", "lower_is_better"]
Curve = Literal["linear", "log"]
Basis = Literal["standard", "vendor", "seed", "judgement"]
Number = Annotated[float, Field(allow_inf_nan=False)]
Id = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=63)]  # a column: no double _
Name = Annotated[str, Field(min_length=1)]

_RESERVED = ("scope", "scope_id", "window_start", "window_end", "created", "indicator", "value", "samples")


class _Frozen(BaseModel, frozen=True, extra="forbid", populate_by_name=True):
    pass


class Ratio(_Frozen):
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


class Quantile(_Frozen):
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


class Mean(_Frozen):
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


class ByCoverage(_Frozen):
    """The healthy nominal value of a device at each coverage enhancement level."""

    ce0: Number
    ce1: Number
    ce2: Number


class Indicator(_Frozen):
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

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        _tell(_anchor_faults(self), _indicator_faults(self))
        return self


class ScopeWindow(_Frozen):
    """How far back a value of a scope looks: length_s, or the last `events` events where these are fewer."""

    length_s: int = Field(ge=60)
    events: int | None = Field(default=None, ge=1)


class IndicatorSet(_Frozen):
    """configs/indicators.yaml."""

    schema_: Literal["indicator_set/1"] = Field(alias="schema")
    id: Id
    count: dict[Domain, int] = Field(
        description="how many of each domain the standard set has; more may be added"
    )
    windows: dict[Scope, ScopeWindow]
    min_samples_at_device_scope: int = Field(ge=1)
    indicators: tuple[Indicator, ...]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        _tell(_repeated(self.indicators), _uncounted(self), _windowless(self))
        return self

    def of(self, indicator_id: str) -> Indicator:
        """Return the indicator of that id. Raises LookupError that names the nearest."""
        return find(indicator_id, self.indicators)


class TerminalMeasure(_Frozen):
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
    basis: Basis

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        _tell(_anchor_faults(self))
        return self


class TerminalFlag(_Frozen):
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
    basis: Basis

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.typical != self.healthy_value:
            raise ValueError(
                f"{self.id}: typical must be the healthy_value of a flag, but is {self.typical},"
                f" not {self.healthy_value}"
            )
        return self


TerminalIndicator = TerminalMeasure | TerminalFlag


class TerminalSet(_Frozen):
    """configs/terminal_indicators.yaml."""

    schema_: Literal["indicator_set/1"] = Field(alias="schema")
    id: Id
    indicators: tuple[Annotated[TerminalIndicator, Field(discriminator="kind")], ...]

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        _tell(_repeated(self.indicators))
        return self


class _LocalSet(BaseModel, frozen=True, extra="ignore"):
    """The indicators of a service file; evaluation/process.py checks all else of it."""

    local_indicators: tuple[Indicator, ...] = ()


def read_indicators(workspace: Path | None = None) -> IndicatorSet:
    """Return the checked configs/indicators.yaml. Raises ValueError that names file, id and rule."""
    return read_config(find_config("indicators.yaml", workspace), IndicatorSet)


def read_terminal(workspace: Path | None = None) -> tuple[TerminalIndicator, ...]:
    """Return the indicators of configs/terminal_indicators.yaml. Raises ValueError that names file, id and rule."""
    return read_config(find_config("terminal_indicators.yaml", workspace), TerminalSet).indicators


def all_indicators(workspace: Path | None = None) -> tuple[Indicator, ...]:
    """Return the 55 (and what was added to them), then the local ones of every service, in the order of the files.

    Raises ValueError that names file, id and rule, also where an id or a counter has two meanings.
    """
    found = {find_config("indicators.yaml", workspace): read_indicators(workspace).indicators}
    for path in find_configs("services", workspace):
        found[path] = read_config(path, _LocalSet).local_indicators
    ids = {find_config("terminal_indicators.yaml", workspace): read_terminal(workspace), **found}
    if faults := [*_shared_ids(ids), *_shared_counters(found)]:
        raise ValueError("\n".join(faults))
    return tuple(indicator for indicators in found.values() for indicator in indicators)


def find(indicator_id: str, indicators: Iterable[Indicator]) -> Indicator:
    """Return the indicator of that id. Raises LookupError that names the nearest."""
    known = {indicator.id: indicator for indicator in indicators}
    if indicator_id in known:
        return known[indicator_id]
    near = difflib.get_close_matches(indicator_id, known, n=1, cutoff=0.0)
    raise LookupError(f"no indicator {indicator_id!r}; the nearest is {', '.join(near) or 'none'}")


def _tell(*faults: Iterable[str]) -> None:
    told = [fault for some in faults for fault in some]
    if told:
        raise ValueError("; ".join(told))


def _anchor_faults(one: Indicator | TerminalMeasure) -> Iterator[str]:
    higher = one.direction == "higher_is_better"
    if one.excellent == one.unacceptable or (one.excellent > one.unacceptable) != higher:
        yield (
            f"{one.id}: excellent must be {'above' if higher else 'below'} unacceptable where {one.direction},"
            f" but they are {one.excellent:g} and {one.unacceptable:g}"
        )


def _indicator_faults(one: Indicator) -> Iterator[str]:
    low, high = one.healthy_range
    if not low <= one.typical <= high:
        yield f"{one.id}: typical must be in healthy_range [{low:g}, {high:g}], but is {one.typical:g}"
    if one.curve == "log" and min(one.excellent, one.unacceptable) <= 0:
        yield f"{one.id}: both anchors must be above 0 for curve log, but {one.excellent:g}, {one.unacceptable:g}"
    if one.unit == "%" and isinstance(one.aggregate, Ratio) and one.aggregate.scale != 100:
        yield f"{one.id}: a ratio in % must have scale 100, but has {one.aggregate.scale:g}"
    if isinstance(one.aggregate, Mean) and one.aggregate.average == "milliwatt" and one.unit != "dBm":
        yield f"{one.id}: only dBm is averaged in milliwatt, but the unit is {one.unit}"
    if len(set(one.granularity)) < len(one.granularity):
        yield f"{one.id}: scopes of granularity must be distinct, but are {', '.join(one.granularity)}"
    if one.id in _RESERVED or one.id.endswith("_samples"):
        yield f"{one.id}: an id must not end in _samples or be a column of the table: {', '.join(_RESERVED)}"


def _repeated(indicators: Iterable[Indicator | TerminalIndicator]) -> Iterator[str]:
    for indicator_id, times in Counter(indicator.id for indicator in indicators).items():
        if times > 1:
            yield f"{indicator_id}: ids must be unique, but {times} indicators have this one"


def _uncounted(whole: IndicatorSet) -> Iterator[str]:
    found = Counter(indicator.domain for indicator in whole.indicators)
    for domain, wanted in whole.count.items():
        if found[domain] < wanted:
            yield f"{whole.id}: count.{domain} says {wanted} indicators, but there are {found[domain]}"
    for indicator in whole.indicators:
        if indicator.domain not in whole.count:
            yield f"{indicator.id}: domain must be one of {', '.join(whole.count)}, but is {indicator.domain}"


def _windowless(whole: IndicatorSet) -> Iterator[str]:
    for indicator in whole.indicators:
        for scope in indicator.granularity:
            if scope not in whole.windows:
                yield f"{indicator.id}: scope {scope} of its granularity has no length in windows"


def _shared_ids(found: Mapping[Path, Iterable[Indicator | TerminalIndicator]]) -> Iterator[str]:
    first: dict[str, Path] = {}
    for path, indicators in found.items():
        for indicator in indicators:
            if first.setdefault(indicator.id, path) != path:
                yield f"{path}: {indicator.id}: ids must be unique, but {first[indicator.id]} has this one too"


def _shared_counters(found: Mapping[Path, Iterable[Indicator]]) -> Iterator[str]:
    """A counter is stored by its name: two aggregates of one name must be made of the same rows."""
    first: dict[str, tuple[Indicator, object]] = {}
    for path, indicators in found.items():
        for indicator in indicators:
            aggregate = indicator.aggregate
            rows = (aggregate.kind, aggregate.average if isinstance(aggregate, Mean) else None)
            other, others_rows = first.setdefault(indicator.counter, (indicator, rows))
            if rows != others_rows:
                yield (
                    f"{path}: {indicator.id}: counter {indicator.counter} must be counted one way, but here it is a"
                    f" {aggregate.kind} and of {other.id} a {other.aggregate.kind}; give it a name of its own"
                )
