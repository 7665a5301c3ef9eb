"""What is known of one indicator: its definition and anchors, and every place of the domain that uses it."""

import difflib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from evaluation.domain import Domain
from evaluation.process import ServiceModel
from features import indicator_tables, lake
from features.indicators import (
    Indicator,
    IndicatorSet,
    Quantile,
    Ratio,
    ScopeWindow,
    TerminalFlag,
    TerminalIndicator,
    all_indicators,
)

_ALIKE = 0.5  # of difflib: what a slip of the finger leaves, not what a few common letters make
TERMINAL = "terminal"  # the domain under which the indicators outside the 55 are listed
_OPERATORS = {"eq": "=", "ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_EFFECTS = {"add": "{:+g}", "mul": "x {:g}", "set": "to {:g}"}


@dataclass(frozen=True)
class Use:
    """One place that uses an indicator. kind: step, KQI, rule, fault; where: its ids; how: in words."""

    kind: str
    where: str
    how: str


def pick(
    domain: Domain, *, of_domain: str | None = None, service: str | None = None
) -> tuple[Indicator | TerminalIndicator, ...]:
    """Return the indicators of a domain, or those that a service uses; the terminal ones only where asked for.

    Raises LookupError that names the nearest domain or service.
    """
    known = [*dict.fromkeys(indicator.domain for indicator in domain.indicators), TERMINAL]
    if of_domain is not None:
        _must_know(of_domain, known, what="domain")
    picked: tuple[Indicator | TerminalIndicator, ...] = domain.terminal if of_domain == TERMINAL else ()
    if of_domain != TERMINAL:
        picked = tuple(one for one in domain.indicators if of_domain in (None, one.domain))
    if service is None:
        return picked
    _must_know(service, [one.id for one in domain.services], what="service")
    used = _used_by(next(one for one in domain.services if one.id == service))
    return tuple(one for one in picked if one.id in used)


def find(domain: Domain, indicator_id: str) -> Indicator | TerminalIndicator:
    """Return the indicator of that id, of the 55, local or terminal. Raises LookupError that names the nearest."""
    known = {one.id: one for one in domain.measured}
    _must_know(indicator_id, known, what="indicator")
    return known[indicator_id]


def uses(domain: Domain, indicator_id: str) -> tuple[Use, ...]:
    """Return every place that uses an indicator: steps, KQI weights, rules, faults."""
    return tuple(use for some in (_steps, _weights, _rules, _faults) for use in some(domain, indicator_id))


def listed(indicators: Iterable[Indicator | TerminalIndicator]) -> str:
    """Return a table, one indicator a line: id, domain, unit, direction, name."""
    rows = [
        (
            one.id,
            _domain(one),
            one.unit,
            getattr(one, "direction", "flag").replace("_is_better", ""),
            one.name,
        )
        for one in indicators
    ]
    return _aligned(rows)


def sheet(domain: Domain, indicator_id: str) -> str:
    """Return all that is known of one indicator, as text. Raises LookupError that names the nearest."""
    one = find(domain, indicator_id)
    told = facts(one, domain.standard)
    places = [(use.kind, use.where, use.how) for use in uses(domain, one.id)]
    used = _aligned(places) if places else "nothing"
    return f"{one.id}: {one.name}\n{_aligned(told)}\nused in\n{_indented(used)}"


def values(workspace: Path, scope: str, scope_id: str, *, at: datetime | None = None) -> str:
    """Return the newest indicators of one cell, device, ...: value, unit, of how many, and when the window ended.

    at: no window ends later than this. Raises LookupError that names what there is instead.
    """
    wide = indicator_tables.rows(workspace, scope, scope_id)
    if wide.empty:
        raise LookupError(f"no indicator of {scope} {scope_id!r} in {workspace}; {_some(workspace, scope)}")
    first = wide["window_end"].min()
    wide = wide if at is None else wide[wide["window_end"] <= at]
    if wide.empty:
        raise LookupError(
            f"no indicator of {scope} {scope_id!r} ended at or before {at:%F %H:%M} UTC; the first did at"
            f" {first:%F %H:%M}"
        )
    newest, known = wide.iloc[-1], {one.id: one for one in all_indicators(workspace)}
    told = [
        (name, _value(newest[name], known[name]), _of(count, known[name]))
        for name in wide.columns
        if name in known and (count := newest[f"{name}__samples"])
    ]
    mark = ", simulated" if lake.is_simulated(workspace) else ""
    return (
        f"{scope} {scope_id}, window that ended {newest['window_end']:%F %H:%M} UTC{mark}\n{_aligned(told)}"
    )


def _value(value: float, one: Indicator) -> str:
    """Return a value in its unit; of a sketch, which is within 1 %, three digits."""
    if math.isnan(value):
        return "no evidence"
    digits = 3 if isinstance(one.aggregate, Quantile) else 6
    told = f"{value:.{digits}g}"
    return f"{f'{float(told):,.0f}' if 'e+' in told else told} {one.unit}"


def _of(count: float, one: Indicator) -> str:
    """Return what a value rests on: how much of its denominator, or how many samples."""
    number = f"{count:,.0f}" if count == round(count) else f"{count:,.2f}"
    return (
        f"of {number} {one.aggregate.denominator}"
        if isinstance(one.aggregate, Ratio)
        else f"{number} samples"
    )


def _some(workspace: Path, scope: str) -> str:
    ids = indicator_tables.rows(workspace, scope)["scope_id"].unique()
    way = "iotlens indicators build makes them of counters"
    return f"there are {len(ids):,}, as {', '.join(ids[:3])}" if len(ids) else way


def facts(
    one: Indicator | TerminalIndicator, standard: IndicatorSet | None = None
) -> tuple[tuple[str, str], ...]:
    """Return name and words of each fact of an indicator, without where it is used.

    standard: tells the window and the least samples of each scope.
    """
    if not isinstance(one, Indicator):
        return tuple(_terminal_facts(one))
    scopes: Iterable[str] = one.granularity
    least = f"{one.min_samples} in a window, below that no evidence"
    if standard is not None:
        scopes = (f"{scope} ({window_words(standard.windows[scope])})" for scope in one.granularity)
        if "device" in one.granularity:
            least += f"; of a device {standard.min_samples_at_device_scope}"
    told = (
        ("domain", one.domain),
        ("definition", one.definition),
        ("formula", one.aggregate.formula),
        ("unit", one.unit),
        ("direction", one.direction.replace("_", " ")),
        (
            "anchors",
            f"100 from {one.excellent:g}, 0 from {one.unacceptable:g} {one.unit}, {one.curve} between{_bends(one)}",
        ),
        ("typical", f"{one.typical:g}, healthy {one.healthy_range[0]:g} to {one.healthy_range[1]:g}"),
        ("by CE level", _by_ce(one)),
        ("counted by", one.element),
        ("interface", one.interface),
        ("granularity", ", ".join(scopes)),
        ("least samples", least),
        ("source", "; ".join(one.source)),
        ("basis", f"{one.basis}; of the anchors: {one.anchor_basis}"),
        ("note", one.note),
    )
    return tuple((name, words) for name, words in told if words)


def _bends(one: Indicator) -> str:
    if not one.points:
        return ""
    points = (f"{utility:.3g} at {value:g}" for value, utility in reversed(one.points))
    return f", through {', '.join(points)}"


def window_words(window: ScopeWindow) -> str:
    """Return how far back a scope looks, in words."""
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if window.length_s % seconds == 0:
            length = f"{window.length_s // seconds} {unit}"
            break
    else:
        length = f"{window.length_s} s"
    return f"last {window.events} events, at most {length}" if window.events else length


def _terminal_facts(one: TerminalIndicator) -> Iterator[tuple[str, str]]:
    yield "domain", TERMINAL
    yield "definition", one.definition
    yield "unit", one.unit
    if isinstance(one, TerminalFlag):
        yield "healthy", str(one.healthy_value)
    else:
        yield "direction", one.direction.replace("_", " ")
        yield "anchors", f"100 from {one.excellent:g}, 0 from {one.unacceptable:g} {one.unit}"
        yield "typical", f"{one.typical:g}"
    yield "counted by", one.obtained_from
    yield "granularity", ", ".join(one.granularity)
    yield "applies to", ", ".join(one.applies_to)
    yield "basis", one.basis


def _steps(domain: Domain, indicator_id: str) -> Iterator[Use]:
    for service in domain.services:
        for process in service.processes:
            for step in process.steps:
                if indicator_id in step.indicators:
                    yield Use("step", f"{service.id} {process.id}", f"{step.seq} {step.name}")


def _weights(domain: Domain, indicator_id: str) -> Iterator[Use]:
    for service in domain.services:
        for kqi in service.kqis:
            for weight in kqi.expert_weights:
                if weight.indicator == indicator_id:
                    yield Use("KQI", f"{service.id} {kqi.id}", f"expert weight {weight.weight:g}")


def _rules(domain: Domain, indicator_id: str) -> Iterator[Use]:
    for rule in domain.rules.rules:
        for atom in rule.atoms():
            if atom.metric == indicator_id:
                delta = "change " if atom.stat == "delta" else ""
                how = f"{delta}{_OPERATORS[atom.op]} {atom.value:g} at {atom.scope}: {rule.name}"
                yield Use("rule", rule.id, how)


def _faults(domain: Domain, indicator_id: str) -> Iterator[Use]:
    for fault in domain.catalogue.faults:
        for move in fault.signature:
            if move.indicator == indicator_id:
                how = _EFFECTS[move.effect].format(move.value)
                yield Use("fault", fault.id, f"{how} at full severity: {fault.name}")


def _used_by(service: ServiceModel) -> set[str]:
    """The indicators that a service is judged by: those of its steps and weights, and its own."""
    used = {driver for process in service.processes for driver in process.drivers}
    used |= {weight.indicator for kqi in service.kqis for weight in kqi.expert_weights}
    return used | {indicator.id for indicator in service.local_indicators}


def _must_know(asked: str, known: Iterable[str], *, what: str) -> None:
    names = list(known)
    if asked not in names:
        near = difflib.get_close_matches(asked, names, n=1, cutoff=_ALIKE)
        way = f"the nearest is {near[0]}" if near else f"none of the {len(names)} known is like it"
        raise LookupError(f"no {what} {asked!r}; {way}")


def _domain(one: Indicator | TerminalIndicator) -> str:
    return one.domain if isinstance(one, Indicator) else TERMINAL


def _by_ce(one: Indicator) -> str:
    if one.by_ce is None:
        return ""
    return f"CE0 {one.by_ce.ce0:g}, CE1 {one.by_ce.ce1:g}, CE2 {one.by_ce.ce2:g}"


def _aligned(rows: Iterable[tuple[str, ...]]) -> str:
    """Return rows as text, every column but the last as wide as its widest cell."""
    kept = list(rows)
    widths = [max(map(len, column)) for column in zip(*kept, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, [*widths[:-1], 0], strict=True))
        for row in kept
    )


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
