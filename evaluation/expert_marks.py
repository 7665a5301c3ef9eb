"""What experts say of devices: a CSV of marks that a person saw, or saw not to be. It overrides rules and models."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from evaluation.mark_rules import UserMarks
from features.configuration import nearest
from features.table import Column, check_table, empty_table

EXPERT_MARKS: tuple[Column, ...] = (
    Column("device_id", "string", "-", "the device"),
    Column("mark", "string", "-", "id of the mark"),
    Column("holds", "bool", "-", "yes: the device has it; no: it has it not"),
    Column("author", "string", "-", "who says so"),
    Column("date", "timestamp", "UTC", "since when it is known"),
)
_SAID = {"yes": True, "no": False}


def nothing() -> pd.DataFrame:
    """Return EXPERT_MARKS without a row."""
    return empty_table(EXPERT_MARKS)


def read(path: Path, marks: UserMarks) -> pd.DataFrame:
    """Return EXPERT_MARKS of a CSV file. Raises ValueError that names file, row and rule; OSError without a file."""
    try:
        told = pd.read_csv(path, dtype="string", keep_default_na=False)
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"{path} must have a head and rows, but is empty") from error
    for name in {"device_id", "author"} & set(told.columns):
        nameless = (told[name].str.strip() == "").to_numpy(dtype=bool)
        if nameless.any():
            raise ValueError(
                f"{path}: {name} must be named, but row {int(np.flatnonzero(nameless)[0])} has none"
            )
    if "holds" in told:
        strange = ~told["holds"].isin(list(_SAID)).to_numpy()
        if strange.any():
            row = int(np.flatnonzero(strange)[0])
            raise ValueError(f"{path}: holds must be yes or no, but row {row} has {told['holds'][row]!r}")
        told["holds"] = told["holds"].map(_SAID).astype("bool")
    try:
        checked = check_table(told, EXPERT_MARKS, table="expert marks")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    _check_known(path, checked, [mark.id for mark in marks.marks])
    return checked


def _check_known(path: Path, told: pd.DataFrame, known: Collection[str]) -> None:
    strange = ~told["mark"].isin(list(known)).to_numpy()
    if strange.any():
        row = int(np.flatnonzero(strange)[0])
        mark = str(told["mark"][row])
        raise ValueError(
            f"{path}: mark must be one of user_marks.yaml, but row {row} has {mark}; {nearest(mark, known)}"
        )


def said(experts: pd.DataFrame, marks: UserMarks, *, at: pd.Timestamp) -> pd.DataFrame:
    """Return what experts had said by a moment and what has not expired since: the newest word on each.

    Of marks that exclude one another the one that was seen last is told. Adds expires; of a mark that lasts until it
    is cleared it is empty.
    """
    lasts = {mark.id: mark.expires for mark in marks.marks}
    known = experts[experts["date"] <= at].sort_values("date", kind="stable")
    newest = known.drop_duplicates(["device_id", "mark"], keep="last")
    # All may be NaT, of which pandas makes dates.
    lengths = [lasts[mark] or pd.NaT for mark in newest["mark"]]
    length = pd.Series(lengths, index=newest.index, dtype="timedelta64[us]")
    expires = (newest["date"] + length).astype("datetime64[us, UTC]")
    lasting = newest.assign(expires=expires)[(expires.isna() | (expires > at)).to_numpy()]
    return lasting[~_superseded(lasting, marks)]


def _superseded(told: pd.DataFrame, marks: UserMarks) -> np.ndarray:
    """Return which marks were seen of a device before another of their exclusive group was. told: ordered by date."""
    group_of = {name: place for place, group in enumerate(marks.exclusive()) for name in group}
    seen = told.assign(group=told["mark"].map(group_of))[told["holds"].to_numpy(dtype=bool)].dropna(
        subset="group"
    )
    earlier = seen.index[seen.duplicated(["device_id", "group"], keep="last")]
    return np.asarray(told.index.isin(earlier))
