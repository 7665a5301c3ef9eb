"""How a vendor's wide table becomes COUNTERS: a YAML per vendor says which column is which raw counter."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from features.configuration import find_configs, read_config
from features.counter_hints import nearest
from features.indicators import Indicator, Mean, Ratio, Scope, refuse

Unit = Literal["1", "ms", "s", "min", "h", "d", "dBm", "mW", "dB", "%"]
WINDOW = "window_s"  # the denominator that is the window itself
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_HEADER = re.compile(r"^(?P<name>.*?)\s*\[(?P<unit>[^\]]*)\]\s*$")


class _Frozen(BaseModel, frozen=True, extra="forbid"):
    pass


class Layout(_Frozen):
    """How the text of the file is written."""

    delimiter: str = Field(",", min_length=1, max_length=1)
    decimal: Literal[".", ","] = "."
    skip_lines: int = Field(0, ge=0, description="lines before the header")
    encoding: str = "utf-8"
    no_value: tuple[str, ...] = Field(("",), description="texts of a gap: the element did not count")


class Time(_Frozen):
    """The column that tells the window."""

    column: str
    format: str = Field("ISO8601", description="as strptime has it")
    zone: str = Field("UTC", description="IANA name; of a text without an offset")
    marks: Literal["start", "end"] = "start"


class Bin(_Frozen):
    """One column of a histogram: how many samples lay in [low, high)."""

    column: str
    low: float
    high: float

    @model_validator(mode="after")
    def _has_a_width(self) -> Self:
        if self.low >= self.high:
            raise ValueError(
                f"{self.column}: low must be below high, but they are {self.low:g} and {self.high:g}"
            )
        return self


class Raw(_Frozen):
    """One column that is a numerator or denominator of indicators.yaml.

    cumulative_bits: width of a counter that runs on and wraps around at 2^bits; None where each window starts at 0.
    """

    raw: str
    column: str
    unit: Unit = "1"
    cumulative_bits: Literal[16, 32, 48, 64] | None = None


class Sample(_Frozen):
    """A sample of indicators.yaml, told as a histogram (`bins`) or as a mean over `samples_column` samples."""

    sample: str
    unit: Unit
    bins: tuple[Bin, ...] = ()
    mean_column: str | None = None
    samples_column: str | None = None

    @model_validator(mode="after")
    def _is_told_one_way(self) -> Self:
        if bool(self.bins) == bool(self.mean_column and self.samples_column):
            raise ValueError(f"{self.sample}: must have either bins, or mean_column and samples_column")
        return self


class VendorMapping(_Frozen):
    """configs/vendors/<vendor>.yaml."""

    vendor: str = Field(pattern=r"^[a-z0-9_]+$")
    layout: Layout = Layout()
    time: Time
    window_s: int = Field(ge=60, le=86_400)
    scope: Scope
    scope_id_column: str
    element_column: str
    received_column: str | None = None
    counters: tuple[Raw, ...] = ()
    samples: tuple[Sample, ...] = ()

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [one.raw for one in self.counters] + [one.sample for one in self.samples]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"a counter must have one column, but these have several: {', '.join(repeated)}")
        return self

    @property
    def is_running(self) -> bool:
        """Whether a counter runs on from window to window."""
        return any(one.cumulative_bits for one in self.counters)

    @property
    def columns(self) -> dict[str, str]:
        """Every column that a file must have, with its unit."""
        told = dict.fromkeys((self.time.column, self.scope_id_column, self.element_column), "")
        if self.received_column:
            told[self.received_column] = ""
        told |= {one.column: one.unit for one in self.counters}
        for one in self.samples:
            told |= {bin_.column: "1" for bin_ in one.bins}
            if one.mean_column and one.samples_column:
                told |= {one.mean_column: one.unit, one.samples_column: "1"}
        return told


def read_mapping(named: Path, workspace: Path, indicators: Sequence[Indicator]) -> VendorMapping:
    """Return a mapping by its path, or by the bare name of a file in configs/vendors.

    indicators: those for which it is there. Raises FileNotFoundError, ValueError that names file, key and rule: also
    where a column would silently feed no counter.
    """
    known = {path.stem: path for path in find_configs("vendors", workspace)}
    path = named if named.exists() else known.get(str(named))
    if path is None:
        told = f"{nearest(named.stem, known)}; it is a YAML file or one of {', '.join(known)}"
        raise FileNotFoundError(f"no mapping {str(named)!r}{told}")
    mapping = read_config(path, VendorMapping)
    refuse({path: [*_idle_raws(mapping, indicators), *_wrong_samples(mapping, indicators)]})
    return mapping


def _idle_raws(mapping: VendorMapping, indicators: Sequence[Indicator]) -> Iterator[str]:
    """Yield what is wrong with the raw counters of a mapping: each must be known and have its other half."""
    ratios = {one.counter: one.aggregate for one in indicators if isinstance(one.aggregate, Ratio)}.values()
    known = {raw for ratio in ratios for raw in (ratio.numerator, ratio.denominator)} - {WINDOW}
    mapped = {one.raw for one in mapping.counters} | {WINDOW}
    for one in mapping.counters:
        of = [ratio for ratio in ratios if one.raw in (ratio.numerator, ratio.denominator)]
        if not of:
            fact = f"{one.raw!r} of column {one.column!r}{nearest(one.raw, known)}"
            yield f"counters: raw must be a numerator or denominator of indicators.yaml, but is {fact}"
        elif not any({ratio.numerator, ratio.denominator} <= mapped for ratio in of):
            other = [ratio.denominator if ratio.numerator == one.raw else ratio.numerator for ratio in of]
            fact = (
                f"{one.raw} of column {one.column!r} has none: map {' or '.join(other)} too, or leave it out"
            )
            yield f"counters: a raw must have its numerator or denominator beside it, but {fact}"
        elif wrong := _wrong_unit(one.unit, raw_unit(one.raw)):
            yield f"counters: {one.raw}: {wrong}"


def _wrong_samples(mapping: VendorMapping, indicators: Sequence[Indicator]) -> Iterator[str]:
    """Yield what is wrong with the samples of a mapping: each must be known, and told as its indicators want it."""
    units = {one.counter: one.unit for one in indicators if not isinstance(one.aggregate, Ratio)}
    means = {one.counter for one in indicators if isinstance(one.aggregate, Mean)}
    for one in mapping.samples:
        if one.sample not in units:
            fact = f"{one.sample!r}{nearest(one.sample, units)}"
            yield f"samples: sample must be one of indicators.yaml, but is {fact}"
        elif one.mean_column and one.sample not in means:
            yield f"samples: {one.sample} is told as a mean, but indicators.yaml wants a quantile of it; map its bins"
        elif wrong := _wrong_unit(one.unit, units[one.sample]):
            yield f"samples: {one.sample}: {wrong}"


def _wrong_unit(unit: str, wanted: str) -> str:
    try:
        factor(unit, wanted)
    except ValueError as error:
        return str(error)
    return ""


def split_header(header: str) -> tuple[str, str | None]:
    """Return the name of a column and the unit in its brackets: `RRC.Delay [ms]` is RRC.Delay, ms."""
    found = _HEADER.match(header)
    return (found["name"], found["unit"].strip()) if found else (header.strip(), None)


def factor(unit: str, wanted: str) -> float:
    """Return by what a number in `unit` is multiplied to be in `wanted`. Raises ValueError where nothing does."""
    if unit == wanted:
        return 1.0
    if unit in _SECONDS and wanted in _SECONDS:
        return _SECONDS[unit] / _SECONDS[wanted]
    raise ValueError(f"a column in {unit} cannot be told in {wanted}; correct its unit in the mapping")


def raw_unit(raw: str) -> str:
    """Return the unit of a numerator or denominator, which its name tells."""
    return "s" if raw.endswith("_s") else "d" if raw.endswith("_days") else "1"
