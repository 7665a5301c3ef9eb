"""A table of any origin as a study: numbers, a target, groups of rows that belong together, and their time."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from evaluation.selection.moments import moments

log = logging.getLogger(__name__)

Kind = Literal["binary", "classes", "continuous"]
FEWEST_ROWS = 40  # below, no test of dozens of columns can tell anything
MOST_NOTED = 5  # notes of classes left out, beyond which they are told together
FEWEST_OF_CLASS = 10  # a rarer class is left out: folds could not hold it on both sides
MOST_CLASSES = 300  # trees are grown for each class: of more, hours
MANY_CLASSES = 30  # from here on a person is told that it takes minutes
LARGEST = 1e100  # of a continuous target, whose squares must be numbers
EXACT = 2.0**53  # whole numbers up to which a float64 tells each
MOST_CODES = 10  # an integer target of at most so many different values is taken for classes
NUMBERS_SHARE = (
    0.5  # a text column of which more than this reads as numbers is a column of numbers with errors
)


@dataclass(frozen=True)
class Target:
    """What is to be explained. values: (n,), for classes their codes 0..k-1, in the order of `classes`."""

    name: str
    kind: Kind
    values: np.ndarray
    classes: tuple[str, ...] = ()

    @property
    def responses(self) -> np.ndarray:
        """Return (n, r): the target itself, or for r > 2 classes one column of 0 and 1 for each."""
        if self.kind != "classes":
            return self.values[:, None]
        return np.asarray(self.values[:, None] == np.arange(len(self.classes)), dtype="float64")


@dataclass(frozen=True)
class Drop:
    """Why an indicator is not among the selected. reason: a key of `record.REASONS`; detail: the facts."""

    indicator: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Study:
    """The table: X float64 (n, p), NaN where missing.

    clusters: int64 (n,), equal where rows belong together (one device, one run). times: float64 (n,), only their
    order matters, or None. dropped: the columns that hold no numbers. notes: what a reader must know of the reading.
    """

    X: np.ndarray
    names: tuple[str, ...]
    target: Target
    clusters: np.ndarray
    times: np.ndarray | None
    dropped: tuple[Drop, ...] = ()
    notes: tuple[str, ...] = ()

    def rows(self, places: np.ndarray) -> "Study":
        """Return the study of some of its rows."""
        target = Target(self.target.name, self.target.kind, self.target.values[places], self.target.classes)
        times = None if self.times is None else self.times[places]
        return Study(self.X[places], self.names, target, self.clusters[places], times)


@dataclass(frozen=True)
class Roles:
    """Which column of a table is what; the others are indicators."""

    target: str
    group: str | None = None
    time: str | None = None
    ignored: tuple[str, ...] = ()
    kind: Kind | None = None  # None: told by the values


def read_table(path: Path) -> pd.DataFrame:
    """Return a Parquet or CSV file as a frame. Raises ValueError: what is wrong with the file."""
    try:
        if path.name.lower().endswith(".parquet"):
            return pd.read_parquet(path)
        if path.name.lower().endswith((".csv", ".csv.gz")):
            header = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0]
            if repeated := sorted(set(header[header.duplicated()])):  # pandas would name the second one x.1
                raise ValueError(f"its header must name each column once, but has several of {repeated}")
            return pd.read_csv(path, low_memory=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from error
    raise ValueError(f"{path} must be a table: .parquet, .csv or .csv.gz")


def read_study(frame: pd.DataFrame, roles: Roles, *, table: str) -> Study:
    """Return the study of a frame; `table` names it in errors.

    Rows without a target, group or time are left out and counted in the notes, and so are rows of classes rarer than
    FEWEST_OF_CLASS. Raises LookupError for a column that the table lacks, ValueError for one that cannot be what it is
    said to be.
    """
    frame = frame.set_axis(frame.columns.map(str), axis=1)
    _check_names(frame, roles, table)
    told = [name for name in (roles.target, roles.group, roles.time) if name is not None]
    notes: list[str] = []
    whole = frame[told].notna().all(axis=1).to_numpy()
    if not whole.all():
        notes.append(f"{(~whole).sum():,} of {len(frame):,} rows lack {' or '.join(told)} and were left out")
    _check_count(int(whole.sum()), told, table)
    target, kept, target_notes = _target(frame[roles.target][whole], roles, table)
    places = np.flatnonzero(whole)[kept]
    _check_count(len(places), told, table)
    columns = [name for name in frame.columns if name not in {*told, *roles.ignored}]
    X, names, dropped, column_notes = _numbers(frame.iloc[places], columns, table)
    clusters = (
        np.arange(len(places)) if roles.group is None else _groups(frame[roles.group].iloc[places], table)
    )
    times = None if roles.time is None else moments(frame[roles.time].iloc[places], f"{table}.{roles.time}")
    notes += [*target_notes, *_of_one_moment(roles.time, times), *column_notes]
    return Study(X, names, target, clusters.astype("int64"), times, dropped, tuple(notes))


def _groups(values: pd.Series, table: str) -> np.ndarray:
    """Return the codes of groups. Raises ValueError where they cannot be told apart, or there is but one."""
    column = f"{table}.{values.name}"
    try:
        codes, names = pd.factorize(values)
    except TypeError as error:
        raise ValueError(
            f"{column} must hold names of groups, but holds {type(values.iloc[0]).__name__}s"
        ) from error
    if len(names) < 2:
        raise ValueError(
            f"{column} must name two groups, for a selection is judged on groups that it did not learn from, but all"
            f" rows have {names[0]}; give it more, or no group"
        )
    return np.asarray(codes)


def _of_one_moment(time: str | None, times: np.ndarray | None) -> list[str]:
    """Return what a reader must know, and warn, where times were asked to count and cannot: all are the same."""
    if times is None or times.min() < times.max():
        return []
    told = f"{time} is the same in all rows: nothing is judged on later rows, nor asked whether it drifts"
    log.warning("%s", told)
    return [told]


def _check_count(rows: int, needed: Sequence[str], table: str) -> None:
    if rows < FEWEST_ROWS:
        raise ValueError(
            f"{table} must have at least {FEWEST_ROWS} rows with {' and '.join(needed)}, but has {rows}"
        )


def _check_names(frame: pd.DataFrame, roles: Roles, table: str) -> None:
    if repeated := sorted(set(frame.columns[frame.columns.duplicated()])):
        raise ValueError(f"{table} must have each column once, but has several of {repeated}")
    wanted = [name for name in (roles.target, roles.group, roles.time, *roles.ignored) if name is not None]
    for name in wanted:
        if name not in frame.columns:
            raise LookupError(f"{table} has no column {name!r}; it has {_listed(list(frame.columns))}")
    if roles.target in (roles.group, roles.time, *roles.ignored):
        raise ValueError(f"{table}.{roles.target} is the target and cannot be group, time or ignored as well")


def _listed(names: Sequence[str], most: int = 12) -> str:
    told = ", ".join(map(str, names[:most]))
    return told if len(names) <= most else f"{told} and {len(names) - most} more"


def _target(values: pd.Series, roles: Roles, table: str) -> tuple[Target, np.ndarray, list[str]]:
    """Return the target, the places of the rows that it has, and notes."""
    kind = roles.kind or _kind(values, f"{table}.{roles.target}")
    if kind == "continuous":
        numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype="float64")
        kept = np.flatnonzero(np.isfinite(numbers))
        if len(kept) < len(values):
            raise ValueError(_wrong_number(values, ~np.isfinite(numbers), f"{table}.{roles.target}"))
        if len(np.unique(numbers)) < 2:
            raise ValueError(f"{table}.{roles.target} must vary, but all its values are {numbers[0]:g}")
        if (largest := float(np.abs(numbers).max())) > LARGEST or np.ptp(numbers) < 1 / LARGEST:
            raise ValueError(
                f"{table}.{roles.target} must vary between {1 / LARGEST:g} and {LARGEST:g}, but its largest is"
                f" {largest:g}; give it in another unit"
            )
        return Target(roles.target, "continuous", numbers), kept, []
    return _classes(values, roles, table)


def _classes(values: pd.Series, roles: Roles, table: str) -> tuple[Target, np.ndarray, list[str]]:
    counts = values.value_counts()
    counts = counts[counts > 0]
    _check_classes(counts, f"{table}.{roles.target}")
    common = sorted(counts.index[counts >= FEWEST_OF_CLASS], key=lambda one: (isinstance(one, str), one))
    if roles.kind == "binary" and len(common) > 2:
        raise ValueError(
            f"{table}.{roles.target} must have two classes to be binary, but has {len(common)}: {_listed(common)}"
        )
    notes = _left_out(counts[counts < FEWEST_OF_CLASS], roles.target)
    if len(common) >= MANY_CLASSES:
        notes.append(
            f"{roles.target} has {len(common)} classes, {MANY_CLASSES} or more: trees are grown for each, which takes"
            " minutes; --ignore, --rows or fewer classes make it faster"
        )
        log.warning("%s", notes[-1])
    codes = pd.Categorical(values, categories=common).codes
    kept = np.flatnonzero(codes >= 0)
    classes = tuple(str(name) for name in common)
    told: Kind = "binary" if len(classes) == 2 else "classes"
    return Target(roles.target, told, codes[kept].astype("float64"), classes), kept, notes


def _check_classes(counts: pd.Series, column: str) -> None:
    """Raise ValueError where classes are too few, too many, or hardly ever come back. counts: rows of each."""
    common = counts[counts >= FEWEST_OF_CLASS]
    if len(counts) >= FEWEST_OF_CLASS and 2 * common.sum() < counts.sum():
        raise ValueError(
            f"{column} must have classes of at least {FEWEST_OF_CLASS} rows, but {len(counts) - len(common):,} of its"
            f" {len(counts):,} classes have fewer, and most rows are theirs: it is nearly an identifier; name a coarser"
            " target, or --task continuous if it is a number"
        )
    if len(common) < 2:
        raise ValueError(
            f"{column} must have two classes of at least {FEWEST_OF_CLASS} rows, but has "
            + (_listed([f"{name} ({count} rows)" for name, count in counts.items()]) or "none")
        )
    if len(common) > MOST_CLASSES:
        raise ValueError(
            f"{column} must have at most {MOST_CLASSES} classes, but has {len(common):,} of at least {FEWEST_OF_CLASS}"
            " rows; name a coarser target, or --task continuous if it is a number"
        )


def _left_out(rare: pd.Series, target: str) -> list[str]:
    """Return a note of the classes too rare to be judged: of each, or of many together."""
    rule = f"fewer than {FEWEST_OF_CLASS}: left out"
    if len(rare) > MOST_NOTED:
        return [f"{len(rare):,} classes of {target}, {rare.sum():,} rows, have {rule}"]
    return [f"class {name} of {target} has {count} rows, {rule}" for name, count in rare.items()]


def _kind(values: pd.Series, column: str) -> Kind:
    """Return what a target is. Raises ValueError where it is times, or numbers among which a word stands."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype) or pd.api.types.is_timedelta64_dtype(values.dtype):
        raise ValueError(
            f"{column} must be a number or classes, but holds {values.dtype}; give it as seconds"
        )
    if pd.api.types.is_complex_dtype(values.dtype):
        raise ValueError(f"{column} must be a number or classes, but holds {values.dtype}")
    if isinstance(values.dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(values.dtype):
        return "classes"
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype="float64", na_value=np.nan)
    distinct = np.unique(numbers[np.isfinite(numbers)])
    if len(distinct) == 2 or (len(distinct) <= MOST_CODES and (distinct % 1 == 0).all()):
        return "classes"
    wrong = np.isnan(numbers)
    if wrong.sum() > (1 - NUMBERS_SHARE) * len(values):
        return "classes"
    if wrong.any():
        raise ValueError(_wrong_number(values, wrong, column))
    return "continuous"


def _wrong_number(values: pd.Series, wrong: np.ndarray, column: str) -> str:
    place = int(np.flatnonzero(wrong)[0])
    value = values.iloc[place]
    told = repr(value) if isinstance(value, str) else value
    return f"{column} must be numbers, but row {values.index[place]} (the first is 0) has {told}; mend it"


def _numbers(
    frame: pd.DataFrame, columns: Sequence[str], table: str
) -> tuple[np.ndarray, tuple[str, ...], tuple[Drop, ...], list[str]]:
    kept: dict[str, np.ndarray] = {}
    dropped, notes = [], []
    for name in columns:
        values = frame[name]
        if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_complex_dtype(values.dtype):
            numbers = values.to_numpy(dtype="float64", na_value=np.nan)
        elif pd.api.types.is_timedelta64_dtype(values.dtype):
            numbers = values.dt.total_seconds().to_numpy(dtype="float64")
            notes.append(f"{name} holds durations, told in seconds")
        else:
            text = _text_numbers(values, f"{table}.{name}")
            if text is None:
                dropped.append(
                    Drop(name, "no_number", f"holds {values.dtype}; encode it as numbers to have it judged")
                )
                continue
            numbers = text
        if merged := _merged(values, numbers):
            notes.append(f"{name} has whole numbers beyond 2^53, of which {merged:,} read as another one")
        infinite = np.isinf(numbers)
        if infinite.any():
            notes.append(f"{infinite.sum():,} infinite values of {name} count as missing")
            numbers = np.where(infinite, np.nan, numbers)
        kept[str(name)] = numbers
    if not kept:
        raise ValueError(f"{table} must have a column of numbers beside its target, but has none")
    return np.column_stack(list(kept.values())), tuple(kept), tuple(dropped), notes


def _merged(values: pd.Series, numbers: np.ndarray) -> int:
    """Return how many different values a float64 does not tell from others."""
    there = numbers[~np.isnan(numbers)]
    if not len(there) or np.abs(there).max() <= EXACT:
        return 0
    return int(values.nunique()) - len(np.unique(there))


def _text_numbers(values: pd.Series, column: str) -> np.ndarray | None:
    """Return a column of texts as numbers, or None where it holds texts. Raises ValueError where it holds both."""
    if pd.api.types.is_datetime64_any_dtype(values.dtype) or pd.api.types.is_complex_dtype(values.dtype):
        return None
    told = values.notna().to_numpy()
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype="float64", na_value=np.nan)
    wrong = told & np.isnan(numbers)
    if not wrong.any():
        return numbers
    if wrong.sum() > (1 - NUMBERS_SHARE) * told.sum():
        return None
    raise ValueError(f"{_wrong_number(values, wrong, column)}, or leave the column out")


def data_hash(study: Study) -> str:
    """Return what tells two tables apart: names, values, target, clusters and times."""
    digest = hashlib.sha256("\0".join((*study.names, study.target.name)).encode())
    for array in (study.X, study.target.values, study.clusters, study.times):
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
