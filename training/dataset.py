"""What a model learns from: rows, their truth and where they come from, of a workspace or a plain table."""

import difflib
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from features.configuration import find_config, read_config
from features.flows import FlowSettings
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
    window, feature_service, flow_settings (of the workspace): None for a plain table; flow_settings also where tables
    of flows do not tell.
    """

    X: np.ndarray
    y: np.ndarray
    keys: pd.DataFrame
    features: tuple[InputFeature, ...]
    families: Mapping[str, str]
    left_out: Mapping[str, int]
    window: str | None
    feature_service: str | None
    flow_settings: FlowSettings | None

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 of all rows, names and truths."""
        features = [feature.model_dump() for feature in self.features]
        named = [features, dict(self.families), self.window, self.y.tolist()]
        digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode())
        digest.update(self.keys.to_csv().encode())
        digest.update((np.where(np.isnan(self.X), np.nan, self.X) + 0.0).astype("<f8").tobytes())
        return digest.hexdigest()


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
    rows, left_out = learnable(_table_truth(frame, experiment, path), experiment)
    features = tables.input_features(frame.loc[rows.index, names], table=str(path))
    X = matrix(frame, features, table=str(path))  # of all rows, so that an error names the file's row
    return Dataset(X[rows.index], *_told(rows), features, _families(rows), left_out, None, None, None)


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

    _check_window(experiment.window, workspace)
    built = windows.rows(workspace, experiment.window)
    if built.empty:
        raise LookupError(
            f"no {experiment.window} window in {workspace}; run iotlens ingest and features build"
        )
    said = truth(built, lake.devices(workspace), target=experiment.target, window=experiment.window)
    rows, left_out = learnable(said.assign(outranked=outranked(built)), experiment)
    rows = rows.sort_values(["device_id", "source", "window_end"], na_position="first", ignore_index=True)
    history = store.open(workspace)
    service = history.register(experiment.name, experiment.window, experiment.features)
    columns = [{"name": column.name, "dtype": column.dtype} for column in history.service(service).features]
    features = tuple(InputFeature.model_validate(column) for column in columns)
    known = history.history(rows[["device_id"]].assign(event_timestamp=rows["window_end"]), service)
    _check_moments(rows, known)
    X = matrix(known, features, table=service)
    families, settings = _families(rows), _flow_settings(workspace)
    return Dataset(X, *_told(rows), features, families, left_out, experiment.window, service, settings)


def _check_window(name: str, workspace: Path) -> None:
    """Raise ValueError that names the nearest window unless windows.yaml has this one."""
    from features.windows import WindowSettings

    path = find_config("windows.yaml", workspace)
    names = [window.name for window in read_config(path, WindowSettings).windows]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        way = f"the nearest is {near[0]!r}" if near else f"there are {names}"
        raise ValueError(f"an experiment's window must be one of {path}, however: {name!r}; {way}")


def _flow_settings(workspace: Path) -> FlowSettings | None:
    """Return how the packets of the lake became flows; None where tables of flows do not tell.

    Where an older version read captures and did not tell either, they are those of flows.yaml now.
    """
    from features import lake

    told = lake.flow_settings(workspace)
    if told is not None:
        return told
    if any(record.reader == "table" for record in lake.records(workspace).values()):
        return None
    path = find_config("flows.yaml", workspace)
    log.warning(
        "the lake does not tell its flow settings: they are taken from %s; ingest again to be sure", path
    )
    return read_config(path, FlowSettings)


def _check_moments(rows: pd.DataFrame, known: pd.DataFrame) -> None:
    """Raise LookupError unless the store gave each row the window that ends when the row does."""
    other = known["window_end"].ne(rows["window_end"])
    if other.any():
        row = rows[other].iloc[0]
        raise LookupError(
            f"the store must know every window to learn from, but has none of {row['device_id']!r} that ends"
            f" {row['window_end']:%F %T}Z; run iotlens features build"
        )


def truth(windows: pd.DataFrame, devices: pd.DataFrame, *, target: str, window: str) -> pd.DataFrame:
    """Return KEYS of each window, with y, family and `conflict`, as the device map says of it; windows' order.

    windows: its keys at least. devices: DEVICES of the lake. target: label or family (where empty, the label).
    A session takes what is said of its own source, another window what any source says of its device, each
    while it is valid for part of the window. `conflict`: two things are said. A window at two sites has none.
    """
    on = ["device_id", "source"] if window == "session" else ["device_id"]
    said = devices.assign(family=devices["family"].fillna(devices["label"]))
    said = said.assign(y=said[target])[[*on, "y", "family", "site", "valid_from", "valid_to"]]
    asked = windows[["device_id", "source", "window_start", "window_end"]].reset_index(drop=True)
    pairs = asked.rename_axis("row").reset_index().merge(said.drop_duplicates(), on=on)
    begun = pairs["valid_from"].isna() | (pairs["valid_from"] < pairs["window_end"])
    begun |= pairs["valid_from"] <= pairs["window_start"]  # a session of one packet ends as it starts
    lasting = pairs["valid_to"].isna() | (pairs["valid_to"] > pairs["window_start"])
    per_row = pairs[begun & lasting].groupby("row")
    found = per_row[["y", "family", "site"]].first().reindex(asked.index)
    several = (per_row[["y", "site"]].nunique() > 1).reindex(asked.index, fill_value=False)
    found["site"] = found["site"].mask(several["site"])
    return asked.join(found).assign(conflict=several["y"])


def outranked(windows: pd.DataFrame) -> np.ndarray:
    """Return which windows the store never gives, (n,) bool: a session of a device that ends as another one does.

    windows: device_id, source, window_end, created. Of one moment of a device the store gives the row created last,
    then the one whose source hashes highest, as features/point_in_time.py does.
    """
    import duckdb

    keys = windows[["device_id", "source", "window_end", "created"]].assign(row=np.arange(len(windows)))
    with duckdb.connect() as duck:
        duck.register("keys", keys)
        behind = duck.execute(
            "SELECT row FROM keys QUALIFY 1 < row_number() OVER"
            " (PARTITION BY device_id, window_end ORDER BY created DESC, hash(source) DESC)"
        ).fetchnumpy()["row"]
    return np.isin(np.arange(len(windows)), behind)


def learnable(said: pd.DataFrame, experiment: Experiment) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the rows that can be learnt from, and how many are left out for which reason.

    said: KEYS, y, family, and for windows `conflict` and `outranked`. Raises ValueError where fewer than two classes
    are left.
    """
    rows, left_out = said, dict[str, int]()
    for reason, hits in _REASONS.items():
        hit = hits(rows, experiment)
        left_out[reason] = int(hit.sum())
        if left_out[reason]:
            log.warning("%d of %d rows are left out: %s", left_out[reason], len(said), reason)
        rows = rows[~hit]
    if rows["y"].nunique() < 2:
        ways = {
            "unlabelled": "name labels in the device map or the table",
            "rare_class": f"bring {experiment.min_rows_per_class} rows of each class or more (min_rows_per_class)",
        }
        worst = max(left_out, key=lambda reason: left_out[reason])
        told = ", ".join(f"{count} {reason}" for reason, count in left_out.items() if count) or "none"
        raise ValueError(
            f"a model needs two classes of {experiment.target!r}, but of {len(said)} rows (left out: {told}) has"
            f" {sorted(rows['y'].unique())}; {ways.get(worst, ways['unlabelled'])}"
        )
    return rows, left_out


def _unlabelled(rows: pd.DataFrame, _: Experiment) -> "pd.Series[bool]":
    return rows["y"].isna()


def _conflicting(rows: pd.DataFrame, _: Experiment) -> "pd.Series[bool]":
    """Tell where two labels are given to one window, or to one moment of a device in two sources."""
    said_twice = rows.get("conflict", pd.Series(False, index=rows.index)).astype(bool)
    labels = rows.groupby(["device_id", "window_end"])["y"].transform("nunique")
    return said_twice | (rows["source"].notna() & (labels > 1))


def _simultaneous(rows: pd.DataFrame, _: Experiment) -> "pd.Series[bool]":
    """Tell all but one of the sources in which a device ends at one instant: a moment has one row in the store."""
    return rows.get("outranked", pd.Series(False, index=rows.index)).astype(bool)


def _rare(rows: pd.DataFrame, experiment: Experiment) -> "pd.Series[bool]":
    counts = rows["y"].value_counts()
    return rows["y"].isin(counts[counts < experiment.min_rows_per_class].index)


_REASONS: Mapping[str, Callable[[pd.DataFrame, Experiment], "pd.Series[bool]"]] = {
    "unlabelled": _unlabelled,
    "conflicting_labels": _conflicting,
    "simultaneous_sources": _simultaneous,
    "rare_class": _rare,
}


def _told(rows: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the class of each row, (n,), and its KEYS."""
    return rows["y"].to_numpy(dtype=object), rows[KEYS].reset_index(drop=True)


def _families(rows: pd.DataFrame) -> dict[str, str]:
    """Return the family of each class; raises ValueError where the map puts one class into two."""
    pairs = rows[["y", "family"]].drop_duplicates()
    twice = pairs[pairs.duplicated("y", keep=False)]
    if len(twice):
        raise ValueError(
            f"a label must be of one family, but the device map says {sorted(map(tuple, twice.values))}"
        )
    return dict(pairs.sort_values("y").itertuples(index=False))
