"""How rows are divided to judge a model: random, by time, by device, by site; and what is on both sides.

What each judges. `random`: the same units in other captures, the kindest. `time`: the same units later.
`device`: units never seen, of classes seen on others. `site`: places never seen.
A held-out device is in `device` only. `random` and `time` keep a capture on one side; `device` and `site` cannot where
one capture holds devices of both sides.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from training.dataset import Dataset
from training.experiment import SplitSettings

Pairs = Iterable[tuple[np.ndarray, np.ndarray]]  # of row positions: train, test


@dataclass(frozen=True)
class Fold:
    """Row positions of one fit: what it may learn from, what judges it."""

    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Leak:
    """What lies on both sides of some fold, counted on the final folds; None where the data cannot tell.

    captures, device_units: distinct names. captures_of_one_device: those that hold no second unit,
    None where all do.
    overlapping_windows: test rows that share time with a training row of their device. duplicate_rows: test rows
    whose features and label are those of a training row.
    """

    captures: int | None
    captures_of_one_device: int | None
    device_units: int | None
    overlapping_windows: int | None
    duplicate_rows: int


@dataclass(frozen=True)
class Split:
    """One way to judge. folds is empty where the data does not allow it, and refused says why.

    dropped: rows taken out to keep the sides apart, by reason: `overlapping_windows` from training,
    `unseen_class` and `duplicate_rows` from test.
    """

    name: str
    folds: tuple[Fold, ...]
    refused: str | None
    dropped: dict[str, int]
    leak: Leak | None


def all_splits(dataset: Dataset, settings: SplitSettings, *, seed: int) -> dict[str, Split]:
    """Return the four splits by name, in the order random, time, device, site.

    Raises ValueError where a held-out device has no row: a misspelt name would be trained on.
    """
    rows = _rows(dataset)
    absent = sorted(set(settings.hold_out_devices) - set(rows["unit"].dropna()))
    if absent:
        raise ValueError(f"split.hold_out_devices must name devices that have rows, but {absent} have none")
    makers: dict[str, Callable[[], Pairs]] = {
        "random": lambda: _random(rows, settings, seed),
        "time": lambda: _time(rows, settings),
        "device": lambda: _device(rows, settings, seed),
        "site": lambda: _site(rows, settings, seed),
    }
    return {name: _split(name, rows, propose) for name, propose in makers.items()}


def trainable(dataset: Dataset, settings: SplitSettings) -> np.ndarray:
    """Return the positions of the rows that the final model may learn from: all but the held-out devices."""
    return np.flatnonzero(~dataset.keys["device_id"].isin(settings.hold_out_devices))


class _RefusedError(ValueError):
    """The data does not allow this split; the message says why."""


def _rows(dataset: Dataset) -> pd.DataFrame:
    """Return what the splits look at, one line per row of the dataset; the index is its position."""
    keys = dataset.keys
    canonical = pd.DataFrame(np.where(np.isnan(dataset.X), np.nan, dataset.X + 0.0))  # one NaN, one zero
    return pd.DataFrame(
        {
            "y": dataset.y,
            "unit": keys["device_id"].to_numpy(),
            "capture": keys["source"].to_numpy(),
            "start": keys["window_start"].to_numpy(),
            "end": keys["window_end"].to_numpy(),
            "site": keys["site"].to_numpy(),
            "hash": pd.util.hash_pandas_object(canonical, index=False).to_numpy(),
            "windowed": dataset.window not in (None, "session"),
        }
    )


def _split(name: str, rows: pd.DataFrame, propose: Callable[[], Pairs]) -> Split:
    dropped = {"overlapping_windows": 0, "unseen_class": 0, "duplicate_rows": 0}
    try:
        folds = [_apart(rows, train, test) for train, test in propose()]
    except _RefusedError as refused:
        return Split(name, (), str(refused), dropped, None)
    for _, losses in folds:
        dropped = {reason: count + losses[reason] for reason, count in dropped.items()}
    useful = tuple(fold for fold, _ in folds if len(fold.test) and rows["y"].iloc[fold.train].nunique() > 1)
    if not useful:
        why = f"no row to judge is left, or fewer than two classes to learn, after dropping {dropped}"
        return Split(name, (), why, dropped, None)
    return Split(name, useful, None, dropped, leaks(rows, useful))


def _apart(rows: pd.DataFrame, train: np.ndarray, test: np.ndarray) -> tuple[Fold, dict[str, int]]:
    """Return the fold without what is on both sides, and how many rows that cost."""
    clear = train[~_overlapping(rows, train, test)]
    known = test[rows["y"].iloc[test].isin(rows["y"].iloc[clear]).to_numpy()]
    fresh = known[~_repeated(rows, clear, known)]
    losses = {
        "overlapping_windows": len(train) - len(clear),
        "unseen_class": len(test) - len(known),
        "duplicate_rows": len(known) - len(fresh),
    }
    return Fold(np.sort(clear), np.sort(fresh)), losses


def _random(rows: pd.DataFrame, settings: SplitSettings, seed: int) -> Pairs:
    """Deal captures (or stretches of one device's time, or rows) to folds, class by class."""
    mine = _without_held_out(rows, settings)
    groups, first = np.unique(_blocks(mine), return_inverse=True, return_index=True)[1:][::-1]
    count = min(settings.folds, len(first))
    if count < 2:
        raise _RefusedError("all rows come from one capture")
    shuffled = np.random.default_rng(seed).permutation(len(first))
    order = np.lexsort((shuffled, mine["y"].to_numpy()[first].astype(str)))
    fold_of_group = np.empty(len(first), dtype=np.int64)
    fold_of_group[order] = np.arange(len(first)) % count
    return _by_fold(mine.index.to_numpy(), fold_of_group[groups])


def _blocks(rows: pd.DataFrame) -> np.ndarray:
    """Return a number per row, (n,); rows of one number share traffic and stay on one side."""
    if rows["windowed"].any():  # windows that start within one window's length overlap: keep them together
        length = rows["end"] - rows["start"]
        stretch = (rows["start"] - pd.Timestamp(0, tz="UTC")) // length
        return pd.factorize(pd.MultiIndex.from_arrays([rows["unit"], stretch]))[0]
    captures = pd.factorize(rows["capture"])[0]
    return np.where(captures < 0, len(rows) + np.arange(len(rows)), captures)


def _time(rows: pd.DataFrame, settings: SplitSettings) -> Pairs:
    """Learn from the earliest windows of each device unit, judge on its later ones.

    Units that share a capture are cut at one moment, and a session goes by the last end of its capture: so each
    capture is on one side. What comes of a unit only after the cut is left out: nobody learnt it.
    """
    mine = _without_held_out(rows, settings)
    if mine["end"].isna().all():
        raise _RefusedError("no row has a time; name the column that orders the table with time=COL")
    timed = mine.dropna(subset="end")
    of_capture = timed.groupby("capture")["end"].transform("max")  # NaT where a row has no capture
    ordered = timed.assign(end=of_capture.fillna(timed["end"])).sort_values("end", kind="stable")
    group = _linked_units(ordered)
    place = ordered.groupby(group).cumcount()
    size = ordered.groupby(group)["end"].transform("size")
    cut = size - np.maximum(np.round(settings.test_fraction * size), 1)
    begins = (
        ordered["end"].where(place == cut).groupby(group).transform("max")
    )  # ties with the first test row are test
    late = (ordered["end"] >= begins).to_numpy()
    alone = pd.Series(late, index=ordered.index).groupby(group).transform("all").to_numpy()  # one moment only
    test = late & ~alone
    unit = ordered["unit"].fillna("")
    judged = test & unit.isin(unit[~test]).to_numpy()
    if not judged.any():
        raise _RefusedError("no device unit has windows of two moments")
    positions = ordered.index.to_numpy()
    return [(positions[~test], positions[judged])]


def _linked_units(rows: pd.DataFrame) -> np.ndarray:
    """Return a number per row, (n,): units that share a capture, directly or through others, have the same one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    unit = pd.factorize(rows["unit"].fillna(""))[0]
    capture = pd.factorize(rows["capture"])[0]
    known, count = capture >= 0, len(rows)  # units are the nodes below count, captures those above
    ends = (unit[known], count + capture[known])
    links = coo_array((np.ones(known.sum()), ends), shape=(2 * count, 2 * count))
    return np.asarray(connected_components(links, directed=False)[1][unit])


def _device(rows: pd.DataFrame, settings: SplitSettings, seed: int) -> Pairs:
    """Judge on units never learnt from: the held-out ones, then in turns those of classes that have two."""
    mine = _without_held_out(rows, settings)
    held_out = np.setdiff1d(rows.index, mine.index)
    if mine["unit"].isna().all():
        raise _RefusedError("no row names its device unit; name the column that does with group=COL")
    main_class = mine.groupby("unit")["y"].agg(lambda labels: labels.mode().iloc[0])
    shuffled = main_class.sample(frac=1.0, random_state=seed)
    turns = max(2, round(1 / settings.test_fraction))
    turn = (shuffled.groupby(shuffled).cumcount() % turns).where(
        shuffled.groupby(shuffled).transform("size") > 1, -1
    )
    if not len(held_out) and (turn < 0).all():
        raise _RefusedError("no class has two device units")
    rotation = _by_fold(mine.index.to_numpy(), mine["unit"].map(turn).fillna(-1).to_numpy(dtype=np.int64))
    return [*([(mine.index.to_numpy(), held_out)] if len(held_out) else []), *rotation]


def _site(rows: pd.DataFrame, settings: SplitSettings, seed: int) -> Pairs:
    """Judge on sites never learnt from: one at a time, or in groups where there are more sites than folds."""
    mine = _without_held_out(rows, settings).dropna(subset="site")
    if mine["site"].nunique() < 2:
        raise _RefusedError(f"a split by site needs two sites, and the rows name {mine['site'].nunique()}")
    if not (mine.groupby("y")["site"].nunique() > 1).any():
        raise _RefusedError("no class stands at two sites")
    names = np.random.default_rng(seed).permutation(np.unique(mine["site"].astype(str)))
    number = {name: place % settings.folds for place, name in enumerate(names)}
    return _by_fold(mine.index.to_numpy(), mine["site"].astype(str).map(number).to_numpy(dtype=np.int64))


def _without_held_out(rows: pd.DataFrame, settings: SplitSettings) -> pd.DataFrame:
    return rows[~rows["unit"].isin(settings.hold_out_devices)]


def _by_fold(positions: np.ndarray, fold: np.ndarray) -> Pairs:
    """Return train and test positions of each fold; a row of fold -1 is never test."""
    return [(positions[fold != number], positions[fold == number]) for number in np.unique(fold[fold >= 0])]


def leaks(rows: pd.DataFrame, folds: Sequence[Fold]) -> Leak:
    """Count what lies on both sides of any fold. rows: as `_rows` makes it."""
    of_one_device = rows.groupby("capture")["unit"].transform("nunique") <= 1
    return Leak(
        captures=_shared(rows["capture"], folds),
        captures_of_one_device=_shared(rows["capture"].where(of_one_device), folds),
        device_units=_shared(rows["unit"], folds),
        overlapping_windows=_sum(_overlapping(rows, fold.test, fold.train) for fold in folds)
        if rows["windowed"].any()
        else None,
        duplicate_rows=_sum(_repeated(rows, fold.train, fold.test) for fold in folds),
    )


def _sum(masks: Iterable[np.ndarray]) -> int:
    return int(sum(mask.sum() for mask in masks))


def _shared(names: "pd.Series[str]", folds: Sequence[Fold]) -> int | None:
    if names.isna().all():
        return None
    sides = [(set(names.iloc[fold.train].dropna()), set(names.iloc[fold.test].dropna())) for fold in folds]
    return len(set().union(*(train & test for train, test in sides)))


def _repeated(rows: pd.DataFrame, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return whether each test row, (n_test,), has the features and the label of a training row."""
    content = pd.MultiIndex.from_frame(rows[["hash", "y"]])
    return np.asarray(content[test].isin(content[train]))


def _overlapping(rows: pd.DataFrame, asked: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return whether each asked row, (n_asked,), shares time with another row of the same device.

    Never so for sessions: each holds the flows of its own capture, whatever the clocks say.
    """
    if not rows["windowed"].any():
        return np.zeros(len(asked), dtype=bool)
    columns = ["unit", "start"]
    left = rows.iloc[asked][[*columns, "end"]].assign(place=np.arange(len(asked))).sort_values("start")
    right = rows.iloc[others][columns].assign(near=lambda frame: frame["start"]).sort_values("start")
    nearest = pd.merge_asof(left, right, on="start", by="unit", direction="nearest")
    overlap = (nearest["near"] - nearest["start"]).abs() < (nearest["end"] - nearest["start"])
    return overlap.to_numpy()[np.argsort(nearest["place"].to_numpy())]
