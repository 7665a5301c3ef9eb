"""A column of times as numbers of which the order counts; what cannot be a time is named with its row."""

import re

import numpy as np
import pandas as pd

_ZONE = re.compile(r":.*(?:Z|[+-]\d\d:?\d\d)$")  # as a text in ISO 8601 ends that names its zone


def moments(values: pd.Series, column: str) -> np.ndarray:
    """Return float64 (n,): numbers as they are, times as microseconds since 1970.

    values: numbers, times, or texts of either; none is missing. A time without a zone is UTC, but texts with one and
    texts without do not stand together: nobody knows which came first. Raises ValueError that names the row, from 0.
    """
    if pd.api.types.is_timedelta64_dtype(values.dtype):
        return np.asarray(values.dt.total_seconds(), dtype="float64")
    if pd.api.types.is_numeric_dtype(values.dtype):
        return _finite(values.to_numpy(dtype="float64"), values, column)
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype="float64", na_value=np.nan)
    if _texts(values) and not np.isnan(numbers).any():
        return _finite(numbers, values, column)
    try:
        read = _read(values, column)
    except TypeError as error:
        raise ValueError(f"{column} must be times, but holds {values.dtype}: {error}") from error
    return np.asarray(read.dt.tz_convert(None)).astype("datetime64[us]").astype("float64")


def _texts(values: pd.Series) -> bool:
    return all(isinstance(value, str) for value in values)


def _finite(numbers: np.ndarray, values: pd.Series, column: str) -> np.ndarray:
    if not np.isfinite(numbers).all():
        raise ValueError(_told(values, ~np.isfinite(numbers), f"{column} must be times"))
    return numbers


def _read(values: pd.Series, column: str) -> pd.Series:
    """Return the times, UTC: in the form of the first one, or else each in ISO 8601, with fractions or without."""
    alike, iso = (
        pd.to_datetime(values, utc=True, errors="coerce", format=form) for form in (_form(values), "ISO8601")
    )
    best = min((alike, iso), key=lambda read: int(read.isna().sum()))
    if best.isna().any():
        raise ValueError(_told(values, best.isna().to_numpy(), f"{column} must be times of one form"))
    if _texts(values):
        zoned = np.array([_ZONE.search(text) is not None for text in values])
        if zoned.any() and not zoned.all():
            rule = f"{column} must name the time zone in all rows or in none"
            raise ValueError(_told(values, ~zoned, rule))
    return best


def _form(values: pd.Series) -> str:
    """Return the form of the first time, as `strptime` reads it; that of ISO 8601 where it shows none."""
    first = values.iloc[0] if len(values) else None
    told = pd.tseries.api.guess_datetime_format(first) if isinstance(first, str) else None
    return told or "ISO8601"


def _told(values: pd.Series, wrong: np.ndarray, rule: str) -> str:
    place = int(np.flatnonzero(wrong)[0])
    value = values.iloc[place]
    told = repr(value) if isinstance(value, str) else value
    return f"{rule}, but row {values.index[place]} (the first is 0) has {told}; mend it"
