"""Quantiles that can be added: a sample becomes a numbered bin, and bins of any scopes and windows are summed.

The bins are those of DDSketch (Masson, Rim & Lee 2019, arXiv:1908.10693) with its logarithmic mapping; a test holds
them against the library `ddsketch`. A sketch is rows (bin, number of samples), and any quantile of it is within
`RELATIVE_ACCURACY` of a true one. Bins stand in the order of their values: negative ones below 0, 0 in bin 0.

In SQL a sketch is a list of whole numbers, each a bin and what it holds (`packed`), in any order and of any number of
parts; `bin_at` finds the place in all lists of a batch at once, by numpy.
"""

import math

import duckdb
import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
from duckdb.func import ARROW, SPECIAL

RELATIVE_ACCURACY = 0.01  # of the value: 1 % of a delay in ms, of a power in dBm about 1 dB at -100 dBm
LOWEST_BIN, HIGHEST_BIN = -140_000, 140_000  # what a float64 can fall into lies within

_GAMMA = (1 + RELATIVE_ACCURACY) / (1 - RELATIVE_ACCURACY)
_PER_OCTAVE = math.log(2) / math.log1p(2 * RELATIVE_ACCURACY / (1 - RELATIVE_ACCURACY))  # as in the library
_ZERO_KEY = 100_000  # added to a key, so that all of them are positive and 0 is left for values of zero
_LEAST = float(np.finfo(np.float64).tiny) * _GAMMA  # what is nearer to zero counts as zero, as in the library
MOST_SAMPLES = (
    2**32
)  # of a bin in one row: 50,000 a second of a whole day; thousands of such rows can be added
_COUNT_BITS = 44  # samples of a bin are fewer than 2^44: with the 19 bits of a bin it fits into 63
_COUNT = 2**_COUNT_BITS
LISTED_SQL = "flatten(list(sketch) FILTER (sketch IS NOT NULL))"  # an aggregate: all bins of several sketches


def bins(values: np.ndarray) -> np.ndarray:
    """Return the bin of each value, int64 of the same shape. Raises ValueError where one is not finite."""
    real = np.asarray(values, dtype=np.float64)
    if not np.isfinite(real).all():
        raise ValueError(f"samples must be finite, however: {real[~np.isfinite(real)][0]}")
    size = np.abs(real)
    counts = size > _LEAST
    keys = np.ceil(np.log2(np.where(counts, size, 1.0)) * _PER_OCTAVE) + _ZERO_KEY
    return np.where(counts, np.sign(real) * keys, 0.0).astype(np.int64)


def values(bins: np.ndarray) -> np.ndarray:
    """Return the value that stands for each bin: every sample of it is within `RELATIVE_ACCURACY` of it."""
    whole = np.asarray(bins, dtype=np.int64)
    keys = np.abs(whole) - _ZERO_KEY
    return np.where(whole == 0, 0.0, np.sign(whole) * np.exp2(keys / _PER_OCTAVE) * (2 / (1 + _GAMMA)))


def value_of(bin_: ir.IntegerValue) -> ir.FloatingValue:
    """Return `values` as an Ibis expression."""
    power = ibis.literal(2.0) ** ((bin_.abs() - _ZERO_KEY) / _PER_OCTAVE)
    return ibis.cases((bin_ == 0, 0.0), else_=bin_.sign() * power * (2 / (1 + _GAMMA)))


def packed(bin_: ir.IntegerValue, count: ir.NumericValue) -> ir.IntegerValue:
    """Return a bin and its whole number of samples as one number, in the order of the bins.

    Where the samples are too many for it, DuckDB raises an error.
    """
    held = ibis.ifelse(count < _COUNT, count.cast("int64"), _error(_TOO_MANY))
    return (bin_.cast("int64") - LOWEST_BIN) * _COUNT + held


def packed_sql(bin_: str, count: str) -> str:
    """Return `packed` as SQL of two columns, of a count that is known to be few enough."""
    return f"(({bin_})::BIGINT - {LOWEST_BIN}) * {_COUNT} + ({count})::BIGINT"


def unpacked_sql(packed_: str) -> tuple[str, str]:
    """Return the SQL of the bin and of the number of samples (DOUBLE) that one number of `packed` holds."""
    return f"({packed_} >> {_COUNT_BITS}) + {LOWEST_BIN}", f"({packed_} & {_COUNT - 1})::DOUBLE"


def unpacked(packed_: ir.IntegerValue) -> tuple[ir.IntegerValue, ir.FloatingValue]:
    """Return the bin and the number of samples that one number of `packed` holds."""
    return (packed_ >> _COUNT_BITS) + LOWEST_BIN, (packed_ & (_COUNT - 1)).cast("float64")


def bin_at(sketch: ir.ArrayValue, place: ir.FloatingValue) -> ir.IntegerValue:
    """Return the bin of the sample at a place of a list of `packed` bins, from 0 on; nothing of no list.

    The connection must be prepared by `prepare`.
    """
    return _reached(sketch, place)


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Teach a connection what `bin_at` asks of it."""
    lists, place, bin_ = (duckdb.sqltype(name) for name in ("BIGINT[]", "DOUBLE", "BIGINT"))
    connection.create_function("reached", _bins_at, [lists, place], bin_, type=ARROW, null_handling=SPECIAL)


def _bins_at(told: pa.ChunkedArray, places: pa.ChunkedArray) -> pa.Array:
    """Return `bin_at` of a batch: all lists lie behind one another, and so do their running totals."""
    sketches = told.combine_chunks()
    bounds = sketches.offsets.to_numpy()
    held = sketches.values.to_numpy()[bounds[0] : bounds[-1]]
    bounds = bounds - bounds[0]
    absent = (np.diff(bounds) == 0) | sketches.is_null().to_numpy(zero_copy_only=False)
    if not len(held):
        return pa.nulls(len(sketches), pa.int64())
    falls = np.diff(held) < 0
    falls[bounds[(bounds > 0) & (bounds < len(held))] - 1] = False  # from one list to the next
    if falls.any():
        held = held[np.lexsort((held, np.repeat(np.arange(len(sketches)), np.diff(bounds))))]
    totals = np.concatenate([[0], np.cumsum(held & (_COUNT - 1))])
    before = totals[bounds[:-1]] + np.floor(np.nan_to_num(places.to_numpy())).astype(np.int64)
    at = np.searchsorted(totals[1:], before, side="right")  # the first bin beyond as many samples
    return pa.array((held[np.minimum(at, len(held) - 1)] >> _COUNT_BITS) + LOWEST_BIN, mask=absent)


@ibis.udf.scalar.builtin(
    name="reached", signature=((dt.Array(dt.int64), dt.float64), dt.int64)
)  # what `prepare` makes
def _reached(sketch, place):  # type: ignore[no-untyped-def]
    ...


_TOO_MANY = (
    f"a bin of a sum of sketches must hold fewer than 2^{_COUNT_BITS} samples; deliver sketches of fewer"
)


@ibis.udf.scalar.builtin(name="error", signature=((dt.string,), dt.int64))
def _error(message):  # type: ignore[no-untyped-def]
    ...
