"""What a model learns from: rows, their truth and where they come from, of a workspace or a plain table."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from training import tables
from training.artifact import InputFeature, matrix
from training.experiment import Experiment

log = logging.getLogger(__name__)

KEYS = ["device_id", "source", "window_start", "window_end", "site"]


@dataclass(frozen=True)
class Dataset:
    """Labelled rows, in an order that does not depend on how they were collected.

    X: float64 (n, f), columns as features, NaN where missing. y: (n,) class of each row, str.
    keys: (n, 5) KEYS on a RangeIndex; empty where the data does not tell.
    families: family of each class. left_out: rows not taken, by reason.
    window, feature_service: None for a plain table. data_hash: SHA-256 of all rows, names and truths.
    """

    X: np.ndarray
    y: np.ndarray
    keys: pd.DataFrame
    features: tuple[InputFeature, ...]
    families: Mapping[str, str]
    left_out: Mapping[str, int]
    window: str | None
    feature_service: str | None
    data_hash: str


def load(experiment: Experiment, workspace: Path) -> Dataset:
    """Return the labelled rows an experiment asks for; what is left out is counted and logged.

    Raises LookupError or ValueError where there is nothing to learn from, FileNotFoundError for the table.
    """
    if experiment.table is not None:
        return _of_table(experiment, experiment.table)
    return _of_windows(experiment, workspace)


def _of_table(experiment: Experiment, path: Path) -> Dataset:
    special = [name for name in (experiment.target, experiment.group, experiment.time) if name is not None]
    frame = tables.read_table(path, texts=[name for name in special if name != experiment.time])
    names = _table_features(experiment, path, list(frame.columns), special)
    rows, left_out = _taken(_table_truth(frame, experiment, path), experiment)
    features = tables.input_features(frame.loc[rows.index, names], table=str(path))
    X = matrix(frame, features, table=str(path))[
        rows.index
    ]  # of all rows, so that an error names the file's row
    return _dataset(rows, X, features, left_out=left_out, window=None)


def _table_features(experiment: Experiment, path: Path, columns: list[str], special: list[str]) -> list[str]:
    """Return the feature columns of a table: as named, else all that say nothing else, in order of name."""
    absent = [name for name in [*special, *(experiment.features or ())] if name not in columns]
    if absent:
        raise ValueError(f"{path} must have the columns that the experiment names, but lacks {absent}")
    names = list(experiment.features or sorted(set(columns) - set(special)))
    if not names or set(names) & set(special):
        raise ValueError(f"{path} must have features beside {special}, but they are {names}")
    return names


def _table_truth(frame: pd.DataFrame, experiment: Experiment, path: Path) -> pd.DataFrame:
    """Return KEYS, y and family of each row of a table; what it does not tell is empty."""
    nothing = pd.Series(pd.NA, index=frame.index, dtype="string")
    moment = tables.moments(frame[experiment.time], table=str(path)) if experiment.time else pd.NaT
    moments = pd.Series(moment, index=frame.index, dtype="datetime64[us, UTC]")
    y = tables.texts(frame[experiment.target])
    unit = tables.texts(frame[experiment.group]) if experiment.group else nothing
    columns = {"device_id": unit, "source": nothing, "window_start": moments, "window_end": moments}
    return pd.DataFrame({**columns, "site": nothing, "y": y, "family": y})


def _of_windows(experiment: Experiment, workspace: Path) -> Dataset:
    from features import lake, store, windows

    built = windows.rows(workspace, experiment.window)
    if built.empty:
        raise LookupError(
            f"no {experiment.window} window in {workspace}; run iotlens ingest and features build"
        )
    rows, left_out = _taken(_truth(built, lake.devices(workspace), experiment), experiment)
    rows = rows.sort_values(["device_id", "source", "window_end"], na_position="first", ignore_index=True)
    history = store.open(workspace)
    service = history.register(experiment.name, experiment.window, experiment.features)
    columns = [{"name": column.name, "dtype": column.dtype} for column in history.service(service).features]
    features = tuple(InputFeature.model_validate(column) for column in columns)
    known = history.history(rows[["device_id"]].assign(event_timestamp=rows["window_end"]), service)
    _check_moments(rows, known)
    X = matrix(known, features, table=service)
    return _dataset(rows, X, features, left_out=left_out, window=experiment.window, feature_service=service)


def _check_moments(rows: pd.DataFrame, known: pd.DataFrame) -> None:
    """Raise LookupError unless the store gave each row the window that ends when the row does."""
    other = known["window_end"].ne(rows["window_end"])
    if other.any():
        row = rows[other].iloc[0]
        raise LookupError(
            f"the store must know every window to learn from, but has none of {row['device_id']!r} that ends"
            f" {row['window_end']:%F %T}Z; run iotlens features build"
        )


def _truth(windows: pd.DataFrame, devices: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """Return the windows' keys with y, family and site of the device map, as valid in the window.

    A session takes what its own source says, another window what any source says of its device. `conflict`
    marks the windows of which two things are said; two sites make none.
    """
    on = ["device_id", "source"] if experiment.window == "session" else ["device_id"]
    said = devices.assign(family=devices["family"].fillna(devices["label"]))
    said = said.assign(y=said[experiment.target])[[*on, "y", "family", "site", "valid_from", "valid_to"]]
    asked = windows[["device_id", "source", "window_start", "window_end"]].reset_index(drop=True)
    pairs = asked.rename_axis("row").reset_index().merge(said.drop_duplicates(), on=on)
    begun = pairs["valid_from"].isna() | (pairs["valid_from"] < pairs["window_end"])
    begun |= pairs["valid_from"] <= pairs["window_start"]  # a session of one packet ends as it starts
    valid = pairs[begun & (pairs["valid_to"].isna() | (pairs["valid_to"] > pairs["window_start"]))]
    per_row = valid.groupby("row")
    found = per_row[["y", "family", "site"]].first().reindex(asked.index)
    conflict = (per_row["y"].nunique() > 1).reindex(asked.index, fill_value=False)
    moved = (per_row["site"].nunique() > 1).reindex(asked.index, fill_value=False)
    return asked.join(found.assign(site=found["site"].mask(moved))).assign(conflict=conflict)


def _taken(truth: pd.DataFrame, experiment: Experiment) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the rows that can be learnt from, and how many are left out for which reason.

    truth: KEYS, y, family, and for windows `conflict`. Raises ValueError where nothing or one class is left.
    """
    conflict = truth.get("conflict", pd.Series(False, index=truth.index)).astype(bool)
    # Two sources of one device that end in the same instant are one moment to the store.
    twin = truth.duplicated(["device_id", "window_end"], keep=False) & truth["source"].notna()
    unlabelled = truth["y"].isna()
    counts = truth["y"].mask(conflict | twin).value_counts()
    rare = truth["y"].isin(counts[counts < experiment.min_rows_per_class].index)
    left_out, kept = {}, pd.Series(True, index=truth.index)
    reasons = {
        "unlabelled": unlabelled,
        "conflicting_labels": conflict,
        "simultaneous_sources": twin,
        "rare_class": rare,
    }
    for reason, hit in reasons.items():
        left_out[reason] = int((hit & kept).sum())
        kept &= ~hit
        if left_out[reason]:
            log.warning("%d of %d rows are left out: %s", left_out[reason], len(truth), reason)
    rows = truth[kept]
    if rows["y"].nunique() < 2:
        raise ValueError(
            f"a model needs two classes of {experiment.target!r}, but has {sorted(rows['y'].unique())} after"
            f" leaving out {left_out}; name labels in the device map or the table"
        )
    return rows, left_out


def _dataset(
    rows: pd.DataFrame,
    X: np.ndarray,
    features: tuple[InputFeature, ...],
    *,
    left_out: Mapping[str, int],
    window: str | None,
    feature_service: str | None = None,
) -> Dataset:
    keys, y = rows[KEYS].reset_index(drop=True), rows["y"].to_numpy(dtype=object)
    families = _families(rows)
    named = [[feature.model_dump() for feature in features], families, window, y.tolist()]
    digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode())
    digest.update(keys.to_csv().encode())
    digest.update((np.where(np.isnan(X), np.nan, X) + 0.0).astype("<f8").tobytes())
    return Dataset(X, y, keys, features, families, left_out, window, feature_service, digest.hexdigest())


def _families(rows: pd.DataFrame) -> dict[str, str]:
    """Return the family of each class; raises ValueError where the map puts one class into two."""
    pairs = rows[["y", "family"]].drop_duplicates()
    twice = pairs[pairs.duplicated("y", keep=False)]
    if len(twice):
        raise ValueError(
            f"a label must be of one family, but the device map says {sorted(map(tuple, twice.values))}"
        )
    return dict(pairs.sort_values("y").itertuples(index=False))
