"""What an indicator can be at all, by its unit: a share, a power, a flag, a count or a time."""

import math

from features.indicators import Indicator, TerminalFlag, TerminalIndicator

SIGNED = frozenset({"dBm", "dB"})  # units whose 0 is no least
PERCENT = "%"


def value_range(one: Indicator | TerminalIndicator) -> tuple[float, float]:
    """Return the least and the greatest value of an indicator that is possible; infinite where there is no end.

    A share in % lies in 0 to 100, a flag in 0 to 1; times, rates and counts are not below 0.
    """
    if isinstance(one, TerminalFlag):
        return 0.0, 1.0
    if one.unit == PERCENT:
        return 0.0, 100.0
    return (-math.inf, math.inf) if one.unit in SIGNED else (0.0, math.inf)


def rule_broken(one: Indicator | TerminalIndicator, value: float) -> str | None:
    """Return in words the rule that a value breaks; None where it can be."""
    low, high = value_range(one)
    if not math.isfinite(value):
        return "must be a finite number, or null where it is not known"
    if isinstance(one, TerminalFlag):
        return None if value in (0.0, 1.0) else "must be 0 or 1, for it is a flag"
    if low <= value <= high:
        return None
    most = f"in [{low:g}, {high:g}] {one.unit}" if math.isfinite(high) else f"at least {low:g} {one.unit}"
    return f"must be {most}"
