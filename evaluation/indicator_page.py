"""docs/indicators.md, made from configs/: each indicator with its formula, anchors, source and where it is used."""

from collections.abc import Iterable

from evaluation.domain import Domain, read_domain
from evaluation.indicator_sheet import Use, facts, uses, window_words
from features.indicators import Indicator, TerminalFlag, TerminalIndicator

_HEAD = """# Indicators

Made from `configs/indicators.yaml`, `terminal_indicators.yaml` and `services/*.yaml` by
`python -m evaluation.indicator_page`; a test keeps it current. `iotlens indicators show ID` prints one of them, from
the configs of a workspace. A value scores 100 at or beyond its excellent anchor and 0 at or beyond the unacceptable
one. Basis says who fixes the definition: a standard, a vendor, or our judgement; all anchors and typical values are
judgement.
"""
_TABLE = "| indicator | unit | better | excellent | unacceptable | typical | basis |\n|---|---|---|---|---|---|---|\n"


def page() -> str:
    """Return the page of the default configurations, as Markdown."""
    domain = read_domain()
    parts = [_HEAD, _windows(domain)]
    for name in domain.standard.count:
        of_domain = [one for one in domain.standard.indicators if one.domain == name]
        parts.append(_section(f"{name.capitalize()} ({len(of_domain)})", of_domain, domain))
    for service in domain.services:
        if service.local_indicators:
            title = f"Only of {service.id} ({len(service.local_indicators)})"
            parts.append(_section(title, service.local_indicators, domain))
    parts.append(_section(f"Terminal, outside the 55 ({len(domain.terminal)})", domain.terminal, domain))
    return "\n".join(parts)


def _windows(domain: Domain) -> str:
    rows = "".join(f"| {scope} | {window_words(one)} |\n" for scope, one in domain.standard.windows.items())
    return f"| scope | window of a value |\n|---|---|\n{rows}"


def _section(title: str, indicators: Iterable[Indicator | TerminalIndicator], domain: Domain) -> str:
    kept = list(indicators)
    sheets = "\n".join(_sheet(one, domain) for one in kept)
    return f"## {title}\n\n{_TABLE}{''.join(map(_row, kept))}\n{sheets}"


def _row(one: Indicator | TerminalIndicator) -> str:
    cells = [f"[`{one.id}`](#{one.id})", one.unit]
    if isinstance(one, TerminalFlag):
        cells += [str(one.healthy_value), "", "", str(one.typical)]
    else:
        anchors = (one.excellent, one.unacceptable, one.typical)
        cells += [one.direction.split("_")[0], *(f"{anchor:g}" for anchor in anchors)]
    return f"| {' | '.join([*cells, one.basis])} |\n"


def _sheet(one: Indicator | TerminalIndicator, domain: Domain) -> str:
    told = "".join(f"- {name}: {words}\n" for name, words in facts(one))
    return f"### {one.id}\n\n{one.name}\n\n{told}{_used(uses(domain, one.id))}"


def _used(places: Iterable[Use]) -> str:
    """Return one line a kind of place, each place once."""
    by_kind: dict[str, list[str]] = {}
    for use in places:
        by_kind.setdefault(use.kind, []).append(_place(use))
    plural = {"step": "steps", "KQI": "KQIs", "rule": "rules", "fault": "faults"}
    lines = [f"- {plural[kind]}: {', '.join(dict.fromkeys(some))}\n" for kind, some in by_kind.items()]
    return "".join(lines) or "- used: by no step, KQI, rule or fault\n"


def _place(use: Use) -> str:
    own = use.where.split()[-1]
    if use.kind == "step":
        return f"`{own}` {use.how.split()[0]}"
    return f"`{own}` {use.how.split()[-1]}" if use.kind == "KQI" else f"`{own}`"


if __name__ == "__main__":
    import sys

    sys.stdout.write(page())
