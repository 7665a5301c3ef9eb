"""Plain tables, CSV or Parquet: how one is read, and what its columns are to a model.

Any: a column of a stranger's table holds anything.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from features.whole_file import PARQUET, check_suffix, whole
from training.artifact import InputFeature

TIMES = ("datetime64", "datetime", "date", "timedelta64", "timedelta")  # as pandas' infer_dtype tells them
ISO_DATE = r"\d{4}-\d\d-\d\d|\d{8}T"  # how a moment begins; 5683 alone is a port rather than a year
CSV = (
    ".csv",
    ".csv.gz",
    ".csv.bz2",
    ".csv.zip",
    ".csv.xz",
    ".csv.zst",
)  # ends of names; as pandas packs them
MAX_CATEGORIES = 255  # LightGBM's default bins; a column of more texts names things rather than kinds


def read_table(path: Path, *, texts: Sequence[str] = ()) -> pd.DataFrame:
    """Return the rows of a CSV (.csv, .csv.gz, ...) or Parquet (.parquet) file, in order, on a RangeIndex.

    texts: columns that a CSV gives as written, so that 007 stays 007. A column of truth values with gaps is boolean.
    Raises FileNotFoundError or ValueError.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no table {path}; give a CSV or Parquet file")
    try:
        if ".parquet" in path.suffixes:
            return _truths(pd.read_parquet(path).reset_index(drop=True))
        return _truths(pd.read_csv(path, dtype=dict.fromkeys(texts, "string"), low_memory=False))
    except (ValueError, OSError) as error:  # what pandas and Arrow raise derives from these
        raise ValueError(f"{path} must be CSV or Parquet, however: {error}") from error


def _truths(frame: pd.DataFrame) -> pd.DataFrame:
    """Return truth values with gaps as such; as objects they would be learnt as the texts `True` and `False`."""
    objects = frame.select_dtypes(object)
    gappy = [name for name in objects if pd.api.types.infer_dtype(objects[name]) == "boolean"]
    return frame.astype(dict.fromkeys(gappy, "boolean"))


def check_out(path: Path) -> None:
    """Raise OSError unless a file can be written there, ValueError of a name that is neither Parquet nor CSV.

    Asked before the work, not after it.
    """
    if path.is_dir():
        raise IsADirectoryError(f"the answers go to a file, but {path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} to write {path.name} into; make it first")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(
            f"the folder {path.parent} may not be written; choose another one for {path.name}"
        )
    check_suffix(path, (PARQUET, *CSV))


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write the rows, without an index, as Parquet where the name says so, else as CSV; all of them or none."""
    with whole(path) as beside:
        if path.suffix == PARQUET:
            frame.to_parquet(beside, index=False)
        else:
            frame.to_csv(beside, index=False)


def texts(values: "pd.Series[Any]") -> "pd.Series[str]":
    """Return names as text; whole floats lose their point, since a missing name makes floats of integers."""
    if pd.api.types.is_float_dtype(values.dtype) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    return values.astype("string")


def moments(values: "pd.Series[Any]", *, table: str) -> "pd.Series[pd.Timestamp]":
    """Return the times of a column, UTC: ISO 8601 texts, timestamps, or numbers taken as seconds since 1970.

    A number that merely orders the rows will do. Raises ValueError naming table, column and value.
    """
    seconds = pd.api.types.is_numeric_dtype(values.dtype)
    try:
        times = (
            pd.to_datetime(values, unit="s", utc=True)
            if seconds
            else pd.to_datetime(values, format="ISO8601", utc=True)
        )
    except ValueError as error:  # also what is out of bounds or not a date
        raise ValueError(
            f"{table}.{values.name} must be ISO 8601 or seconds since 1970, however: {error}"
        ) from error
    return times.astype("datetime64[us, UTC]")


def input_features(frame: pd.DataFrame, *, table: str) -> tuple[InputFeature, ...]:
    """Return what each column is to a model: a number, a truth value, or a text of a few kinds.

    Raises ValueError for a time (absolute time is never a feature) and for a text of too many kinds.
    """
    return tuple(_input_feature(frame[name], str(name), table) for name in frame.columns)


def _input_feature(values: "pd.Series[Any]", name: str, table: str) -> InputFeature:
    if pd.api.types.is_bool_dtype(values.dtype):
        return InputFeature(name=name, dtype="bool")
    if pd.api.types.is_integer_dtype(values.dtype):
        return InputFeature(name=name, dtype="int64")
    if pd.api.types.is_numeric_dtype(values.dtype) or values.isna().all():
        return InputFeature(name=name, dtype="float64")
    if _is_time(values):
        raise ValueError(
            f"{table}.{name} is a time, which is never a feature; say time={name}, or name the columns to learn"
            " from with features=[...]"
        )
    kinds = tuple(sorted(values.dropna().astype("string").unique()))
    if len(kinds) > MAX_CATEGORIES:
        raise ValueError(
            f"{table}.{name} must be numbers or at most {MAX_CATEGORIES} different texts, but has"
            f" {len(kinds)}, such as {kinds[0]!r}; name the columns to learn from with features=[...]"
        )
    return InputFeature(name=name, dtype="string", categories=kinds)


def _is_time(values: "pd.Series[Any]") -> bool:
    """Tell whether a column holds dates, moments or spans of time: as such, or as ISO 8601 texts."""
    if pd.api.types.infer_dtype(values) in TIMES:
        return True
    written = values.dropna().astype("string")
    if not written.str.match(ISO_DATE).all():
        return False
    return bool(pd.to_datetime(written, format="ISO8601", utc=True, errors="coerce").notna().all())
