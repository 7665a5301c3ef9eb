"""Quantiles that can be added: a sample becomes a numbered bin, and bins of any scopes and windows are summed.

The bins are those of DDSketch (Masson, Rim & Lee 2019, arXiv:1908.10693) with its logarithmic mapping; a test holds
them against the library `ddsketch`. A sketch is rows (bin, number of samples), and any quantile of it is within
`RELATIVE_ACCURACY` of a true one. Bins stand in the order of their values: negative ones below 0, 0 in bin 0.

In SQL a sketch is a list of whole numbers, each a bin and what it holds (`packed`), in any order and of any number of
parts; `bin_at` sorts and walks it. That takes half as long as a window over the rows of bins.
"""

import math

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import numpy as np

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
# A connection needs it for `bin_at`. It walks from how many samples lie before the place, below zero, up to the bin in
# which that many are reached. The number stands in the list itself: with a column beside lists of several lengths,
# list_reduce of DuckDB 1.5.6 takes another row's.
MACRO = f"""CREATE TEMP MACRO reached(sketch, place) AS
    CASE WHEN sketch IS NOT NULL THEN
        list_reduce(list_prepend(-(floor(place)::BIGINT + 1), list_sort(sketch)), lambda found, one:
            CASE WHEN found >= 0 THEN found
                 WHEN found + (one & {_COUNT - 1}) >= 0 THEN one >> {_COUNT_BITS}
                 ELSE found + (one & {_COUNT - 1}) END) + {LOWEST_BIN} END"""


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


def bin_at(sketch: ir.ArrayValue, place: ir.FloatingValue) -> ir.IntegerValue:
    """Return the bin of the sample at a place of a list of `packed` bins, from 0 on; nothing of no list."""
    return _reached(sketch, place)


@ibis.udf.scalar.builtin(
    name="reached", signature=((dt.Array(dt.int64), dt.float64), dt.int64)
)  # what MACRO makes
def _reached(sketch, place):  # type: ignore[no-untyped-def]
    ...


_TOO_MANY = (
    f"a bin of a sum of sketches must hold fewer than 2^{_COUNT_BITS} samples; deliver sketches of fewer"
)


@ibis.udf.scalar.builtin(name="error", signature=((dt.string,), dt.int64))
def _error(message):  # type: ignore[no-untyped-def]
    ...
