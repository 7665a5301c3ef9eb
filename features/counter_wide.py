"""A vendor's wide table as COUNTERS: columns become rows, units are converted, running counters become differences."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from features import counter_hints, sketch
from features.counter_mapping import WINDOW, Raw, Sample, VendorMapping, factor, raw_unit, split_header
from features.counter_reading import open_texts
from features.indicators import Indicator, Mean, Ratio

PART_ROWS = 50_000  # of a wide table that are worked on at a time
_WRAPS_WITHIN = 0.25  # of the range: a fall that means a longer step is a reset, not a wrap-around


@dataclass(frozen=True)
class Told:
    """One column in its wanted unit: values (NaN where there is none), and by row "" or the rule that it breaks.

    gap: where the element told nothing, which is no fault.
    """

    values: np.ndarray
    found: np.ndarray
    gap: np.ndarray


@dataclass(frozen=True)
class Made:
    """What a counter is made of in each row: flaws (n,), "" or a rule that is broken, and (n,) its two parts."""

    found: np.ndarray
    numerator: np.ndarray
    denominator: np.ndarray | None = None


@dataclass(frozen=True)
class WideFile:
    """A vendor's file that is to be read. received: when it was."""

    path: Path
    mapping: VendorMapping
    received: datetime


@dataclass(frozen=True)
class Wide:
    """A vendor's file. rows: time, scope_id, element, received, found of each row. previous: kept readings.

    previous: scope_id, column, window_start, reading; the last of each running counter before this file.
    """

    mapping: VendorMapping
    texts: pd.DataFrame
    units: Mapping[str, str | None]
    rows: pd.DataFrame
    previous: pd.DataFrame


def open_wide(
    connection: duckdb.DuckDBPyConnection,
    file: WideFile,
    *,
    indicators: Sequence[Indicator],
    previous: Callable[[pd.DataFrame], pd.DataFrame],
) -> tuple[pd.DataFrame, str]:
    """Make `raw` and `given` of a vendor's file, as `open_long` does; return its last readings, to be kept, and which
    columns it lacks.

    previous: from rows with window_start and element to the readings of other files that may precede them.
    Raises ValueError: what is wrong, to follow the file's name.
    """
    mapping, layout = file.mapping, file.mapping.layout
    header = open_texts(
        connection,
        file.path,
        delimiter=layout.delimiter,
        encoding=layout.encoding,
        skip_lines=layout.skip_lines,
    )
    headers = {name: split_header(name) for name in header}
    names = {split: name for name, (split, _) in headers.items()}
    flaw = counter_hints.of_columns(list(mapping.columns), list(names), unknown=())
    connection.register("part", _SCHEMA.empty_table())
    connection.execute("CREATE OR REPLACE TEMP TABLE long AS SELECT * FROM part")
    kept = [_no_readings()]
    if flaw:
        connection.execute("INSERT INTO long BY NAME SELECT row, 'missing_column' AS found FROM raw")
    else:
        elements = [names[mapping.scope_id_column], names[mapping.element_column]]
        for texts in _parts(connection, elements):
            told = texts.rename(columns={name: split for name, (split, _) in headers.items()})
            rows = _rows(told, mapping, file.received)
            given, readings = _given(
                Wide(mapping, told, dict(headers.values()), rows, previous(rows)), indicators
            )
            _keep(connection, given)
            kept.append(readings)
    connection.execute("INSERT INTO long BY NAME SELECT row, broken AS found FROM ragged")
    connection.execute("CREATE OR REPLACE TEMP VIEW given AS SELECT * FROM long")
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW flaws AS SELECT row, NULL::VARCHAR AS flaw FROM raw WHERE false"
    )
    connection.unregister("part")
    readings = pd.concat([one for one in kept if len(one)] or kept)
    return readings.assign(vendor=mapping.vendor, scope=mapping.scope), flaw


def _parts(connection: duckdb.DuckDBPyConnection, elements: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Yield `raw` in parts of about as many rows, all rows of an element in one: a running counter needs no others.

    elements: the columns that tell of what a row is.
    """
    ((count,),) = connection.execute("SELECT count(*) FROM raw").fetchall()
    parts = -(-count // PART_ROWS) or 1
    named = ", ".join('"{}"'.format(name.replace('"', '""')) for name in elements)
    for part in range(parts):
        sql = f"SELECT * FROM raw WHERE hash({named}) % {parts} = {part} ORDER BY row"
        yield connection.execute(sql).to_arrow_table().to_pandas()


def _keep(connection: duckdb.DuckDBPyConnection, given: Iterable[pd.DataFrame]) -> None:
    """Add rows under COUNTERS to `long`."""
    for rows in given:
        connection.register("part", pa.Table.from_pandas(rows, schema=_SCHEMA, preserve_index=False))
        connection.execute("INSERT INTO long SELECT * FROM part")


_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("found", pa.string()),
        *((name, pa.string()) for name in ("scope", "scope_id", "counter", "element", "vendor")),
        *((name, pa.timestamp("us", tz="UTC")) for name in ("window_start", "received")),
        *((name, pa.float64()) for name in ("window_s", "bin", "numerator", "denominator")),
    ]
)
_READINGS = ("scope_id", "element", "column", "window_start", "reading")


def _no_readings() -> pd.DataFrame:
    moment = pd.Series([], dtype="datetime64[us, UTC]")
    texts = {name: pd.Series([], dtype="string") for name in ("scope_id", "element", "column")}
    return pd.DataFrame({**texts, "window_start": moment, "reading": pd.Series([], dtype="float64")})


def _rows(texts: pd.DataFrame, mapping: VendorMapping, received: datetime) -> pd.DataFrame:
    """Return what the columns of a row that are no counters tell."""
    start, found = _moments(texts[mapping.time.column], mapping)
    if mapping.time.marks == "end":
        start = start - pd.Timedelta(seconds=mapping.window_s)
    told = pd.Series(pd.Timestamp(received), index=texts.index).astype("datetime64[us, UTC]")
    if mapping.received_column:
        told, late = _moments(texts[mapping.received_column], mapping)
        found = found.where(found != "", late)
    return pd.DataFrame(
        {
            "row": texts["row"],
            "found": found,
            "scope": mapping.scope,
            "scope_id": texts[mapping.scope_id_column].astype("string"),
            "element": texts[mapping.element_column].astype("string"),
            "vendor": mapping.vendor,
            "window_start": start,
            "window_s": float(mapping.window_s),
            "received": told,
        }
    )


def _moments(
    texts: "pd.Series[str]", mapping: VendorMapping
) -> tuple["pd.Series[pd.Timestamp]", "pd.Series[str]"]:
    """Return times in UTC, and what is wrong with each: "", time_unreadable or time_ambiguous."""
    local = pd.to_datetime(texts, format=mapping.time.format, errors="coerce")
    unreadable = local.isna() & (texts != "")
    if local.dt.tz is None:
        local = local.dt.tz_localize(mapping.time.zone, ambiguous="NaT", nonexistent="NaT")
    moments = local.dt.tz_convert("UTC").astype("datetime64[us, UTC]")
    flaws = np.select(
        [unreadable.to_numpy(), (moments.isna() & (texts != "")).to_numpy()],
        ["time_unreadable", "time_ambiguous"],
        default="",
    )
    return moments, pd.Series(flaws, index=texts.index)


def _given(wide: Wide, indicators: Sequence[Indicator]) -> tuple[list[pd.DataFrame], pd.DataFrame]:
    """Return, in parts, the rows under COUNTERS that a wide table stands for, and its last readings."""
    raws: dict[str, Told] = {}
    kept: list[pd.DataFrame] = []
    for one in wide.mapping.counters:
        told = _column(wide, one.column, one.unit, raw_unit(one.raw))
        if one.cumulative_bits:
            kept.append(_last_readings(wide, one, told))
            told = _steps(wide, one, told)
        raws[one.raw] = told
    count = len(wide.rows)
    raws[WINDOW] = Told(
        np.full(count, float(wide.mapping.window_s)), np.full(count, ""), np.zeros(count, bool)
    )
    ratios = {one.counter: one.aggregate for one in indicators if isinstance(one.aggregate, Ratio)}
    parts = [_ratio(wide, counter, ratio, raws) for counter, ratio in ratios.items()]
    means = {one.counter: one.aggregate for one in indicators if isinstance(one.aggregate, Mean)}
    units = {one.counter: one.unit for one in indicators}
    for sample in wide.mapping.samples:
        unit = units[sample.sample]
        parts += list(_bins(wide, sample, unit)) if sample.bins else [_mean(wide, sample, unit, means)]
    made = [part.reindex(columns=_SCHEMA.names) for part in parts if part is not None]
    last = [readings for readings in kept if len(readings)]
    return made, pd.concat(last) if last else _no_readings()


def _column(wide: Wide, column: str, unit: str, wanted: str) -> Told:
    layout = wide.mapping.layout
    texts = wide.texts[column].str.strip()
    gap = texts.isin(list(layout.no_value)).to_numpy()
    plain = texts.str.replace(layout.decimal, ".", regex=False) if layout.decimal != "." else texts
    values = pd.to_numeric(plain.mask(gap), errors="coerce").to_numpy(dtype="float64") * factor(unit, wanted)
    text = np.isnan(values) & ~gap & ~texts.str.lower().isin(["nan"]).to_numpy()
    told_unit = wide.units.get(column)
    wrong = told_unit is not None and told_unit != unit
    found = np.where(wrong & ~gap, "wrong_unit", np.where(text, "text_in_number", ""))
    return Told(values, found, gap)


def _steps(wide: Wide, one: Raw, told: Told) -> Told:
    """Return how much a running counter rose in each window; what is no step of one window is found so."""
    file = wide.rows[["scope_id", "element", "window_start"]].assign(
        reading=told.values, place=np.arange(len(told.values))
    )
    before = wide.previous[wide.previous["column"] == one.column].assign(place=-1)
    line = file[~told.gap & (told.found == "")]
    window = ["scope_id", "element", "window_start"]
    if len(before):
        corrected = pd.MultiIndex.from_frame(before[window]).isin(pd.MultiIndex.from_frame(line[window]))
        before = before[~corrected]
    if len(before):
        line = pd.concat([before[line.columns], line])
    line = line.sort_values(
        [*window, "place", "reading"], kind="stable"
    )  # of two files the greater was later
    last = line.groupby(["scope_id", "element"], dropna=False)[["window_start", "reading"]].shift()
    age_s = (line["window_start"] - last["window_start"]).dt.total_seconds().to_numpy()
    step = (line["reading"] - last["reading"]).to_numpy(dtype="float64")
    wrapped = step + 2.0 ** (one.cumulative_bits or 0)
    wraps = (step < 0) & (wrapped <= _WRAPS_WITHIN * 2.0 ** (one.cumulative_bits or 0))
    found = np.select(
        [np.isnan(age_s), age_s == 0, age_s != wide.mapping.window_s, (step < 0) & ~wraps],
        ["no_previous_reading", "reading_twice", "reading_gap", "counter_reset"],
        default="",
    )
    own = line["place"].to_numpy() >= 0
    place = line["place"].to_numpy()[own]
    values, flaws = told.values.copy(), told.found.astype(object)
    values[place] = np.where(wraps, wrapped, step)[own]
    flaws[place] = found[own]
    return Told(values, flaws, told.gap)


def _last_readings(wide: Wide, one: Raw, told: Told) -> pd.DataFrame:
    good = ~told.gap & (told.found == "") & wide.rows["window_start"].notna().to_numpy()
    file = wide.rows.loc[good, ["scope_id", "element", "window_start"]].assign(
        column=one.column, reading=told.values[good]
    )
    ordered: pd.DataFrame = file.sort_values("window_start", kind="stable")
    return ordered.groupby(["scope_id", "element"], dropna=False).tail(1)[list(_READINGS)]


def _ratio(wide: Wide, counter: str, ratio: Ratio, raws: Mapping[str, Told]) -> pd.DataFrame | None:
    """Return the rows of a ratio of which the numerator, and any denominator, is mapped."""
    above, below = raws.get(ratio.numerator), raws.get(ratio.denominator)
    if above is None or below is None:
        return None
    silent = above.gap & (below.gap | (ratio.denominator == WINDOW))
    found = np.where(above.found != "", above.found, below.found)
    return _rows_of(wide, counter, ~silent, Made(found, above.values, below.values))


def _mean(wide: Wide, sample: Sample, unit: str, means: Mapping[str, Mean]) -> pd.DataFrame:
    mean = _column(wide, str(sample.mean_column), sample.unit, unit)
    count = _column(wide, str(sample.samples_column), "1", "1")
    one = 10 ** (mean.values / 10) if means[sample.sample].average == "milliwatt" else mean.values
    found = np.where(mean.found != "", mean.found, count.found)
    total = one * np.where(np.isnan(count.values), 1.0, count.values)  # without a count its own rule tells
    return _rows_of(wide, sample.sample, ~(mean.gap & count.gap), Made(found, total, count.values))


def _bins(wide: Wide, sample: Sample, unit: str) -> Iterator[pd.DataFrame]:
    """Yield the rows of each interval of a histogram; its samples count as if all lay in the middle."""
    for interval in sample.bins:
        told = _column(wide, interval.column, "1", "1")
        middle = (interval.low + interval.high) / 2 * factor(sample.unit, unit)
        (bin_,) = sketch.bins(np.array([middle]))
        counted = ~told.gap & (told.values != 0)
        rows = _rows_of(wide, sample.sample, counted, Made(told.found, told.values))
        yield rows.assign(bin=float(bin_))


def _rows_of(wide: Wide, counter: str, chosen: np.ndarray, made: Made) -> pd.DataFrame:
    first = wide.rows["found"].to_numpy()
    flaws = np.where(first != "", first, made.found)
    rows = wide.rows.assign(
        counter=counter,
        found=pd.Series(flaws, index=wide.rows.index, dtype="object").mask(flaws == ""),
        bin=np.nan,
        numerator=made.numerator,
        denominator=np.nan if made.denominator is None else made.denominator,
    )
    chosen_rows: pd.DataFrame = rows[chosen]
    return chosen_rows
