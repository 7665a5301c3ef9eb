"""What is wrong with a counter: named rules in the order in which they are asked, the first that holds is told.

A row that breaks one is quarantined with its rule, never counted. Conditions are DuckDB's, over the columns that
features/counters.py gives a row: those of COUNTERS, `known_*` of its counter, and flaws found while it was read.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from features import sketch
from features.counter_tables import COUNTERS
from features.indicators import Indicator, Mean, Ratio

SKEW_S = (
    300  # a clock may be this fast: above the 60 s of a badly kept NTP, below the shortest reported period
)
_EXACT = 2**53  # above it a float64 does not hold every whole number
_OLDEST = "2016-06-01"  # 3GPP Release 13 was frozen: before that there is no NB-IoT to count
_AGAIN = (
    "hb_recv/hb_expected",
    "ntf_ok/ntf_expected",
)  # told again, or more often than asked
_POWER_DBM = (-160.0, -20.0)  # what a receiver can tell: below the thermal noise of 3.75 kHz, above overload
_QUALITY_DB = (-50.0, 60.0)


@dataclass(frozen=True)
class Rule:
    """One way in which a counter is bad. says: what must hold. broken: SQL that tells it does not; "" where the
    reader of the file finds it. heals: another delivery may cure it, so the file is read again when delivered again.
    """

    name: str
    says: str
    broken: str = ""
    heals: bool = False


FOUND: tuple[Rule, ...] = (
    Rule("missing_column", "a file has every column of its contract or mapping"),
    Rule("unknown_column", "a file has no column that COUNTERS does not have"),
    Rule("ragged_row", "a row of a CSV has as many fields as its header"),
    Rule("unclosed_quote", "a row of a CSV is on one line: a quote that it opens is closed there"),
    Rule("time_unreadable", "a time is ISO 8601, or as the mapping says"),
    Rule("time_not_utc", "a time is UTC and says so"),
    Rule("time_ambiguous", "a local time is told once: not in the hour that a clock change repeats or skips"),
    Rule("text_in_number", "a number is a number"),
    Rule("wrong_unit", "the unit in a header is the one of the mapping"),
    Rule("no_previous_reading", "a cumulative counter has a reading one window before", heals=True),
    Rule(
        "reading_gap", "the reading before is one window old: a longer step is no window's count", heals=True
    ),
    Rule("counter_reset", "a cumulative counter falls only where it wraps around"),
    Rule("reading_twice", "an element tells a cumulative counter once for a window"),
    Rule("contradiction", "what a file tells of an element's counter in a window it tells in one way"),
)
ASKED: tuple[Rule, ...] = (
    Rule("empty_scope", "scope is told", "coalesce(scope, '') = ''"),
    Rule("unknown_scope", "scope is one of configs/indicators.yaml", "NOT list_contains($scopes, scope)"),
    Rule("empty_scope_id", "scope_id is told", "coalesce(scope_id, '') = ''"),
    Rule("untidy_scope_id", "an id has no space around it and no control character", "scope_id <> trim(scope_id)"
         r" OR regexp_matches(scope_id, '[\x00-\x1f\x7f]')"),
    Rule("empty_element", "element is told", "coalesce(element, '') = ''"),
    Rule("empty_vendor", "vendor is told", "coalesce(vendor, '') = ''"),
    Rule("empty_time", "window_start and received are told", "window_start IS NULL OR received IS NULL"),
    Rule("empty_window_length", "window_s is told", "window_s IS NULL"),
    Rule("window_length", "window_s is 60 to 86,400 s and divides a day", "NOT (window_s BETWEEN 60 AND 86400)"
         " OR window_s <> floor(window_s) OR 86400 % window_s <> 0"),
    Rule("window_off_grid", "a window begins at a multiple of its length since midnight UTC",
         "epoch_us(window_start) % (1000000 * TRY_CAST(window_s AS BIGINT)) <> 0"),
    Rule("window_too_old", "a window is not older than NB-IoT", f"window_start < TIMESTAMPTZ '{_OLDEST} 00:00:00+00'"),
    Rule("window_in_future", f"a window ends at most {SKEW_S} s after it was received",
         f"epoch(window_start) + window_s > epoch(received) + {SKEW_S}"),
    Rule("empty_counter", "counter is told", "coalesce(counter, '') = ''"),
    Rule("unknown_counter", "a counter is numerator/denominator or sample of an indicator", "known_kind IS NULL"),
    Rule("scope_of_counter", "a scope is in the granularity of an indicator of the counter",
         "NOT list_contains(known_scopes, scope)"),
    Rule("unknown_element", "a scope_id is in MEMBERSHIP, if that tells ids of its scope", "is_stranger", heals=True),
    Rule("empty_numerator", "numerator is told", "numerator IS NULL"),
    Rule("not_finite", "a number is finite", "NOT isfinite(numerator) OR NOT isfinite(denominator)"
         " OR NOT isfinite(bin)"),
    Rule("numerator_without_denominator", "a ratio or mean has a denominator, above 0 where it counted something",
         "known_kind <> 'quantile' AND (denominator IS NULL OR (denominator = 0 AND numerator <> 0))"),
    Rule("bin_without_sketch", "only a quantile has bins", "known_kind <> 'quantile' AND bin IS NOT NULL"),
    Rule("sketch_without_bin", "a row of a quantile has its bin", "known_kind = 'quantile' AND bin IS NULL"),
    Rule("denominator_of_bin", "a bin has no denominator", "known_kind = 'quantile' AND denominator IS NOT NULL"),
    Rule("bin_not_whole", "a bin is a whole number", "bin <> floor(bin)"),
    Rule("bin_out_of_range", f"a bin is within [{sketch.LOWEST_BIN:,}, {sketch.HIGHEST_BIN:,}]",
         f"NOT (bin BETWEEN {sketch.LOWEST_BIN} AND {sketch.HIGHEST_BIN})"),
    Rule("sample_out_of_range", "the value of a bin is one that its unit can have: dBm -160 to -20, dB -50 to 60,"
         " a time from 0", "NOT (bin BETWEEN known_low AND known_high)"),
    Rule("fractional_samples", "a bin holds whole samples",
         "known_kind = 'quantile' AND numerator <> floor(numerator)"),
    Rule("too_many_samples", "a bin holds at most 2^32 samples",
         f"known_kind = 'quantile' AND numerator > {sketch.MOST_SAMPLES}"),
    Rule("negative_delta", "what is counted is not negative", "denominator < 0"
         " OR (numerator < 0 AND known_kind IN ('ratio', 'quantile'))"),
    Rule("beyond_exact", "a number is at most 2^53, up to which all are exact",
         f"abs(numerator) > {_EXACT} OR denominator > {_EXACT}"),
    Rule("ratio_above_one", "a share is at most 1", "known_share AND numerator > denominator"),
    Rule("longer_than_window", "a denominator in seconds of the window is at most the window",
         "ends_with(counter, '/window_s') AND denominator > window_s * (1 + 1e-9)"),  # sums of parts round
    Rule("power_out_of_range", "a mean power is -160 to -20 dBm: numerator is the sum of milliwatts",
         "known_kind = 'power' AND denominator > 0 AND (numerator <= 0 OR NOT"
         f" (10 * log10(numerator / denominator) BETWEEN {_POWER_DBM[0]} AND {_POWER_DBM[1]}))"),
)  # fmt: skip
COMPARED: tuple[Rule, ...] = (  # they heal: the other may be read anew, and then tell it no more
    Rule("duplicate_row", "a count is told once: this one was told before with the same numbers", heals=True),
    Rule(
        "superseded",
        "of two deliveries of one window the one received last counts: this is the other",
        heals=True,
    ),
    Rule(
        "overlapping_window",
        "of windows of two lengths in which one element counted one moment the shorter count",
        heals=True,
    ),
)
RULES: Mapping[str, Rule] = {rule.name: rule for rule in (*FOUND, *ASKED, *COMPARED)}


def first_broken() -> str:
    """Return the SQL expression of the first rule of `ASKED` that a row breaks; NULL where it keeps all."""
    return "CASE " + " ".join(f"WHEN {rule.broken} THEN '{rule.name}'" for rule in ASKED) + " END"


def held(row: str) -> str:
    """Return the SQL of what a row holds in the columns that its rule of `ASKED` looks at; NULL where that is nothing.

    row: the relation of the row, under COUNTERS with `rule`.
    """
    cases = [
        f"WHEN '{rule.name}' THEN concat_ws(', ', {', '.join(_holds(row, name) for name in names)})"
        for rule in ASKED
        if (names := _looked_at(rule))
    ]
    return f"nullif(CASE {row}.rule {' '.join(cases)} END, '')"


def _holds(row: str, name: str) -> str:
    return f"'{name} is ' || nullif(CAST({row}.{name} AS VARCHAR), '')"


def _looked_at(rule: Rule) -> list[str]:
    """Return the columns of COUNTERS that the condition of a rule names; what it does not name is known of one."""
    names = [one.name for one in COUNTERS if re.search(rf"\b{one.name}\b", rule.broken)]
    return names or [_KNOWN_OF[known] for known in _KNOWN_OF if known in rule.broken]


_KNOWN_OF = {"is_stranger": "scope_id", "known_kind": "counter"}


def known_counters(indicators: Sequence[Indicator]) -> pa.Table:
    """Return what is known of each counter: counter, known_kind (ratio, quantile, mean or power), known_scopes,
    known_share (whether it is at most 1), known_low and known_high (bins that its unit allows).
    """
    scopes: dict[str, list[str]] = {}
    for one in indicators:
        scopes[one.counter] = list(dict.fromkeys([*scopes.get(one.counter, []), *one.granularity]))
    rows = {
        one.counter: {
            "counter": one.counter,
            "known_kind": _kind(one),
            "known_scopes": scopes[one.counter],
            "known_share": _is_share(one),
            **dict(zip(("known_low", "known_high"), _bins(one.unit), strict=True)),
        }
        for one in indicators
    }
    schema = pa.schema(
        [
            ("counter", pa.string()),
            ("known_kind", pa.string()),
            ("known_scopes", pa.list_(pa.string())),
            ("known_share", pa.bool_()),
            ("known_low", pa.int64()),
            ("known_high", pa.int64()),
        ]
    )
    return pa.Table.from_pylist(list(rows.values()), schema=schema)


def _kind(one: Indicator) -> str:
    if isinstance(one.aggregate, Mean):
        return "power" if one.aggregate.average == "milliwatt" else "mean"
    return one.aggregate.kind


def _is_share(one: Indicator) -> bool:
    is_percentage = isinstance(one.aggregate, Ratio) and one.unit == "%"
    return is_percentage and one.counter not in _AGAIN


def _bins(unit: str) -> tuple[int, int]:
    low, high = {"dBm": _POWER_DBM, "dB": _QUALITY_DB}.get(unit, (None, None))
    if low is None or high is None:
        lowest = 0 if unit in ("ms", "s", "min", "h") else sketch.LOWEST_BIN
        return lowest, sketch.HIGHEST_BIN
    first, last = sketch.bins(np.array([low, high]))
    return int(first), int(last)
